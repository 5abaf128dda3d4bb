"""Brokers for tests: with faults on demand, and nothing to install."""

from eventpub.testing.embedded import EmbeddedKafka

__all__ = ["EmbeddedKafka"]
