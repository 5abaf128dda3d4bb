"""Whatever happens to brokers, network and callers, a publisher tells the truth, in time.

Random schedules of publishes, cancellations, flushes, pauses and every fault of `MemoryBroker`,
in virtual time, each ended by a close; then what was said is compared with the log.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from support import virtual_time
from tests.property.schedules import play
from tests.property.stage import PARTITIONS, PROFILES, TOPICS, Stage

STEPS = 40
REFUSALS = (2, 3, 9, 10, 18, 19, 29, 32, 45, 47, 59, 87)
AFTER_APPEND = (3, 6, 7, 20)
BUDGETS = (None, None, 0.02, 0.3, 2.0, 6.0)
PAUSES = (0.0, 0.0, 0.001, 0.05, 0.2, 0.7, 2.5, 11.0)

Verb = Callable[[Stage, random.Random], object]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Keep a line per unheard outcome, hundreds of thousands of them, out of the report."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


def run(seed: int) -> Stage:
    """Play one schedule; the same seed plays the same one."""
    with virtual_time.runner() as runner:
        return runner.run(schedule(random.Random(seed)))


async def schedule(chance: random.Random) -> Stage:
    """Open, do random things, close in some way, compare."""
    stage = await opened()
    for verb in chance.choices(VERBS, WEIGHTS, k=chance.randrange(STEPS)):
        verb(stage, chance)
        stage.check_now()
        if chance.random() < 0.6:
            await asyncio.sleep(chance.choice(PAUSES))
            stage.check_now()
    if chance.random() < 0.5:
        stage.broker.heal()
    if chance.random() < 0.5:
        stage.broker.release()
    timeout = chance.choice([0.0, 0.5, 5.0, 40.0])
    await stage.close(timeout, chance.choice([None, None, None, 0.0, timeout / 2]))
    await stage.aftermath()
    return stage


async def opened() -> Stage:
    """Return a stage whose publisher is open."""
    stage = Stage()
    await stage.publisher.open()
    return stage


def publish(stage: Stage, chance: random.Random) -> None:
    """Publish one to four events, mostly with idempotent profiles."""
    for _ in range(chance.choice([1, 1, 2, 4])):
        profile = chance.choice(PROFILES if chance.random() < 0.4 else PROFILES[:3])
        partition = chance.choice([0, 0, 0, 0, 1, 1, 1, None, None, PARTITIONS])
        intent = stage.intend(chance.choice(TOPICS[: chance.randint(1, 3)]), partition, profile, chance.choice(BUDGETS))
        size, keyed = chance.choice([10, 10, 10, 10, 200, 200, 900, 3000]), chance.random() < 0.9
        (stage.publish if chance.random() < 0.5 else stage.publish_nowait)(intent, size, keyed=keyed)


def publish_many(stage: Stage, chance: random.Random) -> None:
    """Publish several events in one call."""
    profile, budget = chance.choice(PROFILES), chance.choice(BUDGETS)
    topic, partition = chance.choice(TOPICS), chance.choice([0, 1, None])
    stage.publish_many(
        [stage.intend(topic, partition, profile, budget) for _ in range(chance.randint(1, 12))],
        chance.choice([10, 200]),
    )


def cancel_in_a_hook(stage: Stage, chance: random.Random) -> None:
    """Let the next outcome's hook cancel somebody."""
    number = chance.randrange(1000)
    stage.meddle = lambda: stage.cancel(number)


def publish_in_a_hook(stage: Stage, chance: random.Random) -> None:
    """Let the next outcome's hook publish something."""
    stage.meddle = lambda: publish(stage, chance) if stage.publisher.state.value == "open" else None


def where(chance: random.Random) -> tuple[str, int]:
    """Return a partition that is always there."""
    return chance.choice(TOPICS[:2]), chance.randrange(PARTITIONS)


def aimed(chance: random.Random) -> dict[str, object]:
    """Return what a ``_next`` verb is aimed at: a partition, or whatever comes."""
    topic, partition = where(chance)
    return {"topic": topic, "partition": partition, "times": chance.choice([1, 1, 2])} if chance.random() < 0.7 else {}


def reject(stage: Stage, chance: random.Random) -> None:
    """Refuse the next batch, naming a record of it where the code does."""
    code = chance.choice(REFUSALS)
    errors = [(chance.randrange(3), "named")] if code in {32, 87} and chance.random() < 0.7 else []
    stage.broker.reject_next(code, record_errors=errors, **aimed(chance))  # type: ignore[arg-type]  # times, topic, partition


def reject_appended(stage: Stage, chance: random.Random) -> None:
    """Append the next batch, and answer an error."""
    stage.broker.reject_next(chance.choice(AFTER_APPEND), appended=True, **aimed(chance))  # type: ignore[arg-type]  # as above


