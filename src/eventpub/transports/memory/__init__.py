"""A Kafka in this process: the same rules about sequences and doubt, and faults on demand."""

from eventpub.transports.memory.broker import MemoryBroker
from eventpub.transports.memory.log import LoggedRecord
from eventpub.transports.memory.transport import MemoryTransport

__all__ = ["LoggedRecord", "MemoryBroker", "MemoryTransport"]
