"""What became of one event, as users read it."""

from __future__ import annotations

import pickle

import pytest

from eventpub.delivery import Attempt, AttemptOutcome, Delivery, PersistenceStatus


@pytest.mark.parametrize(
    "delivery, line",
    [
        (Delivery("tasks", 3, 42, 1, "id", 1, 0.0041), "tasks[3]@42 persisted in 4.1 ms, 1 attempt"),
        (Delivery("tasks", 0, 0, 1, None, 3, 1.5), "tasks[0]@0 persisted in 1500.0 ms, 3 attempts"),
        (Delivery("tasks", 0, None, 1, None, 2, 0.01), "tasks[0] persisted in 10.0 ms, 2 attempts"),
        (
            Delivery("tasks", 1, None, 1, None, 1, 0.0, PersistenceStatus.POSSIBLY_PERSISTED),
            "tasks[1] handed to the socket in 0.0 ms, 1 attempt",
        ),
    ],
)
def test_a_delivery_reads_as_a_status_line(delivery: Delivery, line: str) -> None:
    """In its text and in its repr; offset 0 is an offset."""
    assert str(delivery) == line
    assert repr(delivery) == line
    assert f"{delivery}" == line


def test_a_delivery_is_persisted_unless_it_says_otherwise() -> None:
    """With acks=0 it does."""
    assert Delivery("tasks", 0, 1, 1, None, 1, 0.1).status is PersistenceStatus.PERSISTED


def test_a_delivery_is_a_value() -> None:
    """Equal, hashable, unpackable, and it travels by pickle."""
    delivery = Delivery("tasks", 3, 42, 7, "id", 1, 0.5)
    assert delivery == Delivery("tasks", 3, 42, 7, "id", 1, 0.5)
    assert len({delivery, Delivery("tasks", 3, 42, 7, "id", 1, 0.5)}) == 1
    assert pickle.loads(pickle.dumps(delivery)) == delivery
    with pytest.raises(AttributeError):
        delivery.offset = 1  # type: ignore[misc]  # frozen


@pytest.mark.parametrize(
    "attempt, line",
    [
        (Attempt(0, 0.002, "b", AttemptOutcome.ACKED), "acked after 2.0 ms"),
        (
            Attempt(0, 0.1, "b", AttemptOutcome.NOT_APPENDED, 19, "NOT_ENOUGH_REPLICAS", "said more"),
            "not appended (NOT_ENOUGH_REPLICAS) after 100.0 ms",
        ),
        (
            Attempt(0, 2, None, AttemptOutcome.IN_DOUBT, detail="TimeoutError"),
            "in doubt (TimeoutError) after 2000.0 ms",
        ),
    ],
)
def test_an_attempt_reads_as_a_clause(attempt: Attempt, line: str) -> None:
    """The protocol's name for its code, else what the socket said."""
    assert str(attempt) == line


def test_the_three_words_are_librdkafka_s() -> None:
    """Dashboards may filter by them."""
    assert [status.value for status in PersistenceStatus] == ["persisted", "not persisted", "possibly persisted"]
