"""What every `eventpub.abc.Transport` does: the seam between the engine and a log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

import pytest

from eventpub.abc import (
    Acked,
    Acks,
    AttemptResult,
    CallbackTransport,
    Compression,
    InDoubt,
    NotSent,
    ProducerId,
    Rejected,
    TopicPartition,
    Unacknowledged,
)
from eventpub.exceptions import StartError, UsageError
from eventpub.record import Record
from support.callbacks import callback_numbers
from tests.contract.client import TIMESTAMP, Client
from tests.contract.clusters import Cluster
from tests.contract.conftest import Connect

SLACK = 0.25
"""What real time may add to a deadline."""

AHEAD = 2**42  # milliseconds: long after every clock that runs this


def now() -> float:
    """Return the loop's time."""
    return asyncio.get_running_loop().time()


async def turns(count: int) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


def offset(result: AttemptResult) -> int:
    """Return where an acked batch went."""
    assert isinstance(result, Acked), result
    assert result.broker is not None
    return result.offset


def refusal(result: object) -> Rejected:
    """Return a refusal that wrote nothing."""
    assert isinstance(result, Rejected), result
    assert result.offset == -1
    return result


async def values(cluster: Cluster, client: Client, partition: int = 0) -> list[bytes | None]:
    """Read one partition back."""
    return [record.value for record in await cluster.read(client.topic) if record.partition == partition]


async def eventually(look: Callable[[], Awaitable[object]], wanted: object) -> None:
    """Look until it is so, for up to ten seconds."""
    seen: object = None
    for _ in range(200):
        if (seen := await look()) == wanted:
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"still {seen!r}")


# --- acknowledged ---------------------------------------------------------------------------------


@pytest.mark.parametrize("acks", ["all", 1])
async def test_acked_offsets_are_consecutive_in_each_partition(cluster: Cluster, client: Client, acks: Acks) -> None:
    """An ack tells the offset of the batch's first record."""
    for partition in (0, 3):
        told = [
            offset(await client.send(client.batch(sequence, *[b"x"] * count), partition, acks=acks))
            for sequence, count in ((0, 2), (2, 1), (3, 3))
        ]
        assert told == [0, 2, 3]
        assert len(await values(cluster, client, partition)) == 6


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_records_are_read_back_as_they_were(cluster: Cluster, client: Client, compression: Compression) -> None:
    """Keys, tombstones, empty values, headers with duplicates, and each record's own timestamp."""
    headers = (("a", b"1"), ("a", b"2"), ("b", b""), ("ü", b"\xff\x00"))
    records = [
        Record(client.topic, b"value" * 100, b"key", headers, timestamp=TIMESTAMP),
        Record(client.topic, None, b"", timestamp=TIMESTAMP - 5),
        Record(client.topic, b"", None, (("none", None),), timestamp=TIMESTAMP + 5),
    ]
    batch = client.encode(records, client.stamp(0), compression)
    assert offset(await client.send(batch, 2)) == 0
    assert [tuple(record) for record in await cluster.read(client.topic)] == [
        (2, index, record.key, record.value, record.headers, record.timestamp) for index, record in enumerate(records)
    ]


async def test_batch_knows_its_stamp_and_its_size(client: Client) -> None:
    """The engine compares the stamp, and counts by the size."""
    batch = client.batch(5, b"0", b"1", b"2", epoch=1)
    assert batch.stamp == (client.producer.id, client.producer.epoch + 1, 5)
    assert batch.count == 3
    assert isinstance(batch.data, bytes)


async def test_batches_of_one_turn_are_answered_each_for_itself(cluster: Cluster, client: Client) -> None:
    """Whatever order the broker answers in."""
    sent = [client.put(0, *[b"%d" % partition] * (partition + 1), partition=partition) for partition in range(4)]
    assert [offset(result) for result in await asyncio.gather(*sent)] == [0, 0, 0, 0]
    for partition in range(4):
        assert await values(cluster, client, partition) == [b"%d" % partition] * (partition + 1)


