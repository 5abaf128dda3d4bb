"""What an error says to the person who reads it."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from eventpub import PublishError, Record, SerializationError, UnavailableError
from eventpub.transports.memory import MemoryBroker
from tests.publisher.kit import Noted, error_of, opened


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


@pytest.mark.parametrize("refused", [True, False])
async def test_a_crash_report_shows_no_key_and_no_header(*, refused: bool) -> None:
    """It shows local variables, which are not eventpub's to show: neither of what was refused nor of what was lost."""
    broker = MemoryBroker()
    broker.down()
    options: Any = {"key": "secret-key", "headers": [("trace", b"secret-header")], "timeout": 1}
    async with opened(broker) as publisher:
        if refused:
            error: PublishError = await error_of(publisher.publish(Noted.model_construct(key=object()), **options))
            assert isinstance(error, SerializationError)
        else:
            error = await error_of(publisher.publish(Record("t", b"secret-payload"), **options))
    report = traceback.TracebackException.from_exception(error, capture_locals=True).format()
    ours = [frame for frame in report if "eventpub/publisher.py" in frame or "eventpub/intake.py" in frame]
    assert ours
    assert "secret" not in "".join(ours)
