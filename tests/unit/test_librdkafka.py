"""Our settings in librdkafka's words; that they lead to the same cluster is seen on Apache Kafka."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from eventpub import KafkaConfig, librdkafka
from eventpub.envelope import wall_clock

PASSWORD: dict[str, Any] = {"sasl_username": "app", "sasl_password": "secret"}


async def no_token() -> str:
    """Return a token that nobody looks at."""
    return "token"


def test_plain_text_needs_servers_and_a_name() -> None:
    """Nothing about TLS or SASL, and no log lines on stderr."""
    assert librdkafka.settings(KafkaConfig("h1,h2:9093", connect_timeout=2), "me") == {
        "bootstrap.servers": "h1:9092,h2:9093",
        "client.id": "me",
        "security.protocol": "PLAINTEXT",
        "socket.connection.setup.timeout.ms": 2000,
        "log_level": 0,
    }


def test_a_password() -> None:
    """In clear text there, because librdkafka needs it so."""
    config = KafkaConfig("h", sasl_mechanism="SCRAM-SHA-512", ssl_cafile="ca.pem", **PASSWORD)
    found = librdkafka.settings(config, "me")
    assert {name: found[name] for name in found if name.startswith(("sasl", "ssl", "security"))} == {
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": "ca.pem",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "app",
        "sasl.password": "secret",
    }


def test_a_token_is_given_by_a_function_of_librdkafkas_kind() -> None:
    """With a time when it ends, in seconds since the epoch."""
    config = KafkaConfig("h", sasl_mechanism="OAUTHBEARER", sasl_token_provider=no_token)
    token, expires = librdkafka.settings(config, "me", "a-token")["oauth_cb"](None)
    assert token == "a-token"
    assert 60 < expires - wall_clock() / 1e9 <= 3600


def test_the_systems_authorities_are_looked_for() -> None:
    """Where neither a file nor a context says which."""
    assert librdkafka.settings(KafkaConfig("h", security_protocol="SSL"), "me")["ssl.ca.location"] == "probe"


def test_a_context_that_verifies_nothing_is_taken_at_its_word() -> None:
    """It needed insecure=True to come this far."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    found = librdkafka.settings(KafkaConfig("h", ssl_context=context, insecure=True), "me")
    assert found["enable.ssl.certificate.verification"] is False
    assert found["ssl.endpoint.identification.algorithm"] == "none"


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("timeout", [0.01, 10_000])
def test_librdkafka_takes_them(mechanism: Any, timeout: float) -> None:
    """It refuses names and ranges that it does not know."""
    config = KafkaConfig("127.0.0.1:1", sasl_mechanism=mechanism, connect_timeout=timeout, **PASSWORD)
    AdminClient(librdkafka.settings(config, "me"))
