"""The publisher: what users hold. Composes encoder, engine and transport, and guards their use."""

from __future__ import annotations

import asyncio
import logging
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, cast

from eventpub import _ambient
from eventpub._closing import Closing
from eventpub._engine.drain import DrainReport
from eventpub._engine.engine import Engine
from eventpub._engine.group import Group
from eventpub._engine.hooks import Hooks, call
from eventpub._engine.pending import PendingDelivery
from eventpub._home import Home, running_loop
from eventpub._target import Target, shareable, transport_for
from eventpub.buffer import BufferLimits
from eventpub.cloudevents import Encoder
from eventpub.deadletter.letters import DeadLetters
from eventpub.envelope import of_kind
from eventpub.event import Event
from eventpub.exceptions import (
    ConfigurationError,
    Findings,
    PublisherClosed,
    PublisherNotOpen,
    PublishError,
    StartError,
    UsageError,
)
from eventpub.instrumentation import Telemetry
from eventpub.intake import CommonOptions, Intake, PublishOptions, check_kind, several
from eventpub.partitioner import partitions_for
from eventpub.portal import Calls, Portal
from eventpub.profile import CRITICAL, DeliveryProfile, Seconds, as_seconds
from eventpub.profiles import Profiles
from eventpub.record import checked_headers
from eventpub.state import Health, PublisherState
from eventpub.transports.memory import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

    from eventpub._engine.reports import DeliveryReports
    from eventpub.abc import Serializer, Transport
    from eventpub.delivery import Delivery
    from eventpub.record import Record
    from eventpub.statistics import PublisherStatistics

_log = logging.getLogger("eventpub.publisher")

_ENCODED_AT_ONCE = 250  # events of publish_many, before the event loop gets its turn
_POLL_READY = 0.05
_LOGGED = frozenset({PublisherState.OPEN, PublisherState.DRAINING})  # the close has its report
_KEEPING = CRITICAL.replace(name="dead letter", dead_letter=False)


