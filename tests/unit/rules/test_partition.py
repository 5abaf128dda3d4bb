"""Cut, stamp, freeze and try again: the way of a batch through its partition."""

from __future__ import annotations

import pytest
import tenacity

from eventpub._rules.attempts import describe
from eventpub._rules.cutting import MAX_RECORDS
from eventpub._rules.limit import SizeLimit
from eventpub._rules.round_trip import MIN_ATTEMPT
from eventpub._rules.sequence import MAX_EPOCH
from eventpub._rules.step import Send, Wait
from eventpub.abc import UNSTAMPED, Acked, ProducerId, Stamp
from eventpub.delivery import Delivery, PersistenceStatus
from eventpub.exceptions import NotPersistedError, PossiblyPersistedError, RejectedError, UnavailableError
from eventpub.profile import CRITICAL, DeliveryProfile, RetryPolicy
from tests.unit.rules.kit import (
    AT_ONCE,
    BROKER,
    LOOSE,
    QUICK,
    STANDARD,
    TELEMETRY,
    Bench,
    facts,
    handed_over,
    in_doubt,
    kinds,
    not_sent,
    rejected,
)

# --- what is cut ------------------------------------------------------------------------


def test_an_idle_partition_has_no_next_step() -> None:
    """Nothing queued, nothing to do."""
    bench = Bench()
    assert bench.next() is None
    assert not bench.partition.busy
    assert bench.take() is None


def test_everything_queued_goes_in_one_batch_in_order() -> None:
    """A batch is what has gathered since the last one, first come first."""
    bench = Bench()
    entries = bench.publish(1, 2, 3)
    assert bench.partition.busy
    bench.send()
    bench.ack(offset=40)
    assert bench.values == [["1", "2", "3"]]
    assert bench.offsets(*entries) == [40, 41, 42]
    assert bench.desk.order == entries
    assert not bench.desk.room
    assert not bench.partition.busy


def test_one_batch_at_a_time() -> None:
    """What comes while a batch is in flight waits for its answer."""
    bench = Bench()
    bench.publish(1)
    first = bench.send()
    bench.publish(2)
    assert bench.partition.batch is first
    bench.ack()
    assert bench.partition.batch is None
    bench.send()
    assert bench.values == [["1"], ["2"]]


def test_a_delivery_says_where_when_and_after_how_many_attempts() -> None:
    """The acknowledgement carries the broker's append time where it gives one, else the record's."""
    bench = Bench()
    (entry,) = bench.publish("x")
    bench.attempt(rejected(19))
    bench.send()
    bench.now += 0.5
    bench.answer(Acked(BROKER, 8, timestamp=777), after=0)
    delivery = bench.delivery(entry)
    assert delivery[:6] == ("orders", 3, 8, 777, "x", 2)
    assert delivery.elapsed == pytest.approx(0.51)
    assert delivery.status is PersistenceStatus.PERSISTED
    (other,) = bench.publish("y")
    bench.attempt(Acked(BROKER, 9))
    assert bench.delivery(other).timestamp == 1000


def test_a_batch_keeps_to_its_size() -> None:
    """The profile's batch size, overhead included, is not passed."""
    bench = Bench()
    size = bench.publish("0123456789")[0].size
    bench.publish(*["0123456789"] * 9)
    small = QUICK.replace(batch_size=61 + 3 * size)
    for each in bench.partition.queue:
        each.profile = small
    batch = bench.send()
    assert len(batch.entries) == 3
    assert batch.size == 61 + 3 * size


def test_a_record_larger_than_the_batch_size_travels_alone() -> None:
    """It is neither refused here nor put together with others."""
    small = QUICK.replace(batch_size=200)
    bench = Bench()
    bench.publish("x" * 500, "y", profile=small)
    assert len(bench.send().entries) == 1
    bench.ack()
    assert bench.send().entries[0].event_id == "y"


def test_a_batch_holds_a_bounded_number_of_records() -> None:
    """However small they are: cutting and settling must not hold the event loop."""
    bench = Bench()
    bench.publish(*range(MAX_RECORDS + 1))
    assert len(bench.send().entries) == MAX_RECORDS
    bench.ack()
    assert len(bench.send().entries) == 1


def test_the_size_that_a_topic_refused_bounds_later_cuts_of_all_its_partitions() -> None:
    """Code 10 teaches the topic's limit: below half of what was refused, as its halves are tried next."""
    limit = SizeLimit()
    bench, other = Bench(limit=limit), Bench(limit=limit)
    entries = bench.publish(*["0123456789"] * 8)
    bench.attempt(rejected(10))
    assert limit.bytes == (61 + 8 * entries[0].size) // 2 - 1
    other.publish(*["0123456789"] * 8)
    assert len(other.send().entries) == 2


