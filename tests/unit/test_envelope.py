"""What an instance's envelope may hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpub.envelope import Envelope, nanoseconds, rfc3339
from eventpub.event import Event
from eventpub.exceptions import ConfigurationError, UsageError
from eventpub.registry import EventRegistry


class Noted(Event, type="noted", subject="notes", registry=EventRegistry()):
    text: str = "hello"


class Nowhere(tzinfo):
    """A zone that knows no offset, which Python counts as none."""

    def utcoffset(self, _moment: datetime | None) -> None:
        """Return nothing."""

    tzname = dst = utcoffset


@pytest.fixture
def event() -> Noted:
    """Return an event whose class gives it a subject."""
    return Noted()


def test_given_attributes_replace_and_the_rest_stays(event: Noted) -> None:
    """Each argument replaces its attribute alone; payload and original are untouched."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=2)))
    before = event.envelope
    changed = event.with_envelope(id="mine").with_envelope(time=moment).with_envelope(extensions={"sequence": "1"})
    assert changed.envelope.id == "mine"
    assert changed.envelope.time == moment
    assert changed.envelope.time.tzinfo is UTC
    assert changed.envelope.subject == "notes"
    assert changed.envelope.extensions == {"sequence": "1"}
    assert changed == event
    assert event.envelope == before
    assert event.with_envelope().envelope == before


def test_a_subject_can_be_replaced_and_removed(event: Noted) -> None:
    """``None`` removes the subject that the class gives; leaving it out keeps it."""
    assert event.with_envelope(subject="other").envelope.subject == "other"
    assert event.with_envelope(subject=None).envelope.subject is None
    assert event.with_envelope(id="x").envelope.subject == "notes"


def test_extensions_are_replaced_as_a_whole_and_cannot_be_changed(event: Noted) -> None:
    """``extensions=`` says all of them; the mapping shown is read-only and no alias of the one given."""
    given_ones: dict[str, Any] = {"a": "1"}
    changed = event.with_envelope(extensions=given_ones)
    given_ones["a"] = "2"
    assert changed.envelope.extensions == {"a": "1"}
    assert changed.with_envelope(extensions={"b": True}).envelope.extensions == {"b": True}
    with pytest.raises(TypeError):
        changed.envelope.extensions["a"] = "3"  # type: ignore[index]


@pytest.mark.parametrize(
    "value",
    ["", "text", "grün-😀", 0, -(2**31), 2**31 - 1, True, False, b"", b"\x00\xff", datetime(2026, 1, 1, tzinfo=UTC)],
)
def test_extension_values_of_every_cloudevents_type(event: Noted, value: Any) -> None:
    """Text, 32-bit integers, booleans, bytes and aware datetimes are taken as they are."""
    assert event.with_envelope(extensions={"ext1": value}).envelope.extensions == {"ext1": value}


@pytest.mark.parametrize(
    "arguments, setting, reason",
    [
        ({"id": ""}, "id", "is empty"),
        ({"id": "a\x00"}, "id", "holds the character U+0000"),
        ({"time": datetime(2026, 1, 1)}, "time", "is a datetime without time zone"),  # noqa: DTZ001 - its subject
        ({"time": datetime(2026, 1, 1, tzinfo=Nowhere())}, "time", "is a datetime without time zone"),
        (
            {"time": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))},
            "time",
            "lies outside the years 1 to 9999 in UTC",
        ),
        ({"subject": ""}, "subject", "is empty"),
        ({"subject": "a\x7f"}, "subject", "holds the character U+007F"),
        ({"subject": "a\uffff"}, "subject", "holds the character U+FFFF"),
        ({"subject": "a\U0001fffe"}, "subject", "holds the character U+1FFFE"),
        ({"extensions": {"": "x"}}, "extensions['']", "is no name of an extension attribute"),
        ({"extensions": {"Upper": "x"}}, "extensions['Upper']", "is no name of an extension attribute"),
        ({"extensions": {"with_line": "x"}}, "extensions['with_line']", "is no name of an extension attribute"),
        ({"extensions": {"a\n": "x"}}, "extensions['a\\n']", "is no name of an extension attribute"),
        ({"extensions": {5: "x"}}, "extensions[5]", "is no name of an extension attribute"),
        ({"extensions": {"a": "\ud800"}}, "extensions['a']", "holds the character U+D800"),
        ({"extensions": {"a": 2**31}}, "extensions['a']", "does not fit the 32 bits"),
        ({"extensions": {"a": -(2**31) - 1}}, "extensions['a']", "does not fit the 32 bits"),
        ({"extensions": {"a": datetime(2026, 1, 1)}}, "extensions['a']", "is a datetime without"),  # noqa: DTZ001
        ({"extensions": {"partitionkey": ""}}, "extensions['partitionkey']", "is empty"),
    ],
)
def test_wrong_values_are_refused_by_name(event: Noted, arguments: Any, setting: str, reason: str) -> None:
    """What CloudEvents does not allow is a ConfigurationError that names the argument."""
    with pytest.raises(ConfigurationError) as error:
        event.with_envelope(**arguments)
    (finding,) = error.value.findings
    assert finding.setting == setting
    assert finding.reason.startswith(reason)
    assert finding.fix