async def test_two_clients_write_to_one_partition(cluster: Cluster, connect: Connect) -> None:
    """Each with its own producer id and sequences."""
    one = await connect()
    two = await connect(one.topic)
    assert one.producer.id != two.producer.id or cluster.lacks.get("deduplication")
    told = [offset(await each.put(sequence, b"x")) for sequence in (0, 1) for each in (one, two)]
    assert told == [0, 1, 2, 3]


async def test_acks_zero_ends_without_an_answer(cluster: Cluster, client: Client) -> None:
    """Handed to the socket; with a healthy broker it arrives."""
    result = await client.send(client.batch(None, b"0"), acks=0)
    assert isinstance(result, Unacknowledged)
    assert result.broker is not None
    await eventually(lambda: values(cluster, client), [b"0"])


# --- sequences --------------------------------------------------------------------------------------


async def test_same_batch_twice_is_one_record(cluster: Cluster, client: Client) -> None:
    """The second answer tells the original offset."""
    cluster.needs("deduplication")
    batch = client.batch(0, b"0")
    assert offset(await client.send(batch)) == 0
    assert offset(await client.put(1, b"1")) == 1
    assert offset(await client.send(batch)) == 0
    assert await values(cluster, client) == [b"0", b"1"]


async def test_gap_is_out_of_order(cluster: Cluster, client: Client) -> None:
    """45, and the right sequence goes in afterwards."""
    cluster.needs("deduplication")
    await client.put(0, b"0")
    assert refusal(await client.put(2, b"2")).code == 45
    assert offset(await client.put(1, b"1")) == 1


async def test_next_epoch_fences_the_one_before(cluster: Cluster, client: Client) -> None:
    """It starts at sequence 0 (else 45), and then the old one is 47; other partitions stay where they are."""
    cluster.needs("deduplication")
    await client.put(0, b"0")
    await client.put(0, b"0", partition=1)
    assert refusal(await client.put(1, b"1", epoch=1)).code == 45
    assert offset(await client.put(0, b"1", epoch=1)) == 1
    assert refusal(await client.put(1, b"old")).code == 47
    assert offset(await client.put(1, b"1", partition=1)) == 1


async def test_only_five_batches_are_remembered(cluster: Cluster, client: Client) -> None:
    """The sixth from the end is 45."""
    cluster.needs("deduplication")
    batches = [client.batch(sequence, b"%d" % sequence) for sequence in range(6)]
    for batch in batches:
        await client.send(batch)
    assert offset(await client.send(batches[1])) == 1
    assert refusal(await client.send(batches[0])).code == 45


async def test_only_sequences_are_compared(cluster: Cluster, client: Client) -> None:
    """Other bytes under the same sequences are taken for the same batch; a prefix of it is out of order."""
    cluster.needs("deduplication")
    await client.put(0, b"a", b"b", b"c")
    assert offset(await client.put(0, b"x", b"y", b"z")) == 0
    assert refusal(await client.put(0, b"a", b"b")).code == 45
    assert await values(cluster, client) == [b"a", b"b", b"c"]


async def test_epochs_may_jump(cluster: Cluster, client: Client) -> None:
    """But not go back; the last one is 32767."""
    cluster.needs("deduplication")
    await client.put(0, b"0")
    assert offset(await client.put(0, b"9", epoch=9)) == 1
    assert refusal(await client.put(0, b"1", epoch=1)).code == 47
    assert offset(await client.put(0, b"last", epoch=32767 - client.producer.epoch)) == 2


async def test_only_an_append_fences(cluster: Cluster, client: Client) -> None:
    """A batch of the next epoch that was refused leaves the old one where it is."""
    cluster.needs("deduplication", "validation")
    await client.put(0, b"0")
    assert refusal(await client.send(client.batch(0, b"late", epoch=1, timestamp=AHEAD))).code == 32
    assert offset(await client.put(1, b"1")) == 1


async def test_unknown_producer_may_begin_anywhere(cluster: Cluster, client: Client) -> None:
    """A sequence is checked against what the partition remembers, and nothing else."""
    cluster.needs("deduplication")
    assert offset(await client.put(7, b"7")) == 0
    assert refusal(await client.put(9, b"9")).code == 45