def test_a_single_record_that_a_topic_refused_teaches_its_own_size() -> None:
    """There is nothing to halve; a smaller one may still fit."""
    bench = Bench()
    (entry,) = bench.publish("0123456789")
    bench.attempt(rejected(10))
    assert bench.partition._limit.bytes == 61 + entry.size - 1


def test_a_size_limit_only_shrinks() -> None:
    """A larger refusal teaches nothing new."""
    limit = SizeLimit()
    limit.refused(100)
    limit.refused(200)
    assert limit.bytes == 99


# --- profiles in one queue --------------------------------------------------------------


def test_a_batch_is_a_run_of_one_profile() -> None:
    """Each change of profile costs a cut, and those are counted."""
    bench = Bench()
    bench.publish(1, 2)
    bench.publish(3, profile=LOOSE)
    bench.publish(4)
    for _ in range(3):
        bench.send()
        bench.ack()
    assert bench.values == [["1", "2"], ["3"], ["4"]]
    assert bench.partition.mixed_cuts == 2
    assert bench.partition.cuts == 3


def test_equal_profiles_share_a_batch() -> None:
    """Two objects that say the same are one profile."""
    bench = Bench()
    bench.publish(1, profile=QUICK)
    bench.publish(2, profile=QUICK.replace())
    assert len(bench.send().entries) == 2
    assert not bench.partition.mixed_cuts


def test_without_idempotence_a_batch_is_not_stamped_and_costs_no_sequence() -> None:
    """The numbers belong to idempotent batches alone."""
    bench = Bench()
    bench.publish(1, profile=LOOSE)
    assert bench.send().stamp == UNSTAMPED
    bench.ack()
    bench.publish(2)
    assert bench.send().stamp == Stamp(7, 0, 0)


def test_with_acks_0_a_batch_ends_when_the_socket_has_it() -> None:
    """That is a delivery, possibly persisted, and no error."""
    bench = Bench()
    (entry,) = bench.publish(1, profile=TELEMETRY)
    bench.attempt(handed_over())
    delivery = bench.delivery(entry)
    assert delivery.offset is None
    assert delivery.status is PersistenceStatus.POSSIBLY_PERSISTED
    assert not bench.desk.room
    assert not bench.partition.busy


def test_with_acks_0_who_expired_while_the_socket_was_full_learns_nothing_new() -> None:
    """Possibly persisted he was told, and nobody will ever know more."""
    bench = Bench()
    entries = bench.publish(1, 2, profile=TELEMETRY, budget=1)
    entries[1].deadline = 2.0
    bench.send()
    bench.expire(entries[0])
    bench.answer(handed_over())
    assert not bench.desk.late
    assert bench.delivery(entries[1]).offset is None
    assert not bench.desk.room


def test_with_acks_0_what_reached_no_socket_is_tried_again() -> None:
    """Nothing was handed over yet."""
    bench = Bench()
    (entry,) = bench.publish(1, profile=TELEMETRY.replace(retry=AT_ONCE))
    bench.attempt(not_sent())
    bench.attempt(handed_over())
    assert bench.outcome(entry).attempts == 2


def test_with_acks_0_a_write_cut_short_is_possibly_persisted() -> None:
    """Some bytes were written: nobody can say more, and nothing may be sent again."""
    bench = Bench()
    (entry,) = bench.publish(1, profile=TELEMETRY.replace(retry=AT_ONCE))
    bench.attempt(in_doubt())
    assert facts(bench.error(entry)) == ("PossiblyPersistedError", "no_retry", None, "U")


def test_another_profile_next_changes_the_lane_s_mind() -> None:
    """The lane waits for one profile's connection; when its records end meanwhile, the next ones are not taken for it."""
    bench = Bench()
    (first,) = bench.publish(1, profile=LOOSE, budget=1)
    bench.publish(2)
    step = bench.next()
    assert step == Send(LOOSE)
    bench.expire(first)
    assert bench.partition.take(LOOSE, bench.now) is None
    assert bench.next() == Send(QUICK)
    assert (bench.partition.cuts, bench.partition.mixed_cuts) == (0, 0)


def test_a_refusal_meant_for_one_profile_fails_no_record_of_another() -> None:
    """No producer id for an idempotent batch is no reason to fail what needs none."""
    bench = Bench()
    (first,) = bench.publish(1, budget=1)
    (second,) = bench.publish(2, profile=LOOSE)
    assert bench.next() == Send(QUICK)
    bench.expire(first)
    bench.partition.refuse(rejected(31), QUICK, bench.now)
    assert second not in bench.desk.told
    bench.attempt(Acked(BROKER, 0))
    assert bench.offsets(second) == [0]


