"""How the commands speak: tables and colours for a terminal, plain lines for a pipe, JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import IO, TYPE_CHECKING, Any

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.progress import Progress  # half of Rich, which most commands do without


def _default(value: object) -> str | None:
    """Return a default as ``--help`` shows it; what is simply off is not shown."""
    if value is None or value is False or value == ():
        return None
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


PARAMETER = Parameter(negative="", show_default=_default)
"""How options look unless they say otherwise: a flag is there or not, without a ``--no-json``."""

_NARROW = frozenset(("count", "id", "last", "replay", "since"))  # columns that are never broken
_WIDE = 10_000  # columns: in a pipe, nothing is folded or cut


def stdout() -> Console:
    """Return the console for answers."""
    return _console(sys.stdout)


def stderr() -> Console:
    """Return the console for complaints, summaries and progress."""
    return _console(sys.stderr)


def _console(file: IO[str]) -> Console:
    # Made anew each time: what is a terminal may change, in tests it does.
    return Console(file=file, highlight=False, emoji=False, width=None if file.isatty() else _WIDE)


def shown(progress: Progress) -> AbstractContextManager[object]:
    """Show *progress* where it is not disabled: even then, Rich before 15 ends it with an empty line."""
    return nullcontext() if progress.disable else progress


def complain(text: str) -> None:
    """Say on stderr what went wrong."""
    stderr().print(f"[bold red]eventpub:[/] {escape(text)}", soft_wrap=True)


def remark(text: str) -> None:
    """Say on stderr what is no answer: a summary, or what goes on."""
    stderr().print(text, markup=False, soft_wrap=True)


def print_json(answer: Mapping[str, Any]) -> None:
    """Print one line of JSON."""
    print_line(as_line(answer))


def as_line(answer: Mapping[str, Any]) -> str:
    """Return *answer* as one line of JSON."""
    return json.dumps(answer, ensure_ascii=False)


def print_line(text: str) -> None:
    """Print *text* as it is, at once: whoever reads the pipe need not wait for the next."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """Print *rows* under *columns*, in a pipe without colours and as wide as they are."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in _NARROW)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    _print(table)


def print_facts(facts: Iterable[tuple[str, str | Text]]) -> None:
    """Print names and what they stand for, one beside the other."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        grid.add_row(name, value if isinstance(value, Text) else Text(value))
    _print(grid)


def _print(table: Table) -> None:
    console = stdout()
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():  # whose last column is filled up with blanks
        print_line(line.rstrip())
