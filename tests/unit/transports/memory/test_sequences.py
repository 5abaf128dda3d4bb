"""Sequences, epochs and doubt: what Apache Kafka was seen to do, the memory broker does."""

from __future__ import annotations

import asyncio

import pytest

from eventpub.abc import Acked, InDoubt, NotSent, ProducerId, Rejected, Stamp, Unacknowledged
from eventpub.record import Record
from eventpub.transports.memory import MemoryBroker
from tests.unit.transports.memory.conftest import NOW, Client, Connect, acked, code

TWO_HOURS = 7_200_000


# --- definite rejections cost no sequence -----------------------------------------------------


async def test_too_large_batch_costs_no_sequence(client: Client, broker: MemoryBroker) -> None:
    """10, 10, then another batch under the same sequence, and a gap is still 45."""
    broker.create_topic("small", max_message_bytes=2000)
    large = client.batch(1, b"x" * 5000)
    assert await client.send(client.batch(0, b"0"), topic="small") == acked(0)
    assert code(await client.send(large, topic="small")) == 10
    assert await client.send(large, topic="small") == Rejected("memory:1", 10)  # nobody is named guilty
    assert await client.send(client.batch(1, b"1"), topic="small") == acked(1)
    assert await client.send(client.batch(2, b"2"), topic="small") == acked(2)
    assert code(await client.send(client.batch(5, b"5"), topic="small")) == 45
    assert client.log(topic="small") == [b"0", b"1", b"2"]


async def test_timestamp_too_far_ahead_costs_no_sequence(client: Client) -> None:
    """32 names the record and the reason, and the sequence is given back."""
    await client.put(0, b"0")
    result = await client.send(client.batch(1, b"late", timestamp=NOW + TWO_HOURS))
    assert code(result) == 32
    assert isinstance(result, Rejected)
    assert [index for index, _ in result.record_errors] == [0]
    assert "out of range" in result.record_errors[0][1]
    assert await client.put(1, b"1") == acked(1)


async def test_timestamp_less_than_an_hour_ahead_is_taken(client: Client) -> None:
    """The limit is one hour, as of Kafka 4."""
    assert await client.send(client.batch(0, b"0", timestamp=NOW + 3_599_000)) == acked(0)


async def test_missing_key_on_a_compacted_topic_costs_no_sequence(client: Client, broker: MemoryBroker) -> None:
    """87 names the record, and the sequence is given back."""
    broker.create_topic("compacted", compacted=True)
    assert await client.send(client.batch(0, b"0"), topic="compacted") == acked(0)
    result = await client.send(client.batch(1, b"keyless", key=None), topic="compacted")
    assert code(result) == 87
    assert isinstance(result, Rejected)
    assert result.record_errors == ((0, "Compacted topic cannot accept message without key"),)
    assert await client.send(client.batch(1, b"1"), topic="compacted") == acked(1)


async def test_revoked_permission_costs_no_sequence(client: Client, broker: MemoryBroker) -> None:
    """29, 29, then another record under the same sequence once it is granted again."""
    await client.put(0, b"0")
    broker.deny("t")
    assert code(await client.put(1, b"1")) == 29
    assert code(await client.put(1, b"1")) == 29
    broker.allow("t")
    assert await client.put(1, b"other") == acked(1)
    assert broker.injected["deny"] == 2


async def test_too_few_replicas_cost_no_sequence(client: Client, broker: MemoryBroker) -> None:
    """19 at once, nothing in the log, and other records go in under the same sequence."""
    broker.not_enough_replicas("t", 0)
    assert code(await client.put(0, b"refused")) == 19
    broker.enough_replicas("t", 0)
    assert await client.put(0, b"0") == acked(0)
    assert client.log() == [b"0"]
    assert broker.injected["not_enough_replicas"] == 1


async def test_all_guilty_records_are_listed(client: Client) -> None:
    """Indexes count from 0 in the batch; the good ones go in under the same sequence."""
    stamp = Stamp(client.producer.id, 0, 0)
    records = [Record("t", b"%d" % index, timestamp=NOW + (TWO_HOURS if index in {1, 3} else 0)) for index in range(5)]
    result = await client.send(client.encode(records, stamp))
    assert isinstance(result, Rejected)
    assert [index for index, _ in result.record_errors] == [1, 3]
    assert await client.put(0, b"0", b"2", b"4") == acked(0)


