"""What an earlier replay has left in the journal is settled before anything else goes."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from eventpub import PersistenceStatus, Record
from eventpub.abc import Acked, Stamp, TopicPartition, WireBatch
from eventpub.deadletter.replay import replay
from eventpub.deadletter.spooling import journal as journals
from eventpub.deadletter.spooling.journal import Journal
from eventpub.envelope import wall_clock
from eventpub.transports.memory import MemoryBroker, MemoryTransport
from tests.unit.deadletter.letters import letter, letters
from tests.unit.deadletter.replay.kit import (
    elsewhere,
    one_partition,
    publish,
    spool,
    unfinished,
    values,
    verdicts,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventpub.letter import DeadLetter

TASKS = TopicPartition("tasks", 0)
HOUR = 3600.0
TOO_LARGE, OUT_OF_ORDER = 10, 45


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the spool is to be."""
    return tmp_path / "spool.db"


class Silent:
    """Listens to nothing."""

    def on_late(self, *_args: object) -> None:
        """Hear of a late answer."""

    def on_partitions(self, *_args: object) -> None:
        """Hear of a partition count."""


async def killed(
    path: Path,
    broker: MemoryBroker,
    batch: Sequence[DeadLetter],
    *,
    sent: bool = True,
    age: float = 0,
    sequence: int = 0,
    monkeypatch: pytest.MonkeyPatch | None = None,
) -> WireBatch:
    """Leave what a replay leaves that is killed after a batch was begun: sent, or not yet."""
    transport = MemoryTransport(broker)
    await transport.start(Silent())
    producer = await transport.producer_id()
    assert not hasattr(producer, "code")
    stamp = Stamp(*producer, sequence)
    wire = transport.encode([each.record for each in batch], stamp, "none")
    begun = wall_clock() / 1e9 - age

    def begin() -> None:
        with closing(Journal(path)) as journal:
            journal.begin(TASKS, wire, [each.id for each in batch])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journals, "_now", lambda: begun)
        elsewhere(begin)
    loop = asyncio.get_running_loop()
    if sent:
        assert await transport.ready(TASKS, "all") is None
        assert isinstance(await transport.produce(TASKS, wire, "all", loop.time() + 5), Acked)
    await transport.aclose(loop.time())
    return wire


@pytest.mark.parametrize("sent", [True, False])
async def test_a_young_batch_is_sent_again_byte_for_byte(path: Path, *, sent: bool) -> None:
    """The broker drops it if it has it; letters go on behind it."""
    broker, dead = one_partition(), letters(4)
    spool(path, dead)
    await killed(path, broker, dead[:2], sent=sent)
    report = await replay(path, broker)
    assert (report.replayed, report.unfinished, values(broker)) == (4, 0, ["0", "1", "2", "3"])
    assert verdicts(path) == ["replayed"] * 4


@pytest.mark.parametrize("sent", [True, False])
async def test_an_old_batch_is_looked_for_and_never_sent_again(path: Path, *, sent: bool) -> None:
    """A broker that has forgotten the producer would take it a second time."""
    broker, dead = one_partition(), letters(3)
    spool(path, dead)
    await killed(path, broker, dead[:2], sent=sent, age=HOUR + 1)
    broker.forget_producers(*TASKS)
    report = await replay(path, broker)
    assert (report.replayed, report.unfinished, values(broker)) == (3, 0, ["0", "1", "2"])


async def test_a_batch_that_the_broker_cannot_place_is_looked_for(path: Path) -> None:
    """It remembers other sequences; what is in the log is in the log."""
    broker, dead = one_partition(), letters(3)
    spool(path, dead)
    wire = await killed(path, broker, dead[:2])
    broker.reject_next(OUT_OF_ORDER, topic="tasks")
    report = await replay(path, broker)
    assert (report.replayed, values(broker), broker.injected["reject_next"]) == (3, ["0", "1", "2"], 1)
    assert wire.count == 2


async def test_another_refusal_is_trusted_only_when_copies_on_their_way_are_over(path: Path) -> None:
    """Twice the request timeout: what is still in a socket could be taken, although this one was not."""
    broker, dead = one_partition(), letters(2)
    spool(path, dead)
    await killed(path, broker, dead, sent=False)
    broker.reject_next(TOO_LARGE, topic="tasks")
    before = asyncio.get_running_loop().time()
    report = await replay(path, broker)
    assert (report.replayed, values(broker)) == (2, ["0", "1"])
    assert asyncio.get_running_loop().time() - before >= 20


