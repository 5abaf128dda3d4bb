"""`make demo` from end to end: the process, its output, its exit status, and what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psutil
import pytest

from support.kafka_node import ROOT
from tests.fix_kafka import require_kafka

TOTALS = re.compile(r"(\d+) published, (\d+) confirmed, (\d+) read back")


@contextmanager
def demo(*arguments: str, before: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """Run the demo as `make` does, behind the command *before*; whatever happens, nothing of it survives the test."""
    command = [*before, sys.executable, "-m", "examples.task_api.demo", *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in {"FORCE_COLOR", "COLUMNS"}}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
        process.communicate()


def totals(output: str) -> tuple[int, ...]:
    """Return the three numbers of the last line."""
    found = TOTALS.fullmatch(output.splitlines()[-1])
    assert found, output
    return tuple(map(int, found.groups()))


@pytest.mark.wire
def test_the_demo_confirms_and_reads_back_every_event() -> None:
    """On the embedded broker the last line has three equal numbers, and the exit status is 0."""
    with demo("--broker", "embedded", "--tasks", "120") as process:
        output, _ = process.communicate(timeout=50)
    assert totals(output) == (120, 120, 120)
    assert process.returncode == 0


@pytest.mark.wire
def test_the_demo_shows_what_a_person_wants_to_see() -> None:
    """Piped, it is plain text of 80 columns with deliveries, keys, headers and latencies."""
    with demo("--tasks", "3", "--concurrency", "1") as process:
        output, _ = process.communicate(timeout=50)
    assert "\x1b" not in output
    assert max(map(len, output.splitlines())) <= 80
    assert re.search(r"201 +tasks\[\d\]@\d persisted in \d+\.\d ms, 1 attempt +Write the docs", output)
    assert re.search(r"tasks\[\d\]@\d +[0-9a-f]{7}… +[0-9a-f-]{36} +task\.created", output)
    for header in ("ce_specversion", "ce_type", "ce_source", "content-type", "ce_id", "ce_time"):
        assert header in output
    assert re.search(r"publish: .*( +\d+\.\d){3}", output)


@pytest.mark.wire
@pytest.mark.parametrize(
    "before", [(), ("sh", "-c", 'trap "" INT; exec "$@"', "sh")], ids=["as usual", "SIGINT ignored"]
)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
def test_an_interrupted_demo_leaves_no_process_behind(how: signal.Signals, before: Sequence[str]) -> None:
    """Ctrl-C or SIGTERM in the middle ends the Task API too, in seconds and without a traceback.

    Also where it is started with SIGINT ignored, as a shell does with a job in the background.
    """
    with demo("--tasks", "1000000", before=before) as process:
        assert process.stdout is not None
        said = next(line for line in process.stdout if "uvicorn, process" in line)
        (server,) = re.findall(r"process (\d+)", said)
        time.sleep(0.5)  # requests are under way
        process.send_signal(how)
        rest, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in rest
    assert not psutil.pid_exists(int(server))


@pytest.mark.kafka
def test_the_demo_runs_on_apache_kafka() -> None:
    """The same on Apache Kafka, one node that the demo starts and ends."""
    require_kafka()
    with demo("--broker", "kafka") as process:
        output, _ = process.communicate(timeout=100)
    assert totals(output) == (200, 200, 200)
    assert process.returncode == 0
