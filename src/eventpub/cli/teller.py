"""Tells the outcomes of lines one by one, and how far it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from eventpub.cli import output
from eventpub.cli.outcome import Outcome


class Teller:
    """Prints outcomes, and counts them; on a terminal it shows how far it is."""

    def __init__(self, *, json: bool, size: int | None) -> None:
        self._json, self._counts = json, Counter[str]()
        # What is told and how far it is share a terminal, so they share a console too.
        self._console = output.stdout() if output.stdout().is_terminal else output.stderr()
        how_far = (BarColumn(),) if size else (SpinnerColumn(),)
        self._progress = Progress(
            *how_far,
            TextColumn("{task.description}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("", total=size)

    @contextmanager
    def shown(self) -> Iterator[Teller]:
        """Show the progress bar, where there is somebody to see it."""
        with output.shown(self._progress):
            yield self

    def tell(self, outcome: Outcome, size: int) -> None:
        """Print *outcome*, of a line of *size* bytes."""
        self._counts[outcome.word] += 1
        text = output.as_line(outcome.as_json()) if self._json else str(outcome)
        if output.stdout().is_terminal:
            self._console.print(Text(text, style=outcome.style), soft_wrap=True)
        else:
            output.print_line(text)
        self._progress.update(self._task, advance=size, description=self._summary())

    def remark(self, text: str) -> None:
        """Say what goes on, above the progress bar."""
        console = self._console if self._console.is_terminal else output.stderr()
        console.print(Text(text, style="yellow"), soft_wrap=True)

    def sum_up(self, *, complete: bool) -> None:
        """Say how many lines had which outcome."""
        output.remark(self._summary() or "no lines")
        if not complete:
            output.complain("stopped before the end: the lines after these were not published")

    @property
    def all_is_well(self) -> bool:
        """Whether no line failed."""
        return self._counts.keys() <= {"persisted", "handed to the socket"}

    def _summary(self) -> str:
        return ", ".join(f"{count:,} {word}" for word, count in self._counts.items())