async def test_brokers_that_are_away_leave_it_for_the_next_run(path: Path) -> None:
    """Nothing else goes before it."""
    broker, dead = one_partition(), letters(3)
    spool(path, dead)
    await killed(path, broker, dead[:1], sent=False)
    broker.down()
    report = await replay(path, broker, timeout=5)
    assert (report.replayed, report.unfinished) == (0, 1)
    assert report.stopped == "tasks[0]: no broker told what became of a batch that was begun earlier"
    broker.up()
    assert (await replay(path, broker)).replayed == 3
    assert values(broker) == ["0", "1", "2"]


async def test_what_cannot_be_told_is_left_out_until_it_is_asked_for(path: Path) -> None:
    """Old, without an event id, and twice in the log: whose are they?"""
    broker = one_partition()
    nameless = letter(record=Record("tasks", b"same", b"k", timestamp=5))
    spool(path, [nameless, letter(b"other")])
    await killed(path, broker, [nameless], age=HOUR + 1)
    await publish(broker, [nameless.record])
    report = await replay(path, broker)
    assert (report.replayed, report.unfinished, values(broker)) == (1, 1, ["same", "same", "other"])
    assert "an earlier replay may have written it, and it has no event id" in report.left_out[0].text
    report = await replay(path, broker, include_possibly=True)
    assert (report.replayed, report.unfinished, values(broker)) == (1, 0, ["same", "same", "other", "same"])


async def test_a_dry_run_says_that_it_is_settled_first(path: Path) -> None:
    """And settles nothing."""
    broker, dead = one_partition(), letters(2)
    spool(path, dead)
    await killed(path, broker, dead[:1])
    report = await replay(path, broker, dry_run=True)
    assert ([note.id for note in report.would_replay], report.unfinished) == ([dead[1].id], 1)
    assert report.left_out[0].text == "an earlier replay may have sent it; the next one settles that first"
    assert len(unfinished(path)) == 1


async def test_letters_that_were_purged_meanwhile_are_not_missed(path: Path) -> None:
    """The bytes are in the journal."""
    broker, dead = one_partition(), letters(2)
    spool(path, dead[1:])
    await killed(path, broker, dead, sent=False)
    report = await replay(path, broker)
    assert (report.replayed, report.unfinished, values(broker)) == (1, 0, ["0", "1"])


# --- doubt within a replay ----------------------------------------------------------------------


async def test_a_lost_acknowledgement_costs_a_resend_and_makes_no_copy(path: Path) -> None:
    """The entry of the journal stays the same one."""
    broker = one_partition()
    broker.lose_next_ack(topic="tasks")
    report = await replay(spool(path, letters(3)), broker)
    assert (report.replayed, report.unfinished, values(broker)) == (3, 0, ["0", "1", "2"])


async def test_an_answer_that_comes_late_is_left_to_the_resend(path: Path) -> None:
    """There is one way in which a batch ends."""
    broker, dead = one_partition(), letters(3)
    broker.hold_next(topic="tasks", late_answer=True)
    running = asyncio.create_task(replay(spool(path, dead), broker, timeout=30))
    await asyncio.sleep(11)
    assert broker.release() == 1
    report = await running
    assert (report.replayed, report.unfinished, values(broker)) == (3, 0, ["0", "1", "2"])


async def test_a_batch_given_up_in_doubt_ends_the_replay_and_is_settled_by_the_next(path: Path) -> None:
    """What is behind it does not overtake it."""
    broker, dead = one_partition(), letters(3)
    broker.lose_next_ack(times=1_000, topic="tasks")
    report = await replay(spool(path, dead), broker, timeout=5)
    assert (report.replayed, report.unfinished, values(broker)) == (0, 1, ["0", "1", "2"])
    assert "possibly" in (report.stopped or "")
    broker.heal()
    report = await replay(path, broker)
    assert (report.replayed, report.unfinished, values(broker)) == (3, 0, ["0", "1", "2"])


async def test_a_clean_refusal_leaves_no_entry_behind(path: Path) -> None:
    """Its numbers are used for others: sent again under them, the broker would say that it has it."""
    broker, dead = one_partition(), letters(4)
    broker.reject_next(TOO_LARGE, times=1, topic="tasks")
    report = await replay(spool(path, dead), broker)
    assert (report.replayed, report.unfinished, values(broker)) == (4, 0, ["0", "1", "2", "3"])
    assert unfinished(path) == []


async def test_what_was_possibly_persisted_is_not_told_of_a_replay(path: Path) -> None:
    """The status of the letter is of its first delivery; a replayed one has its own resolution."""
    broker = one_partition()
    dead = letter(b"a", status=PersistenceStatus.POSSIBLY_PERSISTED)
    await replay(spool(path, [dead]), broker, include_possibly=True)
    assert verdicts(path) == ["replayed"]
