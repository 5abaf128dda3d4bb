"""What became of a letter, whatever the order in which it is read."""

from __future__ import annotations

from itertools import permutations

import pytest

from eventpub.deadletter.replaying.fold import Fold, stronger
from eventpub.letter import Resolution, Verdict
from tests.unit.deadletter.letters import FAILED_AT, letter

LETTER = letter()


def resolution(verdict: Verdict, offset: int | None = None) -> Resolution:
    """Return one of the same letter."""
    return Resolution(id=LETTER.id, record=LETTER.record, verdict=verdict, at=FAILED_AT, offset=offset)


@pytest.mark.parametrize("order", [*permutations(("not persisted", "replayed", "persisted"))])
def test_the_strongest_resolution_counts_in_any_order(order: tuple[Verdict, ...]) -> None:
    """Persisted beats replayed beats not persisted."""
    fold = Fold()
    for verdict in order:
        fold.resolve(resolution(verdict))
    found = fold.resolution(LETTER.id)
    assert found is not None
    assert found.verdict == "persisted"


def test_a_letter_of_which_nothing_was_heard_has_no_resolution() -> None:
    """Nor one that was heard of before it was read."""
    fold = Fold()
    fold.note(LETTER)
    assert fold.resolution(LETTER.id) is None
    early = Fold()
    early.resolve(resolution("persisted"))
    early.note(LETTER)
    assert early.resolution(LETTER.id) is not None


def test_of_two_alike_the_one_with_an_offset_counts() -> None:
    """It says more."""
    bare, placed = resolution("replayed"), resolution("replayed", 7)
    assert stronger(bare, placed) is stronger(placed, bare) is placed
    assert stronger(None, bare) is stronger(bare, None) is bare


def test_the_highest_count_of_failed_replays_counts() -> None:
    """The letter is written again with each."""
    fold = Fold()
    for replays in (0, 2, 1):
        fold.note(letter(id="a", replays=replays))
    assert (fold.replays("a"), fold.replays("b")) == (2, 0)
