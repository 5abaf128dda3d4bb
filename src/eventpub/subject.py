"""The class keyword ``subject``: a text, a text with fields in it, or a function of the event."""

from __future__ import annotations

import string
from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeAlias

from eventpub._text import as_text, listed, text_fault
from eventpub.exceptions import Finding, SerializationError

Subject: TypeAlias = str | Callable[[Any], str | None] | None
"""``"orders"``, ``"orders/{order_id}"``, ``lambda event: ...``, or none."""


def subject_faults(subject: object, fields: Collection[str] | None) -> Iterator[Finding]:
    """Say what is wrong with *subject* for a class of these *fields*; ``None``: they are not known yet."""
    if subject is None or callable(subject):
        return
    if not isinstance(subject, str):
        yield Finding("subject", f"got {type(subject).__name__}", "give a text, a function of the event, or None")
        return
    fault = text_fault(subject) or _template_fault(subject, fields)
    if fault:
        yield Finding("subject", fault, "give a text in which {field} stands for a field's value, or a function")
    elif subject in (fields or ()):
        fix = f'write "{{{subject}}}" for the value of the field'
        yield Finding("subject", f"{subject!r} is a field, and would be sent as that very word", fix)


def _template_fault(template: str, fields: Collection[str] | None) -> str | None:
    try:
        pieces = [*string.Formatter().parse(template)]
    except ValueError as error:
        return f"has unbalanced braces ({error})"
    for _, name, spec, conversion in pieces:
        if spec or conversion:
            return f"{{{name}}} has a format, which is not supported here"
        if name is not None and fields is not None and name not in fields:
            return f"{{{name}}} is none of the fields {listed(fields)}"
    return None


def subject_reader(subject: Subject) -> Callable[[Any], str | None] | None:
    """Return the function that tells an event's subject; ``None`` where it has none.

    The function raises `SerializationError` for what cannot be a subject.
    """
    if subject is None:
        return None
    if not isinstance(subject, str):
        return _from_function(subject)
    names = [name for _, name, _, _ in string.Formatter().parse(subject) if name is not None]
    return _from_fields(subject, names) if names else _constant(subject.format())


def _constant(text: str) -> Callable[[Any], str]:
    return lambda _event: text


def _from_fields(template: str, names: list[str]) -> Callable[[Any], str]:
    def read(event: Any) -> str:
        return _checked(template.format(**{name: _field_text(event, name) for name in names}))

    return read


def _field_text(event: Any, name: str) -> str:
    try:
        return as_text(getattr(event, name))
    except Exception as error:
        raise SerializationError(f"subject: field {name!r} {_reason(error)}") from error


def _from_function(function: Callable[[Any], str | None]) -> Callable[[Any], str | None]:
    def read(event: Any) -> str | None:
        try:
            subject = function(event)
        except Exception as error:
            raise SerializationError(f"subject: the function {_reason(error)}") from error
        if subject is not None and not isinstance(subject, str):
            raise SerializationError(f"subject: the function returned {type(subject).__name__}, not str or None")
        return None if subject is None else _checked(subject)

    return read


def _reason(error: Exception) -> str:
    return f"has no text ({error})" if isinstance(error, TypeError) else f"raised {type(error).__name__}"


def _checked(subject: str) -> str:
    fault = text_fault(subject)
    if fault:
        raise SerializationError(f"subject: {fault}")
    return subject
