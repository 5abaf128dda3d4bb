"""The command line against a broker: its own, run as people run it, and the one of the tests."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from eventpub.cli.app import run
from eventpub.deadletter.spooling.store import Store
from eventpub.testing import EmbeddedKafka
from support import readback
from tests.unit.deadletter.letters import letter

pytestmark = pytest.mark.wire

EVENTPUB = [sys.executable, "-m", "eventpub"]
DEADLINE = 30

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start with a source and without other variables of eventpub, in an empty directory."""
    for name in [name for name in os.environ if name.startswith("EVENTPUB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("EVENTPUB_SOURCE", "/tests")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedKafka]:
    """Run a broker with a topic and its dead-letter topic, and let the environment name it."""
    with EmbeddedKafka() as embedded:
        for topic in ("tasks", "tasks.dlq"):
            embedded.create_topic(topic)
        monkeypatch.setenv("EVENTPUB_BOOTSTRAP_SERVERS", embedded.bootstrap_servers)
        yield embedded


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Give a function that calls ``eventpub`` in this process."""

    def called(*arguments: object) -> tuple[int, str, str]:
        return (run([str(each) for each in arguments]), *capsys.readouterr())

    return called


@contextlib.contextmanager
def running(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run ``eventpub`` as a process of its own, and end it."""
    process = subprocess.Popen(
        [*EVENTPUB, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def values(kafka: EmbeddedKafka, topic: str = "tasks") -> list[bytes | None]:
    """Return what another client reads."""
    return [record.value for record in readback.read_topic(kafka.bootstrap_servers, topic)]


def write(tmp_path: Path, *lines: str) -> Path:
    """Write a file of lines."""
    file = tmp_path / "lines.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# --- broker --------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_broker_runs_on_the_chosen_port_until_it_is_told_to_end(ending: signal.Signals) -> None:
    """It says where, has the topics that were asked for, and ends with 0, clients connected or not."""
    port = free_port()
    with running("broker", "--port", str(port), "--topic", "tasks:3", "--json") as process:
        assert process.stdout
        said = json.loads(process.stdout.readline())
        assert said == {"bootstrap_servers": f"127.0.0.1:{port}", "topics": {"tasks": 3}}
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE):
            assert readback.partition_count(f"127.0.0.1:{port}", "tasks") == 3
            process.send_signal(ending)
            assert process.wait(DEADLINE) == 0
        assert process.stderr
        assert process.stderr.read() == ""


def test_what_is_published_through_the_chosen_port_is_there() -> None:
    """A client asks at the door and goes on to the broker."""
    port = free_port()
    with running("broker", "--port", str(port), "--topic", "tasks") as broker:
        assert broker.stdout
        assert f"127.0.0.1:{port}" in broker.stdout.readline()
        environment = {**os.environ, "EVENTPUB_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}"}
        with running("publish", "--type", "t", "--topic", "tasks", stdin=subprocess.PIPE, env=environment) as process:
            out, err = process.communicate('{"a": 1}\n', timeout=DEADLINE)
        assert (process.returncode, err) == (0, "1 persisted\n")
        assert out.startswith("1: tasks[0]@0 persisted in ")


def test_a_port_that_is_taken_is_wrong_usage(call: Call) -> None:
    """And there is a way out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, _, err = call("broker", "--port", taken.getsockname()[1])
    assert status == 2
    assert "--port 0" in err


# --- publish -------------------------------------------------------------------------


def test_each_line_gets_its_outcome_in_order(call: Call, kafka: EmbeddedKafka, tmp_path: Path) -> None:
    """Those that are no events leave the others alone; the exit status tells that some failed."""
    file = write(tmp_path, '{"id": "1"}', "tiger", "", '{"id": "2"}')
    status, out, err = call("publish", file, "--type", "t", "--topic", "tasks", "--key-from", "id")
    assert (status, err) == (1, "2 persisted, 1 not persisted\n")
    first, second, third = out.splitlines()
    assert first.startswith("1: tasks[0]@0 persisted in ")
    assert second == "2: not persisted: the line is no JSON in UTF-8"
    assert third.startswith("4: tasks[0]@1 persisted in ")
    assert values(kafka) == [b'{"id": "1"}', b'{"id": "2"}']


def test_outcomes_as_json_hold_what_a_program_needs(call: Call, kafka: EmbeddedKafka, tmp_path: Path) -> None:
    """Where it is, or why not, and where it lies instead."""
    file = write(tmp_path, '{"to": "tasks"}', '{"to": "nowhere"}', '{"to": "no topic"}')
    status, out, _ = call("publish", file, "--type", "t", "--topic-from", "to", "--json")
    there, unknown, illegal = (json.loads(line) for line in out.splitlines())
    assert status == 1
    assert (there["status"], there["offset"], there["line"]) == ("persisted", 0, 1)
    assert (unknown["status"], unknown["error"], unknown["kafka_code"]) == ("not persisted", "UnknownTopicError", 3)
    assert (illegal["status"], illegal["error"]) == ("refused", "ConfigurationError")


def test_what_fails_is_kept_where_the_environment_says(
    call: Call, kafka: EmbeddedKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer names the dead letter, and ``dlq show`` finds it."""
    monkeypatch.setenv("EVENTPUB_DEAD_LETTER_SPOOL", str(tmp_path / "app.db"))
    _, out, _ = call("publish", write(tmp_path, '{"a": 1}'), "--type", "t", "--topic", "nowhere", "--json")
    receipt = json.loads(out)["dead_letter"]
    assert receipt["state"] == "written"
    _, shown, _ = call("dlq", "show", receipt["id"], "--spool", tmp_path / "app.db", "--show-values")
    assert "UNKNOWN_TOPIC_OR_PARTITION (3)" in shown
    assert '{"a": 1}' in shown


def test_a_profile_of_the_command_line_counts(call: Call, kafka: EmbeddedKafka, tmp_path: Path) -> None:
    """Without acknowledgements, "handed to the socket" is all that can be told, and is no failure."""
    file = write(tmp_path, "{}")
    status, out, _ = call("publish", file, "--type", "t", "--topic", "tasks", "--profile", "telemetry")
    assert status == 0
    assert "handed to the socket" in out


def test_more_lines_than_are_read_ahead_all_arrive_in_order(call: Call, kafka: EmbeddedKafka, tmp_path: Path) -> None:
    """Three thousand, of one key."""
    file = write(tmp_path, *(json.dumps({"n": number}) for number in range(3000)))
    status, out, err = call("publish", file, "--type", "t", "--topic", "tasks", "--key", "k")
    assert (status, err) == (0, "3,000 persisted\n")
    assert [int(line.partition(":")[0]) for line in out.splitlines()] == [*range(1, 3001)]
    assert [json.loads(value or b"")["n"] for value in values(kafka)] == [*range(3000)]


def test_a_line_is_answered_before_the_next_comes_and_ctrl_c_ends_well(kafka: EmbeddedKafka) -> None:
    """Stdin stays open: the first line has its outcome; an interrupt reads no more, and says so."""
    with running("publish", "--type", "t", "--topic", "tasks", stdin=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write('{"a": 1}\n')
        process.stdin.flush()
        assert process.stdout.readline().startswith("1: tasks[0]@0 persisted")
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 1
        assert "stopped before the end" in process.stderr.read()


def test_without_a_broker_it_says_what_it_waits_for_and_a_second_ctrl_c_hurries_it() -> None:
    """The line gets its outcome all the same."""
    environment = {**os.environ, "EVENTPUB_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"}
    with running("publish", "--type", "t", "--topic", "tasks", stdin=subprocess.PIPE, env=environment) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write("{}\n")
        process.stdin.flush()
        assert "cannot be reached" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline().startswith("no more lines are read")
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 1
        assert process.stdout.read().startswith("1: not persisted")


def test_lines_that_cannot_be_read_are_a_failure(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    """The error of the operating system is told; it is not taken for the end of the lines."""
    descriptor = os.open(tmp_path / "for writing", os.O_WRONLY | os.O_CREAT)
    with running("publish", "--type", "t", "--topic", "tasks", stdin=descriptor) as process:
        os.close(descriptor)
        out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out) == (1, "")
    assert err.startswith("eventpub: ")
    assert len(err.splitlines()) == 1


def test_a_terminal_sees_colours_and_a_pipe_does_not(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    """The same command, and with NO_COLOR none on a terminal either."""
    command = [*EVENTPUB, "publish", str(write(tmp_path, "tiger")), "--type", "t", "--topic", "tasks"]
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    assert "\x1b[31m1: not persisted" in on_terminal(command, environment)
    assert "\x1b[31m" not in on_terminal(command, environment | {"NO_COLOR": "1"})


def on_terminal(command: list[str], environment: dict[str, str]) -> str:
    """Return what a terminal is sent."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    told = b""
    with process, contextlib.suppress(OSError):  # Linux says EIO when the last process has closed its end
        while chunk := os.read(controller, 4096):
            told += chunk
    os.close(controller)
    return told.decode()


# --- dlq -----------------------------------------------------------------------------


def test_a_spool_is_replayed_once(call: Call, kafka: EmbeddedKafka, tmp_path: Path) -> None:
    """A dry run sends nothing; the second replay finds nothing to do."""
    spool = tmp_path / "app.db"
    with closing(Store(spool, create=True)) as store:
        store.append([letter(b"one"), letter(b"two")])
    status, out, err = call("dlq", "replay", "--spool", spool, "--dry-run")
    assert (status, err) == (0, "2 to be replayed\n")
    assert out.splitlines()[1].split() == ["2", "task.created", "for", "tasks", "would", "be", "sent"]
    assert values(kafka) == []
    status, _, err = call("dlq", "replay", "--spool", spool)
    assert (status, err) == (0, "2 replayed\n")
    assert values(kafka) == [b"one", b"two"]
    status, out, _ = call("dlq", "replay", "--spool", spool, "--json")
    assert (status, json.loads(out)["replayed"], json.loads(out)["complete"]) == (0, 0, True)
    assert values(kafka) == [b"one", b"two"]


def test_what_is_left_out_is_named_and_is_no_success(call: Call, kafka: EmbeddedKafka, tmp_path: Path) -> None:
    """Filters that leave letters unmentioned are another matter."""
    spool = tmp_path / "app.db"
    with closing(Store(spool, create=True)) as store:
        store.append([letter(b"one"), letter(b"two", doubtful_in="topic tasks.dlq")])
    status, out, err = call("dlq", "replay", "--spool", spool)
    assert (status, err) == (1, "1 replayed, 1 left out\n")
    assert "left out" in out
    assert values(kafka) == [b"one"]


def test_a_topic_is_listed_and_replayed_with_a_journal(
    call: Call, kafka: EmbeddedKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its letters were written by a publisher; without a journal nothing is sent."""
    monkeypatch.setenv("EVENTPUB_DEAD_LETTER_TOPIC", "tasks.dlq")
    call("publish", write(tmp_path, '{"a": 1}'), "--type", "t", "--topic", "later")
    _, out, _ = call("dlq", "list", "--topic", "tasks.dlq", "--json")
    assert json.loads(out)["kafka_error"] == "UNKNOWN_TOPIC_OR_PARTITION"
    assert call("dlq", "replay", "--topic", "tasks.dlq")[0] == 2
    kafka.create_topic("later")
    for replayed in ("1 replayed", "nothing to do"):
        status, _, err = call("dlq", "replay", "--topic", "tasks.dlq", "--journal", tmp_path / "journal")
        assert (status, err) == (0, f"{replayed}\n")
    assert values(kafka, "later") == [b'{"a": 1}']


def test_a_dead_letter_topic_that_is_not_there_is_a_failure(call: Call, kafka: EmbeddedKafka) -> None:
    """The message names it."""
    status, _, err = call("dlq", "list", "--topic", "none.dlq")
    assert status == 1
    assert "none.dlq" in err
