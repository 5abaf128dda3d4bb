"""What librdkafka's answers and failures come to; on Apache Kafka it is asked for real."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from eventpub import KafkaConfig
from eventpub.check import asking
from eventpub.check.asking import AskingError, Inquiry
from eventpub.check.facts import Absent, Partition, Topic

UNKNOWN, DENIED, INVALID = KafkaError(3), KafkaError(29), KafkaError(17)
GIVEN_UP, LATE = KafkaError(KafkaError._DESTROY_BROKER), KafkaError(KafkaError._TIMED_OUT)


def ended(result: Any) -> Future[Any]:
    """Return a future with a result, or an error."""
    future: Future[Any] = Future()
    if isinstance(result, KafkaError):
        future.set_exception(KafkaException(result))
    else:
        future.set_result(result)
    return future


class Question:
    """Fails a few times, then answers."""

    def __init__(self, *failures: KafkaError) -> None:
        self.failures = list(failures)

    def __call__(self) -> str:
        """Answer, or fail."""
        if self.failures:
            raise KafkaException(self.failures.pop(0))
        return "answer"


def test_a_question_that_librdkafka_gave_up_is_put_again() -> None:
    """It does so when it changes connections; twice more, and no oftener."""
    assert asking._patiently(Question(GIVEN_UP, GIVEN_UP)) == "answer"
    with pytest.raises(AskingError):
        asking._patiently(Question(GIVEN_UP, GIVEN_UP, GIVEN_UP))


def test_other_trouble_is_told_at_once() -> None:
    """With librdkafka's words."""
    question = Question(LATE, LATE)
    with pytest.raises(AskingError, match="Timed out"):
        asking._patiently(question)
    assert len(question.failures) == 1


def test_a_brokers_own_error_is_an_answer() -> None:
    """Trouble on the way there is none."""
    assert asking._result(ended("answer"), 1) == "answer"
    refused = asking._result(ended(UNKNOWN), 1)
    assert isinstance(refused, KafkaError)
    with pytest.raises(KafkaException):
        asking._result(ended(LATE), 1)


def test_an_answer_that_never_comes_is_not_waited_for() -> None:
    """The time limit that librdkafka was given is not trusted."""
    with pytest.raises(AskingError, match="did not answer within 0 s"):
        asking._result(Future(), 0)


def test_settings_that_may_not_be_seen_are_none() -> None:
    """Any other error is trouble, and no lack of a right."""
    entry = SimpleNamespace(value="2")
    assert asking._values({"min.insync.replicas": entry, "x": SimpleNamespace(value=None)}) == {
        "min.insync.replicas": "2"
    }
    assert asking._values(DENIED) is None
    with pytest.raises(AskingError):
        asking._values(INVALID)


def test_a_description_becomes_facts() -> None:
    """A leader that is nowhere is none; an error keeps its code."""
    nodes = [SimpleNamespace(id=1), SimpleNamespace(id=2)]
    led = SimpleNamespace(id=0, leader=nodes[0], replicas=nodes, isr=nodes[:1])
    lost = SimpleNamespace(id=1, leader=SimpleNamespace(id=-1), replicas=nodes, isr=[])
    described: Any = SimpleNamespace(partitions=[led, lost], authorized_operations=None)
    assert asking._topic("t", described, {}) == Topic(
        "t", (Partition(0, 1, (1, 2), (1,)), Partition(1, None, (1, 2), ())), {}, None
    )
    absent = asking._topic("t", DENIED, None)
    assert isinstance(absent, Absent)
    assert absent.code == 29
    # Asked of another broker, which is behind.
    assert isinstance(asking._topic("t", described, UNKNOWN), Absent)


def test_settings_that_librdkafka_refuses_are_told() -> None:
    """A CA file that is not there, say, which our own connection refuses first."""
    config = KafkaConfig("h", ssl_cafile="/nowhere/ca.pem")
    with pytest.raises(AskingError, match="does not take these settings"):
        Inquiry(config, "me")
