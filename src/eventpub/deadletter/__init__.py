"""Events that were not delivered: where they are kept, and how they are sent again."""

from eventpub.deadletter.letters import DeadLetters
from eventpub.deadletter.replay import replay
from eventpub.deadletter.replaying.filters import Filters
from eventpub.deadletter.replaying.report import LetterNote, ReplayReport
from eventpub.deadletter.replaying.topic_source import TopicSource
from eventpub.deadletter.spool import SpoolSink
from eventpub.deadletter.topic import TopicSink
from eventpub.letter import Cut, DeadLetter, Resolution
from eventpub.receipt import Receipt

__all__ = [
    "Cut",
    "DeadLetter",
    "DeadLetters",
    "Filters",
    "LetterNote",
    "Receipt",
    "ReplayReport",
    "Resolution",
    "SpoolSink",
    "TopicSink",
    "TopicSource",
    "replay",
]
