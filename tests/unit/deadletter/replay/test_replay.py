"""Whole replays on the memory broker: what is sent, what stays, and what is said of both."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from eventpub import ConfigurationError, PersistenceStatus, Record, UsageError
from eventpub.deadletter.replay import replay
from eventpub.deadletter.replaying.filters import Filters
from eventpub.deadletter.replaying.topic_source import TopicSource
from eventpub.deadletter.spooling.store import State
from eventpub.letter import Cut, Resolution
from eventpub.transports.memory import MemoryBroker, MemoryTransport
from tests.unit.deadletter.letters import letter, letters
from tests.unit.deadletter.replay.kit import (
    FAILED,
    being_replayed,
    dead_letter_topic,
    elsewhere,
    one_partition,
    publish,
    spool,
    stored,
    unfinished,
    values,
    verdicts,
)

if TYPE_CHECKING:
    from eventpub.deadletter.replaying.report import ReplayReport

POSSIBLY = PersistenceStatus.POSSIBLY_PERSISTED


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the spool is to be."""
    return tmp_path / "spool.db"


# --- what goes ----------------------------------------------------------------------------------


async def test_open_letters_are_sent_in_the_order_written_and_resolved_where_they_lie(path: Path) -> None:
    """Byte for byte as they were, with their timestamps; a second replay has nothing to do."""
    broker, dead = one_partition(), letters(3)
    report = await replay(spool(path, dead), broker)
    assert (report.replayed, report.complete, str(report)) == (3, True, "3 replayed")
    logged = broker.records("tasks")
    originals = [each.record for each in dead]
    assert [(r.key, r.value, r.headers, r.timestamp) for r in logged] == [
        (r.key, r.value, r.headers, r.timestamp) for r in originals
    ]
    resolutions = [each.resolution for each in stored(path)]
    assert [r and (r.verdict, r.partition, r.offset) for r in resolutions] == [("replayed", 0, n) for n in range(3)]
    assert str(await replay(path, broker)) == "nothing to do"
    assert values(broker) == ["0", "1", "2"]


async def test_closed_letters_stay_closed(path: Path) -> None:
    """A late acknowledgement or an earlier replay has settled them."""
    broker, dead = one_partition(), letters(3)
    late = Resolution(id=dead[1].id, record=dead[1].record, verdict="persisted", at=FAILED, partition=0, offset=9)
    await replay(spool(path, dead, [late]), broker)
    assert values(broker) == ["0", "2"]


async def test_more_letters_than_a_page_go_in_order(path: Path) -> None:
    """And the progress is told in between."""
    broker, told = one_partition(), list[int]()
    await replay(spool(path, letters(450)), broker, on_progress=lambda report: told.append(report.replayed))
    assert values(broker) == [str(n) for n in range(450)]
    assert told == [200, 400, 450]


async def test_a_replay_keeps_to_its_rate(path: Path) -> None:
    """Ten a second: the eleventh goes after a second."""
    broker, loop = one_partition(), asyncio.get_running_loop()
    started = loop.time()
    await replay(spool(path, letters(11)), broker, rate=10)
    assert loop.time() - started == pytest.approx(1.0, abs=0.05)


async def test_a_record_without_a_timestamp_gets_that_of_the_replay(path: Path) -> None:
    """It had been given up before it got one."""
    broker = one_partition()
    await replay(spool(path, [letter(record=Record("tasks", b"v", b"k"))]), broker)
    [logged] = broker.records("tasks")
    assert logged.timestamp > FAILED * 1000


async def test_letters_go_to_another_topic_if_one_is_named(path: Path) -> None:
    """The partition that was asked for means nothing there."""
    broker = one_partition()
    broker.create_topic("other", 1)
    asked = letter(record=Record("tasks", b"v", b"k", partition=7, timestamp=5))
    report = await replay(spool(path, [asked]), broker, to_topic="other")
    assert (report.replayed, values(broker), values(broker, "other")) == (1, [], ["v"])


async def test_a_partition_that_was_asked_for_is_asked_for_again(path: Path) -> None:
    """In the original topic."""
    broker = MemoryBroker()
    broker.create_topic("tasks", 4)
    await replay(spool(path, [letter(record=Record("tasks", b"v", partition=3, timestamp=5))]), broker)
    assert [record.partition for record in broker.records("tasks")] == [3]


