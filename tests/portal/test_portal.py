"""The portal: threads publish on the publisher's loop. In real time, because threads are not virtual."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import os
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import anyio
import pytest

from eventpub import (
    Delivery,
    NotPersistedError,
    PossiblyPersistedError,
    Publisher,
    PublisherClosed,
    PublisherNotOpen,
    PublisherState,
    SerializationError,
    UnavailableError,
    UsageError,
    delivery_budget,
)
from eventpub.transports.memory import MemoryBroker
from support.loop_thread import LoopThread
from tests.publisher.kit import Noted, one_partition, opened, record, values

T = TypeVar("T")

_PATIENCE = 10.0


def start(function: Callable[[], T]) -> Future[T]:
    """Call *function* in a plain thread of its own."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 - handed to the test
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


async def in_thread(function: Callable[[], T]) -> T:
    """Call *function* in a plain thread, and await it."""
    return await asyncio.wait_for(asyncio.wrap_future(start(function)), _PATIENCE)


async def eventually(holds: Callable[[], bool]) -> None:
    """Return once *holds*."""
    async with asyncio.timeout(_PATIENCE):
        while not holds():  # noqa: ASYNC110 - it looks at what has no event
            await asyncio.sleep(0.005)


def some_are(acknowledged: list[str]) -> bool:
    """Whether the threads are in the middle of it."""
    return len(acknowledged) > 20


async def in_executor(function: Callable[[], T]) -> T:
    """Call *function* in a thread pool."""
    with ThreadPoolExecutor(1) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, function)


@pytest.mark.parametrize("call", [in_thread, in_executor, asyncio.to_thread, anyio.to_thread.run_sync])
async def test_a_thread_publishes_and_waits(call: Callable[..., Coroutine[Any, Any, Any]]) -> None:
    """Whatever kind of thread it is, it has the acknowledgement when the call returns."""
    broker = one_partition()
    async with opened(broker) as publisher:
        portal = publisher.portal()
        delivery = await call(lambda: portal.publish(record(1, b"k")))
        reports = await call(lambda: portal.publish_many(record(n) for n in (2, 3)))
    assert isinstance(delivery, Delivery)
    assert (delivery.topic, delivery.offset) == ("t", 0)
    assert [report.offset for report in reports.deliveries] == [1, 2]
    assert values(broker) == ["1", "2", "3"]


async def test_it_may_be_asked_for_in_any_thread() -> None:
    """A thread that has the publisher needs nothing else; any number of handles are one."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await in_thread(lambda: publisher.portal().publish(record(1)))
        await in_thread(lambda: publisher.portal().publish(record(2), timeout=5))
        assert repr(publisher.portal()) == "<Portal of <Publisher open>>"
    assert values(broker) == ["1", "2"]


async def test_errors_are_those_of_publish() -> None:
    """A failed delivery, a wrong value, a wrong kind: raised in the thread, with the event."""
    async with opened(MemoryBroker()) as publisher:
        portal = publisher.portal()
        broken = Noted.model_construct(key=object())
        with pytest.raises(SerializationError) as caught:
            await in_thread(lambda: portal.publish(broken))
        assert caught.value.record is broken
        for wrong in (lambda: portal.publish("text"), lambda: portal.publish_many(Noted(key="k"))):  # type: ignore[arg-type]
            with pytest.raises(UsageError, match=r"expected (an Event|several)"):
                await in_thread(wrong)


async def test_the_timeout_is_the_budget() -> None:
    """Nothing runs on behind a thread that was told: the event is withdrawn, or its outcome known."""
    broker = MemoryBroker()
    broker.down()
    async with opened(broker) as publisher:
        portal = publisher.portal()
        with pytest.raises(UnavailableError) as caught:
            await in_thread(lambda: portal.publish(Noted(key="k"), timeout=0.1))
        assert caught.value.reason == "budget"
        assert publisher.statistics().unconfirmed == 0


async def test_many_threads_at_once_lose_nothing_and_keep_their_order() -> None:
    """Eight threads with forty events each: all there, once, each thread's in its order."""
    broker = one_partition()

    def publish_all(portal: Any, name: int) -> None:
        for number in range(40):
            portal.publish(record(f"{name} {number:02}"))

    async with opened(broker) as publisher:
        portal = publisher.portal()
        await asyncio.gather(*(in_thread(functools.partial(publish_all, portal, name)) for name in range(8)))
    logged = values(broker)
    assert len(logged) == len(set(logged)) == 320
    for name in range(8):
        own = [value for value in logged if value.startswith(f"{name} ")]
        assert own == sorted(own)


# --- where it is refused -----------------------------------------------------------


async def test_on_the_loops_own_thread_it_is_refused() -> None:
    """It would wait for itself; the message says what to do. Nothing is sent, and no coroutine left over."""
    async with opened(MemoryBroker()) as publisher:
        portal = publisher.portal()
        assert portal.on_own_loop()
        for call in (
            lambda: portal.publish(record(1)),
            lambda: portal.publish_many([]),
            lambda: portal.call(publisher.flush),
        ):
            with pytest.raises(UsageError, match=r"on the event loop's own .*; await publisher.publish\(\) here"):
                call()
        assert not await in_thread(portal.on_own_loop)
        assert publisher.statistics().attempts == 0


