"""What a client of the memory broker knows, asks and waits for."""

from __future__ import annotations

import asyncio

import pytest

from eventpub.abc import InDoubt, NotSent, ProducerId, Rejected, TopicPartition
from eventpub.exceptions import StartError, UsageError
from eventpub.transports.memory import MemoryBroker, MemoryTransport
from support import virtual_time
from tests.unit.transports.memory.conftest import Client, Connect, acked


def now() -> float:
    """Return the virtual time."""
    return asyncio.get_running_loop().time()


@pytest.fixture
def strict() -> MemoryBroker:
    """A broker that creates no topic by itself."""
    return MemoryBroker(auto_create=False)


async def test_first_use_creates_a_topic(client: Client) -> None:
    """With as many partitions as the broker says, so that tests of users need no set-up."""
    assert await client.transport.partitions("new") == 4
    assert await client.send(client.batch(0, b"0"), 3, topic="new") == acked(0)


async def test_ready_creates_a_topic_too(client: Client) -> None:
    """It asks for the metadata if nobody has."""
    assert await client.transport.ready(TopicPartition("new", 0), "all") is None


async def test_unknown_topic_takes_four_answers(connect: Connect, strict: MemoryBroker) -> None:
    """A quarter of a second apart, then 3."""
    client = await connect(strict)
    assert await client.transport.partitions("missing") == Rejected(None, 3)
    assert now() == pytest.approx(0.75)
    assert strict.received["metadata"] == 4


async def test_topic_created_while_it_is_asked_for_is_found(connect: Connect, strict: MemoryBroker) -> None:
    """The next answer knows it."""
    client = await connect(strict)
    asking = asyncio.create_task(client.transport.partitions("late"))
    await asyncio.sleep(0.3)
    strict.create_topic("late", 2)
    assert await asking == 2


async def test_time_without_a_broker_does_not_count(connect: Connect, strict: MemoryBroker) -> None:
    """An outage says nothing about a topic."""
    client = await connect(strict)
    strict.down()
    asking = asyncio.create_task(client.transport.partitions("missing"))
    await asyncio.sleep(3600)
    assert not asking.done()
    strict.up()
    assert await asking == Rejected(None, 3)
    assert strict.injected["down"] >= 1


async def test_topic_known_before_gets_thirty_seconds(client: Client, broker: MemoryBroker) -> None:
    """And is unknown from then on, as quickly as any other."""
    assert await client.transport.partitions("t") == 4
    broker.delete_topic("t")
    assert await client.ready() == Rejected(None, 3)
    assert now() == pytest.approx(30, abs=0.3)
    began = now()
    assert await client.transport.partitions("t") == Rejected(None, 3)
    assert now() - began == pytest.approx(0.75)


async def test_partition_count_is_remembered(client: Client, broker: MemoryBroker) -> None:
    """Until asked to look again."""
    await client.transport.partitions("t")
    broker.down()
    assert await client.transport.partitions("t") == 4
    asking = asyncio.create_task(client.transport.partitions("t", fresh=True))
    await asyncio.sleep(10)
    assert not asking.done()
    broker.up()
    assert await asking == 4


async def test_added_partitions_are_told(client: Client, broker: MemoryBroker) -> None:
    """Of topics that were asked for."""
    broker.add_partitions("t", 5)
    assert client.counts == []
    await client.transport.partitions("t")
    broker.add_partitions("t", 7)
    assert client.counts == [("t", 7)]
    assert await client.transport.partitions("t") == 7


async def test_partitions_added_during_an_outage_are_told_after_it(client: Client, broker: MemoryBroker) -> None:
    """By the first answer."""
    await client.transport.partitions("t")
    broker.down()
    broker.add_partitions("t", 5)
    assert client.counts == []
    broker.up()
    assert client.counts == [("t", 5)]


async def test_partition_beyond_the_count_is_unknown(client: Client) -> None:
    """Waiting would not help."""
    assert await client.ready(4) == Rejected(None, 3)


async def test_producer_id_stays(client: Client) -> None:
    """One for all who ask, however often; another one only when it is used up."""
    again = await asyncio.gather(*(client.transport.producer_id() for _ in range(3)))
    assert set(again) == {client.producer}
    fresh = await client.transport.producer_id(stale=client.producer.id)
    assert isinstance(fresh, ProducerId)
    assert fresh.id != client.producer.id
    assert await client.transport.producer_id(stale=client.producer.id) == fresh


async def test_simultaneous_askers_get_one_new_producer_id(client: Client, broker: MemoryBroker) -> None:
    """Also when the answer takes time."""
    broker.latency(0.1)
    stale = client.producer.id
    fresh = await asyncio.gather(*(client.transport.producer_id(stale=stale) for _ in range(3)))
    assert len(set(fresh)) == 1
    assert broker.received["producer_id"] == 2


