"""Every verb does what it says, and counts that it did."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from eventpub.abc import Acked, AttemptResult, InDoubt, NotSent, Rejected, TopicPartition, Unacknowledged
from eventpub.exceptions import StartError, UsageError
from eventpub.transports.memory import MemoryBroker
from tests.unit.transports.memory.conftest import NOW, Client, Connect, acked, code


def now() -> float:
    """Return the virtual time."""
    return asyncio.get_running_loop().time()


# --- the next request, or batch of one ----------------------------------------------------------


async def test_reject_next_writes_nothing(client: Client, broker: MemoryBroker) -> None:
    """As often as it says, then no more."""
    broker.reject_next(19, times=2)
    assert code(await client.put(0, b"0")) == 19
    assert code(await client.put(0, b"0")) == 19
    assert await client.put(0, b"0") == acked(0)
    assert broker.injected["reject_next"] == 2


async def test_reject_next_hits_what_it_names(client: Client, broker: MemoryBroker) -> None:
    """Others pass, also in the same request, and the fault waits for its own."""
    broker.create_topic("other", 2)
    broker.reject_next(10, topic="t", partition=1)
    results = await asyncio.gather(
        client.put(0, b"0", partition=0),
        client.put(0, b"1", partition=1),
        client.send(client.batch(0, b"2"), 1, topic="other"),
    )
    assert [*results] == [acked(0), Rejected("memory:1", 10), acked(0)]


async def test_reject_next_names_guilty_records(client: Client, broker: MemoryBroker) -> None:
    """``record_errors`` are handed through."""
    broker.reject_next(87, record_errors=[(1, "bad")])
    assert await client.put(0, b"0", b"1") == Rejected("memory:1", 87, record_errors=((1, "bad"),))


async def test_reject_next_after_the_append_needs_an_append(client: Client, broker: MemoryBroker) -> None:
    """A batch that is refused anyway gets its own code, and the fault counts no effect."""
    await client.put(0, b"0")
    broker.reject_next(6, appended=True)
    assert code(await client.put(5, b"5")) == 45
    assert broker.injected["reject_next"] == 0


@pytest.mark.parametrize("wrong", [0, -2])
def test_reject_next_refuses_what_is_no_error_code(broker: MemoryBroker, wrong: int) -> None:
    """0 is success, and nothing is below -1."""
    with pytest.raises(UsageError, match="error codes"):
        broker.reject_next(wrong)


def test_fault_that_never_happens_is_refused(broker: MemoryBroker) -> None:
    """``times=0`` would script nothing."""
    with pytest.raises(UsageError, match="times"):
        broker.drop_next(0)


async def test_faults_act_in_the_order_of_the_script(client: Client, broker: MemoryBroker) -> None:
    """First come, first served, among those that concern a batch."""
    broker.reject_next(6)
    broker.reject_next(3, partition=1)
    broker.reject_next(7)
    answered = [code(await client.put(0, b"0", partition=partition)) for partition in (1, 1, 0)]
    assert answered == [6, 3, 7]


async def test_lost_ack_breaks_the_connection_at_once(client: Client, broker: MemoryBroker) -> None:
    """In doubt without waiting for the deadline; the record is there."""
    broker.lose_next_ack()
    result = await client.put(0, b"0")
    assert isinstance(result, InDoubt)
    assert isinstance(result.cause, ConnectionResetError)
    assert result.broker == "memory:1"
    assert now() == 0
    assert client.log() == [b"0"]
    assert broker.injected["lose_next_ack"] == 1


async def test_swallowed_ack_lasts_until_the_deadline(client: Client, broker: MemoryBroker) -> None:
    """Without ``disconnect`` nothing tells the client; then it can send again."""
    broker.lose_next_ack(disconnect=False)
    batch = client.batch(0, b"0")
    result = await client.send(batch, timeout=3)
    assert isinstance(result, InDoubt)
    assert isinstance(result.cause, TimeoutError)
    assert now() == pytest.approx(3)
    assert await client.send(batch) == acked(0)


async def test_lost_ack_puts_all_batches_of_the_request_in_doubt(client: Client, broker: MemoryBroker) -> None:
    """They shared a socket."""
    broker.lose_next_ack(partition=1)
    results = await asyncio.gather(*(client.put(0, b"x", partition=partition) for partition in (0, 1)))
    assert [type(result) for result in results] == [InDoubt, InDoubt]
    assert client.log() == [b"x", b"x"]
    assert broker.injected["lose_next_ack"] == 1


async def test_lost_ack_waits_for_a_request_that_has_one(client: Client, broker: MemoryBroker) -> None:
    """A request with acks=0 has no answer to lose."""
    broker.lose_next_ack()
    assert await client.send(client.batch(None, b"0"), acks=0) == Unacknowledged("memory:1")
    assert isinstance(await client.put(0, b"1"), InDoubt)


@pytest.mark.parametrize("disconnect, after", [(True, 0.0), (False, 1.0)])
async def test_dropped_request_never_arrives(
    client: Client, broker: MemoryBroker, *, disconnect: bool, after: float
) -> None:
    """In doubt for the client, at once or at its deadline, and not in the log."""
    broker.drop_next(disconnect=disconnect)
    assert isinstance(await client.put(0, b"0"), InDoubt)
    assert now() == pytest.approx(after)
    assert client.log() == []
    assert await client.put(0, b"0") == acked(0)
    assert broker.injected["drop_next"] == 1


async def test_dropped_request_with_acks_zero_is_not_noticed(client: Client, broker: MemoryBroker) -> None:
    """It was handed to the socket."""
    broker.drop_next()
    assert await client.send(client.batch(None, b"0"), acks=0) == Unacknowledged("memory:1")
    assert client.log() == []


async def test_held_request_lands_after_the_client_gave_up(client: Client, broker: MemoryBroker) -> None:
    """It closed the connection, so it hears nothing of it."""
    broker.hold_next()
    assert isinstance(await client.put(0, b"0", b"1"), InDoubt)
    assert now() == pytest.approx(1)
    assert client.log() == []
    assert broker.release() == 1
    assert client.log() == [b"0", b"1"]
    assert client.late == []
    assert broker.injected["hold_next"] == 1


async def test_held_request_released_in_time_is_acked(client: Client, broker: MemoryBroker) -> None:
    """As if the network had only been slow."""
    broker.hold_next()
    sending = asyncio.create_task(client.put(0, b"0"))
    await asyncio.sleep(0.5)
    assert not sending.done()
    broker.release()
    assert await sending == acked(0)


async def test_late_answer_reaches_the_listener(client: Client, broker: MemoryBroker) -> None:
    """Where the connection was kept; meanwhile it was free for others."""
    broker.hold_next(late_answer=True)
    batch = client.batch(0, b"0")
    assert isinstance(await client.send(batch), InDoubt)
    assert await client.put(0, b"x", partition=1) == acked(0)
    broker.release()
    assert client.late == [(("t", 0), batch, acked(0))]


async def test_late_answer_may_be_a_rejection(client: Client, broker: MemoryBroker) -> None:
    """A fenced one, here."""
    broker.hold_next(late_answer=True)
    batch = client.batch(0, b"old")
    await client.send(batch)
    await client.put(0, b"new", epoch=1)
    broker.release()
    assert client.late == [(("t", 0), batch, Rejected("memory:1", 47))]


async def test_late_answer_is_not_heard_when_the_connection_broke(client: Client, broker: MemoryBroker) -> None:
    """The request lands all the same."""
    broker.hold_next(late_answer=True)
    await client.put(0, b"0")
    broker.drop_next()
    await client.put(0, b"x", partition=1)
    broker.release()
    assert client.late == []
    assert client.log() == [b"0"]


async def test_held_requests_arrive_in_order(client: Client, broker: MemoryBroker) -> None:
    """Also those of several connections."""
    broker.hold_next(times=3)
    for sequence in range(3):
        await client.put(sequence, b"%d" % sequence)
    assert broker.release() == 3
    assert broker.release() == 0
    assert client.log() == [b"0", b"1", b"2"]


async def test_held_request_is_lost_on_a_broker_that_is_down(client: Client, broker: MemoryBroker) -> None:
    """Nobody is there to read it."""
    broker.hold_next()
    await client.put(0, b"0")
    broker.down()
    broker.release()
    broker.up()
    assert client.log() == []


async def test_not_sent_next_writes_nothing(client: Client, broker: MemoryBroker) -> None:
    """And says so."""
    broker.not_sent_next(partition=1)
    assert await client.put(0, b"0") == acked(0)
    assert isinstance(await client.put(0, b"1", partition=1), NotSent)
    assert await client.put(0, b"1", partition=1) == acked(0)
    assert broker.injected["not_sent_next"] == 1


async def test_script_can_be_forgotten(client: Client, broker: MemoryBroker) -> None:
    """What has not happened yet never does."""
    broker.reject_next(19, times=100)
    await client.put(0, b"0")
    broker.forget_script()
    assert await client.put(0, b"0") == acked(0)


# --- brokers ------------------------------------------------------------------------------------


async def test_paused_broker_reads_on_when_it_resumes(client: Client, broker: MemoryBroker) -> None:
    """What was written meanwhile lands first, in order; who gave up hears nothing."""
    await client.put(0, b"before")
    broker.pause()
    assert isinstance(await client.put(1, b"given up"), InDoubt)
    assert client.log() == [b"before"]
    broker.resume()
    assert await client.put(2, b"after") == acked(2)
    assert client.log() == [b"before", b"given up", b"after"]
    assert client.late == []
    assert broker.injected["pause"] >= 1


async def test_broker_that_resumes_in_time_is_only_slow(client: Client, broker: MemoryBroker) -> None:
    """The answer comes with the resume."""
    await client.put(0, b"0")
    broker.pause()
    sending = asyncio.create_task(client.put(1, b"1"))
    await asyncio.sleep(0.9)
    broker.resume()
    assert await sending == acked(1)


async def test_paused_broker_takes_no_new_connection(client: Client, broker: MemoryBroker) -> None:
    """After the first doubt the connection is gone, and nothing more is sent until it resumes."""
    await client.put(0, b"0")
    broker.pause()
    await client.put(1, b"1")
    assert isinstance(await client.put(1, b"1"), NotSent)
    assert client.transport.problems() == ("memory:1 does not answer",)


async def test_broker_that_goes_down_breaks_its_connections(client: Client, broker: MemoryBroker) -> None:
    """In doubt at once, and what it had not read is lost."""
    broker.latency(0.2)
    sending = asyncio.create_task(client.put(0, b"0"))
    await asyncio.sleep(0.05)
    broker.down()
    assert isinstance(await sending, InDoubt)
    assert now() == pytest.approx(0.05)
    broker.up()
    await asyncio.sleep(1)
    assert client.log() == []
    assert broker.injected["down"] >= 2


async def test_broker_that_goes_down_after_the_append_keeps_it(client: Client, broker: MemoryBroker) -> None:
    """Logs and producer state are on disk: a resend is recognised."""
    broker.latency(0.2)
    batch = client.batch(0, b"0")
    sending = asyncio.create_task(client.send(batch))
    await asyncio.sleep(0.15)
    broker.down()
    assert isinstance(await sending, InDoubt)
    broker.up()
    assert await client.send(batch) == acked(0)
    assert client.log() == [b"0"]


async def test_paused_broker_that_is_killed_reads_nothing(client: Client, broker: MemoryBroker) -> None:
    """What waited in its sockets dies with it."""
    await client.put(0, b"0")
    broker.pause()
    await client.put(1, b"1")
    broker.down()
    broker.up()
    broker.resume()
    assert client.log() == [b"0"]


async def test_nothing_is_sent_to_a_broker_that_is_down(client: Client, broker: MemoryBroker) -> None:
    """No byte was written."""
    broker.down()
    assert isinstance(await client.put(0, b"0"), NotSent)
    assert client.transport.problems() == ("memory:1 is down",)
    broker.up()
    assert client.transport.problems() == ()
    assert await client.put(0, b"0") == acked(0)


async def test_clogged_socket_takes_no_bytes(client: Client, broker: MemoryBroker) -> None:
    """With acks=0 too: in doubt at the deadline, and what was given up is not written later."""
    broker.clog()
    results = await asyncio.gather(
        client.put(0, b"0"),
        client.send(client.batch(None, b"1"), acks=0),
        client.send(client.batch(None, b"2"), acks=1),
    )
    assert [type(result) for result in results] == [InDoubt] * 3
    broker.unclog()
    assert client.log() == []
    assert broker.injected["clog"] == 3


async def test_socket_that_drains_in_time_is_only_slow(client: Client, broker: MemoryBroker) -> None:
    """What waits in it is written then."""
    broker.clog()
    sending = asyncio.gather(client.put(0, b"0"), client.send(client.batch(None, b"1"), 1, acks=0))
    await asyncio.sleep(0.5)
    broker.unclog()
    assert [*await sending] == [acked(0), Unacknowledged("memory:1")]
    assert sorted(map(str, client.log())) == ["b'0'", "b'1'"]


async def test_latency_is_a_round_trip(client: Client, broker: MemoryBroker) -> None:
    """The append comes after half of it, the answer after all of it."""
    broker.latency(0.4)
    sending = asyncio.create_task(client.put(0, b"0"))
    await asyncio.sleep(0.19)
    assert client.log() == []
    await asyncio.sleep(0.02)
    assert client.log() == [b"0"]
    assert await sending == acked(0)
    assert now() == pytest.approx(0.4)
    assert broker.injected["latency"] == 1


async def test_latency_beyond_the_deadline_leaves_doubt_and_a_record(client: Client, broker: MemoryBroker) -> None:
    """A request given up by the client is written whenever the broker still gets it."""
    broker.latency(3)
    assert isinstance(await client.put(0, b"0"), InDoubt)
    assert client.log() == []
    await asyncio.sleep(1)
    assert client.log() == [b"0"]


async def test_throttle_mutes_the_connection(client: Client, broker: MemoryBroker) -> None:
    """The answer comes at once; `ready` waits, on this connection only."""
    broker.throttle(5)
    assert await client.put(0, b"0") == acked(0)
    assert now() == 0
    await client.ready(0, acks=1)
    assert now() == 0
    await client.ready(1)
    assert now() == pytest.approx(5)
    assert broker.injected["throttle"] == 1


async def test_refused_clients_cannot_connect(connect: Connect, broker: MemoryBroker) -> None:
    """Who is connected stays; who comes is told why not."""
    inside, outside = await connect(), Client(broker)
    await inside.put(0, b"0")
    broker.refuse_clients("SASL authentication failed")
    await outside.transport.start(outside)
    with pytest.raises(StartError, match="SASL"):
        await outside.transport.connected()
    assert outside.transport.problems() == ("memory:1 SASL authentication failed",)
    assert await inside.put(1, b"1") == acked(1)
    broker.accept_clients()
    await outside.transport.connected()
    await outside.transport.aclose(0)


async def test_one_slow_broker_holds_up_no_other(connect: Connect) -> None:
    """Connections are per broker."""
    broker = MemoryBroker(brokers=3, now=lambda: NOW)
    broker.create_topic("t", 3)
    client = await connect(broker)
    broker.latency(0.5, broker=2)
    slow = asyncio.create_task(client.put(0, b"slow", partition=1))
    await asyncio.sleep(0)
    assert await client.put(0, b"fast") == acked(0)
    assert await client.put(0, b"fast", partition=2) == acked(0, broker=3)
    assert now() == 0
    assert await slow == acked(0, broker=2)


@pytest.mark.parametrize("verb", ["pause", "down", "clog"])
async def test_verbs_hit_the_broker_they_name(connect: Connect, verb: str) -> None:
    """Only that one; the others answer."""
    broker = MemoryBroker(brokers=2, now=lambda: NOW)
    broker.create_topic("t", 2)
    client = await connect(broker)
    hit: Callable[..., None] = getattr(broker, verb)
    await client.put(0, b"0", partition=1)
    hit(broker=2)
    assert await client.put(0, b"0") == acked(0)
    assert not isinstance(await client.put(1, b"1", partition=1), Acked)
    assert client.transport.problems() == ()


def test_broker_that_does_not_exist_is_refused(broker: MemoryBroker) -> None:
    """With the ids that do."""
    with pytest.raises(UsageError, match="1 to 1"):
        broker.down(2)


@pytest.mark.parametrize("verb", ["latency", "throttle"])
def test_negative_seconds_are_refused(broker: MemoryBroker, verb: str) -> None:
    """Time does not run backwards."""
    with pytest.raises(UsageError, match="-1"):
        getattr(broker, verb)(-1)


# --- partitions and permissions -------------------------------------------------------------------


async def test_leaderless_partition_is_waited_for(client: Client, broker: MemoryBroker) -> None:
    """`ready` returns when its leader is back; other partitions are not touched."""
    broker.leaderless("t", 0)
    assert not client.transport.has_leader(TopicPartition("t", 0))
    waiting = asyncio.create_task(client.ready())
    assert await client.ready(1) is None
    await asyncio.sleep(60)
    assert not waiting.done()
    broker.leader_back("t", 0)
    assert await waiting is None
    assert client.transport.has_leader(TopicPartition("t", 0))
    assert broker.injected["leaderless"] >= 1


async def test_request_under_way_to_a_former_leader_is_refused(client: Client, broker: MemoryBroker) -> None:
    """6, and the partition has nobody to ask next."""
    broker.latency(0.2)
    sending = asyncio.create_task(client.put(0, b"0"))
    await asyncio.sleep(0.05)
    broker.leaderless("t", 0)
    assert code(await sending) == 6


async def test_moved_leader_frees_who_waits_for_the_old_one(connect: Connect) -> None:
    """A lane that waited for a busy connection goes on over the new leader's."""
    broker = MemoryBroker(brokers=2, now=lambda: NOW)
    broker.create_topic("t", 3)
    client = await connect(broker)
    broker.latency(5, broker=1)
    sending = asyncio.create_task(client.put(0, b"0"))
    await asyncio.sleep(0.1)
    waiting = asyncio.create_task(client.ready(2))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    broker.move_leader("t", 2, 2)
    await waiting
    assert now() == pytest.approx(0.2)
    await sending


