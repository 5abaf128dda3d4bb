"""Batches that share a request, and the deadline each of them keeps for itself."""

from __future__ import annotations

import asyncio

import pytest

from eventpub.abc import (
    Acked,
    Acks,
    AttemptResult,
    InDoubt,
    NotSent,
    Rejected,
    TopicPartition,
    Unacknowledged,
    WireBatch,
)
from eventpub.transports.kafka.answers import ProduceAnswer
from eventpub.transports.kafka.errors import ConnectionLostError, NoAnswerError, TransportClosedError
from eventpub.transports.kafka.line import Line
from eventpub.transports.kafka.merge import MAX_REQUEST, Outbox
from tests.unit.transports.kafka.fakes import (
    HERE,
    STAMPED,
    FakeConnect,
    FakeLink,
    Written,
    batch,
    partition,
    send,
    settle,
)


class World:
    """An outbox on a connection that the test plays."""

    def __init__(self, acks: Acks = "all") -> None:
        self.loop = asyncio.get_running_loop()
        self.link = FakeLink()
        self.line = Line(HERE, FakeConnect([self.link]), lambda: None)
        self.outbox = Outbox(self.line, acks, self)
        self.late: list[tuple[TopicPartition, Acked | Rejected]] = []
        self.rejected: list[tuple[TopicPartition, int]] = []

    def on_late(self, partition: TopicPartition, batch: WireBatch, result: Acked | Rejected, /) -> None:
        """Keep what came late."""
        self.late.append((partition, result))

    def on_rejected(self, partition: TopicPartition, code: int, /) -> None:
        """Keep what was refused."""
        self.rejected.append((partition, code))

    async def connect(self) -> World:
        """Return once there is a connection."""
        self.line.want()
        await settle()
        return self

    def send(self, number: int, deadline: float = 10.0, wire: WireBatch | None = None) -> asyncio.Task[AttemptResult]:
        """Send in a task of its own, as a lane does."""
        return self.loop.create_task(send(self.outbox, partition(number), wire or batch(), deadline))

    @property
    def written(self) -> list[Written]:
        """The requests so far."""
        return self.link.written


async def test_batches_of_one_turn_share_a_request() -> None:
    """Lanes that were woken together cost one request, not one each."""
    world = await World().connect()
    tasks = [world.send(number) for number in range(50)]
    await settle()
    assert [request.numbers for request in world.written] == [list(range(50))]
    world.written[0].answer(offset=7)
    assert [await task for task in tasks] == [Acked("here", 7)] * 50


async def test_one_request_is_in_flight_at_a_time() -> None:
    """What comes later waits for the answer, and then goes at once and together."""
    world = await World().connect()
    first = world.send(0)
    await settle()
    assert not world.outbox.free
    later = [world.send(1), world.send(2)]
    await settle()
    assert len(world.written) == 1
    world.written[0].answer()
    await settle()
    assert world.written[1].numbers == [1, 2]
    assert await first == Acked("here", 40)
    world.written[1].answer()
    await asyncio.gather(*later)
    assert world.outbox.free


async def test_a_request_carries_each_partition_once() -> None:
    """Of two entries for one partition a broker looks at the last only, and answers for none."""
    world = await World().connect()
    tasks = [world.send(0), world.send(0), world.send(1)]
    await settle()
    assert world.written[0].numbers == [0, 1]
    world.written[0].answer()
    await settle()
    assert world.written[1].numbers == [0]
    world.written[1].answer()
    await asyncio.gather(*tasks)