class Publisher:
    """Publishes events, and tells of each what became of it.

    ::

        async with Publisher("kafka://localhost:9092", source="/task-api") as publisher:
            delivery = await publisher.publish(TaskCreated(task_id="42", title="Write docs"))

    The constructor touches no loop, socket or file. A publisher belongs to the event loop
    it was opened on and to this process; it may be opened in one task and closed in
    another, once. asyncio only: delivery outlives the calls that start it, which trio's
    nurseries rule out.

    Args:
        target: ``"kafka://h1:9092,h2:9092"``, ``"kafka+tls://..."``, ``"memory://"``, a
            `KafkaConfig`, a `MemoryBroker`, or a `Transport`. Never with credentials in it.
        source: the CloudEvents ``source`` of this publisher's events, a URI reference.
        profile: for events that name none.
        profiles: more profiles by the names that events use.
        dead_letters: where events are kept that could not be delivered, `DeadLetters`; default: nowhere
            but in the exception.
        buffer: how much may be unconfirmed at once.
        connect: ``"lazy"`` opens with no broker reachable; ``"eager"`` makes opening fail then.
        start_timeout: seconds that an eager start may take.
        topic_for: the topic of an event class that names none; default: its type.
        serializer: another form of payload than JSON.
        hooks: objects with any of the methods of `eventpub.abc.Hook`.
        client_id: what brokers log and apply quotas to.

    Raises:
        ConfigurationError: settings that cannot work, all of them, each with its fix.
    """

    _findable = True

    def __init__(
        self,
        target: Target,
        *,
        source: str | None = None,
        profile: DeliveryProfile | str = CRITICAL,
        profiles: Mapping[str, DeliveryProfile] | None = None,
        dead_letters: DeadLetters | None = None,
        buffer: BufferLimits | None = None,
        connect: Literal["lazy", "eager"] = "lazy",
        start_timeout: Seconds = 10,
        topic_for: Callable[[type[Event]], str] | None = None,
        serializer: Serializer | None = None,
        hooks: Iterable[object] = (),
        client_id: str = "eventpub",
    ) -> None:
        self._state = PublisherState.NEW
        target, findings = shareable(target), Findings()
        with findings:
            self._profiles = Profiles(profile, profiles or {}, kept=dead_letters is not None)
        with findings:
            self._encoder = Encoder(source, topic_for, serializer)
        with findings:
            self._transport: Transport = transport_for(target, client_id)
        with findings:
            self._start_timeout = as_seconds("start_timeout", start_timeout)
        with findings:
            self._hooks = Hooks(hooks)
        with findings:
            self._eager = _eager(connect)
        with findings:
            self._dead_letters = None if dead_letters is None else of_kind("dead_letters", dead_letters, DeadLetters)
            if self._dead_letters is not None:
                self._dead_letters.attach(target, partial(_keeper, client_id))
        findings.raise_any()
        self._client_id = client_id
        self._intake = Intake(self._encoder, self._profiles)
        self._buffer = BufferLimits() if buffer is None else of_kind("buffer", buffer, BufferLimits)
        self._engine: Engine | None = None
        self._calls: Calls | None = None
        self._home: Home | None = None
        self._closing: Closing | None = None

    @classmethod
    def from_env(cls, **overrides: Any) -> Self:
        """Return a publisher as the environment describes it: ``EVENTPUB_BOOTSTRAP_SERVERS`` and its siblings.

        Also read are a file ``.env`` and the directory of secrets that ``EVENTPUB_SECRETS_DIR`` names
        (docs/reference/environment.md). Reads files: call it before the event loop runs, or in a thread.

        Args:
            **overrides: arguments of `Publisher` in place of what the environment says; and ``env_file``
                (``None`` for none) and ``secrets_dir``.

        Raises:
            ConfigurationError: everything that is wrong, by the names of the variables.
        """
        # Imported late: pydantic-settings takes 0.2 s, and most applications configure in code.
        from eventpub.settings import publisher_arguments

        return cls(**publisher_arguments(**overrides))

    # --- life ----------------------------------------------------------------------

    async def open(self) -> None:
        """Start delivering. Returns at once unless ``connect="eager"``.

        Raises:
            UsageError: it was opened before.
            StartError: an eager start found no usable broker within ``start_timeout``; the
                cause is chained, and the publisher is closed.
        """
        if self._state is not PublisherState.NEW:
            raise UsageError(f"this publisher is {self._state.value}; a publisher is opened once, make another")
        self._enter(PublisherState.OPENING)
        self._home = Home()
        loop = self._home.loop
        self._closing = Closing(loop)
        self._calls = Calls(self._home)
        recorder = self._intake.recorder = Telemetry(self._client_id, self._encoder.source)
        letters = None if self._dead_letters is None else self._dead_letters.writer(recorder)
        self._engine = Engine(
            self._transport, self._buffer, partitions_for, self._hooks, loop, letters, self._client_id, recorder
        )
        self._warn_of_loss()
        try:
            if letters is not None:
                await letters.open()
            await self._start(self._engine)
        except BaseException:
            await self.aclose(0)
            raise
        self._enter(PublisherState.OPEN)
        if self._findable:
            _ambient.add(self)

    async def _start(self, engine: Engine) -> None:
        await self._transport.start(engine)
        if self._eager:
            await self._first_contact()
        if self._closing is not None and self._closing.begun:  # by somebody else meanwhile
            raise StartError("this publisher was closed while it opened")

    def _warn_of_loss(self) -> None:
        profile, lasting = self._profiles.default, not isinstance(self._transport, MemoryTransport)
        if lasting and self._dead_letters is None and profile.idempotence and profile.dead_letter is None:
            logging.getLogger("eventpub.deadletter").warning(
                "events of the profile %r that cannot be delivered will only be in the exception:"
                " give dead_letters=DeadLetters(SpoolSink(path)), or say dead_letter=False in the profile",
                profile.name,
                extra={"line": "deadletter.missing", "client_id": self._client_id},
            )

    async def _first_contact(self) -> None:
        try:
            async with asyncio.timeout(self._start_timeout):
                await self._transport.connected()
        except TimeoutError as error:
            problems = "; ".join(self._transport.problems()) or "no broker answered"
            raise StartError(f"not connected within start_timeout ({self._start_timeout:g} s): {problems}") from error

    async def aclose(self, timeout: Seconds | None = None) -> DrainReport:
        """Stop taking events, drain, settle what is left, and report what was not confirmed.

        Returns within *timeout* + 1 s, broker up or down; afterwards nothing is sent, and no
        socket, task or timer is left. A request that a broker already received may still
        be appended: those events are reported possibly persisted. A second call returns
        the same report. Cancelled, it hurries: it settles at once what is left, then lets
        the cancellation through. The last fifth of the time, at least a second and at most
        half, is for writing dead letters, if there are any.

        Args:
            timeout: for draining; default: the longest ``delivery_timeout`` in use.
        """
        seconds = self._profiles.longest if timeout is None else as_seconds("timeout", timeout, zero=True)
        if self._engine is None or self._closing is None:
            self._enter(PublisherState.CLOSED)
            return DrainReport(0, (), (), 0.0)
        self._check_loop()
        if not self._closing.begun:
            self._enter(PublisherState.DRAINING)
            _ambient.discard(self)
        return await self._closing.run(partial(self._close, self._engine, seconds))

    async def _close(self, engine: Engine, timeout: float, hurry: asyncio.Future[None]) -> DrainReport:
        report = await engine.aclose(timeout, hurry)
        if self._calls is not None:
            await self._calls.aclose()
        engine.recorder.close()
        self._enter(PublisherState.CLOSED)
        self._log_close(report)
        return report

    def _log_close(self, report: DrainReport) -> None:
        level, text = (
            (logging.WARNING, "closed with unconfirmed events") if report.unconfirmed else (logging.INFO, "closed")
        )
        counts = {name: len(getattr(report, name)) for name in ("failed", "unconfirmed")}
        facts = {"line": "publisher.closed", "client_id": self._client_id, "confirmed": report.confirmed, **counts}
        _log.log(
            level, "publisher %s: %s: %s", self._client_id, text, report, extra={**facts, "duration": report.elapsed}
        )

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        never_closed = getattr(self, "_state", None) in {PublisherState.OPENING, PublisherState.OPEN}
        if never_closed and not (self._home and self._home.forked):  # in a forked child it is the parent's to close
            warnings.warn(f"{self!r} was never closed; await aclose()", ResourceWarning, source=self, stacklevel=2)

    def _enter(self, state: PublisherState) -> None:
        self._state = state
        if state in _LOGGED:
            facts = {"line": f"publisher.{state.value}", "client_id": self._client_id}
            _log.info("publisher %s: %s", self._client_id, state.value, extra=facts)
        call(self._hooks.on_state, state)

    # --- publishing ----------------------------------------------------------------

    async def publish(self, event: Event | Record, **options: Unpack[PublishOptions]) -> Delivery:
        """Publish *event* and return the broker's acknowledgement.

        Its place in the order is taken in the call itself, before the first await. Ends
        within its budget + 250 ms: the smallest of the profile's ``delivery_timeout``,
        *timeout*, an enclosing ``delivery_budget``, and an enclosing anyio cancel scope.
        (``asyncio.timeout`` cannot be seen from here; give *timeout* there.) Cancelled
        before the event could have been written, it is withdrawn; else its delivery goes
        on, and its outcome reaches the hooks.

        With ``dead_letters`` an event that was not delivered is kept first: that takes up to the
        profile's ``dead_letter_timeout`` more, but never longer than the budgets around the call.

        Args:
            event: an `Event`, or a `Record` of raw bytes.
            **options: ``key``, ``topic``, ``headers``, ``partition``, ``timestamp``, ``profile`` and
                ``timeout``, in place of what the event class and the profile say (`PublishOptions`).

        Raises:
            NotPersistedError: the event is not in the log; the subclass and ``reason`` say why.
            PossiblyPersistedError: it may be.
            ConfigurationError: a wrong value, before anything is sent.
            UsageError: a wrong kind of object, or a publisher that is not open on this loop.
        """
        engine = self._open_engine(event)
        entry = self._intake.entry(event, options, engine.loop.time(), scoped=True)
        del event, options  # crash reports show local variables, and these hold payload, key and headers
        future: asyncio.Future[Delivery | PublishError] = engine.loop.create_future()
        entry.waiter = future.set_result
        engine.accept(entry)
        try:
            outcome = await future
        except asyncio.CancelledError:
            entry.waiter = None
            engine.withdraw(entry)
            raise
        if isinstance(outcome, PublishError):
            raise outcome
        return outcome

    def publish_nowait(self, event: Event | Record, **options: Unpack[PublishOptions]) -> PendingDelivery:
        """Publish *event* without waiting; options as for `publish`.

        Raises:
            BufferFullError: there is no room at this moment.
            ConfigurationError: a wrong value, before anything is sent.
            UsageError: a wrong kind of object, or a publisher that is not open on this loop.
        """
        engine = self._open_engine(event)
        entry = self._intake.entry(event, options, engine.loop.time(), scoped=False)
        engine.accept_nowait(entry)
        return PendingDelivery(entry, engine)

    async def publish_many(self, events: Iterable[Event | Record], **options: Unpack[CommonOptions]) -> DeliveryReports:
        """Publish *events* in order and return one outcome for each.

        One that fails leaves its siblings alone. An event that cannot be serialised is a
        `SerializationError` among the outcomes. Cancelled, it withdraws what was not sent.

        Args:
            events: `Event` and `Record` objects.
            **options: ``topic``, ``headers``, ``profile`` and ``timeout``, as for `publish`, of all of them.

        Raises:
            UsageError: something in *events* is neither; nothing was sent then.
            ConfigurationError: a wrong value; what was not sent yet is withdrawn.
        """
        events, said = several(events), cast("PublishOptions", options)
        if "headers" in said:  # an iterator would be used up by the first event
            said["headers"] = checked_headers(said["headers"])
        return await self._publish_each(events, lambda _event: said.copy())

    async def _publish_each(
        self, events: list[Event | Record], options_of: Callable[[Event | Record], PublishOptions]
    ) -> DeliveryReports:
        """Publish *events* as `publish_many` does, each with the options that *options_of* gives it."""
        group = Group(self._open_engine(*events[:1]), len(events))
        try:
            for number, event in enumerate(events, 1):
                try:
                    engine = self._open_engine(event)  # each time: a close may begin in between
                    now = engine.loop.time()
                    group.accept(self._intake.entry(event, options_of(event), now, scoped=True, group=group.recorded))
                except PublishError as error:
                    group.refuse(error)
                if number % _ENCODED_AT_ONCE == 0:
                    await asyncio.sleep(0)
            return await group.reports()
        except BaseException:
            group.withdraw()
            raise

    def portal(self) -> Portal:
        """Return a handle by which threads without an event loop publish here. May be asked for in any thread.

        Closing the publisher ends it: calls under way end with their outcomes, later ones with `PublisherClosed`.

        Raises:
            PublisherNotOpen: it was never opened.
        """
        if self._calls is None:
            raise self._refusal()
        return Portal(self, self._calls)

    def bind(self) -> AbstractContextManager[Self]:
        """Return a context manager: inside, and in tasks started inside, `emits` finds this publisher.

        Where several are open at once, or a thread belongs to no event loop.
        """
        return _ambient.bound(self)

    # --- guards --------------------------------------------------------------------

    def _open_engine(self, *events: Event | Record) -> Engine:
        """Return the engine to publish with, or say why there is none."""
        engine = self._engine
        if engine is not None and self._state is PublisherState.OPEN and running_loop() is engine.loop:
            return engine
        raise self._refusal(*events)

    def _refusal(self, event: Event | Record | None = None) -> UsageError:
        if event is not None:
            check_kind(event)
        if self._state in {PublisherState.NEW, PublisherState.OPENING}:
            fix = "publish inside `async with publisher`, or await publisher.open()"
            return PublisherNotOpen(f"this publisher is {self._state.value}; {fix}")
        if self._state is PublisherState.OPEN and self._home is not None:
            return self._home.refusal()
        event_id = event.envelope.id if isinstance(event, Event) else event.event_id if event else None
        text = f"this publisher is {self._state.value}; nothing was sent"
        return PublisherClosed(text, event_id=event_id, record=event)

    def _check_loop(self) -> None:
        if self._home is not None and not self._home.here:
            raise self._home.refusal()

    # --- looking in ----------------------------------------------------------------

    async def flush(self, timeout: Seconds | None = None) -> DrainReport:
        """Wait until every event published so far has its outcome, or *timeout* seconds; lingering ends.

        Args:
            timeout: default: the longest ``delivery_timeout`` in use.
        """
        seconds = self._profiles.longest if timeout is None else as_seconds("timeout", timeout, zero=True)
        self._check_loop()
        if self._engine is None:
            raise PublisherNotOpen("this publisher is new; there is nothing to flush before it is open")
        return await self._engine.flush(seconds)

    @property
    def state(self) -> PublisherState:
        """Where this publisher is in its life."""
        return self._state

    def health(self) -> Health:
        """Return whether an event published now could be delivered, and if not, why."""
        if self._state is not PublisherState.OPEN or self._engine is None:
            return Health(ready=False, reasons=(f"the publisher is {self._state.value}",))
        full = ("the buffer is full: publishes wait for room",) if self._engine.full else ()
        reasons = (*self._transport.problems(), *full)
        return Health(not reasons, reasons)

    async def wait_ready(self, timeout: Seconds) -> None:
        """Return once `health` says ready.

        Raises:
            StartError: it did not within *timeout* seconds, or is closing; the message holds the reasons.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + as_seconds("timeout", timeout)
        while not (health := self.health()).ready:
            if loop.time() >= deadline or self._state in {PublisherState.DRAINING, PublisherState.CLOSED}:
                raise StartError(str(health))
            await asyncio.sleep(_POLL_READY)

    def statistics(self) -> PublisherStatistics:
        """Return the counters as of now.

        Raises:
            PublisherNotOpen: it was never opened.
        """
        if self._engine is None:
            raise PublisherNotOpen("this publisher is new; it has counted nothing yet")
        return self._engine.statistics()

    def __repr__(self) -> str:
        return f"<Publisher {self._state.value}>"


class _DeadLetterPublisher(Publisher):
    """Writes dead letters for another publisher, keeps none of its own, and is nobody else's to find."""

    _findable = False


def _keeper(client_id: str, target: Target) -> Publisher:
    return _DeadLetterPublisher(target, profile=_KEEPING, client_id=f"{client_id}-dead-letters")


def _eager(connect: str) -> bool:
    if connect not in {"lazy", "eager"}:
        raise ConfigurationError.of("connect", f"{connect!r} is no way to start", 'use "lazy" or "eager"')
    return connect == "eager"
