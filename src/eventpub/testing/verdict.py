"""What a check came to, for people and for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eventpub.testing.ledger import Word
from eventpub.testing.violation import Violation

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of `check_ledger`. Its text is a report; rich prints it in colour.

    Attributes:
        violations: in the order of the invariants.
        invalid: why the run proves nothing, although it may have violated nothing: a fault without effect.
        words: how many calls came to each word; those still open count under ``None``.
        records: how many records were read.
        asked: how many calls asked for an acknowledgement, which is all but those with ``acks=0``.
        doubtful: how many of those came to *possibly persisted*.
        letters: how many dead letters were read.
    """

    violations: tuple[Violation, ...]
    invalid: tuple[str, ...]
    words: Mapping[Word | None, int]
    records: int
    asked: int
    doubtful: int
    letters: int = 0

    @property
    def passed(self) -> bool:
        """Whether the run was valid and nothing was violated."""
        return not self.violations and not self.invalid

    @property
    def events(self) -> int:
        """How many calls were made."""
        return sum(self.words.values())

    @property
    def share(self) -> float:
        """The part of the calls that asked for an acknowledgement and are in doubt, from 0 to 1."""
        return self.doubtful / self.asked if self.asked else 0.0

    def raise_for_violations(self) -> None:
        """Fail a test, with the report as its message.

        Raises:
            AssertionError: something was violated, or the run was invalid.
        """
        if not self.passed:
            raise AssertionError(str(self))

    def as_dict(self) -> dict[str, Any]:
        """Return it in types that JSON has."""
        return {
            "passed": self.passed,
            "events": self.events,
            "records": self.records,
            "dead_letters": self.letters,
            "words": {word.value if word else "open": count for word, count in self.words.items()},
            "possibly_persisted_share": self.share,
            "invalid": list(self.invalid),
            "violations": [
                {
                    "invariant": violation.invariant.name,
                    "rule": violation.invariant.value,
                    "event_id": violation.event_id,
                    "topic": violation.topic,
                    "evidence": violation.evidence,
                }
                for violation in self.violations
            ],
        }

    def __str__(self) -> str:
        return "\n".join([self._summary(), *self._details()])

    def __rich__(self) -> str:
        colour = "green" if self.passed else "red"
        lines = [line.replace("[", r"\[") for line in (self._summary(), *self._details())]
        return f"[bold {colour}]{lines[0]}[/]" + "".join(f"\n{line}" for line in lines[1:])

    def _summary(self) -> str:
        counts = ", ".join(f"{count} {word.value if word else 'open'}" for word, count in self.words.items())
        result = "passed" if self.passed else f"{len(self.violations)} violations" if self.violations else "invalid"
        read = f"{self.records} records" + (f" and {self.letters} dead letters" if self.letters else "") + " read"
        return f"{result}: {self.events} events, {read}; {counts or 'nothing published'}"

    def _details(self) -> Iterator[str]:
        yield from (f"  invalid: {reason}" for reason in self.invalid)
        yield from (f"  {violation}" for violation in self.violations[:_SHOWN])
        if len(self.violations) > _SHOWN:
            rest = Counter(violation.invariant.name for violation in self.violations[_SHOWN:])
            yield f"  and {', '.join(f'{count} of {name}' for name, count in rest.items())}"
