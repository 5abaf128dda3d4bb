"""The screens of the guide on dead letters: each command of the page shows what the page shows."""

from __future__ import annotations

import asyncio
import doctest
import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventpub import CRITICAL, Event, EventRegistry, Publisher, PublishError
from eventpub.deadletter import DeadLetters, SpoolSink
from eventpub.testing import EmbeddedKafka
from support.kafka_node import ROOT

PAGE = ROOT / "docs" / "guides" / "dead-letters.md"
SCREEN = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
BEGINNING = r"\b[0-9a-f]{8}-[0-9a-f]{4}\b"
VARIABLE = {ID: "ID", r"\d{4}-\d\d-\d\dT[\d:]+Z": "TIME", r"\b\d+ (s|min|h|d)\b": "AGE"}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

pytestmark = pytest.mark.wire


class OrderPlaced(Event, type="order.placed", topic="orders", key="customer", registry=EventRegistry()):
    customer: str


async def a_bad_night(kafka: EmbeddedKafka, spool: Path) -> None:
    """Leave the letters that the page talks about: three of an outage, one in doubt, one that was refused."""
    profile = CRITICAL.replace(delivery_timeout=1)
    letters = DeadLetters(SpoolSink(spool))
    async with Publisher(kafka.url, source="/shop", profile=profile, dead_letters=letters) as publisher:
        await publisher.publish(OrderPlaced(customer="ann"))
        kafka.reject_next(10)
        await fail(publisher)
        kafka.reject_next(7, times=1000)
        await fail(publisher)
        kafka.forget_script()
        await asyncio.to_thread(kafka.down)
        async with asyncio.timeout(20):
            # Else a request could still be written, and be in doubt.
            while publisher.health().ready:  # noqa: ASYNC110 - health() is asked, it tells nobody
                await asyncio.sleep(0.01)
        await asyncio.gather(fail(publisher), fail(publisher), fail(publisher))
    await asyncio.to_thread(kafka.up)


async def fail(publisher: Publisher) -> None:
    """Publish an order that is not delivered."""
    with pytest.raises(PublishError):
        await publisher.publish(OrderPlaced(customer="ann"))


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    """Run a broker after a bad night."""
    with EmbeddedKafka() as kafka:
        kafka.create_topic("orders", 2)
        asyncio.run(a_bad_night(kafka, tmp_path / "orders.db"))
        yield kafka


def run(arguments: str, directory: Path, kafka: EmbeddedKafka) -> str:
    """Return what a plain terminal of 80 columns shows of ``eventpub`` with *arguments*."""
    environment = {**os.environ, "EVENTPUB_BOOTSTRAP_SERVERS": kafka.bootstrap_servers}
    environment |= {"TERM": "dumb", "COLUMNS": "80", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "eventpub", *shlex.split(arguments)]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, cwd=directory, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        try:
            said = b"".join(iter(lambda: read(ours), b""))
        finally:
            process.kill()  # it has ended, or the test's time has
    os.close(ours)
    return said.decode().replace("\r\n", "\n")


def read(terminal: int) -> bytes:
    """Return what comes next, or nothing at the end."""
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux says the end so
        return b""


def screens() -> Iterator[tuple[str, str]]:
    """Yield each command of the page that looks at letters or sends them, and what the page shows below it."""
    for screen in SCREEN.findall(PAGE.read_text()):
        command, _, shown = screen.partition("\n")
        if command.startswith("$ eventpub dlq "):
            yield command.removeprefix("$ eventpub "), shown


def alike(shown: str, said: str) -> bool:
    """Whether both say the same, but for ids, times, ages and what the page leaves out."""
    return doctest.OutputChecker().check_output(plain(shown), plain(said), FLAGS)


def plain(text: str) -> str:
    """Return *text* without what differs from run to run."""
    for pattern, name in VARIABLE.items():
        text = re.sub(pattern, name, text)
    return text


@pytest.mark.slow
def test_each_command_of_the_guide_shows_what_the_page_shows(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    """After such a night, in a terminal, from top to bottom."""
    (refused,) = re.findall(ID, run("dlq list --spool orders.db --each --reason rejected", tmp_path, kafka))
    seen = 0
    for command, shown in screens():
        said = run(re.sub(BEGINNING, refused, command), tmp_path, kafka)
        assert alike(shown, said), f"{command}: the page shows\n{shown}\nand the command says\n{said}"
        seen += 1
    assert seen >= 6
