"""Spans and metrics by OpenTelemetry's API; nothing else in eventpub imports it."""

from eventpub.instrumentation.recorder import Telemetry

__all__ = ["Telemetry"]
