"""What could not be written to Apache Kafka is kept: in a topic, and in a file when the topic is away too."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from eventpub import CRITICAL, Delivery, Event, EventRegistry, EventTooLargeError, Publisher, PublishError, Record
from eventpub.deadletter import DeadLetters, SpoolSink, TopicSink
from eventpub.deadletter.spooling.store import State, Store, StoredLetter
from support.readback import create_topic, read_topic

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from support.fault_proxy import FaultProxy
    from support.kafka_node import ApacheKafka
    from tests.fix_kafka import MakeTopic

MEBIBYTE = 2**20


class Booked(Event, type="booking.made", key="number", registry=EventRegistry()):
    """An event with a key."""

    number: str
    text: str = ""


def _read_all(path: Path) -> list[StoredLetter]:
    store, found, after = Store(path), [], 0
    while page := store.read(after=after):
        found += page
        after = page[-1].position
    store.close()
    return found


async def stored_in(path: Path) -> list[StoredLetter]:
    """Return every letter of a spool, in order."""
    return await asyncio.to_thread(_read_all, path)


async def letters_in(path: Path) -> list[tuple[bytes | None, State]]:
    """Return value and state of every letter of a spool, in order."""
    return [(stored.letter.record.value, stored.state) for stored in await stored_in(path)]


async def outcomes(*publishes: Awaitable[Delivery]) -> list[Delivery | BaseException]:
    """Return what each came to, errors too."""
    return await asyncio.gather(*publishes, return_exceptions=True)


async def test_a_refused_event_lies_in_the_dead_letter_topic_as_it_was(
    kafka_node: ApacheKafka, kafka_topic: MakeTopic
) -> None:
    """Key, value and headers byte for byte; why it is here can be read without decoding the value."""
    topic = kafka_topic(1, **{"max.message.bytes": "2000"})
    await asyncio.to_thread(create_topic, kafka_node.bootstrap_servers, f"{topic}.dlq", 2)
    async with Publisher(kafka_node.url, source="/tests", dead_letters=DeadLetters(TopicSink())) as publisher:
        event = Booked(number="7", text="x" * 3000)
        results = await outcomes(
            publisher.publish(Booked(number="7"), topic=topic),
            publisher.publish(event, topic=topic),
            publisher.publish(Booked(number="7"), topic=topic),
        )
    assert [type(result) for result in results] == [Delivery, EventTooLargeError, Delivery]
    assert isinstance(results[1], PublishError)
    assert results[1].dead_letter is not None
    assert results[1].dead_letter.state == "written"
    (kept,) = await asyncio.to_thread(read_topic, kafka_node.bootstrap_servers, f"{topic}.dlq")
    headers = dict(kept.headers)
    assert (kept.key, json.loads(kept.value or b"")) == (b"7", {"number": "7", "text": "x" * 3000})
    assert headers["ce_id"] == event.envelope.id.encode()
    told = {
        name: headers[f"__eventpub.errors.{name}"] for name in ("topic", "status", "kafka.code", "event.type", "id")
    }
    assert told == {
        "topic": topic.encode(),
        "status": b"not persisted",
        "kafka.code": b"10",
        "event.type": b"booking.made",
        "id": results[1].dead_letter.id.encode(),
    }


async def test_what_is_too_large_for_the_dead_letter_topic_falls_into_the_spool(
    kafka_node: ApacheKafka, kafka_topic: MakeTopic, tmp_path: Path
) -> None:
    """A letter is larger than its event, by what is told of it; a topic that refuses it is not the end."""
    topic = kafka_topic(1, **{"max.message.bytes": "2000"})
    small = {"max.message.bytes": "1000"}
    await asyncio.to_thread(create_topic, kafka_node.bootstrap_servers, f"{topic}.dlq", 1, config=small)
    letters = DeadLetters(TopicSink(), SpoolSink(tmp_path / "spool.db"))
    async with Publisher(kafka_node.url, source="/tests", dead_letters=letters) as publisher:
        (error,) = await outcomes(publisher.publish(Record(topic, b"x" * 3000)))
    assert isinstance(error, PublishError)
    assert error.dead_letter is not None
    assert error.dead_letter.sink == f"spool {tmp_path / 'spool.db'}"
    assert await letters_in(tmp_path / "spool.db") == [(b"x" * 3000, State.OPEN)]
    assert [stored.letter.doubtful_in for stored in await stored_in(tmp_path / "spool.db")] == [None]


async def test_ten_thousand_events_reach_the_spool_while_broker_and_topic_are_away(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic, tmp_path: Path
) -> None:
    """None is dropped, each caller is told where his is, and memory stays within the buffers' bounds."""
    topic = kafka_topic(4)
    await asyncio.to_thread(create_topic, kafka_node.bootstrap_servers, f"{topic}.dlq", 1)
    letters = DeadLetters(TopicSink(), SpoolSink(tmp_path / "spool.db"))
    quick = CRITICAL.replace(delivery_timeout=3)
    async with Publisher(kafka_proxy.url, source="/tests", profile=quick, dead_letters=letters) as publisher:
        await publisher.publish(Record(topic, b"warm"))
        away = kafka_proxy.close_port()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        results = await outcomes(
            *(publisher.publish(Record(topic, b"%d" % n + b"." * 1000, b"%d" % (n % 100))) for n in range(10_000))
        )
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        away.stop()
        assert publisher.statistics().dead_letters_written == 10_000
    states = {result.dead_letter.state for result in results if isinstance(result, PublishError) and result.dead_letter}
    assert states == {"written"}
    assert len(results) == 10_000
    assert grown < 150 * MEBIBYTE
    kept = [value.split(b".")[0] for value, _ in await letters_in(tmp_path / "spool.db") if value]
    assert sorted(map(int, kept)) == list(range(10_000))
    assert await asyncio.to_thread(read_topic, kafka_node.bootstrap_servers, f"{topic}.dlq") == []


