"""Which bytes a key becomes, and what cannot be one."""

from __future__ import annotations

import enum
import uuid
from types import SimpleNamespace

import pytest
import uuid_utils
from hypothesis import given
from hypothesis import strategies as st

from eventpub.exceptions import SerializationError, UsageError
from eventpub.key import given_key, key_reader

UUID_TEXT = "01a210aa-7dac-778b-af4a-36b12ba7affc"


class Region(enum.Enum):
    NORTH = "north"
    SEVENTH = 7


class Colour(str, enum.Enum):  # noqa: UP042 - not what prints itself as its value
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Loud(str):
    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()


@pytest.mark.parametrize(
    "key, expected",
    [
        (None, None),
        ("", b""),
        ("42", b"42"),
        ("grün-😀", "grün-😀".encode()),
        (b"", b""),
        (b"\x00\xff", b"\x00\xff"),
        (0, b"0"),
        (-7, b"-7"),
        (10**30, b"1" + b"0" * 30),
        (uuid.UUID(UUID_TEXT), UUID_TEXT.encode()),
        (uuid_utils.UUID(UUID_TEXT), UUID_TEXT.encode()),
        (Region.NORTH, b"north"),
        (Region.SEVENTH, b"7"),
        (Colour.RED, b"red"),
        (Level.HIGH, b"3"),
        (Loud("soft"), b"soft"),
    ],
)
def test_a_key_has_one_obvious_form(key: object, expected: bytes | None) -> None:
    """Text is UTF-8, numbers are decimal, an enum member is its value, and empty is not none."""
    assert given_key(key) == expected
    assert key_reader("field")(SimpleNamespace(field=key)) == expected
    assert key_reader(lambda event: event.field)(SimpleNamespace(field=key)) == expected


@pytest.mark.parametrize("key", [True, 1.5, bytearray(b"x"), ["42"], {"a": 1}, object()])
def test_other_kinds_of_keys_are_refused(key: object) -> None:
    """A value without one obvious text is refused: as wrong usage where it was given, as the field's fault else."""
    kind = type(key).__name__
    with pytest.raises(UsageError, match=rf"^key: expected str, int, bytes.*got {kind} \(make it a str\)"):
        given_key(key)
    with pytest.raises(SerializationError, match=rf"^key: field 'owner' gives none: .*got {kind}"):
        key_reader("owner")(SimpleNamespace(owner=key))
    with pytest.raises(SerializationError, match=rf"^key: the function gives none: .*got {kind}"):
        key_reader(lambda _event: key)(None)  # type: ignore[arg-type, return-value]


def test_a_lone_surrogate_is_refused_and_not_shown() -> None:
    """A key that UTF-8 cannot express is an error that does not quote it."""
    with pytest.raises(SerializationError, match=r"^key: holds a lone surrogate") as given_error:
        given_key("secret\ud800")
    with pytest.raises(SerializationError, match=r"^key: field 'owner' gives none: holds a lone surrogate") as error:
        key_reader("owner")(SimpleNamespace(owner="secret\ud800"))
    assert "secret" not in str(given_error.value) + str(error.value)


def test_a_number_too_long_to_write_is_refused() -> None:
    """An integer beyond Python's limit of digits is an error of the key, not a crash."""
    with pytest.raises(SerializationError, match=r"^key: "):
        given_key(10**5000)


def test_a_function_that_raises_is_named() -> None:
    """What a key function raises is the cause, and its text stays out of the message."""

    def broken(_event: object) -> str:
        raise KeyError("secret")

    with pytest.raises(SerializationError, match=r"^key: the function raised KeyError$") as error:
        key_reader(broken)(None)
    assert isinstance(error.value.__cause__, KeyError)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_text_survives(text: str) -> None:
    """Whatever Unicode a key holds, its bytes decode to it."""
    encoded = given_key(text)
    assert encoded is not None
    assert encoded.decode() == text
