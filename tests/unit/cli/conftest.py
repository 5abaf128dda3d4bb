"""What the tests of the command line share: an environment without settings, and a way to call it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from eventpub.cli.app import run


class Answer(NamedTuple):
    """What one call of ``eventpub`` said."""

    status: int
    out: str
    err: str


Call = Callable[..., Answer]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start without variables of eventpub, in an empty directory."""
    for name in [name for name in os.environ if name.startswith("EVENTPUB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Give a function that calls ``eventpub`` in this process, its output captured as a pipe would."""

    def called(*arguments: object) -> Answer:
        try:
            status = run([str(each) for each in arguments])
        except SystemExit as ended:
            status = int(ended.code or 0)
        return Answer(status, *capsys.readouterr())

    return called
