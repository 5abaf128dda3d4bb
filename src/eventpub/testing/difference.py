"""What is not as expected, by name, and short enough to be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from pydantic import TypeAdapter

_LONGEST = 100  # characters of one value
_CONTEXT = 20  # of them, before the place where two long texts part


class _Nothing:
    """Where one side has nothing at all, which is not ``None``."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING: Final = _Nothing()

_anything: TypeAdapter[Any] = TypeAdapter(Any)


class Difference(NamedTuple):
    """One field, header or attribute that is not as expected."""

    name: str
    expected: Any
    got: Any

    def __str__(self) -> str:
        expected, got = _from_where_they_part(self.expected, self.got)
        return f"{self.name}: expected {expected}, got {got}"


def shown(value: object, limit: int = _LONGEST) -> str:
    """Return the ``repr`` of *value*, its end cut off where it is long."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


def differences(expected: Any, got: Any, path: str = "", *, partly: bool = False) -> Iterator[Difference]:
    """Yield where the JSON value *got* is not *expected*, each by its path: ``address.lines[2]``.

    Args:
        expected: anything that compares with ``==``, so also ``unittest.mock.ANY``. What JSON does not
            have (a UUID, a datetime) is compared by its JSON form.
        got: what was read.
        path: where both come from.
        partly: what mappings in *expected* do not name may be anything.
    """
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        names = expected if partly else {**expected, **got}
        for name in names:
            within = f"{path}.{name}" if path else str(name)
            yield from differences(expected.get(name, NOTHING), got.get(name, NOTHING), within, partly=partly)
    elif isinstance(expected, (list, tuple)) and isinstance(got, list) and len(expected) == len(got):
        for index, (wanted, found) in enumerate(zip(expected, got, strict=True)):
            yield from differences(wanted, found, f"{path}[{index}]", partly=partly)
    elif not _same(expected, got):
        yield Difference(path or "payload", expected, got)


def _same(expected: Any, got: Any) -> bool:
    # bool is an int to ==, and true is not 1 in JSON.
    if isinstance(expected, bool) is not isinstance(got, bool) and type(expected) in {bool, int, float}:
        return False
    if expected is NOTHING or got is NOTHING:
        return expected is got
    return bool(expected == got) or _json_form(expected) == got


def _json_form(value: Any) -> Any:
    try:
        return _anything.dump_python(value, mode="json")
    except ValueError:  # it has none
        return NOTHING


def _from_where_they_part(expected: Any, got: Any) -> tuple[str, str]:
    one, other = repr(expected), repr(got)
    same = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), 0)
    begin = max(0, same - _CONTEXT) if max(len(one), len(other)) > _LONGEST else 0
    return _cut(one, begin), _cut(other, begin)


def _cut(text: str, begin: int) -> str:
    end = begin + _LONGEST
    return ("…" if begin else "") + text[begin:end] + ("…" if end < len(text) else "")
