"""Every example runs by its one command, and does what it is there to show."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from eventpub.testing import EmbeddedKafka
from support.kafka_node import ROOT
from support.readback import read_topic
from tests.fix_kafka import require_kafka

README = (ROOT / "README.md").read_text()
QUICKSTART = (ROOT / "examples" / "quickstart.py").read_text()


def run(*command: str, warned: str = "") -> str:
    """Run Python with *command* in the repository, and return what it prints; *warned* is all that it warns of."""
    done = subprocess.run([sys.executable, *command], cwd=ROOT, text=True, capture_output=True, timeout=30, check=True)
    assert re.fullmatch(warned, done.stderr), done.stderr
    return done.stdout


def readme_quickstart() -> str:
    """Return the first Python block of the README."""
    return README.split("```python\n")[1].split("```")[0]


def without_prose(source: str) -> list[str]:
    """Return the lines of code, without docstrings, annotations of results and blank lines."""
    code = re.sub(r'\s*""".*?"""\n', "\n", source, flags=re.DOTALL).replace(" -> None", "")
    return [line for line in code.splitlines() if line.strip()]


def test_the_quickstart_publishes_an_event() -> None:
    """The first thing a new user runs prints a status line."""
    assert re.fullmatch(r"tasks\[0\]@0 persisted in \d+\.\d ms, 1 attempt\n", run("examples/quickstart.py"))


def test_the_quickstart_of_the_readme_is_the_example_in_ten_lines() -> None:
    """README and example cannot drift apart, and the README keeps it short."""
    assert without_prose(readme_quickstart()) == without_prose(QUICKSTART)
    assert len(without_prose(readme_quickstart())) <= 10


@pytest.mark.wire
def test_the_quickstart_needs_another_target_and_nothing_else_for_kafka() -> None:
    """The same lines with a kafka:// target write the event to a broker."""
    with EmbeddedKafka() as kafka:
        kafka.create_topic("tasks")
        # On a broker that lasts, critical events without dead letters are worth a line.
        script = readme_quickstart().replace("memory://", kafka.url)
        said = run("-c", script, warned=r"events of the profile 'critical' .* give dead_letters=.*\n")
        (record,) = read_topic(kafka.bootstrap_servers, "tasks")
    assert said.startswith("tasks[0]@0 persisted")
    assert record.key == b"42"
    assert dict(record.headers)["ce_type"] == b"task.created"


def test_each_outcome_is_shown_once() -> None:
    """The example of outcomes has all three words, and the errors behind two of them."""
    said = run("examples/outcomes.py")
    for expected in (
        r"tasks\[0\]@0 persisted in .*, 1 attempt\n  -> persisted",
        r"tasks\[0\]@1 persisted in .*, \d+ attempts\n  -> persisted",
        r"EventTooLargeError: .*\n  -> not in the log. Fix it",
        r"UnavailableError: .*\(budget\).*\n  -> not in the log. Publish again",
        r"PossiblyPersistedError: .*\(budget\).*\n  -> perhaps in the log, with the id [0-9a-f-]{36}",
        r"tasks\[0\] handed to the socket in .*\n  -> possibly persisted",
    ):
        assert re.search(expected, said), said


def test_functions_publish_what_they_return() -> None:
    """The example of the decorator ends with four events, and an error that brings the result along."""
    said = run("examples/decorator.py")
    assert "4 events persisted\n" in said
    assert re.search(r"EventTooLargeError, and yet the task is there: Task\(task_id='3'", said), said


def test_the_tests_of_an_example_pass() -> None:
    """A service is tested as the guide says, failures included."""
    assert re.match(
        r"\.{5} .*\n5 passed", run("-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/test_orders.py")
    )


