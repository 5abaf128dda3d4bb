"""Replays that are killed: each event ends up in Apache Kafka exactly once, and each key's in order."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from eventpub import CRITICAL, KafkaConfig, PersistenceStatus, Publisher, Record
from eventpub.abc import Acked, TopicPartition
from eventpub.deadletter import ReplayReport, TopicSource, headers, replay
from eventpub.deadletter.spooling.journal import Journal
from eventpub.deadletter.spooling.store import Store
from eventpub.letter import Cut
from eventpub.transports.kafka import KafkaTransport
from support.kafka_node import ROOT
from support.readback import read_topic
from tests.contract.client import Client
from tests.unit.deadletter import letters as kit

if TYPE_CHECKING:
    from pathlib import Path

    from eventpub.letter import DeadLetter
    from support.kafka_node import ApacheKafka
    from support.readback import ReadRecord
    from tests.fix_kafka import MakeTopic

KEYS = 20
KILLED = -9
PLAIN = CRITICAL.replace(dead_letter=False)
POSSIBLY = PersistenceStatus.POSSIBLY_PERSISTED

# A replay in a process of its own, which may be told to die where it hurts.
REPLAY = """
import asyncio, json, os, signal, sys
from eventpub import KafkaConfig
from eventpub.deadletter import TopicSource, replay
from eventpub.deadletter.spooling.journal import Journal

url, spool, topic, journal, rate, die = json.loads(sys.argv[1])
source = spool or TopicSource(KafkaConfig.from_url(url), topic)

def dying(method, before):
    def call(*args):
        if not before:
            method(*args)
        os.kill(os.getpid(), signal.SIGKILL)
    return call

if die == "sent, not acknowledged":
    Journal.done = dying(Journal.done, before=True)
elif die == "begun, not sent":
    Journal.begin = dying(Journal.begin, before=False)
print("begun", flush=True)
report = asyncio.run(replay(source, url, journal=journal, rate=rate))
print(json.dumps([report.replayed, report.unfinished, report.stopped]))
"""


def letter(value: bytes, topic: str, **facts: Any) -> DeadLetter:
    """Return the dead letter of an event of now: a broker deletes records whose times are older than its retention."""
    return kit.letter(value, topic=topic, timestamp=time.time_ns() // 1_000_000, **facts)


def numbered(topic: str, count: int) -> list[DeadLetter]:
    """Return letters of twenty keys in turn; the values count up."""
    keys = [b"key-%d" % (number % KEYS) for number in range(count)]
    return [letter(b"%d" % number, topic, key=key) for number, key in enumerate(keys)]


def spool(path: Path, letters: list[DeadLetter]) -> Path:
    """Write *letters* into a spool."""
    with closing(Store(path, create=True)) as store:
        store.append(letters)
    return path


def start(
    kafka: ApacheKafka,
    *,
    spool: Path | None = None,
    topic: str | None = None,
    journal: Path | None = None,
    rate: float | None = None,
    die: str | None = None,
) -> subprocess.Popen[str]:
    """Start a replay in a process of its own."""
    settings = [kafka.url, spool and str(spool), topic, journal and str(journal), rate, die]
    command = [sys.executable, "-c", REPLAY, json.dumps(settings)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def kill_three_times(kafka: ApacheKafka, **place: Any) -> None:
    """Replay, kill it at a random moment, three times over; then let it come to its end."""
    for _ in range(3):
        with start(kafka, rate=400, **place) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            time.sleep(random.uniform(0.1, 1.0))
            process.kill()
        assert process.returncode == KILLED
    assert finish(kafka, **place)[1:] == [0, None]


def finish(kafka: ApacheKafka, **place: Any) -> list[Any]:
    """Replay to the end; return how many went, how many batches are left, and what stopped it."""
    with start(kafka, **place) as process:
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    found: list[Any] = json.loads(said.splitlines()[-1])
    return found


def log(kafka: ApacheKafka, topic: str) -> list[ReadRecord]:
    """Return the records of *topic*."""
    return read_topic(kafka.bootstrap_servers, topic)


def assert_once_and_in_order(kafka: ApacheKafka, topic: str, letters: list[DeadLetter]) -> None:
    """Each event once, with its id; each key's in the order of the letters."""
    records = log(kafka, topic)
    assert sorted(int(record.value or b"") for record in records) == list(range(len(letters)))
    expected = {each.record.value: (each.record.key, each.record.headers, each.record.timestamp) for each in letters}
    assert {r.value: (r.key, r.headers, r.timestamp) for r in records} == expected
    by_key = defaultdict(list)
    for record in records:
        by_key[record.key].append(int(record.value or b""))
    assert all(numbers == sorted(numbers) for numbers in by_key.values())


