"""``eventpub dlq purge``: remove letters of a spool for good."""

from __future__ import annotations

import sys
from contextlib import closing

from rich.markup import escape
from rich.prompt import Confirm

from eventpub.cli import output
from eventpub.cli.dlq.options import EVERYTHING, NOWHERE, Place, Which
from eventpub.deadletter.spooling.store import State, Store, StoredLetter
from eventpub.exceptions import UsageError


def purge(
    place: Place = NOWHERE,
    which: Which = EVERYTHING,
    *,
    open: bool = False,  # noqa: A002 - the option's name
    damaged: bool = False,
    yes: bool = False,
    dry_run: bool = False,
) -> int:
    """Remove letters of a spool for good: those whose event is in the log, unless you say --open.

    Args:
        place: Where the letters are.
        which: The filters.
        open: Also letters whose event is not in the log: it is lost then.
        damaged: Also entries that nobody can read.
        yes: Do not ask.
        dry_run: Remove nothing; say what would be removed.
    """
    if place.spool is None:
        raise UsageError("a topic forgets by its retention.ms: there is nothing to purge; --spool PATH is for spools")
    with place.opened() as source:
        meant = [stored for stored in which.among(source, open_only=False) if open or stored.state is not State.OPEN]
    with closing(Store(place.spool)) as store:
        broken = store.quarantined() if damaged else []
        text = _what_goes(meant, len(broken), place)
        if dry_run or not (meant or broken):
            output.remark(f"would remove {text}")
            return 0
        if not yes and not _confirmed(text):
            output.remark("nothing was removed")
            return 1
        removed = store.purge([stored.letter.id for stored in meant]) + store.discard(broken)
    output.remark(f"removed {removed:,} from {place}")
    return 0


def _what_goes(meant: list[StoredLetter], broken: int, place: Place) -> str:
    still_open = sum(1 for stored in meant if stored.state is State.OPEN)
    damaged = f" and {broken:,} damaged" if broken else ""
    lost = f" ({still_open:,} of them open: their events are lost then)" if still_open else ""
    return f"{len(meant):,}{damaged} letter{'' if len(meant) == 1 else 's'} of {place}{lost}"


def _confirmed(text: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(f"to remove {text}, say --yes: there is nobody here to ask")
    return Confirm.ask(f"Remove {escape(text)}?", console=output.stderr(), default=False)
