"""The torture itself: it passes where nothing is broken, and finds what is."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from eventpub._engine import dead_letters, engine, letter_of
from eventpub._rules import admission, attempts, batch, deadlines, failures, sequence
from eventpub._rules.partition import Partition
from eventpub.deadletter import writer
from eventpub.delivery import AttemptOutcome, PersistenceStatus
from support.kafka_node import ROOT
from torture.episode import play
from torture.memory import MemoryArena
from torture.plan import HEALTHY, draw

if TYPE_CHECKING:
    from pathlib import Path

    from eventpub.delivery import Attempt
    from eventpub.letter import DeadLetter
    from torture.plan import Plan

ARENA = MemoryArena()
EPISODES = 300


def seeds(count: int) -> range:
    """Return seeds that no other run has used."""
    first = random.SystemRandom().randrange(2**40)
    return range(first, first + count)


def test_a_fast_cut_of_the_torture() -> None:
    """Hundreds of random episodes: every promise kept, every fault felt."""
    for seed in seeds(EPISODES):
        result = play(ARENA, draw(seed, ARENA.faults, ARENA.pace))
        assert result.verdict.passed, f'make torture ARGS="--memory --seed {seed}"\n{result.plan}\n{result.verdict}'


@pytest.mark.parametrize("fault", [*ARENA.faults, HEALTHY])
def test_every_fault_has_an_effect(fault: str) -> None:
    """Whatever the seed, a fault that is asked for is felt, or the episode would be invalid."""
    for seed in seeds(3):
        result = play(ARENA, draw(seed, ARENA.faults, ARENA.pace, fault))
        again = f"make torture ARGS=\"--memory --seed {seed} --fault '{fault}'\""
        assert result.verdict.passed, f"{again}\n{result.plan}\n{result.verdict}"
        assert result.plan.row == fault


def test_a_seed_plays_the_same_episode_again() -> None:
    """What failed can be looked at."""
    first, second = (play(ARENA, draw(99, ARENA.faults, ARENA.pace)) for _ in range(2))
    assert first.plan == second.plan
    assert first.verdict.words == second.verdict.words


def test_the_command_plays_prints_and_returns(tmp_path: Path) -> None:
    """A table for people, rows for machines, 0 where every promise was kept."""
    rows = tmp_path / "rows.json"
    command = [sys.executable, "-m", "torture", "--memory", "--episodes", "4", "--seed", "7", "--json", str(rows)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=True)
    assert "share possibly" in ran.stdout
    assert sum(row["episodes"] for row in json.loads(rows.read_text())) == 4


def last_one_only(history: tuple[Attempt, ...]) -> bool:
    """Judge a history by its last attempt."""
    return attempts.in_doubt(history[-1:])


def put_back_last(self: Partition, *batches: Any) -> None:
    """Let others overtake what is tried again."""
    self.batch = None
    self.pieces.extend(batches)


def safe_to_replay(*facts: Any) -> DeadLetter:
    """Say of each letter that its event is not in the log."""
    return replace(letter_of.dead_letter_of(*facts), status=PersistenceStatus.NOT_PERSISTED)


def another_id(self: writer.Submitted, sink: Any) -> None:
    """Give each sink a letter of its own."""
    self.begun, self.at = True, sink
    self.letter = replace(self.letter, id=f"{self.letter.id} in {sink.name}")


BROKEN_RULES: dict[str, Any] = {
    "no epoch after a doubt": (mock.patch.object(sequence.Sequence, "bump", return_value=None), {"I1"}),
    "cut anew in doubt": (mock.patch.object(batch.Batch, "frozen", property(lambda self: False)), {"I1", "I2", "I4"}),
    "doubt told as rejection": (mock.patch.object(failures, "in_doubt", return_value=False), {"I4"}),
    "the last attempt decides": (mock.patch.object(failures, "in_doubt", last_one_only), {"I4"}),
    "every code is definite": (
        mock.patch.object(attempts, "_judge_code", return_value=AttemptOutcome.NOT_APPENDED),
        {"I1", "I2", "I4"},
    ),
    "withdrawn when it was sent": (mock.patch.object(Partition, "holds", return_value=False), {"I4"}),
    "retries overtaken": (mock.patch.object(Partition, "_put_back", put_back_last), {"I7"}, "guilty record"),
    "no limits": (mock.patch.object(admission.Admission, "_fits", return_value=True), {"I9"}),
    "room kept for ever": (mock.patch.object(engine.Engine, "on_batch_ended", return_value=None), {"I9"}),
    "a coarse timer": (mock.patch.object(deadlines, "BUCKET", 1.0), {"I8"}),
}
BROKEN_LETTERS: dict[str, Any] = {
    "refused letters count as written": (
        mock.patch.object(writer.Submitted, "refused", lambda self, sink, _: self.written(sink)),
        {"I5"},
    ),
    "letters in doubt told as safe": (mock.patch.object(dead_letters, "dead_letter_of", safe_to_replay), {"I5"}),
    "an id for each sink": (mock.patch.object(writer.Submitted, "given_to", another_id), {"I5"}),
    "letters taken back from a sink": (
        mock.patch.object(writer.Submitted, "withdraw", lambda self: not self.ended),
        {"I5"},
    ),
    "late answers kept from sinks": (mock.patch.object(writer.Submitted, "resolve", return_value=None), {"I5"}),
    "sinks take their time": (mock.patch.object(writer, "_LATE", 60.0), {"I8"}),
}


@pytest.mark.parametrize("name", BROKEN_RULES)
def test_a_broken_rule_is_found(name: str) -> None:
    """Each rule of delivery, broken on purpose, shows within some hundred episodes."""
    broken, expected, *fault = BROKEN_RULES[name]
    with broken:
        assert any(shows(expected, draw(seed, ARENA.faults, ARENA.pace, *fault)) for seed in range(2_000))


@pytest.mark.parametrize("name", BROKEN_LETTERS)
def test_a_broken_rule_of_dead_letters_is_found(name: str) -> None:
    """Each of them likewise, among the episodes that keep dead letter_of."""
    broken, expected = BROKEN_LETTERS[name]
    plans = (draw(seed, ARENA.faults, ARENA.pace) for seed in range(3_000))
    with broken:
        assert any(shows(expected, plan) for plan in plans if plan.sinks)


def shows(expected: set[str], plan: Plan) -> bool:
    """Whether one of the invariants is violated in *plan*'s episode."""
    try:
        violations = play(ARENA, plan).verdict.violations
    except (AssertionError, asyncio.InvalidStateError, RuntimeError):
        return False  # it broke down altogether, which is another way of showing
    return bool(expected & {violation.invariant.name for violation in violations})