def some(chance: random.Random) -> int | None:
    """Return a broker, or all of them."""
    return chance.choice([1, 2, None])


# The usual ones come more often.
SCRIPT: tuple[tuple[int, Verb], ...] = (
    (60, publish),
    (8, publish_many),
    (8, lambda stage, chance: stage.cancel(chance.randrange(1000))),
    (4, cancel_in_a_hook),
    (3, publish_in_a_hook),
    (2, lambda stage, chance: stage.flush(chance.choice([0.0, 0.2, 3.0]))),
    (8, reject),
    (5, reject_appended),
    (5, lambda stage, chance: stage.broker.lose_next_ack(disconnect=chance.random() < 0.5, **aimed(chance))),  # type: ignore[arg-type]  # as above
    (4, lambda stage, chance: stage.broker.drop_next(disconnect=chance.random() < 0.5, **aimed(chance))),  # type: ignore[arg-type]  # as above
    (6, lambda stage, chance: stage.broker.hold_next(late_answer=chance.random() < 0.6, **aimed(chance))),  # type: ignore[arg-type]  # as above
    (6, lambda stage, chance: stage.broker.release()),
    (3, lambda stage, chance: stage.broker.not_sent_next(**aimed(chance))),  # type: ignore[arg-type]  # as above
    (1, lambda stage, chance: stage.broker.forget_script()),
    (3, lambda stage, chance: stage.broker.pause(some(chance))),
    (4, lambda stage, chance: stage.broker.resume(some(chance))),
    (3, lambda stage, chance: stage.broker.down(some(chance))),
    (4, lambda stage, chance: stage.broker.up(some(chance))),
    (2, lambda stage, chance: stage.broker.clog(some(chance))),
    (3, lambda stage, chance: stage.broker.unclog(some(chance))),
    (4, lambda stage, chance: stage.broker.latency(chance.choice([0.0, 0.004, 0.1, 1.5]), some(chance))),
    (2, lambda stage, chance: stage.broker.throttle(chance.choice([0.0, 0.3, 5.0]), some(chance))),
    (1, lambda stage, chance: stage.broker.refuse_clients()),
    (2, lambda stage, chance: stage.broker.accept_clients()),
    (3, lambda stage, chance: stage.broker.leaderless(*where(chance))),
    (4, lambda stage, chance: stage.broker.leader_back(*where(chance))),
    (3, lambda stage, chance: stage.broker.move_leader(*where(chance), chance.choice([1, 2]))),
    (2, lambda stage, chance: stage.broker.not_enough_replicas(*where(chance))),
    (3, lambda stage, chance: stage.broker.enough_replicas(*where(chance))),
    (3, lambda stage, chance: stage.broker.stall_replication(*where(chance))),
    (4, lambda stage, chance: stage.broker.resume_replication(*where(chance))),
    (1, lambda stage, chance: stage.broker.deny(chance.choice(TOPICS[:2]))),
    (2, lambda stage, chance: stage.broker.allow(chance.choice(TOPICS[:2]))),
    (1, lambda stage, chance: stage.broker.deny_producer_ids()),
    (2, lambda stage, chance: stage.broker.allow_producer_ids()),
    (1, lambda stage, chance: stage.broker.add_partitions("plain", PARTITIONS + 1)),
    (1, lambda stage, chance: stage.drop_topic()),
    (3, lambda stage, chance: stage.broker.heal()),
)
WEIGHTS = [weight for weight, _ in SCRIPT]
VERBS = [verb for _, verb in SCRIPT]


def test_every_seeded_schedule_ends_in_words_that_are_true() -> None:
    """A thousand schedules in a few seconds, other ones in each run."""
    play(run, 1_000)


class PublisherMachine(RuleBasedStateMachine):
    """The same verbs, picked by Hypothesis, which leaves out of a failure what it does not need."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = virtual_time.runner()
        self.stage = self.runner.run(opened())

    @rule(verb=st.sampled_from(range(len(SCRIPT))), seed=st.integers(0, 9999))
    def act(self, verb: int, seed: int) -> None:
        async def do() -> None:
            VERBS[verb](self.stage, random.Random(seed))
            self.stage.check_now()

        self.runner.run(do())

    @rule(seed=st.integers(0, 9999))
    def publish(self, seed: int) -> None:
        self.act(0, seed)

    @rule(seconds=st.sampled_from(PAUSES))
    def time_passes(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))

    def teardown(self) -> None:
        async def end() -> None:
            await self.stage.close(5.0)
            await self.stage.aftermath()

        try:
            self.runner.run(end())
        finally:
            self.runner.close()


TestPublisherMachine = PublisherMachine.TestCase
TestPublisherMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, database=None)


def test_a_seed_plays_the_same_schedule_again() -> None:
    """To the last outcome, its time and its order: a failure can be looked at."""
    for seed in range(40):
        assert run(seed).transcript == run(seed).transcript, seed
