"""``eventpub dlq show``: one letter in full."""

from __future__ import annotations

from collections.abc import Iterable

from rich.markup import escape

from eventpub.cli import output
from eventpub.cli.dlq import words
from eventpub.cli.dlq.options import NOWHERE, Place
from eventpub.deadletter.spooling.store import StoredLetter
from eventpub.exceptions import UsageError


def show(id: str, /, place: Place = NOWHERE, *, show_values: bool = False, json: bool = False) -> int:  # noqa: A002 - the option's name
    """Show one letter in full, and what to do next.

    Args:
        id: Its id, or the id of its event; the beginning suffices.
        place: Where the letters are.
        show_values: Show key, headers and value, too.
        json: Print one line of JSON.
    """
    with place.opened() as source:
        stored = _found(id, place, source.read(open_only=False))
    if json:
        output.print_json(words.as_json(stored, values=show_values))
        return 0
    output.print_facts(words.facts(stored, words.now(), values=show_values))
    output.stdout().print(f"\n[bold]What next?[/] {escape(words.advice(stored, place.option))}", soft_wrap=True)
    return 0


def _found(beginning: str, place: Place, among: Iterable[StoredLetter]) -> StoredLetter:
    found = [
        stored
        for stored in among
        if stored.letter.id.startswith(beginning) or (stored.letter.event_id or "").startswith(beginning)
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"no letter in {place} has an id that begins with {beginning!r}")
    raise UsageError(f"{len(found)} letters in {place} begin with {beginning!r}: give more of the id")
