"""Events as Kafka records; the official CloudEvents package reads what is written here."""

from __future__ import annotations

import base64
import enum
import json
import math
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given
from hypothesis import strategies as st

from eventpub.cloudevents import UNSET, Encoder
from eventpub.event import Event
from eventpub.exceptions import ConfigurationError, SerializationError, UsageError
from eventpub.record import Record
from eventpub.registry import EventRegistry

MOMENT = datetime(2026, 11, 25, 3, 7, 41, 272664, tzinfo=UTC)
NOW_MS = 1_795_575_938_476
UNICODE = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
ATTRIBUTE_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co"]), min_size=1)


class Isolated(Event, registry=EventRegistry()):
    """A base whose subclasses stay out of the default registry."""


class Region(enum.Enum):
    NORTH = "north"


class Binary(
    Isolated,
    type="task.created",
    topic="tasks",
    key="task_id",
    subject="tasks/{task_id}",
    dataschema="https://s.example/1",
):
    task_id: str = "42"
    title: str = "grün"
    data: Any = None


class Structured(Binary, type="task.structured", envelope="structured"):
    pass


class Bare(Binary, type="task.bare", envelope="none"):
    pass


class Simple(Isolated, type="simple"):
    n: int = 1


class Price(Isolated, type="price"):
    value: float = 1.0


@pytest.fixture
def encoder() -> Encoder:
    """Return an encoder as a publisher has it."""
    return Encoder("/task-api")


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventpub.cloudevents.wall_clock", lambda: NOW_MS * 1_000_000 + 999_999)


def read(record: Record) -> BaseCloudEvent:
    """Read *record* with the official package."""
    headers = {name: value for name, value in record.headers if value is not None}
    assert len(headers) == len(record.headers)
    assert record.value is not None
    return from_kafka(KafkaMessage(headers, record.key, record.value), JSONFormat())


# --- binary mode -------------------------------------------------------------------------


def test_binary_mode_writes_attributes_as_headers(encoder: Encoder) -> None:
    """Every attribute is a ce_ header, datacontenttype is content-type, the value is the payload."""
    event = Binary().with_envelope(id="1", time=MOMENT, extensions={"sequence": "7"})
    record = encoder.encode(event)
    assert record == Record(
        topic="tasks",
        value='{"task_id":"42","title":"grün","data":null}'.encode(),
        key=b"42",
        headers=(
            ("ce_specversion", b"1.0"),
            ("ce_type", b"task.created"),
            ("ce_source", b"/task-api"),
            ("ce_dataschema", b"https://s.example/1"),
            ("content-type", b"application/json"),
            ("ce_id", b"1"),
            ("ce_time", b"2026-11-25T03:07:41.272664Z"),
            ("ce_subject", b"tasks/42"),
            ("ce_sequence", b"7"),
        ),
        partition=None,
        timestamp=NOW_MS,
    )
    assert type(record) is Record
    assert record.event_id == "1"


def test_optional_attributes_are_left_out(encoder: Encoder) -> None:
    """An event without subject, dataschema and extensions has headers for the rest alone."""
    names = [name for name, _ in encoder.encode(Simple()).headers]
    assert names == ["ce_specversion", "ce_type", "ce_source", "content-type", "ce_id", "ce_time"]


# --- structured mode ---------------------------------------------------------------------