@pytest.mark.parametrize(
    "name",
    ["id", "source", "specversion", "type", "datacontenttype", "dataschema", "subject", "time", "data"],
)
def test_reserved_names_are_no_extensions(event: Noted, name: str) -> None:
    """An attribute of CloudEvents itself cannot be smuggled in as an extension."""
    with pytest.raises(ConfigurationError, match=rf"^extensions\['{name}'\]: is an attribute of CloudEvents itself"):
        event.with_envelope(extensions={name: "x"})


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"id": 5}, "^id: expected str, got int$"),
        ({"time": "2026-01-01"}, "^time: expected datetime, got str$"),
        ({"subject": 5}, "^subject: expected str, got int$"),
        ({"extensions": [("a", "b")]}, "^extensions: expected a mapping of names to values, got list$"),
        ({"extensions": {"a": 1.5}}, r"^extensions\['a'\]: expected str, int, bool, bytes or .*, got float$"),
        ({"extensions": {"a": None}}, r"^extensions\['a'\]: expected str, int, bool, bytes or .*, got NoneType$"),
    ],
)
def test_wrong_kinds_are_a_usage_error(event: Noted, arguments: Any, message: str) -> None:
    """An argument of the wrong type is a UsageError that names it."""
    with pytest.raises(UsageError, match=message):
        event.with_envelope(**arguments)


def test_all_wrong_values_are_found_at_once(event: Noted) -> None:
    """One refusal lists every wrong attribute."""
    with pytest.raises(ConfigurationError) as error:
        event.with_envelope(id="", subject="", extensions={"A": "x", "id": "y"})
    assert [finding.setting for finding in error.value.findings] == [
        "id",
        "subject",
        "extensions['A']",
        "extensions['id']",
    ]


@pytest.mark.parametrize(
    "moment, text",
    [
        (datetime(2026, 11, 25, 3, 7, 41, 272664, tzinfo=UTC), "2026-11-25T03:07:41.272664Z"),
        (datetime(2026, 11, 25, 3, 7, 41, tzinfo=UTC), "2026-11-25T03:07:41.000000Z"),
        (datetime(2026, 11, 25, 1, 0, tzinfo=timezone(timedelta(hours=2))), "2026-11-24T23:00:00.000000Z"),
        (datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), "1969-12-31T23:59:59.999999Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000000Z"),
        (datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_times_are_written_as_rfc_3339(moment: datetime, text: str) -> None:
    """UTC, microseconds, a Z; before 1970 and at both ends of the calendar too."""
    assert rfc3339(nanoseconds(moment)) == text


@given(st.datetimes(timezones=st.timezones()))
def test_a_time_survives_writing_and_reading(moment: datetime) -> None:
    """Whatever its zone, a moment comes back as the same moment to the microsecond."""
    try:
        utc = moment.astimezone(UTC)
    except OverflowError:
        return
    assert datetime.fromisoformat(rfc3339(nanoseconds(moment))) == utc
    assert Envelope("x", nanoseconds(moment)).time == utc


def test_repr_shows_the_attributes() -> None:
    """An envelope shows what it holds, its time readable."""
    envelope = Envelope("1", 1_000_000_000, "s", (("a", True),))
    assert repr(envelope) == "Envelope(id='1', time='1970-01-01T00:00:01+00:00', subject='s', extensions={'a': True})"
