"""What a fault means: for a bootstrap server, for a broker, and what to do about it."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest

from eventpub import KafkaConfig
from eventpub.check import connecting
from eventpub.check.connecting import Contacts
from eventpub.check.finding import Grade
from eventpub.config import Address
from eventpub.transports.kafka import errors
from eventpub.transports.kafka.errors import AccessRefusedError, ConnectionFault, NotKafkaError, UnreachableError
from tests.unit.check.facts import told

H1, H2, ELSEWHERE = Address("h1", 9092), Address("h2", 9092), Address("kafka", 9092)
CONFIG = KafkaConfig("h1,h2")


def fault(cause: BaseException) -> ConnectionFault:
    """Return what the transport makes of *cause*."""
    found = errors.unreachable("h1:9092", cause, 10)
    found.__cause__ = cause
    return found


REFUSED = fault(ConnectionRefusedError(111, "refused"))


def test_everybody_answers() -> None:
    """No finding."""
    assert list(connecting.judge(Contacts({1: H1, 2: H2}, {}, {}), CONFIG)) == []


def test_nobody_answers() -> None:
    """Each server is an error."""
    found = connecting.judge(Contacts({}, {H1: REFUSED, H2: REFUSED}, {}), CONFIG)
    assert told(found) == [(Grade.ERROR, "bootstrap-server")] * 2


def test_one_bootstrap_server_is_away() -> None:
    """The application starts all the same, from the other."""
    found = connecting.judge(Contacts({2: H2}, {H1: REFUSED}, {}), CONFIG)
    assert told(found) == [(Grade.WARNING, "bootstrap-server")]


def test_a_broker_of_the_cluster_cannot_be_used() -> None:
    """Its partitions cannot be written to: an error, once, though it is a bootstrap server too."""
    found = connecting.judge(Contacts({1: H1, 2: H2}, {H1: REFUSED}, {H1: REFUSED}), CONFIG)
    assert told(found) == [(Grade.ERROR, "broker")]


def test_an_address_that_only_the_brokers_know_is_named_as_theirs() -> None:
    """What containers advertise to the outside; its users look everywhere else."""
    (finding,) = connecting.judge(Contacts({1: ELSEWHERE}, {}, {ELSEWHERE: fault(socket.gaierror(-2, "?"))}), CONFIG)
    assert finding.subject == "broker 1 (kafka:9092)"
    assert "advertised.listeners" in finding.fix


def test_the_address_is_not_told_twice() -> None:
    """The subject has it."""
    (finding,) = connecting.judge(Contacts({}, {H1: REFUSED}, {}), CONFIG)
    assert (finding.subject, finding.reason) == ("bootstrap server h1:9092", "cannot be reached: [Errno 111] refused")


def certificate(code: int) -> ssl.SSLCertVerificationError:
    """Return OpenSSL's refusal of a certificate by its number."""
    refusal: Any = ssl.SSLCertVerificationError(1, "certificate verify failed")
    refusal.verify_code = code
    return refusal  # type: ignore[no-any-return]  # the number is set by OpenSSL only


@pytest.mark.parametrize(
    "cause, words",
    [
        (certificate(10), "renew the broker's certificate"),
        (certificate(62), "subjectAltName"),
        (certificate(19), "ssl_cafile"),
        (ssl.SSLError(1, "bad certificate"), "ssl_context"),
        (NotKafkaError(), "port and security_protocol"),
        (EOFError(), "port and security_protocol"),
        (ssl.SSLEOFError(8, "eof"), "port and security_protocol"),
        (socket.gaierror(-2, "unknown"), "host name"),
        (TimeoutError(), "firewall"),
        (ConnectionRefusedError(111, "refused"), "start the broker"),
    ],
)
def test_the_fix_follows_from_what_lies_behind(cause: BaseException, words: str) -> None:
    """The most specific cause wins."""
    (finding,) = connecting.judge(Contacts({}, {H1: fault(cause)}, {}), CONFIG)
    assert words in finding.fix


def test_a_refused_password_is_a_matter_of_credentials() -> None:
    """And a fault without a cause that is not, of the listener."""
    config = KafkaConfig("h1", sasl_mechanism="PLAIN", sasl_username="u", sasl_password="p")
    refused = Contacts({}, {H1: AccessRefusedError("h1:9092 refused the authentication")}, {})
    (finding,) = connecting.judge(refused, config)
    assert "credentials" in finding.fix
    (finding,) = connecting.judge(Contacts({}, {H1: UnreachableError("h1:9092 ended it")}, {}), config)
    assert "security_protocol" in finding.fix


def test_what_insecure_allows_is_a_warning() -> None:
    """Said at each check, as at each start."""
    config = KafkaConfig(
        "h1", "SASL_PLAINTEXT", sasl_mechanism="PLAIN", sasl_username="u", sasl_password="p", insecure=True
    )
    assert told(connecting.judge(Contacts({1: H1}, {}, {}), config)) == [(Grade.WARNING, "insecure")]


def test_a_broker_that_can_be_used_is_asked_on() -> None:
    """Not the first that there is, and none where there is none."""
    assert Contacts({1: H1, 2: H2}, {}, {H1: REFUSED}).usable == H2
    assert Contacts({1: H1}, {}, {H1: REFUSED}).usable is None