# --- what is refused ----------------------------------------------------------------------------


async def test_a_refused_letter_stays_while_its_neighbours_go(path: Path) -> None:
    """It is counted, and said why."""
    broker = MemoryBroker()
    broker.create_topic("tasks", 1, max_message_bytes=1_000)
    dead = [*letters(3), letter(b"x" * 2_000), *letters(3)]
    report = await replay(spool(path, dead), broker)
    assert values(broker) == ["0", "1", "2", "0", "1", "2"]
    assert (report.replayed, report.complete, [note.id for note in report.refused]) == (6, False, [dead[3].id])
    assert "MESSAGE_TOO_LARGE" in report.refused[0].text
    [left] = stored(path, open_only=True)
    assert (left.letter.id, left.letter.replays, left.state) == (dead[3].id, 1, State.OPEN)
    assert unfinished(path) == []


async def test_a_letter_that_failed_too_often_is_left_out_unless_it_is_named(path: Path) -> None:
    """Else a letter that never fits would be sent by every replay for ever."""
    broker = one_partition()
    tired = letter(b"tired", replays=3)
    spool(path, [tired, letter(b"fresh", replays=2)])
    report = await replay(path, broker)
    assert values(broker) == ["fresh"]
    [note] = report.left_out
    assert (note.id, note.text) == (tired.id, "3 replays of it failed; name its id to try again")
    await replay(path, broker, filters=Filters(ids=[tired.id]))
    assert values(broker) == ["fresh", "tired"]


async def test_a_letter_larger_than_any_request_is_refused_here(path: Path) -> None:
    """A broker would close the connection, and nobody could tell."""
    broker = MemoryBroker()
    broker.create_topic("tasks", 1, max_message_bytes=2**30)
    report = await replay(spool(path, [letter(b"x" * 9_000_000), letter(b"small")]), broker)
    assert values(broker) == ["small"]
    assert "no request takes more" in report.refused[0].text


# --- what may be in the log ---------------------------------------------------------------------


async def test_what_may_be_in_the_log_is_left_out(path: Path) -> None:
    """A possibly persisted letter, and one that another sink may have too."""
    broker = one_partition()
    spool(path, [letter(b"a", status=POSSIBLY), letter(b"b"), letter(b"c", doubtful_in="topic tasks.dlq")])
    report = await replay(path, broker)
    assert values(broker) == ["b"]
    advice = "verify, or include what is possibly persisted"
    assert [note.text for note in report.left_out] == [
        f"it may be in the log; {advice}",
        f"topic tasks.dlq may have it too; {advice}",
    ]


async def test_it_goes_if_it_is_asked_for(path: Path) -> None:
    """At the caller's risk."""
    broker = one_partition()
    await replay(spool(path, [letter(b"a", status=POSSIBLY)]), broker, include_possibly=True)
    assert values(broker) == ["a"]


async def test_a_late_rejection_makes_a_letter_safe(path: Path) -> None:
    """It was possibly persisted, and now is certainly not."""
    broker, doubtful = one_partition(), letter(b"a", status=POSSIBLY)
    rejected = Resolution(id=doubtful.id, record=doubtful.record, verdict="not persisted", at=FAILED)
    await replay(spool(path, [doubtful], [rejected]), broker)
    assert values(broker) == ["a"]


async def test_a_verification_sends_what_is_absent_and_resolves_what_is_present(path: Path) -> None:
    """Both are looked for in the partition of the cut, behind the last offset known then."""
    broker = one_partition()
    present, absent = (letter(value, status=POSSIBLY, cut=Cut(0, 0, 7, 0, 0)) for value in (b"present", b"absent"))
    await publish(broker, [Record("tasks", b"before"), present.record])
    report = await replay(spool(path, [present, absent]), broker, verify=True)
    assert values(broker) == ["before", "present", "absent"]
    assert (report.replayed, report.persisted, report.complete) == (1, 1, True)
    assert verdicts(path) == ["persisted", "replayed"]
    found = stored(path)[0].resolution
    assert found is not None
    assert (found.partition, found.offset) == (0, 1)


