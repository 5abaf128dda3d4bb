"""Payloads, keys, headers and secrets turn up nowhere: logs of any level, spans, metrics, dead letters' metadata, texts.

Everything that eventpub says of events that were delivered, refused and lost is kept, on Apache
Kafka with TLS and SASL, and searched for canaries. That the search finds them is tested as well.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import pickle
import sqlite3
import subprocess
import sys
import traceback
import uuid
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.instrumentation.aiokafka import AIOKafkaInstrumentor
from pydantic import Field

from eventpub import (
    CRITICAL,
    BufferFullError,
    BufferLimits,
    Delivery,
    Event,
    EventRegistry,
    EventTooLargeError,
    InvalidRecordError,
    KafkaConfig,
    Publisher,
    PublishError,
    Record,
    SerializationError,
    StartError,
    TopicAuthorizationError,
    UnavailableError,
)
from eventpub.deadletter import DeadLetters, SpoolSink, TopicSink
from support import secure_node, telemetry
from support.kafka_node import ROOT
from support.readback import create_topic, read_topic
from support.secure_node import OPEN_TOPICS, SecureKafka, token
from tests.fix_kafka import NOT_RUN, require_kafka

pytestmark = pytest.mark.kafka

USER = "canary"
PASSWORD, WRONG_PASSWORD, PASSPHRASE = "password-canary", "wrong-canary", "passphrase-canary"
PAYLOAD, KEY, HEADER = "payload-canary", "key-canary", "header-canary"
OURS = "__eventpub.errors."
IN_A_SPOOL = {"key", "value", "headers"}  # the columns that hold the original


def canaries() -> set[str]:
    """Return every text that must not turn up, also as base64 and in parts of tokens."""
    plain = {PASSWORD, WRONG_PASSWORD, PASSPHRASE, PAYLOAD, KEY, HEADER}
    header, claims, _ = token().split(".")
    return plain | {base64.b64encode(text.encode()).decode() for text in plain} | {header, claims[:20]}


class Paid(Event, type="paid", key="account", registry=EventRegistry()):
    """A model whose author says which of its fields a text may show, as pydantic has it."""

    account: str = Field(default=KEY, repr=False)
    note: Any = Field(default=PAYLOAD, repr=False)


class Ear(logging.Handler):
    """Keeps all that is said, by where it was said."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.heard: dict[str, list[str]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line with its traceback and all of its fields."""
        self.hear(f"log of {record.name.partition('.')[0]}", self.format(record), repr(vars(record)))

    def hear(self, where: str, *texts: str) -> None:
        """Take texts."""
        self.heard.setdefault(where, []).extend(texts)

    def look_at(self, *objects: object) -> None:
        """Take what an object shows of itself, and what of it travels in a pickle."""
        for each in objects:
            self.hear("texts", str(each), repr(each))
            if not isinstance(each, Publisher):
                self.hear("pickles", repr(pickle.dumps(each)))

    def fail(self, error: BaseException) -> None:
        """Take an error, what is behind it, and the crash report that shows local variables."""
        behind: BaseException | None = error
        while behind is not None:
            self.look_at(behind)
            behind = behind.__cause__ or behind.__context__
        self.hear("tracebacks", *traceback.format_exception(error))
        report = traceback.TracebackException.from_exception(error, capture_locals=True).format()
        self.hear("crash reports", *(frame for frame in report if f'"{__file__}"' not in frame))

    def found(self) -> list[tuple[str, str, str]]:
        """Return each canary that was heard, where, and in what."""
        birds = canaries()
        return [
            (where, bird, text[:2_000])
            for where, texts in self.heard.items()
            for text in texts
            for bird in birds
            if bird in text
        ]


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """Run one node that lets nobody in without proof."""
    require_kafka()
    if reason := secure_node.missing():
        pytest.skip(NOT_RUN + reason)
    with SecureKafka(tmp_path_factory.mktemp("canary")) as node:
        node.set_password(USER, PASSWORD)
        node.grant(USER, OPEN_TOPICS, prefix=True)
        yield node


@pytest.fixture
def ear() -> Iterator[Ear]:
    """Listen to every logger at DEBUG; their own levels stay as they are."""
    ear, root = Ear(), logging.getLogger()
    level = root.level
    root.addHandler(ear)
    root.setLevel(logging.DEBUG)
    logging.getLogger("asyncio").setLevel(logging.DEBUG)
    yield ear
    logging.getLogger("asyncio").setLevel(logging.NOTSET)
    root.setLevel(level)
    root.removeHandler(ear)


@pytest.fixture
async def sdk(ear: Ear) -> AsyncIterator[telemetry.Sdk]:
    """Record every span and metric, with aiokafka's own instrumentation active; what was recorded is heard at the end."""
    with telemetry.sdk() as sdk:
        sdk.trace()
        sdk.meter()
        AIOKafkaInstrumentor().instrument()
        asyncio.get_running_loop().set_debug(True)
        yield sdk
        AIOKafkaInstrumentor().uninstrument()
        hear_telemetry(ear, sdk)


