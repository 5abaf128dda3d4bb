"""What a class of events says about itself by class keywords, and what is wrong with it.

Decides inheritance and refusals. What the settings do to a record is decided in
``eventpub.cloudevents``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict

from eventpub._text import listed, text_fault, uri_fault
from eventpub.exceptions import ConfigurationError, Finding, UsageError
from eventpub.key import KeySource
from eventpub.profile import DeliveryProfile
from eventpub.record import check_topic
from eventpub.registry import EventRegistry, default_registry
from eventpub.subject import Subject, subject_faults

EnvelopeMode: TypeAlias = Literal["binary", "structured", "none"]

_RESERVED_NAMES = ("envelope", "with_envelope")


class EventKeywords(ConfigDict, total=False):
    """The class keywords of an `Event`; pydantic's own (``title=``, ``strict=``, ...) are accepted as well."""

    type: str
    topic: str | None
    key: KeySource
    profile: DeliveryProfile | str | None
    subject: Subject
    dataschema: str | None
    envelope: EnvelopeMode
    registry: EventRegistry


@dataclass(frozen=True, slots=True)
class Declaration:
    """The settings of one class of events, inherited ones included.

    Attributes:
        type: the CloudEvents type; ``None`` makes the class an abstract base.
        topic: where its events go; ``None`` leaves it to the publisher's ``topic_for``.
        key: what the partition is chosen by.
        profile: how its events are delivered; ``None`` leaves it to the publisher.
        subject: the CloudEvents subject.
        dataschema: the URI of the payload's schema.
        envelope: whether the attributes travel as headers, around the payload, or not at all.
        registry: where the class is entered.
    """

    type: str | None = None
    topic: str | None = None
    key: KeySource = None
    profile: DeliveryProfile | str | None = None
    subject: Subject = None
    dataschema: str | None = None
    envelope: EnvelopeMode = "binary"
    registry: EventRegistry = default_registry


def declared(event_class: type[BaseModel]) -> Declaration:
    """Return what *event_class*, a class of events, says about itself."""
    declaration: Declaration = event_class.__eventpub__  # type: ignore[attr-defined]  # every Event class has it
    return declaration


def declare(event_class: type[BaseModel], stated: Mapping[str, Any], names: Collection[str]) -> Declaration:
    """Return the declaration of *event_class*, which states *stated* and has fields called *names*.

    Raises:
        ConfigurationError: everything that makes no sense, each with the fix.
    """
    settings = {**_inherited(event_class), **stated}
    findings = [*_findings(event_class, settings, names)]
    if findings:
        owner = event_class.__name__
        raise ConfigurationError(Finding(setting, f"{owner}: {why}", fix) for setting, why, fix in findings)
    return Declaration(**settings)


def hides_envelope(event_class: type[BaseModel], names: Collection[str]) -> list[str]:
    """Return which of *event_class*'s fields (*names*) and methods would hide what every event has."""
    return [name for name in _RESERVED_NAMES if name in names or name in event_class.__dict__]


def _inherited(event_class: type[BaseModel]) -> dict[str, Any]:
    """Return each setting as the nearest base states it. A type is never inherited."""
    settings: dict[str, Any] = {}
    for base in reversed(event_class.__mro__[1:]):
        settings |= base.__dict__.get("__eventpub_stated__", {})
    settings.pop("type", None)
    return settings


def _findings(event_class: type[BaseModel], settings: Mapping[str, Any], names: Collection[str]) -> Iterator[Finding]:
    for name in hides_envelope(event_class, names):
        yield Finding(name, "a field or method of this name would hide the event's own", "rename it")
    # An abstract base may name a key that only its subclasses have as a field.
    known = names if "type" in settings else None
    for setting, value in settings.items():
        if setting in _CHECKS:
            yield from _CHECKS[setting](value, known)
        else:
            yield _unknown(setting)
    event_type, registry = settings.get("type"), settings.get("registry", default_registry)
    if isinstance(event_type, str) and isinstance(registry, EventRegistry):
        yield from registry.faults(event_type, event_class)


def _unknown(keyword: str) -> Finding:
    close = difflib.get_close_matches(keyword, _CHECKS, n=1)
    fix = f"did you mean {close[0]}=?" if close else f"the keywords are {', '.join(_CHECKS)}"
    return Finding(keyword, "is no class keyword of an event", fix)


def _type_faults(value: object, _names: Collection[str] | None) -> Iterator[Finding]:
    fault = text_fault(value) if isinstance(value, str) else f"got {type(value).__name__}"
    if fault:
        yield Finding("type", fault, 'give a text such as "task.created"; leave it out for an abstract base')


def _topic_faults(value: Any, _names: Collection[str] | None) -> Iterator[Finding]:
    if value is None:
        return
    try:
        check_topic(value)
    except ConfigurationError as error:
        yield from error.findings
    except UsageError:
        yield Finding(
            "topic", f"got {type(value).__name__}", "give a topic's name, or None for the publisher's topic_for"
        )


def _key_faults(value: object, names: Collection[str] | None) -> Iterator[Finding]:
    fix = "name a field, give a function of the event, or None"
    if isinstance(value, str):
        if names is not None and value not in names:
            yield Finding("key", f"{value!r} is none of the fields {listed(names)}", fix)
    elif value is not None and not callable(value):
        yield Finding("key", f"got {type(value).__name__}", fix)


def _profile_faults(value: object, _names: Collection[str] | None) -> Iterator[Finding]:
    if value is not None and not isinstance(value, DeliveryProfile) and not (isinstance(value, str) and value):
        reason = "is empty" if value == "" else f"got {type(value).__name__}"
        yield Finding("profile", reason, "give a DeliveryProfile, the name of one, or None for the publisher's")


def _dataschema_faults(value: object, _names: Collection[str] | None) -> Iterator[Finding]:
    if value is None:
        return
    fault = uri_fault(value, absolute=True) if isinstance(value, str) else f"got {type(value).__name__}"
    if fault:
        yield Finding("dataschema", fault, "give the schema's URI with its scheme, or None")


def _envelope_faults(value: object, _names: Collection[str] | None) -> Iterator[Finding]:
    modes = get_args(EnvelopeMode)
    if value not in modes:
        shown = repr(value) if isinstance(value, str) else f"got {type(value).__name__}, which"
        yield Finding("envelope", f"{shown} is no content mode", f"use one of {', '.join(modes)}")


def _registry_faults(value: object, _names: Collection[str] | None) -> Iterator[Finding]:
    if not isinstance(value, EventRegistry):
        yield Finding("registry", f"got {type(value).__name__}", "give an EventRegistry")


_CHECKS: dict[str, Callable[[Any, Collection[str] | None], Iterator[Finding]]] = {
    "type": _type_faults,
    "topic": _topic_faults,
    "key": _key_faults,
    "profile": _profile_faults,
    "subject": subject_faults,
    "dataschema": _dataschema_faults,
    "envelope": _envelope_faults,
    "registry": _registry_faults,
}
