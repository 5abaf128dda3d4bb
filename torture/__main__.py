"""The command line: ``make torture``, ``make torture ARGS="--memory --seed 7"``.

Plays episodes on each tier, then the peers' matrix.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import track

from torture import peers
from torture.player import TIERS, Report, report_all, seeds_from
from torture.tally import Tally

_WIDTH = 190  # of the table, where nobody tells


def main() -> int:
    """Play what was asked for, and return 1 if eventpub broke its word or something proved nothing."""
    options = _options()
    everything = not any(getattr(options, part) for part in (*TIERS, "peers"))
    tiers = [tier for tier in TIERS if everything or getattr(options, tier)]
    clean = not tiers or _play(tiers, options)
    if everything or options.peers:
        clean &= peers.main(["--rounds", "1"] if everything else [])
    return 0 if clean else 1


def _play(tiers: list[str], options: argparse.Namespace) -> bool:
    told, tally = Console(stderr=True, soft_wrap=True), Tally()
    for tier in tiers:
        _play_all(tier, options, tally, told)
    if options.json:
        options.json.write_text(json.dumps(tally.as_dicts(), indent=2) + "\n")
    Console(width=None if sys.stdout.isatty() else _WIDTH).print(tally.table())
    return tally.clean


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    for tier in TIERS:
        parser.add_argument(f"--{tier}", action="store_true", help=f"play on {tier}")
    parser.add_argument("--peers", action="store_true", help="two rounds of the peers' matrix; default: all of these")
    parser.add_argument("--episodes", type=int, help="how many, instead of a tier's own number")
    parser.add_argument("--seed", type=int, help="the first seed; alone: play this one episode")
    parser.add_argument("--fault", help="only this fault")
    parser.add_argument("--ledger", type=Path, metavar="DIRECTORY", help="keep the ledgers of failing episodes there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows for machines there")
    return parser.parse_args()


def _play_all(tier: str, options: argparse.Namespace, tally: Tally, told: Console) -> None:
    alone = options.seed is not None and options.episodes is None
    count = options.episodes or (1 if alone else TIERS[tier].episodes)
    seeds = seeds_from(options.seed, count)
    told.print(f"{tier}: {count} episodes, seeds from {seeds[0]}")
    began = time.monotonic()
    reports = report_all(tier, seeds, options.fault)
    for report in track(reports, tier, count, console=told, transient=True, disable=not told.is_terminal):
        tally.add(report)
        if alone or not report.passed:
            _show(report, options, told)
    told.print(f"{tier}: {60 * count / (time.monotonic() - began):,.0f} episodes a minute")


def _show(report: Report, options: argparse.Namespace, told: Console) -> None:
    arguments = f"--{report.tier} --seed {report.seed}" + (f" --fault '{options.fault}'" if options.fault else "")
    told.print(f'\nmake torture ARGS="{arguments}"\n  {report.plan}', markup=False)
    told.print(report.verdict or report.trace, markup=report.verdict is not None)
    if options.ledger and report.ledger:
        options.ledger.mkdir(parents=True, exist_ok=True)
        path = options.ledger / f"{report.tier}-{report.seed}.jsonl"
        path.write_bytes(report.ledger)
        told.print(f"  its ledger: {path}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
