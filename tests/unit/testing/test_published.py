"""What was published beside what was expected: what passes, and what is said of what does not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY
from uuid import UUID

import pytest
from pydantic import computed_field

from eventpub import Event, EventRegistry, Record, UsageError
from eventpub.cloudevents import Encoder
from eventpub.testing import MemoryBroker, assert_published, published
from eventpub.testing.matching import matched
from tests.publisher.kit import opened
from tests.unit.testing.kit import Read

if TYPE_CHECKING:
    from eventpub.testing.expectation import Expected

REGISTRY = EventRegistry()


class TaskCreated(Event, type="task.created", topic="tasks", key="task_id", registry=REGISTRY):
    task_id: str
    title: str = "Write docs"


class TaskClosed(Event, type="task.closed", topic="tasks", key="task_id", envelope="structured", registry=REGISTRY):
    task_id: str
    at: datetime = datetime(2026, 1, 2, tzinfo=UTC)


class Bare(Event, type="bare", topic="plain", envelope="none", registry=REGISTRY):
    text: str


class Box(Event, type="box", topic="boxes", registry=REGISTRY):
    owner: UUID
    sizes: list[dict[str, int]]

    @computed_field  # type: ignore[prop-decorator]  # pydantic's own recommendation
    @property
    def count(self) -> int:
        """How many sizes."""
        return len(self.sizes)


ONE, TWO = TaskCreated(task_id="1"), TaskCreated(task_id="2", title="Read docs")
CLOSED = TaskClosed(task_id="1")
BOX = Box(owner=UUID(int=7), sizes=[{"w": 1, "h": 2}, {"w": 3, "h": 4}])
ENCODER = Encoder("/tests")


def log(*things: Event | Record) -> list[Read]:
    """Return *things* as a reader returns them that does not say of which topic."""
    records = [ENCODER.encode(thing) if isinstance(thing, Event) else thing for thing in things]
    return [Read(0, offset, record.key, record.value, record.headers) for offset, record in enumerate(records)]


def complaint(records: Any, *expected: Expected, **options: Any) -> str:
    """Return what is said of records that are not as expected."""
    with pytest.raises(AssertionError) as caught:
        assert_published(records, *expected, **options)
    return str(caught.value)


# --- what passes --------------------------------------------------------------------


@pytest.mark.parametrize(
    "expected",
    [
        (ONE, CLOSED, BOX),
        (TaskCreated(task_id="1"), TaskClosed(task_id="1"), BOX.model_copy()),
        (ENCODER.encode(ONE), ENCODER.encode(CLOSED), ENCODER.encode(BOX)),
        ("task.created", "task.closed", "box"),
        (TaskCreated, TaskClosed, Box),
        ({"task_id": "1"}, {"at": datetime(2026, 1, 2, tzinfo=UTC)}, {"owner": UUID(int=7)}),
        ({"task_id": ANY}, {}, {"sizes": [{"w": 1}, {"h": 4}]}),
    ],
)
def test_each_way_of_saying_what_is_expected(expected: tuple[Expected, ...]) -> None:
    """Events, records, types, classes and fields of payloads are found, in both content modes."""
    assert_published(log(ONE, CLOSED, BOX), *expected)


async def test_a_broker_is_asked_for_all_its_topics_or_for_one() -> None:
    """Over all topics the order is that of the appends."""
    broker = MemoryBroker()
    async with opened(broker) as publisher:
        for event in (BOX, ONE, Bare(text="x"), CLOSED):
            await publisher.publish(event)
    assert_published(broker, BOX, ONE, Bare(text="x"), CLOSED)
    assert_published(broker, ONE, CLOSED, topic="tasks")
    assert_published(broker, topic="others")
    assert published(broker, Bare) == [Bare(text="x")]


def test_nothing_expected_and_nothing_there() -> None:
    """Without expectations the log has to be empty."""
    assert_published([])
    assert_published(MemoryBroker())


def test_the_order_may_be_left_open() -> None:
    """Something vague does not take the place of something exact."""
    assert_published(log(ONE, TWO, CLOSED), "task.closed", {}, TWO, ignore_order=True)
    assert_published(log(ONE, TWO), "task.created", ONE, ignore_order=True)


def test_more_may_be_there() -> None:
    """Not exactly: other records before, between and after are nobody's business; their order is."""
    assert_published(log(BOX, ONE, BOX, TWO, CLOSED), ONE, TWO, exactly=False)
    assert_published(log(BOX, TWO, ONE), ONE, TWO, exactly=False, ignore_order=True)
    assert "in another order" in complaint(log(BOX, TWO, ONE), ONE, TWO, exactly=False)


