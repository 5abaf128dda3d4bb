"""Whatever the network and the broker do, a partition tells the truth about its records."""

from __future__ import annotations

import random
from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.property.model import PROFILES, REFUSALS, STARTS, World
from tests.property.schedules import play

STEPS = 60
BUDGETS = (0.02, 1.0, 5.0, 60.0)
PAUSES = (0.01, 0.96, 4.0, 60.0)
AFTER_APPEND = (3, 6, 7, 20)
VAGUE = (6, -1, 56, 222)


class PartitionMachine(RuleBasedStateMachine):
    """Every verb of the world, in any order; Hypothesis shrinks what breaks it."""

    @initialize(start=st.sampled_from(STARTS))
    def begin(self, start: tuple[int, int]) -> None:
        self.world = World(*start)

    @rule(
        profile=st.sampled_from(PROFILES),
        count=st.integers(1, 4),
        budget=st.sampled_from(BUDGETS),
        bad=st.booleans(),
    )
    def publish(self, profile: object, count: int, budget: float, *, bad: bool) -> None:
        self.world.publish(profile, count, budget, bad=bad)  # type: ignore[arg-type]  # a profile

    @rule()
    def send(self) -> None:
        self.world.send()

    @rule()
    def answer(self) -> None:
        self.world.answer()

    @rule(code=st.sampled_from(AFTER_APPEND))
    def answer_after_append(self, code: int) -> None:
        self.world.answer_after_append(code)

    @rule(code=st.sampled_from(REFUSALS))
    def answer_before_append(self, code: int) -> None:
        self.world.answer_before_append(code)

    @rule(code=st.sampled_from(VAGUE), append=st.booleans())
    def answer_vaguely(self, code: int, *, append: bool) -> None:
        self.world.answer_vaguely(code, append=append)

    @rule()
    def not_sent(self) -> None:
        self.world.not_sent()

    @rule()
    def answer_lost(self) -> None:
        self.world.answer_lost()

    @rule(number=st.integers(0, 5), code=st.sampled_from([None, 19]))
    def deliver(self, number: int, code: int | None) -> None:
        self.world.deliver(number, code)

    @rule(number=st.integers(0, 5))
    def drop(self, number: int) -> None:
        self.world.drop(number)

    @rule(number=st.integers(0, 5))
    def answer_late(self, number: int) -> None:
        self.world.answer_late(number)

    @rule(number=st.integers(0, 30))
    def withdraw(self, number: int) -> None:
        self.world.withdraw(number)

    @rule(code=st.sampled_from([3, 29, 31]))
    def refuse(self, code: int) -> None:
        self.world.refuse(code)

    @rule(seconds=st.sampled_from([0.0, 1.0, 10.0]))
    def wait_for_a_connection(self, seconds: float) -> None:
        self.world.wait_for_a_connection(seconds)

    @rule(seconds=st.sampled_from(PAUSES))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @invariant()
    def room_is_accounted_for(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.check_at_the_end()


TestPartitionMachine = PartitionMachine.TestCase
TestPartitionMachine.settings = settings(max_examples=120, stateful_step_count=50, deadline=None, database=None)


def run(seed: int) -> None:
    """Play one schedule; the same seed plays the same one."""
    chance = random.Random(seed)
    world = World(*chance.choice(STARTS))
    for verb in chance.choices(VERBS, WEIGHTS, k=chance.randrange(STEPS)):
        verb(world, chance)
        world.check()
    world.check_at_the_end()


def publish(world: World, chance: random.Random) -> None:
    """Publish, mostly with idempotent profiles."""
    profile = chance.choice(PROFILES if chance.random() < 0.3 else PROFILES[:2])
    world.publish(profile, chance.randint(1, 4), chance.choice(BUDGETS), bad=chance.random() < 0.2)


# The usual ones come more often.
SCRIPT: tuple[tuple[int, Callable[[World, random.Random], None]], ...] = (
    (20, publish),
    (40, lambda world, chance: world.send()),
    (14, lambda world, chance: world.answer()),
    (5, lambda world, chance: world.answer_after_append(chance.choice(AFTER_APPEND))),
    (8, lambda world, chance: world.answer_before_append(chance.choice(REFUSALS))),
    (5, lambda world, chance: world.answer_vaguely(chance.choice(VAGUE), append=chance.random() < 0.5)),
    (4, lambda world, chance: world.not_sent()),
    (12, lambda world, chance: world.answer_lost()),
    (8, lambda world, chance: world.deliver(chance.randrange(6), chance.choice([None, None, 19]))),
    (2, lambda world, chance: world.drop(chance.randrange(6))),
    (6, lambda world, chance: world.answer_late(chance.randrange(6))),
    (5, lambda world, chance: world.withdraw(chance.randrange(40))),
    (1, lambda world, chance: world.refuse(chance.choice([3, 29, 31]))),
    (3, lambda world, chance: world.wait_for_a_connection(chance.choice([0.0, 1.0, 10.0]))),
    (6, lambda world, chance: world.pass_time(chance.choice(PAUSES))),
)
WEIGHTS = [weight for weight, _ in SCRIPT]
VERBS = [verb for _, verb in SCRIPT]


def test_every_seeded_schedule_ends_in_words_that_are_true() -> None:
    """Thousands of schedules in a few seconds, other ones in each run."""
    play(run, 5_000)
