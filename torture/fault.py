"""One way of breaking a cluster, and where it is aimed at."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

W = TypeVar("W")


@dataclass(frozen=True, slots=True)
class Aim:
    """What a fault strikes: one partition, one broker (or ``None``: all of them), and the dice it may throw."""

    topic: str
    partition: int
    broker: int | None
    chance: random.Random


Act = Callable[[W, Aim], Awaitable[object] | object]


def nothing(_world: object, _aim: Aim) -> None:
    """Take back what ends by itself."""


def aimed_at(_world: object, aim: Aim) -> tuple[str, int]:
    """Return the partition that is aimed at."""
    return aim.topic, aim.partition


@dataclass(frozen=True, slots=True)
class Fault(Generic[W]):
    """A fault of an arena's worlds.

    Attributes:
        strike: lets it happen; called again and again until it had an effect.
        counter: what counts its effects, by `torture.arena.World.effects`.
        relent: takes it back.
        bait: an event for which partition would feel it; default: the one it is aimed at.
        brokers: how many a cluster needs for it.
        alone: it goes with no other fault, because Kafka itself promises nothing then.
        early: it comes before anything was published.
        replicated: only what all replicas have may count as acknowledged: no acks=1 goes with it.
        ceiling: the share of *possibly persisted* that it explains where budgets are ample; ``None``: any.
    """

    strike: Act[W]
    counter: str
    relent: Act[W] = nothing
    bait: Callable[[W, Aim], tuple[str, int]] = aimed_at
    brokers: int = 1
    alone: bool = False
    early: bool = False
    replicated: bool = False
    ceiling: float | None = 0.0