def test_no_stamp_without_a_producer_id() -> None:
    """Records that need an id when the lane had no reason to ask for one are left where they are."""
    bench = Bench()
    bench.partition.sequence.__init__()  # type: ignore[misc]  # a partition that never had an id
    (entry,) = bench.publish(1)
    assert bench.partition.take(QUICK, 0.0) is None
    bench.partition.sequence.adopt(ProducerId(9, 4))
    assert bench.send().stamp == Stamp(9, 4, 0)
    bench.ack()
    assert bench.offsets(entry) == [0]


# --- linger -----------------------------------------------------------------------------


def test_linger_holds_an_idle_partition_back() -> None:
    """The first record waits for company, counted from its own publish."""
    bench = Bench()
    bench.now = 5.0
    patient = QUICK.replace(linger=2)
    bench.publish(1, profile=patient)
    bench.now = 6.0
    bench.publish(2, profile=patient)
    assert bench.next() == Wait(7.0)
    bench.now = 7.0
    assert bench.next() == Send(patient)
    assert len(bench.send().entries) == 2


def test_linger_counts_only_while_the_partition_is_idle() -> None:
    """What gathered while a batch was in flight goes at once."""
    bench = Bench()
    patient = QUICK.replace(linger=2)
    bench.publish(1, profile=patient)
    bench.send()
    bench.publish(2, profile=patient)
    bench.ack()
    assert bench.next() == Send(patient)


def test_a_full_batch_does_not_linger() -> None:
    """There is nothing to wait for."""
    bench = Bench()
    patient = QUICK.replace(linger=2, batch_size=62)
    bench.publish("x" * 62, profile=patient)
    assert bench.next() == Send(patient)


def test_records_that_were_cut_do_not_fill_a_batch() -> None:
    """What went with the last batch says nothing about the next one."""
    bench = Bench()
    patient = QUICK.replace(linger=2, batch_size=400)
    bench.publish("y" * 400, profile=patient)
    bench.attempt(Acked(BROKER, 0))
    assert bench.partition.queued_bytes == 0
    bench.publish("x", profile=patient)
    assert bench.next() == Wait(2.01)


def test_records_that_ended_do_not_fill_a_batch() -> None:
    """Linger goes on when what seemed to fill the batch was withdrawn."""
    bench = Bench()
    patient = QUICK.replace(linger=2, batch_size=400)
    first, big = bench.publish("x", "y" * 400, profile=patient)
    assert bench.next() == Send(patient)
    bench.withdraw(big)
    assert bench.next() == Wait(2.0)
    assert bench.partition.queued_bytes == first.size


def test_flush_ends_linger() -> None:
    """Whoever waits for everything does not wait for company."""
    bench = Bench()
    bench.publish(1, profile=QUICK.replace(linger=2))
    bench.partition.stop_lingering()
    assert isinstance(bench.next(), Send)


def test_a_withdrawn_record_leaves_no_linger_behind() -> None:
    """The next record on the then idle partition lingers for itself."""
    bench = Bench()
    patient = QUICK.replace(linger=2)
    (gone,) = bench.publish(1, profile=patient)
    bench.withdraw(gone)
    assert bench.next() is None
    bench.now = 1.5
    bench.publish(2, profile=patient)
    assert bench.next() == Wait(3.5)


# --- stamps (rule 5) --------------------------------------------------------------------


def test_only_an_ack_moves_the_sequence() -> None:
    """Three records acked, then three more attempts that were refused: the number stays."""
    bench = Bench()
    bench.publish(1, 2, 3)
    assert bench.send().stamp == Stamp(7, 0, 0)
    bench.ack()
    bench.publish(4)
    for refusal in (rejected(19), not_sent(), rejected(3)):
        assert bench.send().stamp == Stamp(7, 0, 3)
        bench.answer(refusal)
    assert bench.send().stamp == Stamp(7, 0, 3)


def test_a_rejected_record_never_wedges_its_partition() -> None:
    """The next good record is acknowledged under the number that the bad one did not use."""
    bench = Bench()
    (bad,) = bench.publish("bad")
    bench.attempt(rejected(87))
    assert isinstance(bench.error(bad), RejectedError)
    (good,) = bench.publish("good")
    assert bench.send().stamp == Stamp(7, 0, 0)
    bench.ack(offset=5)
    assert bench.offsets(good) == [5]


@pytest.mark.parametrize("code", [45, 47, 49, 59, 90])
def test_a_broker_that_remembers_another_sequence_costs_a_clean_batch_one_epoch(code: int) -> None:
    """The batch is cut anew with epoch + 1, sequence 0, and goes in."""
    bench = Bench()
    bench.publish("before")
    bench.attempt(Acked(BROKER, 0))
    (entry,) = bench.publish(1)
    assert bench.attempt(rejected(code)).stamp == Stamp(7, 0, 1)
    assert bench.send().stamp == Stamp(7, 1, 0)
    bench.ack(offset=1)
    assert bench.offsets(entry) == [1]
    assert bench.partition.sequence.bumps == 1
    bench.publish(2)
    assert bench.send().stamp == Stamp(7, 1, 1)


