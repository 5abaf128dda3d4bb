"""What brokers and sockets say, in eventpub's own words."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from types import NoneType
from typing import Any

from aiokafka import errors as kafka_errors
from aiokafka.protocol.api import RequestStruct, Response

from eventpub.abc import (
    Acked,
    ProducerId,
    Rejected,
    TopicPartition,
)
from eventpub.config import Address
from eventpub.transports.kafka import errors
from eventpub.transports.kafka.answers import ClusterMetadata, ProduceAnswer, TopicMetadata
from eventpub.transports.kafka.errors import (
    AccessRefusedError,
    ConnectionFault,
    NoAnswerError,
    NotKafkaError,
)
from eventpub.transports.kafka.wire.requests import Versions

_LONGEST_WORDS = 500

HANDED_OVER = ProduceAnswer({}, 0.0)


def newest(broker: str, structs: tuple[type[RequestStruct], ...], versions: Versions) -> type[RequestStruct]:
    """Return the newest of *structs* that the broker speaks, too."""
    lowest, highest = versions.get(structs[0].API_KEY, (0, -1))
    for candidate in reversed(structs):
        if lowest <= candidate.API_VERSION <= highest:
            newest: type[RequestStruct] = candidate
            return newest
    raise AccessRefusedError(f"{broker} does not speak {structs[0].__name__.lstrip('_')}: Kafka 2.1 or later is needed")


def results_of(broker: str, topics: Iterable[Any]) -> dict[TopicPartition, Acked | Rejected]:
    """Return what a Produce answer says of each partition."""
    return {
        TopicPartition(topic, answer[0]): result_of(broker, answer) for topic, answers in topics for answer in answers
    }


def result_of(broker: str, answer: Sequence[Any]) -> Acked | Rejected:
    """Return what a Produce answer says of one partition."""
    _, code, offset, timestamp, _, *details = answer
    if code == 0:
        return Acked(broker, offset, None if timestamp < 0 else timestamp)
    record_errors, message = details or ((), None)
    return Rejected(broker, code, offset, message, tuple((i, text or "") for i, text in record_errors or ()))


def producer_id_of(broker: str, answer: Response) -> ProducerId | Rejected:
    """Return the producer id that the broker hands out, or why it does not."""
    if answer.error_code != 0:
        return Rejected(broker, answer.error_code)
    return ProducerId(answer.producer_id, answer.producer_epoch)


def controller_clock_of(answer: Response) -> float | None:
    """Return the time of the quorum's leader: it has caught up with itself just now (KIP-836)."""
    for _, partitions, _ in answer.topics or ():
        for _, code, leader, _, _, voters, *_ in partitions:
            for replica, _, _, caught_up, _ in voters or ():
                if code == 0 and replica == leader and caught_up > 0:
                    return float(caught_up) / 1000
    return None


def cluster_metadata_of(broker: str, answer: Response) -> ClusterMetadata:
    """Return a Metadata answer in our words."""
    if not answer.brokers:
        raise NoAnswerError(f"{broker} knows no broker of its cluster")
    brokers = {node: Address(host, port) for node, host, port, _ in answer.brokers}
    return ClusterMetadata(brokers, tuple(map(topic_metadata_of, answer.topics)))


def topic_metadata_of(answer: Sequence[Any]) -> TopicMetadata:
    """Return what a Metadata answer says of one topic."""
    code, topic, _, partitions = answer
    leaders = {number: None if leader < 0 else leader for _, number, leader, *_ in partitions}
    return TopicMetadata(topic, code, leaders)


def unreachable(broker: str, error: Exception, limit: float) -> ConnectionFault:
    """Tell why no connection came about."""
    match error:
        case ssl.SSLError():  # first: a certificate that is not accepted is a ValueError, too
            return errors.unreachable(broker, error, limit)
        # The end of a connection has its reason chained.
        case kafka_errors.KafkaConnectionError(__cause__=cause):
            return errors.unreachable(broker, _end_of(cause), limit)
        case kafka_errors.UnsupportedSaslMechanismError():
            return AccessRefusedError(f"{broker} does not offer sasl_mechanism {_words(error)}")
        case kafka_errors.IllegalSaslStateError():
            return AccessRefusedError(f"{broker} takes no SASL here: are port and security_protocol right?")
        # A wrong server signature (SCRAM) is a ValueError of aiokafka's.
        case kafka_errors.SaslAuthenticationFailed() | ValueError():
            return AccessRefusedError(f"{broker} refused the authentication: {_words(error)}")
    return errors.unreachable(broker, error, limit)


def forget_frames(error: BaseException) -> None:
    """Drop the tracebacks: crash reports show local variables, and aiokafka's hold the password or the token."""
    chain: list[BaseException] = []
    behind: BaseException | None = error
    while behind is not None and behind not in chain:
        behind.__traceback__ = None
        chain.append(behind)
        # Behind a fault of ours lies what a user's own function raised, and he has to find where.
        behind = None if isinstance(behind, ConnectionFault) else behind.__cause__ or behind.__context__


def _words(error: Exception) -> str:
    """Return what the broker said, on one line; it may have said nothing, or more than anybody reads."""
    said = error.args[0] if error.args else None
    return " ".join(said.split())[:_LONGEST_WORDS] if isinstance(said, str) and said else str(error)


def _end_of(cause: BaseException | None) -> BaseException:
    """Return what ended a connection that was not usable yet: known by name, hung up, or bytes that made no sense."""
    if isinstance(cause, ConnectionFault | NotKafkaError | ssl.SSLError):
        return cause
    return EOFError() if isinstance(cause, OSError | EOFError | NoneType) else NotKafkaError()


def fault_of_loss(broker: str, error: BaseException | None) -> ConnectionFault:
    """Tell why a connection ended."""
    if isinstance(error, kafka_errors.KafkaConnectionError) and error.__cause__ is not None:
        return fault_of_loss(broker, error.__cause__)
    return errors.lost(broker, error)
