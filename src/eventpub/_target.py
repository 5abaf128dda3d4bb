"""Turns what a publisher is pointed at into a transport."""

from __future__ import annotations

from eventpub.abc import Transport
from eventpub.config import KafkaConfig
from eventpub.exceptions import ConfigurationError, UsageError
from eventpub.transports.memory import MemoryBroker, MemoryTransport

Target = str | KafkaConfig | MemoryBroker | Transport

_FIX = 'use "kafka://host:9092,host:9092", "kafka+tls://...", "memory://", a KafkaConfig or a Transport'


def shareable(target: Target) -> Target:
    """Return *target* as several publishers may be pointed at it: ``"memory://"`` is one broker for all of them."""
    return MemoryBroker() if target == "memory://" else target


def transport_for(target: Target, client_id: str) -> Transport:
    """Return a new transport to *target*. Touches no loop, socket or file.

    Raises:
        ConfigurationError: a URL that names no target, or holds credentials.
        UsageError: an object that is none of the kinds of target.
    """
    if isinstance(target, MemoryBroker):
        return MemoryTransport(target)
    if isinstance(target, KafkaConfig):
        return _kafka(target, client_id)
    if isinstance(target, str):
        return _from_url(target, client_id)
    if callable(getattr(target, "produce", None)) and callable(getattr(target, "ready", None)):
        return target
    raise UsageError(f"target: got {type(target).__name__}; {_FIX}")


def _from_url(url: str, client_id: str) -> Transport:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"kafka", "kafka+tls", "memory"}:
        shown = f"{scheme}://" if separator else "a text without ://"
        raise ConfigurationError.of("target", f"{shown} is no kind of target", _FIX)
    if scheme != "memory":
        return _kafka(KafkaConfig.from_url(url), client_id)
    if rest:
        raise ConfigurationError.of("target", "memory:// takes no address", "give a MemoryBroker to share one")
    return MemoryTransport(MemoryBroker())


def _kafka(config: KafkaConfig, client_id: str) -> Transport:
    # Imported late: a test suite on memory:// needs no aiokafka in its process.
    from eventpub.transports.kafka.transport import KafkaTransport

    return KafkaTransport(config, client_id=client_id)
