"""``eventpub dlq export``: letters as lines of JSON, for people, jq and safe keeping."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

from cyclopts import Parameter

from eventpub.cli import output
from eventpub.cli.dlq import words
from eventpub.cli.dlq.options import EVERYTHING, NOWHERE, Place, Which


def export(
    place: Place = NOWHERE,
    which: Which = EVERYTHING,
    *,
    file: Annotated[Path | None, Parameter(name="--output")] = None,
    open_only: bool = False,
    show_values: bool = False,
) -> int:
    """Write letters as lines of JSON, keys and values included.

    On a terminal, keys and values are left out unless --show-values is given.

    Args:
        place: Where the letters are.
        which: The filters.
        file: Write to this file, which only you can read; stdout if not given.
        open_only: Only letters whose event is not in the log.
        show_values: Show keys, headers and values on a terminal, too.
    """
    values = show_values or file is not None or not output.stdout().is_terminal
    count = 0
    with place.opened() as source, _writable(file) as out:
        for stored in which.among(source, open_only=open_only):
            out.write(f"{output.as_line(words.as_json(stored, values=values))}\n")
            count += 1
        words.warn_of_unreadable(source.unreadable)
    output.remark(f"{count:,} letters{'' if values else ', without keys and values'}")
    return 0


@contextmanager
def _writable(path: Path | None) -> Iterator[IO[str]]:
    if path is None:
        yield sys.stdout
        return
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        yield file
