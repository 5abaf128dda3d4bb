"""Applications may have their tasks begin inside the call that makes them (Python 3.12)."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from eventpub import Publisher, Record, SerializationError
from eventpub.transports.memory import MemoryBroker
from support import virtual_time


class Unencodable:
    """Has a length, and no form on the wire."""

    def __len__(self) -> int:
        return 3


def factory() -> Any:
    """Return the standard library's eager task factory."""
    if sys.version_info < (3, 12):
        pytest.skip("there are no eager tasks before Python 3.12")
    return asyncio.eager_task_factory


def test_a_lane_that_ended_at_its_first_look_is_not_taken_for_one_that_runs() -> None:
    """A record that cannot be encoded ends it without a wait; the next one is delivered nevertheless."""
    eager = factory()

    async def publish() -> int | None:
        asyncio.get_running_loop().set_task_factory(eager)
        broker = MemoryBroker(partitions=1)
        async with Publisher(broker, source="/tests") as publisher:
            await publisher.publish(Record("t", b"1"))
            with pytest.raises(SerializationError):
                await publisher.publish(Record._make(("t", Unencodable(), None, (), None, 1)))
            return (await publisher.publish(Record("t", b"2"))).offset

    assert virtual_time.run(publish()) == 1
