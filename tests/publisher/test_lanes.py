"""How a partition's batches get to the transport: posted where nothing has to be waited for, else by a task."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from eventpub import Delivery
from eventpub.transports.memory import MemoryBroker, MemoryTransport
from support.callbacks import callback_numbers
from support.no_callbacks import NoCallbacks
from tests.publisher.kit import STEADY, now, one_partition, opened, outcome, record, values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventpub.abc import AttemptDetails, Compression


@pytest.mark.parametrize("wrap, tasks", [(lambda transport: transport, 0), (NoCallbacks, 1)])
async def test_an_attempt_needs_no_task_where_the_transport_calls_back(wrap: Any, tasks: int) -> None:
    """With one that has only coroutines it needs one; both deliver the same."""
    broker = one_partition()
    async with opened(wrap(MemoryTransport(broker)), profile=STEADY) as publisher:
        await publisher.publish(record("warm"))
        broker.latency(0.1)
        pending = publisher.publish_nowait(record(1))
        await asyncio.sleep(0.05)
        assert len(asyncio.all_tasks() - {asyncio.current_task()}) == tasks
        assert isinstance(await pending, Delivery)
    assert values(broker) == ["warm", "1"]


@pytest.mark.parametrize("wrap", [lambda transport: transport, NoCallbacks])
async def test_a_record_that_cannot_be_encoded_fails_alone(wrap: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether its batch was to be posted or not; its neighbours are delivered in order."""
    broker = one_partition()
    encode = MemoryTransport.encode

    def refusing(self: MemoryTransport, records: Any, *args: Any) -> Any:
        if any(each.value == b"3" for each in records):
            raise ValueError("no such codec")
        return encode(self, records, *args)

    monkeypatch.setattr(MemoryTransport, "encode", refusing)
    async with opened(wrap(MemoryTransport(broker)), profile=STEADY) as publisher:
        await publisher.publish(record("warm"))
        outcomes = await asyncio.gather(*(outcome(publisher.publish(record(n))) for n in range(6)))
        await publisher.publish(record("after"))
    assert [isinstance(each, Delivery) for each in outcomes] == [True, True, True, False, True, True]
    assert values(broker) == ["warm", "0", "1", "2", "4", "5", "after"]


async def test_a_mistake_of_ours_is_the_loop_s_to_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the connection's, whose reader brought the answer; the partition goes on with the next event."""
    broker, reports = one_partition(), list[dict[str, Any]]()
    async with opened(broker, profile=STEADY) as publisher:
        await publisher.publish(record("warm"))
        asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
        partition = next(iter(publisher._engine._lanes())).partition  # type: ignore[union-attr]  # open
        works, mistakes = type(partition).record, [ZeroDivisionError("a mistake")]

        def mistaken(*args: Any) -> None:
            works(*args)
            if mistakes:
                raise mistakes.pop()

        monkeypatch.setattr(type(partition), "record", mistaken)
        assert isinstance(await publisher.publish(record(1)), Delivery)
        assert isinstance(await publisher.publish(record(2)), Delivery)
    assert [report["message"] for report in reports] == [
        "what came of an attempt on t[0] could not be recorded",
    ]
    assert isinstance(reports[0]["exception"], ZeroDivisionError)
    assert values(broker) == ["warm", "1", "2"]


async def test_what_an_answer_sets_off_runs_in_nobody_s_name() -> None:
    """Whoever's doing it was that the answer came."""
    broker, whose = one_partition(), ContextVar("whose", default="nobody")
    seen: list[str] = []

    class Hook:
        def on_attempt(self, _details: AttemptDetails) -> None:
            seen.append(whose.get())

    async with opened(broker, profile=STEADY, hooks=[Hook()]) as publisher:
        whose.set("a request")
        await publisher.publish(record("warm"))
        broker.pause()
        pending = publisher.publish_nowait(record(1))
        await asyncio.sleep(0.1)
        broker.resume()
        await pending
        await publisher.publish(record(2))
    assert seen == ["nobody"] * 3


async def test_new_partitions_share_the_first_request_with_those_in_use() -> None:
    """The producer id is known by then."""
    broker = MemoryBroker()
    broker.create_topic("t", 4)
    async with opened(broker, profile=STEADY) as publisher:
        await publisher.publish(record("warm", partition=0))
        broker.latency(0.1)
        began = now()
        await publisher.publish_many([record(n, partition=n) for n in range(4)])
        assert now() - began < 0.15


@pytest.fixture
def encoded_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The numbers of the event loop's callbacks in which batches were encoded."""
    encode, numbers = MemoryTransport.encode, list[int]()
    with callback_numbers() as number:

        def noting(self: MemoryTransport, *args: Any) -> Any:
            numbers.append(number())
            return encode(self, *args)

        monkeypatch.setattr(MemoryTransport, "encode", noting)
        yield numbers


@pytest.mark.parametrize("size, codec, callbacks", [(100, "none", 1), (100_000, "none", 4), (3_000, "gzip", 4)])
async def test_what_takes_long_is_encoded_in_callbacks_of_its_own(
    size: int, codec: Compression, callbacks: int, encoded_in: list[int]
) -> None:
    """All that is published in one turn goes with the same request in each case."""
    broker = MemoryBroker()
    broker.create_topic("t", 4)
    async with opened(broker, profile=STEADY.replace(compression=codec)) as publisher:
        await publisher.publish(record("warm"))
        encoded_in.clear()
        broker.latency(0.1)
        began = now()
        await publisher.publish_many([record("x" * size, partition=n) for n in range(4)])
        assert now() - began < 0.15
    assert len(encoded_in) == 4
    assert len(set(encoded_in)) == callbacks


async def test_many_partitions_are_many_callbacks(encoded_in: list[int]) -> None:
    """However little each of them sends: every batch takes its time."""
    broker = MemoryBroker()
    broker.create_topic("t", 100)
    async with opened(broker, profile=STEADY) as publisher:
        await publisher.publish(record("warm"))
        encoded_in.clear()
        await publisher.publish_many([record(n, partition=n) for n in range(100)])
    assert len(set(encoded_in)) == 100


async def test_a_busy_partition_keeps_no_other_waiting() -> None:
    """What came for another while its request was in flight goes with the next one."""
    broker = MemoryBroker()
    broker.create_topic("t", 2)
    async with opened(broker, profile=STEADY) as publisher:
        await publisher.publish_many([record("warm", partition=0), record("warm", partition=1)])
        broker.latency(0.1)

        async def busy() -> None:
            for _ in range(20):
                publisher.publish_nowait(record("x", partition=0))
                await asyncio.sleep(0.05)

        task = asyncio.create_task(busy())
        await asyncio.sleep(0.25)
        began = now()
        await publisher.publish(record("other", partition=1))
        assert now() - began <= 0.2 + 0.01
        await task
