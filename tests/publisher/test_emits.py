"""A decorated coroutine: what is published, when, and who hears of a failure."""

from __future__ import annotations

import asyncio
import gc
import logging
import pickle
from typing import Any

import anyio
import pytest

from eventpub import (
    CRITICAL,
    BufferFullError,
    BufferLimits,
    ConfigurationError,
    Event,
    EventTooLargeError,
    Publisher,
    PublishError,
    Record,
    SerializationError,
    UnavailableError,
    UsageError,
    delivery_budget,
    emits,
)
from eventpub.transports.memory import MemoryBroker
from tests.publisher.kit import Listener, Noted, now, one_partition, opened, record, turns, values

SECRET = "SECRET"


def down() -> MemoryBroker:
    """Return a broker that nobody can reach."""
    broker = MemoryBroker()
    broker.down()
    return broker


QUICK = CRITICAL.replace(name="quick", delivery_timeout=2)


# --- what is published -------------------------------------------------------------


async def test_it_is_published_after_it_returned() -> None:
    """And before the caller goes on; the result is the very object."""
    broker = one_partition()
    event = Noted(key="k", text="x")

    @emits(Noted)
    async def act() -> Noted:
        assert values(broker, "notes") == []
        return event

    async with opened(broker):
        assert await act() is event
        (logged,) = broker.records("notes")
    assert dict(logged.headers)["ce_id"] == event.envelope.id.encode()
    assert logged.key == b"k"


async def test_nothing_is_published_of_what_raised_or_returned_none() -> None:
    """The function's own error goes through as it is, and ``map`` is not asked about nothing."""

    @emits("noted", map=lambda *_args: Noted(key="k"))
    async def nothing() -> None:
        return None

    @emits(Noted)
    async def fail() -> Noted:
        raise KeyError("own")

    async with opened(MemoryBroker()) as publisher:
        await nothing()
        with pytest.raises(KeyError, match="own"):
            await fail()
        assert publisher.statistics().attempts == 0


async def test_an_empty_list_is_nothing() -> None:
    """It needs no broker, and no open publisher either."""

    @emits(Noted)
    async def act() -> list[Noted]:
        return []

    async with opened(down()) as publisher:
        assert await act() == []
        assert publisher.statistics().unconfirmed == 0


async def test_a_list_is_published_in_order() -> None:
    """Events, records and mappings mixed; each with a key of its own where the decorator says how."""
    broker = one_partition()

    @emits(Noted, topic="t", key="text")
    async def act() -> list[Any]:
        return [Noted(key="a", text="1"), record("raw", b"own"), {"key": "b", "text": "2"}]

    async with opened(broker):
        results = await act()
    assert results[2] == {"key": "b", "text": "2"}
    assert [logged.key for logged in broker.records("t")] == [b"1", b"own", b"2"]


async def test_methods_work_and_map_sees_their_arguments() -> None:
    """``self`` among them; on an instance, a class and neither."""
    broker = one_partition()

    class Service:
        prefix = "s"

        @emits(Noted, map=lambda result, self, key: Noted(key=self.prefix + key, text=str(result)))
        async def act(self, key: str) -> int:
            return 42

        @classmethod
        @emits(Noted, map=lambda result, cls, key: {"key": cls.prefix + key, "text": str(result)})
        async def act_on_class(cls, key: str) -> int:
            return 43

        @staticmethod
        @emits(Noted, map=lambda result, key: (Noted(key=key, text=str(result)),))
        async def act_on_nothing(key: str) -> int:
            return 44

    async with opened(broker):
        assert await Service().act("1") == 42
        assert await Service.act_on_class("2") == 43
        assert await Service.act_on_nothing(key="3") == 44
    keys = {logged.key: logged.value for logged in broker.records("notes")}
    assert keys == {
        b"s1": b'{"key":"s1","text":"42"}',
        b"s2": b'{"key":"s2","text":"43"}',
        b"3": b'{"key":"3","text":"44"}',
    }