async def test_sequences_wrap_to_zero(cluster: Cluster, client: Client) -> None:
    """Within a batch too."""
    cluster.needs("deduplication")
    last = 2**31 - 1
    await client.put(last - 1, b"a")
    across = client.batch(last, b"b", b"c")
    assert offset(await client.send(across)) == 1
    assert offset(await client.send(across)) == 1
    assert offset(await client.put(1, b"d")) == 3


# --- refused ----------------------------------------------------------------------------------------


async def test_guilty_records_are_named(cluster: Cluster, client: Client) -> None:
    """32 lists every one of them; the others go in under the same sequence."""
    cluster.needs("validation")
    records = [
        Record(client.topic, b"%d" % index, timestamp=AHEAD if index in {1, 3} else TIMESTAMP) for index in range(5)
    ]
    answer = refusal(await client.send(client.encode(records, client.stamp(0))))
    assert answer.code == 32
    assert [index for index, _ in answer.record_errors] == [1, 3]
    assert offset(await client.put(0, b"0", b"2", b"4")) == 0


async def test_keyless_record_on_a_compacted_topic_is_named(cluster: Cluster, connect: Connect) -> None:
    """87."""
    cluster.needs("validation")
    client = await connect(await cluster.create_topic(compacted=True), partitions=1)
    answer = refusal(await client.send(client.batch(0, b"0", key=None)))
    assert answer.code == 87
    assert [index for index, _ in answer.record_errors] == [0]
    assert offset(await client.put(0, b"0")) == 0


async def test_what_is_wrong_with_records_comes_before_their_sequence(cluster: Cluster, client: Client) -> None:
    """Out of order and too far ahead: 32."""
    cluster.needs("validation")
    await client.put(0, b"0")
    assert refusal(await client.send(client.batch(5, b"5", timestamp=AHEAD))).code == 32


async def test_late_and_keyless_records_are_named_together(cluster: Cluster, connect: Connect) -> None:
    """The code is that of the timestamp."""
    cluster.needs("validation")
    client = await connect(await cluster.create_topic(compacted=True), partitions=1)
    records = [
        Record(client.topic, b"late", b"k", timestamp=AHEAD),
        Record(client.topic, b"good", b"k", timestamp=TIMESTAMP),
        Record(client.topic, b"keyless", timestamp=TIMESTAMP),
        Record(client.topic, b"late and keyless", timestamp=AHEAD),
    ]
    answer = refusal(await client.send(client.encode(records, client.stamp(0))))
    assert answer.code == 32
    assert [index for index, _ in answer.record_errors] == [0, 2, 3]


async def test_batch_that_is_too_large_costs_no_sequence(cluster: Cluster, connect: Connect) -> None:
    """10, and nobody is named."""
    cluster.needs("validation")
    client = await connect(await cluster.create_topic(max_message_bytes=2000), partitions=1)
    answer = refusal(await client.send(client.batch(0, b"x" * 5000, timestamp=AHEAD)))
    assert answer.code == 10  # size is looked at before the records
    assert answer.record_errors == ()
    assert offset(await client.put(0, b"0")) == 0


async def test_refused_acks_zero_batch_puts_nobody_else_in_doubt(cluster: Cluster, connect: Connect) -> None:
    """The broker closes the connection it came on; acks=all has one of its own."""
    cluster.needs("validation")
    client = await connect(await cluster.create_topic(max_message_bytes=2000), partitions=1)
    assert isinstance(await client.send(client.batch(None, b"x" * 5000), acks=0), Unacknowledged)
    for sequence in range(20):
        assert await client.ready() is None
        assert offset(await client.put(sequence, b"x")) == sequence
    assert await client.ready(0, acks=0) is None
    assert isinstance(await client.send(client.batch(None, b"y"), acks=0), Unacknowledged)


# --- topics and producer ids ------------------------------------------------------------------------


async def test_partition_count(client: Client) -> None:
    """From memory, and by a fresh look."""
    assert await client.transport.partitions(client.topic) == 4
    assert await client.transport.partitions(client.topic, fresh=True) == 4
    assert [client.transport.has_leader(client.at(partition)) for partition in range(4)] == [True] * 4