async def test_it_is_not_looked_for_too_early(path: Path) -> None:
    """A request may still be in a broker's socket for twice the request timeout."""
    from eventpub.envelope import wall_clock

    broker, now = one_partition(), wall_clock() / 1e9
    fresh = letter(b"a", status=POSSIBLY, last_attempt_at=now - 5, request_timeout=10.0)
    report = await replay(spool(path, [fresh]), broker, verify=True)
    assert values(broker) == []
    assert "too early to look for it: in 15 s" in report.left_out[0].text


async def test_what_reading_does_not_tell_is_left_out_with_the_reason(path: Path) -> None:
    """Two equal records without an event id are one too many."""
    broker = one_partition()
    anonymous = letter(record=Record("tasks", b"a", b"k", timestamp=5), status=POSSIBLY)
    await publish(broker, [anonymous.record, anonymous.record])
    report = await replay(spool(path, [anonymous]), broker, verify=True)
    assert values(broker) == ["a", "a"]
    assert "equal records cannot be told apart" in report.left_out[0].text


async def test_a_log_that_cannot_be_read_is_said_before_anything_is_sent(path: Path) -> None:
    """A transport of the caller's own has none that eventpub knows."""
    broker = one_partition()
    spool(path, [letter(b"a", status=POSSIBLY)])
    with pytest.raises(ConfigurationError, match="the log of a MemoryTransport cannot be read"):
        await replay(path, MemoryTransport(broker), verify=True)
    assert values(broker) == []


# --- looking ------------------------------------------------------------------------------------


async def test_a_dry_run_tells_and_changes_nothing(path: Path) -> None:
    """Which would go, and why others would not."""
    broker = one_partition()
    dead = [letter(b"a"), letter(b"b", status=POSSIBLY), letter(b"c", event_type="other")]
    spool(path, dead)
    before = elsewhere(path.read_bytes)
    report = await replay(path, broker, dry_run=True, filters=Filters(types=["task.created"]))
    assert [note.id for note in report.would_replay] == [dead[0].id]
    assert [note.id for note in report.left_out] == [dead[1].id]
    assert (values(broker), elsewhere(path.read_bytes) == before) == ([], True)


async def test_a_dry_run_makes_no_journal(tmp_path: Path) -> None:
    """There is nothing to be remembered."""
    broker = one_partition()
    await dead_letter_topic(broker, letters(2))
    journal = tmp_path / "journal.db"
    report = await replay(TopicSource(broker, "tasks.dlq"), broker, journal=journal, dry_run=True)
    assert (len(report.would_replay), journal.exists(), values(broker)) == (2, False, [])


# --- from a topic -------------------------------------------------------------------------------


async def test_a_topic_is_replayed_once_and_told_so(tmp_path: Path) -> None:
    """The journal decides, and the topic learns of it for other readers."""
    broker, journal = one_partition(), tmp_path / "journal.db"
    await dead_letter_topic(broker, letters(3))
    source = TopicSource(broker, "tasks.dlq")
    report = await replay(source, broker, journal=journal)
    assert (report.replayed, report.unpublished, values(broker)) == (3, 0, ["0", "1", "2"])
    assert len(broker.records("tasks.dlq")) == 6
    again = await replay(source, broker, journal=tmp_path / "another.db")
    assert (str(again), values(broker)) == ("nothing to do", ["0", "1", "2"])


async def test_what_the_topic_was_not_told_it_is_told_by_the_next_replay(tmp_path: Path) -> None:
    """The journal knew; nothing is sent twice because the topic did not."""
    broker, journal, dead = one_partition(), tmp_path / "journal.db", letters(2)
    await dead_letter_topic(broker, dead)
    broker.deny("tasks.dlq")
    report = await replay(TopicSource(broker, "tasks.dlq"), broker, journal=journal)
    assert (report.replayed, report.unpublished) == (2, 2)
    broker.allow("tasks.dlq")
    report = await replay(TopicSource(broker, "tasks.dlq"), broker, journal=journal)
    assert (report.replayed, report.unpublished, values(broker)) == (0, 0, ["0", "1"])
    assert len(broker.records("tasks.dlq")) == 4


