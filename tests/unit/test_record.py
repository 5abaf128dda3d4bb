"""One Kafka record as bytes: what is taken, what is refused, and what it shows of itself."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from eventpub import ConfigurationError, Record, SerializationError, UsageError


def test_only_topic_and_value_are_needed() -> None:
    """A tombstone has no value; no key, no headers, no partition, no timestamp."""
    assert Record("tasks", None) == ("tasks", None, None, (), None, None)
    assert Record("tasks", b"") == ("tasks", b"", None, (), None, None)


def test_headers_are_ordered_pairs_and_duplicates_are_kept() -> None:
    """Whatever iterable they came in; None is a value of its own."""
    record = Record("tasks", b"v", headers=(pair for pair in [("a", b"1"), ["b", None], ("a", b"")]))  # type: ignore[misc]  # a list is taken too
    assert record.headers == (("a", b"1"), ("b", None), ("a", b""))


@pytest.mark.parametrize("topic", ["a", "A.b_c-9", "x" * 249, "...", "_"])
def test_legal_topic_names_are_taken(topic: str) -> None:
    """As a broker takes them."""
    assert Record(topic, b"").topic == topic


@pytest.mark.parametrize("topic", ["", ".", "..", "a b", "a/b", "ä", "x" * 250, "a\n", "a,b"])
def test_a_topic_name_no_broker_accepts_is_refused(topic: str) -> None:
    """Asking for it would only cost the budget."""
    with pytest.raises(ConfigurationError, match=r"topic: .* is no Kafka topic name; use 1 to 249"):
        Record(topic, b"")


def test_a_very_long_name_is_not_repeated_in_full() -> None:
    """It may be a payload put in the wrong place."""
    with pytest.raises(ConfigurationError) as caught:
        Record("x" * 100_000, b"")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "fields, named",
    [
        ({"topic": b"tasks"}, "topic: expected str, got bytes"),
        ({"topic": None}, "topic: expected str"),
        ({"value": "text"}, "value: expected bytes or None"),
        ({"value": bytearray(b"v")}, "value: expected bytes or None"),
        ({"value": {"a": 1}}, "value: expected bytes or None"),
        ({"key": "text"}, "key: expected bytes or None"),
        ({"key": 7}, "key: expected bytes or None"),
        ({"headers": "ab"}, "headers: expected pairs"),
        ({"headers": b"ab"}, "headers: expected pairs"),
        ({"headers": 7}, "headers: expected pairs"),
        ({"headers": [("a",)]}, "headers: expected pairs"),
        ({"headers": [("a", b"1", b"2")]}, "headers: expected pairs"),
        ({"headers": ["ab"]}, "headers: expected pairs"),
        ({"headers": [(b"a", b"1")]}, "headers: expected names of type str"),
        ({"headers": [("a", "text")]}, r"headers\['a'\]: expected bytes or None"),
        ({"headers": {"a": b"1"}}, "headers: expected pairs"),
        ({"partition": "1"}, "partition: expected int"),
        ({"partition": 1.0}, "partition: expected int"),
        ({"partition": True}, "partition: expected int"),
        ({"timestamp": 1.5}, "timestamp: expected int"),
        ({"timestamp": False}, "timestamp: expected int"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(fields: dict[str, Any], named: str) -> None:
    """With what was expected and what came; its content is not shown."""
    with pytest.raises(UsageError, match=named):
        Record(**{"topic": "tasks", "value": b"v", **fields})


@pytest.mark.parametrize(
    "fields", [{"partition": -1}, {"partition": 2**31}, {"timestamp": -1}, {"timestamp": 2**63}, {"partition": 10**30}]
)
def test_numbers_out_of_range_are_refused(fields: dict[str, int]) -> None:
    """With the range."""
    (name,) = fields
    with pytest.raises(ConfigurationError, match=rf"{name}: -?\d+ is out of range; give .*, from 0 to \d+"):
        Record("tasks", b"v", **fields)  # type: ignore[arg-type]  # one of its numbers


def test_the_ends_of_the_ranges_are_taken() -> None:
    """0 is a partition and a timestamp."""
    assert Record("tasks", b"", partition=0, timestamp=0)[4:] == (0, 0)
    assert Record("tasks", b"", partition=2**31 - 1, timestamp=2**63 - 1)[4:] == (2**31 - 1, 2**63 - 1)


def test_a_header_name_that_utf_8_cannot_express_is_refused() -> None:
    """A lone surrogate would fail in the middle of a batch."""
    with pytest.raises(SerializationError, match="lone surrogate") as caught:
        Record("tasks", b"", headers=[("\ud800", b"1")])
    assert isinstance(caught.value.__cause__, UnicodeEncodeError)


def test_the_event_id_is_the_cloud_event_s() -> None:
    """The first ce_id header; a record without one has none."""
    assert Record("tasks", b"", headers=[("a", b"x"), ("ce_id", b"e-1"), ("ce_id", b"e-2")]).event_id == "e-1"
    assert Record("tasks", b"").event_id is None
    assert Record("tasks", b"", headers=[("ce_id", None)]).event_id is None
    assert Record("tasks", b"", headers=[("ce_id", b"\xff")]).event_id == "\ufffd"


@pytest.mark.parametrize(
    "record, size",
    [
        (Record("tasks", None), 0),
        (Record("tasks", b"12345", b"123"), 8),
        (Record("tasks", b"12345", None, [("ab", b"123"), ("c", b"")]), 11),
        (Record("tasks", None, b"", [("ab", None), ("c", b"1")]), 4),
    ],
)
def test_its_size_is_what_it_carries(record: Record, size: int) -> None:
    """Key, value and headers, absent ones included."""
    assert record.size == size


def test_it_shows_sizes_and_never_contents() -> None:
    """Logs are read by many."""
    record = Record("tasks", b"s3cret", b"s3", [("token", b"s3cret")])
    assert repr(record) == "<Record tasks value=6B key=2B headers=1>"
    assert repr(Record("tasks", None)) == "<Record tasks value=none key=none headers=0>"
    assert "s3cret" not in f"{record!s} {record!r}"


def test_it_is_a_value() -> None:
    """Equal, hashable, frozen, and it travels by pickle."""
    record = Record("tasks", b"v", b"k", [("a", b"1")], 2, 3)
    assert record == Record("tasks", b"v", b"k", (("a", b"1"),), 2, 3)
    assert hash(record) == hash(Record("tasks", b"v", b"k", (("a", b"1"),), 2, 3))
    again = pickle.loads(pickle.dumps(record))
    assert again == record
    assert type(again) is Record
    with pytest.raises(AttributeError):
        record.key = b"x"  # type: ignore[misc]  # frozen
