"""Who waits for an acknowledgement is told in order, and a large batch's callers not all in one turn."""

from __future__ import annotations

import asyncio
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest

from eventpub import CRITICAL
from eventpub.transports.memory import MemoryTransport
from tests.publisher.kit import one_partition, opened, record, turns

if TYPE_CHECKING:
    from eventpub import Publisher
    from eventpub.abc import Posted

PART = 48


class Turns:
    """Counts the turns of the event loop."""

    def __init__(self) -> None:
        self.now = 0
        self._task = asyncio.create_task(self._count())

    async def _count(self) -> None:
        while True:
            self.now += 1
            await asyncio.sleep(0)

    def stop(self) -> None:
        """Count no more."""
        self._task.cancel()


async def heard(publisher: Publisher, count: int) -> list[tuple[int, int]]:
    """Publish *count* records in one batch; return who heard of it in which turn, in order."""
    told: list[tuple[int, int]] = []
    clocks: list[Turns] = []

    async def caller(number: int) -> None:
        await publisher.publish(record(number))
        if not clocks:  # not sooner: while it runs, virtual time stands still
            clocks.append(Turns())
        told.append((clocks[0].now, number))

    await asyncio.gather(*map(caller, range(count)))
    clocks[0].stop()
    return told


async def test_all_are_told_in_order_a_part_in_each_turn() -> None:
    """Half of those left, at least 48: what the first ones publish next is on its way meanwhile."""
    async with opened(one_partition()) as publisher:
        told = await heard(publisher, 300)
        assert [number for _, number in told] == list(range(300))
        parts = [len(list(part)) for _, part in groupby(turn for turn, _ in told)]
        assert parts == [PART, 126, 63, PART, 15]


async def test_a_few_are_told_in_one_turn() -> None:
    """Each request costs more than splitting so few of them gains."""
    async with opened(one_partition()) as publisher:
        told = await heard(publisher, PART)
        assert len({turn for turn, _ in told}) == 1


async def test_the_next_events_of_the_first_part_go_ahead() -> None:
    """They make a batch of their own, which is under way while the others are told."""
    broker = one_partition()
    broker.latency(0.002)
    async with opened(broker) as publisher:

        async def caller(number: int) -> None:
            for turn in range(2):
                await publisher.publish(record((turn, number)))

        await asyncio.gather(*map(caller, range(100)))
        statistics = publisher.statistics()
        assert (statistics.persisted, statistics.attempts) == (200, 3)


async def test_what_is_ready_is_written_before_anybody_publishes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transport writes in its next turn of the loop; the callers of the batch before take theirs after that."""
    seen: list[str] = []
    post = MemoryTransport.post

    def write(self: MemoryTransport, *args: Any) -> Posted:
        asyncio.get_running_loop().call_soon(seen.append, "written")
        return post(self, *args)

    monkeypatch.setattr(MemoryTransport, "post", write)
    async with opened(one_partition(), profile=CRITICAL.replace(batch_size=1_000)) as publisher:

        async def caller(number: int) -> None:
            await publisher.publish(record("x" * 400 + str(number)))
            seen.append("told")

        await asyncio.gather(*map(caller, range(4)))
    assert seen == ["written", "written", "told", "told", "told", "told"]


@pytest.mark.parametrize("seconds, parts", [(0.01, 4), (0.05, 1)])
async def test_callers_of_a_broker_far_away_are_told_together(seconds: float, parts: int) -> None:
    """They publish again long before its answer: two requests would take two round trips."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record("first"))
        broker.latency(seconds)
        told = await heard(publisher, 200)
        assert len({turn for turn, _ in told}) == parts


async def test_one_who_is_cancelled_before_he_was_told() -> None:
    """He hears of his cancellation, and the others of their events."""
    async with opened(one_partition()) as publisher:
        tasks = [asyncio.create_task(publisher.publish(record(number))) for number in range(200)]
        tasks[0].add_done_callback(lambda _: tasks[-1].cancel())
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results.pop(), asyncio.CancelledError)
        assert [getattr(result, "offset", result) for result in results] == list(range(199))
        assert publisher.statistics().persisted == 200


@pytest.mark.parametrize("closing", [False, True], ids=["flush", "aclose"])
async def test_all_were_told_when_a_flush_or_a_close_returns(closing: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Whoever flushed may ask his pending deliveries for their outcomes at once."""
    async with opened(one_partition()) as publisher:
        pending = [publisher.publish_nowait(record(number)) for number in range(500)]
        await (publisher.aclose() if closing else publisher.flush())
        assert all(each.done() for each in pending)


async def test_a_flush_that_begins_while_some_are_yet_to_be_told() -> None:
    """Their events are confirmed, so it does not wait for them; it tells them before it returns."""
    async with opened(one_partition()) as publisher:
        pending = [publisher.publish_nowait(record(number)) for number in range(500)]
        while not pending[0].done():
            await turns(1)
        assert not pending[-1].done()
        report = await publisher.flush()
        assert report.confirmed == 0
        assert all(each.done() for each in pending)


async def test_small_groups_are_never_split() -> None:
    """However many were told before: what is left of a turn's share is made up for in time."""
    async with opened(one_partition()) as publisher:
        for _ in range(6):
            told = await heard(publisher, 20)
            assert len({turn for turn, _ in told}) == 1