def test_structured_mode_writes_one_json_object(encoder: Encoder) -> None:
    """Attributes and payload share the value, and no ce_ header stands beside it."""
    event = Structured().with_envelope(id='"1"', time=MOMENT, extensions={"flag": True, "count": 5, "raw": b"\xff"})
    record = encoder.encode(event)
    assert record.headers == (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
    assert record.value is not None
    assert json.loads(record.value) == {
        "specversion": "1.0",
        "type": "task.structured",
        "source": "/task-api",
        "dataschema": "https://s.example/1",
        "datacontenttype": "application/json",
        "id": '"1"',
        "time": "2026-11-25T03:07:41.272664Z",
        "subject": "tasks/42",
        "flag": True,
        "count": 5,
        "raw": "/w==",
        "data": {"task_id": "42", "title": "grün", "data": None},
    }
    assert record.key == b"42"


# --- no envelope -------------------------------------------------------------------------


def test_no_envelope_writes_the_payload_alone() -> None:
    """With envelope="none" only content-type is left, and no source is needed."""
    record = Encoder().encode(Bare())
    assert record.headers == (("content-type", b"application/json"),)
    assert json.loads(record.value or b"") == {"task_id": "42", "title": "grün", "data": None}
    assert record.key == b"42"
    assert record.topic == "tasks"


# --- read by the official package --------------------------------------------------------

EXTENSIONS: dict[str, Any] = {
    "text": "grün-😀",
    "empty": "",
    "number": -(2**31),
    "yes": True,
    "no": False,
    "raw": b"\x00\xff",
    "moment": datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
    "a20characternameisok": "x",
    "9lives": "x",
}
AS_TEXT = {
    "text": "grün-😀",
    "empty": "",
    "number": "-2147483648",
    "yes": "true",
    "no": "false",
    "raw": base64.b64encode(b"\x00\xff").decode(),
    "moment": "2026-01-01T00:00:00.000000Z",
    "a20characternameisok": "x",
    "9lives": "x",
}


@pytest.mark.parametrize(
    "event_class, extensions",
    [(Binary, AS_TEXT), (Structured, {**AS_TEXT, "number": -(2**31), "yes": True, "no": False})],
)
def test_the_official_package_reads_every_attribute(
    encoder: Encoder, event_class: type[Binary], extensions: dict[str, Any]
) -> None:
    """Each attribute and each type of extension arrives; numbers and booleans as such in structured mode."""
    event = event_class(title="ü", data={"a": [1, None, "x"]}).with_envelope(time=MOMENT, extensions=EXTENSIONS)
    got = read(encoder.encode(event))
    attributes = got.get_attributes()
    assert attributes.pop("partitionkey") == "42"  # the package derives it from the record's key
    assert attributes == {
        "specversion": "1.0",
        "id": event.envelope.id,
        "source": "/task-api",
        "type": "task.created" if event_class is Binary else "task.structured",
        "time": MOMENT,
        "subject": "tasks/42",
        "dataschema": "https://s.example/1",
        "datacontenttype": "application/json",
        **extensions,
    }
    assert got.get_data() == {"task_id": "42", "title": "ü", "data": {"a": [1, None, "x"]}}


@given(
    task_id=UNICODE,
    payload=st.dictionaries(UNICODE, st.integers(-(10**40), 10**40) | UNICODE | st.none()),
    id_=ATTRIBUTE_TEXT,
    subject=ATTRIBUTE_TEXT,
    extension=ATTRIBUTE_TEXT,
    moment=st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)),  # noqa: DTZ001
    structured=st.booleans(),
)
def test_whatever_an_event_holds_the_official_package_reads(
    task_id: str,
    payload: dict[str, Any],
    id_: str,
    subject: str,
    extension: str,
    moment: datetime,
    structured: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Key, payload and attributes of any Unicode come back equal in both modes."""

    class Here(Isolated, type="here", topic="t", key="task_id", envelope="structured" if structured else "binary"):
        task_id: str
        data: Any

    event = Here(task_id=task_id, data=payload).with_envelope(
        id=id_, time=moment, subject=subject, extensions={"ext": extension}
    )
    got = read(Encoder("urn:x:%20").encode(event))
    assert (got.get_id(), got.get_time(), got.get_subject()) == (id_, moment, subject)
    assert (got.get_extension("ext"), got.get_extension("partitionkey")) == (extension, task_id)
    assert (got.get_source(), got.get_type()) == ("urn:x:%20", "here")
    assert got.get_data() == {"task_id": task_id, "data": payload}


def test_partitionkey_is_transmitted_and_is_not_the_key(encoder: Encoder) -> None:
    """The extension travels as an attribute; the record's key stays what the user said."""
    event = Simple().with_envelope(extensions={"partitionkey": "p"})
    record = encoder.encode(event)
    assert record.key is None
    assert read(record).get_extension("partitionkey") == "p"


# --- topic -------------------------------------------------------------------------------


def test_the_topic_is_the_class_s_then_topic_for_s_then_the_type() -> None:
    """A class's topic goes first, else the publisher's function is asked once a class, else the type serves."""
    asked: list[type[Event]] = []

    def topic_for(event_class: type[Event]) -> str:
        asked.append(event_class)
        return f"app.{event_class.__name__}"

    encoder = Encoder("/x", topic_for)
    assert encoder.encode(Binary()).topic == "tasks"
    assert [encoder.encode(Simple()).topic for _ in range(3)] == ["app.Simple"] * 3
    assert asked == [Simple]
    assert Encoder("/x").encode(Simple()).topic == "simple"
    assert encoder.encode(Simple(), topic="other").topic == "other"


def test_a_type_that_is_no_topic_needs_a_topic() -> None:
    """A type with characters that topics lack is refused with both fixes, unless a topic is given."""

    class Reversed(Isolated, type="com/example"):
        pass

    encoder = Encoder("/x")
    with pytest.raises(ConfigurationError, match=r"topic: Reversed names none, and its type is 'com/example'") as error:
        encoder.encode(Reversed())
    assert "topic_for=" in error.value.findings[0].fix
    assert encoder.encode(Reversed(), topic="reversed").topic == "reversed"


@pytest.mark.parametrize("topic, shown", [("a b", "'a b'"), ("", "''"), (5, "'5'"), (None, "'None'")])
def test_a_topic_for_that_gives_no_topic_is_named(topic: Any, shown: str) -> None:
    """What topic_for returns is checked as any topic's name is."""
    with pytest.raises(ConfigurationError, match=f"^topic: Simple names none, and topic_for gives {shown}"):
        Encoder("/x", lambda _class: topic).encode(Simple())


def test_a_topic_for_that_raises_is_named() -> None:
    """What topic_for raises is the cause of a ConfigurationError."""

    def broken(_class: type[Event]) -> str:
        raise KeyError("x")

    with pytest.raises(ConfigurationError, match=r"^topic_for: raised KeyError for Simple") as error:
        Encoder("/x", broken).encode(Simple())
    assert isinstance(error.value.__cause__, KeyError)


# --- source and settings -----------------------------------------------------------------


@pytest.mark.parametrize("event_class", [Binary, Structured])
def test_a_missing_source_is_refused_at_the_first_event_that_needs_one(event_class: type[Event]) -> None:
    """Without a source there is no CloudEvent: the refusal names the setting and both ways out."""
    encoder = Encoder()
    for _ in range(2):
        with pytest.raises(ConfigurationError) as error:
            encoder.encode(event_class())
        (finding,) = error.value.findings
        assert finding.setting == "source"
        assert 'source="/your-service"' in finding.fix
        assert 'envelope="none"' in finding.fix


def test_all_wrong_settings_are_found_at_once() -> None:
    """An encoder refuses everything wrong with its settings, each by its name."""
    with pytest.raises(ConfigurationError) as error:
        Encoder("a b", "topics", object())  # type: ignore[arg-type]
    assert [finding.setting for finding in error.value.findings] == [
        "source",
        "topic_for",
        "serializer",
        "serializer.content_type",
    ]


@pytest.mark.parametrize("source", ["", 5, "a b", "/ü", "100%", "a\n", b"/x"])
def test_a_source_is_a_uri_reference(source: Any) -> None:
    """What is no URI reference is refused as such."""
    with pytest.raises(ConfigurationError, match=r"^source: "):
        Encoder(source)


@pytest.mark.parametrize("source", ["/x", "x", "urn:uuid:1", "https://example.com/a?b=c#d", "//host/x", "a%20b", "."])
def test_uri_references_of_all_kinds_are_sources(source: str) -> None:
    """Absolute or relative, a URI reference is taken as it is."""
    assert dict(Encoder(source).encode(Simple()).headers)["ce_source"] == source.encode()


def test_an_abstract_base_cannot_be_published(encoder: Encoder) -> None:
    """An event of a class without type is refused with what is missing."""

    class Base(Isolated):
        pass

    with pytest.raises(
        ConfigurationError, match=r"^type: Base has none, which makes it an abstract base; publish a sub"
    ):
        encoder.encode(Base())


@pytest.mark.parametrize("thing", [None, {"task_id": "1"}, "x", Record("t", b"")])
def test_only_events_are_encoded(encoder: Encoder, thing: Any) -> None:
    """Another kind of object is wrong usage, named by its class."""
    with pytest.raises(UsageError, match=f"^event: expected an Event, got {type(thing).__name__}$"):
        encoder.encode(thing)


# --- per-call values ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "key, expected",
    [(UNSET, b"42"), (None, None), ("", b""), ("x", b"x"), (7, b"7"), (b"\x00", b"\x00"), (Region.NORTH, b"north")],
)
def test_a_given_key_goes_before_the_class_s(encoder: Encoder, key: Any, expected: bytes | None) -> None:
    """``None`` is no key, and an empty key is a key."""
    assert encoder.encode(Binary(), key=key).key == expected