async def test_producer_id_waits_for_a_broker(client: Client, broker: MemoryBroker) -> None:
    """As long as it takes."""
    broker.pause()
    asking = asyncio.create_task(client.transport.producer_id(stale=client.producer.id))
    await asyncio.sleep(600)
    assert not asking.done()
    broker.resume()
    assert isinstance(await asking, ProducerId)


async def test_connected_waits_for_a_broker(broker: MemoryBroker) -> None:
    """Then it returns at once, whatever happens later."""
    broker.down()
    client = Client(broker)
    await client.transport.start(client)
    waiting = asyncio.create_task(client.transport.connected())
    await asyncio.sleep(60)
    assert not waiting.done()
    broker.up()
    await waiting
    broker.down()
    await client.transport.connected()
    await client.transport.aclose(0)


async def test_refusal_ends_the_wait_for_a_connection(broker: MemoryBroker) -> None:
    """Also when it comes later."""
    broker.down()
    client = Client(broker)
    await client.transport.start(client)
    waiting = asyncio.create_task(client.transport.connected())
    await asyncio.sleep(1)
    broker.refuse_clients("certificate expired")
    broker.up()
    with pytest.raises(StartError, match="certificate"):
        await waiting
    assert broker.injected["refuse_clients"] == 0  # nobody knocked
    await client.transport.aclose(0)


async def test_close_ends_every_wait(broker: MemoryBroker) -> None:
    """With a value, or where there is none with `StartError`."""
    broker.down()
    client = Client(broker)
    transport = client.transport
    await transport.start(client)
    waiting = [
        asyncio.create_task(call)
        for call in (
            transport.partitions("t"),
            transport.producer_id(),
            client.ready(),
            transport.connected(),
        )
    ]
    await asyncio.sleep(1)
    await transport.aclose(now())
    count, producer, ready, connected = await asyncio.gather(*waiting, return_exceptions=True)
    assert count == producer == Rejected(None, 8, message="the transport was closed")
    assert ready is None
    assert isinstance(connected, StartError)
    assert isinstance(await client.send(client.batch(0, b"0")), NotSent)
    assert await client.ready() is None


async def test_transport_is_started_once(client: Client) -> None:
    """Another one on the same broker does what a second start would."""
    with pytest.raises(UsageError, match="once"):
        await client.transport.start(client)


async def test_unstarted_transport_is_refused(broker: MemoryBroker) -> None:
    """A mistake of the caller's, not an outcome."""
    client = Client(broker)
    with pytest.raises(UsageError, match="not started"):
        await client.send(client.batch(None, b"0"))
    await client.transport.aclose(0)


async def test_successor_of_a_closed_client_goes_on(connect: Connect, broker: MemoryBroker) -> None:
    """What the first one left in the network still lands, and does not harm."""
    first = await connect()
    await first.put(0, b"first")
    broker.hold_next()
    sending = asyncio.create_task(first.put(1, b"late"))
    await asyncio.sleep(0.1)
    await first.transport.aclose(now())
    await sending
    second = await connect()
    assert await second.put(0, b"second") == acked(1)
    broker.release()
    assert second.log() == [b"first", b"second", b"late"]


def test_broker_outlives_a_loop() -> None:
    """What a client of an earlier loop left in the network may arrive in the time of a later one."""
    broker = MemoryBroker()
    broker.create_topic("t")
    broker.hold_next()

    async def send(value: bytes) -> object:
        client = Client(broker)
        await client.open()
        result = await client.put(0, value)
        await client.aclose()
        return result

    assert isinstance(virtual_time.run(send(b"late")), InDoubt)
    broker.stall_replication("t", 0)
    broker.release()
    broker.resume_replication("t", 0)
    assert virtual_time.run(send(b"next")) == acked(1)
    assert [record.value for record in broker.records("t")] == [b"late", b"next"]


async def test_closed_transport_hears_nothing_more(client: Client, broker: MemoryBroker) -> None:
    """The broker keeps no trace of it."""
    await client.transport.partitions("t")
    await client.transport.aclose(0)
    broker.add_partitions("t", 5)
    broker.down()
    assert client.counts == []


async def test_status_lines(client: Client, broker: MemoryBroker) -> None:
    """A ``repr`` is a status line, and shows no payload."""
    await client.put(0, b"secret")
    assert repr(broker) == "<MemoryBroker 1 of 1 brokers answer, topics: 1>"
    assert repr(MemoryTransport(broker)) == f"<MemoryTransport new on {broker!r}>"
    assert repr(client.transport) == f"<MemoryTransport open on {broker!r}>"
    await client.transport.aclose(0)
    assert repr(client.transport) == f"<MemoryTransport closed on {broker!r}>"
    assert repr(broker.records("t")) == "(<LoggedRecord t[0]@0 value=6B key=1B headers=0>,)"
