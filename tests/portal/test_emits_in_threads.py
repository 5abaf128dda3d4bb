"""A decorated plain function: it publishes through the portal, from whatever thread it is called in."""

from __future__ import annotations

import asyncio
import functools
import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from eventpub import (
    BufferFullError,
    BufferLimits,
    Publisher,
    PublisherClosed,
    PublisherNotOpen,
    Record,
    SerializationError,
    UsageError,
    emits,
)
from eventpub.transports.memory import MemoryBroker
from support.loop_thread import LoopThread
from tests.portal.test_portal import in_thread
from tests.publisher.kit import Noted, one_partition, opened, record, values


@emits(Noted)
def note(key: str) -> Noted:
    """Return an event."""
    return Noted(key=key)


@emits("noted")
async def note_async(key: str) -> Noted:
    """Return an event, too."""
    return Noted(key=key)


# --- finding the publisher ---------------------------------------------------------


async def test_a_worker_thread_of_anyio_finds_the_publisher_of_its_loop() -> None:
    """Nothing needs to be named, and the event is confirmed when the call returns."""
    broker = MemoryBroker()
    async with opened(broker):
        assert await anyio.to_thread.run_sync(note, "k") == Noted(key="k")
        assert len(values(broker, "notes")) == 1


async def test_other_threads_need_a_name_or_a_binding() -> None:
    """They belong to no loop; a thread of ``asyncio.to_thread`` sees the binding around its start."""
    broker = MemoryBroker()

    async with opened(broker) as publisher:
        with pytest.raises(UsageError, match=r"this thread belongs to no event loop.*publisher=.*bind\(\)"):
            await asyncio.to_thread(note, "1")
        with publisher.bind():
            await asyncio.to_thread(note, "2")

        def inside() -> Noted:
            with publisher.bind():
                return note("3")

        await in_thread(inside)
        named = emits(Noted, publisher=publisher)(lambda: Noted(key="4"))
        await in_thread(named)
    assert len(values(broker, "notes")) == 3


async def test_two_are_too_many_for_a_worker_thread_too() -> None:
    """And none is too few; the function is not called in either case."""

    @emits(Noted)
    def act() -> None:
        raise AssertionError("called")

    with pytest.raises(UsageError, match=r"no publisher is open on this event loop; name one by publisher="):
        await anyio.to_thread.run_sync(act)
    async with opened(MemoryBroker()), opened(MemoryBroker()):
        with pytest.raises(UsageError, match=r"2 publishers are open"):
            await anyio.to_thread.run_sync(act)


async def test_on_the_loops_own_thread_it_is_refused_before_it_runs() -> None:
    """However the publisher is found; the message says what to do."""

    def act() -> Noted:
        raise AssertionError("called")

    async with opened(MemoryBroker()) as publisher:
        for decorated in (emits(Noted)(act), emits(Noted, publisher=publisher)(act), emits(Noted, wait=False)(act)):
            with pytest.raises(UsageError, match=r"act is a plain function.*`async def`.*await asyncio.to_thread\("):
                decorated()
        with publisher.bind(), pytest.raises(UsageError, match="plain function"):
            emits(Noted)(act)()


async def test_before_it_is_open_and_after_it_closed() -> None:
    """Not open: the function is not called. Closed: the error has its result."""
    publisher = Publisher(MemoryBroker(), source="/tests")
    act = emits(Noted, publisher=publisher)(lambda: Noted(key="k"))
    with pytest.raises(PublisherNotOpen):
        await in_thread(act)
    async with publisher:
        await in_thread(act)
    with pytest.raises(PublisherClosed) as caught:
        await in_thread(act)
    assert caught.value.result == Noted(key="k")


# --- publishing --------------------------------------------------------------------


async def test_whatever_it_returns_is_published_as_from_a_coroutine() -> None:
    """Events, lists, mappings, methods, ``map``; nothing of ``None`` or an error of its own."""
    broker = one_partition()

    class Service:
        @emits("noted", topic="t", map=lambda result, _self, key: [Noted(key=key), {"key": str(result)}], key="key")
        def act(self, key: str) -> int:
            return 42

        @emits("noted")
        def nothing(self) -> None:
            return None

        @emits("noted")
        def fail(self) -> None:
            raise KeyError("own")

    async with opened(broker) as publisher:
        assert await anyio.to_thread.run_sync(Service().act, "k") == 42
        await anyio.to_thread.run_sync(Service().nothing)
        with pytest.raises(KeyError, match="own"):
            await anyio.to_thread.run_sync(Service().fail)
        assert publisher.statistics().persisted == 2
    assert [logged.key for logged in broker.records("t")] == [b"k", b"42"]


