"""The command line: ``make torture``, ``make torture ARGS="--memory --seed 7"``."""

from __future__ import annotations

import argparse
import json
import logging
import random
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from rich.console import Console
from rich.progress import track

from torture.arena import Arena
from torture.episode import Result, play
from torture.memory import MemoryArena
from torture.plan import HEALTHY, Plan, draw
from torture.tally import Tally

EPISODES = {"memory": 3_000}
ARENAS: dict[str, Callable[[], AbstractContextManager[Arena]]] = {"memory": lambda: nullcontext(MemoryArena())}

_LARGEST_SEED = 2**31


def main() -> int:
    """Play, print one table, and return 1 if anything was violated or proved nothing."""
    options = _options()
    console = Console(stderr=not options.json, soft_wrap=True, width=None if sys.stdout.isatty() else 170)
    logging.disable(logging.WARNING)  # a line per unheard outcome
    warnings.simplefilter("error")
    tally = Tally()
    for tier in _tiers(options):
        with ARENAS[tier]() as arena:
            _play_all(arena, options, tally, console)
    if options.json:
        print(json.dumps(tally.as_dicts(), indent=2))
    Console(width=console.width).print(tally.table()) if not options.json else None
    return 0 if tally.clean else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    for tier in ARENAS:
        parser.add_argument(f"--{tier}", action="store_true", help=f"play on {tier} (default: on all tiers)")
    parser.add_argument("--episodes", type=int, help="how many, instead of a tier's own number")
    parser.add_argument("--seed", type=int, help="the first seed; alone: play this one episode")
    parser.add_argument("--fault", help="only this fault")
    parser.add_argument("--ledger", type=Path, help="write the ledger of every failing episode there")
    parser.add_argument("--json", action="store_true", help="print rows for machines")
    return parser.parse_args()


def _tiers(options: argparse.Namespace) -> Iterable[str]:
    return [tier for tier in ARENAS if getattr(options, tier)] or list(ARENAS)


def _play_all(arena: Arena, options: argparse.Namespace, tally: Tally, console: Console) -> None:
    if options.fault not in {None, HEALTHY, *arena.faults}:
        console.print(f"{arena.name}: no fault {options.fault!r}; there are {', '.join(arena.faults)}")
        return
    count = options.episodes or (1 if options.seed is not None else EPISODES[arena.name])
    first = random.SystemRandom().randrange(_LARGEST_SEED) if options.seed is None else options.seed
    console.print(f"{arena.name}: {count} episodes, seeds from {first}")
    began = time.monotonic()
    for seed in track(range(first, first + count), arena.name, console=console, transient=True):
        plan = draw(seed, arena.faults, arena.pace, options.fault)
        try:
            with _watched(arena.limit):
                result = play(arena, plan)
        except Exception:  # noqa: BLE001 - whatever broke it off, the other episodes go on
            tally.add_broken_off(arena.name, plan)
            console.print(_again(arena, plan, options), traceback.format_exc(limit=-8), sep="\n", markup=False)
            continue
        tally.add(arena.name, result)
        if not result.verdict.passed or count == 1:
            _show(arena, result, options, console)
    minutes = (time.monotonic() - began) / 60
    console.print(f"{arena.name}: {count / minutes:,.0f} episodes a minute")


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


def _again(arena: Arena, plan: Plan, options: argparse.Namespace) -> str:
    arguments = f"--{arena.name} --seed {plan.seed}" + (f" --fault '{options.fault}'" if options.fault else "")
    return f'\nmake torture ARGS="{arguments}"\n  {plan}'


def _show(arena: Arena, result: Result, options: argparse.Namespace, console: Console) -> None:
    console.print(_again(arena, result.plan, options), markup=False)
    console.print(result.verdict)
    if options.ledger:
        options.ledger.mkdir(parents=True, exist_ok=True)
        path = options.ledger / f"{arena.name}-{result.plan.seed}.jsonl"
        with path.open("wb") as file:
            result.ledger.write_to(file)
        console.print(f"  its ledger: {path}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