def test_a_key_function_is_asked_per_event(encoder: Encoder) -> None:
    """A key may be any function of the event."""

    class Keyed(Isolated, type="keyed", key=lambda event: uuid.UUID(int=event.n)):
        n: int

    assert encoder.encode(Keyed(n=1)).key == b"00000000-0000-0000-0000-000000000001"


def test_wrong_keys_name_where_they_come_from(encoder: Encoder) -> None:
    """A given key of a wrong kind is wrong usage; one taken from a field is the event's fault."""

    class Priced(Isolated, type="priced", key="n"):
        n: float

    with pytest.raises(UsageError, match=r"^key: expected .*got float"):
        encoder.encode(Binary(), key=1.5)  # type: ignore[arg-type]
    with pytest.raises(SerializationError, match=r"^key: field 'n' gives none: .*got float"):
        encoder.encode(Priced(n=1.5))
    assert encoder.encode(Priced(n=1.5), key="instead").key == b"instead"


def test_headers_are_added_after_the_envelope_s(encoder: Encoder) -> None:
    """User headers keep their order and their duplicates, and may have no value."""
    extra = [("traceparent", b"00-x"), ("tag", b"1"), ("tag", b"2"), ("nothing", None), ("cents", b"x"), ("", b"")]
    headers = encoder.encode(Binary(), headers=extra).headers
    assert headers[-len(extra) :] == tuple(extra)
    assert encoder.encode(Binary(), headers=iter(extra)).headers[-len(extra) :] == tuple(extra)
    assert encoder.encode(Binary(), headers=[]).headers[-1][0] == "ce_subject"


