"""pytest's way into eventpub: fixtures of a broker in memory, a publisher on it, and a broker on the wire.

It stands beside the package and not in it, because pytest imports every plugin at every start, and
importing eventpub takes longer than importing pytest. eventpub is imported when a test asks for a fixture.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from eventpub import Publisher
    from eventpub.testing import EmbeddedKafka, MemoryBroker

_LOOP_SCOPES = ("function", "class", "module", "package", "session")
_BY_PYTEST_ASYNCIO = "eventpub-asyncio"
_NO_LOOP = (
    "memory_publisher is open on the event loop of the test, and {name} has none: let it be an `async def`"
    " that pytest-asyncio (0.24 or later) or anyio's plugin runs. A test without a loop takes memory_broker, and"
    " gives it to the application: Publisher(memory_broker, source=...)"
)
_TWO_MASTERS = (
    "{name} is run by pytest-asyncio, and its asynchronous fixtures by anyio, on a loop of their own: with tests marked"
    " `anyio`, set asyncio_mode = strict"
)
_NO_TRIO = (
    "eventpub is asyncio only, and this test runs on {name}: delivery outlives the calls that start it, which trio's"
    ' nurseries rule out. Let a fixture `anyio_backend` return "asyncio"'
)


@pytest.fixture
def memory_broker() -> MemoryBroker:
    """A Kafka in this process, empty and healthy, with the verbs that break it. A topic exists from its first use.

    To have other topics or more brokers, define a fixture of this name in ``conftest.py``.
    """
    from eventpub.testing import MemoryBroker

    return MemoryBroker()


@pytest.fixture
def memory_publisher_settings() -> dict[str, Any]:
    """The arguments of `Publisher` that ``memory_publisher`` is made with; define your own in ``conftest.py``."""
    return {"source": "/tests"}


@pytest.fixture
def memory_publisher(
    request: pytest.FixtureRequest, memory_broker: MemoryBroker, memory_publisher_settings: dict[str, Any]
) -> Publisher:
    """A `Publisher` to ``memory_broker``, open on the test's event loop, and closed without waiting after the test."""
    del memory_broker, memory_publisher_settings  # asked for, so that both are there before the loop runs
    publisher: Publisher = request.getfixturevalue(_opener(request))
    return publisher


@pytest.fixture
def embedded_kafka() -> Iterator[EmbeddedKafka]:
    """An `EmbeddedKafka` of one broker, without topics. Skips the test without the extra ``broker``."""
    if find_spec("confluent_kafka") is None:
        pytest.skip("EmbeddedKafka needs confluent-kafka: install eventpub[broker]")
    from eventpub.testing import EmbeddedKafka

    with EmbeddedKafka() as kafka:
        yield kafka


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-asyncio open publishers, if it is there."""
    if (plugin := sys.modules.get("pytest_asyncio")) is not None:
        with suppress(TypeError):  # before 0.24 a fixture has no loop_scope, and we have none for it
            config.pluginmanager.register(_by_pytest_asyncio(plugin.fixture), _BY_PYTEST_ASYNCIO)


def _by_pytest_asyncio(fixture: Callable[..., Any]) -> ModuleType:
    # One for each loop that a test may run on: publishers belong to theirs.
    plugin = ModuleType(_BY_PYTEST_ASYNCIO)
    vars(plugin).update({_on(scope): fixture(_opened(), loop_scope=scope) for scope in _LOOP_SCOPES})
    return plugin


def _opened() -> Callable[..., AsyncIterator[Publisher]]:
    async def opened(
        memory_broker: MemoryBroker, memory_publisher_settings: dict[str, Any]
    ) -> AsyncIterator[Publisher]:
        from eventpub import Publisher

        publisher = Publisher(memory_broker, **memory_publisher_settings)
        await publisher.open()
        yield publisher
        await publisher.aclose(0)

    return opened


_memory_publisher_by_anyio = pytest.fixture(_opened())


def _on(loop_scope: str) -> str:
    return f"_memory_publisher_on_{loop_scope}_loop"


def _opener(request: pytest.FixtureRequest) -> str:
    """Return the fixture that opens a publisher on the loop of this test."""
    test, by_anyio = request.node, "anyio_backend" in request.fixturenames
    if _runs_by_pytest_asyncio(test):
        if by_anyio:
            pytest.fail(_TWO_MASTERS.format(name=test.name), pytrace=False)
        return _on(_loop_scope(test))
    if not by_anyio:
        pytest.fail(_NO_LOOP.format(name=test.name), pytrace=False)
    if (name := request.getfixturevalue("anyio_backend_name")) != "asyncio":
        pytest.fail(_NO_TRIO.format(name=name), pytrace=False)
    return "_memory_publisher_by_anyio"


def _runs_by_pytest_asyncio(test: pytest.Item) -> bool:
    if not test.config.pluginmanager.has_plugin(_BY_PYTEST_ASYNCIO):
        return False
    import pytest_asyncio

    return pytest_asyncio.is_async_test(test)


def _loop_scope(test: pytest.Item) -> str:
    marker = test.get_closest_marker("asyncio")
    given = marker and (marker.kwargs.get("loop_scope") or marker.kwargs.get("scope"))
    return str(given or test.config.getini("asyncio_default_test_loop_scope"))
