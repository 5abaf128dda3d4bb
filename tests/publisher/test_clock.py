"""The clock of this folder: virtual, in tests and in the fixtures they ask for alike."""

from __future__ import annotations

import asyncio
import time

import pytest


@pytest.fixture
async def ticks() -> list[float]:
    """Sleep ten minutes before the test begins; return the loop's time then."""
    await asyncio.sleep(600)
    return [asyncio.get_running_loop().time()]


async def test_fixture_and_test_share_one_virtual_clock(ticks: list[float]) -> None:
    """An hour more passes in the test, on the loop of the fixture, in no time."""
    began = time.monotonic()
    await asyncio.sleep(3600)
    ticks.append(asyncio.get_running_loop().time())
    assert ticks == pytest.approx([600, 4200])
    assert time.monotonic() - began < 1