async def test_a_refused_letter_of_a_topic_is_written_again_with_its_count(tmp_path: Path) -> None:
    """It is still one letter, and the last count holds."""
    broker, journal = MemoryBroker(), tmp_path / "journal.db"
    broker.create_topic("tasks", 1, max_message_bytes=1_000)
    await dead_letter_topic(broker, [letter(b"x" * 2_000)])
    source = TopicSource(broker, "tasks.dlq")
    for _ in range(3):
        report = await replay(source, broker, journal=journal)
        assert len(report.refused) == 1
    report = await replay(source, broker, journal=journal)
    assert "3 replays of it failed" in report.left_out[0].text


async def test_what_is_no_dead_letter_is_passed_over_and_counted(tmp_path: Path) -> None:
    """Somebody wrote something else into the topic."""
    broker = one_partition()
    await dead_letter_topic(broker, letters(1))
    await publish(broker, [Record("tasks.dlq", b"?")])
    report = await replay(TopicSource(broker, "tasks.dlq"), broker, journal=tmp_path / "journal.db")
    assert (report.replayed, report.unreadable, values(broker)) == (1, 1, ["0"])


# --- when nothing goes --------------------------------------------------------------------------


async def test_brokers_that_are_away_end_the_replay_with_the_reason(path: Path) -> None:
    """Nothing is lost: the letters are as they were, and count no failure."""
    broker = one_partition()
    broker.down()
    report = await replay(spool(path, letters(3)), broker, timeout=5)
    assert (report.replayed, report.complete) == (0, False)
    assert "tasks" in (report.stopped or "")
    assert [(each.state, each.letter.replays) for each in stored(path)] == [(State.OPEN, 0)] * 3
    broker.up()
    await replay(path, broker)
    assert values(broker) == ["0", "1", "2"]


async def test_one_replay_at_a_time(path: Path) -> None:
    """The second is told who is at it."""
    broker = one_partition()
    spool(path, letters(1))
    with being_replayed(path), pytest.raises(UsageError, match="is being replayed by"):
        await replay(path, broker)
    assert values(broker) == []


async def test_a_cancelled_replay_can_be_started_again(path: Path) -> None:
    """It gives lock and files back."""
    broker = one_partition()
    first = asyncio.create_task(replay(spool(path, letters(30)), broker, rate=10))
    await asyncio.sleep(1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert 5 < len(values(broker)) < 20
    await replay(path, broker)
    assert values(broker) == [str(n) for n in range(30)]


@pytest.mark.parametrize(
    "settings,said",
    [
        ({"rate": 0}, "rate: 0 events a second never end"),
        ({"max_replays": 0}, "max_replays: 0 leaves every letter out"),
        ({"to_topic": "no topic"}, "'no topic' is no Kafka topic name"),
        ({"timeout": -1}, "timeout"),
        ({"journal": "j.db"}, "journal: never acts with a spool, which is its own; leave it out"),
    ],
)
async def test_a_wrong_value_is_refused(path: Path, settings: dict[str, Any], said: str) -> None:
    """Before any file is touched."""
    with pytest.raises(ConfigurationError, match=said):
        await replay(path, one_partition(), **settings)
    assert not elsewhere(path.exists)


async def test_a_topic_needs_a_journal_and_is_not_sent_into_itself() -> None:
    """A topic cannot say what was sent already."""
    source = TopicSource(one_partition(), "tasks.dlq")
    with pytest.raises(ConfigurationError, match="journal: is missing"):
        await replay(source, one_partition())
    with pytest.raises(ConfigurationError, match="to_topic: is the topic that the letters are read from"):
        await replay(source, one_partition(), journal="j.db", to_topic="tasks.dlq")


async def test_a_spool_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A replay makes none."""
    with pytest.raises(ConfigurationError, match="there is no such file"):
        await replay(tmp_path / "none.db", one_partition())


def test_a_report_tells_all_counts() -> None:
    """In the order in which they matter."""
    from eventpub.deadletter.replaying.report import ReplayReport

    report: ReplayReport = ReplayReport(replayed=2, persisted=1, unfinished=1, stopped="no broker")
    assert str(report) == "2 replayed, 1 found in the log, 1 batches unfinished; stopped: no broker"