async def test_a_request_holds_at_most_eight_mebibytes() -> None:
    """What does not fit goes with the next one; one batch alone goes in any case."""
    world = await World().connect()
    large = batch(b"x" * (MAX_REQUEST // 2 + 1))
    tasks = [world.send(number, wire=large) for number in range(2)]
    await settle()
    assert world.written[0].numbers == [0]
    world.written[0].answer()
    await settle()
    world.written[1].answer()
    await asyncio.gather(*tasks)
    huge = world.send(0, wire=batch(b"x" * (MAX_REQUEST + 1)))
    await settle()
    world.written[2].answer()
    assert isinstance(await huge, Acked)


async def test_it_is_not_free_while_a_full_request_waits() -> None:
    """A lane that would have to wait for the request after this one does not cut yet."""
    world = await World().connect()
    assert world.outbox.free
    task = world.send(0, wire=batch(b"x" * MAX_REQUEST))
    await asyncio.sleep(0)
    assert not world.outbox.free
    task.cancel()
    await settle()
    assert world.outbox.free


async def test_a_topic_is_named_once() -> None:
    """Partitions of one topic stand together."""
    world = await World().connect()
    sends = [send(world.outbox, TopicPartition(topic, n), batch(), 10) for topic, n in (("a", 0), ("b", 0), ("a", 1))]
    tasks = [asyncio.ensure_future(send) for send in sends]
    await settle()
    assert [(topic, [n for n, _ in batches]) for topic, batches in world.written[0].topics] == [
        ("a", [0, 1]),
        ("b", [0]),
    ]
    world.written[0].answer()
    await asyncio.gather(*tasks)


async def test_each_partition_gets_its_own_answer() -> None:
    """One refused batch says nothing about its neighbours in the request."""
    world = await World().connect()
    tasks = [world.send(number) for number in range(3)]
    await settle()
    world.written[0].answer(0, 32, 0)
    results = [await task for task in tasks]
    assert [type(result) for result in results] == [Acked, Rejected, Acked]
    assert world.rejected == [(partition(1), 32)]


async def test_a_partition_left_out_of_the_answer_is_in_doubt() -> None:
    """No answer is no answer, also when others got theirs."""
    world = await World().connect()
    task = world.send(0)
    await settle()
    world.written[0].reply.answered(ProduceAnswer({}, 0.0))
    assert isinstance(await task, InDoubt)


async def test_noise_for_an_answer_silenced_a_broker_for_weeks() -> None:
    """Noise can be read as "no partitions, and be quiet for 24 days": nothing of it is believed."""
    world = await World().connect()
    task = world.send(0)
    await settle()
    world.written[0].reply.answered(ProduceAnswer({}, 2_000_000.0))
    assert isinstance(await task, InDoubt)
    await settle()
    assert isinstance(world.link.aborted, ConnectionLostError)
    world.line.want()
    await asyncio.sleep(2)
    assert world.outbox.free


async def test_a_lost_connection_leaves_what_was_written_in_doubt() -> None:
    """And what was not written is not sent: the one word may not stand for the other."""
    world = await World().connect()
    written = world.send(0)
    await settle()
    waiting = world.send(1)
    await settle()
    world.link.abort(ConnectionLostError("reset"))
    result = await written
    assert isinstance(result, InDoubt)
    assert isinstance(result.cause, ConnectionLostError)
    assert isinstance(await waiting, NotSent)


async def test_a_closing_socket_takes_nothing() -> None:
    """A connection that ended between `ready` and the write is no doubt."""
    world = await World().connect()
    world.link.usable = False
    assert isinstance(await world.send(0), NotSent)
    assert world.written == []


async def test_a_shorter_deadline_ends_by_itself() -> None:
    """It is in doubt at its own time, while the request, and its neighbour, go on."""
    world = await World().connect()
    short, long = world.send(0, deadline=1.0), world.send(1, deadline=5.0)
    result = await short
    assert world.loop.time() == pytest.approx(1.0, abs=0.01)
    assert isinstance(result, InDoubt)
    assert isinstance(result.cause, NoAnswerError)
    assert world.link.usable
    world.written[0].answer(offset=3)
    assert await long == Acked("here", 3)


async def test_a_late_answer_is_told() -> None:
    """Acknowledged or refused, whoever settles late outcomes learns it."""
    world = await World().connect()
    shorts, long = [world.send(0, deadline=1.0), world.send(1, deadline=1.0)], world.send(2, deadline=5.0)
    await asyncio.gather(*shorts)
    world.written[0].answer(0, 32)
    await long
    assert world.late == [(partition(0), Acked("here", 40)), (partition(1), Rejected("here", 32))]


async def test_the_longest_deadline_ends_the_connection() -> None:
    """Nothing written behind an unanswered request would be answered, either."""
    world = await World().connect()
    tasks = [world.send(0, deadline=1.0), world.send(1, deadline=3.0)]
    results = await asyncio.gather(*tasks)
    assert world.loop.time() == pytest.approx(3.0, abs=0.01)
    assert [type(result) for result in results] == [InDoubt, InDoubt]
    assert isinstance(world.link.aborted, NoAnswerError)


async def test_a_deadline_passes_while_a_batch_waits_for_its_turn() -> None:
    """It was not sent, and is not sent afterwards."""
    world = await World().connect()
    slow = world.send(0, deadline=5.0)
    await settle()
    waiting = world.send(1, deadline=1.0)
    result = await waiting
    assert isinstance(result, NotSent)
    world.written[0].answer()
    await slow
    await settle()
    assert len(world.written) == 1


async def test_many_requests_need_one_timer() -> None:
    """The alarm set for the first deadline serves later ones, and a shorter one moves it."""
    world = await World().connect()
    for turn in range(5):
        task = world.send(0, deadline=world.loop.time() + 10)
        await settle()
        world.written[turn].answer()
        await task
        await asyncio.sleep(1)
    began = world.loop.time()
    assert isinstance(await world.send(0, deadline=began + 0.5), InDoubt)
    assert world.loop.time() == pytest.approx(began + 0.5, abs=0.01)


async def test_cancelled_before_the_write_it_is_not_written() -> None:
    """Withdrawn in the same turn, or while another request is in flight."""
    world = await World().connect()
    early = world.send(0)
    await asyncio.sleep(0)
    early.cancel()
    kept = world.send(1)
    await settle()
    waiting = world.send(2)
    await settle()
    waiting.cancel()
    world.written[0].answer()
    await kept
    await settle()
    assert [request.numbers for request in world.written] == [[1]]


async def test_cancelled_after_the_write_its_answer_is_a_late_one() -> None:
    """The broker may have it; what it says reaches those who keep count."""
    world = await World().connect()
    task = world.send(0)
    await settle()
    task.cancel()
    await asyncio.wait([task])
    world.written[0].answer()
    assert world.late == [(partition(0), Acked("here", 40))]


async def test_cancelled_after_the_write_the_deadline_still_ends_the_connection() -> None:
    """A broker that never answers must not block it for ever because nobody waits any more."""
    world = await World().connect()
    task = world.send(0, deadline=2.0)
    await settle()
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(3)
    assert world.link.aborted is not None


async def test_throttling_holds_requests_back() -> None:
    """The broker mutes the connection for that long: a request written into it would time out, and land."""
    world = await World().connect()
    task = world.send(0)
    await settle()
    world.written[0].answer(throttle=2.0)
    await task
    assert not world.outbox.free
    held = world.send(1)
    await asyncio.sleep(1.9)
    assert len(world.written) == 1
    await asyncio.sleep(0.2)
    assert world.written[1].at == pytest.approx(2.0, abs=0.01)
    world.written[1].answer()
    await held
    assert world.outbox.free


async def test_the_end_of_a_throttle_wakes_those_who_wait() -> None:
    """Lanes wait for the bell, not for a clock of their own."""
    world = await World().connect()
    task = world.send(0)
    await settle()
    world.written[0].answer(throttle=2.0)
    await task
    await settle()
    rung = world.loop.create_future()
    world.line.bell.add(rung)
    await rung
    assert world.loop.time() == pytest.approx(2.0, abs=0.01)
    assert world.outbox.free


async def test_the_broker_answers_before_the_attempt_is_given_up() -> None:
    """It may wait for replicas 10 % less than the longest attempt lives."""
    world = await World().connect()
    tasks = [world.send(0, deadline=4.0), world.send(1, deadline=10.0)]
    await settle()
    assert world.written[0].timeout == pytest.approx(9.0, abs=0.1)
    world.written[0].answer()
    await asyncio.gather(*tasks)


async def test_idempotent_batches_wait_two_seconds_in_the_broker_at_most() -> None:
    """While one waits for its replicas, all others of the connection do; a frozen resend costs nothing."""
    world = await World().connect()
    tasks = [world.send(0, wire=batch(stamp=STAMPED)), world.send(1, wire=batch(stamp=STAMPED))]
    await settle()
    assert world.written[0].timeout == 2.0
    world.written[0].answer()
    tasks += [world.send(0, wire=batch(stamp=STAMPED)), world.send(1)]
    await settle()
    assert world.written[1].timeout == pytest.approx(9.0, abs=0.1)
    world.written[1].answer()
    await asyncio.gather(*tasks)


async def test_without_acks_handed_over_is_all_there_is() -> None:
    """Nobody answers, and nothing is learned of an offset."""
    world = await World(acks=0).connect()
    task = world.send(0)
    await settle()
    assert world.written[0].acks == 0
    world.written[0].reply.answered(ProduceAnswer({}, 0.0))
    assert await task == Unacknowledged("here:9092")


async def test_without_acks_a_socket_that_takes_no_bytes_ends_in_doubt() -> None:
    """Some of them may have left."""
    world = await World(acks=0).connect()
    task = world.send(0, deadline=1.0)
    assert isinstance(await task, InDoubt)
    assert world.loop.time() == pytest.approx(1.0, abs=0.01)
    assert world.link.aborted is not None
    assert world.late == []


async def test_closing_ends_everything_with_its_value() -> None:
    """Waiting: not sent. In flight: in doubt. Afterwards no timer is left."""
    world = await World().connect()
    written = world.send(0)
    await settle()
    waiting = world.send(1)
    await settle()
    fault = TransportClosedError("closed")
    world.outbox.close(fault)
    assert await waiting == NotSent("here:9092", fault)
    assert await written == InDoubt("here:9092", fault)
    await asyncio.sleep(100)
    assert len(world.written) == 1


async def test_an_answer_frees_the_connection_in_the_same_turn() -> None:
    """A settled lane that is ready again sends in the very next request, without suspending."""
    world = await World().connect()

    async def lane() -> None:
        for _ in range(3):
            assert world.outbox.free
            await send(world.outbox, partition(0), batch(), world.loop.time() + 10)

    task = asyncio.ensure_future(lane())
    for turn in range(3):
        await settle(4)
        world.written[turn].answer()
    await task