async def in_process(kafka: ApacheKafka, path: Path, **settings: Any) -> ReplayReport:
    """Replay a spool in this process."""
    return await replay(path, kafka.url, **settings)


# --- killed -------------------------------------------------------------------------------------


def test_a_spool_whose_replay_is_killed_three_times_is_written_once(
    kafka_node: ApacheKafka, kafka_topic: MakeTopic, tmp_path: Path
) -> None:
    """At random moments, with SIGKILL; the next run goes on."""
    topic = kafka_topic(4)
    letters = numbered(topic, 600)
    kill_three_times(kafka_node, spool=spool(tmp_path / "spool.db", letters))
    assert_once_and_in_order(kafka_node, topic, letters)


def test_a_topic_whose_replay_is_killed_three_times_is_written_once(
    kafka_node: ApacheKafka, kafka_topic: MakeTopic, tmp_path: Path
) -> None:
    """The journal is a file of its own then, and what it knows counts."""
    topic, dlq = kafka_topic(4), kafka_topic(3)
    letters = numbered(topic, 600)
    asyncio.run(fill(kafka_node, dlq, letters))
    kill_three_times(kafka_node, topic=dlq, journal=tmp_path / "journal.db")
    assert_once_and_in_order(kafka_node, topic, letters)
    source = TopicSource(KafkaConfig.from_url(kafka_node.url), dlq)
    again = asyncio.run(replay(source, kafka_node.url, journal=tmp_path / "another.db"))
    assert str(again) == "nothing to do", "the topic knows by itself"


async def fill(kafka: ApacheKafka, dlq: str, letters: list[DeadLetter]) -> None:
    """Write *letters* into a dead-letter topic."""
    async with Publisher(kafka.url, profile=PLAIN) as publisher:
        (await publisher.publish_many([headers.encode(each, dlq) for each in letters])).raise_for_failures()


@pytest.mark.parametrize("die", ["sent, not acknowledged", "begun, not sent"])
def test_a_batch_that_was_begun_is_sent_again_and_the_broker_drops_what_it_has(
    kafka_node: ApacheKafka, kafka_topic: MakeTopic, tmp_path: Path, die: str
) -> None:
    """By another process: it is known by producer id, epoch and sequence."""
    topic = kafka_topic()
    letters = numbered(topic, 50)
    path = spool(tmp_path / "spool.db", letters)
    with start(kafka_node, spool=path, die=die) as process:
        process.communicate(timeout=30)
    assert process.returncode == KILLED
    with closing(Journal(path)) as journal:
        [batch] = journal.unfinished()
    assert batch.wire.stamp.idempotent
    assert len(log(kafka_node, topic)) == (0 if die == "begun, not sent" else len(batch.letters))
    assert finish(kafka_node, spool=path) == [50, 0, None]
    assert_once_and_in_order(kafka_node, topic, letters)


def test_a_batch_that_the_broker_refuses_to_know_is_looked_for_in_the_log(
    kafka_node: ApacheKafka, kafka_topic: MakeTopic, tmp_path: Path
) -> None:
    """A later epoch of the same producer has been there: nobody can ask for it by its numbers any more."""
    topic = kafka_topic()
    letters = numbered(topic, 4)
    path = spool(tmp_path / "spool.db", letters)
    with start(kafka_node, spool=path, die="sent, not acknowledged") as process:
        process.communicate(timeout=30)
    with closing(Journal(path)) as journal:
        [batch] = journal.unfinished()
        later = batch.wire.stamp._replace(epoch=batch.wire.stamp.epoch + 1)
        asyncio.run(append(kafka_node, topic, later))
    assert finish(kafka_node, spool=path) == [4, 0, None]
    assert [record.value for record in log(kafka_node, topic)] == [b"0", b"1", b"2", b"3", b"fence"]