@pytest.mark.parametrize("code", [45, 47, 59])
def test_a_broker_that_forgot_a_batch_in_doubt_ends_it_possibly_persisted(code: int) -> None:
    """Nobody can ask any more whether it is there; the partition goes on in the next epoch."""
    bench = Bench()
    (entry,) = bench.publish(1)
    bench.attempt(in_doubt())
    bench.attempt(rejected(code))
    assert facts(bench.error(entry)) == ("PossiblyPersistedError", "fenced", code, "UN")
    assert len(bench.desk.abandoned) == 1
    bench.publish(2)
    assert bench.send().stamp == Stamp(7, 1, 0)


def test_an_abandoned_batch_costs_one_epoch_and_no_more() -> None:
    """The next epoch fences late copies; a second abandonment takes a second one."""
    bench = Bench()
    for epoch in (1, 2):
        (entry,) = bench.publish("lost", budget=1)
        bench.attempt(in_doubt())
        bench.expire(entry)
        assert bench.next() is None
        bench.publish("next")
        assert bench.send().stamp == Stamp(7, epoch, 0)
        bench.ack()
    assert bench.partition.sequence.bumps == 2


def test_what_was_never_in_doubt_costs_no_epoch() -> None:
    """A clean batch that runs out of time leaves the sequence as it is."""
    bench = Bench()
    (entry,) = bench.publish("late", budget=1)
    bench.attempt(rejected(19))
    bench.expire(entry)
    assert bench.next() is None
    bench.publish("next")
    assert bench.send().stamp == Stamp(7, 0, 0)
    assert not bench.desk.abandoned


def test_past_the_last_epoch_a_new_producer_id_is_asked_for() -> None:
    """The one that is used up is named, so that it is not handed out again."""
    bench = Bench()
    bench.partition.sequence.adopt(ProducerId(7, MAX_EPOCH))
    (entry,) = bench.publish("lost", budget=1)
    assert bench.attempt(in_doubt()).stamp == Stamp(7, MAX_EPOCH, 0)
    bench.expire(entry)
    assert bench.next() is None
    sequence = bench.partition.sequence
    assert sequence.needs_id
    assert sequence.exhausted == 7
    bench.publish("next")
    assert bench.partition.take(QUICK, bench.now) is None
    sequence.adopt(ProducerId(8, 0))
    assert bench.send().stamp == Stamp(8, 0, 0)


def test_the_last_epoch_used_up_while_the_lane_waited_takes_no_batch_without_an_id() -> None:
    """The batch in doubt is given up in the very step that would have cut the next one."""
    bench = Bench()
    bench.partition.sequence.adopt(ProducerId(7, MAX_EPOCH))
    (lost,) = bench.publish("lost", budget=1)
    bench.attempt(in_doubt())
    (entry,) = bench.publish("next")
    assert bench.next() == Send(QUICK)
    bench.expire(lost)
    assert bench.partition.take(QUICK, bench.now) is None
    bench.partition.sequence.adopt(ProducerId(8, 0))
    bench.attempt(Acked(BROKER, 3))
    assert bench.offsets(entry) == [3]


# --- freeze (rule 2) --------------------------------------------------------------------


def test_in_doubt_a_batch_is_sent_again_as_it_was() -> None:
    """The same object, hence the same bytes, producer id, epoch and sequence, whatever was queued since."""
    bench = Bench()
    entries = bench.publish(1, 2)
    first = bench.attempt(in_doubt())
    bench.publish(3)
    for refusal in (in_doubt(), rejected(7, 12), rejected(19), not_sent(), rejected(6)):
        assert bench.attempt(refusal) is first
    assert bench.send() is first
    assert all(wire is bench.sent[0] for wire in bench.sent)
    bench.ack(offset=12)
    assert bench.offsets(*entries) == [12, 13]
    assert kinds(first.history) == "UUUNNUA"


def test_a_clean_batch_keeps_its_bytes_too_while_nothing_of_it_ended() -> None:
    """Encoding again would cost time and gain nothing."""
    bench = Bench()
    bench.publish(1, 2)
    bench.attempt(rejected(19))
    bench.publish(3)
    bench.send()
    assert bench.sent[0] is bench.sent[1]


def test_a_clean_batch_is_never_refilled() -> None:
    """What was queued since stays behind it."""
    bench = Bench()
    first, _ = bench.publish(1, 2)
    bench.attempt(rejected(19))
    bench.publish(3)
    bench.withdraw(first)
    bench.send()
    assert bench.values == [["1", "2"], ["2"]]


