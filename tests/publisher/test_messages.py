"""What an error says to the person who reads it."""

from __future__ import annotations

import pytest

from eventpub import Record, UnavailableError
from eventpub.transports.memory import MemoryBroker
from tests.publisher.kit import opened


async def test_a_budget_that_ended_before_any_attempt_tells_what_keeps_the_brokers_away() -> None:
    """The reader need not ask `health` for it, and the payload is not in it."""
    broker = MemoryBroker()
    broker.down()
    async with opened(broker) as publisher:
        with pytest.raises(UnavailableError, match=r"0 attempts; .*delivery_timeout.*memory:1") as caught:
            await publisher.publish(Record("t", b"secret-payload"), timeout=1)
        assert str(caught.value).endswith("; ".join(publisher.health().reasons))
        assert "secret" not in str(caught.value)


async def test_an_unknown_option_is_refused_by_its_name() -> None:
    """As Python refuses an unknown keyword, but with those that there are."""
    async with opened(MemoryBroker()) as publisher:
        with pytest.raises(TypeError, match=r"option budget; the options are headers, key, .*, topic"):
            await publisher.publish(Record("t", b"x"), budget=1)  # type: ignore[call-arg]  # what is refused
