"""Whether a spool of dead letters can be written where the check runs: on the application's machine, or its like."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from eventpub.check.finding import Finding, Grade
from eventpub.check.plan import SpoolPlace

_MODE = os.R_OK | os.W_OK


def judge(places: Iterable[SpoolPlace]) -> Iterator[Finding]:
    """Say which spools this user cannot write to."""
    for place in places:
        path = Path(place.path)
        wanted = path if path.exists() else path.parent
        if not os.access(wanted, _MODE):
            missing = "does not exist" if not wanted.exists() else "cannot be written by this user"
            reason = f"{wanted} {missing}: dead letters would not be kept"
            fix = "make it for the user that the application runs as, or run the check there"
            yield Finding(Grade.WARNING, "spool", f"spool {place.path}", reason, fix)
