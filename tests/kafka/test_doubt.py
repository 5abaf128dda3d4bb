"""Acknowledgements that get lost, requests that come late: what Apache Kafka then holds, and what callers were told.

Every test goes through a fault proxy; the log is read past it.
"""

from __future__ import annotations

import asyncio
import io
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.protocol.produce import ProduceResponse_v8

from eventpub import (
    CRITICAL,
    STANDARD,
    TELEMETRY,
    AttemptOutcome,
    Delivery,
    KafkaConfig,
    PersistenceStatus,
    PossiblyPersistedError,
    Publisher,
    PublishError,
    Record,
    RetryPolicy,
    UnavailableError,
)
from support import kafka_frames
from support.kafka_frames import Api
from support.quota import limited
from support.readback import read_topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from eventpub.abc import OutcomeDetails
    from support.fault_proxy import FaultProxy
    from support.kafka_node import ApacheKafka
    from tests.fix_kafka import MakeTopic

INVALID_PRODUCER_EPOCH = 47
GRACE = 0.25  # seconds that an outcome may come after its budget
QUICK = CRITICAL.replace(request_timeout=0.4, retry=RetryPolicy(wait=lambda _state: 0.01))


class Late:
    """A hook that keeps late outcomes."""

    def __init__(self) -> None:
        self.outcomes: asyncio.Queue[OutcomeDetails] = asyncio.Queue()
        self.on_late_outcome = self.outcomes.put_nowait

    async def next(self) -> OutcomeDetails:
        """Return the next one."""
        async with asyncio.timeout(5):
            return await self.outcomes.get()


@asynccontextmanager
async def opened(proxy: FaultProxy, **settings: Any) -> AsyncIterator[Publisher]:
    """Run a publisher through the proxy that closes at once where something is left."""
    target = KafkaConfig(proxy.bootstrap_servers, connect_timeout=0.5, metadata_timeout=0.5)
    publisher = Publisher(target, source="/tests", **{"profile": QUICK, **settings})
    await publisher.open()
    try:
        yield publisher
    finally:
        await publisher.aclose(0)


async def log(node: ApacheKafka, topic: str, partition: int = 0) -> list[str]:
    """Return the values that lie in the log, past the proxy."""
    records = await asyncio.to_thread(read_topic, node.bootstrap_servers, topic)
    return [(record.value or b"").decode() for record in records if record.partition == partition]


async def outcome(publish: Awaitable[Delivery]) -> Delivery | PublishError:
    """Return what a publish came to, errors too."""
    try:
        return await publish
    except PublishError as error:
        return error


async def doubt(publish: Awaitable[Delivery]) -> PossiblyPersistedError:
    """Return the error of a publish that ends in doubt."""
    result = await outcome(publish)
    assert isinstance(result, PossiblyPersistedError), result
    return result


def said(reply: bytes) -> tuple[int, int]:
    """Return error code and offset of a Produce reply for one partition."""
    answer = ProduceResponse_v8.decode(io.BytesIO(kafka_frames.body(reply)))
    [(_, [(_, code, offset, *_)])] = answer.topics
    return code, offset


def now() -> float:
    """Return the loop's time."""
    return asyncio.get_running_loop().time()


# --- resent: one copy ---------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False], ids=["first-batch", "later-batch"])
async def test_a_lost_ack_costs_an_attempt_and_makes_no_copy(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic, *, first: bool
) -> None:
    """The broker hung up after the append: the caller gets persisted on the second attempt, at the offset of the first."""
    topic = kafka_topic()
    async with opened(kafka_proxy) as p:
        before = [] if first else [(await p.publish(Record(topic, b"before"))).offset]
        lost = kafka_proxy.lose_next_ack()
        delivery = await p.publish(Record(topic, b"a"))
        after = await p.publish(Record(topic, b"b"))
        bumps = p.statistics().epoch_bumps
    assert said(lost.frames[0]) == (0, delivery.offset)
    assert (delivery.status, delivery.attempts) == (PersistenceStatus.PERSISTED, 2)
    assert (after.attempts, bumps) == (1, 0)
    assert await log(kafka_node, topic) == ["before"] * len(before) + ["a", "b"]


