"""Start and readiness (rule 12): a publisher starts without a broker, and says whether it could deliver."""

from __future__ import annotations

import asyncio

import pytest

from eventpub import BufferFullError, BufferLimits, Delivery, Health, Publisher, PublisherState, StartError
from eventpub.transports.memory import MemoryBroker
from tests.publisher.kit import now, one_partition, opened, outcome, record, values


async def test_starts_without_a_broker() -> None:
    """Opening takes no time; events wait inside their budgets; readiness says why it is not there."""
    broker = one_partition()
    broker.down()
    async with opened(broker) as publisher:
        assert now() == 0
        assert publisher.state is PublisherState.OPEN
        health = publisher.health()
        assert not health
        assert str(health) == "not ready: memory:1 is down"
        pending = publisher.publish_nowait(record(1))
        await asyncio.sleep(5)
        broker.up()
        assert isinstance(await outcome(pending), Delivery)
        assert publisher.health() == Health(ready=True, reasons=())
        assert str(publisher.health()) == "ready"


async def test_health_follows_the_brokers() -> None:
    """Down, paused and refusing are told apart; one broker of several suffices."""
    broker = MemoryBroker(brokers=2)
    async with opened(broker) as publisher:
        await publisher.publish(record(1))
        broker.down(1)
        assert publisher.health()
        broker.pause(2)
        assert publisher.health().reasons == ("memory:1 is down", "memory:2 does not answer")
        broker.heal()
        assert publisher.health()


async def test_health_before_and_after_its_life() -> None:
    """A publisher that is not open is not ready, and says its state."""
    publisher = Publisher("memory://")
    assert publisher.health().reasons == ("the publisher is new",)
    await publisher.open()
    await publisher.aclose()
    assert publisher.health().reasons == ("the publisher is closed",)


async def test_health_before_the_first_contact() -> None:
    """As on Kafka: nobody has answered yet, and who never publishes gets ready all the same."""
    broker = one_partition()
    broker.latency(0.5)
    async with opened(broker) as publisher:
        assert publisher.health().reasons == ("no broker has answered yet",)
        await publisher.wait_ready(1)
        assert now() == pytest.approx(0.5, abs=0.05)
        assert publisher.statistics().attempts == 0


async def test_health_says_that_there_is_no_room() -> None:
    """Also where nobody waits for it, because `publish_nowait` does not; and it ends when there is room."""
    broker = one_partition()
    async with opened(broker, buffer=BufferLimits(max_records=2)) as publisher:
        await publisher.publish(record(1))
        broker.pause()
        pending = [publisher.publish_nowait(record(n)) for n in range(2)]
        with pytest.raises(BufferFullError):
            publisher.publish_nowait(record(3))
        assert publisher.health().reasons[-1] == "the buffer is full: publishes wait for room"
        broker.resume()
        await asyncio.gather(*pending)
        assert publisher.health()


async def test_wait_ready() -> None:
    """It returns when a broker is there, at once if one is."""
    broker = one_partition()
    broker.down()
    async with opened(broker) as publisher:
        waiting = asyncio.create_task(publisher.wait_ready(10))
        await asyncio.sleep(3)
        assert not waiting.done()
        broker.up()
        await waiting
        assert now() <= 3.1
        await publisher.wait_ready(10)
        assert now() <= 3.1


async def test_wait_ready_gives_up() -> None:
    """After its timeout it raises with the reasons."""
    broker = one_partition()
    broker.refuse_clients("bad password")
    async with opened(broker) as publisher:
        with pytest.raises(StartError, match="bad password"):
            await publisher.wait_ready(2)
        assert 2 <= now() <= 2.1


async def test_wait_ready_of_a_publisher_that_closes() -> None:
    """What cannot become ready any more is not waited for."""
    broker = one_partition()
    broker.down()
    async with opened(broker) as publisher:
        waiting = asyncio.create_task(publisher.wait_ready(100))
        await asyncio.sleep(1)
        await publisher.aclose(0)
        with pytest.raises(StartError, match="the publisher is draining"):
            await waiting
        assert now() <= 1.1


async def test_eager_start() -> None:
    """It returns once a broker has answered."""
    broker = one_partition()
    broker.latency(0.5)
    async with opened(broker, connect="eager") as publisher:
        assert now() == pytest.approx(0.5)
        assert publisher.state is PublisherState.OPEN
        assert publisher.health()


async def test_eager_start_while_the_broker_comes_up() -> None:
    """A broker that is there within ``start_timeout`` is early enough."""
    broker = one_partition()
    broker.down()
    asyncio.get_running_loop().call_later(4, broker.up)
    async with opened(broker, connect="eager", start_timeout=5) as publisher:
        assert now() == pytest.approx(4)
        await publisher.publish(record(1))


@pytest.mark.parametrize("timeout", [2, 10])
async def test_eager_start_without_a_broker(timeout: float) -> None:
    """After ``start_timeout`` it fails with the reason and a cause, and leaves a closed publisher."""
    broker = one_partition()
    broker.down()
    publisher = Publisher(broker, connect="eager", start_timeout=timeout)
    with pytest.raises(StartError, match=rf"start_timeout \({timeout} s\): memory:1 is down") as caught:
        await publisher.open()
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert now() == pytest.approx(timeout)
    assert publisher.state is PublisherState.CLOSED


async def test_eager_start_that_is_refused() -> None:
    """Wrong credentials fail at once: waiting would not help."""
    broker = one_partition()
    broker.refuse_clients("bad password")
    publisher = Publisher(broker, connect="eager")
    with pytest.raises(StartError, match="bad password"):
        await publisher.open()
    assert now() == 0
    assert publisher.state is PublisherState.CLOSED


async def test_another_publisher_after_a_failed_start() -> None:
    """A failed start leaves nothing that would hinder the next."""
    broker = one_partition()
    broker.down()
    with pytest.raises(StartError):
        await Publisher(broker, connect="eager", start_timeout=1).open()
    broker.up()
    async with opened(broker, connect="eager") as publisher:
        await publisher.publish(record(1))
    assert values(broker) == ["1"]


async def test_an_outage_after_the_start_heals_by_itself() -> None:
    """The same publisher delivers before, during (late) and after an outage: nothing has to be restarted."""
    broker = one_partition()
    async with opened(broker) as publisher:
        for n in range(5):
            await publisher.publish(record(n))
            broker.down()
            pending = publisher.publish_nowait(record(f"{n} late"))
            await asyncio.sleep(3)
            assert not publisher.health()
            broker.up()
            await pending
            assert publisher.health()
        assert len(values(broker)) == 10


async def test_statistics_are_a_snapshot() -> None:
    """They are frozen at the moment of the call."""
    broker = one_partition()
    broker.latency(1)
    async with opened(broker) as publisher:
        pending = publisher.publish_nowait(record("12345"))
        before = publisher.statistics()
        assert (before.unconfirmed, before.persisted) == (1, 0)
        assert before.unconfirmed_bytes >= 5
        await pending
        assert before.unconfirmed == 1
        assert (publisher.statistics().unconfirmed, publisher.statistics().persisted) == (0, 1)