async def test_unknown_topic_takes_four_answers(client: Client) -> None:
    """At least a quarter of a second apart; then 3, in bounded time."""
    began = now()
    assert refusal(await client.transport.partitions("missing")).code == 3
    assert 0.75 <= now() - began < 5
    assert not client.transport.has_leader(TopicPartition("missing", 0))


async def test_nothing_is_ready_for_an_unknown_topic(client: Client) -> None:
    """Waiting would not help."""
    assert refusal(await client.transport.ready(TopicPartition("missing", 0), "all")).code == 3


async def test_nothing_is_ready_beyond_the_partition_count(client: Client) -> None:
    """3 as well."""
    assert refusal(await client.ready(4)).code == 3


async def test_added_partitions_are_told(cluster: Cluster, client: Client) -> None:
    """By the answer that shows them, and they can be written to."""
    cluster.needs("growth")
    await client.put(0, b"0")
    await cluster.add_partitions(client.topic, 6)
    await eventually(lambda: client.transport.partitions(client.topic, fresh=True), 6)
    assert client.counts == [(client.topic, 6)]
    assert await client.ready(5) is None
    assert offset(await client.put(0, b"new", partition=5)) == 0
    assert offset(await client.put(1, b"1")) == 1


async def test_producer_id_is_one_for_all_who_ask(client: Client) -> None:
    """And stays."""
    again = await asyncio.gather(*(client.transport.producer_id() for _ in range(3)))
    assert set(again) == {client.producer}
    assert await client.transport.producer_id(stale=client.producer.id + 1) == client.producer


async def test_stale_producer_id_is_replaced(client: Client) -> None:
    """Once, for all who ask; its sequences begin at 0."""
    stale = client.producer.id
    fresh = await asyncio.gather(*(client.transport.producer_id(stale=stale) for _ in range(3)))
    assert len(set(fresh)) == 1
    assert isinstance(fresh[0], ProducerId)
    assert fresh[0].id != stale
    assert await client.transport.producer_id() == fresh[0]
    await client.put(0, b"old")
    client.producer = fresh[0]
    assert offset(await client.put(0, b"new")) == 1


async def test_known_producer_id_is_what_would_be_returned(cluster: Cluster, client: Client) -> None:
    """None before there was one, and none in place of a stale one."""
    known = direct(client).known_producer_id
    assert known() == client.producer
    assert known(stale=client.producer.id) is None
    fresh = await client.transport.producer_id(stale=client.producer.id)
    assert known(stale=client.producer.id) == fresh
    other = Client(cluster.transport(), client.topic)
    await other.transport.start(other)
    assert direct(other).known_producer_id() is None
    await other.aclose()


async def test_connected_client_has_no_problems(client: Client) -> None:
    """A broker has answered."""
    await client.transport.connected()
    assert client.transport.problems() == ()


# --- ready ------------------------------------------------------------------------------------------


async def test_ready_does_not_suspend_on_a_free_connection(client: Client) -> None:
    """So that an idle lane pays nothing for it."""
    assert await client.ready() is None
    await client.put(0, b"0")
    waiting = client.ready(1)
    with pytest.raises(StopIteration) as ended:
        waiting.send(None)
    assert ended.value.value is None


async def test_ready_waits_while_a_request_is_in_flight(client: Client) -> None:
    """It is released by the answer, not before."""
    ended: list[str] = []

    async def ready(partition: int) -> None:
        assert await client.ready(partition) is None
        ended.append("ready")

    assert await client.ready() is None
    direct(client).post(client.at(), client.batch(0, b"0"), "all", now() + 5, lambda _: ended.append("answer"))
    await turns(2)
    await asyncio.gather(ready(1), ready(2))
    assert ended == ["answer", "ready", "ready"]


async def test_ready_on_another_acks_value_does_not_wait(cluster: Cluster, client: Client) -> None:
    """It has a connection of its own."""
    cluster.needs("faults")
    assert await client.ready() is None
    assert await client.ready(0, acks=1) is None
    cluster.faults.latency(0.5)
    sending = asyncio.create_task(client.put(0, b"0"))
    await asyncio.sleep(0.1)
    began = now()
    assert await client.ready(1, acks=1) is None
    assert now() - began < 0.2
    assert await client.ready(1) is None
    assert 0.3 < now() - began < 0.4 + SLACK
    assert offset(await sending) == 0


