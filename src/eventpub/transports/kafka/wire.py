"""The only module that imports aiokafka: sockets, requests, answers and batches as Kafka has them.

It decides nothing. Versions: Produce 7 and 8, Metadata 4 and 5, InitProducerId 0, which
Kafka 2.1 to 4.x speak (KIP-896 took older ones away). Whatever aiokafka or a socket raises
leaves here as one of `eventpub.transports.kafka.errors`, with the cause chained.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import struct
import weakref
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from types import NoneType
from typing import Any, TypeVar

from aiokafka import codec
from aiokafka import errors as kafka_errors
from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import AIOKafkaConnection, ScramAuthenticator
from aiokafka.protocol import admin as admin_api
from aiokafka.protocol import metadata as metadata_api
from aiokafka.protocol import produce as produce_api
from aiokafka.protocol import transaction as transaction_api
from aiokafka.protocol import types as kafka_types
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from eventpub.abc import (
    Acked,
    Acks,
    Compression,
    ProducerId,
    Rejected,
    Stamp,
    TopicPartition,
    WireBatch,
)
from eventpub.config import Address, KafkaConfig, TokenProvider
from eventpub.exceptions import ConfigurationError
from eventpub.profile import as_seconds
from eventpub.record import Record
from eventpub.transports.kafka import errors
from eventpub.transports.kafka.answers import ClusterMetadata, ProduceAnswer, ProduceReply, TopicMetadata, Topics
from eventpub.transports.kafka.errors import (
    AccessRefusedError,
    ConnectionFault,
    NoAnswerError,
    NotKafkaError,
    UnreachableError,
)

_ACKS: dict[Acks, int] = {0: 0, 1: 1, "all": -1}
_CODECS: dict[Compression, int] = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
_HAS_CODEC: dict[Compression, Callable[[], bool]] = {
    "snappy": codec.has_snappy,
    "lz4": codec.has_lz4,
    "zstd": codec.has_zstd,
}
_MAGIC = 2
_UNLIMITED = 2**31 - 1  # what fits is decided before
_LARGEST_ANSWER = 64 * 1024 * 1024
"""Metadata of some 500,000 partitions; ``HTTP`` or a TLS alert read as a size are far above."""
_NO_TRANSACTION_TIMEOUT = 2**31 - 1
_SCRAM_ITERATIONS = (4096, 1_000_000)
"""RFC 7677 asks for 4,096 at least; Kafka allows its administrators 16,384 at most."""

_LONGEST_WORDS = 500
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # what else it held could end its field and begin another
_TOKEN_REFUSED = b"\x01"

T = TypeVar("T")

Versions = dict[int, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Access:
    """What every connection needs: who we are, and the opened TLS context."""

    config: KafkaConfig
    client_id: str
    tls: ssl.SSLContext | None


# --- batches ----------------------------------------------------------------------------


def check_compression(compression: Compression) -> None:
    """Refuse a codec whose library is not installed.

    Raises:
        ConfigurationError: naming the extra to install.
    """
    if compression in _HAS_CODEC and not _HAS_CODEC[compression]():
        fix = 'install "eventpub[compression]", or use gzip or none'
        raise ConfigurationError.of("compression", f"{compression} needs the package cramjam", fix)


def encode(records: Sequence[Record], stamp: Stamp, compression: Compression) -> WireBatch:
    """Encode *records* into one batch (magic 2). Their timestamps are set."""
    check_compression(compression)
    builder = DefaultRecordBatchBuilder(_MAGIC, _CODECS[compression], 0, *stamp, _UNLIMITED)
    append = builder.append
    for index, (_, value, key, headers, _, timestamp) in enumerate(records):
        append(index, timestamp, key, value, list(headers))
    return WireBatch(bytes(builder.build()), len(records), stamp)


# --- requests ---------------------------------------------------------------------------

_HEADER = struct.Struct(">ihhih")
_PRODUCE_HEAD = struct.Struct(">hhii")
_NAME = struct.Struct(">h")
_COUNT = struct.Struct(">i")
_BATCH = struct.Struct(">ii")


class _Settled:
    """A request whose version is settled, in the clothes that aiokafka's ``send`` expects."""

    def __init__(self, struct: RequestStruct) -> None:
        self._struct = struct

    def prepare(self, _versions: Versions) -> RequestStruct:
        """Return the request as it is."""
        return self._struct


class _Produce:
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


class _Produce7(_Produce, produce_api.ProduceRequest_v7):  # type: ignore[misc]
    pass


