"""The fixtures that watch every test do catch what they are for."""

from __future__ import annotations

import pytest

CONFTEST = 'pytest_plugins = ["tests.fix_leaks", "tests.fix_blocking"]'
INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
"""

LEAKED_TASK = """
import asyncio

async def test_it():
    global task
    task = asyncio.create_task(asyncio.sleep(60), name="forgotten")
"""

LEAKED_SOCKET = """
import socket

def test_it():
    global listener
    listener = socket.create_server(("127.0.0.1", 0))
"""

BLOCKING_CALL = """
import os, tempfile
import eventpub

CODE = "def write(file): os.fsync(file.fileno())"
exec(compile(CODE, eventpub.__path__[0] + "/spool.py", "exec"))

async def test_it():
    with tempfile.TemporaryFile() as file:
        write(file)
"""

BLOCKING_TEST = """
import time

async def test_it():
    time.sleep(0.001)
"""

ALL_WELL = """
import asyncio, socket

async def test_it():
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.sleep(0))
    socket.create_server(("127.0.0.1", 0)).close()
"""


def outcomes(pytester: pytest.Pytester, test: str) -> tuple[dict[str, int], str]:
    """Run one test file under the fixtures; return its counts and what was printed."""
    pytester.makeconftest(CONFTEST)
    pytester.makeini(INI)
    pytester.makepyfile(test)
    result = pytester.runpytest_subprocess("-p", "no:looptime_plugin", "-p", "no:randomly")
    return result.parseoutcomes(), result.stdout.str()


@pytest.fixture(autouse=True)
def _import_from_here(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(pytestconfig.rootpath))


@pytest.mark.parametrize("test, named", [(LEAKED_TASK, "forgotten"), (LEAKED_SOCKET, "127.0.0.1")])
def test_what_is_left_behind_fails_the_test(pytester: pytest.Pytester, test: str, named: str) -> None:
    """A leaked task and a leaked socket are errors that name them."""
    counts, printed = outcomes(pytester, test)
    assert counts == {"passed": 1, "errors": 1}
    assert named in printed


def test_a_blocking_call_of_ours_fails_the_test(pytester: pytest.Pytester) -> None:
    """An fsync that eventpub's code makes on the loop's thread raises there."""
    counts, printed = outcomes(pytester, BLOCKING_CALL)
    assert counts == {"failed": 1}
    assert "Blocking call to os.fsync" in printed


@pytest.mark.parametrize("test", [ALL_WELL, BLOCKING_TEST])
def test_nothing_else_is_an_error(pytester: pytest.Pytester, test: str) -> None:
    """A clean test passes, and the test's own code may block."""
    counts, _ = outcomes(pytester, test)
    assert counts == {"passed": 1}
