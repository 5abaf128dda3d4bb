"""A payload as JSON: pydantic writes it, and what JSON cannot express is refused by the name of its field."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from pydantic import BaseModel

from eventpub._floats import detector, nonfinite
from eventpub.exceptions import SerializationError

Serialize: TypeAlias = Callable[[Any], bytes]

JSON = "application/json"

_PATH_LIMIT = 8
_LIST_LIMIT = 1_000  # looking for the guilty element of a longer list would cost its square

# What pydantic says, and what to say instead: its text may quote the payload.
_REASONS = (
    (re.compile("surrogates not allowed"), "holds a lone surrogate, which UTF-8 cannot express"),
    (re.compile("id repeated"), "refers to itself"),
    (re.compile("depth exceeded"), "is nested too deeply"),
    (re.compile("invalid utf-8"), 'holds bytes that are not UTF-8; set ser_json_bytes="base64" in model_config'),
    (re.compile("Unable to serialize unknown type: <class '([^']*)'>"), "holds a {} value, which has no JSON form"),
)


def json_serializer(event_class: type[BaseModel]) -> Serialize:
    """Return the function that writes events of *event_class* as JSON.

    It raises `SerializationError` for what has no JSON form: NaN and infinity (unless
    ``ser_json_inf_nan`` in ``model_config`` says how to write them), lone surrogates,
    cycles, foreign objects. The message names the field and never shows its value.
    """
    to_json = event_class.__pydantic_serializer__.to_json
    suspicious = detector(event_class)

    def serialize(event: BaseModel) -> bytes:
        try:
            # Without warnings: an event of model_construct is sent with the values it has,
            # and pydantic's warning about them would show them.
            payload: bytes = to_json(event, warnings=False)
        except Exception as error:
            path = _path_to_fault(event, _fails)
            raise SerializationError(f"{path}: {_reason(error)}") from error
        if suspicious is not None and suspicious(event):
            _refuse_nonfinite(event)
        return payload

    return serialize


def _refuse_nonfinite(event: BaseModel) -> None:
    if _writes_nonfinite(event, None):
        path = _path_to_fault(event, _writes_nonfinite)
        raise SerializationError(
            f"{path}: holds NaN or infinity, which JSON has not; set ser_json_inf_nan in model_config"
            ' to "null" or "strings" to send them so'
        )


def _fails(event: BaseModel, include: Any) -> bool:
    try:
        event.__pydantic_serializer__.to_json(event, include=include, warnings=False)
    except Exception:  # noqa: BLE001 - that is the question
        return True
    return False


def _writes_nonfinite(event: BaseModel, include: Any) -> bool:
    dumped = event.__pydantic_serializer__.to_python(event, mode="json", include=include, warnings=False)
    return nonfinite(dumped)


def _path_to_fault(event: BaseModel, faulty: Callable[[BaseModel, Any], bool]) -> str:
    """Return the way to the field that is *faulty* by itself: ``address.lines[2]``.

    Fields and positions only; keys of mappings are payload.
    """
    path: list[str | int] = []
    value: object = event
    while len(path) < _PATH_LIMIT:
        found = next((step for step in _steps(value) if faulty(event, _including([*path, step]))), None)
        if found is None:
            break
        path.append(found)
        value = _part(value, found)
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)[1:] or "payload"


def _steps(value: object) -> Iterator[str | int]:
    if isinstance(value, BaseModel):
        yield from type(value).model_fields
        yield from type(value).model_computed_fields
    elif isinstance(value, list) and len(value) <= _LIST_LIMIT:
        yield from range(len(value))


def _part(value: Any, step: str | int) -> object:
    return value[step] if isinstance(step, int) else value.__dict__.get(step)  # a computed field has no parts


def _including(path: list[str | int]) -> Any:
    include: Any = True
    for step in reversed(path):
        include = {step: include}
    return include


def _reason(error: Exception) -> str:
    for pattern, reason in _REASONS:
        found = pattern.search(str(error))
        if found:
            return reason.format(*found.groups())
    return f"its serializer raised {type(error).__name__}"
