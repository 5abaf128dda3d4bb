"""What a decorated function returned, as what is published. Decides no delivery and sends nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any, TypeAlias

from pydantic import BaseModel, ValidationError, model_serializer

from eventpub._floats import nonfinite
from eventpub.declaration import declared
from eventpub.event import Event
from eventpub.exceptions import SerializationError, UsageError
from eventpub.key import KeyReader, KeySource, key_reader
from eventpub.record import Record
from eventpub.registry import EventRegistry, default_registry

Publishable: TypeAlias = Event | Record
Mapper: TypeAlias = Callable[..., Any]
"""From ``(result, *args, **kwargs)`` of a call to what is published."""

_KINDS = "an Event, a Record, a pydantic model, a dataclass, a mapping, or a list or tuple of these"


class Unregistered(Event):
    """An event of a type that no class stands for: its payload is whatever the function returned."""

    payload: Any

    @model_serializer
    def _bare(self) -> Any:
        return self.payload


@cache  # as many as there are decorators
def _unregistered(event_type: str) -> type[Unregistered]:
    class Returned(Unregistered, type=event_type, registry=EventRegistry()):
        pass

    return Returned


@dataclass(frozen=True, slots=True)
class Reader:
    """Makes events out of what functions return: of one class, or of one type.

    Attributes:
        type_or_event: the class; or a type, whose class is looked up at each call, because it may be
            defined after the function.
        map: what to publish instead of the result.
    """

    type_or_event: type[Event] | str
    map: Mapper | None

    def read(self, result: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Publishable | list[Publishable]:
        """Return what *result*, of a call with *args* and *kwargs*, is published as; an empty list: nothing.

        Raises:
            SerializationError: it does not fit the event class, or ``map`` raised. No value is shown.
            UsageError: it is of a kind that cannot become an event.
        """
        if self.map is not None:
            result = self._mapped(self.map, result, args, kwargs)
        if isinstance(result, (Event, Record)):
            return result
        if result is None:
            return []
        if isinstance(result, (list, tuple)):
            return [self._event(each) for each in result]
        return self._event(result)

    @staticmethod
    def _mapped(mapper: Mapper, result: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        try:
            return mapper(result, *args, **kwargs)
        except Exception as error:
            raise SerializationError(f"map: the function raised {type(error).__name__}") from error

    def _event(self, value: Any) -> Publishable:
        if isinstance(value, (Event, Record)):
            return value
        if isinstance(value, Mapping):
            value = dict(value)
        elif isinstance(value, type) or not (isinstance(value, BaseModel) or is_dataclass(value)):
            raise UsageError(f"cannot be published: got {type(value).__name__}; return {_KINDS}, or give map=")
        event_class = self._event_class()
        return _wrapped(self.type_or_event, value) if event_class is None else _validated(event_class, value)

    def _event_class(self) -> type[BaseModel] | None:
        if isinstance(self.type_or_event, str):
            return default_registry.get(self.type_or_event)
        return self.type_or_event


def _wrapped(event_type: Any, value: Any) -> Unregistered:
    # A model or dataclass inside would be asked how it writes NaN, and pydantic's default is null.
    if nonfinite(value):
        raise SerializationError("payload: holds NaN or infinity, which JSON has not")
    return _unregistered(event_type)(payload=value)


def _validated(event_class: type[BaseModel], value: Any) -> Any:
    try:
        return event_class.model_validate(value, from_attributes=not isinstance(value, dict))
    except ValidationError as error:
        faults = ", ".join(_faults(event_class, error))
    except Exception as error:  # noqa: BLE001 - a validator may raise anything
        faults = f"a validator raised {type(error).__name__}"
    # Not where it was caught: pydantic's error shows the payload, and would hang on this one.
    raise SerializationError(f"no valid {declared(event_class).type!r}: {faults}")


def _faults(event_class: type[BaseModel], error: ValidationError) -> Iterator[str]:
    """Name the fields and what is wrong, and no more: deeper places may be keys of mappings, which are payload."""
    names = {*event_class.model_fields, *(field.alias for field in event_class.model_fields.values())}
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        place = fault["loc"][0] if fault["loc"] else "the whole"
        yield f"{place if place in names or not fault['loc'] else 'another field'} ({fault['type']})"


def reader_of_key(key: KeySource) -> KeyReader | None:
    """Return the function that takes a key out of an event by *key*, a field's name or a function; or ``None``.

    Of an event without a class it reads the payload.
    """
    if key is None:
        return None
    read = key_reader(key)

    def key_of(event: Any) -> bytes | None:
        if not isinstance(event, Unregistered):
            return read(event)
        payload = event.payload
        by_name = isinstance(key, str) and isinstance(payload, dict)
        return read(SimpleNamespace(**payload) if by_name else payload)

    return key_of
