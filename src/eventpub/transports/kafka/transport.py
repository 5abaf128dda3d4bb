"""`eventpub.abc.Transport` on Kafka: composes metadata, pool, merging and the producer id."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from functools import partial

from eventpub.abc import (
    Acked,
    Acks,
    AttemptResult,
    Compression,
    NotSent,
    OnResult,
    Posted,
    ProducerId,
    Rejected,
    Stamp,
    TopicPartition,
    TransportListener,
    WireBatch,
)
from eventpub.config import Address, KafkaConfig
from eventpub.exceptions import StartError, UsageError
from eventpub.profile import as_seconds
from eventpub.record import Record
from eventpub.transports.bell import first_ring
from eventpub.transports.kafka import wire
from eventpub.transports.kafka.broker_log import BrokerLog
from eventpub.transports.kafka.contact import Contact
from eventpub.transports.kafka.errors import (
    ConnectionFault,
    NoAnswerError,
    TransportClosedError,
    UnreachableError,
)
from eventpub.transports.kafka.merge import Outbox
from eventpub.transports.kafka.metadata import Metadata
from eventpub.transports.kafka.patience import PatientConnect
from eventpub.transports.kafka.pool import Pool
from eventpub.transports.kafka.producer_id import ProducerIds
from eventpub.transports.kafka.silence import SilenceWatch
from eventpub.transports.kafka.topics import STALE_LEADER
from eventpub.transports.produced import produced

_log = logging.getLogger("eventpub.kafka")

_CLOSING_TAKES = 0.1


class KafkaTransport:
    """A client of one Kafka cluster. Belongs to the loop it is started on, and is started once.

    Args:
        config: where the cluster is, and what it takes to be let in.
        client_id: what the brokers call this client in logs, metrics and quotas.
    """

    def __init__(self, config: KafkaConfig, client_id: str = "eventpub") -> None:
        self._config = config
        self._client_id = client_id
        self._running: _Running | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<KafkaTransport {self._config.bootstrap_servers}>"

    async def start(self, listener: TransportListener, /) -> None:
        """Begin to look for brokers, in the background.

        Raises:
            ConfigurationError: ``ssl_cafile`` cannot be used, or a secret stayed behind in a pickle.
        """
        if self._running is not None or self._closed:
            raise UsageError("a KafkaTransport is started once: make another with the same KafkaConfig")
        # Loading CA certificates takes the better part of a loop's patience.
        tls = await asyncio.to_thread(self._config.open_tls) if self._config.tls else self._config.open_tls()
        for weakness in self._config.weaknesses:
            _log.warning("insecure=True allows this: %s", weakness, extra={"line": "access.insecure"})
        self._running = _Running(wire.Access(self._config, self._client_id, tls), listener)

    async def aclose(self, deadline: float, /) -> None:
        """End every pending call with its value and abort all sockets; return when they are closed."""
        self._closed = True
        if self._running is not None:
            await self._running.aclose(deadline)

    async def connected(self) -> None:
        """Return once a broker has answered.

        Raises:
            StartError: nobody answered and somebody refused this client, or the transport was closed.
        """
        await self._started.connected()

    def problems(self) -> tuple[str, ...]:
        """Say why nothing could be written now; empty if something could."""
        return self._started.problems()

    async def partitions(self, topic: str, /, *, fresh: bool = False) -> int | Rejected:
        """Return the topic's partition count as soon as it is known, or why there is none."""
        return await self._started.metadata.partitions(topic, fresh=fresh)

    def has_leader(self, partition: TopicPartition, /) -> bool:
        """Whether the partition's leader is known now."""
        return partition in self._started.leaders

    async def producer_id(self, *, stale: int | None = None) -> ProducerId | Rejected:
        """Return this client's producer id; a new one if that is *stale*."""
        return await self._started.producer_ids.get(stale)

    def known_producer_id(self, *, stale: int | None = None) -> ProducerId | None:
        """Return this client's producer id, if it has one that is not *stale*."""
        return self._started.producer_ids.known(stale)

    async def ready(self, partition: TopicPartition, acks: Acks, /) -> Rejected | None:
        """Return ``None`` when a batch could be written now, without suspending if that is so already.

        After the close it returns at once, and `produce` says what there is to say.
        """
        return None if self.is_ready(partition, acks) else await self._started.wait_until_ready(partition, acks)

    def is_ready(self, partition: TopicPartition, acks: Acks, /) -> bool:
        """Whether a batch could be written now."""
        outbox = self._started.outbox_of(partition, acks)
        return outbox is not None and outbox.free

    def call_when_ready(self, partition: TopicPartition, acks: Acks, callback: Callable[[], None], /) -> bool:
        """Call *callback* when the connection to the leader, or who that is, has changed; false if it is not known."""
        return self._started.call_when_ready(partition, acks, callback)

    def encode(self, records: Sequence[Record], stamp: Stamp, compression: Compression, /) -> WireBatch:
        """Encode *records*, all of whose timestamps are set, into one batch.

        Raises:
            ConfigurationError: the codec's library is not installed.
        """
        return wire.encode(records, stamp, compression)

    async def produce(
        self, partition: TopicPartition, batch: WireBatch, acks: Acks, deadline: float, /
    ) -> AttemptResult:
        """Send *batch* once, right after `ready`, and return what came of it by *deadline*."""
        post = partial(self.post, partition, batch, acks, deadline)
        return await produced(post, partial(self._started.on_late, partition, batch))

    def post(
        self, partition: TopicPartition, batch: WireBatch, acks: Acks, deadline: float, on_result: OnResult, /
    ) -> Posted:
        """Send *batch* once, right after `is_ready`, and tell *on_result* what came of it by *deadline*."""
        running = self._started
        outbox = running.outbox_of(partition, acks)
        if self._closed or outbox is None or deadline <= running.loop.time():
            return running.loop.call_soon(on_result, NotSent(None, self._why_not(partition, deadline)))
        running.silence.begin()
        return outbox.post(partition, batch, deadline, on_result)

    def _why_not(self, partition: TopicPartition, deadline: float) -> ConnectionFault:
        if self._closed:
            return TransportClosedError("this client was closed")
        if deadline <= self._started.loop.time():
            return NoAnswerError("the attempt's time was over before it began")
        return UnreachableError(f"{partition} has no leader that is known now")

    @property
    def _started(self) -> _Running:
        if self._running is None:
            raise UsageError("the KafkaTransport was not started")
        return self._running


