"""Requests on a connection: merged, one at a time, each batch with its own deadline."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from eventpub.abc import InDoubt, NotSent, Rejected, Unacknowledged
from eventpub.transports.memory import MemoryBroker
from tests.unit.transports.memory.conftest import Client, acked


def now() -> float:
    """Return the virtual time."""
    return asyncio.get_running_loop().time()


def timers() -> int:
    """Count what the loop still means to call."""
    scheduled = cast("list[asyncio.TimerHandle]", vars(asyncio.get_running_loop())["_scheduled"])
    return sum(not handle.cancelled() for handle in scheduled)


async def ready(client: Client, partition: int) -> None:
    """Wait until a batch of that partition could be written."""
    assert await client.ready(partition) is None


async def test_batches_of_one_turn_share_a_request(client: Client, broker: MemoryBroker) -> None:
    """Four partitions, one request, and their answers in one turn."""
    results = await asyncio.gather(*(client.put(0, b"x", partition=partition) for partition in range(4)))
    assert results == [acked(0)] * 4
    assert broker.received["produce"] == 1


async def test_acks_values_do_not_share_a_request(client: Client, broker: MemoryBroker) -> None:
    """Each has a connection of its own."""
    await asyncio.gather(client.put(0, b"x"), client.send(client.batch(None, b"y"), 1, acks=1))
    assert broker.received["produce"] == 2


async def test_ready_does_not_suspend_on_a_free_connection(client: Client) -> None:
    """The coroutine ends in its first step."""
    await client.put(0, b"0")
    waiting = client.ready(1)
    with pytest.raises(StopIteration) as ended:
        waiting.send(None)
    assert ended.value.value is None


async def test_ready_waits_while_a_request_is_in_flight(client: Client, broker: MemoryBroker) -> None:
    """On that connection; another acks value is free."""
    broker.latency(0.9)
    sending = asyncio.create_task(client.put(0, b"0"))
    await asyncio.sleep(0.1)
    assert await client.ready(1, acks=1) is None
    assert now() == pytest.approx(0.1)
    await ready(client, 1)
    assert now() == pytest.approx(0.9)
    assert await sending == acked(0)


async def test_lanes_that_wait_are_released_together(client: Client, broker: MemoryBroker) -> None:
    """Whoever waited for the answer shares the next request."""
    broker.latency(0.5)

    async def lane(partition: int) -> None:
        await ready(client, partition)
        await client.put(0, b"x", partition=partition)

    first = asyncio.create_task(client.put(0, b"x"))
    await asyncio.sleep(0.1)
    await asyncio.gather(*(lane(partition) for partition in (1, 2, 3)))
    assert broker.received["produce"] == 2
    assert now() == pytest.approx(1)
    await first


async def test_batch_that_comes_too_early_leaves_with_the_next_request(client: Client, broker: MemoryBroker) -> None:
    """Without `ready` it waits its turn, inside its deadline."""
    broker.latency(0.5)
    results = await asyncio.gather(client.put(0, b"0"), _later(client, 0.1))
    assert [*results] == [acked(0), acked(0)]
    assert now() == pytest.approx(1)


async def _later(client: Client, seconds: float) -> object:
    await asyncio.sleep(seconds)
    return await client.put(0, b"x", partition=1)


async def test_batch_whose_turn_never_comes_was_not_sent(client: Client, broker: MemoryBroker) -> None:
    """Its deadline passed before a byte of it was written."""
    broker.latency(5)
    first = asyncio.create_task(client.send(client.batch(0, b"0"), timeout=9))
    await asyncio.sleep(0.1)
    assert isinstance(await client.put(0, b"1", partition=1), NotSent)
    assert now() == pytest.approx(1.1)
    assert await first == acked(0)
    await asyncio.sleep(10)
    assert client.log() == [b"0"]


async def test_partition_is_in_a_request_only_once(client: Client, broker: MemoryBroker) -> None:
    """Of two batches given in one turn the second leaves with the next request."""
    results = await asyncio.gather(client.put(0, b"0"), client.put(1, b"1"))
    assert [*results] == [acked(0), acked(1)]
    assert broker.received["produce"] == 2


async def test_request_carries_eight_mebibytes(client: Client, broker: MemoryBroker) -> None:
    """What is beyond leaves with the next request, in time; one batch alone may be larger."""
    broker.create_topic("large", 3, max_message_bytes=2**30)
    sizes = (9, 5, 5)
    batches = [client.batch(0, bytes(size * 2**20)) for size in sizes]
    sent = (client.send(batch, partition, topic="large") for partition, batch in enumerate(batches))
    assert await asyncio.gather(*sent) == [acked(0)] * 3
    assert broker.received["produce"] == 3


async def test_second_batch_of_a_partition_keeps_its_deadline(client: Client, broker: MemoryBroker) -> None:
    """It ends as not sent while the first is unanswered."""
    broker.latency(5)
    long = client.send(client.batch(0, b"0"), timeout=9)
    results = await asyncio.gather(long, client.put(1, b"1"))
    assert [type(result) for result in results] == [type(acked(0)), NotSent]


async def test_deadline_that_has_passed_sends_nothing(client: Client) -> None:
    """Not a byte."""
    assert isinstance(await client.send(client.batch(0, b"0"), timeout=0), NotSent)
    assert client.log() == []


async def test_shorter_deadline_ends_alone_and_is_answered_late(client: Client, broker: MemoryBroker) -> None:
    """The connection stays for the neighbour who has more time."""
    broker.latency(2)
    short = client.batch(0, b"short")
    results = await asyncio.gather(
        client.send(short, 0, timeout=1), client.send(client.batch(0, b"long"), 1, timeout=3)
    )
    assert isinstance(results[0], InDoubt)
    assert results[1] == acked(0)
    assert now() == pytest.approx(2)
    assert client.late == [(("t", 0), short, acked(0))]


async def test_longest_deadline_closes_the_connection(client: Client, broker: MemoryBroker) -> None:
    """Both in doubt, each at its own time; whoever waits goes on over a new connection."""
    broker.latency(9)
    short = asyncio.create_task(client.send(client.batch(0, b"short"), 0, timeout=1))
    long = asyncio.create_task(client.send(client.batch(0, b"long"), 1, timeout=3))
    assert isinstance(await short, InDoubt)
    assert now() == pytest.approx(1)
    await ready(client, 2)
    assert now() == pytest.approx(3)
    assert isinstance(await long, InDoubt)
    await asyncio.sleep(60)
    assert client.late == []
    assert client.log() == [b"short", b"long"]


async def test_equal_deadlines_close_one_connection_once(client: Client, broker: MemoryBroker) -> None:
    """The second of two equal deadlines does not break what came after the first."""
    broker.hold_next()
    sending = [asyncio.create_task(client.put(0, b"x", partition=partition)) for partition in (0, 1)]
    await ready(client, 2)
    await asyncio.sleep(0.5)
    broker.latency(0.5)
    waiting = asyncio.create_task(_ready_then_put(client))
    assert [type(await task) for task in sending] == [InDoubt, InDoubt]
    assert await waiting == acked(0)
    assert now() == pytest.approx(1.5)


async def _ready_then_put(client: Client) -> object:
    await ready(client, 2)
    return await client.put(0, b"y", partition=2)


async def test_cancelled_before_the_write_is_not_sent(client: Client) -> None:
    """The neighbours of its request are."""
    withdrawn = asyncio.create_task(client.put(0, b"withdrawn"))
    kept = asyncio.create_task(client.put(0, b"kept", partition=1))
    await asyncio.sleep(0)
    withdrawn.cancel()
    assert await kept == acked(0)
    assert client.log() == [b"kept"]


async def test_cancelled_after_the_write_lands_and_is_told_late(client: Client, broker: MemoryBroker) -> None:
    """What was written stays in doubt; the connection is busy until the answer."""
    broker.latency(0.5)
    batch = client.batch(0, b"0")
    sending = asyncio.create_task(client.send(batch))
    await asyncio.sleep(0.1)
    sending.cancel()
    await ready(client, 1)
    assert now() == pytest.approx(0.5)
    assert client.log() == [b"0"]
    assert client.late == [(("t", 0), batch, acked(0))]


async def test_refused_acks_zero_batch_closes_only_its_connection(client: Client, broker: MemoryBroker) -> None:
    """That is all a broker can say to it; an acks=all batch in flight is not touched."""
    broker.latency(0.2)
    safe = asyncio.create_task(client.put(0, b"safe"))
    await asyncio.sleep(0)
    broker.reject_next(10, partition=1)
    assert await client.send(client.batch(None, b"refused"), 1, acks=0) == Unacknowledged("memory:1")
    assert await safe == acked(0)
    assert await client.send(client.batch(None, b"next"), 1, acks=0) == Unacknowledged("memory:1")
    await asyncio.sleep(1)
    assert client.log() == [b"safe", b"next"]


async def test_acks_zero_ends_when_the_socket_took_it(client: Client, broker: MemoryBroker) -> None:
    """Long before it arrives."""
    broker.latency(2)
    assert await client.send(client.batch(None, b"0"), acks=0) == Unacknowledged("memory:1")
    assert now() == 0
    assert client.log() == []
    await asyncio.sleep(2)
    assert client.log() == [b"0"]


@pytest.mark.parametrize("fault", ["latency", "throttle", "hold"])
async def test_close_leaves_no_timer_of_the_client(client: Client, broker: MemoryBroker, fault: str) -> None:
    """Whatever it waited for; what travels to the broker arrives all the same."""
    if fault == "latency":
        broker.latency(0.1)
    elif fault == "throttle":
        broker.throttle(60)
    elif fault == "hold":
        broker.hold_next(late_answer=True)
    sending = [asyncio.create_task(client.put(0, b"x", partition=partition)) for partition in (0, 1)]
    await asyncio.sleep(0.06)
    queued = asyncio.create_task(client.put(0, b"x", partition=2))
    waiting = asyncio.create_task(client.ready(3))
    missing = asyncio.create_task(client.transport.partitions("missing"))
    await asyncio.sleep(0)
    await client.transport.aclose(now())
    await client.transport.aclose(now())
    assert await waiting is None
    assert isinstance(await missing, (int, Rejected))
    assert not any(isinstance(result, Rejected) for result in await asyncio.gather(*sending, queued))
    assert timers() == 0


async def test_close_values(client: Client, broker: MemoryBroker) -> None:
    """In flight: in doubt. Waiting for its turn: not sent."""
    broker.hold_next()
    in_flight = asyncio.create_task(client.put(0, b"0"))
    await asyncio.sleep(0.1)
    queued = asyncio.create_task(client.put(0, b"1", partition=1))
    await asyncio.sleep(0.1)
    await client.transport.aclose(now())
    assert isinstance(await in_flight, InDoubt)
    assert isinstance(await queued, NotSent)
    assert now() == pytest.approx(0.2)
    broker.release()
    assert client.late == []
    assert client.log() == [b"0"]