async def test_a_late_and_a_keyless_record_are_both_listed(client: Client, broker: MemoryBroker) -> None:
    """Where both are wrong the code is 32, as in Kafka's LogValidator."""
    broker.create_topic("compacted", compacted=True)
    records = [
        Record("t", b"late", b"k", timestamp=NOW + TWO_HOURS),
        Record("t", b"good", b"k", timestamp=NOW),
        Record("t", b"keyless", timestamp=NOW),
    ]
    batch = client.encode(records, Stamp(client.producer.id, 0, 0))
    result = await client.send(batch, topic="compacted")
    assert code(result) == 32
    assert isinstance(result, Rejected)
    assert [index for index, _ in result.record_errors] == [0, 2]


async def test_each_partition_of_a_request_is_answered_for_itself(client: Client, broker: MemoryBroker) -> None:
    """ok, 32, ok, 29: one guilty partition does not touch its neighbours."""
    broker.create_topic("denied")
    broker.deny("denied")
    results = await asyncio.gather(
        client.put(0, b"a", partition=0),
        client.send(client.batch(0, b"late", timestamp=NOW + TWO_HOURS), 1),
        client.put(0, b"c", partition=2),
        client.send(client.batch(0, b"d"), topic="denied"),
    )
    assert [r.code if isinstance(r, Rejected) else r for r in results] == [acked(0), 32, acked(0), 29]
    assert broker.received["produce"] == 1


async def test_first_use_of_a_producer_id_may_begin_anywhere(client: Client) -> None:
    """A sequence is checked only against what the partition remembers."""
    assert await client.put(7, b"7") == acked(0)
    assert code(await client.put(7 + 2, b"9")) == 45
    assert await client.put(8, b"8") == acked(1)


async def test_batch_without_records_is_refused(client: Client) -> None:
    """87, with nothing listed."""
    result = await client.send(client.batch(0))
    assert code(result) == 87
    assert isinstance(result, Rejected)
    assert result.record_errors == ()


async def test_corrupt_batch_costs_no_sequence(client: Client) -> None:
    """2 comes before anything is written."""
    good = client.batch(0, b"0")
    broken = type(good)(good.data[:-3], good.count, good.stamp)
    assert code(await client.send(broken)) == 2
    assert await client.send(good) == acked(0)


# --- doubt ------------------------------------------------------------------------------------


async def test_resend_after_a_lost_ack_gets_the_original_offset(client: Client, broker: MemoryBroker) -> None:
    """One copy in the log, and the next sequence is fine."""
    await client.put(0, b"0")
    broker.lose_next_ack()
    batch = client.batch(1, b"1")
    assert isinstance(await client.send(batch), InDoubt)
    assert await client.send(batch) == acked(1)
    assert await client.put(2, b"2") == acked(2)
    assert client.log() == [b"0", b"1", b"2"]


async def test_without_a_producer_id_a_resend_is_written_twice(client: Client, broker: MemoryBroker) -> None:
    """Nothing recognises it."""
    broker.lose_next_ack()
    batch = client.batch(None, b"x")
    await client.send(batch)
    assert await client.send(batch) == acked(1)
    assert client.log() == [b"x", b"x"]


async def test_held_copy_that_arrives_after_the_resend_is_dropped(client: Client, broker: MemoryBroker) -> None:
    """One copy, whichever came first."""
    broker.hold_next()
    batch = client.batch(0, b"0")
    assert isinstance(await client.send(batch), InDoubt)
    assert await client.send(batch) == acked(0)
    assert broker.release() == 1
    assert client.log() == [b"0"]


async def test_producer_state_moves_with_the_leader(connect: Connect) -> None:
    """The new leader knows the batch whose ack was lost, still refuses a gap, and fences the old epoch."""
    broker = MemoryBroker(brokers=2, now=lambda: NOW)
    broker.create_topic("t")
    client = await connect(broker)
    broker.lose_next_ack()
    batch = client.batch(0, b"0")
    await client.send(batch)
    broker.move_leader("t", 0, 2)
    assert await client.send(batch) == acked(0, broker=2)
    assert await client.put(1, b"1") == acked(1, broker=2)
    assert code(await client.put(3, b"3")) == 45
    assert await client.put(0, b"new", epoch=1) == acked(2, broker=2)
    assert code(await client.put(2, b"2")) == 47


async def test_other_records_under_a_sequence_in_doubt_are_silently_lost(client: Client, broker: MemoryBroker) -> None:
    """Only (first, last) sequence is compared: success with the old offset, the new records nowhere."""
    await client.put(0, b"0")
    broker.lose_next_ack()
    await client.put(1, b"OLD")
    assert await client.put(1, b"NEW") == acked(1)
    assert client.log() == [b"0", b"OLD"]


