"""Random faults, and a journal that stops at a random moment: as if the process had been killed there."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from eventpub.deadletter.replay import replay
from eventpub.deadletter.replaying.topic_source import TopicSource
from eventpub.deadletter.spooling.journal import Journal
from eventpub.exceptions import DeadLetterError
from eventpub.transports.memory import MemoryBroker
from support import virtual_time
from tests.property.schedules import play
from tests.unit.deadletter.letters import letter
from tests.unit.deadletter.replay.kit import dead_letter_topic, spool

if TYPE_CHECKING:
    from pathlib import Path

    from eventpub.letter import DeadLetter

LETTERS, KEYS, RUNS = 16, 3, 12
RETRIED = (19, 7, 20, 6)  # the last three may come after the append


class Death:
    """Lets the journal do so many things, and then nothing any more."""

    def __init__(self, chance: random.Random) -> None:
        self._left = chance.randrange(1, 25)
        self._last_counts = chance.random() < 0.5

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Watch over each change of the journal."""
        for name in ("begin", "done", "void"):
            patch.setattr(Journal, name, self._mortal(getattr(Journal, name)))

    def _mortal(self, method: Any) -> Any:
        def call(*args: Any) -> Any:
            self._left -= 1
            if self._left > 0:
                return method(*args)
            if self._left == 0 and self._last_counts:
                method(*args)
            raise DeadLetterError("killed")

        return call


def misfortune(broker: MemoryBroker, chance: random.Random) -> None:
    """Script some faults for the requests to come."""
    for _ in range(chance.randrange(5)):
        match chance.randrange(5):
            case 0:
                broker.lose_next_ack(topic="tasks", disconnect=chance.random() < 0.5)
            case 1:
                broker.drop_next(topic="tasks")
            case 2:
                broker.hold_next(topic="tasks")
            case 3:
                broker.not_sent_next(topic="tasks")
            case _:
                code = chance.choice(RETRIED)
                broker.reject_next(code, topic="tasks", appended=code != 19 and chance.random() < 0.5)


def in_log(broker: MemoryBroker) -> dict[bytes | None, list[int]]:
    """Return the values in the log by key, in order."""
    found = defaultdict(list)
    for record in broker.records("tasks"):
        found[record.key].append(int(record.value or b""))
    return dict(found)


def dead_letters() -> list[DeadLetter]:
    """Return letters of three keys in turn."""
    return [letter(b"%d" % number, key=b"key-%d" % (number % KEYS)) for number in range(LETTERS)]


@pytest.mark.slow
def test_each_event_is_written_once_and_each_keys_in_order(tmp_path: Path) -> None:
    """Whatever got lost, held back or refused, and wherever a run ended; held requests arrive long after."""

    def schedule(seed: int) -> None:
        directory = tmp_path / str(seed)
        directory.mkdir()
        virtual_time.run(many_runs(directory, seed))

    play(schedule, 10)


async def many_runs(directory: Path, seed: int) -> None:
    """Replay until everything is there, through all that *seed* brings."""
    chance = random.Random(seed)
    broker = MemoryBroker()
    broker.create_topic("tasks", 2)
    source: Any
    place: dict[str, Any]
    if seed % 2:
        source, place = await asyncio.to_thread(spool, directory / "spool.db", dead_letters()), {}
    else:
        await dead_letter_topic(broker, dead_letters())
        source, place = TopicSource(broker, "tasks.dlq"), {"journal": directory / "journal.db"}
    for _ in range(RUNS):
        misfortune(broker, chance)
        # Where it dies while it settles what the run before had left, it raises.
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(DeadLetterError):
            Death(chance).install(patch)
            await replay(source, broker, rate=chance.choice([None, 5.0, 50.0]), timeout=40, **place)
        if chance.random() < 0.5:
            broker.release()
    broker.heal()
    report = await replay(source, broker, **place)
    broker.release()
    await asyncio.sleep(60)
    assert report.complete, str(report)
    assert in_log(broker) == {b"key-%d" % key: list(range(key, LETTERS, KEYS)) for key in range(KEYS)}
    assert str(await replay(source, broker, **place)) == "nothing to do"
