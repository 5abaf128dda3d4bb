"""The Task API as a process of its own: uvicorn on a free port of the loopback interface."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

ROOT = Path(__file__).resolve().parents[2]

_COMMAND = [
    *(sys.executable, "-m", "uvicorn", "--factory"),
    *("--host", "127.0.0.1", "--port", "0", "--no-access-log", "--timeout-graceful-shutdown", "5"),
]
_LISTENS = re.compile(r"running on (http://\S+)")
_STARTS_WITHIN = 20.0
_ENDS_WITHIN = 15.0


class ServerFailedError(RuntimeError):
    """The Task API did not come up; the message is its log."""


class Server(NamedTuple):
    """A Task API that takes requests."""

    url: str
    pid: int


@contextmanager
def running_server(broker: str, app: str = "examples.task_api.app:create_app") -> Iterator[Server]:
    """Run the Task API against the target *broker*; on leaving, let it drain and wait until it is gone.

    Args:
        broker: the target of its publisher.
        app: another application, which reads ``TASK_API_BROKER`` too.

    Raises:
        ServerFailedError: it ended by itself, or did not listen in time.
    """
    with tempfile.TemporaryFile("a+") as log:  # appended to: both sides share one position in it
        environment = {**os.environ, "TASK_API_BROKER": broker, "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen([*_COMMAND, app], cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            yield Server(_wait_until_it_listens(process, log), process.pid)
        finally:
            _end(process)


def _wait_until_it_listens(process: subprocess.Popen[bytes], log: IO[str]) -> str:
    patience = time.monotonic() + _STARTS_WITHIN
    while process.poll() is None and time.monotonic() < patience:
        if found := _LISTENS.search(_all_of(log)):
            return found.group(1)
        time.sleep(0.02)
    raise ServerFailedError(f"the Task API did not start:\n{_all_of(log)}")


def _all_of(log: IO[str]) -> str:
    log.seek(0)
    return log.read()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_ENDS_WITHIN)
    finally:
        process.kill()  # of a process that was waited for this is nothing
        process.wait()
