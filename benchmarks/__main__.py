"""``python -m benchmarks [SECTION ...]``: measures, prints what was found, and puts it on the page if told to."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from typing import TYPE_CHECKING

from benchmarks import page
from benchmarks.section import Effort, Section
from support.kafka_node import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

SECTIONS = {
    "peers": "beside the other ways to publish, at 1 to 1,000 publishers",
    "java": "beside Apache Kafka's own producer perf tool",
    "breakdown": "where the microseconds of an event go",
    "growth": "with more publishers, partitions and topics",
    "latency": "at half of the maximum rate, beside the broker's round trip",
    "far": "brokers 5 and 50 ms away",
    "at_once": "20,000 publishes in one moment, and what an unconfirmed event costs",
    "large": "events of 100 kB and 1 MB, and every compression",
    "loops": "uvloop beside asyncio",
    "soak": "millions of events, and the memory of the process",
}
"""What each module of that name measures, in the order of the page."""
LONG = ("soak",)
PAGE = ROOT / "docs" / "performance" / "index.md"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the sections that are named, one after the other."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if unknown := set(options.sections) - SECTIONS.keys():
        parser.error(f"there is no section {', '.join(sorted(unknown))}")
    for name in chosen(options.sections, everything=options.all):
        print(f"measuring {name}: {SECTIONS[name]}", file=sys.stderr)
        section = measured(name, Effort(options.rounds, options.seconds))
        print(f"\n## {name}\n\n{page.markdown(section)}", flush=True)
        if options.write:  # at once: what comes next may fail
            page.write(PAGE, section)


def chosen(named: Sequence[str], *, everything: bool) -> list[str]:
    """Return the sections to be measured: those *named*, else all, the long ones only if *everything* is."""
    return list(named) or [name for name in SECTIONS if everything or name not in LONG]


def measured(name: str, effort: Effort) -> Section:
    """Return what a section found. Its module is imported now: some need more than others."""
    found: Section = importlib.import_module(f"benchmarks.{name}").measure(effort)
    return found


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:10} {what}" for name, what in SECTIONS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"{__doc__}\n\nsections:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    usual = Effort()
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="default: all but soak")
    parser.add_argument("--all", action="store_true", help="soak too")
    parser.add_argument("--rounds", type=int, default=usual.rounds, help=f"rounds that count ({usual.rounds})")
    parser.add_argument("--seconds", type=float, default=usual.seconds, help=f"of a round ({usual.seconds:g})")
    parser.add_argument("--write", action="store_true", help=f"put the figures on {PAGE.relative_to(ROOT)}")
    return parser


if __name__ == "__main__":
    # Each of hundreds of publishers would say that its events have no dead letters.
    logging.getLogger("eventpub").setLevel(logging.ERROR)
    main()
