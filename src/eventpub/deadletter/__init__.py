"""Events that were not delivered: where they are kept, and how they are sent again."""

from eventpub.deadletter.letters import DeadLetters
from eventpub.deadletter.topic import TopicSink
from eventpub.letter import Cut, DeadLetter, Resolution
from eventpub.receipt import Receipt

__all__ = ["Cut", "DeadLetter", "DeadLetters", "Receipt", "Resolution", "TopicSink"]
