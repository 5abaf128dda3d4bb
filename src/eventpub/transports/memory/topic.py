"""One topic: its settings, its partitions, and what a partition's leader says to a batch.

The checks stand in the order of Apache Kafka's append path, because it shows: a resend of
a batch that is already in the log is still refused while too few replicas are in sync.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from eventpub.abc import Acked, Acks, Rejected, TopicPartition, WireBatch
from eventpub.transports.memory.codec import CorruptBatchError, Row, decode
from eventpub.transports.memory.log import LoggedBatch, PartitionLog

CORRUPT_MESSAGE = 2
NOT_LEADER_OR_FOLLOWER = 6
MESSAGE_TOO_LARGE = 10
NOT_ENOUGH_REPLICAS = 19
INVALID_TIMESTAMP = 32
INVALID_RECORD = 87

FUTURE_LIMIT = 3_600_000
"""``message.timestamp.after.max.ms`` of Kafka 4: timestamps more than an hour ahead are refused."""


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """Settings of one topic.

    Attributes:
        max_message_bytes: largest batch (Kafka's ``max.message.bytes``); beyond it code 10.
        compacted: ``cleanup.policy=compact``: a record without a key is refused with code 87.
        log_append_time: records carry the broker's time instead of the client's.
    """

    max_message_bytes: int
    compacted: bool
    log_append_time: bool


@dataclass(slots=True, eq=False)
class Partition:
    """One partition as its leader sees it. ``leader`` names a broker, or is ``None`` while there is none."""

    log: PartitionLog
    config: TopicConfig
    leader: str | None
    enough_replicas: bool = True

    def handle(self, broker: str, batch: WireBatch, acks: Acks, now: int, order: int) -> Acked | Rejected:
        """Append *batch*, find it already appended, or refuse it. *now* is in milliseconds."""
        if self.leader != broker:
            return Rejected(broker, NOT_LEADER_OR_FOLLOWER)
        if acks == "all" and not self.enough_replicas:
            return Rejected(broker, NOT_ENOUGH_REPLICAS)
        if len(batch.data) > self.config.max_message_bytes:
            return Rejected(broker, MESSAGE_TOO_LARGE)  # Kafka names no guilty record here
        try:
            rows = decode(batch.data)
        except CorruptBatchError as error:
            return Rejected(broker, CORRUPT_MESSAGE, message=str(error))
        return self._invalid(broker, rows, now) or self._sequenced(broker, batch, len(rows), now, order)

    def _invalid(self, broker: str, rows: list[Row], now: int) -> Rejected | None:
        if not rows:
            return Rejected(broker, INVALID_RECORD, message="Record batch has no records")
        late = [] if self.config.log_append_time else _out_of_range(rows, now + FUTURE_LIMIT)
        keyless = _without_key(rows) if self.config.compacted else []
        if not late and not keyless:
            return None
        code = INVALID_TIMESTAMP if late else INVALID_RECORD
        guilty = tuple(sorted({**dict(keyless), **dict(late)}.items()))
        message = f"{len(guilty)} of {len(rows)} records have been rejected"
        return Rejected(broker, code, message=message, record_errors=guilty)

    def _sequenced(self, broker: str, batch: WireBatch, count: int, now: int, order: int) -> Acked | Rejected:
        stamp, appended_at = batch.stamp, now if self.config.log_append_time else None
        code = self.log.refusal(stamp) if stamp.idempotent else None
        if code is None:  # and no duplicate either, because it is what comes next
            offset = self.log.append(LoggedBatch(stamp, count, batch.data, order, appended_at))
            return Acked(broker, offset, appended_at)
        duplicate = self.log.duplicate(stamp, count)
        return Rejected(broker, code) if duplicate is None else Acked(broker, duplicate, appended_at)


@dataclass(slots=True, eq=False)
class Topic:
    """A name, its settings and its partitions."""

    name: str
    config: TopicConfig
    denied: bool = False
    partitions: list[Partition] = field(default_factory=list)

    def add_partition(self, leader: str) -> None:
        """Add one empty partition led by *leader*."""
        log = PartitionLog(TopicPartition(self.name, len(self.partitions)))
        self.partitions.append(Partition(log, self.config, leader))

    def heal(self, brokers: Sequence[str]) -> None:
        """Let everything in it work; a partition that has a leader keeps it."""
        self.denied = False
        for number, partition in enumerate(self.partitions):
            partition.leader = partition.leader or brokers[number % len(brokers)]
            partition.enough_replicas = True
            partition.log.replicated = None


def _out_of_range(rows: list[Row], latest: int) -> list[tuple[int, str]]:
    if max(row[0] for row in rows) <= latest:
        return []
    text = "Timestamp {} is out of range: more than an hour ahead of the broker"
    return [(index, text.format(row[0])) for index, row in enumerate(rows) if row[0] > latest]


def _without_key(rows: list[Row]) -> list[tuple[int, str]]:
    text = "Compacted topic cannot accept message without key"
    return [(index, text) for index, row in enumerate(rows) if row[1] is None]
