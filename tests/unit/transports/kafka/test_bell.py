"""Waiting for a change without polling."""

from __future__ import annotations

import asyncio

import pytest

from eventpub.transports.bell import Bell, first_ring
from tests.unit.transports.kafka.fakes import settle


async def test_a_ring_wakes_all_in_the_order_they_came() -> None:
    """Nobody is overtaken by somebody who came later."""
    bell, woken = Bell(), []

    async def wait(name: str) -> None:
        await first_ring(bell)
        woken.append(name)

    tasks = [asyncio.create_task(wait(name)) for name in "abc"]
    await settle()
    bell.ring()
    await asyncio.gather(*tasks)
    assert woken == ["a", "b", "c"]


async def test_a_ring_is_not_kept_for_later() -> None:
    """Who comes after the ring waits for the next one: conditions are looked at before waiting."""
    bell = Bell()
    bell.ring()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await first_ring(bell)


async def test_any_of_several_bells_will_do() -> None:
    """A lane waits for its connection and for its leader at once, and leaves no trace in the other."""
    first, second = Bell(), Bell()
    task = asyncio.create_task(first_ring(first, second))
    await settle()
    second.ring()
    await task
    assert not first
    assert not second


async def test_a_cancelled_wait_is_forgotten() -> None:
    """A bell does not keep who gave up."""
    bell = Bell()
    task = asyncio.create_task(first_ring(bell))
    await settle()
    assert bell
    task.cancel()
    await asyncio.wait([task])
    assert not bell
