"""Random faults against a sender that follows the rules: nothing lost, nothing twice, and repeatable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from eventpub.abc import Acked, WireBatch
from eventpub.transports.memory import LoggedRecord, MemoryBroker
from support import virtual_time
from tests.unit.transports.memory.conftest import NOW, Client

Fault = Callable[[MemoryBroker], object]

PARTITIONS = 2
FAULTS: dict[str, Fault] = {
    "nothing": lambda broker: None,
    "reject": lambda broker: broker.reject_next(6),
    "appended": lambda broker: broker.reject_next(7, appended=True),
    "lose": lambda broker: broker.lose_next_ack(),
    "swallow": lambda broker: broker.lose_next_ack(disconnect=False),
    "drop": lambda broker: broker.drop_next(partition=1),
    "hold": lambda broker: broker.hold_next(times=2),
    "answer late": lambda broker: broker.hold_next(late_answer=True),
    "release": lambda broker: broker.release(),
    "cannot write": lambda broker: broker.not_sent_next(),
    "pause": lambda broker: broker.pause(1),
    "resume": lambda broker: broker.resume(),
    "kill": lambda broker: broker.down(2),
    "start": lambda broker: broker.up(),
    "clog": lambda broker: broker.clog(),
    "unclog": lambda broker: broker.unclog(),
    "far away": lambda broker: broker.latency(1.5),
    "near": lambda broker: broker.latency(0),
    "quota": lambda broker: broker.throttle(0.7),
    "lag": lambda broker: broker.stall_replication("t", 0),
    "catch up": lambda broker: broker.resume_replication("t", 0),
    "too few": lambda broker: broker.not_enough_replicas("t", 1),
    "enough": lambda broker: broker.enough_replicas("t", 1),
    "elect": lambda broker: broker.move_leader("t", 0, 2),
    "leaderless": lambda broker: broker.leaderless("t", 1),
    "heal": lambda broker: broker.heal(),
}
SCHEDULES = st.lists(st.tuples(st.sampled_from(sorted(FAULTS)), st.floats(0, 2)), max_size=25)
Schedule = list[tuple[str, float]]


async def _until_acked(client: Client, batch: WireBatch, partition: int) -> None:
    while True:
        assert await client.ready(partition) is None
        result = await client.send(batch, partition)
        if isinstance(result, Acked):
            return
        # The same bytes again, which is right whether the attempt was refused or in doubt.
        await asyncio.sleep(0.05)


async def _lane(client: Client, partition: int) -> None:
    for sequence in range(0, 20, 2):
        batch = client.batch(sequence, b"%d" % sequence, b"%d" % (sequence + 1))
        await _until_acked(client, batch, partition)
        await asyncio.sleep(0.3)


async def _break(broker: MemoryBroker, schedule: Schedule) -> None:
    for fault, pause in schedule:
        FAULTS[fault](broker)
        await asyncio.sleep(pause)
    broker.heal()


def _broker() -> MemoryBroker:
    broker = MemoryBroker(brokers=2, now=lambda: NOW)
    broker.create_topic("t", PARTITIONS)
    return broker


async def _run(schedule: Schedule) -> tuple[float, tuple[LoggedRecord, ...], dict[str, int]]:
    broker = _broker()
    client = Client(broker)
    await client.open()
    lanes = [_lane(client, partition) for partition in range(PARTITIONS)]
    await asyncio.gather(_break(broker, schedule), *lanes)
    await client.aclose()
    broker.release()
    return asyncio.get_running_loop().time(), broker.records("t"), dict(broker.injected)


@given(SCHEDULES)
@settings(max_examples=150, deadline=None)
def test_frozen_resends_are_exactly_once_and_in_order(schedule: Schedule) -> None:
    """Whatever goes wrong in between, each partition ends as 0…19."""
    _, records, _ = virtual_time.run(_run(schedule))
    for partition in range(PARTITIONS):
        values = [record.value for record in records if record.partition == partition]
        assert values == [b"%d" % number for number in range(20)]


@given(SCHEDULES)
@settings(max_examples=20, deadline=None)
def test_schedule_repeats_exactly(schedule: Schedule) -> None:
    """Times, offsets, order and effects are the same in every run."""
    assert virtual_time.run(_run(schedule)) == virtual_time.run(_run(schedule))