def test_what_a_tracer_adds_to_a_record_is_not_held_against_it() -> None:
    """A traceparent is compared only where it is expected."""
    record = Record("t", b"v", headers=[("a", b"1")])
    traced = record._replace(headers=(*record.headers, ("traceparent", b"00-1")))
    assert_published(log(traced), record)
    assert "headers['traceparent']" in complaint(log(traced), record._replace(headers=(("traceparent", b"00-2"),)))


# --- what is said of what does not ----------------------------------------------------


def test_a_field_that_differs_is_named() -> None:
    """Its name, what was expected and what is there; nested ones by their path."""
    assert complaint(log(ONE), TaskCreated(task_id="1", title="Read docs")).splitlines() == [
        "not published as expected: 1 different",
        "  #1 differs     [0]@0  task.created",
        "       title: expected 'Read docs', got 'Write docs'",
    ]
    other = BOX.model_copy(update={"sizes": [{"w": 1, "h": 2}, {"w": 3, "h": 5}]})
    assert "       sizes[1].h: expected 5, got 4" in complaint(log(BOX), other)


def test_missing_and_unexpected_are_told_apart() -> None:
    """What was expected and is nowhere, and what is there and was not expected, each in its own line."""
    assert complaint(log(ONE, BOX), ONE, CLOSED).splitlines() == [
        "not published as expected: 1 as expected, 1 missing, 1 unexpected",
        "  #2 missing     task.closed  {'task_id': '1', 'at': '2026-01-02T00:00:00Z'}",
        "  -  unexpected  [0]@1  box  {'owner': '00000000-0000-0000-0000-000000000007', 'sizes': [{'w': 1, 'h': 2}, {'w': 3, 'h': 4}], 'co…",
    ]


def test_the_order_is_told_as_it_is_in_the_log() -> None:
    """Everything there, but in another order: by the numbers of what was expected."""
    assert complaint(log(TWO, ONE), ONE, TWO).splitlines() == [
        "not published as expected: all 2 are there, in another order",
        "  #2  [0]@0  task.created  key=b'2'  {'task_id': '2', 'title': 'Read docs'}",
        "  #1  [0]@1  task.created  key=b'1'  {'task_id': '1', 'title': 'Write docs'}",
        "  Kafka keeps the order within a partition only; ignore_order=True compares without it",
    ]


def test_a_second_copy_is_recognised() -> None:
    """What was published once more than expected is not just any unexpected record."""
    assert complaint(log(ONE, ONE), ONE).endswith("'title': 'Write docs'}  (like #1, once more)")


def test_nothing_there_says_where_something_is() -> None:
    """A topic with a typo is the first thing to look for."""
    records = [ENCODER.encode(ONE)]
    assert "nothing was published to task; there are records in tasks" in complaint(records, ONE, topic="task")
    assert complaint(iter(records), ONE, topic="task").endswith("in tasks")
    assert complaint([], ONE).endswith("  nothing was published")


def test_a_record_is_compared_in_all_it_says() -> None:
    """Topic, partition, key, value and headers, each by its name; bytes that are JSON by their fields."""
    record = Record("t", b'{"a": 1}', b"k", [("x", b"1"), ("y", b"2")], partition=0)
    others = {
        "headers['x']: expected b'1', got nothing": record._replace(headers=(("y", b"2"),)),
        "order of headers: expected ['x', 'y'], got ['y', 'x']": record._replace(headers=record.headers[::-1]),
        "a: expected 1, got 2": record._replace(value=b'{"a": 2}'),
        "value: expected b'{\"a\": 1}', got b'{\"a\":1}'": record._replace(value=b'{"a":1}'),
        "value: expected b'{\"a\": 1}', got None": record._replace(value=None),
        "topic: expected 't', got 'u'": record._replace(topic="u"),
        "partition: expected 0, got 1": record._replace(partition=1),
    }
    for text, other in others.items():
        assert text in complaint([other], record)
    assert "key: expected b'k', got b'l'" in complaint([record._replace(key=b"l")], record)


def test_the_id_is_compared_on_request() -> None:
    """Two equal events are the same only if they share an envelope."""
    twin = ONE.model_copy()
    assert_published(log(ONE), ONE, same_id=True)
    assert f"id: expected '{twin.envelope.id}', got '{ONE.envelope.id}'" in complaint(log(ONE), twin, same_id=True)


def test_long_values_show_where_they_part() -> None:
    """No value takes more than a line and a half, and the part that differs is in it."""
    said = complaint(log(TaskCreated(task_id="1", title="a" * 5000 + "b")), TaskCreated(task_id="1", title="a" * 5000))
    assert "aab'" in said
    assert len(said) < 500


