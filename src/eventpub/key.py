"""The key of a record: where it comes from, and which bytes it becomes, the same as in other languages."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from operator import attrgetter
from typing import Any, TypeAlias
from uuid import UUID

from eventpub._text import as_text
from eventpub.exceptions import SerializationError, UsageError

Key: TypeAlias = str | int | bytes | UUID | Enum | None
"""What a key may be: text (sent as UTF-8), a whole number (in decimal), bytes (as they are), or none."""

KeySource: TypeAlias = str | Callable[[Any], Key] | None
"""Where an event's key comes from: a field by its name, a function of the event, or nowhere."""

KeyReader: TypeAlias = Callable[[Any], bytes | None]


def key_reader(source: KeySource) -> KeyReader:
    """Return the function that takes the key out of an event.

    It raises `SerializationError`, which names the field and not its value, for what
    cannot be a key.
    """
    if source is None:
        return lambda _event: None
    if isinstance(source, str):
        return _reader(attrgetter(source), f"field {source!r}")
    return _reader(source, "the function")


def _reader(read: Callable[[Any], object], origin: str) -> KeyReader:
    def key_of(event: Any) -> bytes | None:
        try:
            key = read(event)
        except Exception as error:
            raise SerializationError(f"key: {origin} raised {type(error).__name__}") from error
        if type(key) is str and key.isascii():
            return key.encode()
        try:
            return encode_key(key)
        except (TypeError, ValueError) as error:
            raise SerializationError(f"key: {origin} gives none: {error}") from error

    return key_of


def given_key(key: object) -> bytes | None:
    """Return the bytes of a key given for one publish.

    Raises:
        UsageError: a kind of value that cannot be a key.
        SerializationError: text that UTF-8 cannot express.
    """
    try:
        return encode_key(key)
    except TypeError as error:
        raise UsageError(f"key: {error}") from error
    except ValueError as error:
        raise SerializationError(f"key: {error}") from error


def encode_key(key: object) -> bytes | None:
    """Return *key* as a record holds it; equal keys give equal bytes, and those the same partition.

    Raises:
        TypeError: a kind of value without one obvious text. The message says what would do.
        ValueError: text that UTF-8 cannot express. The message does not show it.
    """
    if key is None or isinstance(key, bytes):
        return key
    try:
        return as_text(key).encode()
    except TypeError:
        text = f"expected str, int, bytes, UUID, an Enum of those, or None; got {type(key).__name__} (make it a str)"
        raise TypeError(text) from None
    except UnicodeEncodeError as error:
        raise ValueError("holds a lone surrogate, which UTF-8 cannot express") from error
