"""The transport to Kafka: aiokafka is the wire, everything that decides is here."""

from eventpub.transports.kafka.transport import KafkaTransport

__all__ = ["KafkaTransport"]
