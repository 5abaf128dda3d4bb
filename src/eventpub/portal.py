"""A publisher for threads: their calls run on its event loop, and they wait for the outcome.

Nothing is decided here but how a call crosses over. On the other side it is the publisher's own
`publish`, on the publisher's own loop.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, Unpack

from eventpub.event import Event
from eventpub.exceptions import Facts, PossiblyPersistedError, PublisherClosed, UsageError
from eventpub.intake import several

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from eventpub._engine.reports import DeliveryReports
    from eventpub._home import Home
    from eventpub.delivery import Delivery
    from eventpub.intake import CommonOptions, PublishOptions
    from eventpub.record import Record

_P = ParamSpec("_P")
_T = TypeVar("_T")

_LOOK = 1.0  # seconds between two looks whether the loop is still there
_CALLS_END = 0.3  # seconds they may take once every event has its outcome


class Publishes(Protocol):
    """What a portal needs of a publisher."""

    async def publish(self, event: Event | Record, **options: Unpack[PublishOptions]) -> Delivery:
        """See `Publisher.publish`."""

    async def publish_many(self, events: Iterable[Event | Record], **options: Unpack[CommonOptions]) -> DeliveryReports:
        """See `Publisher.publish_many`."""


class Portal:
    """What `Publisher.portal` returns: publishes from threads that have no event loop, any number at once.

    A call blocks its thread until the outcome is known. It sees the context variables of
    its thread, so a budget or a trace around it counts. Interrupted (Ctrl-C), it is
    withdrawn as a cancelled publish is.
    """

    def __init__(self, publisher: Publishes, calls: Calls) -> None:
        self._publisher = publisher
        self._calls = calls

    def publish(self, event: Event | Record, **options: Unpack[PublishOptions]) -> Delivery:
        """Publish *event* and return the broker's acknowledgement; options and errors as for `Publisher.publish`.

        Calls of one thread keep their order.

        Raises:
            UsageError: called on the event loop's own thread, which it would block for ever.
            PublisherClosed: the publisher is closing or closed.
        """
        return self._calls.run(event, self._publisher.publish, event, **options)

    def publish_many(self, events: Iterable[Event | Record], **options: Unpack[CommonOptions]) -> DeliveryReports:
        """Publish *events* in order and return one outcome for each; as `Publisher.publish_many`."""
        # Gathered in this thread: the loop should not wait for where they come from.
        return self._calls.run(None, self._publisher.publish_many, several(events), **options)

    def call(self, function: Callable[_P, Coroutine[Any, Any, _T]], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a coroutine function on the publisher's loop: ``portal.call(publisher.flush)``.

        Not ``publisher.aclose``: it waits for the calls under way, itself among them.
        """
        return self._calls.run(None, function, *args, **kwargs)

    def on_own_loop(self) -> bool:
        """Whether this is the thread of the publisher's loop, where the calls are refused."""
        return self._calls.on_own_loop()

    def __repr__(self) -> str:
        return f"<Portal of {self._publisher!r}>"


class Calls:
    """The calls of other threads that are under way on one event loop.

    Not anyio's `BlockingPortal`: a thread that has just passed its check when the loop ends
    waits there for ever (decision 0008). Here a call is handed over under a lock that the
    close takes too: the loop either gets it before it ends, or refuses it.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._loop = home.loop
        self._lock = Lock()
        self._closed = False
        self._open: set[Future[Any]] = set()

    def run(
        self,
        about: Event | Record | None,
        function: Callable[_P, Coroutine[Any, Any, _T]],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """Run *function* on the loop and return what it does; errors that arise here are *about* that event."""
        self._check_thread()
        future = self._hand_over(about, function(*args, **kwargs))
        try:
            return self._outcome(future)
        except CancelledError:
            text = "the event loop ended, or was cancelled, while this publish was under way"
            facts: Facts = {**_facts(about), "reason": "drain"}
            raise PossiblyPersistedError(text, **facts) from None
        except BaseException:
            future.cancel()  # without effect, unless this thread was interrupted
            raise

    def on_own_loop(self) -> bool:
        """Whether this is the thread of the loop, which must not wait for itself."""
        return self._home.here

    def _check_thread(self) -> None:
        if self._home.forked:
            raise self._home.refusal()
        if self.on_own_loop():
            text = "a portal is for other threads: on the event loop's own it would wait for itself"
            raise UsageError(f"{text}; await publisher.publish() here")

    def _hand_over(self, about: Event | Record | None, coroutine: Coroutine[Any, Any, _T]) -> Future[_T]:
        with self._lock:
            if not self._closed and self._loop.is_running():
                with suppress(RuntimeError):  # in this very moment the loop was closed
                    future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
                    self._open.add(future)
                    future.add_done_callback(self._open.discard)
                    return future
        coroutine.close()
        state = "is closed" if self._closed else "has no running event loop any more"
        raise PublisherClosed(f"this publisher {state}; nothing was sent", **_facts(about))

    def _outcome(self, future: Future[_T]) -> _T:
        while True:
            try:
                return future.result(_LOOK)
            except TimeoutError:
                if future.done():  # in this very moment, or the call's own error
                    return future.result()
                if self._loop.is_closed():  # nobody closed the publisher, and nobody will answer
                    raise CancelledError from None

    async def aclose(self) -> None:
        """Refuse calls from now on, and return once those under way have ended.

        They end by themselves, because their events have outcomes by now; what does not
        is cancelled.
        """
        with self._lock:
            self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(_CALLS_END):  # at its end they are cancelled
                await asyncio.gather(*map(asyncio.wrap_future, [*self._open]), return_exceptions=True)


def _facts(event: Event | Record | None) -> Facts:
    if event is None:
        return {}
    event_id = event.envelope.id if isinstance(event, Event) else getattr(event, "event_id", None)
    return {"event_id": event_id, "record": event}