async def test_batch_in_doubt_that_was_cut_shorter_is_out_of_order(client: Client, broker: MemoryBroker) -> None:
    """A wedge that looks like a fault of the broker."""
    await client.put(0, b"0")
    broker.lose_next_ack()
    await client.put(1, b"1", b"2", b"3")
    assert code(await client.put(1, b"1", b"2")) == 45


async def test_skipping_a_batch_in_doubt_is_out_of_order_where_the_producer_is_known(
    client: Client, broker: MemoryBroker
) -> None:
    """A batch abandoned as if it had been written leaves a gap."""
    await client.put(0, b"0")
    broker.hold_next()
    await client.put(1, b"1")
    assert code(await client.put(2, b"2")) == 45


async def test_skipping_the_first_batch_of_a_producer_is_accepted(client: Client, broker: MemoryBroker) -> None:
    """And the late one is then refused: it is not in the log, and nobody is told."""
    broker.hold_next()
    await client.put(0, b"0")
    assert await client.put(1, b"1") == acked(0)
    broker.release()
    assert client.log() == [b"1"]


async def test_fresh_producer_id_does_not_fence(client: Client, broker: MemoryBroker) -> None:
    """The abandoned batch lands behind newer records: the order is broken."""
    broker.hold_next()
    await client.put(0, b"old")
    client.producer = ProducerId(client.producer.id + 100, 0)
    assert await client.put(0, b"new") == acked(0)
    broker.release()
    assert await client.put(1, b"new2") == acked(2)
    assert client.log() == [b"new", b"old", b"new2"]


@pytest.mark.parametrize("first_batch_of_the_producer", [True, False])
async def test_next_epoch_fences_what_is_held(
    client: Client, broker: MemoryBroker, *, first_batch_of_the_producer: bool
) -> None:
    """Same id, epoch + 1, sequence 0: the late batch is refused, also when it comes twice."""
    if not first_batch_of_the_producer:
        await client.put(0, b"before")
    old = client.batch(0 if first_batch_of_the_producer else 1, b"old")
    broker.hold_next()
    await client.send(old)
    await client.put(0, b"new", epoch=1)
    broker.release()
    assert code(await client.send(old)) == 47
    await client.put(1, b"new2", epoch=1)
    assert client.log()[-2:] == [b"new", b"new2"]
    assert b"old" not in client.log()


async def test_held_batch_may_land_before_the_next_epoch(client: Client, broker: MemoryBroker) -> None:
    """Then both are in the log, in order."""
    broker.hold_next()
    await client.put(0, b"old")
    broker.release()
    assert await client.put(0, b"new", epoch=1) == acked(1)
    assert client.log() == [b"old", b"new"]


async def test_new_epoch_starts_at_zero(client: Client) -> None:
    """Epoch + 1 with sequence 1 is 45."""
    await client.put(0, b"0")
    assert code(await client.put(1, b"1", epoch=1)) == 45


async def test_epochs_may_jump(client: Client) -> None:
    """+9 is fine, going back is 47, and the last possible epoch is fine too."""
    await client.put(0, b"0")
    assert await client.put(0, b"9", epoch=9) == acked(1)
    assert code(await client.put(0, b"1", epoch=1)) == 47
    assert await client.put(0, b"last", epoch=32767) == acked(2)


async def test_five_batches_are_remembered(client: Client) -> None:
    """Of nine batches, resends of the last five get their offsets; older ones are 45, never 46."""
    batches = [client.batch(sequence, b"%d" % sequence) for sequence in range(9)]
    for batch in batches:
        await client.send(batch)
    resent = [await client.send(batch) for batch in batches]
    assert [code(result) for result in resent[:4]] == [45, 45, 45, 45]
    assert resent[4:] == [acked(4), acked(5), acked(6), acked(7), acked(8)]


async def test_prefix_of_a_written_batch_is_out_of_order(client: Client) -> None:
    """Two of three records under the same sequence are no duplicate."""
    await client.put(0, b"0", b"1", b"2")
    assert code(await client.put(0, b"0", b"1")) == 45


async def test_epochs_are_per_partition(client: Client) -> None:
    """One partition moves to the next epoch, the other goes on; a resend of an acked batch is then 47."""
    for partition in (0, 1):
        await client.put(0, b"0", partition=partition)
    assert await client.put(0, b"1", epoch=1, partition=0) == acked(1)
    assert await client.put(1, b"1", partition=1) == acked(1)
    assert code(await client.put(0, b"0", partition=0)) == 47


