"""The guide to what was not delivered has every error, reason and code that a user can meet."""

from __future__ import annotations

import re
from typing import get_args

import pytest

import eventpub
from eventpub._rules.codes import _CODES, Action
from eventpub.exceptions import DoubtReason, UnavailableReason
from support.kafka_node import ROOT

PAGE = (ROOT / "docs" / "guides" / "not-delivered.md").read_text()
ROW = re.compile(r"^\| (-?\d+) \| ([A-Z_]+) \| (\*perhaps in the log\*: )?\S", re.MULTILINE)
HEADINGS = {
    "It passes by itself": {Action.RETRY},
    "Something has to be changed": {Action.FAIL, Action.BISECT, Action.EXCLUDE, Action.RESEND_ONCE},
    "The broker's idea of the sequence differs": {Action.NEW_EPOCH},
}
BRANCHES = {"EventPubError", "PublishError", "NotPersistedError"}


def section(heading: str) -> str:
    """Return what stands below *heading*, to the next one of any level."""
    return PAGE.partition(f"# {heading}\n")[2].partition("\n#")[0]


@pytest.mark.parametrize("heading", HEADINGS)
def test_the_codes_below_a_heading_are_those_that_are_treated_so(heading: str) -> None:
    """Number, name, and whether the answer leaves a doubt, as `eventpub._rules.codes` has them."""
    shown = {(int(number), name, bool(doubt)) for number, name, doubt in ROW.findall(section(heading))}
    known = {(code.number, code.name, code.in_doubt) for code in _CODES.values() if code.action in HEADINGS[heading]}
    assert shown == known


def test_every_action_has_a_heading() -> None:
    """So that no code can be missing from the page."""
    assert set().union(*HEADINGS.values()) == set(Action)


def test_every_error_class_is_looked_up_by_name() -> None:
    """All that are raised; the branches of the tree are not."""
    public = [getattr(eventpub, name) for name in eventpub.__all__]
    errors = {error.__name__ for error in public if isinstance(error, type) and issubclass(error, Exception)}
    assert set(re.findall(r"^\| `(\w+)` \|", section("By class"), re.MULTILINE)) == errors - BRANCHES


def test_every_reason_is_looked_up_by_name() -> None:
    """What `UnavailableError` and `PossiblyPersistedError` may say, and nothing else."""
    reasons = {*get_args(UnavailableReason), *get_args(DoubtReason)}
    assert set(re.findall(r"^\| `(\w+)` \|", section("By reason"), re.MULTILINE)) - {"reason"} == reasons
