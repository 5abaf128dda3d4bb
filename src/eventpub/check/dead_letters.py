"""Whether what could not be delivered is kept: places named, there, as roomy and lasting as their sources."""

from __future__ import annotations

from collections.abc import Iterator

from eventpub.check import access, topics
from eventpub.check.facts import UNLIMITED, Absent, Topic
from eventpub.check.finding import Finding, Grade, not_checked
from eventpub.check.plan import OtherPlace, Plan

_UNITS = {"retention.ms": "ms", "retention.bytes": "bytes per partition"}


def missing(plan: Plan) -> Iterator[Finding]:
    """Say which events nobody keeps."""
    if plan.places is None:
        reason = "only the application knows where dead letters go"
        yield not_checked("dead letters", reason, "name its publisher: --app module:publisher")
        return
    for place in plan.places:
        if isinstance(place, OtherPlace):
            reason = "is a sink of the application's own"
            yield not_checked(f"dead letters in {place.name}", reason, "see by its own means whether it takes them")
    if plan.places:
        return
    for profile in dict.fromkeys(route.profile for route in plan.routes) or (plan.default,):
        if profile.acks == "all" and profile.dead_lettered:
            reason = "its events must not be lost, and what cannot be delivered is kept nowhere but in the exception"
            fix = "Publisher(dead_letters=DeadLetters(...)), or dead_letter=False in the profile if that is meant"
            yield Finding(Grade.WARNING, "no-dead-letters", f"profile {profile.name}", reason, fix)


def judge(letters: Topic | Absent, source: Topic | Absent | None) -> Iterator[Finding]:
    """Say what is wrong with the dead-letter topic *letters* for the events of *source*."""
    subject = f"dead-letter topic {letters.name}"
    yield from access.judge(letters, subject)
    if isinstance(letters, Absent):
        return
    yield from topics.leaders(letters, subject)
    yield from topics.copies(letters, subject)
    if letters.compacted:
        reason = "is compacted: a later letter with the same key replaces the earlier, and one without is refused"
        yield Finding(Grade.ERROR, "dead-letter-compacted", subject, reason, "set cleanup.policy=delete")
    if isinstance(source, Topic):
        yield from _room(letters, source, subject)
        yield from _retention(letters, source, subject)


def _room(letters: Topic, source: Topic, subject: str) -> Iterator[Finding]:
    room, needed = letters.number("max.message.bytes"), source.number("max.message.bytes")
    if room is not None and needed is not None and room < needed:
        reason = f"max.message.bytes {room} is below the {needed} of {source.name}: its largest events do not fit"
        fix = f"set max.message.bytes={needed} or more; a letter's headers come on top"
        yield Finding(Grade.WARNING, "dead-letter-room", subject, reason, fix)


def _retention(letters: Topic, source: Topic, subject: str) -> Iterator[Finding]:
    # A source that is compacted only keeps for ever, by key: no dead-letter topic is measured by that.
    if "delete" not in source.text("cleanup.policy"):
        return
    for setting, unit in _UNITS.items():
        kept, needed = letters.number(setting), source.number(setting)
        if kept is not None and needed is not None and kept < needed:
            wanted = "-1 (no limit)" if needed == UNLIMITED else f"{needed} {unit}"
            reason = f"{setting} {kept} {unit} is below that of {source.name}, {wanted}: letters go before the events"
            fix = f"set {setting}={-1 if needed == UNLIMITED else needed}, or longer"
            yield Finding(Grade.WARNING, "dead-letter-retention", subject, reason, fix)
