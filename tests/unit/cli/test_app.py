"""The command line as a whole: what it teaches, what it loads, and how it fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from eventpub import cli
from support.kafka_node import ROOT
from tests.unit.cli.conftest import Call

COMMANDS = ("broker", "check", "dlq", "publish")


def test_help_names_every_command_and_shows_the_first_steps(call: Call) -> None:
    """Whoever knows nothing can begin."""
    answer = call("--help")
    assert answer.status == 0
    assert all(f" {name} " in answer.out for name in COMMANDS)
    assert "export EVENTPUB_BOOTSTRAP_SERVERS=127.0.0.1:9092" in answer.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(call: Call, name: str) -> None:
    """Each page describes every option, ends with command lines to copy, and fits 80 columns."""
    answer = call(name, "--help")
    assert answer.status == 0
    assert f"  eventpub {name} " in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80


@pytest.mark.parametrize("name", ["list", "show", "replay", "export", "purge"])
def test_every_option_of_dlq_is_described(call: Call, name: str) -> None:
    """No option stands there without a word about it."""
    rows = [line.strip("│ ") for line in call("dlq", name, "--help").out.splitlines() if line.startswith("│ --")]
    assert rows
    assert [row for row in rows if len(row.split(maxsplit=2)) < 3 and " " not in row.strip()] == []


def test_help_loads_no_command() -> None:
    """What a command needs is imported when it is called: help comes at once."""
    code = (
        "import sys; from eventpub.cli.app import run; run(['--help']);"
        "heavy = ('pydantic_settings', 'confluent_kafka', 'sqlite3', 'eventpub.cli.dlq', 'eventpub.cli.publish');"
        "print([name for name in heavy if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_a_misspelt_command_is_wrong_usage_and_gets_a_hint(call: Call) -> None:
    """Exit status 2, and the command that was meant."""
    answer = call("brokr")
    assert (answer.status, answer.out) == (2, "")
    assert "broker" in answer.err


def test_a_misspelt_option_gets_a_hint(call: Call) -> None:
    """Likewise for options."""
    answer = call("broker", "--prt", "1")
    assert answer.status == 2
    assert "--port" in answer.err


def test_settings_that_are_wrong_are_wrong_usage_all_at_once(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line each, by the names of the variables."""
    monkeypatch.setenv("EVENTPUB_SOURSE", "/me")
    answer = call("publish", "--type", "t", "--source", "/me")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.splitlines() == [
        "eventpub: EVENTPUB_SOURSE: is no setting of eventpub; did you mean EVENTPUB_SOURCE?",
        "eventpub: EVENTPUB_BOOTSTRAP_SERVERS: is not set; set it to host:9092,host:9092",
    ]


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script is there with every installation, and its libraries are not."""
    monkeypatch.setattr(cli, "find_spec", lambda name: None if name == "rich" else object())
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert str(ended.value.code).endswith("needs rich, which is not installed: pip install 'eventpub[cli]'")


def test_the_version_is_that_of_the_package(call: Call) -> None:
    """``--version`` is one line."""
    assert call("--version").out.strip().count(".") == 2


def test_it_runs_as_a_module_too_and_without_colours_in_a_pipe() -> None:
    """``python -m eventpub``; nothing in a pipe is an escape sequence."""
    command = [sys.executable, "-m", "eventpub", "--help"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "\x1b" not in ran.stdout


def test_a_reader_that_has_seen_enough_is_no_error_worth_a_traceback() -> None:
    """``eventpub ... | head`` ends quietly."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "eventpub", "broker", "--port", "0", "--json"]
    try:
        ran = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    finally:
        os.close(writing)
    assert (ran.returncode, ran.stderr) == (1, "")


@pytest.mark.parametrize(
    "command", ["broker", "publish", *(f"dlq {name}" for name in ("list", "show", "replay", "export", "purge"))]
)
def test_the_reference_page_names_every_option(call: Call, command: str) -> None:
    """Page and program agree."""
    page = (ROOT / "docs" / "reference" / "command-line.md").read_text()
    options = re.findall(r"^│ (--[a-z-]+)", call(*command.split(), "--help").out, re.MULTILINE)
    assert options
    assert [option for option in options if f"`{option}" not in page] == []