def _report_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        text = "the metadata task ended: nothing will be learned of topics any more"
        _log.error(text, exc_info=error, extra={"line": "metadata.ended"})


class _Running:
    """What a started transport consists of."""

    def __init__(self, access: wire.Access, listener: TransportListener) -> None:
        self._listener = listener
        self._closed = False
        self.loop = asyncio.get_running_loop()
        config = access.config

        async def connect_once(address: Address) -> wire.Connection:
            return await wire.connect(address, access)

        self._broker_log = BrokerLog()
        self._try_to_connect = PatientConnect(connect_once, as_seconds("connect_timeout", config.connect_timeout))
        patience = as_seconds("metadata_timeout", config.metadata_timeout)
        self._contact = Contact(config.addresses, self._connect_to_ask, patience)
        self._pool = Pool(self._connect, self, self._on_trouble)
        self.metadata = Metadata(self._contact, self._pool.update, self._on_count, self._broker_log)
        self.producer_ids = ProducerIds(self._contact)
        self.leaders = self.metadata.topics.leaders
        self.silence = SilenceWatch(self._pool, self.leaders, self.metadata)
        self._find_outbox = self._pool.find
        self._task = self.loop.create_task(self.metadata.run(), name="eventpub metadata")
        self._task.add_done_callback(_report_end)

    async def _connect(self, address: Address) -> wire.Connection:
        try:
            link = await self._try_to_connect(address)
        except ConnectionFault as fault:
            self._broker_log.lost(str(address), fault, self.loop.time())
            raise
        self._broker_log.reached(str(address), self.loop.time())
        return link

    async def _connect_to_ask(self, address: Address) -> wire.Connection:
        link = await self._connect(address)
        link.on_lost = partial(self._on_lost_contact, link)
        return link

    def _on_lost_contact(self, link: wire.Connection, fault: ConnectionFault) -> None:
        # While nobody publishes, nothing else would show that the brokers are gone.
        if self._contact.keeps(link) and not self._closed:
            self._broker_log.ended(link.broker, fault, self.loop.time())
            self.metadata.want_all()

    async def aclose(self, deadline: float) -> None:
        """End everything at once, then wait until the loop has closed the sockets."""
        self._closed = True
        fault = TransportClosedError("this client was closed")
        self.silence.close()
        self._pool.close(fault)
        self.metadata.close()
        self.producer_ids.close()
        self._task.cancel()
        self._contact.close(fault)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(max(deadline, self.loop.time() + _CLOSING_TAKES)):
                await self._wait_closed()

    async def _wait_closed(self) -> None:
        await asyncio.wait([self._task])
        await self.producer_ids.wait_closed()
        await self._pool.wait_closed()
        await self._contact.wait_closed()
        # A connect that was cancelled has its socket closed by the loop's next turn.
        await asyncio.sleep(0)

    async def connected(self) -> None:
        """Wait for the first answer; raise if this client is not let in."""
        while not self.metadata.answered and not self._closed:
            if (refusal := self._contact.refusal) is not None:
                raise StartError(str(refusal)) from refusal
            try:
                await first_ring(self.metadata.bell)
            except asyncio.CancelledError as cancelled:
                # Whoever's patience this ends looks for the reason behind it.
                cancelled.__cause__ = next(iter(self._contact.faults.values()), None)
                raise
        if not self.metadata.answered:
            raise StartError("the transport was closed before a broker answered")

    def problems(self) -> tuple[str, ...]:
        """Say why nothing could be written now."""
        if self._pool.connected:
            return ()
        faults = [*self._contact.faults.values(), *self._pool.faults]
        if not faults and not self.metadata.answered:
            return ("no broker has answered yet",)
        return tuple(dict.fromkeys(str(fault) for fault in faults))

    def outbox_of(self, partition: TopicPartition, acks: Acks) -> Outbox | None:
        """Return the outbox of the partition's leader, if it is known and was asked for before."""
        node = self.leaders.get(partition)
        return None if node is None else self._find_outbox((node, acks))

    async def wait_until_ready(self, partition: TopicPartition, acks: Acks) -> Rejected | None:
        """Wait until a batch could be written, for its leader or for the connection, without polling."""
        while not self._closed:
            node = self.leaders.get(partition)
            if node is None:
                answer = await self.metadata.leader(partition)
                if isinstance(answer, Rejected):
                    return answer
                continue
            outbox = self._pool.outbox(node, acks)
            if outbox.free:
                return None
            self._want(outbox)
            await first_ring(outbox.line.bell, self.metadata.bell)
        return None

    def call_when_ready(self, partition: TopicPartition, acks: Acks, callback: Callable[[], None]) -> bool:
        """Do without a coroutine what `wait_until_ready` does, for a leader that is known."""
        node = self.leaders.get(partition)
        if node is None or self._closed:
            return False
        outbox = self._pool.outbox(node, acks)
        self._want(outbox)
        outbox.line.bell.add(callback)
        self.metadata.bell.add(callback)
        return True

    def _want(self, outbox: Outbox) -> None:
        outbox.line.want()
        self.silence.begin()

    # --- what pool, merging and metadata tell ---------------------------------------------

    def on_late(self, partition: TopicPartition, batch: WireBatch, result: Acked | Rejected, /) -> None:
        """Pass a late answer on."""
        self._tell(self._listener.on_late, partition, batch, result)

    def on_rejected(self, partition: TopicPartition, code: int, /) -> None:
        """Ask for the leader again where the code says that it changed."""
        if code in STALE_LEADER:
            self.metadata.mark_stale(partition)

    def _on_count(self, topic: str, count: int) -> None:
        self._tell(self._listener.on_partitions, topic, count)

    def _on_trouble(self) -> None:
        for line in (outbox.line for _, outbox in self._pool.outboxes()):
            if line.link is None:
                self._broker_log.ended(str(line.address), line.fault, self.loop.time())
        self.metadata.want_all()

    @staticmethod
    def _tell(call: Callable[..., None], *args: object) -> None:
        # A listener does not raise; if one does, it must not end the connection it was called from.
        try:
            call(*args)
        except Exception:  # noqa: BLE001 - whatever it is, it is not the connection's
            _log.exception("a transport listener raised", extra={"line": "listener.raised"})
