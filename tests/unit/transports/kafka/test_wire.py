"""What goes over the wire, and what is said of it in logs and errors."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import pytest
from aiokafka import codec
from aiokafka import errors as kafka_errors
from aiokafka.protocol.admin import SaslAuthenticateRequest_v1, SaslAuthenticateResponse_v1
from aiokafka.protocol.produce import ProduceRequest_v7, ProduceRequest_v8
from aiokafka.record.default_records import DefaultRecordBatch

from eventpub.abc import UNSTAMPED, Acked, Compression, Rejected, Stamp, TopicPartition
from eventpub.exceptions import ConfigurationError
from eventpub.record import Record
from eventpub.transports.kafka import wire
from eventpub.transports.kafka.answers import TopicMetadata, Topics
from eventpub.transports.kafka.errors import (
    AccessRefusedError,
    ConnectionFault,
    ConnectionLostError,
    NoAnswerError,
    NotKafkaError,
    UnreachableError,
)
from eventpub.transports.kafka.wire import requests, sockets, translation

SECRET = b"canary-payload"
TOPICS: Topics = [("t", [(0, SECRET), (3, b"")]), ("tøpic", [(1, b"x" * 100_000)])]


def record(value: bytes | None = b"v", key: bytes | None = b"k", timestamp: int = 1_700_000_000_000) -> Record:
    """Return a record as the engine hands it over: with a timestamp."""
    return Record("t", value, key, [("h", b"1"), ("h", None)], timestamp=timestamp)


# --- batches ----------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_a_batch_carries_its_records_and_its_stamp(compression: Compression) -> None:
    """Read back by another implementation's reader: bytes, order, headers with duplicates, tombstones."""
    records = [record(b"v" * 1000, timestamp=5), record(None, None, 3), record(b"", b"", 7)]
    batch = wire.encode(records, Stamp(17, 3, 42), compression)
    read = DefaultRecordBatch(batch.data)
    assert read.validate_crc()
    assert (read.producer_id, read.producer_epoch, read.base_sequence) == (17, 3, 42)
    assert (batch.count, batch.stamp, read.last_offset_delta) == (3, Stamp(17, 3, 42), 2)
    assert [(r.key, r.value, r.timestamp, r.headers) for r in DefaultRecordBatch(batch.data)] == [
        (r.key, r.value, r.timestamp, list(r.headers)) for r in records
    ]


def test_a_batch_without_producer_id_says_so() -> None:
    """-1 is what a broker takes for "not idempotent"."""
    read = DefaultRecordBatch(wire.encode([record()], UNSTAMPED, "none").data)
    assert (read.producer_id, read.producer_epoch, read.base_sequence) == (-1, -1, -1)


def test_equal_records_give_equal_bytes() -> None:
    """A batch that is encoded twice is the same batch to a broker."""
    first, second = (wire.encode([record()], Stamp(1, 0, 0), "zstd") for _ in range(2))
    assert first.data == second.data


@pytest.mark.parametrize("compression", ["snappy", "lz4", "zstd"])
def test_a_missing_codec_names_the_extra(compression: Compression, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found out when a profile is first used, not by a broker."""
    monkeypatch.setattr(codec, "cramjam", None)
    with pytest.raises(ConfigurationError, match=r"eventpub\[compression\]"):
        wire.check_compression(compression)
    with pytest.raises(ConfigurationError):
        wire.encode([record()], UNSTAMPED, compression)


def test_gzip_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the standard library."""
    monkeypatch.setattr(codec, "cramjam", None)
    wire.check_compression("gzip")
    wire.check_compression("none")


# --- requests ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ours, theirs", [(requests.Produce7, ProduceRequest_v7), (requests.Produce8, ProduceRequest_v8)]
)
def test_produce_is_written_as_aiokafka_writes_it(ours: type, theirs: type) -> None:
    """Without its copies, byte for byte the same."""
    for topics in ([], TOPICS, TOPICS[:1]):
        assert ours(None, -1, 5000, topics).encode() == theirs(None, -1, 5000, topics).encode()


def test_a_produce_request_shows_no_payload() -> None:
    """Aiokafka writes requests to its log at DEBUG."""
    shown = repr(requests.Produce8(None, -1, 5000, TOPICS))
    assert "canary" not in shown
    assert "t[0] 14B" in shown


def test_sasl_requests_and_answers_show_nothing() -> None:
    """Passwords, tokens, and what a dictionary attack on a SCRAM exchange needs."""
    assert "canary" in repr(SaslAuthenticateRequest_v1(SECRET))
    for version in (requests.Sasl0, requests.Sasl1):
        assert "canary" not in repr(version(SECRET))
    assert "canary" in repr(SaslAuthenticateResponse_v1(0, None, SECRET, 0))
    assert "canary" not in repr(requests.SaslAnswer1(0, None, SECRET, 0))
    assert "canary" not in repr(requests.SaslAnswer0(0, None, SECRET))


# --- answers ----------------------------------------------------------------------------


def test_answers_of_both_versions_are_understood() -> None:
    """Version 8 says which records are guilty; version 7 does not."""
    old = translation.results_of("b", [("t", [(0, 0, 5, -1, 0), (1, 10, -1, -1, 0)])])
    assert old == {TopicPartition("t", 0): Acked("b", 5), TopicPartition("t", 1): Rejected("b", 10)}
    new = translation.results_of(
        "b", [("t", [(0, 0, 5, 99, 0, [], None), (1, 32, -1, -1, 0, [(3, "bad"), (4, None)], "why")])]
    )
    assert new == {
        TopicPartition("t", 0): Acked("b", 5, 99),
        TopicPartition("t", 1): Rejected("b", 32, -1, "why", ((3, "bad"), (4, ""))),
    }