async def test_rejected_batch_of_the_next_epoch_does_not_fence(client: Client) -> None:
    """Only an append fences."""
    await client.put(0, b"0")
    rejected = client.batch(0, b"late", epoch=1, timestamp=NOW + TWO_HOURS)
    assert code(await client.send(rejected)) == 32
    assert await client.put(1, b"1") == acked(1)


async def test_sequences_wrap_to_zero(client: Client) -> None:
    """2³¹-1 is followed by 0, within a batch too, and resends across the wrap are recognised."""
    last = 2**31 - 1
    await client.put(last - 1, b"a")
    across = client.batch(last, b"b", b"c", b"d")
    assert await client.send(across) == acked(1)
    assert await client.send(across) == acked(1)
    assert await client.put(2, b"e") == acked(4)
    stamps = [record.stamp.sequence for record in client.broker.records("t")]
    assert stamps == [last - 1, last, 0, 1, 2]


async def test_sequences_are_per_producer(connect: Connect) -> None:
    """Two clients write to one partition without knowing of each other."""
    one, two = await connect(), await connect()
    assert one.producer.id != two.producer.id
    assert await one.put(0, b"one") == acked(0)
    assert await two.put(0, b"two") == acked(1)
    assert await one.put(1, b"one") == acked(2)


# --- replication ------------------------------------------------------------------------------


async def test_lagging_replicas_time_the_request_out(client: Client, broker: MemoryBroker) -> None:
    """7 with the offset after the broker's timeout; a resend waits again; then it is acked where it was."""
    await client.put(0, b"0")
    broker.stall_replication("t", 0)
    batch, loop = client.batch(1, b"1"), asyncio.get_running_loop()
    began = loop.time()
    assert await client.send(batch, timeout=5) == Rejected("memory:1", 7, 1)
    assert loop.time() - began == pytest.approx(2.0)  # at most, where a resend is harmless
    assert client.log() == [b"0"]
    assert await client.send(batch) == Rejected("memory:1", 7, 1)
    assert await client.put(2, b"2") == Rejected("memory:1", 7, 2)
    broker.resume_replication("t", 0)
    assert await client.send(batch) == acked(1)
    assert client.log() == [b"0", b"1", b"2"]
    assert broker.injected["stall_replication"] == 3


async def test_replicas_that_catch_up_end_the_wait(client: Client, broker: MemoryBroker) -> None:
    """The answer comes at once when nothing lags any more."""
    broker.stall_replication("t", 0)
    sending = asyncio.create_task(client.put(0, b"0"))
    await asyncio.sleep(0.3)
    broker.resume_replication("t", 0)
    assert await sending == acked(0)
    assert asyncio.get_running_loop().time() == pytest.approx(0.3)


async def test_too_few_replicas_hide_that_a_batch_is_in_the_log(client: Client, broker: MemoryBroker) -> None:
    """19 with offset -1 for a resend of what is there; later the original offset."""
    broker.lose_next_ack()
    batch = client.batch(0, b"0")
    await client.send(batch)
    broker.not_enough_replicas("t", 0)
    assert code(await client.send(batch)) == 19
    broker.enough_replicas("t", 0)
    assert await client.send(batch) == acked(0)


async def test_acks_one_waits_for_no_replica(client: Client, broker: MemoryBroker) -> None:
    """Neither too few of them nor lagging ones are looked at."""
    broker.not_enough_replicas("t", 0)
    broker.stall_replication("t", 0)
    assert await client.send(client.batch(None, b"0"), acks=1) == acked(0)


async def test_slow_partition_holds_up_the_whole_answer(client: Client, broker: MemoryBroker) -> None:
    """7 for the slow one, ok for the other, and both only after the broker's timeout."""
    broker.stall_replication("t", 0)
    results = await asyncio.gather(client.put(0, b"slow"), client.put(0, b"fast", partition=1))
    assert [*results] == [Rejected("memory:1", 7, 0), acked(0)]
    assert asyncio.get_running_loop().time() == pytest.approx(0.9)


