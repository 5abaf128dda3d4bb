"""`emits` at decoration, and what a result becomes; publishing itself is in tests/publisher and tests/portal."""

from __future__ import annotations

import functools
import inspect
import math
from collections import UserDict
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from eventpub import ConfigurationError, Event, EventRegistry, Record, SerializationError, UsageError, emits
from eventpub.registry import default_registry
from eventpub.returned import Reader, Unregistered, reader_of_key
from eventpub.serializer import json_serializer


class TaskCreated(Event, type="task.created", registry=EventRegistry()):
    task_id: int
    title: str = "untitled"


class Abstract(Event, registry=EventRegistry()):
    pass


class Task(BaseModel):
    task_id: int
    title: str
    password: str = "hunter2"


@dataclass
class Row:
    task_id: int
    title: str


class Pair(NamedTuple):
    task_id: int
    title: str


def read(result: Any, type_or_event: Any = TaskCreated) -> Any:
    """Return what *result* is published as."""
    return Reader(type_or_event, None).read(result, (), {})


def payload(event: Event) -> bytes:
    """Return the JSON of *event*."""
    return json_serializer(type(event))(event)


# --- arguments ---------------------------------------------------------------------


def test_bad_arguments_are_refused_all_at_once() -> None:
    """One error names each of them, with its fix; nothing has been decorated yet."""
    wrong: dict[str, Any] = {
        "publisher": "kafka://h:1",
        "topic": "no topic",
        "key": 5,
        "profile": 5,
        "map": "name",
        "wait": 1,
        "on_failure": "ignore",
    }
    with pytest.raises(ConfigurationError) as caught:
        emits("", **wrong)
    assert sorted(finding.setting for finding in caught.value.findings) == sorted([*wrong, "type"])
    assert "Unregistered" not in str(caught.value)  # our own class is nobody's business
    assert all(finding.fix for finding in caught.value.findings)


@pytest.mark.parametrize(
    "given, reason",
    [
        (lambda: None, "write @emits"),
        (Abstract, "abstract base"),
        (Task, "got Task"),
        (None, "got NoneType"),
        ("a\nb", "U\\+000A"),
    ],
)
def test_what_is_neither_a_type_nor_a_class_of_events(given: Any, reason: str) -> None:
    """A forgotten pair of brackets, an abstract base or another class are refused with what to write."""
    with pytest.raises(ConfigurationError, match=reason):
        emits(given)


def _generator() -> Iterator[Event]:
    yield TaskCreated(task_id=1)


async def _async_generator() -> AsyncIterator[Event]:
    yield TaskCreated(task_id=1)


@pytest.mark.parametrize("function", [_generator, _async_generator], ids=["def", "async def"])
def test_generators_are_refused_at_decoration(function: Any) -> None:
    """They return before they have run: the reason is given, and what to do instead."""
    with pytest.raises(UsageError, match=r"is a generator, which returns before it has run .* or return a list"):
        emits("task.created")(function)


@pytest.mark.parametrize(
    "thing, reason",
    [
        (staticmethod(_generator), "put @staticmethod above @emits"),
        (classmethod(cast("Any", _generator)), "put @classmethod above @emits"),
        (TaskCreated, "expected a function, got TaskCreated"),
        (5, "expected a function, got int"),
    ],
)
def test_what_is_no_function_is_refused_at_decoration(thing: Any, reason: str) -> None:
    """A descriptor that came first, a class or a value: each is told."""
    with pytest.raises(UsageError, match=reason):
        emits("task.created")(thing)


def test_a_decorated_function_looks_like_itself() -> None:
    """Name, docstring and signature stay, and whether it is a coroutine function."""

    @emits("task.created")
    async def create(title: str, *, owner: int = 1) -> TaskCreated:
        """Create."""
        raise NotImplementedError

    @emits("task.created")
    def create_plainly(title: str) -> None:
        """Create."""

    assert (create.__name__, create.__doc__) == ("create", "Create.")
    assert [*inspect.signature(create).parameters] == ["title", "owner"]
    assert inspect.iscoroutinefunction(create)
    assert not inspect.iscoroutinefunction(create_plainly)


