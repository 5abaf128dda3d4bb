"""The publishes of one ``publish_many``: each with its own outcome, their caller woken once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventpub._engine.reports import DeliveryReports
from eventpub.exceptions import PublishError

if TYPE_CHECKING:
    from eventpub._engine.engine import Engine
    from eventpub._rules.entry import Entry


class Group:
    """Entries in the order of the call, and those refused before they became entries."""

    def __init__(self, engine: Engine, count: int = 0) -> None:
        self._engine = engine
        self.recorded = engine.recorder.many(count, engine.loop.time()) if count else None
        self._members: list[Entry | PublishError] = []
        self._open = 1  # the call itself, until `reports`
        self._all_ended = engine.loop.create_future()

    def accept(self, entry: Entry) -> None:
        """Give *entry* its place."""
        self._open += 1
        entry.waiter = self._note
        self._members.append(entry)
        self._engine.accept(entry)

    def refuse(self, error: PublishError) -> None:
        """Put *error* in the place of an event that cannot be sent."""
        self._members.append(error)

    def _note(self, _outcome: object = None) -> None:
        self._open -= 1
        if not self._open and not self._all_ended.done():
            self._all_ended.set_result(None)

    async def reports(self) -> DeliveryReports:
        """Return every outcome, once all are known."""
        self._note()
        await self._all_ended
        outcomes = (member if isinstance(member, PublishError) else member.outcome for member in self._members)
        return DeliveryReports(outcome for outcome in outcomes if outcome is not None)

    def withdraw(self) -> None:
        """Take back what was not written; the rest goes on."""
        self._engine.recorder.many_cut(self.recorded, len(self._members), self._engine.loop.time())
        for member in self._members:
            if not isinstance(member, PublishError):
                member.waiter = None
                self._engine.withdraw(member)
