"""The matrix of faults on peers counts what it says, and finds on Apache Kafka what is known of one of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from eventpub import Record
from eventpub.testing import Ledger, Word
from eventpub.testing.ledger import Closed
from support.kafka_node import ApacheKafka
from support.readback import ReadRecord
from torture.peers import measure, table
from torture.peers.faults import FAULTS, Fault
from torture.peers.judge import Cell, felt, judge
from torture.peers.table import Row

BUDGET = 6.0


class Clock:
    """Time that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock for a ledger."""
    return Clock()


@pytest.fixture
def ledger(clock: Clock) -> Ledger:
    """Return an empty ledger."""
    return Ledger(clock=clock)


def call(ledger: Ledger, value: bytes, word: Word | None) -> None:
    """Write down a call and, unless it never ended, what it was told."""
    intent = ledger.intend(Record("t", value, b"k"), budget=BUDGET)
    if word is not None:
        ledger.say(intent, word)


def log(*values: bytes) -> list[ReadRecord]:
    """Return a partition that holds *values*."""
    return [ReadRecord(0, offset, b"k", value, (), 0) for offset, value in enumerate(values)]


def judged(
    ledger: Ledger, *values: bytes, late: tuple[bytes, ...] = (), probes_from: int = 100, close: float = 0
) -> Cell:
    """Return the cell of *ledger*, whose close took *close* of five seconds, before *late* landed."""
    ledger.add(Closed(0.0, 5.0, close))
    return judge(ledger, "t", log(*values), log(*values, *late), probes_from)


def fault(name: str) -> Fault:
    """Return the fault of that name."""
    return next(each for each in FAULTS if each.name == name)


def test_what_is_as_told_is_clean(ledger: Ledger) -> None:
    """An event told ok is there, one told failed is not, one told possibly may be."""
    call(ledger, b"a", Word.PERSISTED)
    call(ledger, b"b", Word.NOT_PERSISTED)
    call(ledger, b"c", Word.POSSIBLY_PERSISTED)
    cell = judged(ledger, b"a", late=(b"c",))
    assert cell.clean
    assert (cell.ok, cell.failed, cell.possibly, cell.in_log, cell.late) == (1, 1, 1, 1, 1)


def test_told_ok_and_not_in_the_log_is_lost(ledger: Ledger) -> None:
    """An acknowledgement without a record is counted as lost."""
    call(ledger, b"a", Word.PERSISTED)
    assert judged(ledger).lost == 1


def test_one_call_and_two_records_is_doubled(ledger: Ledger) -> None:
    """Whatever the call was told."""
    call(ledger, b"a", Word.PERSISTED)
    call(ledger, b"b", Word.POSSIBLY_PERSISTED)
    assert judged(ledger, b"a", b"a", b"b", b"b").doubled == 2


def test_told_failed_and_in_the_log_is_untruthful(ledger: Ledger) -> None:
    """Also where it landed only after the close."""
    call(ledger, b"a", Word.NOT_PERSISTED)
    call(ledger, b"b", Word.NOT_PERSISTED)
    assert judged(ledger, b"a", late=(b"b",)).untruthful == 2


def test_a_cancelled_call_may_land_until_the_close(ledger: Ledger) -> None:
    """Afterwards it may not: nobody reported it."""
    call(ledger, b"a", Word.CANCELLED)
    call(ledger, b"b", Word.CANCELLED)
    cell = judged(ledger, b"a", late=(b"b",))
    assert (cell.cancelled, cell.landed, cell.untruthful) == (2, 2, 1)


def test_a_call_that_never_ends_is_hung(ledger: Ledger, clock: Clock) -> None:
    """As is one that ends more than a second after its budget."""
    call(ledger, b"a", None)
    intent = ledger.intend(Record("t", b"b"), budget=BUDGET)
    clock.now = BUDGET + 1.1
    ledger.say(intent, Word.NOT_PERSISTED)
    assert judged(ledger).hung == 2


def test_a_close_that_outlasts_its_timeout_is_hung(ledger: Ledger) -> None:
    """By more than a second."""
    call(ledger, b"a", Word.NOT_PERSISTED)
    assert judged(ledger, close=6.1).close_hung == 1


def test_a_good_event_that_fails_afterwards_shows_a_wedge(ledger: Ledger) -> None:
    """What failed during the fault is none."""
    call(ledger, b"a", Word.NOT_PERSISTED)
    call(ledger, b"b", Word.NOT_PERSISTED)
    assert judged(ledger, probes_from=1).wedged == 1


def test_a_fault_that_nobody_felt_is_noticed(ledger: Ledger, clock: Clock) -> None:
    """It is felt by a call that fails, or takes its time."""
    call(ledger, b"a", Word.PERSISTED)
    assert not felt(ledger, 1.0)
    intent = ledger.intend(Record("t", b"b"), budget=BUDGET)
    clock.now = 1.0
    ledger.say(intent, Word.PERSISTED)
    assert felt(ledger, 1.0)
    assert not felt(ledger, 1.0, before=1)


def test_rounds_that_differ_become_a_range(tmp_path: Path) -> None:
    """The page says so, and keeps what stands around its tables."""
    rounds = []
    for twice in (True, False):
        ledger = Ledger(clock=Clock())
        call(ledger, b"a", Word.PERSISTED)
        rounds.append(judged(ledger, *(b"a", b"a") if twice else (b"a",)))
    row = Row(fault("none"), "somebody", tuple(rounds))
    assert row.verdict == "**0 to 1 doubled**"
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n")
    table.write(page, table.summary([row]))
    assert page.read_text().splitlines() == [
        "before",
        "<!-- figures -->",
        "| fault | somebody |",
        "|---|---|",
        "| none | **0 to 1 doubled** |",
        "<!-- /figures -->",
        "after",
    ]


def test_a_rejected_record_wedges_aiokafka_and_not_eventpub(kafka_node: ApacheKafka, tmp_path: Path) -> None:
    """One fault on two contenders, from the topic to the verdict."""
    rows = asyncio.run(measure([fault("rejected")], ["aiokafka", "eventpub"], kafka_node, tmp_path))
    aiokafka, eventpub = (row.cells[0] for row in rows)
    assert aiokafka.wedged > 0
    assert (aiokafka.lost, aiokafka.doubled) == (0, 0)
    assert eventpub.clean
    assert (eventpub.failed, eventpub.wedged) == (1, 0)