def test_a_retry_never_overtakes() -> None:
    """The batch that failed goes before everything that came later."""
    bench = Bench()
    bench.publish(1)
    bench.attempt(rejected(19))
    bench.publish(2)
    bench.attempt(rejected(19))
    bench.attempt(Acked(BROKER, 0))
    bench.attempt(Acked(BROKER, 1))
    assert bench.values == [["1"], ["1"], ["1"], ["2"]]


def test_records_whose_callers_gave_up_stay_in_a_frozen_batch() -> None:
    """Dropping one would send other bytes under the same sequence, which the broker takes for the old ones."""
    bench = Bench()
    (short,) = bench.publish(1, budget=5)
    (long,) = bench.publish(2, budget=60)
    bench.attempt(in_doubt())
    bench.expire(short)
    assert facts(bench.error(short)) == ("PossiblyPersistedError", "budget", None, "U")
    assert bench.desk.room == {short, long}
    bench.attempt(Acked(BROKER, 4))
    assert bench.values == [["1", "2"], ["1", "2"]]
    assert bench.offsets(long) == [5]
    ((late, delivery),) = bench.desk.late
    assert late is short
    assert isinstance(delivery, Delivery)
    assert delivery.offset == 4
    assert not bench.desk.room


def test_an_offset_in_an_error_answer_freezes() -> None:
    """Code 3 with an offset says that the batch was appended before the topic went."""
    bench = Bench()
    (entry,) = bench.publish(1, budget=1)
    bench.attempt(rejected(3, 5))
    assert bench.partition.batch is not None
    bench.expire(entry)
    assert isinstance(bench.error(entry), PossiblyPersistedError)


def test_a_permanent_rejection_after_doubt_is_possibly_persisted() -> None:
    """The last answer alone decides nothing."""
    bench = Bench()
    (entry,) = bench.publish(1)
    bench.attempt(in_doubt())
    bench.attempt(rejected(29))
    assert facts(bench.error(entry)) == ("PossiblyPersistedError", "rejected", 29, "UN")
    assert not bench.desk.room
    assert bench.partition.sequence.bumps == 1


@pytest.mark.parametrize("code", [10, 18, 2, 32, 87])
def test_a_batch_in_doubt_is_not_narrowed_down(code: int) -> None:
    """It ends as a whole: no part of it may travel under its sequence."""
    bench = Bench()
    entries = bench.publish(1, 2, 3)
    bench.attempt(in_doubt())
    bench.attempt(rejected(code, -1, (1, "bad")))
    assert {facts(bench.error(entry)) for entry in entries} == {("PossiblyPersistedError", "rejected", code, "UN")}
    assert not bench.partition.busy


# --- retry (rule 3) ---------------------------------------------------------------------


def test_the_policy_s_pause_is_kept() -> None:
    """Nothing is sent before it ends."""
    bench = Bench()
    bench.publish(1, profile=QUICK.replace(retry=RetryPolicy(wait=tenacity.wait_fixed(3))))
    bench.attempt(rejected(19))
    assert bench.next() == Wait(3.01)
    bench.now = 3.0
    assert bench.next() == Wait(3.01)
    bench.now = 3.01
    assert isinstance(bench.next(), Send)


@pytest.mark.parametrize(
    "result, error, history",
    [(rejected(19), UnavailableError, "NNN"), (in_doubt(), PossiblyPersistedError, "UUU")],
    ids=["clean", "in doubt"],
)
def test_a_policy_that_stops_ends_the_batch_as_its_history_says(
    result: object, error: type[Exception], history: str
) -> None:
    """Three attempts, then the word that is true."""
    bench = Bench()
    policy = RetryPolicy(wait=tenacity.wait_none(), stop=tenacity.stop_after_attempt(3))
    (entry,) = bench.publish(1, profile=QUICK.replace(retry=policy))
    for _ in range(3):
        assert entry not in bench.desk.told
        bench.attempt(result)  # type: ignore[arg-type]  # one of the results
    assert isinstance(bench.error(entry), error)
    assert bench.error(entry).reason == "attempts"
    assert kinds(bench.error(entry).history) == history
    assert not bench.partition.busy


