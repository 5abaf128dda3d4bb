"""Whether a spool could be written by this user, here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eventpub.check import spool
from eventpub.check.finding import Grade
from eventpub.check.plan import SpoolPlace
from tests.unit.check.facts import told


def test_a_spool_that_can_be_written(tmp_path: Path) -> None:
    """One that is there, and one that would be made."""
    (tmp_path / "old.db").touch()
    assert list(spool.judge([SpoolPlace(str(tmp_path / name)) for name in ("old.db", "new.db")])) == []


def test_a_spool_without_a_directory(tmp_path: Path) -> None:
    """Nobody would make it."""
    assert told(spool.judge([SpoolPlace(str(tmp_path / "no" / "spool.db"))])) == [(Grade.WARNING, "spool")]


def test_a_spool_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system is asked what this user may do, because to root everything is open."""
    monkeypatch.setattr(os, "access", lambda path, _mode: path != tmp_path)
    assert told(spool.judge([SpoolPlace(str(tmp_path / "spool.db"))])) == [(Grade.WARNING, "spool")]
