"""Letters as sources give them: each once, in order, with what became of it."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from eventpub import ConfigurationError, Record
from eventpub.abc import TopicPartition
from eventpub.deadletter.headers import encode, encode_resolution
from eventpub.deadletter.replaying.log_reader import LogReadError
from eventpub.deadletter.replaying.memory_log import MemoryLogReader
from eventpub.deadletter.replaying.source import Source, SpoolSource
from eventpub.deadletter.replaying.topic_source import TopicSource
from eventpub.deadletter.spooling.store import Store
from eventpub.letter import DeadLetter, Resolution, Verdict
from eventpub.transports.memory import MemoryBroker
from support import virtual_time
from tests.unit.deadletter.letters import FAILED_AT, letter, letters
from tests.unit.deadletter.replay.kit import publish

if TYPE_CHECKING:
    from collections.abc import Sequence


def resolved(which: DeadLetter, verdict: Verdict) -> Resolution:
    """Return what became of a letter."""
    return Resolution(id=which.id, record=which.record, verdict=verdict, at=FAILED_AT)


class Shelf:
    """One kind of source, filled anew by each test."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.broker = MemoryBroker(partitions=3)
        self.path = directory / "spool.db"
        self.kind = kind

    def fill(self, dead: Sequence[DeadLetter], resolutions: Sequence[Resolution] = ()) -> Source:
        """Put letters and resolutions in, and return the source."""
        if self.kind == "spool":
            with closing(Store(self.path, create=True)) as store:
                store.append(dead)
                store.resolve(resolutions)
            return SpoolSource(self.path)
        records = [encode(each, "tasks.dlq") for each in dead]
        virtual_time.run(publish(self.broker, [*records, *(encode_resolution(r, "tasks.dlq") for r in resolutions)]))
        return TopicSource(self.broker, "tasks.dlq")


@pytest.fixture(params=["spool", "topic"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Shelf:
    """Return an empty source of each kind."""
    return Shelf(request.param, tmp_path)


def test_letters_come_in_order_and_open_ones_alone(shelf: Shelf) -> None:
    """By one key, that is: a topic has several partitions."""
    dead = letters(5)
    fates = [resolved(dead[0], "persisted"), resolved(dead[1], "not persisted"), resolved(dead[3], "replayed")]
    with closing(shelf.fill(dead, fates)) as source:
        source.open()
        assert [stored.letter for stored in source.read()] == [dead[1], dead[2], dead[4]]
        every = list(source.read(open_only=False))
    assert [stored.letter for stored in every] == dead
    verdicts = [stored.resolution and stored.resolution.verdict for stored in every]
    assert verdicts == ["persisted", "not persisted", None, "replayed", None]
    positions = [stored.position for stored in every]
    assert positions == sorted(set(positions))


def test_letters_of_a_key_come_in_the_order_in_which_events_were_published(shelf: Shelf) -> None:
    """A slow sink refused the first, which so was written last."""
    dead = [letter(b"%d" % n, failed_at=FAILED_AT + 9, elapsed=9.0 - n) for n in range(4)]
    with closing(shelf.fill([*dead[1:], dead[0], *dead[2:]])) as source:
        source.open()
        assert [stored.letter for stored in source.read()] == dead


def test_letters_are_found_by_their_ids(shelf: Shelf) -> None:
    """Those that are there."""
    dead = letters(3)
    with closing(shelf.fill(dead)) as source:
        source.open()
        assert source.find([dead[2].id, "none"]) == {dead[2].id: dead[2]}
        assert source.find([]) == {}


def test_a_source_may_be_closed_before_it_was_opened(shelf: Shelf) -> None:
    """And twice."""
    source = shelf.fill([])
    source.close()
    source.close()


def test_a_letter_that_lies_in_a_topic_twice_is_one(tmp_path: Path) -> None:
    """A sink wrote it again because it had not heard of the first; the count is the highest."""
    shelf, first = Shelf("topic", tmp_path), letter()
    source = shelf.fill([first])
    shelf.broker.create_topic("unused", 1)
    virtual_time.run(publish(shelf.broker, source.failed([first])))
    source.open()
    [stored] = source.read()
    assert (stored.letter.id, stored.letter.replays) == (first.id, 1)


def test_a_resolution_before_its_letter_counts(tmp_path: Path) -> None:
    """They lie in one partition by their key; without one they may lie anywhere."""
    shelf, first = Shelf("topic", tmp_path), letter(key=None)
    virtual_time.run(publish(shelf.broker, [encode_resolution(resolved(first, "persisted"), "tasks.dlq")]))
    source = shelf.fill([first])
    source.open()
    assert list(source.read()) == []


def test_what_is_no_letter_is_counted(tmp_path: Path) -> None:
    """And passed over."""
    shelf = Shelf("topic", tmp_path)
    virtual_time.run(publish(shelf.broker, [Record("tasks.dlq", b"?")]))
    source = shelf.fill(letters(1))
    source.open()
    assert (len(list(source.read())), source.unreadable) == (1, 1)


def test_a_topic_that_is_not_there_cannot_be_read() -> None:
    """Its name is said, or that it is none."""
    source = TopicSource(MemoryBroker(), "none")
    source.open()
    with pytest.raises(LogReadError, match="topic none could not be read"):
        list(source.read())
    with pytest.raises(ConfigurationError, match="is no Kafka topic name"):
        TopicSource(MemoryBroker(), "no topic")
    with pytest.raises(LogReadError, match=r"none\[4\] does not exist|topic none could not be read"):
        MemoryLogReader(MemoryBroker()).span(TopicPartition("none", 4))


def test_topics_need_the_client_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how to get it."""
    import sys

    from eventpub import KafkaConfig

    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(
        ConfigurationError, match=r'confluent-kafka, which is not installed; pip install "eventpub\[cli\]"'
    ):
        TopicSource(KafkaConfig("localhost"), "tasks.dlq").open()


def test_a_consumer_is_made_and_closed_without_a_broker() -> None:
    """Opening touches no broker; a token is asked for on a loop of its own."""
    from eventpub import KafkaConfig

    async def token() -> str:
        await asyncio.sleep(0)
        return "token"

    config = KafkaConfig(
        "127.0.0.1:1", sasl_mechanism="OAUTHBEARER", security_protocol="SASL_SSL", sasl_token_provider=token
    )
    source = TopicSource(config, "tasks.dlq")
    source.open()
    source.close()
    source.close()


def test_a_spool_gives_letters_in_the_order_of_their_publishes(tmp_path: Path) -> None:
    """A letter that a slow sink refused first was written behind younger ones; its event was the elder."""
    late, early = letter(b"late"), letter(b"early", elapsed=31.0)
    with closing(Store(tmp_path / "spool.db", create=True)) as store:
        store.append([late, early])
    source = SpoolSource(tmp_path / "spool.db")
    source.open()
    assert [stored.letter.record.value for stored in source.read()] == [b"early", b"late"]
    source.close()
