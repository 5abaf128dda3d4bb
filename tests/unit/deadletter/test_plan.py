"""What a replay does with one letter."""

from __future__ import annotations

import pytest

from eventpub import PersistenceStatus
from eventpub.deadletter.replaying.plan import LeaveOut, Plan, Policy, Send, Verify
from eventpub.deadletter.spooling.store import StoredLetter
from eventpub.letter import DeadLetter, Resolution
from tests.unit.deadletter.letters import FAILED_AT, letter

SAFE = letter()
DOUBTFUL = letter(status=PersistenceStatus.POSSIBLY_PERSISTED, request_timeout=10.0)
ELSEWHERE = letter(doubtful_in="topic tasks.dlq")
LATER = FAILED_AT + 20


def plan(which: DeadLetter, *, now: float = LATER, rejected: bool = False, **asked: bool) -> Plan:
    """Return what is planned for a letter."""
    policy = Policy(asked.get("include_possibly", False), asked.get("verify", False), 3)
    return policy.plan(StoredLetter(1, which, _rejected(which) if rejected else None), now)


@pytest.mark.parametrize("asked", [{}, {"verify": True}, {"include_possibly": True}])
def test_what_is_not_persisted_goes(asked: dict[str, bool]) -> None:
    """Whatever was asked for."""
    assert plan(SAFE, now=LATER, **asked) == Send()


@pytest.mark.parametrize("which", [DOUBTFUL, ELSEWHERE])
def test_doubt_goes_only_on_request(which: DeadLetter) -> None:
    """Looking for it first goes before sending it blindly."""
    assert isinstance(plan(which), LeaveOut)
    assert plan(which, include_possibly=True) == Send()
    assert plan(which, verify=True) == Verify()
    assert plan(which, verify=True, include_possibly=True) == Verify()


def test_it_is_looked_for_after_twice_the_request_timeout() -> None:
    """Since its last attempt; what was never sent can be looked for at once."""
    assert isinstance(plan(DOUBTFUL, now=LATER - 0.1, verify=True), LeaveOut)
    assert plan(letter(doubtful_in="spool", last_attempt_at=None), now=FAILED_AT, verify=True) == Verify()


def test_a_late_rejection_takes_the_doubt_away() -> None:
    """But not that another sink may have it."""
    assert plan(DOUBTFUL, rejected=True) == Send()
    assert isinstance(plan(ELSEWHERE, rejected=True), LeaveOut)


def _rejected(which: DeadLetter) -> Resolution:
    return Resolution(id=which.id, record=which.record, verdict="not persisted", at=FAILED_AT)


@pytest.mark.parametrize("replays,named,goes", [(2, False, True), (3, False, False), (3, True, True)])
def test_the_loop_guard_counts_failures(replays: int, *, named: bool, goes: bool) -> None:
    """A letter that is named by its id goes all the same."""
    tired = letter(replays=replays)
    policy = Policy(include_possibly=False, verify=False, max_replays=3, named=[tired.id] if named else [])
    assert isinstance(policy.plan(StoredLetter(1, tired, None), LATER), Send) is goes
