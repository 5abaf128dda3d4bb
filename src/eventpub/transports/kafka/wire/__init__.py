"""The only package that imports aiokafka: sockets, requests, answers and batches as Kafka has them.

It decides nothing. Versions: Produce 7 and 8, Metadata 4 and 5, InitProducerId 0, which
Kafka 2.1 to 4.x speak (KIP-896 took older ones away). Whatever aiokafka or a socket raises
leaves here as one of `eventpub.transports.kafka.errors`, with the cause chained.
"""

from eventpub.transports.kafka.wire.batches import check_compression, encode
from eventpub.transports.kafka.wire.connection import Access, Connection, connect

__all__ = ["Access", "Connection", "check_compression", "connect", "encode"]