async def test_ready_waits_for_a_leader(cluster: Cluster, client: Client) -> None:
    """For as long as there is none; no answer says when that will be."""
    cluster.needs("faults")
    await client.put(0, b"0", partition=1)
    cluster.faults.leaderless(client.topic, 1)
    await client.transport.partitions(client.topic, fresh=True)
    waiting = asyncio.create_task(client.ready(1))
    await asyncio.sleep(1)
    assert not waiting.done()
    assert await client.ready(0) is None
    cluster.faults.leader_back(client.topic, 1)
    async with asyncio.timeout(10):
        assert await waiting is None
    assert offset(await client.put(1, b"1", partition=1)) == 1


async def test_broker_that_was_away_is_found_again(cluster: Cluster, client: Client) -> None:
    """Nothing is written meanwhile, and `ready` returns when it is back."""
    cluster.needs("faults")
    await client.put(0, b"0")
    cluster.faults.down()
    await asyncio.sleep(0.2)
    assert isinstance(await client.produce(client.batch(1, b"1")), NotSent)
    waiting = asyncio.create_task(client.ready())
    await asyncio.sleep(0.3)
    assert not waiting.done()
    cluster.faults.up()
    async with asyncio.timeout(10):
        assert await waiting is None
    assert offset(await client.put(1, b"1")) == 1


# --- posting ----------------------------------------------------------------------------------------


class Post:
    """One batch that was posted, and what its callback was told."""

    def __init__(self, client: Client, sequence: int, partition: int = 0, *, timeout: float = 5.0) -> None:
        self.batch = client.batch(sequence, b"%d" % sequence)
        self.told: list[AttemptResult] = []
        self.over = asyncio.Event()
        place, deadline = client.at(partition), now() + timeout
        self.posted = direct(client).post(place, self.batch, "all", deadline, self._note)
        assert self.told == [], "told before `post` had returned"

    def _note(self, result: AttemptResult) -> None:
        self.told.append(result)
        self.over.set()

    async def result(self) -> AttemptResult:
        """Return what it came to, and see to it that it is told once."""
        async with asyncio.timeout(10):
            await self.over.wait()
        await turns(5)
        (result,) = self.told
        return result


def direct(client: Client) -> CallbackTransport:
    """Return the client's transport, which has the optional methods."""
    assert isinstance(client.transport, CallbackTransport)
    return client.transport


async def test_post_tells_what_came_of_it(cluster: Cluster, client: Client) -> None:
    """Once, after it has returned; batches of one turn share a request, and each has its own answer."""
    assert await client.ready() is None
    posts = [Post(client, 0, partition) for partition in range(3)]
    assert [offset(await post.result()) for post in posts] == [0, 0, 0]
    assert await values(cluster, client, 2) == [b"0"]


@pytest.mark.parametrize("size, callbacks", [(100, 1), (100_000, 3)])
async def test_an_answer_for_much_tells_each_in_a_callback_of_its_own(
    size: int, callbacks: int, client: Client
) -> None:
    """What each does with it takes its time: all in one callback would hold the event loop."""
    assert await client.ready() is None
    told_in: list[int] = []
    over = asyncio.Event()

    def note(result: AttemptResult) -> None:
        assert offset(result) == 0
        told_in.append(number())
        if len(told_in) == 3:
            over.set()

    with callback_numbers() as number:
        for partition in range(3):
            direct(client).post(client.at(partition), client.batch(0, b"0" * size), "all", now() + 5, note)
        async with asyncio.timeout(10):
            await over.wait()
    assert len(set(told_in)) == callbacks