def test_an_offset_in_an_error_answer_is_kept() -> None:
    """It says that the batch was appended all the same."""
    result = translation.result_of("b", (0, 6, 17, -1, 0, None, None))
    assert result == Rejected("b", 6, 17)


def test_leaders_are_read_and_minus_one_is_none() -> None:
    """-1 stands for "no leader now"."""
    answer = translation.topic_metadata_of((0, "t", False, [(0, 0, 1, [1], [1], []), (5, 1, -1, [1], [], [1])]))
    assert answer == TopicMetadata("t", 0, {0: 1, 1: None})


QUORUM = (
    "0000 02 13 5f5f636c75737465725f6d65746164617461 02 00000000 0000 00000002 00000007 0000000000000064 "
    "03 00000001 0000000000000063 0000019a00000001 0000019a00000002 00 "
    "00000002 0000000000000064 0000019a00000003 0000019a0000000f 00 01 00 00 00"
)
"""DescribeQuorum 1 from voters 1 and 2, of whom 2 leads."""


def test_the_controllers_clock_is_what_it_says_of_itself() -> None:
    """The leader of the quorum has caught up with itself at the time of the answer; others some time ago."""
    answer = requests.QuorumAnswer1.decode(bytes.fromhex(QUORUM))
    assert translation.controller_clock_of(answer) == 0x19A0000000F / 1000


def test_a_clock_that_is_not_told_is_none() -> None:
    """CLUSTER_AUTHORIZATION_FAILED, without a partition or with one."""
    assert translation.controller_clock_of(requests.QuorumAnswer1.decode(bytes.fromhex("001f 01 00"))) is None
    refused = QUORUM.replace("02 00000000 0000 ", "02 00000000 001f ", 1)
    assert translation.controller_clock_of(requests.QuorumAnswer1.decode(bytes.fromhex(refused))) is None


# --- authentication ---------------------------------------------------------------------


@pytest.mark.parametrize("iterations", [1, 4095, 1_000_001, 2**31])
def test_a_broker_may_not_ask_for_any_amount_of_work(iterations: int) -> None:
    """Too little gives the password away to a dictionary; too much keeps a thread busy for hours."""
    scram = sockets.Scram(loop=None, sasl_plain_password="pw", sasl_plain_username="u", sasl_mechanism="SCRAM-SHA-256")
    with pytest.raises(AccessRefusedError, match="iterations"):
        scram.process_server_first_message(f"r={scram._nonce}x,s=c2FsdA==,i={iterations}")
    scram.process_server_first_message(f"r={scram._nonce}x,s=c2FsdA==,i=4096")


# --- translation ------------------------------------------------------------------------


def with_cause(error: Exception, cause: BaseException) -> Exception:
    """Chain a cause, as aiokafka does."""
    error.__cause__ = cause
    return error


Make = Callable[[], Exception]


@pytest.mark.parametrize(
    "make, fault",
    [
        (TimeoutError, UnreachableError),
        (lambda: ConnectionRefusedError(111, "refused"), UnreachableError),
        (lambda: OSError("no route"), UnreachableError),
        (lambda: asyncio.IncompleteReadError(b"", 4), UnreachableError),
        (lambda: kafka_errors.KafkaConnectionError("closed"), UnreachableError),
        (lambda: ssl.SSLEOFError("eof"), UnreachableError),
        (lambda: ssl.SSLCertVerificationError("unknown CA"), AccessRefusedError),
        (lambda: ssl.SSLError("wrong version number"), AccessRefusedError),
        (
            lambda: with_cause(kafka_errors.KafkaConnectionError("x"), ssl.SSLError("no certificate")),
            AccessRefusedError,
        ),
        (lambda: with_cause(kafka_errors.KafkaConnectionError("x"), ValueError("garbage")), UnreachableError),
        (lambda: with_cause(kafka_errors.KafkaConnectionError("x"), NotKafkaError()), UnreachableError),
        (lambda: kafka_errors.CorrelationIdError("out of step"), UnreachableError),
        (lambda: kafka_errors.SaslAuthenticationFailed("wrong password"), AccessRefusedError),
        (lambda: kafka_errors.UnsupportedSaslMechanismError("no SCRAM"), AccessRefusedError),
        (kafka_errors.IllegalSaslStateError, AccessRefusedError),
        (lambda: ValueError("Server sent wrong signature!"), AccessRefusedError),
        (lambda: AccessRefusedError("ours"), AccessRefusedError),
    ],
)
def test_why_a_connection_did_not_come_about(make: Make, fault: type[ConnectionFault]) -> None:
    """What will not change by waiting is told apart from what may."""
    translated = translation.unreachable("b:9092", make(), 10.0)
    assert type(translated) is fault


def test_a_certificate_that_is_not_accepted_is_no_refused_authentication() -> None:
    """It is a ValueError as well, which is what aiokafka raises for a wrong SCRAM signature."""
    translated = translation.unreachable("b:9092", ssl.SSLCertVerificationError("unknown CA"), 10.0)
    assert str(translated).startswith("b:9092: its TLS certificate is not accepted")


@pytest.mark.parametrize(
    "make, fault",
    [
        (lambda: ConnectionResetError(104, "reset"), ConnectionLostError),
        (lambda: asyncio.IncompleteReadError(b"", 4), ConnectionLostError),
        (lambda: kafka_errors.CorrelationIdError("out of step"), ConnectionLostError),
        (lambda: with_cause(kafka_errors.KafkaConnectionError("x"), NoAnswerError("late")), NoAnswerError),
        (TimeoutError, NoAnswerError),
    ],
)
def test_why_a_connection_ended(make: Make, fault: type[ConnectionFault]) -> None:
    """Our own reason for ending it comes through aiokafka's error unharmed."""
    assert type(translation.fault_of_loss("b:9092", make())) is fault