async def test_many_acks_lost_in_a_row_make_no_copy(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic
) -> None:
    """Five times lost, for batches of many records on three partitions: each record once, in order."""
    topic = kafka_topic(3)
    async with opened(kafka_proxy) as p:
        await asyncio.gather(*(p.publish(Record(topic, b"first", partition=n)) for n in range(3)))
        lost = kafka_proxy.lose_next_ack(times=5)
        deliveries = await asyncio.gather(
            *(p.publish(Record(topic, str(n).encode(), partition=n % 3)) for n in range(3_000))
        )
    assert max(delivery.attempts for delivery in deliveries) > 1
    assert lost.effects == 5
    for partition in range(3):
        assert await log(kafka_node, topic, partition) == ["first", *map(str, range(partition, 3_000, 3))]


async def test_a_swallowed_ack_costs_a_request_timeout_and_makes_no_copy(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic
) -> None:
    """The connection stays open and silent: the attempt ends at request_timeout, the resend is deduplicated."""
    topic = kafka_topic()
    async with opened(kafka_proxy) as p:
        swallowed = kafka_proxy.swallow_next_ack()
        delivery = await p.publish(Record(topic, b"a"))
        after = await p.publish(Record(topic, b"b"))
    assert said(swallowed.frames[0]) == (0, delivery.offset)
    assert (delivery.attempts, after.attempts) == (2, 1)
    assert QUICK.request_timeout <= delivery.elapsed < QUICK.request_timeout + 1
    assert await log(kafka_node, topic) == ["a", "b"]


@pytest.mark.parametrize("first", [True, False], ids=["first-batch", "later-batch"])
async def test_a_held_request_that_arrives_after_its_resend_is_dropped(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic, *, first: bool
) -> None:
    """The resend is written; the broker answers the late original with the resend's offset and writes nothing."""
    topic = kafka_topic()
    async with opened(kafka_proxy) as p:
        if not first:
            await p.publish(Record(topic, b"before"))
        held = kafka_proxy.hold_next_request()
        delivery = await p.publish(Record(topic, b"a"))
        held.release()
        late = await held.answer()
        after = await p.publish(Record(topic, b"b"))
    assert (delivery.attempts, after.attempts) == (2, 1)
    assert said(late) == (0, delivery.offset)
    assert await log(kafka_node, topic) == ([] if first else ["before"]) + ["a", "b"]


@pytest.mark.parametrize("after", [0, 3, 20])
async def test_an_answer_cut_in_the_middle_is_no_answer(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic, after: int
) -> None:
    """Part of an acknowledgement is none: resent, one copy."""
    topic = kafka_topic()
    async with opened(kafka_proxy) as p:
        kafka_proxy.cut_next_reply(after, api=Api.PRODUCE)
        assert (await p.publish(Record(topic, b"a"))).attempts == 2
    assert await log(kafka_node, topic) == ["a"]


@pytest.mark.parametrize("after", [3, 60])
async def test_a_request_cut_in_the_middle_was_not_written(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic, after: int
) -> None:
    """The broker never had it whole; the resend is the only copy."""
    topic = kafka_topic()
    async with opened(kafka_proxy) as p:
        kafka_proxy.cut_next_request(after, api=Api.PRODUCE)
        assert (await p.publish(Record(topic, b"a" * 100))).attempts == 2
    assert await log(kafka_node, topic) == ["a" * 100]


@pytest.mark.parametrize("lie", ["noise", "number", "huge", "negative", "empty", "trickle"])
async def test_what_is_no_answer_costs_an_attempt_and_makes_no_copy(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic, lie: str
) -> None:
    """Noise, a foreign correlation id, sizes that are lies, one byte at a time: given up, resent, deduplicated."""
    topic = kafka_topic()
    async with opened(kafka_proxy) as p:
        await p.publish(Record(topic, b"before"))
        match lie:
            case "noise":
                kafka_proxy.garble_next_reply(seed=4, api=Api.PRODUCE)
            case "number":
                kafka_proxy.misnumber_next_reply(api=Api.PRODUCE)
            case "huge":
                kafka_proxy.missize_next_reply(api=Api.PRODUCE)
            case "negative":
                kafka_proxy.missize_next_reply(-1, api=Api.PRODUCE)
            case "empty":
                kafka_proxy.missize_next_reply(0, api=Api.PRODUCE)
            case _:
                kafka_proxy.trickle(1.0, api=Api.PRODUCE, times=1)
        delivery = await p.publish(Record(topic, b"a"))
        after = await p.publish(Record(topic, b"b"))
    assert (delivery.attempts, delivery.offset) == (2, 1)
    assert delivery.elapsed < QUICK.request_timeout + 1
    assert after.attempts == 1
    assert await log(kafka_node, topic) == ["before", "a", "b"]


