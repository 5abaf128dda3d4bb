"""The real SDK for each test, and virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support import telemetry, virtual_time

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give each test, and the asynchronous fixtures it asks for, one virtual-time loop."""
    return {"virtual": virtual_time.new_loop}


@pytest.fixture
def fresh() -> Iterator[telemetry.Sdk]:
    """Give an SDK of which nothing is set yet."""
    with telemetry.sdk() as kept:
        yield kept


@pytest.fixture
def sdk(fresh: telemetry.Sdk) -> telemetry.Sdk:
    """Give an SDK that records every span and metric."""
    fresh.trace()
    fresh.meter()
    return fresh
