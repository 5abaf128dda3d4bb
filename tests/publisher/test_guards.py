"""What a publisher refuses: settings that cannot work, and calls at the wrong time, loop or process."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import warnings
from typing import Any

import pytest

from eventpub import (
    CRITICAL,
    ConfigurationError,
    NotPersistedError,
    Publisher,
    PublisherClosed,
    PublisherNotOpen,
    PublisherState,
    StartError,
    UsageError,
)
from eventpub.deadletter import DeadLetters
from eventpub.transports.memory import MemoryBroker, MemoryTransport
from tests.publisher.kit import Listener, Noted, one_partition, opened, record, values
from tests.publisher.sinks import FakeSink


async def test_before_open() -> None:
    """Every way to publish says how to open it; nothing else is needed to say so."""
    publisher = Publisher("memory://", source="/s")
    for thing in (record(1), Noted(key="k")):
        with pytest.raises(PublisherNotOpen, match="this publisher is new; publish inside `async with publisher`"):
            await publisher.publish(thing)
        with pytest.raises(PublisherNotOpen):
            publisher.publish_nowait(thing)
    with pytest.raises(PublisherNotOpen):
        publisher.statistics()
    assert publisher.state is PublisherState.NEW
    assert not issubclass(PublisherNotOpen, NotPersistedError)


async def test_opened_twice() -> None:
    """A publisher is opened once; the first opening is not harmed by the second."""
    broker = one_partition()
    async with opened(broker) as publisher:
        with pytest.raises(UsageError, match="open; a publisher is opened once"):
            await publisher.open()
        await publisher.publish(record(1))
    with pytest.raises(UsageError, match="closed"):
        await publisher.open()


def _in_a_loop_of_its_own(coroutine: Any) -> BaseException | None:
    caught: list[BaseException | None] = []

    def run() -> None:
        try:
            asyncio.run(coroutine)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            caught.append(error)
        else:
            caught.append(None)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return caught[0]


@pytest.mark.parametrize("call", ["publish", "publish_many", "flush", "aclose"])
async def test_the_wrong_loop(call: str) -> None:
    """A publisher belongs to the loop it was opened on; elsewhere every call says so and does nothing."""
    broker = one_partition()
    async with opened(broker) as publisher:
        arguments: dict[str, tuple[Any, ...]] = {"publish": (record(1),), "publish_many": ([record(1)],)}

        async def elsewhere() -> None:
            await getattr(publisher, call)(*arguments.get(call, ()))

        error = _in_a_loop_of_its_own(elsewhere())
        assert isinstance(error, UsageError)
        assert "another event loop" in str(error)
        assert publisher.state is PublisherState.OPEN
        await publisher.publish(record("here"))
        assert values(broker) == ["here"]


async def test_no_loop_at_all() -> None:
    """A plain thread that publishes is told what is missing."""
    async with opened("memory://") as publisher:
        caught: list[BaseException] = []

        def plain() -> None:
            try:
                publisher.publish_nowait(record(1))
            except UsageError as error:
                caught.append(error)

        thread = threading.Thread(target=plain)
        thread.start()
        thread.join()
        assert "none is running here" in str(caught[0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process() -> None:
    """In a child of a fork the publisher says that it is the parent's, whichever call is made, and does not warn."""

    async def main() -> int:
        broker = one_partition()
        publisher = Publisher(broker)
        await publisher.open()
        await publisher.publish(record(1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: fork among threads of a test runner
            child = os.fork()
        if child == 0:
            os._exit(_in_the_child(publisher))
        _, status = os.waitpid(child, 0)  # noqa: ASYNC222 - the child does little
        await publisher.publish(record(2))
        await publisher.aclose()
        assert values(broker) == ["1", "2"]
        return os.waitstatus_to_exitcode(status)

    assert asyncio.run(main()) == 0


def _in_the_child(publisher: Publisher) -> int:
    refused = 0
    asyncio.events._set_running_loop(None)  # what a server does that forks before it starts its own loop
    calls = (publisher.publish(record(1)), publisher.publish_many([record(1)]), publisher.flush(), publisher.aclose())
    for call in calls:
        try:
            asyncio.new_event_loop().run_until_complete(call)
        except UsageError as error:
            refused += "before a fork" in str(error)
    try:
        publisher.publish_nowait(record(1))
    except UsageError as error:
        refused += "before a fork" in str(error)
    warned: list[object] = []
    sys.unraisablehook = warned.append
    warnings.simplefilter("error")
    publisher.__del__()
    return 0 if refused == 5 and not warned else 1


async def test_a_publisher_of_a_transport_that_was_used() -> None:
    """A transport belongs to one publisher; a second one that gets it fails to open and is closed."""
    transport = MemoryTransport(one_partition())
    async with opened(transport) as publisher:
        second = Publisher(transport)
        with pytest.raises(UsageError, match="started once"):
            await second.open()
        assert second.state is PublisherState.CLOSED
        assert publisher.state is PublisherState.OPEN


async def test_entering_a_closed_publisher() -> None:
    """``async with`` opens, so it can be done once."""
    publisher = Publisher("memory://")
    async with publisher:
        pass
    with pytest.raises(UsageError, match="make another"):
        await publisher.__aenter__()
    with pytest.raises(PublisherClosed):
        await publisher.publish(record(1))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"target": "localhost:9092"}, "target"),
    ({"target": "ftp://host"}, "target"),
    ({"target": "memory://host"}, "target"),
    ({"profile": "nobody"}, "profile"),
    ({"profile": 5}, "profile"),
    ({"profiles": {"mine": "critical"}}, "profiles['mine']"),
    ({"connect": "egaer"}, "connect"),
    ({"start_timeout": 0}, "start_timeout"),
    ({"start_timeout": float("inf")}, "start_timeout"),
    ({"source": "not a uri"}, "source"),
    ({"topic_for": "tasks"}, "topic_for"),
    ({"serializer": object()}, "serializer"),
    ({"hooks": [object()]}, "hooks"),
]


