"""Plays episodes by their seeds, in as many processes as a tier wants, and reports on each."""

from __future__ import annotations

import logging
import os
import random
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from io import BytesIO
from multiprocessing import get_context

from eventpub.testing import Verdict
from torture.arena import Arena
from torture.episode import play
from torture.kafka import KafkaArena
from torture.memory import MemoryArena
from torture.plan import draw
from torture.wire import WireArena


@dataclass(frozen=True, slots=True)
class Tier:
    """One kind of broker: how its arena is made, how many episodes it is good for, and in how many processes."""

    arena: Callable[[], AbstractContextManager[Arena]]
    episodes: int
    processes: int


TIERS = {
    "memory": Tier(lambda: nullcontext(MemoryArena()), 3_000, os.cpu_count() or 1),
    "wire": Tier(lambda: nullcontext(WireArena()), 300, 4),
    "kafka": Tier(KafkaArena, 60, 1),
}


@dataclass(frozen=True, slots=True)
class Report:
    """What one episode came to. ``verdict`` is missing if it came to no end; then ``trace`` says why."""

    tier: str
    seed: int
    row: str
    plan: str
    ample: bool
    verdict: Verdict | None
    trace: str
    ledger: bytes

    @property
    def passed(self) -> bool:
        """Whether every promise was kept and every fault felt."""
        return self.verdict is not None and self.verdict.passed


def report_all(tier: str, seeds: range, fault: str | None) -> Iterator[Report]:
    """Play an episode for each of *seeds*, and yield the reports as they come."""
    processes = min(TIERS[tier].processes, len(seeds))
    if processes == 1:
        _prepare(tier)
        yield from (_report(tier, seed, fault) for seed in seeds)
        _arenas.close()
        return
    # Spawned, because a process that is forked has its parent's threads in an unknown state.
    with ProcessPoolExecutor(processes, get_context("spawn"), _prepare, (tier,)) as pool:
        futures: list[Future[Report]] = [pool.submit(_report, tier, seed, fault) for seed in seeds]
        try:
            yield from (future.result() for future in as_completed(futures))
        finally:
            pool.shutdown(cancel_futures=True)


_arenas = ExitStack()
_open: dict[str, Arena] = {}


def _prepare(tier: str) -> None:
    logging.disable(logging.WARNING)  # a line per unheard outcome
    warnings.simplefilter("error")
    _open[tier] = _arenas.enter_context(TIERS[tier].arena())


def _report(tier: str, seed: int, fault: str | None) -> Report:
    arena = _open[tier]
    plan = draw(seed, arena.faults, arena.pace, fault)
    try:
        with _watched(arena.limit):
            result = play(arena, plan)
    except Exception:  # noqa: BLE001 - whatever broke it off, the other episodes go on
        return Report(tier, seed, plan.row, str(plan), plan.ample, None, traceback.format_exc(limit=-8), b"")
    lines = BytesIO()
    if not result.verdict.passed:
        result.ledger.write_to(lines)
    return Report(tier, seed, plan.row, str(plan), plan.ample, result.verdict, "", lines.getvalue())


@contextmanager
def _watched(seconds: float) -> Iterator[None]:
    """Break off what goes on for ever: in virtual time a loop that spins is not even noticed."""
    fired = []

    def break_off(*_: object) -> None:
        fired.append(True)  # because a task may well swallow what is raised in its midst
        raise TimeoutError

    signal.signal(signal.SIGALRM, break_off)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if fired:
            raise TimeoutError(f"the episode did not end within {seconds:g} s of real time")


def seeds_from(first: int | None, count: int) -> range:
    """Return *count* seeds: from *first* on, or such as no other run has used."""
    start = random.SystemRandom().randrange(2**31) if first is None else first
    return range(start, start + count)
