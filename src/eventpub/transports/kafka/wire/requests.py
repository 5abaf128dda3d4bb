"""The requests that eventpub sends, written and shown as it wants them: no payload and no secret in a ``repr``."""

from __future__ import annotations

import struct

from aiokafka.protocol import admin as admin_api
from aiokafka.protocol import metadata as metadata_api
from aiokafka.protocol import produce as produce_api
from aiokafka.protocol import transaction as transaction_api
from aiokafka.protocol import types as kafka_types
from aiokafka.protocol.api import RequestStruct, Response

from eventpub.transports.kafka.answers import Topics

Versions = dict[int, tuple[int, int]]


_PRODUCE_HEAD = struct.Struct(">hhii")
_NAME = struct.Struct(">h")
_COUNT = struct.Struct(">i")
_BATCH = struct.Struct(">ii")


class Settled:
    """A request whose version is settled, in the clothes that aiokafka's ``send`` expects."""

    def __init__(self, struct: RequestStruct) -> None:
        self._struct = struct

    def prepare(self, _versions: Versions) -> RequestStruct:
        """Return the request as it is."""
        return self._struct


class Produce:
    """What our Produce requests do otherwise: written without copies, shown without payload."""

    API_KEY: int
    API_VERSION: int
    required_acks: int
    timeout: int
    topics: Topics

    def pieces(self) -> list[bytes]:
        """Return the request's bytes unjoined: aiokafka's way copies each batch five times."""
        pieces = [_PRODUCE_HEAD.pack(-1, self.required_acks, self.timeout, len(self.topics))]
        for topic, batches in self.topics:
            name = topic.encode()
            pieces += (_NAME.pack(len(name)), name, _COUNT.pack(len(batches)))
            for number, data in batches:
                pieces += (_BATCH.pack(number, len(data)), data)
        return pieces

    def encode(self) -> bytes:
        """Return the request's bytes."""
        return b"".join(self.pieces())

    def __repr__(self) -> str:
        sizes = ", ".join(f"{t}[{number}] {len(data)}B" for t, batches in self.topics for number, data in batches)
        return f"Produce(acks={self.required_acks}, timeout={self.timeout}, {sizes})"


class _SaslRepr:
    """Keeps passwords, tokens and proofs out of aiokafka's DEBUG lines."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


class Produce7(Produce, produce_api.ProduceRequest_v7):  # type: ignore[misc]
    """Produce 7, for brokers before Kafka 2.4."""


class Produce8(Produce, produce_api.ProduceRequest_v8):  # type: ignore[misc]
    """Produce 8 (KIP-467): its answers name the guilty records."""


class SaslAnswer0(_SaslRepr, admin_api.SaslAuthenticateResponse_v0):  # type: ignore[misc]
    """An answer without a session's lifetime."""

    session_lifetime_ms = 0


class SaslAnswer1(_SaslRepr, admin_api.SaslAuthenticateResponse_v1):  # type: ignore[misc]
    """An answer with the lifetime of the session (KIP-368)."""


class Sasl0(_SaslRepr, admin_api.SaslAuthenticateRequest_v0):  # type: ignore[misc]
    """SaslAuthenticate 0."""

    RESPONSE_TYPE = SaslAnswer0


class Sasl1(_SaslRepr, admin_api.SaslAuthenticateRequest_v1):  # type: ignore[misc]
    """SaslAuthenticate 1."""

    RESPONSE_TYPE = SaslAnswer1


_TAGS = ("tags", kafka_types.TaggedFields)
_QUORUM_REPLICAS = kafka_types.CompactArray(
    ("replica", kafka_types.Int32),
    ("log_end_offset", kafka_types.Int64),
    ("last_fetch_ms", kafka_types.Int64),
    ("last_caught_up_ms", kafka_types.Int64),
    _TAGS,
)


class QuorumAnswer1(Response):  # type: ignore[misc]
    """What DescribeQuorum says (KIP-595, KIP-836)."""

    API_KEY, API_VERSION = 55, 1
    SCHEMA = kafka_types.Schema(
        ("error_code", kafka_types.Int16),
        (
            "topics",
            kafka_types.CompactArray(
                ("topic", kafka_types.CompactString("utf-8")),
                (
                    "partitions",
                    kafka_types.CompactArray(
                        ("partition", kafka_types.Int32),
                        ("error_code", kafka_types.Int16),
                        ("leader", kafka_types.Int32),
                        ("leader_epoch", kafka_types.Int32),
                        ("high_watermark", kafka_types.Int64),
                        ("voters", _QUORUM_REPLICAS),
                        ("observers", _QUORUM_REPLICAS),
                        _TAGS,
                    ),
                ),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class DescribeQuorum1(RequestStruct):  # type: ignore[misc]
    """DescribeQuorum 1 (API 55)."""

    API_KEY, API_VERSION = 55, 1
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = QuorumAnswer1
    SCHEMA = kafka_types.Schema(
        (
            "topics",
            kafka_types.CompactArray(
                ("topic", kafka_types.CompactString("utf-8")),
                ("partitions", kafka_types.CompactArray(("partition", kafka_types.Int32), _TAGS)),
                _TAGS,
            ),
        ),
        _TAGS,
    )


PRODUCE = (Produce7, Produce8)
METADATA = (metadata_api.MetadataRequest_v4, metadata_api.MetadataRequest_v5)
INIT_PRODUCER_ID = (transaction_api.InitProducerIdRequest_v0,)
SASL = (Sasl0, Sasl1)