# --- abandoned: the next epoch ------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False], ids=["first-batch", "later-batch"])
async def test_an_abandoned_request_that_arrives_after_its_successor_is_refused(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic, *, first: bool
) -> None:
    """One epoch is the price: the successor is acked at once, the late copy gets INVALID_PRODUCER_EPOCH and is not there."""
    topic = kafka_topic()
    async with opened(kafka_proxy) as p:
        if not first:
            await p.publish(Record(topic, b"before"))
        held = kafka_proxy.hold_next_request()
        started = now()
        error = await doubt(p.publish(Record(topic, b"old"), timeout=0.3))
        took = now() - started
        delivery = await p.publish(Record(topic, b"new"))
        bumps = p.statistics().epoch_bumps
        held.release()
        late = await held.answer()
        after = await p.publish(Record(topic, b"newer"))
    assert (error.reason, error.attempts) == ("budget", 1)
    assert [attempt.outcome for attempt in error.history] == [AttemptOutcome.IN_DOUBT]
    assert 0.3 <= took <= 0.3 + GRACE
    assert (delivery.attempts, after.attempts, bumps) == (1, 1, 1)
    assert said(late) == (INVALID_PRODUCER_EPOCH, -1)
    assert await log(kafka_node, topic) == ([] if first else ["before"]) + ["new", "newer"]


async def test_what_waits_behind_an_abandoned_batch_goes_out_in_the_next_epoch(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic
) -> None:
    """Queued while the old one was in doubt, acked as soon as that is given up; the late copy is refused."""
    topic = kafka_topic()
    async with opened(kafka_proxy) as p:
        await p.publish(Record(topic, b"before"))
        held = kafka_proxy.hold_next_request()
        old = asyncio.create_task(outcome(p.publish(Record(topic, b"old"), timeout=0.3)))
        await held.happened()
        deliveries = await asyncio.gather(*(p.publish(Record(topic, str(n).encode())) for n in range(50)))
        held.release()
        late = await held.answer()
        error = await old
    assert isinstance(error, PossiblyPersistedError)
    assert {delivery.attempts for delivery in deliveries} == {1}
    assert said(late) == (INVALID_PRODUCER_EPOCH, -1)
    assert await log(kafka_node, topic) == ["before", *map(str, range(50))]


async def test_an_abandoned_batch_that_had_landed_lies_before_its_successor(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic
) -> None:
    """Its ack swallowed beyond the budget: possibly persisted is what it was, and order holds."""
    topic = kafka_topic()
    async with opened(kafka_proxy) as p:
        kafka_proxy.swallow_next_ack()
        error = await doubt(p.publish(Record(topic, b"old"), timeout=0.3))
        delivery = await p.publish(Record(topic, b"new"))
        bumps = p.statistics().epoch_bumps
    assert error.reason == "budget"
    assert (delivery.attempts, delivery.offset, bumps) == (1, 1, 1)
    assert await log(kafka_node, topic) == ["old", "new"]


async def test_other_partitions_keep_their_epoch_when_one_abandons_a_batch(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic
) -> None:
    """A partition in doubt beside one that bumps is resent in its own epoch, and deduplicated."""
    topic = kafka_topic(2)
    async with opened(kafka_proxy) as p:
        await asyncio.gather(*(p.publish(Record(topic, b"before", partition=n)) for n in range(2)))
        kafka_proxy.swallow_next_ack()  # of one request, for both
        short = doubt(p.publish(Record(topic, b"short", partition=0), timeout=0.2))
        error, long = await asyncio.gather(short, p.publish(Record(topic, b"long", partition=1)))
        after = await asyncio.gather(*(p.publish(Record(topic, b"after", partition=n)) for n in range(2)))
        bumps = p.statistics().epoch_bumps
    assert error.partition == 0
    assert (long.attempts, long.offset, bumps) == (2, 1, 1)
    assert [delivery.attempts for delivery in after] == [1, 1]
    assert await log(kafka_node, topic, 0) == ["before", "short", "after"]
    assert await log(kafka_node, topic, 1) == ["before", "long", "after"]