async def test_denied_topic_is_denied_in_its_metadata_too(client: Client, broker: MemoryBroker) -> None:
    """Whoever lacks WRITE and has no other right may not even look."""
    broker.deny("t")
    assert await client.transport.partitions("t") == Rejected(None, 29)
    broker.allow("t")
    assert await client.transport.partitions("t") == 4


async def test_denied_producer_id(client: Client, broker: MemoryBroker) -> None:
    """31, until it is allowed again."""
    broker.deny_producer_ids()
    used_up = client.producer.id
    assert await client.transport.producer_id(stale=used_up) == Rejected(None, 31)
    broker.allow_producer_ids()
    assert await client.transport.producer_id(stale=used_up) != Rejected(None, 31)
    assert broker.injected["deny_producer_ids"] == 1


async def test_heal_takes_everything_back(client: Client, broker: MemoryBroker) -> None:
    """Except the log, and what is held."""
    broker.hold_next()
    await client.put(0, b"held", partition=3)
    for broken in _everything(broker):
        broken()
    broker.heal()
    for partition in range(4):
        assert await client.put(1, b"x", partition=partition) == acked(0)
    assert now() == pytest.approx(1)
    assert await client.transport.producer_id(stale=client.producer.id) != Rejected(None, 31)
    assert broker.release() == 1


def _everything(broker: MemoryBroker) -> list[Callable[[], None]]:
    return [
        broker.pause,
        broker.down,
        broker.clog,
        broker.refuse_clients,
        broker.deny_producer_ids,
        lambda: broker.latency(9),
        lambda: broker.throttle(9),
        lambda: broker.reject_next(19),
        lambda: broker.deny("t"),
        lambda: broker.leaderless("t", 0),
        lambda: broker.not_enough_replicas("t", 1),
        lambda: broker.stall_replication("t", 2),
    ]


async def test_verbs_work_while_the_loop_stands_still(client: Client, broker: MemoryBroker) -> None:
    """State machines call them between two runs of the loop: nothing asks for a running one."""

    def release_and_go_on() -> None:
        broker.latency(0.1)
        broker.release()
        broker.resume()

    broker.hold_next()
    sending: asyncio.Task[AttemptResult] = asyncio.create_task(client.put(0, b"0"))
    await asyncio.sleep(0.1)
    await asyncio.to_thread(release_and_go_on)  # a thread has no running loop
    assert await sending == acked(0)
