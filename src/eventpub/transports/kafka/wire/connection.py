"""One socket to one broker: connected, agreed on versions, authenticated, and asked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from aiokafka import errors as kafka_errors
from aiokafka.protocol.api import RequestStruct, Response

from eventpub.abc import (
    Acks,
    ProducerId,
    Rejected,
)
from eventpub.config import Address, KafkaConfig
from eventpub.profile import as_seconds
from eventpub.transports.kafka.answers import ClusterMetadata, ProduceReply, Topics
from eventpub.transports.kafka.errors import (
    ConnectionFault,
)
from eventpub.transports.kafka.wire.requests import (
    INIT_PRODUCER_ID,
    METADATA,
    PRODUCE,
    DescribeQuorum1,
    Settled,
)
from eventpub.transports.kafka.wire.sockets import ProduceAnswered, Socket, Tokens
from eventpub.transports.kafka.wire.translation import (
    HANDED_OVER,
    cluster_metadata_of,
    controller_clock_of,
    fault_of_loss,
    forget_frames,
    newest,
    producer_id_of,
    unreachable,
)

ACKS: dict[Acks, int] = {0: 0, 1: 1, "all": -1}
_NO_TRANSACTION_TIMEOUT = 2**31 - 1


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Access:
    """What every connection needs: who we are, and the opened TLS context."""

    config: KafkaConfig
    client_id: str
    tls: ssl.SSLContext | None


class Connection:
    """One socket to one broker, versions agreed and authenticated. `connect` makes it."""

    def __init__(self, address: Address, access: Access) -> None:
        config = access.config
        self.broker = str(address)
        self.on_lost: Callable[[ConnectionFault], None] | None = None
        self._limit = as_seconds("connect_timeout", config.connect_timeout)
        patience = as_seconds("metadata_timeout", config.metadata_timeout)
        self._draining: asyncio.Task[None] | None = None
        self._socket = Socket(
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
            sasl_oauth_token_provider=config.sasl_token_provider and Tokens(config.sasl_token_provider),
        )

    async def open(self) -> None:
        """Connect, agree on versions and authenticate, all within ``connect_timeout``."""
        try:
            async with asyncio.timeout(self._limit):
                await self._socket.connect()
            self._take_over()
        except BaseException as error:
            self._socket.close()
            forget_frames(error)
            if isinstance(error, Exception) and not isinstance(error, ConnectionFault):
                raise unreachable(self.broker, error, self._limit) from error
            raise

    def _take_over(self) -> None:
        # The broker may have hung up in the turn in which it let us in; nobody would tell us.
        if not self._socket.connected():
            raise kafka_errors.KafkaConnectionError from self._socket.cause
        self._produce = newest(self.broker, PRODUCE, self._socket.versions)
        self._metadata = newest(self.broker, METADATA, self._socket.versions)
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
        request = self._produce(None, ACKS[acks], max(1, int(timeout * 1000)), topics)
        self._socket.post(request, None if acks == 0 else ProduceAnswered(self.broker, reply))
        if acks != 0:
            return
        if self._writer.transport.get_write_buffer_size() == 0:
            reply.answered(HANDED_OVER)
        else:
            self._draining = asyncio.get_running_loop().create_task(self._drain(reply))

    async def _drain(self, reply: ProduceReply) -> None:
        try:
            await self._writer.drain()
        except OSError as error:
            reply.lost(fault_of_loss(self.broker, error))
        else:
            # An abort ends the wait without an exception, and without the bytes having left.
            lost = None if self.usable else fault_of_loss(self.broker, self._socket.cause)
            reply.lost(lost) if lost else reply.answered(HANDED_OVER)

    async def metadata(self, topics: Sequence[str]) -> ClusterMetadata:
        """Ask where the brokers are, and for *topics*; none of them is created by asking.

        Raises:
            ConnectionFault: the connection ended first.
        """
        return await self._ask(self._metadata(list(topics), False), partial(cluster_metadata_of, self.broker))

    async def init_producer_id(self) -> ProducerId | Rejected:
        """Ask for a producer id.

        Raises:
            ConnectionFault: the connection ended first.
        """
        request = newest(self.broker, INIT_PRODUCER_ID, self._socket.versions)
        return await self._ask(request(None, _NO_TRANSACTION_TIMEOUT), partial(producer_id_of, self.broker))

    async def controller_clock(self) -> float | None:
        """Return what time it is at the active controller, in seconds since the epoch; ``None`` if it is not told.

        That is so before Kafka 3.3, without KRaft, and where this client may not DESCRIBE the cluster.

        Raises:
            ConnectionFault: the connection ended first.
        """
        lowest, highest = self._socket.versions.get(DescribeQuorum1.API_KEY, (0, -1))
        if not lowest <= DescribeQuorum1.API_VERSION <= highest:
            return None
        return await self._ask(DescribeQuorum1([("__cluster_metadata", [(0, {})], {})], {}), controller_clock_of)

    async def _ask(self, request: RequestStruct, read: Callable[[Response], T]) -> T:
        try:
            return read(await self._socket.send(Settled(request)))
        except Exception as error:  # reading, too: an answer may be garbage
            raise fault_of_loss(self.broker, error) from error

    def abort(self, fault: ConnectionFault) -> None:
        """End the connection at once; pending replies hear *fault*. Not to be called from a reply."""
        self._socket.close(exc=fault)

    async def wait_closed(self) -> None:
        """Return when the socket is closed and no task of this connection is left."""
        if self._draining is not None:
            await asyncio.wait([self._draining])
        await self._socket.wait_closed()

    def _on_close(self, socket: Socket, _reason: object) -> None:
        if self.on_lost is not None:
            self.on_lost(fault_of_loss(self.broker, socket.cause))


async def connect(address: Address, access: Access) -> Connection:
    """Return an open connection. Cancelling it leaves no socket.

    Raises:
        ConnectionFault: `UnreachableError` or `AccessRefusedError`, with the cause chained.
    """
    connection = Connection(address, access)
    await connection.open()
    return connection
