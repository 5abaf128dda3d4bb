"""The torture itself: it passes where nothing is broken, and finds what is."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from eventpub._engine import engine
from eventpub._rules import admission, attempts, batch, deadlines, failures, sequence
from eventpub._rules.partition import Partition
from eventpub.delivery import AttemptOutcome
from support.kafka_node import ROOT
from torture.episode import play
from torture.memory import MemoryArena
from torture.plan import HEALTHY, draw

if TYPE_CHECKING:
    from pathlib import Path

    from eventpub.delivery import Attempt

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


@pytest.mark.parametrize("name", BROKEN_RULES)
def test_a_broken_rule_is_found(name: str) -> None:
    """Each rule of delivery, broken on purpose, shows within some hundred episodes."""
    broken, expected, *fault = BROKEN_RULES[name]
    with broken:
        for seed in range(2_000):
            try:
                violations = play(ARENA, draw(seed, ARENA.faults, ARENA.pace, *fault)).verdict.violations
            except (AssertionError, asyncio.InvalidStateError, RuntimeError):
                continue  # it broke down altogether, which is another way of showing
            if expected & {violation.invariant.name for violation in violations}:
                return
    pytest.fail("nobody noticed")
