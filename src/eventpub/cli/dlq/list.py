"""``eventpub dlq list``: what lies there, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from eventpub.cli import output
from eventpub.cli.dlq import words
from eventpub.cli.dlq.options import EVERYTHING, NOWHERE, Place, Which
from eventpub.deadletter.spooling.store import StoredLetter


def list_letters(
    place: Place = NOWHERE,
    which: Which = EVERYTHING,
    *,
    each: bool = False,
    all: bool = False,  # noqa: A002 - the option's name
    json: bool = False,
    show_values: bool = False,
) -> int:
    """Say what lies there, since when, why, and whether it may be replayed.

    Args:
        place: Where the letters are.
        which: The filters.
        each: One row for each letter, with its id.
        all: Also letters whose event is in the log by now.
        json: One line of JSON for each letter; times are seconds since the epoch.
        show_values: With --json: also keys, headers and values.
    """
    with place.opened() as source:
        found = which.among(source, open_only=not all)
        if json:
            for stored in found:
                output.print_json(words.as_json(stored, values=show_values))
        elif each:
            words.print_each(found, words.now())
        else:
            _print_summary(place, found)
        words.warn_of_unreadable(source.unreadable)
    return 0


def _print_summary(place: Place, found: Iterable[StoredLetter]) -> None:
    groups = words.grouped(found)
    if not groups:
        output.remark(f"no such letters in {place}")
        return
    words.print_groups(groups, words.now())
    counts = Counter[str]()
    for (*_, replay), group in groups.items():
        counts[replay] += group.letters
    told = {
        words.SAFE: "certainly not in the log, so a replay cannot write it twice",
        words.MEND: "likewise, but refused: it would be again",
        words.DOUBTFUL: "perhaps in the log: replay with --verify",
        words.DONE: "in the log: nothing to do",
    }
    output.remark("")
    for word, text in told.items():
        if counts[word]:
            output.remark(f"{counts[word]:,} {word}: {text}")
    output.remark(f"next: eventpub dlq list {place.option} --each, eventpub dlq replay {place.option} --dry-run")