def hear_telemetry(ear: Ear, sdk: telemetry.Sdk) -> None:
    """Take all that was exported."""
    ear.hear("spans", *(str(span.to_json()) for span in sdk.spans))
    ear.hear("metrics", *(str(metric.to_json()) for metric in sdk.collect().values()))


def config(kafka: SecureKafka, mechanism: str = "SCRAM-SHA-512", **settings: Any) -> KafkaConfig:
    """Return how the canary gets in."""
    if mechanism == "OAUTHBEARER":
        return kafka.config(mechanism=mechanism, **settings)
    who = {"sasl_username": USER, "sasl_password": PASSWORD}
    if mechanism == "PLAIN":  # its passwords are the node's, which are canaries as well
        who = {}
    return kafka.config(mechanism=mechanism, **(who | settings))


def with_certificate(kafka: SecureKafka) -> KafkaConfig:
    """Return how a client certificate gets in, whose key needs a passphrase."""
    key = kafka.client.key.with_suffix(".locked")
    command = [
        "openssl",
        "ec",
        "-in",
        str(kafka.client.key),
        "-aes256",
        "-passout",
        f"pass:{PASSPHRASE}",
        "-out",
        str(key),
    ]
    subprocess.run(command, check=True, capture_output=True)
    context = kafka.client_context()
    context.load_cert_chain(kafka.client.certificate, key, PASSPHRASE)
    return kafka.config("TLS", None, ssl_context=context)


def open_topic(kafka: SecureKafka, **settings: str) -> str:
    """Make a topic that the canary may write to."""
    return create_topic(kafka.bootstrap_servers, f"{OPEN_TOPICS}{uuid.uuid4()}", config=settings)


def record(topic: str, size: int = 1) -> Record:
    """Return a record full of canaries."""
    return Record(topic, PAYLOAD.encode() * size, KEY.encode(), headers=[("trace", HEADER.encode())])


async def fails(ear: Ear, publish: Awaitable[object], kind: type[BaseException]) -> None:
    """Await a failure, and look at it from all sides."""
    with pytest.raises(kind) as caught:
        await publish
    ear.fail(caught.value)


WAYS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "certificate"]


@pytest.mark.parametrize("way", WAYS)
async def test_of_what_is_delivered_and_what_is_not(kafka: SecureKafka, ear: Ear, sdk: telemetry.Sdk, way: str) -> None:
    """By each way to be let in: outcomes of every kind, and all that is said of them."""
    topic = open_topic(kafka, **{"max.message.bytes": "2000"})
    compacted = open_topic(kafka, **{"cleanup.policy": "compact"})
    closed = create_topic(kafka.bootstrap_servers, f"closed-{uuid.uuid4()}")
    target = with_certificate(kafka) if way == "certificate" else config(kafka, way)
    ear.look_at(target)
    options: Any = {"key": KEY, "headers": [("trace", HEADER.encode())]}
    async with Publisher(target, source="/canary", buffer=BufferLimits(max_records=100)) as publisher:
        ear.look_at(publisher, publisher.health())
        ear.hear("texts", repr(record(topic)))  # its pickle is the record itself
        ear.look_at(await publisher.publish(record(topic)), await publisher.publish(Paid(), topic=topic, **options))
        await fails(ear, publisher.publish(record(closed)), TopicAuthorizationError)
        await fails(ear, publisher.publish(Paid(), topic=closed, **options), TopicAuthorizationError)
        await fails(ear, publisher.publish(record(topic, 1_000)), EventTooLargeError)
        await fails(ear, publisher.publish(Record(compacted, PAYLOAD.encode())), InvalidRecordError)
        await fails(ear, publisher.publish(Paid(note=float("nan")), topic=topic), SerializationError)
        await fails(ear, publisher.publish(Paid(note={PAYLOAD: object()}), topic=topic), SerializationError)
        reports = await publisher.publish_many([record(topic), record(closed), Paid(note=object())], topic=topic)
        ear.look_at(reports)
        with pytest.raises(ExceptionGroup) as group:
            reports.raise_for_failures()
        for each in group.value.exceptions:
            ear.fail(each)
        pending = [publisher.publish_nowait(record(topic)) for _ in range(100)]
        with pytest.raises(BufferFullError) as full:
            publisher.publish_nowait(record(topic))
        ear.fail(full.value)
        ear.hear("texts", repr(pending[0]), str(publisher.health()))
        await asyncio.gather(*pending)
        ear.look_at(publisher.statistics())
    hear_telemetry(ear, sdk)
    assert ear.found() == []
    assert ear.heard.keys() >= {
        *("texts", "pickles", "tracebacks", "crash reports", "spans", "metrics"),
        *("log of eventpub", "log of aiokafka", "log of asyncio"),
    }