def test_a_predicate_sees_the_error_that_the_batch_would_end_with() -> None:
    """Status, code and attempts as of now."""
    seen: list[tuple[object, ...]] = []

    def retry(state: tenacity.RetryCallState) -> bool:
        assert state.outcome is not None
        error = state.outcome.exception()
        seen.append((type(error).__name__, error.kafka_code, error.attempts, state.attempt_number))  # type: ignore[union-attr]
        return bool(error.kafka_code != 3)  # type: ignore[union-attr]

    bench = Bench()
    (entry,) = bench.publish(1, profile=QUICK.replace(retry=RetryPolicy(retry=retry, wait=tenacity.wait_none())))
    bench.attempt(rejected(19))
    bench.attempt(rejected(3))
    assert seen == [("UnavailableError", 19, 1, 1), ("UnavailableError", 3, 2, 2)]
    assert facts(bench.error(entry)) == ("UnavailableError", "attempts", 3, "NN")


@pytest.mark.parametrize("code", [29, 17, 35, 42])
def test_a_permanent_rejection_is_not_retried_whatever_the_policy_says(code: int) -> None:
    """The veto comes first, and fails the whole batch at once."""
    bench = Bench()
    entries = bench.publish(1, 2)
    bench.attempt(rejected(code))
    assert all(facts(bench.error(entry))[2:] == (code, "N") for entry in entries)
    assert all(isinstance(bench.error(entry), RejectedError) for entry in entries)
    assert not bench.partition.busy


def test_doubt_without_idempotence_is_not_retried() -> None:
    """A second copy could be written, and nobody allowed that."""
    bench = Bench()
    (entry,) = bench.publish(1, profile=STANDARD.replace(retry=AT_ONCE))
    bench.attempt(in_doubt())
    assert facts(bench.error(entry)) == ("PossiblyPersistedError", "no_retry", None, "U")


def test_clean_failures_without_idempotence_are_retried() -> None:
    """Nothing was written, so nothing can be doubled."""
    bench = Bench()
    (entry,) = bench.publish(1, profile=STANDARD.replace(retry=AT_ONCE))
    bench.attempt(rejected(6))
    bench.attempt(not_sent())
    bench.attempt(Acked(BROKER, 1))
    assert bench.offsets(entry) == [1]


def test_doubt_is_retried_where_duplicates_are_allowed() -> None:
    """The profile said so; the batch stays as it is."""
    bench = Bench()
    (entry,) = bench.publish(1, profile=LOOSE)
    first = bench.attempt(in_doubt())
    assert bench.send() is first
    bench.ack(offset=2)
    assert bench.offsets(entry) == [2]


def test_the_pauses_so_far_are_told_to_the_policy() -> None:
    """The policy reads them as idle_for, by the loop's clock."""
    waited: list[float] = []

    def wait(state: tenacity.RetryCallState) -> float:
        waited.append(state.idle_for)
        return 0.5

    bench = Bench()
    bench.publish(1, profile=QUICK.replace(retry=RetryPolicy(wait=wait)))
    for _ in range(3):
        bench.attempt(rejected(19))
    assert waited == [0, 0.5, 1.0]


def test_a_back_off_belongs_to_the_batch_that_failed() -> None:
    """When it ends early, what stands behind it does not serve the rest of it."""
    bench = Bench()
    slow = QUICK.replace(retry=RetryPolicy(wait=tenacity.wait_fixed(20)))
    entries = bench.publish(1, 2, profile=slow)
    bench.attempt(rejected(10))
    first = bench.attempt(in_doubt())
    assert bench.next() == Wait(20.02)
    assert bench.late(first, Acked(BROKER, 0))
    assert bench.next() == Send(slow)
    bench.attempt(Acked(BROKER, 1))
    assert bench.offsets(*entries) == [0, 1]


# --- budgets (rule 4) -------------------------------------------------------------------


def test_an_attempt_is_clipped_to_the_life_of_its_batch() -> None:
    """The longest budget in it, or the profile's request timeout."""
    bench = Bench()
    bench.publish(1, budget=2)
    bench.publish(2, budget=4)
    batch = bench.send()
    assert batch.attempt_deadline(3.5) == 4.0
    given = Bench()
    given.publish(1, budget=60, profile=QUICK.replace(delivery_timeout=60, request_timeout=25))
    assert given.send().attempt_deadline(2.0) == 27.0


@pytest.mark.parametrize(
    "profile, budget, limits",
    [
        (CRITICAL, 6.0, [2.0, 4.0, 6.0]),
        (CRITICAL, 30.0, [10.0, 20.0, 30.0]),
        (CRITICAL, 120.0, [10.0, 20.0, 30.0]),
        (CRITICAL, 2.0, [1.0, 2.0]),
        (CRITICAL, 0.5, [0.5]),
        (CRITICAL.replace(request_timeout=10), 6.0, [6.0]),
        (STANDARD, 6.0, [6.0]),
    ],
)
def test_an_answer_that_never_comes_leaves_time_for_another_try(
    profile: DeliveryProfile, budget: float, limits: list[float]
) -> None:
    """Where a resend is safe and nobody chose the limit: a third of the time for each, at least a second."""
    bench = Bench()
    bench.publish(1, budget=budget, profile=profile)
    batch = bench.send()
    for limit in limits:
        deadline = batch.attempt_deadline(bench.now)
        assert deadline == pytest.approx(limit)
        batch.history += (describe(in_doubt(), profile.acks, bench.now, deadline),)
        bench.now = deadline