@pytest.mark.parametrize("name", ["ce_id", "ce_", "ce_myext", "CE_Type", "content-type", "Content-Type"])
@pytest.mark.parametrize("event_class", [Binary, Structured, Bare])
def test_the_envelope_s_headers_are_refused(encoder: Encoder, event_class: type[Event], name: str) -> None:
    """A header that the envelope owns is refused by its name, with what to do instead."""
    with pytest.raises(ConfigurationError) as error:
        encoder.encode(event_class(), headers=[("fine", b""), (name, b"x")])
    (finding,) = error.value.findings
    assert finding.setting == f"headers[{name!r}]"
    assert "publish a Record" in finding.fix


@pytest.mark.parametrize(
    "headers, message",
    [
        ("text", "^headers: expected pairs"),
        (5, "^headers: expected pairs"),
        ([("a",)], "^headers: expected pairs"),
        ([(b"a", b"b")], "^headers: expected names of type str, got bytes"),
        ([("a", "b")], r"^headers\['a'\]: expected bytes or None"),
    ],
)
def test_headers_of_the_wrong_kind_are_wrong_usage(encoder: Encoder, headers: Any, message: str) -> None:
    """Headers that are no pairs of text and bytes are named."""
    with pytest.raises(UsageError, match=message):
        encoder.encode(Binary(), headers=headers)


