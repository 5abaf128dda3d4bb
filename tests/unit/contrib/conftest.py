"""Everything below that is asynchronous runs in virtual time: deadlines and back-off cost no waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support import virtual_time

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    import pytest


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give each test, and the asynchronous fixtures it asks for, one virtual-time loop."""
    return {"virtual": virtual_time.new_loop}