async def test_failures_carry_the_result_across() -> None:
    """Before and after the crossing; no pickle has it."""

    @emits(Noted)
    def act(result: Any) -> Any:
        return result

    broker = one_partition(max_message_bytes=300)
    several = [record("SECRET" * 100), record(2)]
    async with opened(broker):
        for result, expected in (
            ({"bad": "SECRET"}, SerializationError),
            ("SECRET", UsageError),
            (several, ExceptionGroup),
        ):
            with pytest.raises(expected) as caught:
                await anyio.to_thread.run_sync(act, result)
            assert caught.value.result is result  # type: ignore[attr-defined]
            assert b"SECRET" not in pickle.dumps(caught.value)
    assert values(broker) == ["2"]


async def test_log_never_raises_into_the_caller(caplog: pytest.LogCaptureFixture) -> None:
    """Not even on the loop's own thread, or without a publisher."""

    @emits(Noted, on_failure="log")
    def act(result: Any) -> Any:
        return result

    async with opened(MemoryBroker()):
        assert await anyio.to_thread.run_sync(act, {"bad": "SECRET"}) == {"bad": "SECRET"}
        assert act({"key": "SECRET"}) == {"key": "SECRET"}
    assert await in_thread(functools.partial(act, {"key": "SECRET"})) == {"key": "SECRET"}
    messages = [entry.getMessage() for entry in caplog.records if entry.name == "eventpub.emits"]
    assert [message.partition("confirmed: ")[2].split(":")[0] for message in messages] == [
        "SerializationError",
        "UsageError",
        "UsageError",
    ]
    assert "SECRET" not in caplog.text


async def test_wait_false_goes_on_and_close_drains() -> None:
    """It comes back while the broker is still busy; no room is said at once."""
    broker = one_partition()

    @emits("noted", wait=False)
    def act(number: int) -> Record:
        return record(number)

    async with Publisher(broker, buffer=BufferLimits(max_records=2)) as publisher:
        broker.pause()
        await anyio.to_thread.run_sync(act, 1)
        await anyio.to_thread.run_sync(act, 2)
        assert publisher.statistics().unconfirmed == 2
        with pytest.raises(BufferFullError) as caught:
            await anyio.to_thread.run_sync(act, 3)
        assert caught.value.result == record(3)
        broker.resume()
    assert values(broker) == ["1", "2"]


async def test_one_thread_after_another_keeps_the_order_of_their_returns() -> None:
    """Who returned first is in the log first."""
    broker = one_partition()
    returned: list[str] = []

    @emits("noted")
    def act(number: int) -> Record:
        returned.append(str(number))
        return record(number)

    async with opened(broker) as publisher:
        with publisher.bind():
            for number in range(20):
                await asyncio.to_thread(act, number)
    assert values(broker) == returned


# --- where applications run --------------------------------------------------------


def test_a_web_application_names_no_publisher() -> None:
    """Opened in the lifespan, found in endpoints of both kinds, whose signatures FastAPI still reads."""
    broker = MemoryBroker()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with Publisher(broker, source="/web"):
            yield

    app = FastAPI(lifespan=lifespan)
    app.get("/async/{key}")(note_async)
    app.get("/plain/{key}")(note)

    with TestClient(app) as client:
        for path in ("/async/a", "/plain/b"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["key"]) == (200, path[-1])
    assert {logged.key for logged in broker.records("notes")} == {b"a", b"b"}


def test_a_program_without_a_loop_binds_once() -> None:
    """Synchronous code, as in Django under WSGI: a loop in a thread, and the publisher by its name."""
    broker = MemoryBroker()
    thread = LoopThread("publisher")
    thread.start()
    try:
        publisher = Publisher(broker, source="/wsgi")
        thread.call(publisher.open())
        with publisher.bind():
            note("k")
        thread.call(publisher.aclose())
    finally:
        thread.stop()
    assert len(values(broker, "notes")) == 1