async def test_each_abandoned_batch_costs_an_epoch_and_nothing_else(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic
) -> None:
    """Again and again in doubt: every good event between is acked at once, in order."""
    topic = kafka_topic()
    async with opened(kafka_proxy) as p:
        for n in range(6):
            kafka_proxy.lose_next_ack()
            once = QUICK.replace(retry=RetryPolicy(stop=lambda _state: True))
            error = await doubt(p.publish(Record(topic, f"doubt-{n}".encode()), profile=once))
            assert error.reason == "attempts"
            assert (await p.publish(Record(topic, f"good-{n}".encode()))).attempts == 1
        assert p.statistics().epoch_bumps == 6
    assert await log(kafka_node, topic) == [f"{kind}-{n}" for n in range(6) for kind in ("doubt", "good")]


# --- late outcomes --------------------------------------------------------------------------------


async def test_an_ack_after_one_callers_budget_is_his_late_outcome_and_his_neighbours_delivery(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic
) -> None:
    """Two records of one batch: the shorter budget ends in doubt, the ack then reaches both, each in his way."""
    topic, late = kafka_topic(), Late()
    patient = QUICK.replace(request_timeout=5)
    async with opened(kafka_proxy, profile=patient, hooks=[late]) as p:
        held = kafka_proxy.hold_next_request()
        long = p.publish_nowait(Record(topic, b"long"))
        error = await doubt(p.publish(Record(topic, b"short", headers=[("ce_id", b"short")]), timeout=0.2))
        held.release()
        delivery, told = await long, await late.next()
        bumps = p.statistics().epoch_bumps
    assert error.reason == "budget"
    assert (delivery.attempts, delivery.offset, bumps) == (1, 0, 0)
    assert (told.event_id, told.topic) == ("short", topic)
    assert isinstance(told.outcome, Delivery)
    assert told.outcome.offset == 1
    assert await log(kafka_node, topic) == ["long", "short"]


async def test_an_ack_for_an_abandoned_batch_is_a_late_outcome(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic
) -> None:
    """One request for two partitions: the shorter batch is given up, its ack comes with the other's."""
    topic, late = kafka_topic(2), Late()
    patient = QUICK.replace(request_timeout=5)
    async with opened(kafka_proxy, profile=patient, hooks=[late]) as p:
        await asyncio.gather(*(p.publish(Record(topic, b"before", partition=n)) for n in range(2)))
        held = kafka_proxy.hold_next_request()
        long = p.publish_nowait(Record(topic, b"long", partition=1))
        error = await doubt(p.publish(Record(topic, b"short", headers=[("ce_id", b"short")], partition=0), timeout=0.2))
        held.release()
        delivery, told = await long, await late.next()
        after = await p.publish(Record(topic, b"after", partition=0))
        statistics = p.statistics()
    assert (error.partition, error.reason) == (0, "budget")
    assert (delivery.attempts, after.attempts) == (1, 1)
    assert (told.event_id, isinstance(told.outcome, Delivery)) == ("short", True)
    assert (statistics.late_outcomes, statistics.epoch_bumps) == (1, 1)
    assert await log(kafka_node, topic, 0) == ["before", "short", "after"]


async def test_a_late_refusal_says_that_it_was_not_persisted_after_all(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic
) -> None:
    """Told possibly persisted at the end of his budget, the caller's hook then hears the broker's no."""
    topic, late = kafka_topic(2, max_message_bytes="2000"), Late()
    patient = QUICK.replace(request_timeout=5)
    async with opened(kafka_proxy, profile=patient, hooks=[late]) as p:
        await asyncio.gather(*(p.publish(Record(topic, b"before", partition=n)) for n in range(2)))
        held = kafka_proxy.hold_next_request()
        long = p.publish_nowait(Record(topic, b"long", partition=1))
        await doubt(p.publish(Record(topic, b"x" * 5_000, headers=[("ce_id", b"large")], partition=0), timeout=0.2))
        held.release()
        await long
        told = await late.next()
        await p.publish(Record(topic, b"after", partition=0))
    assert told.event_id == "large"
    assert isinstance(told.outcome, PublishError)
    assert (told.outcome.status, told.outcome.kafka_code) == (PersistenceStatus.NOT_PERSISTED, 10)
    assert await log(kafka_node, topic, 0) == ["before", "after"]


# --- without idempotence ----------------------------------------------------------------------------