async def test_who_is_told_may_post_the_next(cluster: Cluster, client: Client) -> None:
    """The connection is free for it by then."""
    assert await client.ready() is None
    offsets: list[int] = []
    over = asyncio.Event()

    def post(sequence: int) -> None:
        assert direct(client).is_ready(client.at(), "all")
        direct(client).post(client.at(), client.batch(sequence, b"%d" % sequence), "all", now() + 5, go_on)

    def go_on(result: AttemptResult) -> None:
        offsets.append(offset(result))
        post(len(offsets)) if len(offsets) < 5 else over.set()

    post(0)
    async with asyncio.timeout(10):
        await over.wait()
    assert offsets == [0, 1, 2, 3, 4]
    assert await values(cluster, client) == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("way", ["call", "coroutine"])
async def test_a_busy_partition_keeps_no_other_waiting(way: str, cluster: Cluster, client: Client) -> None:
    """Who waits for an answer has his turn before what is posted at that answer is written."""
    cluster.needs("faults")
    assert await client.ready() is None
    cluster.faults.latency(0.02)
    told: list[str] = []
    over = asyncio.Event()

    def busy(result: AttemptResult | None = None) -> None:
        if result is not None:
            told.append(f"busy {offset(result)}")
        if (sequence := sum(name != "other" for name in told)) < 10:
            direct(client).post(client.at(), client.batch(sequence, b"x"), "all", now() + 5, busy)
        else:
            over.set()

    def other() -> None:
        if direct(client).is_ready(client.at(1), "all"):
            direct(client).post(client.at(1), client.batch(0, b"0"), "all", now() + 5, lambda _: told.append("other"))
        else:
            assert direct(client).call_when_ready(client.at(1), "all", other)
            assert direct(client).call_when_ready(client.at(1), "all", other)

    async def wait_and_send() -> None:
        await client.send(client.batch(0, b"0"), 1)
        told.append("other")

    busy()
    await turns(5)
    waiting = None if way == "call" else asyncio.create_task(wait_and_send())
    if way == "call":
        other()
    async with asyncio.timeout(10):
        await over.wait()
    assert told.count("other") == 1
    assert told.index("other") <= 3, told
    assert waiting is None or waiting.done()


async def test_is_ready_says_what_ready_would_wait_for(cluster: Cluster, client: Client) -> None:
    """A connection, and the answer of a request in flight."""
    cluster.needs("faults")
    assert await client.ready() is None
    cluster.faults.latency(0.1)
    post = Post(client, 0)
    await turns(3)
    assert not direct(client).is_ready(client.at(1), "all")
    assert offset(await post.result()) == 0
    assert direct(client).is_ready(client.at(1), "all")
    cluster.faults.down()
    await asyncio.sleep(0.2)
    assert not direct(client).is_ready(client.at(), "all")
    assert isinstance(await Post(client, 1).result(), NotSent)


async def test_post_cancelled_before_the_write_is_not_sent(cluster: Cluster, client: Client) -> None:
    """And nobody is told."""
    assert await client.ready() is None
    withdrawn, kept = Post(client, 0), Post(client, 0, 1)
    withdrawn.posted.cancel()
    assert offset(await kept.result()) == 0
    assert withdrawn.told == []
    assert await values(cluster, client) == []


async def test_post_cancelled_after_the_write_is_answered_late(cluster: Cluster, client: Client) -> None:
    """As a cancelled `produce` is; the connection lives on, until the answer or the deadline."""
    cluster.needs("faults")
    assert await client.ready() is None
    cluster.faults.latency(0.1)
    post = Post(client, 0)
    await turns(3)
    post.posted.cancel()
    async with asyncio.timeout(10):
        assert await client.ready(1) is None
    assert post.told == []
    ((place, batch, answer),) = client.late
    assert (place, batch) == (client.at(), post.batch)
    assert isinstance(answer, Acked)


async def test_post_cancelled_and_never_answered_frees_its_connection(cluster: Cluster, client: Client) -> None:
    """At its deadline, as if somebody still waited."""
    cluster.needs("faults")
    await client.put(0, b"0")
    cluster.faults.pause()
    post = Post(client, 1, timeout=0.3)
    await turns(3)
    post.posted.cancel()
    await asyncio.sleep(0.4)
    cluster.faults.resume()
    async with asyncio.timeout(10):
        assert await client.ready(1) is None
    assert post.told == []


