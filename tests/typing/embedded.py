"""What type checkers see of `EmbeddedKafka`. Checked, never run."""

from typing import NoReturn, assert_type

from eventpub.testing import EmbeddedKafka


def lifecycle() -> None:
    with EmbeddedKafka(brokers=3) as kafka:
        assert_type(kafka, EmbeddedKafka)
        assert_type(kafka.url, str)
        assert_type(kafka.bootstrap_servers, str)


def verbs(kafka: EmbeddedKafka) -> None:
    assert_type(kafka.reject_next(87, times=2), None)
    assert_type(kafka.down(broker=1), None)
    assert_type(kafka.leaderless("t", 0), None)


def refused(kafka: EmbeddedKafka) -> None:
    assert_type(kafka.lose_next_ack(), NoReturn)
