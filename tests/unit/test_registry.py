"""A type belongs to one class, and a class may be defined again."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from eventpub.event import Event
from eventpub.exceptions import ConfigurationError
from eventpub.registry import EventRegistry, default_registry


def define(registry: EventRegistry, name: str, event_type: str) -> type[Event]:
    """Define an event class as a module ``app.events`` would."""
    keywords: Any = {"type": event_type, "registry": registry}
    return pydantic.create_model(name, __base__=Event, __module__="app.events", __cls_kwargs__=keywords)


def test_a_class_enters_by_being_defined() -> None:
    """A registry maps each type to its class."""
    registry = EventRegistry()
    created = define(registry, "Created", "task.created")
    done = define(registry, "Done", "task.done")
    assert dict(registry) == {"task.created": created, "task.done": done}
    assert registry["task.created"] is created
    assert registry.get("task.lost") is None
    assert repr(registry) == "<EventRegistry types=2>"


def test_the_default_registry_takes_classes_that_name_none() -> None:
    """Without the keyword ``registry`` a class enters the default one."""

    class Entered(Event, type="test.registry.entered"):
        n: int

    assert default_registry["test.registry.entered"] is Entered


def test_the_same_name_defined_again_takes_its_place() -> None:
    """A class redefined in a notebook or by a reload replaces its former self."""
    registry = EventRegistry()
    define(registry, "Created", "task.created")
    again = define(registry, "Created", "task.created")
    assert registry["task.created"] is again


def test_another_class_of_the_same_type_is_refused() -> None:
    """Two classes of one type are refused, and the first one stays."""
    registry = EventRegistry()
    first = define(registry, "Created", "task.created")
    with pytest.raises(ConfigurationError) as error:
        define(registry, "Made", "task.created")
    (finding,) = error.value.findings
    assert finding.setting == "type"
    assert "'task.created' is the type of app.events.Created already" in finding.reason
    assert "registry=" in finding.fix
    assert registry["task.created"] is first
    with pytest.raises(ConfigurationError):
        registry.add("task.created", define(registry, "Other", "task.other"))


def test_registries_do_not_share_types() -> None:
    """The same type may stand for another class in another registry, and empty registries are not one."""
    one, two = EventRegistry(), EventRegistry()
    assert one != two
    assert define(one, "Created", "task.created") is not define(two, "Made", "task.created")