async def test_post_too_late_or_after_the_close_is_not_sent(cluster: Cluster, client: Client) -> None:
    """Told as a value like any other."""
    assert await client.ready() is None
    assert isinstance(await Post(client, 0, timeout=-1).result(), NotSent)
    await client.aclose()
    assert isinstance(await Post(client, 0).result(), NotSent)
    assert await values(cluster, client) == []


async def test_close_tells_pending_posts_their_value(cluster: Cluster, client: Client) -> None:
    """In flight: in doubt. Not written yet: not sent."""
    cluster.needs("faults")
    await client.put(0, b"0")
    cluster.faults.pause()
    in_flight = Post(client, 1)
    await asyncio.sleep(0.1)
    queued = Post(client, 0, 1)
    await client.aclose()
    assert isinstance(await in_flight.result(), InDoubt)
    assert isinstance(await queued.result(), NotSent)


# --- deadlines --------------------------------------------------------------------------------------


async def test_deadline_that_has_passed_sends_nothing(cluster: Cluster, client: Client) -> None:
    """Not a byte."""
    assert isinstance(await client.produce(client.batch(0, b"0"), timeout=0), NotSent)
    assert isinstance(await client.produce(client.batch(0, b"0"), timeout=-5), NotSent)
    assert offset(await client.put(0, b"0")) == 0
    assert await values(cluster, client) == [b"0"]


async def test_silence_ends_at_the_deadline_in_doubt(cluster: Cluster, client: Client) -> None:
    """Neither before nor long after."""
    cluster.needs("faults")
    await client.put(0, b"0")
    cluster.faults.pause()
    began = now()
    result = await client.send(client.batch(1, b"1"), timeout=0.4)
    assert isinstance(result, InDoubt)
    assert result.broker is not None
    assert result.cause is not None
    assert 0.39 < now() - began < 0.4 + SLACK
    cluster.faults.resume()
    async with asyncio.timeout(10):
        assert await client.ready() is None


async def test_shorter_deadline_ends_alone_and_is_answered_late(cluster: Cluster, client: Client) -> None:
    """Its neighbour keeps the connection, and the answer then comes for both."""
    cluster.needs("faults")
    await client.put(0, b"0")
    cluster.faults.latency(0.6)
    short = client.batch(1, b"1")
    began = now()
    calls = (client.send(short, timeout=0.3), client.send(client.batch(0, b"0"), 1, timeout=3))
    tasks = [asyncio.create_task(call) for call in calls]
    assert isinstance(await tasks[0], InDoubt)
    assert 0.29 < now() - began < 0.3 + SLACK
    assert offset(await tasks[1]) == 0
    (late,) = client.late
    assert late[:2] == (client.at(0), short)
    assert isinstance(late[2], Acked)
    assert late[2].offset == 1


# --- cancellation -----------------------------------------------------------------------------------


async def test_cancelled_before_the_write_is_not_sent(cluster: Cluster, client: Client) -> None:
    """What shares its request is."""
    assert await client.ready() is None
    withdrawn = asyncio.create_task(client.put(0, b"withdrawn"))
    kept = asyncio.create_task(client.put(0, b"kept", partition=1))
    await asyncio.sleep(0)
    withdrawn.cancel()
    assert offset(await kept) == 0
    assert await values(cluster, client) == []


async def test_cancelled_after_the_write_is_written(cluster: Cluster, client: Client) -> None:
    """The transport goes on; the answer, which nobody waits for, is told late."""
    assert await client.ready() is None
    batch = client.batch(0, b"0")
    sending = asyncio.create_task(client.send(batch))
    await turns(2)  # one to begin, one to write
    sending.cancel()
    assert await client.ready() is None
    assert offset(await client.put(1, b"1")) == 1
    assert await values(cluster, client) == [b"0", b"1"]
    assert [(where, which) for where, which, _ in client.late] in ([], [(client.at(), batch)])


CALLS: dict[str, Callable[[Client], Coroutine[Any, Any, object]]] = {
    "connected": lambda client: client.transport.connected(),
    "partitions": lambda client: client.transport.partitions("t"),
    "producer_id": lambda client: client.transport.producer_id(),
    "ready": lambda client: client.ready(),
}


