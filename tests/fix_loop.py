"""Runs what takes real time on uvloop, where ``--uvloop`` asks for it; virtual time stays asyncio's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class _OnUvloop:
    """The loops of folders that make none themselves."""

    @pytest.hookimpl(trylast=True)
    def pytest_asyncio_loop_factories(self, config: pytest.Config, item: pytest.Item) -> dict[str, LoopFactory]:
        """Name it in the test's id."""
        return {"uvloop": real_loop(config)}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the option."""
    parser.addoption("--uvloop", action="store_true", help="run asynchronous tests in real time on uvloop")


def pytest_configure(config: pytest.Config) -> None:
    """Follow it. Not a hook that is always there: it would have to name asyncio's loop in every id."""
    if config.getoption("uvloop"):
        config.pluginmanager.register(_OnUvloop())


def real_loop(config: pytest.Config) -> LoopFactory:
    """Return what makes the loops of tests in real time."""
    if not config.getoption("uvloop"):
        return asyncio.new_event_loop
    import uvloop  # Windows and PyPy have none

    return uvloop.new_event_loop