def test_a_policy_is_asked_after_what_is_safe_only() -> None:
    """Three attempts are three attempts, what they mean is not the policy's word, and the veto comes before it."""
    said = run("examples/retry_policy.py")
    acts = re.findall(r":\n((?:  asked .*\n)*)  -> (.*)", said)
    assert [asked.count("asked") for asked, _ in acts] == [2, 3, 3, 0, 0], said
    for (_, fate), expected in zip(
        acts,
        (
            r"tasks\[0\]@0 persisted in .*, 3 attempts",
            r"not persisted: UnavailableError, reason attempts, attempts 3",
            r"possibly persisted: PossiblyPersistedError, reason attempts, attempts 3",
            r"not persisted: EventTooLargeError, reason None, attempts 1",
            r"possibly persisted: PossiblyPersistedError, reason no_retry, attempts 1",
        ),
        strict=True,
    ):
        assert re.fullmatch(expected, fate), said


@pytest.mark.wire
def test_migrating_changes_what_the_service_is_told() -> None:
    """What aiokafka and tenacity said had failed is in the log, more than once; what eventpub said is so."""
    before, after = run("examples/migrating.py").split("eventpub:\n")
    assert re.findall(r"task [23]: failed, TimeoutError +[123] in the log", before) != [], before
    assert re.findall(r"task (\d): (.*?)  +(\d) in the log", after) == [
        ("1", "published", "1"),
        ("2", "not persisted, try again later", "0"),
        ("3", "not persisted, try again later", "0"),
        ("4", "published", "1"),
    ]


def test_a_web_application_answers_with_what_became_of_its_event() -> None:
    """Three situations, three answers, and in the log what two of them may have left there."""
    said = run("examples/web_app.py", warned=r"(?s)answered 503, .*answered 202, .*")
    for expected in (
        r"ready: 200\n",
        r"all is well: 201\n  .*persisted in",
        r"no broker is there: 503, retry after 1 s\n  .*\"persistence\":\"not persisted\"",
        r"no acknowledgement comes back: 202\n  .*\"persistence\":\"possibly persisted\"",
        r"2 events are in the log\n",
    ):
        assert re.search(expected, said), said


STORY = r"""order 3: not persisted, dead letter [0-9a-f-]{36} in spool .*
5 +orders +order\.placed +budget: UnavailableError .* safe
.*5 to be replayed
.*5 replayed
.*Another client reads 8 orders:
"""


@pytest.mark.wire
def test_dead_letters_tells_its_story() -> None:
    """The broker goes, orders are kept, it comes back, they are listed and sent again, and each is there once."""
    said = run("examples/dead_letters.py")
    assert re.search(STORY.replace("\n", "(?s:.)*?"), said), said


@pytest.mark.kafka
def test_dead_letters_tells_its_story_on_apache_kafka() -> None:
    """The broker is killed with -9 and started again on the same data."""
    require_kafka()
    command = [sys.executable, "examples/dead_letters.py", "--broker", "kafka"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def worker(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the worker until it works."""
    command = [sys.executable, "examples/worker.py", *arguments]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            assert "until Ctrl-C" in process.stdout.readline()
            yield process
        finally:
            process.kill()


@pytest.mark.wire
def test_a_worker_drains_when_it_is_told_to_end() -> None:
    """After SIGTERM every job it says is done is in the log, and so is its last word."""
    with EmbeddedKafka() as kafka:
        kafka.create_topic("jobs", 4)
        kafka.create_topic("workers")
        with worker(kafka.url) as process:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)  # it works, until somebody ends it
            process.terminate()
            said, _ = process.communicate(timeout=20)
        done = int(re.findall(r"(\d+) jobs done", said)[0])
        assert done == len(read_topic(kafka.bootstrap_servers, "jobs")) > 0
        assert len(read_topic(kafka.bootstrap_servers, "workers")) == 1
    assert "closed: 1 confirmed, 0 failed, 0 unconfirmed" in said
    assert process.returncode == 0


def test_a_second_signal_hurries_a_worker() -> None:
    """With nobody to publish to it would wait for its budgets; hurried, it names what stays open."""
    with worker("kafka://127.0.0.1:1") as process:
        time.sleep(0.3)  # its first jobs are being published
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == "finishing\n"
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=10)
    assert re.search(r"closed: 0 confirmed, 0 failed, [1-8] unconfirmed", said), said
    assert said.count("stays open") == said.count(": not persisted") > 0
    assert process.returncode == 1