async def test_an_ack_that_comes_late_resolves_the_letter(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic, tmp_path: Path
) -> None:
    """The caller had to be told *possibly persisted*; the spool knows better in the end."""
    topic = kafka_topic(1)
    letters = DeadLetters(SpoolSink(tmp_path / "spool.db"))
    profile = CRITICAL.replace(request_timeout=10)
    async with Publisher(kafka_proxy.url, source="/tests", profile=profile, dead_letters=letters) as publisher:
        await publisher.publish(Record(topic, b"warm"))
        held = kafka_proxy.hold_next_request()
        hasty = publisher.publish_nowait(Record(topic, b"hasty"), timeout=0.5)
        patient = publisher.publish_nowait(Record(topic, b"patient"), timeout=20)
        (error,) = await outcomes(hasty)
        assert await letters_in(tmp_path / "spool.db") == [(b"hasty", State.OPEN)]
        held.release()
        await patient
    assert isinstance(error, PublishError)
    assert await letters_in(tmp_path / "spool.db") == [(b"hasty", State.PERSISTED)]
    (stored,) = await stored_in(tmp_path / "spool.db")
    assert stored.letter.cut is not None
    assert (stored.letter.cut.partition, stored.letter.cut.after, stored.letter.cut.sequence) == (0, 0, 1)
    assert stored.resolution is not None
    assert (stored.resolution.partition, stored.resolution.offset) == (0, 1)


SPOOLING = textwrap.dedent("""
    import asyncio, sys
    from eventpub import CRITICAL, Publisher, PublishError, Record
    from eventpub.deadletter import DeadLetters, SpoolSink

    async def one(publisher, n):
        try:
            await publisher.publish(Record("nowhere", b"%d" % n, b"%d" % (n % 10)))
        except PublishError as error:
            assert error.dead_letter.state == "written"
            sys.stdout.write(f"{n}\\n")
            sys.stdout.flush()

    async def main(path):
        profile = CRITICAL.replace(delivery_timeout=0.2)
        letters = DeadLetters(SpoolSink(path))
        async with Publisher("kafka://127.0.0.1:1", profile=profile, dead_letters=letters) as publisher:
            for start in range(0, 100_000, 200):
                await asyncio.gather(*(one(publisher, n) for n in range(start, start + 200)))

    asyncio.run(main(sys.argv[1]))
""")


async def test_kill_9_loses_no_letter_whose_publish_had_returned(tmp_path: Path) -> None:
    """Three processes, one after the other into one file, each killed in the middle of its work."""
    told: set[bytes] = set()
    for round_ in range(3):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SPOOLING, str(tmp_path / "spool.db"), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        mine = [await process.stdout.readline() for _ in range(500 + 300 * round_)]
        os.kill(process.pid, signal.SIGKILL)
        mine += (await process.stdout.read()).split()
        await process.wait()
        told |= {line.strip() for line in mine}
    kept = [value for value, _ in await letters_in(tmp_path / "spool.db")]
    assert len(told) >= 1000
    assert told <= set(kept)