@pytest.mark.parametrize("call", CALLS)
async def test_cancelled_wait_is_harmless(cluster: Cluster, call: str) -> None:
    """Another one who waits for the same is not touched, and the next call works."""
    cluster.needs("faults")
    client = Client(cluster.transport(), await cluster.create_topic())
    cluster.faults.down()
    await client.transport.start(client)
    first, second = (asyncio.create_task(CALLS[call](client)) for _ in range(2))
    await asyncio.sleep(0.2)
    first.cancel()
    await asyncio.sleep(0.2)
    assert first.cancelled()
    assert not second.done()
    cluster.faults.up()
    async with asyncio.timeout(10):
        if call == "partitions":
            assert refusal(await second).code == 3
        else:
            await second
        await CALLS["connected"](client)
        assert await client.ready() is None
    await client.aclose()


# --- nobody answers, and the close ------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
async def test_waits_last_as_long_as_nobody_answers(lost: Client, call: str) -> None:
    """`problems` says why; the close ends them."""
    waiting = asyncio.create_task(CALLS[call](lost))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    assert lost.transport.problems() != ()
    began = now()
    await lost.aclose()
    assert now() - began < 1
    if call == "connected":
        with pytest.raises(StartError):
            await waiting
    elif call == "ready":
        assert await waiting is None
    else:
        assert refusal(await waiting).code == 8


async def test_close_ends_pending_batches_with_their_value(cluster: Cluster, client: Client) -> None:
    """In flight: in doubt. Not written yet: not sent."""
    cluster.needs("faults")
    await client.put(0, b"0")
    cluster.faults.pause()
    in_flight = asyncio.create_task(client.put(1, b"1"))
    await asyncio.sleep(0.1)
    queued = asyncio.create_task(client.produce(client.batch(0, b"0"), 1))
    waiting = asyncio.create_task(client.ready(2))
    await asyncio.sleep(0.1)
    await client.aclose()
    assert isinstance(await in_flight, InDoubt)
    assert isinstance(await queued, NotSent)
    assert await waiting is None


async def test_nothing_is_sent_after_the_close(cluster: Cluster, client: Client) -> None:
    """Each call says so in its own way; closing again does nothing."""
    await client.put(0, b"0")
    batch = client.batch(1, b"1")
    await client.aclose()
    await client.aclose()
    assert isinstance(await client.send(batch), NotSent)
    assert await client.ready() is None
    assert refusal(await client.transport.partitions("other")).code == 8
    assert refusal(await client.transport.producer_id(stale=client.producer.id)).code == 8
    assert await values(cluster, client) == [b"0"]


async def test_close_leaves_no_task_and_no_timer(cluster: Cluster) -> None:
    """Whatever was under way."""
    client = Client(cluster.transport(), await cluster.create_topic(4))
    tasks, timers = asyncio.all_tasks(), _timers()
    await client.open()
    await client.put(0, b"0")
    calls = [client.put(1, b"1"), client.put(0, b"0", partition=1), client.transport.partitions("missing")]
    pending = [asyncio.create_task(call) for call in calls]
    await turns(2)
    await client.aclose()
    await asyncio.gather(*pending)
    assert asyncio.all_tasks() == tasks
    assert _timers() == timers


def _timers() -> int:
    # uvloop shows nobody its timers.
    scheduled = cast("list[asyncio.TimerHandle]", getattr(asyncio.get_running_loop(), "_scheduled", []))
    return sum(not handle.cancelled() for handle in scheduled)


async def test_close_before_the_start_is_harmless(cluster: Cluster) -> None:
    """There is nothing to end."""
    await cluster.transport().aclose(now())


async def test_transport_is_started_once(client: Client) -> None:
    """Another one does what a second start would."""
    with pytest.raises(UsageError, match="started once"):
        await client.transport.start(client)


async def test_transport_that_was_not_started_is_refused(cluster: Cluster) -> None:
    """A mistake in the caller's code, and no outcome."""
    client = Client(cluster.transport(), "t")
    with pytest.raises(UsageError, match="not started"):
        await client.produce(client.batch(None, b"0"))
