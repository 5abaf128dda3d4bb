"""An event's payload is its fields; its envelope is made once, with the instance."""

from __future__ import annotations

import copy
import pickle
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pydantic
import pytest
from pydantic import BaseModel, PrivateAttr, computed_field

from eventpub.event import Event
from eventpub.exceptions import SerializationError
from eventpub.registry import EventRegistry


class TaskCreated(Event, type="task.created", registry=EventRegistry()):
    """Pickled below, hence at the top of the module."""

    task_id: str
    title: str = "untitled"


class Tagged(Event, type="tagged", registry=EventRegistry()):
    tags: list[str]


def test_an_instance_has_an_id_and_a_time() -> None:
    """The id is a UUIDv7 as text, the time is now in UTC; subject and extensions are empty."""
    before = datetime.now(UTC) - timedelta(microseconds=1)  # the envelope's time is cut to microseconds
    envelope = TaskCreated(task_id="1").envelope
    assert uuid.UUID(envelope.id).version == 7
    assert str(uuid.UUID(envelope.id)) == envelope.id
    assert before <= envelope.time <= datetime.now(UTC)
    assert envelope.subject is None
    assert envelope.extensions == {}


def test_ids_are_unique_and_rise() -> None:
    """Ids made one after another sort in that order."""
    ids = [TaskCreated(task_id="1").envelope.id for _ in range(1000)]
    assert ids == sorted(set(ids))


def test_ids_are_unique_over_threads() -> None:
    """Events made by several threads at once share no id."""
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda _: TaskCreated(task_id="1").envelope.id, range(4000)))
    assert len(set(ids)) == 4000


@pytest.mark.parametrize(
    "make",
    [
        lambda: TaskCreated(task_id="1"),
        lambda: TaskCreated.model_validate({"task_id": "1"}),
        lambda: TaskCreated.model_validate_json('{"task_id": "1"}'),
        lambda: TaskCreated.model_construct(task_id="1"),
        lambda: pydantic.TypeAdapter(list[TaskCreated]).validate_python([{"task_id": "1"}])[0],
    ],
)
def test_every_way_of_construction_makes_one_envelope(make: Any) -> None:
    """However an instance is made, it has an envelope, and reading it twice shows the same."""
    event = make()
    assert event.envelope is event.envelope
    assert event.envelope.id != make().envelope.id


@pytest.mark.parametrize(
    "duplicate",
    [lambda event: pickle.loads(pickle.dumps(event)), copy.copy, copy.deepcopy],
)
def test_the_envelope_stays_through_pickling_and_copying(duplicate: Any) -> None:
    """A pickled or copied event is the same event, extensions included."""
    event = TaskCreated(task_id="1").with_envelope(subject="s", extensions={"a": 1, "b": b"\xff"})
    again = duplicate(event)
    assert again is not event
    assert again == event
    assert again.envelope == event.envelope
    assert again.model_fields_set == event.model_fields_set


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("update", [None, {"task_id": "2"}])
def test_model_copy_makes_another_event(deep: bool, update: Any) -> None:  # noqa: FBT001 - a parameter of the test
    """What pydantic copies has an envelope of its own, and nothing of the old one."""
    event = TaskCreated(task_id="1").with_envelope(extensions={"a": 1})
    copied = event.model_copy(update=update, deep=deep)
    assert copied.task_id == ("2" if update else "1")
    assert copied.envelope.id != event.envelope.id
    assert copied.envelope.extensions == {}


def test_equality_and_hash_are_those_of_class_and_payload() -> None:
    """Two events of one payload are equal whatever their envelopes; another class is never equal."""

    class Other(Event, type="other", registry=EventRegistry()):
        task_id: str
        title: str = "untitled"

    one, two = TaskCreated(task_id="1"), TaskCreated(task_id="1", title="untitled")
    assert one.envelope != two.envelope
    assert one == two
    assert hash(one) == hash(two)
    assert one != TaskCreated(task_id="2")
    assert one != cast("Event", Other(task_id="1"))
    assert len({one, two, one.with_envelope(id="x")}) == 1


def test_dumps_and_schema_hold_only_the_payload() -> None:
    """Nothing of the envelope shows in what pydantic writes."""
    event = TaskCreated(task_id="1").with_envelope(extensions={"a": 1})
    assert event.model_dump() == {"task_id": "1", "title": "untitled"}
    assert event.model_dump_json() == '{"task_id":"1","title":"untitled"}'
    assert dict(event) == event.model_dump()
    assert list(TaskCreated.model_json_schema()["properties"]) == ["task_id", "title"]
    assert repr(event) == "TaskCreated(task_id='1', title='untitled')"


def test_fields_may_be_called_like_attributes_of_cloudevents() -> None:
    """Payload fields named id, time, source, type and the like are payload and nothing else."""

    class Nosy(Event, type="nosy", key="id", registry=EventRegistry()):
        id: int
        time: str
        source: str
        type: str
        subject: str
        topic: str
        key: str
        registry: str

    values = {name: name for name in ("time", "source", "type", "subject", "topic", "key", "registry")}
    event = Nosy(id=5, **values)
    assert event.model_dump() == {"id": 5, **values}
    assert uuid.UUID(event.envelope.id).version == 7
    assert event.envelope.subject is None


