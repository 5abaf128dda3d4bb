"""What the terminal shows: a waterfall for each trace, the stages as histograms, and the log."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from examples.observability.telemetry import Line, Row, Stage, Trace

_WIDTH = 26  # of a bar
_HEIGHTS = "▁▂▃▄▅▆▇█"
_COLUMNS = (0.001, 0.005, 0.025, 0.1, 0.25, 1.0, float("inf"))
_LEVELS = {"WARNING": "yellow", "ERROR": "red", "INFO": "green"}


class Acts:
    """What happened between when and when, told as it happens."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._acts: list[tuple[str, int, int]] = []

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Say what happens in the block."""
        self._console.print(f"[dim]publishing:[/] {what} ...")
        began = time.time_ns()
        yield
        self._acts.append((what, began, time.time_ns()))

    def slowest(self, traces: Iterable[Trace]) -> list[tuple[str, Trace]]:
        """Return the slowest trace that began in each act."""
        traces = list(traces)
        found = []
        for what, began, ended in self._acts:
            among = [each for each in traces if began <= each.began < ended]
            found.append((what, max(among, key=lambda each: each.seconds)))
        return found


def print_traces(console: Console, traces: Iterable[tuple[str, Trace]]) -> None:
    """Print one waterfall for each."""
    console.print("\n[bold]One event's trace[/], from the request over the broker to the consumer; in ms")
    for what, each in traces:
        console.print(f"\n  [bold]{what}[/]  [dim]trace {f'{each.root.context.trace_id:032x}'[:8]}…[/]")
        console.print(Padding.indent(_waterfall(list(each.rows())), 2))


def _waterfall(rows: list[Row]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, width=35)
    table.add_column(justify="right", width=6, style="dim")
    table.add_column(justify="right", width=6)
    table.add_column(no_wrap=True)
    whole = max(row.at + row.took for row in rows) or 1.0
    for row in rows:
        style = "red" if row.failed else "cyan" if row.text == "back-off" else ""
        name = Text("  " * row.depth + row.text, style=style)
        table.add_row(name, f"{row.at * 1000:.1f}", f"{row.took * 1000:.1f}", _bar(row, whole, style or "green"))
    return table


def _bar(row: Row, whole: float, style: str) -> Text:
    begin = min(int(row.at / whole * _WIDTH), _WIDTH - 1)
    length = max(1, round(row.took / whole * _WIDTH))
    return Text(" " * begin + "━" * min(length, _WIDTH - begin), style=style)


def print_stages(console: Console, stages: Iterable[Stage]) -> None:
    """Print where the time went: how often each stage took how long."""
    console.print("\n[bold]Where the time goes[/]: eventpub.stage.duration, and how many took up to so long\n")
    stages = list(stages)
    longest = max(stage.seconds for stage in stages)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("stage", no_wrap=True)
    for name in ("times", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("in all", no_wrap=True)
    for bound in _COLUMNS:
        table.add_column(_label(bound), justify="right", no_wrap=True)
    for stage in stages:
        bar = Text("█" * max(1, round(stage.seconds / longest * 8)), style="green")
        table.add_row(stage.name, str(stage.times), f"{stage.seconds:.3f}", bar, *_histogram(stage))
    console.print(Padding.indent(table, 2))


def _label(bound: float) -> str:
    if bound == float("inf"):
        return "more"
    return f"{bound * 1000:g} ms" if bound < 1 else f"{bound:g} s"


def _histogram(stage: Stage) -> Iterator[Text]:
    begin = 0.0
    for bound in _COLUMNS:
        count = sum(many for upper, many in stage.buckets if begin < upper <= bound)
        height = _HEIGHTS[min(len(_HEIGHTS) - 1, int(count / stage.times * len(_HEIGHTS)))]
        yield Text(f"{count} {height}" if count else "")
        begin = bound


def print_log(console: Console, lines: Iterable[Line]) -> None:
    """Print what eventpub logged."""
    console.print("\n[bold]What the log says[/]: seconds since the start\n")
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for line in lines:
        table.add_row(f"{line.at:.3f}", Text(line.level, style=_LEVELS.get(line.level, "")), Text(line.text))
    console.print(Padding.indent(table, 2))