@pytest.mark.parametrize("acks", [1, "all"])
async def test_without_idempotence_a_lost_ack_is_not_retried(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic, acks: Any
) -> None:
    """Nobody could recognise a resend: the caller decides."""
    topic = kafka_topic()
    async with opened(kafka_proxy, profile=STANDARD.replace(acks=acks)) as p:
        kafka_proxy.lose_next_ack()
        error = await doubt(p.publish(Record(topic, b"a")))
        assert (await p.publish(Record(topic, b"b"))).attempts == 1
    assert (error.reason, error.attempts) == ("no_retry", 1)
    assert "allow_duplicates" in str(error)
    assert await log(kafka_node, topic) == ["a", "b"]


async def test_with_allow_duplicates_a_lost_ack_is_retried_and_written_twice(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic
) -> None:
    """As the profile says: persisted, and there is a copy."""
    topic = kafka_topic()
    async with opened(kafka_proxy, profile=STANDARD.replace(allow_duplicates=True)) as p:
        kafka_proxy.lose_next_ack()
        delivery = await p.publish(Record(topic, b"a"))
    assert (delivery.status, delivery.attempts, delivery.offset) == (PersistenceStatus.PERSISTED, 2, 1)
    assert await log(kafka_node, topic) == ["a", "a"]


# --- blast radius -------------------------------------------------------------------------------------


async def test_telemetry_that_is_refused_leaves_acknowledged_events_alone(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic
) -> None:
    """The broker hangs up over each acks=0 batch that is too large; no acks=all batch was on that connection."""
    topic, small = kafka_topic(), kafka_topic(1, max_message_bytes="2000")
    async with opened(kafka_proxy, profile=CRITICAL) as p:
        await p.publish(Record(topic, b"first"))
        await p.publish(Record(small, b"first"))
        connections = kafka_proxy.connections[1]
        stopped = asyncio.Event()

        async def telemetry() -> list[Delivery]:
            sent = []
            while not stopped.is_set():
                sent.append(await p.publish(Record(small, b"x" * 5_000), profile=TELEMETRY))
                await asyncio.sleep(0.01)
            return sent

        noise = asyncio.create_task(telemetry())
        critical = []
        for n in range(150):
            critical.append(await p.publish(Record(topic, str(n).encode())))
            await asyncio.sleep(0.01)
        stopped.set()
        sent = await noise
    assert {delivery.attempts for delivery in critical} == {1}
    assert {delivery.status for delivery in sent} == {PersistenceStatus.POSSIBLY_PERSISTED}
    assert kafka_proxy.connections[1] >= connections + 3  # so often the broker hung up on telemetry
    assert await log(kafka_node, small) == ["first"]
    assert await log(kafka_node, topic) == ["first", *map(str, range(150))]


async def test_a_quota_is_waited_for_before_the_attempt(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic
) -> None:
    """Throttled for a second at a time: no attempt times out, budgets run on, others of the broker are not held up."""
    topic, client_id = kafka_topic(), f"throttled-{kafka_topic()}"
    profile = CRITICAL.replace(request_timeout=0.7)
    async with (
        limited(kafka_node.bootstrap_servers, client_id, 100_000),
        opened(kafka_proxy, profile=profile, client_id=client_id) as p,
        opened(kafka_proxy, profile=profile, client_id="free") as free,
    ):
        started = now()
        deliveries = [await p.publish(Record(topic, bytes(100_000))) for _ in range(12)]
        took = now() - started
        # The last answer said to wait once more.
        error = await outcome(p.publish(Record(topic, b"short"), timeout=0.3))
        beside = await free.publish(Record(topic, b"free"))
    assert {delivery.attempts for delivery in deliveries} == {1}
    assert max(delivery.elapsed for delivery in deliveries) > profile.request_timeout
    assert took > 1
    assert isinstance(error, UnavailableError)
    assert (error.attempts, error.elapsed <= 0.3 + GRACE) == (0, True)
    assert beside.elapsed < 0.5
    assert len(await log(kafka_node, topic)) == 13


async def test_twenty_thousand_publishes_outlast_a_broker_that_is_away_two_seconds(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic
) -> None:
    """Its port closed and every connection reset in the middle: each is acked, and lies in the log once, in order."""
    topic = kafka_topic(4)
    async with opened(kafka_proxy, profile=CRITICAL) as p:
        await p.publish(Record(topic, b"first", partition=0))
        publishes = asyncio.gather(
            *(p.publish(Record(topic, str(n).encode(), partition=n % 4)) for n in range(20_000)),
            return_exceptions=True,
        )
        await asyncio.sleep(0.05)
        away = kafka_proxy.close_port()
        await asyncio.sleep(2)
        away.stop()
        results = await publishes
        assert p.statistics().epoch_bumps == 0
    assert {type(result) for result in results} == {Delivery}
    assert (await log(kafka_node, topic, 0))[0] == "first"
    for partition in range(4):
        values = [value for value in await log(kafka_node, topic, partition) if value != "first"]
        assert values == [str(n) for n in range(partition, 20_000, 4)]