async def test_slow_partition_holds_up_no_other_connection(client: Client, broker: MemoryBroker) -> None:
    """Each acks value has its own."""
    broker.stall_replication("t", 0)
    slow = asyncio.create_task(client.put(0, b"slow"))
    await asyncio.sleep(0.01)
    assert await client.send(client.batch(None, b"fast"), 1, acks=1) == acked(0)
    assert asyncio.get_running_loop().time() == pytest.approx(0.01)
    assert await slow == Rejected("memory:1", 7, 0)


@pytest.mark.parametrize("answered", [3, 6, 7])
async def test_error_after_the_append_tells_the_offset(client: Client, broker: MemoryBroker, answered: int) -> None:
    """Record kept: a resend gets the offset it had."""
    broker.reject_next(answered, appended=True)
    batch = client.batch(0, b"0")
    assert await client.send(batch) == Rejected("memory:1", answered, 0)
    assert await client.send(batch) == acked(0)
    assert client.log() == [b"0"]


async def test_record_may_be_gone_after_a_failover(client: Client, broker: MemoryBroker) -> None:
    """6 with an offset, then another record holds that offset, and the resend is written anew."""
    await client.put(0, b"0")
    broker.reject_next(6, appended=True)
    batch = client.batch(1, b"1")
    assert await client.send(batch) == Rejected("memory:1", 6, 1)
    broker.truncate("t", 0, 1)
    assert await client.send(client.batch(None, b"other")) == acked(1)
    assert await client.send(batch) == acked(2)
    assert client.log() == [b"0", b"other", b"1"]
    assert broker.injected["truncate"] == 1


async def test_broker_that_does_not_lead_says_so(connect: Connect) -> None:
    """6 with offset -1 for a request that was under way when the leader moved."""
    broker = MemoryBroker(brokers=2, now=lambda: NOW)
    broker.create_topic("t")
    client = await connect(broker)
    broker.latency(0.1)
    sending = asyncio.create_task(client.put(0, b"0"))
    await asyncio.sleep(0.01)
    broker.move_leader("t", 0, 2)
    assert await sending == Rejected("memory:1", 6)
    assert client.log() == []
    assert broker.injected["move_leader"] == 1


async def test_deleted_and_recreated_topic_takes_any_sequence(client: Client, broker: MemoryBroker) -> None:
    """Going on with the old id is a first use; what is older is 45 afterwards."""
    await client.put(0, b"0")
    await client.put(1, b"1")
    broker.delete_topic("t")
    broker.create_topic("t")
    assert await client.put(2, b"2") == acked(0)
    assert code(await client.put(1, b"1")) == 45
    assert await client.put(3, b"3") == acked(1)


async def test_late_request_for_a_deleted_topic_lands_in_its_successor(client: Client, broker: MemoryBroker) -> None:
    """Nothing protects against it."""
    broker.hold_next()
    await client.put(0, b"old")
    broker.delete_topic("t")
    broker.create_topic("t")
    broker.release()
    assert client.log() == [b"old"]


async def test_topic_deleted_under_way_is_unknown(client: Client, broker: MemoryBroker) -> None:
    """3 with offset -1."""
    broker.latency(0.1)
    sending = asyncio.create_task(client.put(0, b"0"))
    await asyncio.sleep(0.01)
    broker.delete_topic("t")
    assert code(await sending) == 3


async def test_added_partitions_touch_no_sequence(client: Client, broker: MemoryBroker) -> None:
    """Old partitions go on, the new one begins at its own first sequence."""
    await client.put(0, b"0")
    broker.add_partitions("t", 5)
    assert await client.put(1, b"1") == acked(1)
    assert await client.put(0, b"new", partition=4) == acked(0)


async def test_forgotten_producer_is_written_twice(client: Client, broker: MemoryBroker) -> None:
    """A broker that lost its producer state takes a resend for a first use."""
    batch = client.batch(0, b"0")
    await client.send(batch)
    broker.forget_producers("t", 0)
    assert await client.send(batch) == acked(1)
    assert broker.injected["forget_producers"] == 1


async def test_acks_zero_checks_sequences_too(client: Client) -> None:
    """The batch is dropped as it would be with acks, only nobody is told."""
    await client.put(0, b"0")
    assert await client.send(client.batch(5, b"5"), acks=0) == Unacknowledged("memory:1")
    assert client.log() == [b"0"]


async def test_partition_without_a_leader_is_not_written_to(client: Client, broker: MemoryBroker) -> None:
    """There is nobody to send to."""
    broker.leaderless("t", 0)
    assert isinstance(await client.put(0, b"0"), NotSent)
    broker.leader_back("t", 0)
    assert isinstance(await client.put(0, b"0"), Acked)