def test_no_attempt_starts_with_too_little_time_left() -> None:
    """What would end in the middle of an attempt would end in doubt: it ends clean, now."""
    bench = Bench()
    late, early = bench.publish(1, budget=1)[0], bench.publish(2, budget=30)[0]
    bench.now = 1 - MIN_ATTEMPT + 0.001
    bench.send()
    assert bench.values == [["2"]]
    assert facts(bench.error(late)) == ("UnavailableError", "budget", None, "")
    bench.ack()
    assert bench.offsets(early) == [0]
    assert not bench.desk.room


def test_just_enough_time_is_enough() -> None:
    """At the limit itself the attempt is made."""
    bench = Bench()
    bench.publish(1, budget=1)
    bench.now = 0.95
    assert bench.take() is not None


def test_a_budget_shorter_than_that_gets_its_attempt_nevertheless() -> None:
    """Half of it has to be left, however short it is."""
    bench = Bench()
    bench.publish(1, budget=0.02)
    bench.now = 0.009
    assert bench.take() is not None
    other = Bench()
    (entry,) = other.publish(1, budget=0.02)
    other.now = 0.011
    assert other.take() is None
    assert isinstance(other.error(entry), UnavailableError)


def test_two_measured_round_trips_must_be_left_on_a_far_broker() -> None:
    """The limit follows what acknowledgements took."""
    bench = Bench()
    bench.publish(1)
    bench.send()
    bench.answer(Acked(BROKER, 0), after=1.0)
    late, enough = bench.publish(2, budget=4)[0], bench.publish(3, budget=8)[0]
    bench.now += 2.5
    bench.send()
    assert bench.values[-1] == ["3"]
    assert bench.error(late).reason == "budget"
    assert enough not in bench.desk.told


@pytest.mark.parametrize("left, taken", [(1.2, True), (1.1, False)])
def test_the_round_trip_is_a_moving_average(left: float, taken: bool) -> None:  # noqa: FBT001 - a case of the table
    """One slow answer neither stays for ever nor is forgotten at once: 1 s, then 0.75, then 0.5625."""
    bench = Bench()
    for took in (1.0, 0.0, 0.0):
        bench.publish(1)
        bench.send()
        bench.answer(Acked(BROKER, 0), after=took)
    bench.publish(2, budget=10)
    bench.now += 10 - left
    assert (bench.take() is not None) is taken


def test_a_clean_piece_is_cut_anew_without_records_that_have_too_little_time_left() -> None:
    """They end clean now, with what was tried in their history."""
    bench = Bench()
    (short,) = bench.publish(1, budget=1)
    (long,) = bench.publish(2)
    bench.attempt(rejected(19))
    bench.now = 0.96
    bench.attempt(Acked(BROKER, 0))
    assert bench.values == [["1", "2"], ["2"]]
    assert facts(bench.error(short)) == ("UnavailableError", "budget", 19, "N")
    assert bench.offsets(long) == [0]
    assert not bench.desk.room


def test_a_frozen_batch_lives_until_the_last_of_its_budgets() -> None:
    """A neighbour's shorter budget ends that caller's wait and nothing else."""
    bench = Bench()
    (short,) = bench.publish(1, budget=1)
    (long,) = bench.publish(2, budget=10)
    bench.attempt(in_doubt())
    bench.expire(short)
    assert bench.next() == Send(QUICK)
    bench.expire(long)
    assert bench.next() is None
    assert not bench.desk.room
    assert len(bench.desk.abandoned) == 1


def test_a_frozen_batch_is_not_resent_with_too_little_time_left() -> None:
    """It is given up then, and its records are told."""
    bench = Bench()
    (entry,) = bench.publish(1, budget=1)
    bench.attempt(in_doubt())
    bench.now = 0.96
    assert bench.next() is None
    assert facts(bench.error(entry)) == ("PossiblyPersistedError", "budget", None, "U")


def test_a_refusal_before_the_write_fails_what_goes_next() -> None:
    """An unknown topic, seen when the lane wanted to write: no attempt was made."""
    bench = Bench()
    entries = bench.publish(1, 2)
    bench.partition.refuse(rejected(3), QUICK, 0.5)
    assert {facts(bench.error(entry)) for entry in entries} == {("UnknownTopicError", None, 3, "")}
    assert not bench.desk.room
    assert not bench.partition.busy


