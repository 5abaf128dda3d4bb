"""Asks a profile's tenacity policy, after a failed attempt, whether and when to try again.

The only module that imports tenacity. Its retry loop is not used: it sleeps and reads the
clock itself. Its decisions are, on a state filled in by hand with the event loop's time.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import tenacity as _t

if TYPE_CHECKING:
    from eventpub.exceptions import PublishError
    from eventpub.profile import RetryPolicy

_log = logging.getLogger("eventpub.retry")

# Not wait_exponential_jitter: it renamed a parameter within the range of versions we accept.
_DEFAULT_WAIT = _t.wait_random_exponential(multiplier=0.1, max=1)


class Tried(NamedTuple):
    """How far a batch has come: what tenacity's predicates may ask about."""

    attempts: int
    first_started: float
    waited: float
    error: PublishError


def pause(policy: RetryPolicy, tried: Tried, now: float) -> float | None:
    """Return the seconds to wait before the next attempt, or ``None`` to give up.

    A policy that raises gives up: what to do next is then unknown, and an exception
    here would take the partition down with it.
    """
    state = _state(tried, now)
    try:
        if policy.retry is not None and not policy.retry(state):
            return None
        if policy.stop is not None and policy.stop(state):
            return None
        return max(0.0, float((policy.wait or _DEFAULT_WAIT)(state)))
    except Exception:  # noqa: BLE001 - whatever a user's predicate raises
        _log.exception("the retry policy raised; no further attempt is made", extra={"line": "retry.raised"})
        return None


def _state(tried: Tried, now: float) -> _t.RetryCallState:
    state = _t.RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]  # unused by predicates
    state.start_time, state.outcome_timestamp = tried.first_started, now
    state.attempt_number, state.idle_for = tried.attempts, tried.waited
    state.outcome = _t.Future(tried.attempts)
    state.outcome.set_exception(tried.error)
    return state
