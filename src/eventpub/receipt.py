"""Where a dead letter lies."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Receipt(NamedTuple):
    """What ``PublishError.dead_letter`` says: which sink keeps the event, under which id.

    Attributes:
        id: of the dead letter, the same in all sinks; ``eventpub dlq show`` finds it by this.
        sink: the name of the sink that has it; ``None`` unless *state* is "written".
        state: "written" (durable there), "pending" (the caller's time ended before the write did;
            hooks get its result), or "failed" (no sink took it: the event is only in the exception).
    """

    id: str
    sink: str | None
    state: Literal["written", "pending", "failed"]

    def __str__(self) -> str:
        where = {"written": f"in {self.sink}", "pending": "still being written", "failed": "in no sink"}
        return f"dead letter {self.id} {where[self.state]}"
