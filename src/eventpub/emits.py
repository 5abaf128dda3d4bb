"""The decorator that publishes what a function returned: which publisher, when, and who hears of a failure."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar, cast

from anyio import from_thread

from eventpub._ambient import BOUND, open_here
from eventpub._text import text_fault
from eventpub.declaration import declare, declared
from eventpub.event import Event
from eventpub.exceptions import ConfigurationError, EventPubError, Finding, PublishError, UsageError
from eventpub.intake import PublishOptions
from eventpub.key import KeyReader, KeySource
from eventpub.portal import Portal
from eventpub.profile import DeliveryProfile
from eventpub.publisher import Publisher
from eventpub.record import Record
from eventpub.returned import Mapper, Publishable, Reader, Unregistered, reader_of_key

_log = logging.getLogger("eventpub.emits")

_P = ParamSpec("_P")
_R = TypeVar("_R")
_T = TypeVar("_T")


def emits(
    type_or_event: type[Event] | str,
    *,
    publisher: Publisher | None = None,
    topic: str | None = None,
    key: KeySource = None,
    profile: DeliveryProfile | str | None = None,
    map: Mapper | None = None,  # noqa: A002 - what it does
    wait: bool = True,
    on_failure: Literal["raise", "log"] = "raise",
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Publish what the decorated function returned, after it returned.

    ::

        @emits("task.created")
        async def create_task(title: str) -> TaskCreated: ...

    Nothing is published if the function raised, or returned ``None``; what it returned is
    handed on untouched. An `Event` (or `Record`) is published as it is. A pydantic model,
    dataclass or mapping becomes an event of that class, or of the class that is registered
    for that type when the function is called; where there is none, it is sent as JSON under
    that type. A list or tuple publishes each, in order. Calls that run at once publish in
    the order in which they returned.

    The publisher is *publisher*, else the one of an enclosing `Publisher.bind`, else the one
    that is open on the running event loop. A plain ``def`` function is for threads: it
    waits there through `Publisher.portal`, and in a worker thread of anyio (a ``def``
    endpoint of FastAPI) finds the publisher of that loop. Without a publisher the function
    is not even called.

    Args:
        type_or_event: a class of events, or a CloudEvents type.
        publisher: which one, instead of finding it.
        topic: instead of the one the event class names.
        key: a field's name, or a function of the event, instead of the class's. Of an event without
            a class it is asked about what the function returned.
        profile: instead of the one the event class names: a profile, or its name.
        map: builds what is published, from ``(result, *args, **kwargs)`` of the call; ``None``: nothing.
        wait: whether to return only when the outcome is known. Else it is heard by hooks, metrics,
            dead letters and one log line, and closing the publisher waits for it.
        on_failure: ``"raise"``, or ``"log"``: the function's result is returned whatever happens to
            its event, and one log line tells of it.

    Raises:
        ConfigurationError: at decoration: arguments that make no sense, all of them. At a call, as
            `Publisher.publish` does.
        UsageError: at decoration: a generator, or no function. At a call: no publisher, or two; a plain
            function on the loop's own thread; a result that cannot become an event.
        PublishError: as `Publisher.publish`, with what the function returned as ``error.result``.
        ExceptionGroup: of a `PublishError` for each that failed of a list or tuple, with the same ``result``.
    """
    findings = [
        *_type_faults(type_or_event),
        *_declaration_faults(topic=topic, key=key, profile=profile),
        *_other_faults(publisher, map, wait, on_failure),
    ]
    if findings:
        raise ConfigurationError(findings)
    options: PublishOptions = {}
    if topic is not None:
        options["topic"] = topic
    if profile is not None:
        options["profile"] = profile
    return _Emitter(
        Reader(type_or_event, map), publisher, options, reader_of_key(key), wait, on_failure == "log"
    ).decorate


