"""Class keywords: inheritance, and refusals when the class is made."""

from __future__ import annotations

import re
from typing import Any, Generic, TypeVar

import pydantic
import pytest
from pydantic import computed_field

from eventpub.declaration import declared
from eventpub.event import Event
from eventpub.exceptions import ConfigurationError
from eventpub.profile import STANDARD, TELEMETRY
from eventpub.registry import EventRegistry

T = TypeVar("T")


class Isolated(Event, registry=EventRegistry()):
    """A base whose subclasses stay out of the default registry."""


def findings_of(fields: dict[str, Any] | None = None, **keywords: Any) -> dict[str, str]:
    """Return what is wrong with a class of these keywords, by setting."""
    annotated: Any = {name: (kind, ...) for name, kind in (fields or {"task_id": str}).items()}
    with pytest.raises(ConfigurationError) as error:
        pydantic.create_model("Bad", __base__=Isolated, __cls_kwargs__=keywords, **annotated)
    assert all(finding.reason.startswith("Bad: ") and finding.fix for finding in error.value.findings)
    return {finding.setting: finding.reason.removeprefix("Bad: ") for finding in error.value.findings}


def test_defaults() -> None:
    """A class that says only its type leaves the rest to the publisher."""

    class Plain(Isolated, type="plain"):
        n: int

    says = declared(Plain)
    assert (says.type, says.topic, says.key, says.profile, says.subject) == ("plain", None, None, None, None)
    assert (says.dataschema, says.envelope) == (None, "binary")


def test_everything_but_the_type_is_inherited_unless_restated() -> None:
    """Settings come from the nearest base that states them; ``None`` restates; the type never comes along."""
    registry = EventRegistry()

    class Base(
        Event,
        topic="tasks",
        key="task_id",
        profile=STANDARD,
        subject="tasks/{task_id}",
        dataschema="https://example.com/schema",
        envelope="structured",
        registry=registry,
    ):
        task_id: str

    class Created(Base, type="created"):
        pass

    class Renamed(Created, type="renamed", topic=None, key=None, profile="telemetry", envelope="binary"):
        pass

    class NoType(Created):
        pass

    says = declared(Created)
    assert (says.topic, says.key, says.profile, says.subject) == ("tasks", "task_id", STANDARD, "tasks/{task_id}")
    assert (says.dataschema, says.envelope, says.registry) == ("https://example.com/schema", "structured", registry)
    says = declared(Renamed)
    assert (says.topic, says.key, says.profile, says.envelope) == (None, None, "telemetry", "binary")
    assert says.subject == "tasks/{task_id}"
    assert declared(NoType).type is None
    assert set(registry) == {"created", "renamed"}


def test_settings_of_two_bases_are_merged_along_the_mro() -> None:
    """Of two bases the first goes before the second, setting by setting."""

    class Keyed(Isolated, key="n", topic="first"):
        n: int

    class Telemetry(Isolated, profile=TELEMETRY, topic="second"):
        pass

    class Both(Keyed, Telemetry, type="both"):
        pass

    says = declared(Both)
    assert (says.key, says.topic, says.profile) == ("n", "first", TELEMETRY)


def test_all_faults_are_found_at_once() -> None:
    """One refusal lists every class keyword that makes no sense."""
    found = findings_of(
        type="",
        topic="no topic",
        key="taks_id",
        profile=5,
        subject="{who}",
        dataschema="schema",
        envelope="xml",
        registry="mine",
        tpoic="x",
    )
    assert found == {
        "type": "is empty",
        "topic": "'no topic' is no Kafka topic name",
        "key": "'taks_id' is none of the fields task_id",
        "profile": "got int",
        "subject": "{who} is none of the fields task_id",
        "dataschema": "'schema' has no scheme",
        "envelope": "'xml' is no content mode",
        "registry": "got str",
        "tpoic": "is no class keyword of an event",
    }


@pytest.mark.parametrize(
    "setting, value, reason",
    [
        ("type", 5, "got int"),
        ("type", None, "got NoneType"),
        ("type", "a\nb", "holds the character U\\+000A"),
        ("type", "a\ud800", "holds the character U\\+D800"),
        ("topic", 5, "got int"),
        ("topic", "", "'' is no Kafka topic name"),
        ("topic", "..", "is no Kafka topic name"),
        ("topic", "x" * 250, "is no Kafka topic name"),
        ("key", 5, "got int"),
        ("key", "", "'' is none of the fields"),
        ("profile", "", "is empty"),
        ("profile", object(), "got object"),
        ("subject", 5, "got int"),
        ("subject", "", "is empty"),
        ("subject", "a\tb", "holds the character U\\+0009"),
        ("subject", "{task_id", "has unbalanced braces"),
        ("subject", "{}", "{} is none of the fields"),
        ("subject", "{task_id!r}", "{task_id} has a format"),
        ("subject", "{task_id:>9}", "{task_id} has a format"),
        ("subject", "{task_id.real}", "{task_id.real} is none of the fields"),
        ("subject", "task_id", "'task_id' is a field, and would be sent as that very word"),
        ("dataschema", 5, "got int"),
        ("dataschema", "", "is empty"),
        ("dataschema", "https://example.com/a b", "holds characters that a URI cannot"),
        ("dataschema", "//example.com", "has no scheme"),
        ("envelope", None, "got NoneType, which is no content mode"),
        ("envelope", "batch", "'batch' is no content mode"),
        ("envelope", [], "got list, which is no content mode"),
        ("registry", None, "got NoneType"),
    ],
)
def test_each_setting_is_checked(setting: str, value: object, reason: str) -> None:
    """A wrong value is refused under the name of its setting."""
    found = findings_of(None, **{"type": "bad", setting: value})
    assert list(found) == [setting]
    assert re.search(reason, found[setting])


