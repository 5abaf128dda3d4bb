"""Opens the publisher before the first request, and drains it after the last."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from eventpub.exceptions import UsageError
from eventpub.profile import Seconds
from eventpub.publisher import Publisher
from eventpub.state import PublisherState

Lifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]
StatefulLifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any]]]

KEY = "publisher"  # in the lifespan's state


def lifespan(
    publisher: Publisher | Callable[[], Publisher],
    inner: Lifespan | Callable[[Any], AbstractAsyncContextManager[None]] | None = None,
    *,
    drain_timeout: Seconds | None = None,
) -> StatefulLifespan:
    """Make a lifespan in which *publisher* is open: ``FastAPI(lifespan=lifespan(publisher))``.

    The publisher opens first and closes last, so that *inner*, the application's own
    lifespan, may publish when it begins and when it ends. What *inner* yields is merged into
    the state that requests see; mounted applications see it too. An error in opening (an
    eager publisher's `StartError`, say) ends the start of the server, which prints it.

    A publisher that is open already is used and left open: who opened it closes it. So
    several applications in one process may share one.

    Args:
        publisher: a publisher that is not open yet, or a function that makes one. A publisher opens
            once; give a function where the application starts several times, as in tests.
        inner: the application's own lifespan, if it has one.
        drain_timeout: seconds for the drain at the end; default: the longest ``delivery_timeout`` in
            use. Keep it below the time that the platform gives a process to end (in Kubernetes
            ``terminationGracePeriodSeconds``, 30 s).

    Raises:
        UsageError: *publisher* is neither; or, when the application starts, it was used up by an
            earlier start, or *inner* yields a ``publisher`` of its own.
    """
    if not callable(publisher) and not isinstance(publisher, Publisher):
        raise UsageError(f"lifespan() takes a Publisher, or a function that makes one, not {type(publisher).__name__}")

    @asynccontextmanager
    async def around(app: Any) -> AsyncIterator[Mapping[str, Any]]:
        async with _opened(publisher, drain_timeout) as opened, _entered(inner, app) as state:
            yield {**state, KEY: opened}

    return around


@asynccontextmanager
async def _opened(
    given: Publisher | Callable[[], Publisher], drain_timeout: Seconds | None
) -> AsyncIterator[Publisher]:
    publisher = given if isinstance(given, Publisher) else given()
    state = publisher.state
    if state is PublisherState.OPEN:
        yield publisher
        return
    if state is not PublisherState.NEW:
        raise UsageError(
            f"this publisher is {state.value}, and a publisher is opened once;"
            " where the application starts several times, give a function: lifespan(lambda: Publisher(...))"
        )
    await publisher.open()
    try:
        yield publisher
    finally:
        await publisher.aclose(drain_timeout)


@asynccontextmanager
async def _entered(inner: Lifespan | None, app: Any) -> AsyncIterator[Mapping[str, Any]]:
    if inner is None:
        yield {}
        return
    async with inner(app) as state:
        if state and KEY in state:
            raise UsageError(f"the inner lifespan yields {KEY!r}, which is eventpub's; give it another name there")
        yield state or {}