async def test_without_a_class_it_is_a_cloud_event_all_the_same() -> None:
    """JSON under the type, to the topic of that name, with id and source; topic, key and profile as given."""
    broker = MemoryBroker()

    @emits("no.such.class")
    async def act() -> dict[str, Any]:
        return {"key": "k", "nested": {"n": 1}}

    @emits("no.such.class", topic="other", key="key", profile="standard")
    async def act_elsewhere() -> dict[str, Any]:
        return {"key": "k"}

    async with opened(broker, source="/here") as publisher:
        await act()
        await act_elsewhere()
        assert publisher.statistics().persisted == 2
    (logged,) = broker.records("no.such.class")
    headers = dict(logged.headers)
    assert logged.value == b'{"key":"k","nested":{"n":1}}'
    assert logged.key is None
    assert (headers["ce_type"], headers["ce_source"]) == (b"no.such.class", b"/here")
    assert headers["ce_id"]
    (elsewhere,) = broker.records("other")
    assert elsewhere.key == b"k"


async def test_what_the_decorator_says_goes_before_the_class() -> None:
    """Topic, key and profile of an event; a record keeps its key."""
    broker, listener = MemoryBroker(), Listener()

    @emits(Noted, topic="elsewhere", key=lambda event: event.text, profile="telemetry")
    async def act(result: Event | Record) -> Event | Record:
        return result

    async with opened(broker, hooks=[listener]):
        await act(Noted(key="k", text="mine"))
        await act(Record("t", b"v", b"own"))
    assert {logged.key for logged in broker.records("elsewhere")} == {b"mine", b"own"}
    assert [str(details.outcome) for details in listener.outcomes if "handed to" not in str(details.outcome)] == []


async def test_concurrent_calls_publish_in_the_order_in_which_they_returned() -> None:
    """Whenever they began; a list takes its places at once, and nothing gets in between."""
    broker = one_partition()

    @emits("noted")
    async def act(name: str, takes: float, *, several: bool = False) -> Record | list[Record]:
        await asyncio.sleep(takes)
        return [record(f"{name}{i}") for i in range(3)] if several else record(name)

    async with opened(broker) as publisher:
        broker.latency(0.3)
        calls = [act("a", 3), act("b", 1, several=True), act("c", 2), act("d", 1), act("e", 1, several=True)]
        await asyncio.gather(*calls)
        assert publisher.statistics().persisted == 9
    assert values(broker) == ["b0", "b1", "b2", "d", "e0", "e1", "e2", "c", "a"]


# --- failures ----------------------------------------------------------------------


async def test_an_error_carries_the_result() -> None:
    """The function has done its work: the caller can go on with it; repr, text and pickle leave it out."""

    @emits(Noted, profile=QUICK)
    async def act() -> Noted:
        return Noted(key="k", text=SECRET)

    async with opened(down()):
        with pytest.raises(UnavailableError) as caught:
            await act()
    error = caught.value
    assert error.result == Noted(key="k", text=SECRET)
    assert error.record is error.result
    assert SECRET not in repr(error) + str(error)
    assert SECRET.encode() not in pickle.dumps(error)
    assert pickle.loads(pickle.dumps(error)).result is None


@pytest.mark.parametrize(
    "result, settings, expected",
    [
        ({"bad": SECRET}, {}, SerializationError),
        (SECRET, {}, UsageError),
        (Noted(key="k", text=SECRET), {"source": None}, ConfigurationError),
        (record(SECRET * 2_000_000), {}, EventTooLargeError),
    ],
    ids=["mapping", "kind", "configuration", "size"],
)
async def test_every_error_carries_the_result(result: Any, settings: Any, expected: type[Exception]) -> None:
    """Also those from before anything was sent; and no pickle has it."""

    @emits(Noted)
    async def act() -> Any:
        return result

    async with opened(MemoryBroker(), **settings):
        with pytest.raises(expected) as caught:
            await act()
    assert caught.value.result is result  # type: ignore[attr-defined]
    assert SECRET not in repr(caught.value)
    assert SECRET.encode() not in pickle.dumps(caught.value)