@pytest.mark.parametrize(
    "timestamp, expected",
    [
        (None, NOW_MS),
        (0, 0),
        (2**63 - 1, 2**63 - 1),
        (MOMENT, 1_795_576_061_272),
        (MOMENT.astimezone(timezone(timedelta(hours=-5))), 1_795_576_061_272),
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
    ],
)
def test_the_timestamp_is_always_set(encoder: Encoder, timestamp: Any, expected: int) -> None:
    """Milliseconds as they are, a datetime in milliseconds, or else the wall clock."""
    assert encoder.encode(Binary(), timestamp=timestamp).timestamp == expected
    assert encoder.complete(Record("t", b""), timestamp=timestamp).timestamp == expected


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"timestamp": -1}, ConfigurationError, "^timestamp: -1 is out of range"),
        ({"timestamp": 2**63}, ConfigurationError, "^timestamp: 9223372036854775808 is out of range"),
        ({"timestamp": datetime(1969, 12, 31, tzinfo=UTC)}, ConfigurationError, "^timestamp: -86400000 is out of"),
        (
            {"timestamp": datetime(2026, 1, 1)},  # noqa: DTZ001 - its subject
            ConfigurationError,
            "^timestamp: is a datetime without time zone; give an aware one",
        ),
        ({"timestamp": 1.5}, UsageError, "^timestamp: expected int .milliseconds since 1970.*got float"),
        ({"timestamp": True}, UsageError, "^timestamp: expected int"),
        ({"timestamp": "now"}, UsageError, "^timestamp: expected int"),
        ({"partition": -1}, ConfigurationError, "^partition: -1 is out of range"),
        ({"partition": "0"}, UsageError, "^partition: expected int"),
        ({"topic": "a b"}, ConfigurationError, "^topic: 'a b' is no Kafka topic name"),
        ({"topic": ""}, ConfigurationError, "^topic: '' is no Kafka topic name"),
        ({"topic": 5}, UsageError, "^topic: expected str, got int"),
        ({"key": 1.5}, UsageError, "^key: expected"),
        ({"key": "\ud800"}, SerializationError, "^key: holds a lone surrogate"),
    ],
)
@pytest.mark.parametrize("how", ["encode", "complete"])
def test_wrong_values_and_kinds_are_named(
    encoder: Encoder, how: str, arguments: Any, error: type[Exception], message: str
) -> None:
    """For an event as for a record, a wrong value and a wrong kind are told apart and named."""
    call: Callable[..., Record] = getattr(encoder, how)
    with pytest.raises(error, match=message):
        call(Binary() if how == "encode" else Record("t", b""), **arguments)


def test_a_partition_is_passed_on(encoder: Encoder) -> None:
    """Partition 0 is a partition."""
    assert encoder.encode(Binary(), partition=0).partition == 0
    assert encoder.encode(Binary()).partition is None


# --- records -----------------------------------------------------------------------------


def test_a_record_is_taken_as_it_is(encoder: Encoder) -> None:
    """Nothing of a record changes but a missing timestamp: not its headers, not a tombstone, not empty bytes."""
    record = Record("t", None, b"", [("ce_id", b"1"), ("content-type", b"x")], 0, 0)
    assert encoder.complete(record) == record
    assert encoder.complete(Record("t", b"")) == Record("t", b"", timestamp=NOW_MS)


def test_what_is_given_goes_before_the_record_s_own(encoder: Encoder) -> None:
    """Each argument replaces its part of the record; headers are added, reserved names included."""
    record = Record("t", b"v", b"k", [("a", b"1")], 3, 5)
    changed = encoder.complete(record, key=None, topic="u", headers=[("ce_id", b"2")], partition=0, timestamp=9)
    assert changed == Record("u", b"v", None, [("a", b"1"), ("ce_id", b"2")], 0, 9)
    assert encoder.complete(record, key=7).key == b"7"


