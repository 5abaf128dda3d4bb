"""All faults on all contenders, some rounds, and the table of it."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from support.fault_proxy import FaultProxy
from support.kafka_node import ApacheKafka
from torture.peers import table
from torture.peers.contenders import CONTENDERS, versions
from torture.peers.episode import InvalidRoundError, run
from torture.peers.faults import BUDGET, CLOSE_TIMEOUT, FAULTS, Fault
from torture.peers.judge import Cell
from torture.peers.table import Row

_TRIES = 3  # of a round that proves nothing


async def measure(
    faults: Sequence[Fault], contenders: Sequence[str], kafka: ApacheKafka, directory: Path, rounds: int = 1
) -> list[Row]:
    """Return a row for each fault and contender. Ledgers and logs go to *directory*."""
    rows = []
    with FaultProxy(kafka.routes) as proxy:
        for fault in faults:
            cells: dict[str, list[Cell]] = {name: [] for name in contenders}
            began = time.monotonic()
            for _ in range(rounds):
                for name, cell in (await _valid(fault, contenders, kafka, proxy, directory)).items():
                    cells[name].append(cell)
            new = [Row(fault, name, tuple(found)) for name, found in cells.items()]
            print(*new, f"({time.monotonic() - began:.0f} s)", sep="\n", flush=True)
            rows += new
    return rows


async def _valid(
    fault: Fault, contenders: Sequence[str], kafka: ApacheKafka, proxy: FaultProxy, directory: Path
) -> dict[str, Cell]:
    for _ in range(_TRIES - 1):
        try:
            return await run(fault, contenders, kafka, proxy, directory)
        except InvalidRoundError as error:
            print(f"again: {error}", flush=True)
    return await run(fault, contenders, kafka, proxy, directory)


def main(argv: Sequence[str] | None = None) -> bool:
    """Start a cluster, measure, print, write the page if asked to; return whether eventpub kept its word."""
    options = _options(argv)
    faults = [fault for fault in FAULTS if fault.name in options.faults]
    with tempfile.TemporaryDirectory() as data:
        directory = Path(options.keep or data)
        directory.mkdir(parents=True, exist_ok=True)
        with ApacheKafka(Path(data) / "kafka", "three") as kafka:
            rows = asyncio.run(measure(faults, options.contenders, kafka, directory, options.rounds))
    lines = page(rows, options.rounds)
    print(*lines, sep="\n")
    if options.write:
        table.write(options.write, lines)
    return all(row.clean for row in rows if row.contender == "eventpub")


def page(rows: list[Row], rounds: int) -> list[str]:
    """Return what stands between the markers of ``docs/peers.md``."""
    return [
        *table.summary(rows),
        "",
        f"{rounds} rounds; a range where they differ. Budget {BUDGET:g} s, close {CLOSE_TIMEOUT:g} s. {versions()}.",
        "",
        "## All counts",
        "",
        *table.details(rows),
    ]


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m torture.peers", description=__doc__)
    names = [fault.name for fault in FAULTS]
    parser.add_argument("--faults", nargs="+", choices=names, default=names, metavar="FAULT", help=", ".join(names))
    parser.add_argument("--contenders", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="leave ledgers and logs in this folder")
    parser.add_argument("--write", type=Path, help="put the tables between the markers of this page")
    return parser.parse_args(argv)