async def test_of_who_is_not_let_in(kafka: SecureKafka, ear: Ear, sdk: telemetry.Sdk) -> None:
    """Wrong passwords and tokens: of the start, of an event that waited, of health and of the log."""

    async def expired() -> str:
        return token(lifetime=-60)

    async def broken() -> str:
        raise RuntimeError(PASSWORD[:4])

    refused = [
        *(config(kafka, way, sasl_username=USER, sasl_password=WRONG_PASSWORD) for way in WAYS[:3]),
        config(kafka, "OAUTHBEARER", sasl_token_provider=expired),
        config(kafka, "OAUTHBEARER", sasl_token_provider=broken),
    ]
    for target in refused:
        eager = Publisher(target, connect="eager", start_timeout=1)
        await fails(ear, eager.open(), StartError)
        async with Publisher(target, profile=CRITICAL.replace(delivery_timeout=0.5)) as publisher:
            await fails(ear, publisher.publish(record("t")), UnavailableError)
            ear.look_at(publisher, publisher.health())
    hear_telemetry(ear, sdk)
    assert ear.found() == []
    assert any("broker.lost" in text and "refused the authentication" in text for text in ear.heard["log of eventpub"])


async def test_of_dead_letters(kafka: SecureKafka, ear: Ear, sdk: telemetry.Sdk, tmp_path: Path) -> None:
    """What a spool and a dead-letter topic say besides the original, and what `eventpub dlq` shows unasked."""
    closed = create_topic(kafka.bootstrap_servers, f"closed-{uuid.uuid4()}")
    spool, dead = tmp_path / "spool.db", open_topic(kafka)
    for sink in (SpoolSink(spool), TopicSink(dead)):
        letters = DeadLetters(sink)
        async with Publisher(config(kafka), source="/canary", dead_letters=letters) as publisher:
            ear.look_at(publisher)
            ear.hear("texts", repr(letters), repr(sink))
            await fails(ear, publisher.publish(record(closed)), TopicAuthorizationError)
            await fails(ear, publisher.publish(Paid(), topic=closed), TopicAuthorizationError)
            assert publisher.statistics().dead_letters_written == 2
    ear.hear("spool", *spooled(spool))
    for letter in read_topic(kafka.bootstrap_servers, dead):
        said = [(name, value) for name, value in letter.headers if name.startswith(OURS)]
        assert len(said) > 10
        ear.hear("dead-letter topic", repr(said))
    for command in (
        ["list"],
        ["list", "--each"],
        ["list", "--json"],
        ["show", *ids(spool)[:1]],
        ["replay", "--dry-run"],
    ):
        ear.hear("command line", await asyncio.to_thread(dlq, kafka, *command, "--spool", str(spool)))
    hear_telemetry(ear, sdk)
    assert ear.found() == []
    assert len(ear.heard["spool"]) == 2
    assert len(ear.heard["dead-letter topic"]) == 2
    assert all(text.strip() for text in ear.heard["command line"])
    asked = await asyncio.to_thread(dlq, kafka, "show", ids(spool)[0], "--show-values", "--spool", str(spool))
    assert PAYLOAD in asked


def spooled(path: Path) -> list[str]:
    """Return what a spool says of each letter besides the original."""
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        rows = database.execute("select * from letters").fetchall()
    return [repr({name: row[name] for name in row.keys() if name not in IN_A_SPOOL}) for row in rows]  # noqa: SIM118 - a Row iterates over values


def ids(path: Path) -> list[str]:
    """Return the ids of a spool's letters."""
    with closing(sqlite3.connect(path)) as database:
        return [row[0] for row in database.execute("select id from letters order by position")]


def dlq(kafka: SecureKafka, *arguments: str) -> str:
    """Return what ``eventpub dlq`` prints."""
    environment = {**os.environ, "EVENTPUB_BOOTSTRAP_SERVERS": kafka.bootstrap_servers}
    command = [sys.executable, "-m", "eventpub", "dlq", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=60, check=False)
    assert done.returncode in {0, 1}, done.stderr
    return done.stdout + done.stderr


async def test_the_search_finds_what_it_looks_for(kafka: SecureKafka, ear: Ear, sdk: telemetry.Sdk) -> None:
    """Each way of listening hears a canary that somebody lets out on purpose; else it would prove nothing."""
    logging.getLogger("eventpub.test").debug("a line", extra={"hidden": PASSWORD})
    try:
        json.loads(KEY)
    except ValueError as error:  # its frames are json's, and hold what was to be read
        ear.fail(error)
    ear.fail(PublishError(f"said {KEY}"))
    ear.look_at(("pickle", HEADER))
    heard = {(where, bird) for where, bird, _ in ear.found()}
    assert heard >= {
        ("log of eventpub", PASSWORD),
        ("texts", KEY),
        ("tracebacks", KEY),
        ("pickles", HEADER),
        ("crash reports", KEY),
    }
    async with Publisher(config(kafka), source=f"/{PAYLOAD}") as publisher:
        delivery = await publisher.publish(Paid(), topic=open_topic(kafka))
    assert isinstance(delivery, Delivery)
    hear_telemetry(ear, sdk)
    assert ("spans", PAYLOAD) in {(where, bird) for where, bird, _ in ear.found()}
