"""What a publisher is pointed at."""

from __future__ import annotations

from typing import Any

import pytest

from eventpub import ConfigurationError, KafkaConfig, UsageError
from eventpub._target import shareable, transport_for
from eventpub.transports.kafka.transport import KafkaTransport
from eventpub.transports.memory import MemoryBroker, MemoryTransport


@pytest.mark.parametrize("url", ["kafka://h1:9092", "kafka://h1:9092,h2:9093", "kafka+tls://h1:9093"])
def test_kafka_by_url(url: str) -> None:
    """Both schemes, one host or several."""
    assert isinstance(transport_for(url, "me"), KafkaTransport)


def test_kafka_by_config() -> None:
    """A `KafkaConfig` says more than a URL can."""
    assert isinstance(transport_for(KafkaConfig(bootstrap_servers="h1:9092"), "me"), KafkaTransport)


def test_memory_by_url_can_be_one_broker_for_several() -> None:
    """So that a publisher's dead letters lie where its events do; other targets stay what they are."""
    assert isinstance(shareable("memory://"), MemoryBroker)
    for target in ("kafka://h1:9092", MemoryBroker(), KafkaConfig(bootstrap_servers="h1:9092")):
        assert shareable(target) is target


def test_memory_by_url_is_a_broker_each() -> None:
    """Two ``memory://`` share nothing."""
    one, other = transport_for("memory://", "me"), transport_for("memory://", "me")
    assert isinstance(one, MemoryTransport)
    assert isinstance(other, MemoryTransport)
    assert one.broker is not other.broker


def test_memory_by_broker_is_shared() -> None:
    """Each publisher gets a transport of its own to the one broker."""
    broker = MemoryBroker()
    one, other = transport_for(broker, "me"), transport_for(broker, "me")
    assert one is not other
    assert isinstance(one, MemoryTransport)
    assert one.broker is broker


def test_a_transport_is_taken_as_it_is() -> None:
    """Whatever produces and says when it is ready is a transport."""
    transport = MemoryTransport(MemoryBroker())
    assert transport_for(transport, "me") is transport


@pytest.mark.parametrize(
    "url", ["", "localhost:9092", "kafka:/h:1", "http://h:1", "memory://h", "KAFKA://h:1", "kafka://", "://h:1"]
)
def test_urls_that_name_no_target_are_refused(url: str) -> None:
    """The error says which forms there are."""
    with pytest.raises(ConfigurationError) as caught:
        transport_for(url, "me")
    assert all(finding.fix for finding in caught.value.findings)


@pytest.mark.parametrize("url", ["kafka://user:hunter2@h:9092", "kafka+tls://hunter2@h:9092", "hunter2"])
def test_credentials_in_a_url_are_refused_and_not_shown(url: str) -> None:
    """They end up in logs: the error names the place for them, and repeats nothing of the URL."""
    with pytest.raises(ConfigurationError) as caught:
        transport_for(url, "me")
    assert "hunter2" not in str(caught.value)
    assert "user" not in str(caught.value).replace("username", "")


@pytest.mark.parametrize("target", [None, 9092, b"kafka://h", ["h1:9092"], MemoryBroker, object()])
def test_other_kinds_are_refused(target: Any) -> None:
    """The error names the kind that was given and those there are."""
    with pytest.raises(UsageError, match=f"target: got {type(target).__name__}"):
        transport_for(target, "me")