def test_many_complaints_are_counted() -> None:
    """A hundred missing events are ten lines and a number."""
    said = complaint([], *(TaskCreated(task_id=str(number)) for number in range(100)))
    assert said.count("missing     ") == 10
    assert "… and 90 more" in said


def test_what_else_is_there_is_shown_without_being_counted() -> None:
    """Where more is allowed, the rest is no fault, and yet what one looks at first."""
    said = complaint(log(BOX), ONE, exactly=False)
    assert said.startswith("not published as expected: 1 missing\n")
    assert "-  also there  [0]@0  box" in said


def test_json_knows_true_from_one() -> None:
    """Python's True equals 1, and a consumer's does not."""
    record = Record("t", b'{"done": true, "n": 1}')
    assert_published(log(record), {"done": True, "n": 1})
    assert "done: expected 1, got True" in complaint(log(record), {"done": 1, "n": 1})
    assert "n: expected True, got 1" in complaint(log(record), {"n": True, "done": True})


def test_payloads_that_are_no_json_are_shown_as_bytes() -> None:
    """Another serializer's payload is no reason to fall over."""
    said = complaint(log(ENCODER.encode(ONE)._replace(value=b"\xff\x00")), ONE)
    assert r"payload: expected {'task_id': '1', 'title': 'Write docs'}, got b'\xff\x00'" in said
    assert "tombstone" in complaint(log(Record("t", None, b"k")))


# --- what is refused --------------------------------------------------------------


@pytest.mark.parametrize(
    "records, expected, reason",
    [
        ([], [[ONE]], r"unpack it"),
        ([], [7], r"got int"),
        ([], [Event], r"got Event"),
        ("tasks", [ONE], r"expected a MemoryBroker or a list of records, got str"),
        (None, [ONE], r"got NoneType"),
        ([7], [ONE], r"int has not"),
    ],
)
def test_what_makes_no_sense_is_refused(records: Any, expected: list[Any], reason: str) -> None:
    """A slip of the test is not told as a failure of what it tests."""
    with pytest.raises(UsageError, match=reason):
        assert_published(records, *expected)


def test_an_assertion_that_cannot_fail_is_refused() -> None:
    """Nothing expected and anything allowed would be green for ever."""
    with pytest.raises(UsageError, match="holds of every log"):
        assert_published([], exactly=False)


# --- published --------------------------------------------------------------------


@pytest.mark.parametrize("event", [ONE, CLOSED, BOX], ids=["binary", "structured", "computed"])
def test_events_come_back_as_they_went(event: Event) -> None:
    """Class, payload and envelope, to the microsecond."""
    event = event.with_envelope(subject="it", extensions={"tenant": "acme"})
    (back,) = published(log(BOX, ONE, CLOSED, event), type(event))[1:]
    assert back == event
    assert back.envelope._replace(time_ns=0) == event.envelope._replace(time_ns=0)
    assert back.envelope.time == event.envelope.time


def test_an_event_that_its_class_cannot_read_is_an_assertion_error() -> None:
    """Consumers could not read it either, so the fields and their faults are told."""
    encoded = ENCODER.encode(ONE)
    with pytest.raises(AssertionError, match=r"\[0\]@0 is no TaskCreated, whose type it has: task_id: Field required"):
        published(log(encoded._replace(value=json.dumps({"title": "x"}).encode())), TaskCreated)
    with pytest.raises(AssertionError, match="its payload is no JSON"):
        published(log(encoded._replace(value=b"\xff")), TaskCreated)
    with pytest.raises(UsageError, match="Event has no type"):
        published([], Event)


def test_structured_events_that_are_none_are_no_events() -> None:
    """A content type promises what the value does not keep."""
    headers = (("content-type", b"application/cloudevents+json"),)
    for value in (b"{", b"[]", b'{"type": "box", "data_base64": 7}'):
        assert published(log(Record("t", value, headers=headers)), Box) == []


def test_structured_bytes_are_decoded() -> None:
    """A payload that is no JSON travels in base64."""
    headers = (("content-type", b"application/cloudevents+json"),)
    said = complaint(log(Record("t", b'{"type": "x", "data_base64": "/wA="}', headers=headers)), topic=None)
    assert r"x  b'\xff\x00'" in said


@pytest.mark.parametrize("wanted", [4, 6])
def test_as_many_as_possible_get_their_own_place(wanted: int) -> None:
    """The first takes anything, the last only place 0: rooms are exchanged until all have one that can."""
    found = matched(wanted, 4, lambda number, place: place <= wanted - 1 - number)
    assert sorted(found.values()) == [0, 1, 2, 3]