def test_what_runs_as_a_coroutine_is_taken_for_one() -> None:
    """A partial of a coroutine function, and an object whose ``__call__`` is one."""

    async def create(task_id: int) -> TaskCreated:
        return TaskCreated(task_id=task_id)

    class Creates:
        async def __call__(self) -> TaskCreated:
            return TaskCreated(task_id=1)

    assert inspect.iscoroutinefunction(emits("task.created")(functools.partial(create, 1)))
    assert inspect.iscoroutinefunction(emits("task.created")(Creates()))


# --- results -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "result", [TaskCreated(task_id=1), Record("t", b"v")], ids=lambda result: type(result).__name__
)
def test_what_can_be_published_is_not_touched(result: Event | Record) -> None:
    """An event, also of another class than the decorator names, and a record go as they are."""
    assert read(result) is result
    assert read(result, "another.type") is result
    assert read([result]) == [result]
    assert read([result])[0] is result


@pytest.mark.parametrize(
    "result",
    [
        {"task_id": "1", "title": "Write"},
        MappingProxyType({"task_id": 1, "title": "Write"}),
        UserDict({"task_id": 1, "title": "Write"}),
        Task(task_id=1, title="Write"),
        Row(1, "Write"),
    ],
    ids=lambda result: type(result).__name__,
)
def test_others_are_validated_into_the_class(result: Any) -> None:
    """Mappings by their keys; of models and dataclasses the fields that the event has, and no more."""
    assert read(result) == TaskCreated(task_id=1, title="Write")
    assert b"hunter2" not in payload(read(result))


def test_a_list_becomes_several() -> None:
    """Each element by itself, in order; a tuple is no different."""
    results = [{"task_id": 1}, TaskCreated(task_id=2), Row(3, "x")]
    assert [event.task_id for event in read(results)] == [1, 2, 3]
    assert read((*results,)) == read(results)
    assert read([]) == []


@pytest.mark.parametrize(
    "result", [5, "text", b"bytes", {1, 2}, Task, Row, object(), iter([])], ids=lambda r: str(type(r))
)
def test_what_cannot_become_an_event_is_named_by_its_kind(result: Any) -> None:
    """The message says what would do, and shows no value."""
    for given in (result, [result]):
        with pytest.raises(UsageError, match=r"cannot be published: got .*; return an Event, .* or give map="):
            read(given)


def test_lists_are_one_level_deep() -> None:
    """A list in a list, a hole in it, and the fields of a named tuple are no events."""
    for given in ([[TaskCreated(task_id=1)]], [None], Pair(1, "Write")):
        with pytest.raises(UsageError, match=r"got (list|NoneType|int)"):
            read(given)


def test_what_does_not_fit_is_named_without_its_value() -> None:
    """The fields and pydantic's word for what is wrong; neither values nor keys travel, not even along the error."""
    with pytest.raises(SerializationError) as caught:
        read({"task_id": "SECRET", "SECRET": "SECRET"})
    assert str(caught.value) == "no valid 'task.created': task_id (int_parsing), another field (extra_forbidden)"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_validator_that_breaks_is_named_without_its_words() -> None:
    """Whatever it raises may quote the payload."""

    class Picky(Event, type="picky", registry=EventRegistry()):
        task_id: int = Field(alias="taskId")

        @field_validator("task_id")
        @classmethod
        def refuse(cls, value: int) -> int:
            raise (KeyError if value else ValueError)(f"SECRET {value}")

    for value, reason in ((0, r"taskId \(value_error\)"), (1, "a validator raised KeyError")):
        with pytest.raises(SerializationError, match=f"no valid 'picky': {reason}") as caught:
            read({"taskId": value}, Picky)
        assert "SECRET" not in str(caught.value)
        assert caught.value.__context__ is None


