"""The writer of dead letters, where only the order within a turn of the event loop decides."""

from __future__ import annotations

import asyncio

from eventpub import BufferLimits
from eventpub.deadletter.writer import Writer
from tests.publisher.sinks import FakeSink
from tests.unit.deadletter.letters import letter


async def test_a_letter_that_was_withdrawn_before_its_group_began_is_not_written() -> None:
    """Its group was put together in this turn, and its event was acknowledged: nothing of it may lie in a sink."""
    sink = FakeSink()
    writer = Writer([sink], BufferLimits())
    await writer.open()
    deadline = asyncio.get_running_loop().time() + 5
    ends: list[object] = []
    withdrawn, kept = (writer.submit(letter(), deadline, lambda *end: ends.append(end)) for _ in range(2))
    await asyncio.sleep(0)
    assert withdrawn.withdraw()
    await writer.aclose(deadline)
    assert sink.letters == [kept.letter]
    assert len(ends) == 1


async def test_a_group_of_which_all_were_withdrawn_is_given_to_no_sink() -> None:
    """A sink is not asked to write nothing."""
    sink = FakeSink()
    writer = Writer([sink], BufferLimits())
    await writer.open()
    deadline = asyncio.get_running_loop().time() + 5
    only = writer.submit(letter(), deadline, lambda *_: None)
    await asyncio.sleep(0)
    assert only.withdraw()
    await writer.aclose(deadline)
    assert sink.groups == []
