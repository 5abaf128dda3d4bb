"""`assert_published`: what was expected beside what is in the log, and in words what is not the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from eventpub.exceptions import UsageError
from eventpub.testing.decoded import Decoded, Log, read
from eventpub.testing.difference import Difference, shown
from eventpub.testing.expectation import Expectation, Expected, expectation
from eventpub.testing.matching import matched

_MOST = 10  # lines of each kind
_LOOKED_AT = 20  # records that something missing is compared with, field by field
_ORDER = "Kafka keeps the order within a partition only; ignore_order=True compares without it"


def assert_published(
    log: Log,
    *expected: Expected,
    topic: str | None = None,
    ignore_order: bool = False,
    exactly: bool = True,
    same_id: bool = False,
) -> None:
    """Assert that *log* holds what is *expected*, in this order, and nothing else.

    ::

        assert_published(memory_broker, TaskCreated(task_id="42", title="Write docs"))
        assert_published(memory_broker, "task.created", {"by": "anna"}, topic="tasks")
        assert_published(memory_broker)  # nothing at all

    Args:
        log: a `MemoryBroker`, or records that another reader returned: with ``key``, ``value`` and
            ``headers``, and with ``topic``, ``partition`` and ``offset`` where they are to be told.
        *expected: an `Event` is compared by class and payload; a `Record` by all it says; a mapping
            by the payload fields it names, those of nested objects too; a type, or a class that has
            one, by the type. Values in a mapping may be anything that compares, as ``unittest.mock.ANY``.
        topic: look at this one alone; default: all.
        ignore_order: in any order. (Only within a partition does Kafka keep one.)
        exactly: nothing else may be there.
        same_id: an `Event` has to be the same instance: its envelope's id is compared too.

    Raises:
        AssertionError: it tells what is missing, what was not expected, and which fields differ. Payloads
            show in it, up to a hundred characters each.
        UsageError: something that is no log, or nothing that could be published.
    """
    __tracebackhide__ = True
    if not expected and not exactly:
        raise UsageError("nothing expected, and anything allowed: this holds of every log")
    log = list(log) if isinstance(log, Iterator) else log  # it may be looked at twice
    comparison = _Comparison([expectation(each, same_id=same_id) for each in expected], read(log, topic))
    if comparison.holds(in_order=not ignore_order, exactly=exactly):
        return
    lines = [*comparison.lines(exactly=exactly), *_hint(comparison.found, log, topic)]
    raise AssertionError("\n".join(lines))


class _Comparison(NamedTuple):
    """What was expected, and what was found."""

    expected: Sequence[Expectation]
    found: Sequence[Decoded]

    def holds(self, *, in_order: bool, exactly: bool) -> bool:
        """Whether what was expected is there."""
        if exactly and len(self.expected) != len(self.found):
            return False
        if not in_order:
            return len(self._matched()) == len(self.expected)
        remaining = iter(self.found)  # each takes up where the one before it was found
        return all(any(wanted.fits(each) for each in remaining) for wanted in self.expected)

    def lines(self, *, exactly: bool) -> Iterator[str]:
        """Tell what is not as expected."""
        there = self._matched()
        missing = [number for number in range(len(self.expected)) if number not in there]
        others = [number for number in range(len(self.found)) if number not in there.values()]
        if not missing and not (others and exactly):
            yield f"not published as expected: all {len(there)} are there, in another order"
            by_place = sorted(there.items(), key=lambda pair: pair[1])
            yield from _bounded(f"  #{wanted + 1}  {_described(self.found[place])}" for wanted, place in by_place)
            yield f"  {_ORDER}"
            return
        different = self._paired(missing, others)
        missing = [number for number in missing if number not in different]
        others = [number for number in others if number not in {place for place, _ in different.values()}]
        yield _summary(len(there), len(different), len(missing), len(others) if exactly else 0)
        yield from _bounded(self._told(number, *pair) for number, pair in sorted(different.items()))
        yield from _bounded(f"  #{number + 1} missing     {self.expected[number]}" for number in missing)
        word = "unexpected" if exactly else "also there"
        yield from _bounded(f"  -  {word}  {self._told_of_other(self.found[place])}" for place in others)

    def _matched(self) -> dict[int, int]:
        return matched(len(self.expected), len(self.found), self._fits)

    def _fits(self, number: int, place: int) -> bool:
        return self.expected[number].fits(self.found[place])

    def _paired(self, missing: list[int], others: list[int]) -> dict[int, tuple[int, list[Difference]]]:
        """Return what of the missing is perhaps there and differs: by its number, the place and the differences."""
        pairs: dict[int, tuple[int, list[Difference]]] = {}
        left = list(others)
        for number in missing:
            wanted = self.expected[number]
            alike = islice((place for place in left if wanted.alike(self.found[place])), _LOOKED_AT)
            if told := [(place, wanted.differences(self.found[place])) for place in alike]:
                pairs[number] = min(told, key=lambda pair: len(pair[1]))
                left.remove(pairs[number][0])
        return pairs

    def _told(self, number: int, place: int, found: list[Difference]) -> str:
        fields = _bounded(f"       {difference}" for difference in found)
        return "\n".join((f"  #{number + 1} differs     {_named(self.found[place])}", *fields))

    def _told_of_other(self, other: Decoded) -> str:
        like = next((number for number, each in enumerate(self.expected, 1) if each.fits(other)), None)
        return _described(other) + ("" if like is None else f"  (like #{like}, once more)")


def _summary(fine: int, different: int, missing: int, unexpected: int) -> str:
    counts = {"as expected": fine, "different": different, "missing": missing, "unexpected": unexpected}
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"not published as expected: {told}"


def _hint(found: Sequence[Decoded], log: Log, topic: str | None) -> Iterator[str]:
    if found:
        return
    topics = sorted({each.topic for each in read(log) if each.topic is not None})
    elsewhere = f"; there are records in {', '.join(topics)}" if topics else ""
    yield f"  nothing was published{'' if topic is None else f' to {topic}'}{elsewhere}"


def _named(decoded: Decoded) -> str:
    parts = (decoded.where, decoded.event_type or "no CloudEvent")
    return "  ".join(part for part in parts if part)


def _described(decoded: Decoded) -> str:
    key = "" if decoded.record.key is None else f"  key={shown(decoded.record.key)}"
    payload = "tombstone" if decoded.record.value is None else shown(decoded.payload)
    return f"{_named(decoded)}{key}  {payload}"


def _bounded(lines: Iterable[str]) -> Iterator[str]:
    lines = list(lines)
    yield from lines[:_MOST]
    if len(lines) > _MOST:
        yield f"  … and {len(lines) - _MOST} more"