class _Produce8(_Produce, produce_api.ProduceRequest_v8):  # type: ignore[misc]
    pass


class _SaslAnswer0(_SaslRepr, admin_api.SaslAuthenticateResponse_v0):  # type: ignore[misc]
    session_lifetime_ms = 0


class _SaslAnswer1(_SaslRepr, admin_api.SaslAuthenticateResponse_v1):  # type: ignore[misc]
    pass


class _Sasl0(_SaslRepr, admin_api.SaslAuthenticateRequest_v0):  # type: ignore[misc]
    RESPONSE_TYPE = _SaslAnswer0


class _Sasl1(_SaslRepr, admin_api.SaslAuthenticateRequest_v1):  # type: ignore[misc]
    RESPONSE_TYPE = _SaslAnswer1


_TAGS = ("tags", kafka_types.TaggedFields)
_QUORUM_REPLICAS = kafka_types.CompactArray(
    ("replica", kafka_types.Int32),
    ("log_end_offset", kafka_types.Int64),
    ("last_fetch_ms", kafka_types.Int64),
    ("last_caught_up_ms", kafka_types.Int64),
    _TAGS,
)


class _QuorumAnswer1(Response):  # type: ignore[misc]
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


class _DescribeQuorum1(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION = 55, 1
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _QuorumAnswer1
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


_PRODUCE = (_Produce7, _Produce8)
_METADATA = (metadata_api.MetadataRequest_v4, metadata_api.MetadataRequest_v5)
_INIT_PRODUCER_ID = (transaction_api.InitProducerIdRequest_v0,)
_SASL = (_Sasl0, _Sasl1)


# --- connections ------------------------------------------------------------------------


class _Tokens(AbstractTokenProvider):  # type: ignore[misc]
    """The user's async function, as aiokafka asks for it."""

    def __init__(self, provide: TokenProvider) -> None:
        self._provide = provide

    async def token(self) -> str:
        """Return a fresh token; whatever the function raises may be better at the next connect."""
        try:
            token = await self._provide()
        except asyncio.CancelledError as error:
            # Only ours ends the connect; one that the function brought along would end the
            # task behind it, and with it everything that is still to be asked.
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            raise UnreachableError("sasl_token_provider was cancelled") from error
        except Exception as error:
            raise UnreachableError(f"sasl_token_provider raised {type(error).__name__}") from error
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise AccessRefusedError("sasl_token_provider must return a token: letters, digits and -._~+/= (RFC 6750)")
        return token


class _Scram(ScramAuthenticator):  # type: ignore[misc]
    """SCRAM with bounds on the work that a broker may ask for."""

    def create_salted_password(self, salt: bytes, iterations: int) -> None:
        """Derive the key; in a thread that nobody can stop, so not for hours."""
        if not _SCRAM_ITERATIONS[0] <= iterations <= _SCRAM_ITERATIONS[1]:
            raise AccessRefusedError(
                f"the broker asks for {iterations} SCRAM iterations, outside of {_SCRAM_ITERATIONS}"
            )
        super().create_salted_password(salt, iterations)


class _Socket(AIOKafkaConnection):  # type: ignore[misc]
    """aiokafka's connection, closed by abort, and with the lifetime of its SASL session kept."""

    session_lifetime = 0.0
    cause: BaseException | None = None
    _expects_none = False

    @property
    def versions(self) -> Versions:
        """What the broker said it speaks: lowest and highest version by API."""
        versions: Versions = self._versions
        return versions

    @property
    def reader(self) -> asyncio.StreamReader:
        """The way in, once connected."""
        reader: asyncio.StreamReader = self._reader
        return reader

    @property
    def writer(self) -> asyncio.StreamWriter:
        """The way out, once connected."""
        writer: asyncio.StreamWriter = self._writer
        return writer

    def send(self, request: Request, expect_response: bool = True) -> Awaitable[Response]:  # noqa: FBT001, FBT002 - aiokafka's signature
        """Write a request; return what waits for its answer."""
        if isinstance(request, admin_api.SaslAuthenticateRequest):
            return self._authenticate(request)
        if isinstance(request, admin_api.SaslHandShakeRequest):
            return self._agree(request)
        answer: Awaitable[Response] = super().send(request, expect_response)
        return answer

    def authenticator_scram(self) -> _Scram:
        """Return the client's side of SCRAM."""
        return _Scram(
            loop=self._loop,
            sasl_plain_password=self._sasl_plain_password,
            sasl_plain_username=self._sasl_plain_username,
            sasl_mechanism=self._sasl_mechanism,
        )

    async def _agree(self, request: Request) -> Response:
        answer = await super().send(request)
        if answer.error_code == kafka_errors.UnsupportedSaslMechanismError.errno:
            offered = ", ".join(answer.enabled_mechanisms)
            raise kafka_errors.UnsupportedSaslMechanismError(f"{self._sasl_mechanism}, only {offered}")
        return answer

    async def _authenticate(self, request: Request) -> Response:
        answer = await self._exchange(request)
        if self._sasl_mechanism == "OAUTHBEARER" and answer.error_code == 0 and answer.sasl_auth_bytes:
            # A token is refused in two steps (RFC 7628): a reason that has no error code, and the
            # code when we say that we heard it. aiokafka takes the first step for a welcome, and
            # Kafka then answers our metadata requests with no brokers and no error.
            answer = await self._exchange(admin_api.SaslAuthenticateRequest(_TOKEN_REFUSED))
        # aiokafka decodes the lifetime and drops it; the broker then ends the session (KIP-368).
        self.session_lifetime = max(0, answer.session_lifetime_ms) / 1000
        return answer

    async def _exchange(self, request: Request) -> Response:
        plain = request.prepare(self._versions)
        redacted = _SASL[plain.API_VERSION](plain.sasl_auth_bytes)
        return await super().send(_Settled(redacted))

    def close(self, reason: object = None, exc: BaseException | None = None) -> None:
        """Abort, and fail whatever waits for an answer."""
        # Never politely: a peer that does not read keeps a closing transport, and with it
        # the socket, for as long as there are bytes to flush.
        if self._writer is not None:
            self.cause = exc
            self._writer.transport.abort()
        super().close(reason, exc)

    async def wait_closed(self) -> None:
        """Return when the loop has closed the socket."""
        if self._closed_fut is not None:
            await asyncio.wait([self._closed_fut])

    def post(self, request: _Produce, reply: _Reply | None) -> None:
        """Write a request; *reply* learns the answer in the reader's own turn of the loop."""
        correlation, client, pieces = self._next_correlation_id(), self._client_id.encode(), request.pieces()
        size = _HEADER.size - 4 + len(client) + sum(map(len, pieces))
        header = _HEADER.pack(size, request.API_KEY, request.API_VERSION, correlation, len(client))
        if reply is not None:
            self._requests.append((correlation, request, reply))
        self._expects_none = reply is None
        # Joined, although it is a copy: `writelines` of Python 3.12 and 3.13.0 forgets to pause
        # the protocol, and `drain` would say that a full socket had taken everything.
        self._writer.write(b"".join((header, client, *pieces)))

    @staticmethod
    async def _read(connection: weakref.ref[_Socket]) -> None:
        """Read answers until the connection ends; as aiokafka's, but a frame is refused by its size."""
        socket = connection()
        reader = None if socket is None else socket.reader
        del socket  # a connection that everybody forgot must not live on because of its reader
        while reader is not None:
            (size,) = _COUNT.unpack(await reader.readexactly(_COUNT.size))
            if not _COUNT.size <= size <= _LARGEST_ANSWER:
                # Its first bytes are somebody's greeting, or it wants our memory.
                raise NotKafkaError(size)
            frame = await reader.readexactly(size)
            socket = connection()
            if socket is None:
                return
            socket._handle_frame(frame)
            del socket

    def _handle_frame(self, frame: bytes) -> None:
        if not self._requests:
            # librdkafka's mock brokers answer acks=0 requests, which Kafka never does; aiokafka
            # would end the connection over it.
            if self._expects_none:
                return
            raise NotKafkaError("an answer that nobody waits for")
        try:
            super()._handle_frame(frame)
        except Exception as error:
            raise NotKafkaError("an answer that cannot be read") from error


class _Reply:
    """Stands where aiokafka keeps a future: saves a task, a timer and a turn of the loop per request."""

    __slots__ = ("_broker", "_reply")

    def __init__(self, broker: str, reply: ProduceReply) -> None:
        self._broker = broker
        self._reply = reply

    def done(self) -> bool:
        """Whether nobody waits; late answers concern somebody too."""
        return False

    def set_result(self, response: Response) -> None:
        """Take the answer."""
        results = _results(self._broker, response.topics)
        self._reply.answered(ProduceAnswer(results, response.throttle_time_ms / 1000))

    def set_exception(self, error: BaseException) -> None:
        """Take the end of the connection."""
        self._reply.lost(_lost(self._broker, error))


class Connection:
    """One socket to one broker, versions agreed and authenticated. `connect` makes it."""

    def __init__(self, address: Address, access: Access) -> None:
        config = access.config
        self.broker = str(address)
        self.on_lost: Callable[[ConnectionFault], None] | None = None
        self._limit = as_seconds("connect_timeout", config.connect_timeout)
        patience = as_seconds("metadata_timeout", config.metadata_timeout)
        self._draining: asyncio.Task[None] | None = None
        self._socket = _Socket(
            address.host,
            address.port,
            client_id=access.client_id,
            # Ours end first: `connect` and `Contact` keep the time.
            request_timeout_ms=int(2000 * (self._limit + patience)),
            ssl_context=access.tls,
            security_protocol=config.security_protocol,
            on_close=self._on_close,
            sasl_mechanism=config.sasl_mechanism,
            sasl_plain_username=config.sasl_username,
            sasl_plain_password=config.password,
            sasl_oauth_token_provider=config.sasl_token_provider and _Tokens(config.sasl_token_provider),
        )

    async def open(self) -> None:
        """Connect, agree on versions and authenticate, all within ``connect_timeout``."""
        try:
            async with asyncio.timeout(self._limit):
                await self._socket.connect()
            self._take_over()
        except BaseException as error:
            self._socket.close()
            _forget_frames(error)
            if isinstance(error, Exception) and not isinstance(error, ConnectionFault):
                raise _unreachable(self.broker, error, self._limit) from error
            raise

    def _take_over(self) -> None:
        # The broker may have hung up in the turn in which it let us in; nobody would tell us.
        if not self._socket.connected():
            raise kafka_errors.KafkaConnectionError from self._socket.cause
        self._produce = _newest(self.broker, _PRODUCE, self._socket.versions)
        self._metadata = _newest(self.broker, _METADATA, self._socket.versions)
        self._writer = self._socket.writer
        # From the first byte on: with acks=0 "handed over" means that none is left here.
        self._writer.transport.set_write_buffer_limits(high=0)

    @property
    def usable(self) -> bool:
        """Whether a request can be written now."""
        return bool(self._socket.connected()) and not self._writer.transport.is_closing()

    @property
    def session_lifetime(self) -> float:
        """Seconds after which the broker ends the SASL session; 0 if it does not."""
        return float(self._socket.session_lifetime)

    def produce(self, topics: Topics, acks: Acks, timeout: float, reply: ProduceReply) -> None:
        """Write a Produce request. *reply* hears once; with acks=0 perhaps before this returns."""
        request = self._produce(None, _ACKS[acks], max(1, int(timeout * 1000)), topics)
        self._socket.post(request, None if acks == 0 else _Reply(self.broker, reply))
        if acks != 0:
            return
        if self._writer.transport.get_write_buffer_size() == 0:
            reply.answered(_HANDED_OVER)
        else:
            self._draining = asyncio.get_running_loop().create_task(self._drain(reply))

    async def _drain(self, reply: ProduceReply) -> None:
        try:
            await self._writer.drain()
        except OSError as error:
            reply.lost(_lost(self.broker, error))
        else:
            # An abort ends the wait without an exception, and without the bytes having left.
            lost = None if self.usable else _lost(self.broker, self._socket.cause)
            reply.lost(lost) if lost else reply.answered(_HANDED_OVER)

    async def metadata(self, topics: Sequence[str]) -> ClusterMetadata:
        """Ask where the brokers are, and for *topics*; none of them is created by asking.

        Raises:
            ConnectionFault: the connection ended first.
        """
        return await self._ask(self._metadata(list(topics), False), partial(_cluster_metadata, self.broker))

    async def init_producer_id(self) -> ProducerId | Rejected:
        """Ask for a producer id.

        Raises:
            ConnectionFault: the connection ended first.
        """
        request = _newest(self.broker, _INIT_PRODUCER_ID, self._socket.versions)
        return await self._ask(request(None, _NO_TRANSACTION_TIMEOUT), partial(_producer_id, self.broker))

    async def controller_clock(self) -> float | None:
        """Return what time it is at the active controller, in seconds since the epoch; ``None`` if it is not told.

        That is so before Kafka 3.3, without KRaft, and where this client may not DESCRIBE the cluster.

        Raises:
            ConnectionFault: the connection ended first.
        """
        lowest, highest = self._socket.versions.get(_DescribeQuorum1.API_KEY, (0, -1))
        if not lowest <= _DescribeQuorum1.API_VERSION <= highest:
            return None
        return await self._ask(_DescribeQuorum1([("__cluster_metadata", [(0, {})], {})], {}), _controller_clock)

    async def _ask(self, request: RequestStruct, read: Callable[[Response], T]) -> T:
        try:
            return read(await self._socket.send(_Settled(request)))
        except Exception as error:  # reading, too: an answer may be garbage
            raise _lost(self.broker, error) from error

    def abort(self, fault: ConnectionFault) -> None:
        """End the connection at once; pending replies hear *fault*. Not to be called from a reply."""
        self._socket.close(exc=fault)

    async def wait_closed(self) -> None:
        """Return when the socket is closed and no task of this connection is left."""
        if self._draining is not None:
            await asyncio.wait([self._draining])
        await self._socket.wait_closed()

    def _on_close(self, socket: _Socket, _reason: object) -> None:
        if self.on_lost is not None:
            self.on_lost(_lost(self.broker, socket.cause))


async def connect(address: Address, access: Access) -> Connection:
    """Return an open connection. Cancelling it leaves no socket.

    Raises:
        ConnectionFault: `UnreachableError` or `AccessRefusedError`, with the cause chained.
    """
    connection = Connection(address, access)
    await connection.open()
    return connection


# --- translation ------------------------------------------------------------------------

_HANDED_OVER = ProduceAnswer({}, 0.0)


def _newest(broker: str, structs: tuple[type[RequestStruct], ...], versions: Versions) -> type[RequestStruct]:
    """Return the newest of *structs* that the broker speaks, too."""
    lowest, highest = versions.get(structs[0].API_KEY, (0, -1))
    for candidate in reversed(structs):
        if lowest <= candidate.API_VERSION <= highest:
            newest: type[RequestStruct] = candidate
            return newest
    raise AccessRefusedError(f"{broker} does not speak {structs[0].__name__.lstrip('_')}: Kafka 2.1 or later is needed")


def _results(broker: str, topics: Iterable[Any]) -> dict[TopicPartition, Acked | Rejected]:
    return {
        TopicPartition(topic, answer[0]): _result(broker, answer) for topic, answers in topics for answer in answers
    }


def _result(broker: str, answer: Sequence[Any]) -> Acked | Rejected:
    _, code, offset, timestamp, _, *details = answer
    if code == 0:
        return Acked(broker, offset, None if timestamp < 0 else timestamp)
    record_errors, message = details or ((), None)
    return Rejected(broker, code, offset, message, tuple((i, text or "") for i, text in record_errors or ()))


def _producer_id(broker: str, answer: Response) -> ProducerId | Rejected:
    if answer.error_code != 0:
        return Rejected(broker, answer.error_code)
    return ProducerId(answer.producer_id, answer.producer_epoch)


def _controller_clock(answer: Response) -> float | None:
    """Return the time of the quorum's leader: it has caught up with itself just now (KIP-836)."""
    for _, partitions, _ in answer.topics or ():
        for _, code, leader, _, _, voters, *_ in partitions:
            for replica, _, _, caught_up, _ in voters or ():
                if code == 0 and replica == leader and caught_up > 0:
                    return float(caught_up) / 1000
    return None


def _cluster_metadata(broker: str, answer: Response) -> ClusterMetadata:
    if not answer.brokers:
        raise NoAnswerError(f"{broker} knows no broker of its cluster")
    brokers = {node: Address(host, port) for node, host, port, _ in answer.brokers}
    return ClusterMetadata(brokers, tuple(map(_topic_metadata, answer.topics)))


def _topic_metadata(answer: Sequence[Any]) -> TopicMetadata:
    code, topic, _, partitions = answer
    leaders = {number: None if leader < 0 else leader for _, number, leader, *_ in partitions}
    return TopicMetadata(topic, code, leaders)


def _unreachable(broker: str, error: Exception, limit: float) -> ConnectionFault:
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


def _forget_frames(error: BaseException) -> None:
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


def _lost(broker: str, error: BaseException | None) -> ConnectionFault:
    """Tell why a connection ended."""
    if isinstance(error, kafka_errors.KafkaConnectionError) and error.__cause__ is not None:
        return _lost(broker, error.__cause__)
    return errors.lost(broker, error)