# --- budgets: wherever the broker falls silent ----------------------------------------------------------


SILENCES = [(CRITICAL, Api.INIT_PRODUCER_ID), (CRITICAL, Api.PRODUCE), (STANDARD, Api.PRODUCE)] + [
    (profile, api) for profile in (CRITICAL, STANDARD, TELEMETRY) for api in (Api.API_VERSIONS, Api.METADATA, None)
]


@pytest.mark.parametrize("profile, api", SILENCES, ids=[f"{p.name}-{a and a.name.lower()}" for p, a in SILENCES])
async def test_a_publish_ends_in_its_budget_wherever_the_broker_falls_silent(
    kafka_proxy: FaultProxy, kafka_topic: MakeTopic, profile: Any, api: Api | None
) -> None:
    """Silent from the start in one API, or in all: the right word, within the budget and a quarter of a second."""
    topic = kafka_topic()
    hole = kafka_proxy.black_hole(api=api)
    async with opened(kafka_proxy, profile=profile) as p:
        started = now()
        result = await outcome(p.publish(Record(topic, b"a"), timeout=0.6))
        took = now() - started
        hole.stop()
        after = await outcome(p.publish(Record(topic, b"b"), timeout=15))
    expected = PossiblyPersistedError if api is Api.PRODUCE else UnavailableError
    assert isinstance(result, expected)
    assert result.reason == "budget" or (result.reason == "no_retry" and not profile.idempotence)
    assert took <= 0.6 + GRACE
    assert isinstance(after, Delivery)


@pytest.mark.parametrize("profile", [CRITICAL, TELEMETRY], ids=lambda profile: str(profile.name))
async def test_a_publish_ends_in_its_budget_at_a_socket_that_takes_no_more_bytes(
    kafka_proxy: FaultProxy, kafka_topic: MakeTopic, profile: Any
) -> None:
    """The peer stops reading in the middle of what is written: every caller hears of it in time."""
    topic = kafka_topic()
    async with opened(kafka_proxy, profile=profile) as p:
        await p.publish(Record(topic, b"before"))
        kafka_proxy.stop_reading(api=Api.PRODUCE)
        started = now()
        large = [p.publish(Record(topic, bytes(900_000)), timeout=0.6) for _ in range(20)]
        results = await asyncio.gather(*map(outcome, large))
        took = now() - started
    assert took <= 0.6 + GRACE
    statuses = {result.status for result in results}
    assert PersistenceStatus.POSSIBLY_PERSISTED in statuses  # what was (partly) written
    assert PersistenceStatus.PERSISTED not in statuses
    assert {type(result) for result in results} <= {Delivery, PossiblyPersistedError, UnavailableError}
    assert any(isinstance(result, UnavailableError) for result in results)  # what never got that far


async def test_a_close_in_doubt_takes_its_time_and_no_more(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic
) -> None:
    """With an ack swallowed, the report names exactly what may be there, and a held request may still land."""
    topic = kafka_topic()
    p = Publisher(kafka_proxy.url, source="/tests", profile=CRITICAL)
    await p.open()
    await p.publish(Record(topic, b"before"))
    held = kafka_proxy.hold_next_request()
    old = p.publish_nowait(Record(topic, b"old", headers=[("ce_id", b"old")]))
    await held.happened()
    behind = p.publish_nowait(Record(topic, b"behind", headers=[("ce_id", b"behind")]))
    started = now()
    report = await p.aclose(0.3)
    assert now() - started <= 0.3 + 1
    held.release()
    assert said(await held.answer()) == (0, 1)
    statuses = {error.event_id: error.status for error in report.unconfirmed}
    assert statuses == {"old": PersistenceStatus.POSSIBLY_PERSISTED, "behind": PersistenceStatus.NOT_PERSISTED}
    assert isinstance(await outcome(old), PossiblyPersistedError)
    assert isinstance(await outcome(behind), UnavailableError)
    assert await log(kafka_node, topic) == ["before", "old"]