class _Unconfirmed(ExceptionGroup[PublishError]):
    """Those of a list that were not confirmed; like a single error it carries the result, and not into a pickle."""

    result: Any = None

    def derive(self, errors: Sequence[PublishError], /) -> _Unconfirmed:  # type: ignore[override]  # only of these
        derived = _Unconfirmed(self.message, errors)
        derived.result = self.result
        return derived

    def __reduce__(self) -> tuple[Any, ...]:
        return ExceptionGroup, (self.message, self.exceptions)


@dataclass(frozen=True, slots=True)
class _Emitter:
    """One use of the decorator."""

    reader: Reader
    publisher: Publisher | None
    options: PublishOptions
    key_of: KeyReader | None
    wait: bool
    only_log: bool

    def decorate(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        _check_function(function)
        around: Any = self._around_async if _is_async(function) else self._around_plain
        return cast("Callable[_P, _R]", around(function))

    def _around_async(self, function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        @wraps(function)
        async def emitting(*args: Any, **kwargs: Any) -> Any:
            publisher = self._try(self._find, open_here)
            result = await function(*args, **kwargs)
            if result is not None:
                try:
                    await self._send(_found(publisher), self.reader.read(result, args, kwargs))
                except Exception as error:
                    self._tell(function, error, result)
                    if not self.only_log:
                        raise
            return result

        return emitting

    def _around_plain(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def emitting(*args: Any, **kwargs: Any) -> Any:
            crossing = self._try(self._cross, function)
            result = function(*args, **kwargs)
            if result is not None:
                try:
                    publisher, portal = _found(crossing)
                    portal.call(self._send, publisher, self.reader.read(result, args, kwargs))
                except Exception as error:
                    self._tell(function, error, result)
                    if not self.only_log:
                        raise
            return result

        return emitting

    # --- which publisher -----------------------------------------------------------

    def _try(self, find: Callable[[_T], Any], argument: _T) -> Any:
        """Find before the function is called: what cannot be published is better not done."""
        try:
            return find(argument)
        except UsageError as error:
            if not self.only_log:
                raise
            return error

    def _find(self, open_publishers: Callable[[], list[object]]) -> Publisher:
        if self.publisher is not None:
            return self.publisher
        publisher = BOUND.get()
        return cast("Publisher", _only(open_publishers()) if publisher is None else publisher)

    def _cross(self, function: Callable[..., Any]) -> tuple[Publisher, Portal]:
        publisher = self._find(_open_for_this_thread)
        portal = publisher.portal()
        if portal.on_own_loop():
            name = _name(function)
            raise UsageError(
                f"{name} is a plain function, called on the event loop's own thread, which it would block until its"
                f" event is confirmed; make it `async def`, or call it in a thread: await asyncio.to_thread({name}, ...)"
            )
        return publisher, portal

    # --- publishing, on the loop of the publisher ----------------------------------

    async def _send(self, publisher: Publisher, events: Publishable | list[Publishable]) -> None:
        if isinstance(events, list):
            await self._send_several(publisher, events)
        elif self.wait:
            await publisher.publish(events, **self._options(events))
        else:
            publisher.publish_nowait(events, **self._options(events))

    async def _send_several(self, publisher: Publisher, events: list[Publishable]) -> None:
        if not events:
            return
        if self.wait:
            failures = (await publisher._publish_each(events, self._options)).failures  # noqa: SLF001 - a key for each
        else:
            failures = tuple(self._refused(publisher, events))
        if failures:
            raise _Unconfirmed(f"{len(failures)} of {len(events)} events were not confirmed", failures)

    def _refused(self, publisher: Publisher, events: list[Publishable]) -> Iterator[PublishError]:
        for event in events:
            try:
                publisher.publish_nowait(event, **self._options(event))
            except PublishError as error:
                yield error

    def _options(self, event: Publishable) -> PublishOptions:
        if self.key_of is None or isinstance(event, Record):  # who makes records knows their keys
            return self.options.copy()
        return {**self.options, "key": self.key_of(event)}

    # --- failures ------------------------------------------------------------------

    def _tell(self, function: Callable[..., Any], error: Exception, result: Any) -> None:
        if self.only_log:
            for failure in error.exceptions if isinstance(error, _Unconfirmed) else (error,):
                _log_failure(function, failure)
        elif isinstance(error, (EventPubError, _Unconfirmed)):
            error.result = result


def _log_failure(function: Callable[..., Any], error: Exception) -> None:
    # Of an error that is not eventpub's only the kind is known to hold no payload.
    shown = f"{type(error).__name__}: {error}" if isinstance(error, EventPubError) else type(error).__name__
    event_id = getattr(error, "event_id", None)
    _log.error(
        "%s: its event was not confirmed: %s",
        _name(function),
        shown,
        extra={"line": "emits.unconfirmed", "event_id": event_id},
    )


def _found(publisher: _T | UsageError) -> _T:
    if isinstance(publisher, UsageError):
        raise publisher
    return publisher


def _only(publishers: list[object]) -> object:
    if len(publishers) == 1:
        return publishers[0]
    found = f"{len(publishers)} publishers are" if publishers else "no publisher is"
    raise UsageError(f"{found} open on this event loop; name one by publisher=, or call inside `with publisher.bind()`")


def _open_for_this_thread() -> list[object]:
    """Return the publishers open on the loop that runs here, or that this worker thread of anyio belongs to."""
    try:
        return open_here()
    except RuntimeError:  # no loop runs here
        pass
    try:
        return from_thread.run_sync(open_here)
    except RuntimeError:
        raise UsageError(
            "this thread belongs to no event loop, so there is no publisher to find; name one by publisher=, or call"
            " inside `with publisher.bind()`"
        ) from None


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", None) or type(function).__qualname__)


def _check_function(function: object) -> None:
    if isinstance(function, (classmethod, staticmethod)):
        raise UsageError(f"emits: got a {type(function).__name__}; put @{type(function).__name__} above @emits(...)")
    if not callable(function) or isinstance(function, type):
        raise UsageError(f"emits: expected a function, got {_name(function)}; decorate what returns the event")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise UsageError(
            f"emits: {_name(function)} is a generator, which returns before it has run and has no result to publish;"
            " publish inside it, or return a list"
        )


def _type_faults(given: object) -> Iterator[Finding]:
    fix = 'write @emits("task.created"), or @emits(TaskCreated) with a class of events'
    if isinstance(given, str):
        fault = text_fault(given)
        if fault:
            yield Finding("type", fault, fix)
    elif not (isinstance(given, type) and issubclass(given, Event)):
        yield Finding("type", f"got {_name(given)}", fix)
    elif declared(given).type is None:
        yield Finding(
            "type", f"{given.__name__} has none, which makes it an abstract base", "give a subclass with type="
        )


def _declaration_faults(**settings: object) -> Iterator[Finding]:
    """Check what an event class says too, as it is checked there."""
    try:
        declare(Unregistered, settings, ())
    except ConfigurationError as error:
        for finding in error.findings:
            yield finding._replace(reason=finding.reason.removeprefix("Unregistered: "))


def _other_faults(publisher: object, mapper: object, wait: object, on_failure: object) -> Iterator[Finding]:
    if publisher is not None and not isinstance(publisher, Publisher):
        yield Finding("publisher", f"got {type(publisher).__name__}", "give a Publisher, or None to have it found")
    if mapper is not None and not callable(mapper):
        yield Finding("map", f"got {type(mapper).__name__}", "give a function of (result, *args, **kwargs)")
    if not isinstance(wait, bool):
        yield Finding("wait", f"got {type(wait).__name__}", "use True or False")
    if on_failure not in ("raise", "log"):
        shown = repr(on_failure) if isinstance(on_failure, str) else f"got {type(on_failure).__name__}, which"
        yield Finding("on_failure", f"{shown} is no way to fail", 'use "raise" or "log"')