def test_a_refusal_before_a_resend_leaves_the_doubt() -> None:
    """The topic is gone, the record may have been in it."""
    bench = Bench()
    (entry,) = bench.publish(1)
    bench.attempt(in_doubt())
    bench.partition.refuse(rejected(3), QUICK, bench.now)
    assert facts(bench.error(entry)) == ("PossiblyPersistedError", "rejected", None, "U")
    assert bench.partition.sequence.bumps == 1


def test_a_refusal_before_a_clean_retry_fails_it() -> None:
    """Its history stays with it."""
    bench = Bench()
    (entry,) = bench.publish(1)
    bench.attempt(rejected(19))
    bench.partition.refuse(rejected(3), QUICK, bench.now)
    assert facts(bench.error(entry)) == ("UnknownTopicError", None, 3, "N")


def test_a_refusal_while_backing_off_is_not_for_anybody() -> None:
    """Nothing was about to be written."""
    bench = Bench()
    profile = QUICK.replace(retry=RetryPolicy(wait=tenacity.wait_fixed(5)))
    bench.publish(1, profile=profile)
    bench.attempt(rejected(19))
    bench.partition.refuse(rejected(3), profile, bench.now)
    assert not bench.desk.told


def test_answers_to_a_batch_that_was_closed_are_ignored() -> None:
    """The lane may still hand one over."""
    bench = Bench()
    bench.publish(1)
    bench.send()
    bench.close()
    bench.ack()
    assert len(bench.desk.told) == 1


def test_code_46_is_an_acknowledgement_without_an_offset() -> None:
    """Old brokers say so of a batch that they have already; the number moves on."""
    bench = Bench()
    (entry,) = bench.publish(1)
    bench.attempt(in_doubt())
    bench.attempt(rejected(46))
    delivery = bench.delivery(entry)
    assert delivery.offset is None
    assert delivery.status is PersistenceStatus.PERSISTED
    bench.publish(2)
    assert bench.send().stamp == Stamp(7, 0, 1)


def test_every_attempt_is_told() -> None:
    """With its outcome, code, broker and duration."""
    bench = Bench()
    bench.publish(1)
    bench.attempt(rejected(19))
    bench.attempt(Acked(BROKER, 0))
    first, second = bench.desk.attempts
    assert (first.kafka_code, first.kafka_error, first.broker) == (19, "NOT_ENOUGH_REPLICAS", BROKER)
    assert first.duration == pytest.approx(0.01)
    assert kinds((first, second)) == "NA"


def test_a_listener_that_withdraws_a_neighbour_cannot_take_back_what_was_acknowledged() -> None:
    """A hook may cancel what it likes in the middle of a settlement; the room is given back once."""
    bench = Bench()
    first, second = bench.publish(1, 2)
    tell = bench.desk.on_outcome

    def meddle(entry: object, outcome: object) -> None:
        tell(entry, outcome)  # type: ignore[arg-type]  # passed through
        if entry is first:
            assert not bench.withdraw(second)

    bench.desk.on_outcome = meddle  # type: ignore[method-assign]  # a meddling listener
    bench.attempt(Acked(BROKER, 0))
    assert bench.offsets(first, second) == [0, 1]
    assert not bench.desk.room


def test_a_listener_that_withdraws_a_neighbour_of_a_failed_piece_takes_it_back_once() -> None:
    """Whoever was withdrawn is not told of the failure, and gives his room back once."""
    bench = Bench()
    first, second = bench.publish(1, 2)
    tell = bench.desk.on_outcome

    def meddle(entry: object, outcome: object) -> None:
        tell(entry, outcome)  # type: ignore[arg-type]  # passed through
        if entry is first:
            bench.withdraw(second)

    bench.attempt(rejected(19))
    bench.desk.on_outcome = meddle  # type: ignore[method-assign]  # a meddling listener
    bench.close()
    assert isinstance(bench.error(first), NotPersistedError)
    assert second not in bench.desk.told
    assert not bench.desk.late
    assert not bench.desk.room


def test_a_listener_that_withdraws_a_neighbour_of_a_spent_record_takes_it_out_of_the_batch() -> None:
    """The neighbour is not sent, and gives its room back once."""
    bench = Bench()
    (short,) = bench.publish("short", budget=2)
    second, third = bench.publish("second", "third")
    tell = bench.desk.on_outcome

    def meddle(entry: object, outcome: object) -> None:
        tell(entry, outcome)  # type: ignore[arg-type]  # passed through
        if entry is short:
            assert bench.withdraw(second)

    bench.attempt(rejected(19))
    bench.desk.on_outcome = meddle  # type: ignore[method-assign]  # a meddling listener
    bench.now = 1.99
    bench.send()
    bench.ack()
    assert bench.values[-1] == ["third"]
    assert not bench.desk.room
    assert bench.offsets(third) == [0]