def test_an_event_is_frozen_and_forbids_extra_fields() -> None:
    """Neither payload nor envelope can be assigned, and unknown fields are refused."""
    event = TaskCreated(task_id="1")
    with pytest.raises(pydantic.ValidationError):
        event.task_id = "2"
    with pytest.raises((pydantic.ValidationError, AttributeError, ValueError)):
        event.envelope = event.envelope  # type: ignore[misc]
    with pytest.raises(pydantic.ValidationError):
        TaskCreated(task_id="1", owner="x")  # type: ignore[call-arg]


def test_a_payload_that_cannot_be_hashed_says_so() -> None:
    """An event with a list in it is equal by value and not hashable, as pydantic has it."""
    assert Tagged(tags=["a"]) == Tagged(tags=["a"])
    with pytest.raises(TypeError, match="unhashable"):
        hash(Tagged(tags=["a"]))


def test_a_post_init_that_forgets_its_parent_still_gets_an_envelope() -> None:
    """A subclass's own model_post_init need not call the one that makes the envelope."""

    class Forgetful(Event, type="forgetful", registry=EventRegistry()):
        n: int

        def model_post_init(self, context: Any, /) -> None:
            """Do something else."""
            assert self.n

    class Child(Forgetful, type="child"):
        pass

    assert uuid.UUID(Forgetful(n=1).envelope.id).version == 7
    assert uuid.UUID(Child(n=1).envelope.id).version == 7


def test_a_post_init_that_calls_its_parent_keeps_that_envelope() -> None:
    """The envelope seen inside model_post_init is the one that stays."""
    seen: list[str] = []

    class Careful(Event, type="careful", registry=EventRegistry()):
        n: int

        def model_post_init(self, context: Any, /) -> None:
            """Look at the envelope once the parent has made it."""
            super().model_post_init(context)
            seen.append(self.envelope.id)

    assert Careful(n=1).envelope.id == seen[0]


def test_private_attributes_stay_possible() -> None:
    """A class with private attributes has them and its envelope, also after pickling and copying."""

    class Secretive(Event, type="secretive", registry=EventRegistry()):
        n: int
        _cache: dict[str, int] = PrivateAttr(default_factory=dict)

    event = Secretive(n=1)
    event._cache["a"] = 1
    assert copy.deepcopy(event)._cache == {"a": 1}
    assert copy.deepcopy(event).envelope == event.envelope


@pytest.mark.parametrize(
    "subject, expected",
    [
        (None, None),
        ("notes", "notes"),
        ("{{literal}}", "{literal}"),
        ("tasks/{task_id}", "tasks/7"),
        ("{task_id}-{number}", "7-8"),
        (lambda event: event.task_id * 2, "77"),
        (lambda _event: None, None),
    ],
)
def test_the_subject_comes_from_the_class(subject: Any, expected: str | None) -> None:
    """A subject is a text, a text with fields in it, or a function; it is part of the envelope."""

    class About(Event, type="about", subject=subject, registry=EventRegistry()):
        task_id: str
        number: int = 8

    event = About(task_id="7")
    assert event.envelope.subject == expected
    assert event.model_copy(update={"task_id": "9"}).envelope.subject == (expected and expected.replace("7", "9"))


@pytest.mark.parametrize(
    "subject, message",
    [
        (
            "{owner}",
            r"^subject: field 'owner' has no text \(expected str, int, UUID or an Enum of those, got NoneType\)$",
        ),
        (lambda _event: 5, "^subject: the function returned int, not str or None$"),
        (lambda _event: "", "^subject: is empty$"),
        (lambda event: event.nothing, "^subject: the function raised AttributeError$"),
        ("{text}", r"^subject: holds the character U\+000A"),
    ],
)
def test_a_subject_without_text_is_refused(subject: Any, message: str) -> None:
    """A subject that CloudEvents does not allow is refused when the event is made, by name and without its value."""

    class About(Event, type="about", subject=subject, registry=EventRegistry()):
        owner: str | None = None
        text: str = "secret\n"

    with pytest.raises(SerializationError, match=message):
        About()


def test_an_event_serves_as_a_field_of_another_model() -> None:
    """A model that holds an event keeps the instance, and so its envelope."""

    class Holder(BaseModel):
        event: TaskCreated

    event = TaskCreated(task_id="1")
    assert Holder(event=event).event.envelope == event.envelope


def test_a_model_subclass_with_computed_fields_dumps_them() -> None:
    """Computed fields are payload."""

    class Computed(Event, type="computed", registry=EventRegistry()):
        n: int

        @computed_field  # type: ignore[prop-decorator]
        @property
        def double(self) -> int:
            """Return twice n."""
            return self.n * 2

    assert Computed(n=2).model_dump() == {"n": 2, "double": 4}
