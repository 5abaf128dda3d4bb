"""The whole way, seen from outside: HTTP requests, confirmed events, and what another client reads.

::

    python -m examples.task_api.demo --broker embedded
    python -m examples.task_api.demo --broker kafka --tasks 1000 --concurrency 100

Starts a broker and the Task API (a process of its own), creates tasks over HTTP, and reads
the topic back by librdkafka. Exit status 0 says that every request was confirmed, and
that exactly the confirmed events are in the log, where the API said they are.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console

from eventpub.testing import EmbeddedKafka
from examples.task_api import report
from examples.task_api.report import TOPIC, Answer, Run
from examples.task_api.server import ServerFailedError, running_server
from support.kafka_node import ApacheKafka, KafkaUnavailableError
from support.readback import create_topic, read_topic

PARTITIONS = 4
_READY_WITHIN = 10.0
_VERBS = ("Write", "Check", "Ship", "Plan", "Read", "Fix", "Sort")
_NOUNS = ("the docs", "the release", "the budget", "the figures", "the talk")


def main(arguments: list[str] | None = None) -> int:
    """Run the demo and return its exit status."""
    options = _options(arguments)
    console = Console(highlight=False)
    # As Ctrl-C does it: asyncio.run ends its tasks first, then the broker and the API are ended. A shell
    # starts a job in the background with SIGINT ignored, and neither signal would end it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        return _run(console, options.broker, options.tasks, options.concurrency)
    except (KafkaUnavailableError, ServerFailedError) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; broker and Task API are ended")
        return 130


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make demo", description="Create tasks over HTTP, and read their events back."
    )
    parser.add_argument("--broker", choices=("embedded", "kafka"), default="embedded", help="default: %(default)s")
    parser.add_argument("--tasks", type=int, default=200, help="how many to create (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, default=10, help="requests at once (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.tasks < 1 or options.concurrency < 1:
        parser.error("--tasks and --concurrency are at least 1")
    return options


def _run(console: Console, broker: str, tasks: int, concurrency: int) -> int:
    report.say_what_starts(console, broker)
    with running_broker(broker) as bootstrap_servers, running_server(f"kafka://{bootstrap_servers}") as server:
        report.say_what_runs(console, bootstrap_servers, server)
        began = time.perf_counter()
        answers = asyncio.run(create_tasks(server.url, titles(tasks), concurrency))
        took = time.perf_counter() - began
        records = read_topic(bootstrap_servers, TOPIC)
    run = Run(answers, records, concurrency, took)
    report.print_run(console, run)
    return 0 if run.complete else 1


@contextmanager
def running_broker(kind: str) -> Iterator[str]:
    """Run a broker with an empty topic; yield its bootstrap servers."""
    if kind == "embedded":
        with EmbeddedKafka() as embedded:
            embedded.create_topic(TOPIC, PARTITIONS)
            yield embedded.bootstrap_servers
        return
    with tempfile.TemporaryDirectory(prefix="kafka-") as directory, ApacheKafka(Path(directory)) as kafka:
        create_topic(kafka.bootstrap_servers, TOPIC, PARTITIONS)
        yield kafka.bootstrap_servers


def titles(count: int) -> list[str]:
    """Return *count* things to do."""
    return [f"{_VERBS[i % len(_VERBS)]} {_NOUNS[i % len(_NOUNS)]}" for i in range(count)]


async def create_tasks(url: str, titles: list[str], concurrency: int) -> list[Answer]:
    """Create one task for each of *titles* over HTTP, *concurrency* at once; return the answers in order."""
    limits = httpx2.Limits(max_connections=concurrency)
    async with httpx2.AsyncClient(base_url=url, timeout=30, limits=limits) as client:
        await _wait_until_ready(client)
        answers: dict[int, Answer] = {}
        left = iter(enumerate(titles))
        async with asyncio.TaskGroup() as users:
            for _ in range(concurrency):
                users.create_task(_create(client, left, answers))
        return [answer for _, answer in sorted(answers.items())]


async def _wait_until_ready(client: httpx2.AsyncClient) -> None:
    patience = time.monotonic() + _READY_WITHIN
    while (answer := await client.get("/ready")).status_code != httpx2.codes.OK:
        if time.monotonic() > patience:
            raise ServerFailedError(f"the Task API is not ready: {answer.text}")
        await asyncio.sleep(0.05)


async def _create(client: httpx2.AsyncClient, left: Iterator[tuple[int, str]], answers: dict[int, Answer]) -> None:
    """Create a task, and another one, until none is left."""
    for number, title in left:
        began = time.perf_counter()
        status, body = await _post(client, title)
        answers[number] = Answer(title, status, body, time.perf_counter() - began)


async def _post(client: httpx2.AsyncClient, title: str) -> tuple[int, dict[str, Any]]:
    """Return what was answered; no answer, or one that is no JSON, is one that confirms nothing."""
    try:
        response = await client.post("/tasks", json={"title": title})
    except httpx2.HTTPError as error:
        return 0, {"title": "no answer", "detail": repr(error)}
    try:
        return response.status_code, dict(response.json())
    except ValueError:
        return response.status_code, {"title": "no JSON", "detail": response.text}


if __name__ == "__main__":
    sys.exit(main())
