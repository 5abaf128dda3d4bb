"""Which class stands for which CloudEvents type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from eventpub.exceptions import ConfigurationError, Finding


class EventRegistry(Mapping[str, type[BaseModel]]):
    """The event classes by their types: ``registry["task.created"] is TaskCreated``.

    Classes enter by being defined, `default_registry` unless the class keyword ``registry``
    names another. A class defined again under its qualified name (in a notebook, by a
    reload) takes its former self's place; another class with the same type is refused.
    """

    def __init__(self) -> None:
        self._classes: dict[str, type[BaseModel]] = {}

    def add(self, type: str, event_class: type[BaseModel]) -> None:  # noqa: A002 - CloudEvents' own name
        """Let *event_class* stand for *type*.

        Raises:
            ConfigurationError: another class does already.
        """
        findings = [*self.faults(type, event_class)]
        if findings:
            raise ConfigurationError(findings)
        self._classes[type] = event_class

    def faults(self, type: str, event_class: type[BaseModel]) -> Iterator[Finding]:  # noqa: A002 - as above
        """Say why *event_class* cannot stand for *type*, if it cannot."""
        holder = self._classes.get(type)
        if holder is not None and _qualified_name(holder) != _qualified_name(event_class):
            reason = f"{type!r} is the type of {_qualified_name(holder)} already"
            yield Finding("type", reason, "give each class its own type, or a registry of its own by registry=")

    # Two registries are two even while both are empty.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __getitem__(self, type: str) -> type[BaseModel]:  # noqa: A002 - as above
        return self._classes[type]

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)

    def __repr__(self) -> str:
        return f"<EventRegistry types={len(self)}>"


def _qualified_name(event_class: type[BaseModel]) -> str:
    return f"{event_class.__module__}.{event_class.__qualname__}"


default_registry = EventRegistry()
"""Where event classes are entered that name no other."""