def test_before_it_was_open() -> None:
    """There is no loop to publish on yet."""
    with pytest.raises(PublisherNotOpen, match="publish inside `async with publisher`"):
        Publisher("memory://").portal()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
async def test_in_a_forked_child_it_is_refused() -> None:
    """The loop did not come along: a call would wait for ever."""
    async with opened(MemoryBroker()) as publisher:
        portal = publisher.portal()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: fork among threads
            child = os.fork()
        if child == 0:
            try:
                contextvars.Context().run(asyncio._set_running_loop, None)
                portal.publish(record(1))
            except UsageError as error:
                os._exit(0 if "before a fork" in str(error) else 1)
            finally:
                os._exit(2)
        _, status = os.waitpid(child, 0)  # noqa: ASYNC222 - the child does little
    assert os.waitstatus_to_exitcode(status) == 0


# --- closing -----------------------------------------------------------------------


async def test_after_the_close_it_is_refused() -> None:
    """Safe to publish elsewhere, and the event comes back with the error."""
    async with opened(MemoryBroker()) as publisher:
        portal = publisher.portal()
    event = Noted(key="k")
    for call in (lambda: portal.publish(event), lambda: publisher.portal().publish(event)):
        with pytest.raises(PublisherClosed, match="this publisher is closed; nothing was sent") as caught:
            await in_thread(call)
        assert isinstance(caught.value, NotPersistedError)
        assert caught.value.event_id == event.envelope.id
        assert caught.value.record is event


async def test_after_the_close_the_loop_is_not_even_asked() -> None:
    """It may have ended: a refusal comes while the loop stands still."""
    async with opened(MemoryBroker()) as publisher:
        portal = publisher.portal()
    refused = start(lambda: portal.publish(record(1)))
    assert isinstance(refused.exception(_PATIENCE), PublisherClosed)  # nothing runs on this loop meanwhile


async def test_calls_under_way_end_inside_the_close(caplog: pytest.LogCaptureFixture) -> None:
    """When it returns, each thread has its outcome: delivered while draining, or ended by the close."""
    broker = one_partition()
    async with opened(broker) as publisher:
        portal = publisher.portal()
        broker.latency(0.2)
        drained = start(lambda: portal.publish(record(1)))
        await eventually(lambda: publisher.statistics().unconfirmed == 1)
        await publisher.aclose(5)
        assert drained.result(_PATIENCE).offset == 0
    broker.pause()
    async with opened(broker) as publisher:
        portal = publisher.portal()
        ended = start(lambda: portal.publish(record(2)))
        await eventually(lambda: publisher.statistics().unconfirmed == 1)
        report = await publisher.aclose(0.05)
        assert isinstance(ended.exception(_PATIENCE), PossiblyPersistedError | UnavailableError)
        assert len(report.unconfirmed) == 1
    broker.resume()
    gc.collect()
    assert "never retrieved" not in caplog.text  # the thread has its error, and no log line is due


async def test_while_it_closes_new_calls_are_refused() -> None:
    """They do not prolong the close."""
    broker = one_partition()
    async with opened(broker) as publisher:
        portal = publisher.portal()
        broker.pause()
        publisher.publish_nowait(record(1))
        closing = asyncio.create_task(publisher.aclose(0.3))
        await asyncio.sleep(0)
        with pytest.raises(PublisherClosed, match="draining"):
            await in_thread(lambda: portal.publish(record(2)))
        await closing
        broker.resume()


async def test_a_close_among_many_calls_leaves_no_thread_waiting() -> None:
    """Every call ends: with its acknowledgement, which is in the log, or refused, which is not."""
    for _ in range(10):
        broker = one_partition()
        acknowledged: list[str] = []

        def publish_until_closed(portal: Any, name: int, acknowledged: list[str] = acknowledged) -> int:
            for number in range(100_000):
                try:
                    portal.publish(record(f"{name} {number}"))
                except PublisherClosed:
                    return number
                acknowledged.append(f"{name} {number}")
            raise AssertionError("it was never closed")

        publisher = Publisher(broker)
        await publisher.open()
        threads = [start(functools.partial(publish_until_closed, publisher.portal(), name)) for name in range(6)]
        await eventually(functools.partial(some_are, acknowledged))
        await publisher.aclose(5)
        done = await asyncio.wait_for(asyncio.gather(*map(asyncio.wrap_future, threads)), _PATIENCE)
        assert sorted(values(broker)) == sorted(acknowledged)
        assert sum(done) == len(acknowledged)