@pytest.mark.parametrize("settings, named", REFUSED, ids=lambda each: each if isinstance(each, str) else ",".join(each))
def test_a_setting_that_cannot_work_is_refused(settings: dict[str, Any], named: str) -> None:
    """At construction, by its name, with a fix; none is silently ignored."""
    with pytest.raises(ConfigurationError) as caught:
        Publisher(**{"target": "memory://", **settings})
    assert named in {finding.setting for finding in caught.value.findings}
    assert all(finding.fix for finding in caught.value.findings)


def test_settings_that_cannot_work_are_refused_all_at_once() -> None:
    """One error names every fault, so that nobody fixes them one by one."""
    settings: dict[str, Any] = {}
    for more, _ in REFUSED:
        settings |= more
    with pytest.raises(ConfigurationError) as caught:
        Publisher(**settings)
    settings_named = {finding.setting for finding in caught.value.findings}
    assert settings_named >= {"target", "connect", "start_timeout", "source", "topic_for", "serializer", "hooks"}


@pytest.mark.parametrize("target", [None, 5, b"memory://", object()])
def test_a_target_of_the_wrong_kind(target: Any) -> None:
    """The error names the kinds there are."""
    with pytest.raises(UsageError, match="target"):
        Publisher(target)


def test_buffer_of_the_wrong_kind() -> None:
    """A number is no `BufferLimits`."""
    with pytest.raises(UsageError, match="buffer"):
        Publisher("memory://", buffer=100)  # type: ignore[arg-type]  # what is refused


def test_the_constructor_needs_no_loop() -> None:
    """Modules may make their publisher at import."""
    publisher = Publisher(MemoryBroker(), hooks=[Listener()], profiles={"mine": CRITICAL})
    assert repr(publisher) == "<Publisher new>"


def test_one_module_level_publisher_on_a_loop_made_later() -> None:
    """Made without a loop, it belongs to the one on which it is opened."""
    broker = one_partition()
    publisher = Publisher(broker)

    async def main() -> None:
        async with publisher:
            await publisher.publish(record(1))

    asyncio.run(main())
    assert values(broker) == ["1"]
    assert repr(publisher) == "<Publisher closed>"


async def test_closed_while_it_opens() -> None:
    """A sink that takes its time is no chance to become open after the close."""

    class Slow(FakeSink):
        async def open(self) -> None:
            await asyncio.sleep(1)

    sink = Slow()
    publisher = Publisher(one_partition(), dead_letters=DeadLetters(sink))
    opening = asyncio.create_task(publisher.open())
    await asyncio.sleep(0.5)
    await publisher.aclose(0)
    with pytest.raises(StartError, match="closed while it opened"):
        await opening
    assert publisher.state is PublisherState.CLOSED
    assert sink.state == "closed"
