"""What became of one line, in words and as JSON."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

from eventpub.cli.lines import Form
from eventpub.delivery import Delivery, PersistenceStatus
from eventpub.exceptions import EventPubError, PublishError
from eventpub.publisher import Publisher

_STYLES = {"persisted": "", "handed to the socket": "", "possibly persisted": "yellow"}


class Outcome(NamedTuple):
    """A line by its number, and its delivery, or why there is none."""

    line: int
    result: Delivery | EventPubError

    @classmethod
    async def of(cls, number: int, publisher: Publisher, form: Form, line: bytes) -> Self:
        """Publish *line*, and return what became of it."""
        try:
            event, options = form.read(line)
            return cls(number, await publisher.publish(event, **options))
        except EventPubError as error:
            return cls(number, error)

    @property
    def word(self) -> str:
        """The outcome in a word or three."""
        if isinstance(self.result, Delivery):
            persisted = self.result.status is PersistenceStatus.PERSISTED
            return "persisted" if persisted else "handed to the socket"
        return self.result.status.value if isinstance(self.result, PublishError) else "refused"

    @property
    def style(self) -> str:
        """How a terminal shows it."""
        return _STYLES.get(self.word, "red")

    def __str__(self) -> str:
        if isinstance(self.result, Delivery):
            return f"{self.line}: {self.result}"
        return f"{self.line}: {self.word}: {self.result}".replace("\n", "; ")

    def as_json(self) -> dict[str, Any]:
        """Return it for machines; ``elapsed`` is in seconds."""
        if isinstance(self.result, Delivery):
            return {"line": self.line, **self.result._asdict(), "status": self.word}
        facts = {"line": self.line, "status": self.word, "error": type(self.result).__name__}
        facts["message"] = str(self.result)
        if isinstance(self.result, PublishError):
            for name in (
                "topic",
                "partition",
                "event_id",
                "attempts",
                "elapsed",
                "reason",
                "kafka_code",
                "kafka_error",
            ):
                facts[name] = getattr(self.result, name)
            receipt = self.result.dead_letter
            facts["dead_letter"] = None if receipt is None else receipt._asdict()
        return facts
