"""Producer id, epoch and next sequence of one partition (rule 5)."""

from __future__ import annotations

import pytest

from eventpub._rules.sequence import MAX_EPOCH, Sequence
from eventpub.abc import UNSTAMPED, ProducerId, Stamp


@pytest.fixture
def sequence() -> Sequence:
    """Return one that has an id."""
    made = Sequence()
    made.adopt(ProducerId(7, 3))
    return made


def test_without_an_id_there_is_no_stamp() -> None:
    """The lane asks for one first."""
    sequence = Sequence()
    assert sequence.needs_id
    assert sequence.exhausted is None
    with pytest.raises(AssertionError):
        _ = sequence.stamp


def test_it_begins_at_the_epoch_it_is_given(sequence: Sequence) -> None:
    """And at sequence 0."""
    assert not sequence.needs_id
    assert sequence.stamp == Stamp(7, 3, 0)


def test_asking_for_a_stamp_uses_none_up(sequence: Sequence) -> None:
    """A batch that was never appended costs no number."""
    assert sequence.stamp == sequence.stamp


def test_an_ack_moves_it_by_the_records_of_the_batch(sequence: Sequence) -> None:
    """And by nothing else."""
    sequence.advance(sequence.stamp, 5)
    sequence.advance(sequence.stamp, 2)
    assert sequence.stamp == Stamp(7, 3, 7)


@pytest.mark.parametrize("start, records, then", [(2**31 - 1, 1, 0), (2**31 - 3, 5, 2), (2**31 - 2, 1, 2**31 - 1)])
def test_it_wraps_after_the_largest_int32(sequence: Sequence, start: int, records: int, then: int) -> None:
    """2**31 - 1 is followed by 0, also in the middle of a batch."""
    sequence._next = start
    sequence.advance(sequence.stamp, records)
    assert sequence.stamp.sequence == then


def test_a_bump_leaves_the_epoch_and_begins_at_0(sequence: Sequence) -> None:
    """The first append there fences what may still be under way in the old one."""
    sequence.advance(sequence.stamp, 5)
    sequence.bump(sequence.stamp)
    assert sequence.stamp == Stamp(7, 4, 0)
    assert sequence.bumps == 1


@pytest.mark.parametrize("stamp", [Stamp(7, 2, 0), Stamp(6, 3, 0), UNSTAMPED], ids=["older epoch", "other id", "none"])
def test_what_is_told_of_another_epoch_changes_nothing(sequence: Sequence, stamp: Stamp) -> None:
    """Neither a late ack nor a second end of the same batch."""
    sequence.advance(stamp, 9)
    sequence.bump(stamp)
    assert sequence.stamp == Stamp(7, 3, 0)
    assert sequence.bumps == 0


def test_the_last_epoch_is_used_and_then_another_id(sequence: Sequence) -> None:
    """32767 is a legal epoch; past it the id is used up, and is named so that it is not handed out again."""
    sequence.adopt(ProducerId(7, MAX_EPOCH - 1))
    sequence.bump(sequence.stamp)
    last = sequence.stamp
    assert last == Stamp(7, 32767, 0)
    sequence.bump(last)
    assert sequence.needs_id
    assert sequence.exhausted == 7
    sequence.bump(last)
    sequence.advance(last, 3)
    sequence.adopt(ProducerId(8, 0))
    assert sequence.stamp == Stamp(8, 0, 0)
    assert sequence.bumps == 2
