"""The clock that the publisher's tests run on."""

from __future__ import annotations

import asyncio
import time

import anyio
import looptime
import pytest

from support import virtual_time


def test_an_hour_passes_in_no_time() -> None:
    """Sleeping moves the loop's clock and costs no waiting."""

    async def sleep() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert virtual_time.run(sleep()) == pytest.approx(3600)
    assert time.monotonic() - began < 1


def test_cancel_scopes_follow_the_same_clock() -> None:
    """A deadline of anyio ends a wait after that much virtual time."""

    async def give_up() -> float:
        with anyio.move_on_after(1800):
            await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert virtual_time.run(give_up()) == pytest.approx(1800)


def test_a_deadlock_fails_at_once() -> None:
    """A loop in which everybody waits for ever ends with an error after a real second."""
    with pytest.raises(looptime.IdleTimeoutError):
        virtual_time.run(asyncio.Event().wait())


def test_tasks_live_on_between_the_steps_of_a_runner() -> None:
    """A synchronous state machine can start a task in one step and find it done in a later one."""

    async def start() -> asyncio.Task[None]:
        return asyncio.create_task(asyncio.sleep(10))

    with virtual_time.runner() as steps:
        task = steps.run(start())
        steps.run(asyncio.sleep(5))
        assert not task.done()
        steps.run(asyncio.sleep(6))
        assert task.done()


def test_threads_are_waited_for_in_real_time() -> None:
    """Work in an executor thread holds the clock still, however soon the next timer is due."""

    async def race() -> str:
        async with asyncio.timeout(60):
            await asyncio.to_thread(time.sleep, 0.05)
        return f"{asyncio.get_running_loop().time():.0f}"

    assert virtual_time.run(race()) == "0"