def test_a_field_as_a_subject_is_explained() -> None:
    """Where a subject is a field's name, the refusal shows how to send the field's value."""
    with pytest.raises(ConfigurationError, match=r'write "\{task_id\}" for the value of the field'):

        class Bad(Isolated, type="bad", subject="task_id"):
            task_id: str


@pytest.mark.parametrize(
    "keyword, fix",
    [("tpic", "did you mean topic=?"), ("zzz", "the keywords are type, topic, key, profile, subject, dataschema")],
)
def test_an_unknown_keyword_suggests_the_known_one(keyword: str, fix: str) -> None:
    """A misspelt keyword is answered by the one that was meant, or by all."""
    with pytest.raises(ConfigurationError) as error:
        pydantic.create_model("Bad", __base__=Isolated, __cls_kwargs__={"type": "bad", keyword: "x"})
    (finding,) = error.value.findings
    assert finding.setting == keyword
    assert finding.fix.startswith(fix)


@pytest.mark.parametrize("name", ["envelope", "with_envelope"])
def test_a_field_must_not_hide_the_envelope(name: str) -> None:
    """A payload field of a name that every event has is refused, together with all other faults."""
    found = findings_of({name: str, "n": int}, type="bad", key="m")
    assert found[name] == "a field or method of this name would hide the event's own"
    assert found["key"] == f"'m' is none of the fields {name}, n"


def test_a_method_must_not_hide_the_envelope() -> None:
    """A method of such a name is refused as well."""
    with pytest.raises(ConfigurationError, match=r"with_envelope: Bad: .*rename it"):

        class Bad(Isolated, type="bad"):
            def with_envelope(self) -> None:  # type: ignore[override]
                """Hide what publishing needs."""


def test_a_refused_class_enters_no_registry() -> None:
    """A class that was refused left nothing behind."""
    registry = EventRegistry()
    with pytest.raises(ConfigurationError):

        class Bad(Event, type="bad", key="nothing", registry=registry):
            n: int

    assert dict(registry) == {}


def test_an_abstract_base_may_name_a_field_of_its_subclasses() -> None:
    """Key and subject of a base without type are checked against the fields of the concrete class."""

    class Base(Isolated, key="tenant", subject="{tenant}"):
        pass

    class Concrete(Base, type="concrete"):
        tenant: str

    assert declared(Concrete).key == "tenant"
    with pytest.raises(ConfigurationError) as error:

        class Other(Base, type="other"):
            n: int

    assert [finding.setting for finding in error.value.findings] == ["key", "subject"]


def test_a_computed_field_may_be_the_key() -> None:
    """A key names a field, computed ones included."""

    class Computed(Isolated, type="computed", key="both", subject="{both}"):
        a: str
        b: str

        @computed_field  # type: ignore[prop-decorator]
        @property
        def both(self) -> str:
            """Return both parts."""
            return f"{self.a}/{self.b}"

    assert declared(Computed).key == "both"
    assert Computed(a="1", b="2").envelope.subject == "1/2"


def test_pydantic_keywords_still_work() -> None:
    """What pydantic knows as a class keyword goes to pydantic."""

    class Strict(Isolated, type="strict", strict=True, title="A strict one"):
        n: int

    with pytest.raises(pydantic.ValidationError):
        Strict(n="1")  # type: ignore[arg-type]
    assert Strict.model_json_schema()["title"] == "A strict one"


def test_a_generic_event_with_its_types_filled_in_is_the_same_event() -> None:
    """``Changed[int]`` has the type of ``Changed`` and is no second class of that type."""

    class Changed(Isolated, Generic[T], type="changed", topic="changes", key="name"):
        name: str
        value: T

    event = Changed[int](name="x", value=1)
    assert declared(type(event)) is declared(Changed)
    assert Isolated.__eventpub__.registry["changed"] is Changed


def test_a_generic_base_is_filled_in_by_a_concrete_class() -> None:
    """A generic base without type serves concrete classes."""

    class Changed(Isolated, Generic[T], topic="changes"):
        value: T

    class CountChanged(Changed[int], type="count.changed"):
        pass

    assert declared(CountChanged).topic == "changes"
    assert declared(CountChanged).type == "count.changed"


def test_a_class_made_by_create_model_is_an_event_class() -> None:
    """The keywords may be given to pydantic's ``create_model`` too."""
    made = pydantic.create_model("Made", __base__=Isolated, __cls_kwargs__={"type": "made", "key": "n"}, n=(int, ...))
    assert declared(made).key == "n"
    assert made.model_validate({"n": 1}).model_dump() == {"n": 1}