async def test_a_call_that_does_not_end_is_cancelled_by_the_close() -> None:
    """Such as one that awaits the close itself: nothing waits for anything for ever."""
    async with opened(MemoryBroker()) as publisher:
        portal = publisher.portal()
        hanging = start(lambda: portal.call(asyncio.sleep, 1000))
        closing = start(lambda: portal.call(publisher.aclose))
        await eventually(lambda: publisher.state.value == "closed")
        for ended in (hanging, closing):
            with pytest.raises(PossiblyPersistedError, match="ended, or was cancelled"):
                await asyncio.wait_for(asyncio.wrap_future(ended), _PATIENCE)


def test_a_loop_that_ends_unclosed_leaves_no_thread_waiting() -> None:
    """Nobody closed the publisher: what is not known is said, what comes later is refused."""
    broker = one_partition()
    broker.pause()
    thread = LoopThread("abandoned")
    thread.start()
    publisher = Publisher(broker, source="/tests")
    thread.call(publisher.open())
    portal = publisher.portal()
    event = Noted(key="k")
    waiting = start(lambda: portal.publish(event))
    patience = time.monotonic() + _PATIENCE
    while publisher.statistics().unconfirmed == 0 and time.monotonic() < patience:
        time.sleep(0.005)
    thread.stop()
    error = waiting.exception(_PATIENCE)
    assert isinstance(error, PossiblyPersistedError)
    assert (error.event_id, error.record) == (event.envelope.id, event)
    with pytest.raises(PublisherClosed, match="has no running event loop any more"):
        portal.publish(event)
    publisher._state = PublisherState.CLOSED  # nobody can close it any more, and it would warn of that


def test_a_loop_that_stands_still_refuses() -> None:
    """Between two runs nobody would answer; when it runs again the portal works again."""
    broker = one_partition()
    with asyncio.Runner() as runner:
        publisher = Publisher(broker)
        runner.run(publisher.open())
        with pytest.raises(PublisherClosed, match="nothing was sent"):
            publisher.portal().publish(record(1))

        async def publish() -> Delivery:
            return await in_thread(lambda: publisher.portal().publish(record(2)))

        assert runner.run(publish()).offset == 0
        runner.run(publisher.aclose())


# --- contexts and interruptions ----------------------------------------------------


async def test_a_call_sees_the_context_of_its_thread_and_no_other() -> None:
    """Its variables and its budget; not those of whoever opened the publisher or asked for the portal."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []

    async def look() -> None:
        seen.append(variable.get())

    broker = MemoryBroker()
    variable.set("opener")
    async with opened(broker) as publisher:
        with delivery_budget(0.05):
            portal = publisher.portal()
        await asyncio.sleep(0.1)
        await in_thread(lambda: portal.publish(Noted(key="k")))  # the budget around portal() is over
        await in_thread(lambda: portal.call(look))
        variable.set("thread")
        await asyncio.to_thread(portal.call, look)  # this kind of thread copies its starter's context
        assert seen == ["none", "thread"]
        broker.down()
        with delivery_budget(0.2), pytest.raises(UnavailableError):
            await asyncio.to_thread(portal.publish, Noted(key="k"))


async def test_an_interrupted_call_is_withdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a thread that waits takes back what was not sent, as cancelling a publish does."""
    broker = MemoryBroker()
    broker.down()
    async with opened(broker) as publisher:
        portal = publisher.portal()

        def interrupted(_calls: Any, _future: Any) -> None:
            while publisher.statistics().unconfirmed == 0:
                time.sleep(0.005)
            raise KeyboardInterrupt

        monkeypatch.setattr("eventpub.portal.Calls._outcome", interrupted)
        with pytest.raises(KeyboardInterrupt):
            await in_thread(lambda: portal.publish(Noted(key="k")))
        await eventually(lambda: publisher.statistics().withdrawn == 1)


async def test_a_call_may_raise_its_own_timeout() -> None:
    """It is not taken for ours."""

    async def expire() -> None:
        raise TimeoutError("own")

    async with opened(MemoryBroker()) as publisher:
        with pytest.raises(TimeoutError, match="own"):
            await in_thread(lambda: publisher.portal().call(expire))


@pytest.fixture
def loop_thread() -> Iterator[LoopThread]:
    """Run a loop beside a program that has none."""
    thread = LoopThread("publisher")
    thread.start()
    yield thread
    thread.stop()


def test_a_program_without_a_loop_keeps_one_in_a_thread(loop_thread: LoopThread) -> None:
    """As Django under WSGI does: opened, used and closed from threads that have no loop."""
    broker = one_partition()
    publisher = Publisher(broker)
    loop_thread.call(publisher.open())
    assert publisher.portal().publish(record(1)).offset == 0
    assert publisher.portal().call(publisher.flush).confirmed == 0
    loop_thread.call(publisher.aclose())
    assert values(broker) == ["1"]


def test_a_thread_with_another_loop_may_wait(loop_thread: LoopThread) -> None:
    """It blocks that loop, which is its own affair; the publisher's goes on."""
    publisher = Publisher(one_partition())
    loop_thread.call(publisher.open())

    async def elsewhere() -> Delivery:
        return publisher.portal().publish(record(1))

    assert asyncio.run(elsewhere()).offset == 0
    loop_thread.call(publisher.aclose())