# --- payloads ----------------------------------------------------------------------------


def test_an_error_of_the_payload_carries_the_event_and_not_its_contents(encoder: Encoder) -> None:
    """A SerializationError knows id, topic and event; its text shows neither payload nor key."""
    event = Binary(task_id="secret-key", data=math.nan)
    with pytest.raises(SerializationError, match=r"^data: holds NaN or infinity") as error:
        encoder.encode(event)
    assert (error.value.event_id, error.value.topic) == (event.envelope.id, "tasks")
    assert error.value.record is event
    assert "secret" not in str(error.value) + repr(error.value)
    with pytest.raises(SerializationError) as error:
        encoder.encode(event, topic="given")
    assert error.value.topic == "given"


def test_a_refused_event_leaves_the_next_one_unharmed(encoder: Encoder) -> None:
    """After a refusal the same encoder writes a good event of the same class."""
    with pytest.raises(SerializationError, match=r"^value: holds NaN"):
        encoder.encode(Price(value=math.nan))
    assert encoder.encode(Price(value=1.5)).value == b'{"value":1.5}'


# --- other serializers -------------------------------------------------------------------


class Csv:
    content_type = "text/csv"

    def serialize(self, event: object, /) -> bytes:
        """Write the event's values."""
        assert isinstance(event, Event)
        return ",".join(map(str, event.model_dump().values())).encode()


class VendorJson:
    content_type = "application/vnd.tasks+json; charset=utf-8"

    def serialize(self, event: object, /) -> bytes:
        """Write another JSON."""
        return b'{"vendor":1}'


def test_a_serializer_of_the_user_s_writes_the_payload() -> None:
    """Bytes and media type are the serializer's; structured mode carries what is no JSON as base64."""
    encoder = Encoder("/x", serializer=Csv())
    record = encoder.encode(Binary())
    assert record.value == "42,grün,None".encode()
    assert read(record).get_datacontenttype() == "text/csv"
    record = encoder.encode(Structured())
    written = json.loads(record.value or b"")
    assert written["datacontenttype"] == "text/csv"
    assert base64.b64decode(written["data_base64"]) == "42,grün,None".encode()
    assert "data" not in written
    assert read(record).get_data() == "42,grün,None".encode()
    assert encoder.encode(Bare()).headers == (("content-type", b"text/csv"),)


def test_another_kind_of_json_stays_json_in_structured_mode() -> None:
    """A media type that ends in +json is embedded as it is."""
    written = json.loads(Encoder("/x", serializer=VendorJson()).encode(Structured()).value or b"")
    assert written["data"] == {"vendor": 1}
    assert written["datacontenttype"] == "application/vnd.tasks+json; charset=utf-8"


class Failing:
    content_type = "text/plain"

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome

    def serialize(self, event: object, /) -> bytes:
        """Raise or return what was given."""
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "outcome, message",
    [
        (KeyError("secret"), "^payload: Failing raised KeyError$"),
        ("text", "^payload: Failing returned str, not bytes$"),
        (None, "^payload: Failing returned NoneType, not bytes$"),
        (SerializationError("title: too blue"), "^title: too blue$"),
    ],
)
def test_a_serializer_that_fails_is_named(outcome: Any, message: str) -> None:
    """What a serializer raises or returns amiss is a SerializationError; its own passes as it is."""
    event = Binary()
    with pytest.raises(SerializationError, match=message) as error:
        Encoder("/x", serializer=Failing(outcome)).encode(event)
    assert error.value.event_id == event.envelope.id


@pytest.mark.parametrize("content_type", [None, "", "json", "a b", "text/ü", "text/plain\n", 5])
def test_a_content_type_is_a_media_type(content_type: Any) -> None:
    """A serializer without a usable media type is refused by that name."""
    serializer = Csv()
    serializer.content_type = content_type
    with pytest.raises(ConfigurationError, match=r"^serializer.content_type: "):
        Encoder("/x", serializer=serializer)
