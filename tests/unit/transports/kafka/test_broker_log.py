"""What the log says of brokers."""

from __future__ import annotations

import logging

import pytest

from eventpub.transports.kafka.broker_log import BrokerLog
from eventpub.transports.kafka.errors import AccessRefusedError, ConnectionFault, ConnectionLostError, UnreachableError

BROKER = "b1:9092"


def gone(number: int = 0) -> ConnectionFault:
    """Return a fault that is no other one."""
    return UnreachableError(f"{BROKER} cannot be reached: try {number}")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Keep every line."""
    caplog.set_level(logging.DEBUG, "eventpub.brokers")
    return caplog


def test_lost_and_reached_again(log: pytest.LogCaptureFixture) -> None:
    """Two lines, however often it was tried in between; the second has the duration and the tries."""
    brokers = BrokerLog()
    for number in range(30):
        brokers.lost(BROKER, gone(number), float(number))
    brokers.reached(BROKER, 42.0)
    assert [entry.getMessage() for entry in log.records] == [
        f"broker {BROKER} is lost: {BROKER} cannot be reached: try 0",
        f"broker {BROKER} is reached again after 42.0 s",
    ]
    assert [entry.levelname for entry in log.records] == ["WARNING", "INFO"]
    lost, reached = (vars(entry) for entry in log.records)
    assert (lost["line"], lost["broker"], lost["error_type"]) == ("broker.lost", BROKER, "UnreachableError")
    assert (reached["line"], reached["duration"], reached["failures"]) == ("broker.reached", 42.0, 30)


def test_a_connection_that_ends_is_no_warning(log: pytest.LogCaptureFixture) -> None:
    """Idle ones are ended every few minutes by what lies between; of one end two may tell, and one line is enough."""
    brokers, fault = BrokerLog(), ConnectionLostError(f"the connection to {BROKER} ended")
    brokers.ended(BROKER, fault, 0.0)
    brokers.ended(BROKER, fault, 0.0)
    brokers.ended(BROKER, gone(), 0.0)
    brokers.ended(BROKER, None, 0.0)
    brokers.reached(BROKER, 1.0)
    assert [(entry.levelname, entry.getMessage()) for entry in log.records] == [("INFO", str(fault))]
    assert vars(log.records[0])["line"] == "connection.ended"


def test_one_that_comes_and_goes_is_told_once_a_minute(log: pytest.LogCaptureFixture) -> None:
    """The next line counts what was kept back; a recovery without a loss is not told."""
    brokers = BrokerLog()
    for second in range(65):
        brokers.lost(BROKER, gone(second), float(second))
        brokers.reached(BROKER, second + 0.5)
    assert len(log.records) == 4
    assert log.messages[2].endswith("(and 59 more since the last such line)")


def test_a_refusal_is_an_error(log: pytest.LogCaptureFixture) -> None:
    """It does not pass by itself."""
    BrokerLog().lost(BROKER, AccessRefusedError("no"), 0.0)
    assert log.records[0].levelname == "ERROR"


def test_nobody_answers(log: pytest.LogCaptureFixture) -> None:
    """The cluster has lines of its own, and the first answer of all is one."""
    brokers = BrokerLog()
    brokers.nobody(gone(), 0.0)
    brokers.nobody(gone(), 1.0)
    brokers.somebody(3, 5.0)
    brokers.somebody(3, 6.0)
    assert [vars(entry)["line"] for entry in log.records] == ["cluster.lost", "cluster.found", "cluster.reached"]
    assert log.messages[0].startswith("no broker answers, events wait inside their budgets; the last one: ")
    assert log.messages[1:] == ["connected: a cluster of 3 brokers", "a broker answers again after 5.0 s"]


def test_a_well_broker_is_no_line(log: pytest.LogCaptureFixture) -> None:
    """A connection that comes about is what is expected."""
    BrokerLog().reached(BROKER, 0.0)
    assert log.records == []


def test_brokers_are_bounded() -> None:
    """Whatever addresses a cluster makes up."""
    brokers = BrokerLog()
    for number in range(1_000):
        brokers.lost(f"b{number}:9092", gone(number), 0.0)
    assert len(brokers._lost) == 200
