"""Asking a profile's tenacity policy (rule 3)."""

from __future__ import annotations

import logging

import pytest
import tenacity

from eventpub._rules.retry import Tried, pause
from eventpub.exceptions import UnavailableError
from eventpub.profile import RetryPolicy

ERROR = UnavailableError("not delivered", kafka_code=19)


def tried(attempts: int = 1, started: float = 100.0, waited: float = 0.0) -> Tried:
    """Return how far a batch has come."""
    return Tried(attempts, started, waited, ERROR)


def test_by_default_it_waits_a_little_at_random_and_never_stops() -> None:
    """Up to 100 ms at first, up to a second later: a thousand publishers do not come back at once."""
    first = [pause(RetryPolicy(), tried(), 100.0) for _ in range(200)]
    assert all(seconds is not None and 0 <= seconds <= 0.2 for seconds in first)
    assert len(set(first)) > 100
    later = [pause(RetryPolicy(), tried(50), 1e6) for _ in range(200)]
    assert all(seconds is not None and 0 <= seconds <= 1 for seconds in later)
    assert max(seconds or 0 for seconds in later) > 0.5


def test_stop_gives_up() -> None:
    """By attempts."""
    policy = RetryPolicy(stop=tenacity.stop_after_attempt(3))
    assert pause(policy, tried(2), 0.0) is not None
    assert pause(policy, tried(3), 0.0) is None


def test_time_is_the_event_loop_s() -> None:
    """Since the first attempt, as the caller's clock tells it."""
    policy = RetryPolicy(stop=tenacity.stop_after_delay(10))
    assert pause(policy, tried(started=100.0), 109.9) is not None
    assert pause(policy, tried(started=100.0), 110.0) is None


def test_retry_sees_the_error() -> None:
    """The one the batch would end with."""
    seen: list[BaseException] = []

    def no(error: BaseException) -> bool:
        seen.append(error)
        return False

    assert pause(RetryPolicy(retry=tenacity.retry_if_exception(no)), tried(), 0.0) is None
    assert seen == [ERROR]
    on_19 = RetryPolicy(retry=tenacity.retry_if_exception(lambda error: getattr(error, "kafka_code", 0) == 19))
    assert pause(on_19, tried(), 0.0) is not None


def test_wait_sees_attempts_and_time_waited() -> None:
    """What tenacity's own strategies read."""
    states: list[tuple[int, float]] = []

    def wait(state: tenacity.RetryCallState) -> float:
        states.append((state.attempt_number, state.idle_for))
        return 2.5

    assert pause(RetryPolicy(wait=wait), tried(4, waited=7.0), 0.0) == 2.5
    assert states == [(4, 7.0)]
    exponential = RetryPolicy(wait=tenacity.wait_exponential(multiplier=1, max=100))
    assert pause(exponential, tried(4), 0.0) == 8


@pytest.mark.parametrize("seconds", [-1, float("-inf"), float("nan")])
def test_a_wait_that_makes_no_sense_is_none(seconds: float) -> None:
    """The next attempt is made at once."""
    assert pause(RetryPolicy(wait=lambda _: seconds), tried(), 0.0) == 0.0


@pytest.mark.parametrize("part", ["wait", "stop", "retry"])
def test_a_policy_that_raises_gives_up_and_says_so(part: str, caplog: pytest.LogCaptureFixture) -> None:
    """The partition goes on with the next batch."""

    def broken(_state: object) -> bool:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR, "eventpub"):
        assert pause(RetryPolicy(**{part: broken}), tried(), 0.0) is None
    assert "retry policy raised" in caplog.text


def test_a_wait_that_is_no_number_gives_up(caplog: pytest.LogCaptureFixture) -> None:
    """A timedelta, for example: tenacity's strategies return seconds."""
    assert pause(RetryPolicy(wait=lambda _: "soon"), tried(), 0.0) is None  # type: ignore[arg-type,return-value]  # wrong on purpose
    assert "retry policy raised" in caplog.text


def test_tenacity_s_objects_combine_as_ever() -> None:
    """Its operators are part of what users know."""
    policy = RetryPolicy(stop=tenacity.stop_after_attempt(5) | tenacity.stop_after_delay(10))
    assert pause(policy, tried(2), 105.0) is not None
    assert pause(policy, tried(2), 111.0) is None
    assert pause(policy, tried(5), 101.0) is None
