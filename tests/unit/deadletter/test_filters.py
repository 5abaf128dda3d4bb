"""Which letters an operator means."""

from __future__ import annotations

from typing import Any

import pytest

from eventpub import ConfigurationError, PersistenceStatus
from eventpub.deadletter.replaying.filters import Filters
from eventpub.deadletter.spooling.store import StoredLetter
from eventpub.letter import Resolution
from tests.unit.deadletter.letters import FAILED_AT, letter

NOW = FAILED_AT + 60
STORED = StoredLetter(1, letter(id="a", topic="tasks", key=b"42", reason="budget", event_type="task.created"), None)


@pytest.mark.parametrize(
    "wanted,other",
    [
        ({"topics": ["other", "tasks"]}, {"topics": ["other"]}),
        ({"types": ["task.created"]}, {"types": ["task.done"]}),
        ({"reasons": ["budget"]}, {"reasons": ["rejected"]}),
        ({"statuses": [PersistenceStatus.NOT_PERSISTED]}, {"statuses": [PersistenceStatus.POSSIBLY_PERSISTED]}),
        ({"keys": [b"42"]}, {"keys": [b"4"]}),
        ({"ids": ["a"]}, {"ids": ["b"]}),
        ({"older_than": 60}, {"older_than": 61}),
        ({"newer_than": 60}, {"newer_than": 59}),
    ],
)
def test_each_filter_lets_through_what_it_names(wanted: dict[str, Any], other: dict[str, Any]) -> None:
    """And nothing else; together all have to agree."""
    assert Filters(**wanted).match(STORED, NOW)
    assert not Filters(**other).match(STORED, NOW)
    assert Filters(**{"ids": ["a"], **wanted}).match(STORED, NOW)
    assert not Filters(**{"ids": ["a"], "topics": ["tasks"], **other}).match(STORED, NOW)


def test_no_filter_lets_everything_through() -> None:
    """Also a letter without key and type."""
    assert Filters().match(StoredLetter(1, letter(key=None, event_type=None), None), NOW)
    assert not Filters(keys=[b""]).match(StoredLetter(1, letter(key=None), None), NOW)


def test_the_status_is_that_of_now() -> None:
    """After a late rejection a possibly persisted letter is not persisted."""
    doubtful = letter(status=PersistenceStatus.POSSIBLY_PERSISTED)
    rejected = Resolution(id=doubtful.id, record=doubtful.record, verdict="not persisted", at=FAILED_AT)
    safe = Filters(statuses=[PersistenceStatus.NOT_PERSISTED])
    assert not safe.match(StoredLetter(1, doubtful, None), NOW)
    assert safe.match(StoredLetter(1, doubtful, rejected), NOW)


def test_wrong_filters_are_reported_together() -> None:
    """With what to give instead."""
    wrong: dict[str, Any] = {"topics": "tasks", "statuses": ["lost"], "older_than": 2, "newer_than": 1}
    with pytest.raises(ConfigurationError) as caught:
        Filters(**wrong)
    assert [finding.setting for finding in caught.value.findings] == [
        "filters.topics",
        "filters.statuses",
        "filters.older_than",
    ]


def test_keys_are_counted_and_not_shown() -> None:
    """They may be personal data."""
    assert repr(Filters(keys=[b"secret"], topics=["tasks"])) == "Filters(topics=['tasks'], keys=<1>)"