async def append(kafka: ApacheKafka, topic: str, stamp: Any) -> None:
    """Write one record under *stamp*."""
    client = Client(KafkaTransport(KafkaConfig(kafka.bootstrap_servers)), topic)
    await client.open()
    try:
        partition, deadline = TopicPartition(topic, 0), asyncio.get_running_loop().time() + 10
        await client.transport.ready(partition, "all")
        batch = client.transport.encode([Record(topic, b"fence", timestamp=time.time_ns() // 1_000_000)], stamp, "none")
        assert isinstance(await client.transport.produce(partition, batch, "all", deadline), Acked)
    finally:
        await client.aclose()


# --- verified, refused --------------------------------------------------------------------------


async def test_a_verification_reads_what_is_there_and_what_is_not(
    kafka_node: ApacheKafka, kafka_topic: MakeTopic, tmp_path: Path
) -> None:
    """Behind the last offset that was acknowledged before the cut, up to the end."""
    topic = kafka_topic()
    cut = Cut(0, 0, 7, 0, 1)
    present, absent = (letter(value, topic, status=POSSIBLY, cut=cut) for value in (b"present", b"absent"))
    nameless = letter(b"nameless", topic, headers=(), status=POSSIBLY, cut=cut)
    async with Publisher(kafka_node.url, profile=PLAIN) as publisher:
        for record in (Record(topic, b"before"), present.record, nameless.record):
            await publisher.publish(record)
    path = await asyncio.to_thread(spool, tmp_path / "spool.db", [present, absent, nameless])
    report = await in_process(kafka_node, path, verify=True)
    assert (report.persisted, report.replayed, report.left_out) == (2, 1, ())
    records = await asyncio.to_thread(log, kafka_node, topic)
    assert [record.value for record in records] == [b"before", b"present", b"nameless", b"absent"]


async def test_a_log_that_was_deleted_tells_nothing_of_what_is_absent(
    kafka_node: ApacheKafka, kafka_topic: MakeTopic, tmp_path: Path
) -> None:
    """The event may have been in what is gone."""
    topic = kafka_topic()
    lost = letter(b"lost", topic, status=POSSIBLY)
    async with Publisher(kafka_node.url, profile=PLAIN) as publisher:
        await publisher.publish_many([Record(topic, b"old"), Record(topic, b"new")])
    await asyncio.to_thread(delete_records, kafka_node, topic, 1)
    path = await asyncio.to_thread(spool, tmp_path / "spool.db", [lost])
    report = await in_process(kafka_node, path, verify=True)
    assert "the log was deleted up to offset 1" in report.left_out[0].text


def delete_records(kafka: ApacheKafka, topic: str, before: int) -> None:
    """Delete the records before an offset, as retention does."""
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
    for future in admin.delete_records([TopicPartition(topic, 0, before)]).values():
        future.result(10)


async def test_a_letter_that_is_too_large_stays_and_its_neighbours_go(
    kafka_node: ApacheKafka, kafka_topic: MakeTopic, tmp_path: Path
) -> None:
    """The broker says so to all of them; halving finds the one."""
    topic = kafka_topic(max_message_bytes="20000")
    letters = numbered(topic, 10)
    letters.insert(5, letter(b"x" * 30_000, topic))
    path = await asyncio.to_thread(spool, tmp_path / "spool.db", letters)
    report = await in_process(kafka_node, path)
    assert (report.replayed, [note.id for note in report.refused]) == (10, [letters[5].id])
    assert report.stopped is None
    records = await asyncio.to_thread(log, kafka_node, topic)
    assert [record.value for record in records] == [b"%d" % number for number in range(10)]
