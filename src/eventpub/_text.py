"""What may stand as text in a CloudEvents attribute or a Kafka key, and what becomes such text."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection
from enum import Enum

import uuid_utils

# CloudEvents 1.0, "Type System": no control characters, no lone surrogates, no noncharacters.
_NONCHARACTERS = "".join(f"{chr(plane | 0xFFFE)}{chr(plane | 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
_ILLEGAL = re.compile(f"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_NONCHARACTERS}]")

# RFC 3986 in one line: the characters a URI is made of, and nothing after a % but two hex digits.
_URI_REFERENCE = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")

_UUIDS = (uuid.UUID, uuid_utils.UUID)


def text_fault(text: str) -> str | None:
    """Return why *text* cannot be the value of a CloudEvents attribute, or ``None``."""
    if not text:
        return "is empty"
    found = _ILLEGAL.search(text)
    return found and f"holds the character U+{ord(found[0]):04X}, which CloudEvents allows in no attribute"


def uri_fault(text: str, *, absolute: bool) -> str | None:
    """Return why *text* is no URI (if *absolute*) or URI reference (RFC 3986), or ``None``."""
    if not text:
        return "is empty"
    if not _URI_REFERENCE.fullmatch(text):
        return f"{text[:60]!r} holds characters that a URI cannot"
    if absolute and not _SCHEME.match(text):
        return f"{text[:60]!r} has no scheme"
    return None


def as_text(value: object) -> str:
    """Return the one obvious text of *value*: a ``str``, an ``int`` in decimal, a UUID, or an enum member's value.

    Raises:
        TypeError: another kind of value; ``bool`` and ``float`` are among them, because a
            consumer in another language would write them differently.
        ValueError: an integer of more digits than Python writes.
    """
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return str.__str__(value)  # a subclass may print itself as it likes; its characters count
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__repr__(value)
    if isinstance(value, _UUIDS):
        return str(value)
    raise TypeError(f"expected str, int, UUID or an Enum of those, got {type(value).__name__}")


def listed(names: Collection[str]) -> str:
    """Return *names* as a message shows them."""
    return ", ".join(names) or "(there are none)"
