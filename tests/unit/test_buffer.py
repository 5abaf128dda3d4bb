"""How much may be unconfirmed at once."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from eventpub import BufferLimits, ConfigurationError


def test_the_defaults_hold_20_000_events_in_kafka_s_buffer_memory() -> None:
    """32 MiB, as the Java producer has it."""
    assert BufferLimits() == BufferLimits(max_records=20_000, max_bytes=33_554_432)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "9", None])
def test_a_limit_that_lets_nothing_through_is_refused(value: Any) -> None:
    """By name, with the fix."""
    with pytest.raises(ConfigurationError, match=r"buffer\.max_records: .* lets nothing through; give a whole number"):
        BufferLimits(max_records=value)


def test_both_limits_are_reported_at_once() -> None:
    """Nobody corrects one to be told of the other."""
    with pytest.raises(ConfigurationError) as caught:
        BufferLimits(max_records=0, max_bytes=0)
    assert [finding.setting for finding in caught.value.findings] == ["buffer.max_records", "buffer.max_bytes"]


def test_limits_are_frozen() -> None:
    """A publisher reads them once."""
    with pytest.raises(FrozenInstanceError):
        BufferLimits().max_bytes = 1  # type: ignore[misc]  # frozen
