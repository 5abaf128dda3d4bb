"""Lines of JSON as events: what is taken from where, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from eventpub import ConfigurationError, Event, Record, SerializationError, UsageError
from eventpub.cli.lines import Form
from eventpub.registry import default_registry

SOURCE = {"source": "/me"}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register one class, for these tests alone."""
    monkeypatch.setattr(default_registry, "_classes", {})

    class _Created(Event, type="task.created", topic="tasks", key="task_id"):
        task_id: str


def headers(record: Event | Record) -> dict[str, bytes | None]:
    """Return the headers of what was read, which is a record."""
    assert isinstance(record, Record)
    return dict(record.headers)


def test_a_line_travels_as_it_stands_as_a_cloudevent() -> None:
    """Not a byte of the payload is written anew; the topic is the type unless it is said."""
    line = b'{"n": 1.0,  "m": 12345678901234567890}'
    record, options = Form(type="n.measured", **SOURCE).read(line)
    assert isinstance(record, Record)
    assert (record.topic, record.value, record.key, options) == ("n.measured", line, None, {})
    found = headers(record)
    assert (found["ce_type"], found["ce_source"], found["content-type"]) == (
        b"n.measured",
        b"/me",
        b"application/json",
    )
    assert found.keys() >= {"ce_id", "ce_time", "ce_specversion"}


def test_type_topic_key_and_id_come_from_fields() -> None:
    """A key may be a whole number, as for any event."""
    form = Form(type_from="kind", topic_from="to", key_from="no", id_from="id", **SOURCE)
    record, options = form.read(b'{"kind": "a", "to": "b", "no": 7, "id": "c"}')
    assert isinstance(record, Record)
    assert (record.topic, options) == ("b", {"key": b"7"})
    assert (headers(record)["ce_type"], headers(record)["ce_id"]) == (b"a", b"c")


def test_a_registered_type_becomes_its_class() -> None:
    """Which then says topic and key by itself."""
    event, options = Form(type="task.created").read(b'{"task_id": "42"}')
    assert isinstance(event, Event)
    assert (event.model_dump(), options) == ({"task_id": "42"}, {})


def test_what_is_said_goes_before_the_class() -> None:
    """Topic, key, id and profile."""
    form = Form(type="task.created", topic="other", key="k", id_from="task_id", profile="standard")
    event, options = form.read(b'{"task_id": "42"}')
    assert isinstance(event, Event)
    assert (event.envelope.id, options) == ("42", {"topic": "other", "key": b"k", "profile": "standard"})


@pytest.mark.parametrize(
    "line, reason",
    [
        (b"tiger", "no JSON"),
        (b"[1]", "no JSON object"),
        (b'"\xff"', "no JSON"),
        (b"{}", "type: the line has no field 'kind'"),
        (b'{"kind": null}', "type: the field 'kind' is null"),
        (b'{"kind": 5}', "type: the field 'kind' holds no text"),
        (b'{"kind": "a"}', "key: the line has no field 'no'"),
        (b'{"kind": "a", "no": 1.5}', "key: field 'no'"),
    ],
)
def test_a_line_that_is_no_event_is_refused_with_the_reason(line: bytes, reason: str) -> None:
    """And without its contents."""
    with pytest.raises(SerializationError, match=reason) as caught:
        Form(type_from="kind", key_from="no", **SOURCE).read(line)
    assert "tiger" not in str(caught.value)


def test_a_line_that_its_class_refuses_says_which_field() -> None:
    """By name, without the value."""
    with pytest.raises(SerializationError, match="task_id: Field required; title: ") as caught:
        Form(type="task.created").read(b'{"title": "tiger"}')
    assert "tiger" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"type": "a", "type_from": "b"},
        {"type": "a", "topic": "b", "topic_from": "c"},
        {"type": "a", "key": "b", "key_from": "c"},
    ],
)
def test_options_that_contradict_or_lack_are_wrong_usage(wrong: dict[str, Any]) -> None:
    """Before anything is read."""
    with pytest.raises(UsageError):
        Form(**wrong, **SOURCE)


def test_an_event_that_no_class_describes_needs_a_source() -> None:
    """Said at once where the type is known, and at the line where it is not."""
    with pytest.raises(UsageError, match="--source"):
        Form(type="unknown")
    with pytest.raises(UsageError, match="--source"):
        Form(type_from="kind").read(b'{"kind": "unknown"}')


def test_a_topic_that_is_none_is_refused_before_anything_is_read() -> None:
    """As everywhere."""
    with pytest.raises(ConfigurationError, match="no Kafka topic"):
        Form(type="a", topic="b c", **SOURCE)