def test_a_type_is_looked_up_at_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that is defined after the function counts."""
    monkeypatch.setattr(default_registry, "_classes", {})
    reader = Reader("late.class", None)
    assert isinstance(reader.read({"n": 1}, (), {}), Unregistered)

    class Late(Event, type="late.class"):
        n: int

    assert reader.read({"n": "1"}, (), {}) == Late(n=1)


@pytest.mark.parametrize(
    "result, json",
    [
        ({"a": [1, {"b": None}], "envelope": 1}, b'{"a":[1,{"b":null}],"envelope":1}'),
        (MappingProxyType({"when": datetime(2026, 1, 2, tzinfo=UTC)}), b'{"when":"2026-01-02T00:00:00Z"}'),
        (Row(1, "Write"), b'{"task_id":1,"title":"Write"}'),
        (Task(task_id=1, title="W", password="p"), b'{"task_id":1,"title":"W","password":"p"}'),
    ],
)
def test_without_a_class_the_result_is_the_payload(result: Any, json: bytes) -> None:
    """Any mapping, dataclass or model under any type, and with an envelope of its own."""
    event = read(result, "no.such.class")
    assert payload(event) == json
    assert event.envelope.id
    assert event.__eventpub__.type == "no.such.class"


class Tolerant(BaseModel):
    model_config = ConfigDict(extra="allow")
    n: float = 0


@pytest.mark.parametrize(
    "result", [{"n": math.nan}, Tolerant(n=math.inf), Tolerant.model_validate({"more": [math.nan]})]
)
def test_without_a_class_nan_is_refused_too(result: Any) -> None:
    """Also where pydantic alone would write null for it."""
    with pytest.raises(SerializationError, match="NaN or infinity"):
        payload(read(result, "no.such.class"))


def test_one_type_is_one_class() -> None:
    """Two decorators of a type share what was worked out for it; two types do not."""
    assert type(read({}, "no.class.a")) is type(read({}, "no.class.a"))
    assert type(read({}, "no.class.a")) is not type(read({}, "no.class.b"))


# --- map and key -------------------------------------------------------------------


def test_map_gets_the_result_and_the_arguments() -> None:
    """In the order of the call; what it builds is read as a result is."""
    heard: list[Any] = []

    def build(*args: Any, **kwargs: Any) -> Any:
        heard.append((args, kwargs))
        return [{"task_id": 1}]

    assert Reader(TaskCreated, build).read("result", (1, 2), {"owner": 3}) == [TaskCreated(task_id=1)]
    assert heard == [(("result", 1, 2), {"owner": 3})]


def test_map_may_say_nothing() -> None:
    """``None`` from it publishes nothing."""
    assert Reader(TaskCreated, lambda _result: None).read(5, (), {}) == []


def test_a_map_that_raises_is_named_without_its_words() -> None:
    """The error says whose fault it is; the cause is chained."""

    def build(result: Mapping[str, str]) -> Any:
        return result["SECRET"]

    with pytest.raises(SerializationError, match=r"^map: the function raised KeyError$") as caught:
        Reader(TaskCreated, build).read({}, (), {})
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("key", ["task_id", lambda task: task["task_id"] if isinstance(task, dict) else task.task_id])
@pytest.mark.parametrize("result", [{"task_id": 7}, Row(7, "x"), Task(task_id=7, title="x"), TaskCreated(task_id=7)])
def test_a_key_is_read_from_what_the_function_returned(key: Any, result: Any) -> None:
    """By a field's name or by a function, whatever kind it is."""
    key_of = reader_of_key(key)
    assert key_of is not None
    assert key_of(read(result, "no.such.class")) == b"7"


def test_a_key_that_is_not_there_is_named() -> None:
    """The field's name is no payload; no key is no reader."""
    key_of = reader_of_key("owner")
    assert key_of is not None
    for result in ({"task_id": 7}, Row(7, "x"), TaskCreated(task_id=7)):
        with pytest.raises(SerializationError, match="key: field 'owner' raised AttributeError"):
            key_of(read(result, "no.such.class"))
    assert reader_of_key(None) is None


def test_the_decorator_is_generic_over_anything_callable() -> None:
    """Being decorated calls nothing."""
    calls: list[int] = []
    function = emits("task.created")(cast("Any", calls.append))
    assert callable(function)
    assert calls == []