async def test_the_failures_of_a_list_come_together() -> None:
    """Siblings are published; the group and what is split off carry the result, and a pickle does not."""
    broker = one_partition(max_message_bytes=300)
    results = [record("1"), record(SECRET * 100), record("3"), record(SECRET * 200)]

    @emits("noted")
    async def act() -> list[Record]:
        return results

    async with opened(broker):
        with pytest.raises(ExceptionGroup, match="2 of 4 events were not confirmed") as caught:
            await act()
    group: Any = caught.value
    assert values(broker) == ["1", "3"]
    assert [type(error) for error in group.exceptions] == [EventTooLargeError] * 2
    assert group.result is results
    assert group.subgroup(lambda error: error is group.exceptions[0]).result is results
    assert SECRET.encode() not in pickle.dumps(group)
    assert len(pickle.loads(pickle.dumps(group)).exceptions) == 2


async def test_log_never_raises_into_the_caller(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong: one line an event, that names the function and shows no payload."""

    @emits(Noted, profile=QUICK, on_failure="log")
    async def act(result: Any) -> Any:
        return result

    bad: list[Any] = [{"bad": SECRET}, SECRET, Noted(key="k", text=SECRET), [{"bad": SECRET}, {"bad": SECRET}]]
    async with opened(down()):
        for result in bad:
            assert await act(result) is result
    lines = [entry for entry in caplog.records if entry.name == "eventpub.emits"]
    assert [entry.levelno for entry in lines] == [logging.ERROR] * len(bad)
    assert all("act: its event was not confirmed: " in entry.getMessage() for entry in lines)
    assert SECRET not in caplog.text
    assert [entry.event_id for entry in lines if entry.event_id] == [bad[2].envelope.id]  # type: ignore[attr-defined]


async def test_log_tells_of_each_event_of_a_list(caplog: pytest.LogCaptureFixture) -> None:
    """Two that failed are two lines."""

    @emits("noted", profile=QUICK, on_failure="log")
    async def act() -> list[Noted]:
        return [Noted(key="a"), Noted(key="b")]

    async with opened(down()):
        await act()
    assert [entry.name for entry in caplog.records].count("eventpub.emits") == 2


async def test_log_calls_the_function_also_without_a_publisher(caplog: pytest.LogCaptureFixture) -> None:
    """The work matters more than the event: that is what "log" says."""

    @emits(Noted, on_failure="log")
    async def act(result: Any) -> Any:
        return result

    assert await act(None) is None
    assert caplog.text == ""
    assert await act({"key": "k"}) == {"key": "k"}
    assert "no publisher is open on this event loop" in caplog.text


async def test_log_logs_a_foreign_error_by_its_kind(caplog: pytest.LogCaptureFixture) -> None:
    """What is not eventpub's may quote anything in its message."""

    @emits(Noted, on_failure="log")
    async def act() -> Noted:
        return Noted(key="k")

    class Broken(Publisher):
        async def publish(self, *_args: Any, **_options: Any) -> Any:
            raise RuntimeError(SECRET)

    publisher = Broken(MemoryBroker(), source="/tests")
    async with publisher:
        await act()
    assert "not confirmed: RuntimeError" in caplog.text
    assert SECRET not in caplog.text


# --- without waiting ---------------------------------------------------------------


async def test_wait_false_goes_on_at_once_and_close_drains() -> None:
    """The caller does not wait for the broker; leaving the publisher does."""
    broker = one_partition()

    @emits("noted", wait=False)
    async def act(*numbers: int) -> Record | list[Record]:
        results = [record(number) for number in numbers]
        return results if len(results) > 1 else results[0]

    async with Publisher(broker):
        broker.latency(5)
        await act(1)
        await act(2, 3)
        assert now() == 0
        assert values(broker) == []
    assert values(broker) == ["1", "2", "3"]


async def test_wait_false_is_heard_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """A failure that nobody waits for reaches the hooks, and one log line."""
    listener = Listener()

    @emits(Noted, wait=False, profile=QUICK)
    async def act() -> Noted:
        return Noted(key="k", text=SECRET)

    async with opened(down(), hooks=[listener]):
        await act()
        await asyncio.sleep(5)
        gc.collect()
    assert [type(details.outcome) for details in listener.outcomes] == [UnavailableError]
    assert [entry.name for entry in caplog.records if entry.name.startswith("eventpub")] == ["eventpub.delivery"]
    assert SECRET not in caplog.text


async def test_wait_false_does_not_wait_for_room() -> None:
    """It is refused at once, as ``publish_nowait`` is; of a list what has room is taken."""

    @emits("noted", wait=False)
    async def act(*numbers: int) -> Record | list[Record]:
        results = [record(number) for number in numbers]
        return results if len(results) > 1 else results[0]

    async with opened(down(), buffer=BufferLimits(max_records=2)) as publisher:
        await act(1)
        with pytest.raises(ExceptionGroup, match="2 of 3 events") as caught:
            await act(2, 3, 4)
        with pytest.raises(BufferFullError) as refused:
            await act(5)
        assert refused.value.result == record(5)
        assert [type(error) for error in caught.value.exceptions] == [BufferFullError] * 2
        assert publisher.statistics().unconfirmed == 2


# --- budgets and cancellation ------------------------------------------------------


async def test_budgets_around_the_call_count() -> None:
    """A ``delivery_budget`` and an anyio scope, as for a publish."""

    @emits(Noted)
    async def act() -> Noted:
        return Noted(key="k")

    async with opened(down()):
        with delivery_budget(3), pytest.raises(UnavailableError):
            await act()
        assert 2.9 <= now() <= 3.3
        began = now()
        with anyio.fail_after(2), pytest.raises(UnavailableError):
            await act()
        assert now() - began < 2


@pytest.mark.parametrize("on_failure", ["raise", "log"])
async def test_cancelled_it_behaves_as_publish_does(on_failure: Any) -> None:
    """After n turns of the loop, for all n: nowhere, or delivered; the cancellation goes through."""
    landed_once = withdrawn_once = False
    for steps in range(40):
        broker = one_partition()

        @emits("noted", on_failure=on_failure)
        async def act() -> Record:
            return record(1)

        async with opened(broker) as publisher:
            task = asyncio.create_task(act())
            await turns(steps)
            task.cancel()
            (result,) = await asyncio.gather(task, return_exceptions=True)
            await publisher.flush()
            landed, withdrawn = len(values(broker)), publisher.statistics().withdrawn
        assert isinstance(result, asyncio.CancelledError) or (landed, result) == (1, record(1))
        assert landed + withdrawn <= 1
        landed_once, withdrawn_once = landed_once or landed == 1, withdrawn_once or withdrawn == 1
    assert landed_once
    assert withdrawn_once


async def test_cancelled_inside_the_function_nothing_is_published() -> None:
    """It did not return."""

    @emits("noted")
    async def act() -> Record:
        await asyncio.sleep(10)
        return record(1)

    async with opened(one_partition()) as publisher:
        task = asyncio.create_task(act())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert publisher.statistics().attempts == 0


async def test_a_publish_error_of_the_function_itself_is_its_own() -> None:
    """A nested publish that failed is not taken for this one's failure."""

    @emits(Noted, on_failure="log")
    async def act() -> Noted:
        raise PublishError("own")

    async with opened(MemoryBroker()):
        with pytest.raises(PublishError, match="own") as caught:
            await act()
    assert caught.value.result is None
