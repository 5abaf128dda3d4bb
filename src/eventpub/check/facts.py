"""What the cluster said, as values: the only thing that the rules know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

UNKNOWN_TOPIC = 3
TOPIC_DENIED = 29

UNLIMITED = 1 << 62
"""A limit of -1 (none), as a number to compare with."""


class Partition(NamedTuple):
    """One partition; brokers are told by their ids.

    Attributes:
        number: which one.
        leader: ``None`` while there is none.
        replicas: the brokers that are to have it.
        in_sync: those of them that do.
    """

    number: int
    leader: int | None
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that this client may see.

    Attributes:
        name: of the topic.
        partitions: in order of their numbers.
        settings: its configuration, defaults included; ``None``: this client may not see it.
        operations: what this client may do (``"WRITE"``, ...); ``None``: the brokers do not tell.
    """

    name: str
    partitions: tuple[Partition, ...]
    settings: Mapping[str, str] | None = None
    operations: frozenset[str] | None = None

    @property
    def replication_factor(self) -> int:
        """The replicas of the partition that has fewest."""
        return min((len(partition.replicas) for partition in self.partitions), default=0)

    def number(self, setting: str) -> int | None:
        """Return a setting that is a number, ``None`` where it cannot be seen; -1 is `UNLIMITED`."""
        value = (self.settings or {}).get(setting)
        if value is None:
            return None
        return UNLIMITED if int(value) < 0 else int(value)

    def text(self, setting: str) -> str:
        """Return a setting, empty where it cannot be seen."""
        return (self.settings or {}).get(setting, "")

    @property
    def min_in_sync(self) -> int | None:
        """``min.insync.replicas``, ``None`` where it cannot be seen."""
        return self.number("min.insync.replicas")

    @property
    def compacted(self) -> bool:
        """Whether older records of a key are dropped, and records without key refused."""
        return "compact" in self.text("cleanup.policy")


@dataclass(frozen=True, slots=True)
class Absent:
    """A topic that the brokers say nothing about: the code, and their words."""

    name: str
    code: int
    words: str


Topics = Mapping[str, Topic | Absent]
