"""Delivery profiles: what they are by default, what adapts, and what is refused, all at once."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError
from datetime import timedelta
from typing import Any

import pytest
import tenacity

from eventpub import CRITICAL, STANDARD, TELEMETRY, ConfigurationError, DeliveryProfile, RetryPolicy
from eventpub.profile import as_seconds


def findings(**settings: Any) -> list[str]:
    """Return the settings that a profile of *settings* is refused for."""
    with pytest.raises(ConfigurationError) as caught:
        DeliveryProfile(**{"name": "mine", **settings})
    return [finding.setting for finding in caught.value.findings]


def test_the_default_must_not_be_lost_or_doubled() -> None:
    """All in-sync replicas, idempotent, 30 s in all and 10 s a request, no linger, 1 MiB."""
    assert (CRITICAL.acks, CRITICAL.idempotence, CRITICAL.allow_duplicates) == ("all", True, False)
    assert (CRITICAL.delivery_timeout, CRITICAL.request_timeout, CRITICAL.linger) == (30.0, 10.0, 0.0)
    assert (CRITICAL.batch_size, CRITICAL.compression, CRITICAL.retry) == (1 << 20, "none", RetryPolicy())
    assert DeliveryProfile("critical") == CRITICAL


def test_the_other_two_say_what_may_be_lost() -> None:
    """The leader's answer, or nobody's."""
    assert (STANDARD.name, STANDARD.acks, STANDARD.idempotence) == ("standard", 1, False)
    assert (TELEMETRY.name, TELEMETRY.acks, TELEMETRY.idempotence) == ("telemetry", 0, False)


# --- time limits adapt while they are not given -----------------------------------------


@pytest.mark.parametrize(
    "settings, limits",
    [
        ({}, (30, 10)),
        ({"delivery_timeout": 5}, (5, 5)),
        ({"delivery_timeout": 120}, (120, 10)),
        ({"request_timeout": 60}, (60, 60)),
        ({"request_timeout": 60, "linger": 2}, (62, 60)),
        ({"linger": 2}, (30, 10)),
        ({"delivery_timeout": timedelta(minutes=2), "request_timeout": timedelta(seconds=90)}, (120, 90)),
    ],
)
def test_limits_that_were_not_given_adapt_to_those_that_were(
    settings: dict[str, Any], limits: tuple[float, float]
) -> None:
    """In seconds, as floats."""
    profile = CRITICAL.replace(**settings)
    assert (profile.delivery_timeout, profile.request_timeout) == limits
    assert type(profile.delivery_timeout) is float


def test_what_was_given_once_is_kept_by_later_changes() -> None:
    """And what was not adapts again."""
    short = CRITICAL.replace(delivery_timeout=5)
    assert short.replace(linger=1).request_timeout == 5
    assert short.replace(delivery_timeout=60).request_timeout == 10
    strict = CRITICAL.replace(request_timeout=4)
    assert strict.replace(delivery_timeout=5).request_timeout == 4
    with pytest.raises(ConfigurationError, match="request_timeout: 4 s is longer than delivery_timeout 2 s"):
        strict.replace(delivery_timeout=2)


def test_durations_may_be_timedeltas() -> None:
    """They are kept as seconds."""
    assert CRITICAL.replace(linger=timedelta(milliseconds=5)).linger == 0.005
    assert CRITICAL.replace(delivery_timeout=timedelta(seconds=9)) == CRITICAL.replace(delivery_timeout=9.0)


# --- safety never adapts ----------------------------------------------------------------


@pytest.mark.parametrize("acks", [0, 1])
def test_idempotence_with_fewer_acks_is_refused_with_both_ways_out(acks: int) -> None:
    """It is not switched off silently."""
    with pytest.raises(ConfigurationError) as caught:
        CRITICAL.replace(acks=acks)
    text = str(caught.value)
    assert f"acks={acks} contradicts idempotence=True" in text
    assert "add idempotence=False, or start from STANDARD" in text


@pytest.mark.parametrize(
    "settings",
    [
        {"acks": 1, "idempotence": False, "allow_duplicates": True},
        {"acks": "all", "idempotence": False},
        {"acks": "all", "idempotence": False, "allow_duplicates": True},
    ],
)
def test_combinations_that_act_are_taken(settings: dict[str, Any]) -> None:
    """Whoever asks for them knows why."""
    assert CRITICAL.replace(**settings).acks == settings["acks"]


@pytest.mark.parametrize(
    "settings, setting",
    [
        ({"allow_duplicates": True}, "allow_duplicates"),
        ({"acks": 0, "idempotence": False, "allow_duplicates": True}, "allow_duplicates"),
        ({"acks": 2}, "acks"),
        ({"acks": -1}, "acks"),
        ({"acks": "ALL"}, "acks"),
        ({"acks": True, "idempotence": False}, "acks"),
        ({"acks": 1.0, "idempotence": False}, "acks"),
        ({"acks": None}, "acks"),
        ({"acks": ["all"]}, "acks"),
        ({"idempotence": 1}, "idempotence"),
        ({"idempotence": None}, "idempotence"),
        ({"idempotence": False, "allow_duplicates": "no"}, "allow_duplicates"),
        ({"idempotence": False, "allow_duplicates": 1}, "allow_duplicates"),
        ({"name": ""}, "name"),
        ({"name": 7}, "name"),
        ({"batch_size": 61}, "batch_size"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 8 * 1024 * 1024 + 1}, "batch_size"),
        ({"batch_size": 1000.0}, "batch_size"),
        ({"batch_size": True}, "batch_size"),
        ({"compression": "brotli"}, "compression"),
        ({"compression": None}, "compression"),
        ({"compression": ["gzip"]}, "compression"),
        ({"retry": None}, "retry"),
        ({"retry": tenacity.stop_after_attempt(3)}, "retry"),
        ({"delivery_timeout": 0}, "delivery_timeout"),
        ({"delivery_timeout": -1}, "delivery_timeout"),
        ({"delivery_timeout": float("inf")}, "delivery_timeout"),
        ({"delivery_timeout": "5"}, "delivery_timeout"),
        ({"delivery_timeout": True}, "delivery_timeout"),
        ({"request_timeout": 0}, "request_timeout"),
        ({"request_timeout": 31, "delivery_timeout": 30}, "request_timeout"),
        ({"linger": -0.1}, "linger"),
        ({"linger": float("nan")}, "linger"),
        ({"linger": 5, "delivery_timeout": 5}, "linger"),
        ({"dead_letter": 1.5}, "dead_letter"),
        ({"dead_letter": True, "acks": 0, "idempotence": False}, "dead_letter"),
        ({"dead_letter_timeout": 0}, "dead_letter_timeout"),
        ({"dead_letter_timeout": 5, "dead_letter": False}, "dead_letter_timeout"),
        ({"dead_letter_timeout": 5, "acks": 0, "idempotence": False}, "dead_letter_timeout"),
    ],
)
def test_what_cannot_act_is_refused(settings: dict[str, Any], setting: str) -> None:
    """By the setting to change, and no other."""
    assert findings(**settings) == [setting]


def test_every_contradiction_is_reported_at_once() -> None:
    """Each with the setting, the reason and the fix."""
    broken = {
        "name": "",
        "acks": 2,
        "delivery_timeout": 5,
        "request_timeout": 6,
        "linger": 7,
        "batch_size": 1,
        "compression": "brotli",
        "retry": None,
        "allow_duplicates": True,
    }
    assert sorted(findings(**broken)) == sorted(set(broken) - {"delivery_timeout"})


def test_durations_that_are_none_are_reported_with_the_rest() -> None:
    """Only comparisons between them wait until they are durations."""
    broken = findings(delivery_timeout="long", request_timeout=-1, linger="short", acks=7)
    assert sorted(broken) == ["acks", "delivery_timeout", "linger", "request_timeout"]


def test_each_finding_has_a_reason_and_a_fix() -> None:
    """A sentence one can act on."""
    with pytest.raises(ConfigurationError) as caught:
        DeliveryProfile("", acks=2, batch_size=1, compression="x")  # type: ignore[arg-type]  # wrong on purpose
    for finding in caught.value.findings:
        assert finding.reason
        assert finding.fix


def test_a_profile_whose_linger_alone_was_given_names_no_limit_that_was_not() -> None:
    """A long linger makes room for itself, as a long request does."""
    patient = CRITICAL.replace(linger=60)
    assert patient.delivery_timeout == 70
    assert patient.request_timeout == 10


def test_an_unknown_setting_is_refused_with_those_there_are() -> None:
    """Java's names among others."""
    with pytest.raises(ConfigurationError, match=r"linger_ms: is no setting of a profile; use name, acks, .*linger"):
        CRITICAL.replace(linger_ms=5)


# --- values -----------------------------------------------------------------------------


def test_profiles_are_values() -> None:
    """Frozen, equal by what they say, hashable; the given settings travel along."""
    mine = CRITICAL.replace(name="mine", delivery_timeout=5)
    assert mine == DeliveryProfile("mine", delivery_timeout=timedelta(seconds=5))
    assert hash(mine) == hash(DeliveryProfile("mine", delivery_timeout=5.0))
    assert mine != CRITICAL
    for again in (pickle.loads(pickle.dumps(mine)), copy.deepcopy(mine), copy.copy(mine)):
        assert again == mine
        assert again.replace(delivery_timeout=60).request_timeout == 10
    with pytest.raises(FrozenInstanceError):
        mine.acks = 1  # type: ignore[misc]  # frozen


def test_a_profile_shows_its_settings() -> None:
    """And not what it remembers for later changes."""
    assert "acks='all'" in repr(CRITICAL)
    assert "_given" not in repr(CRITICAL)


def test_settings_are_given_by_name() -> None:
    """Ten of them in a row say nothing."""
    with pytest.raises(TypeError):
        DeliveryProfile("mine", 1)  # type: ignore[call-arg]  # wrong on purpose


# --- retry policies and durations -------------------------------------------------------


def test_a_policy_takes_tenacity_s_objects() -> None:
    """Or any callable."""
    policy = RetryPolicy(wait=tenacity.wait_fixed(1), stop=tenacity.stop_never, retry=lambda _: True)
    assert CRITICAL.replace(retry=policy).retry is policy


def test_a_policy_of_other_things_is_refused_all_at_once() -> None:
    """The number of attempts alone is no policy."""
    with pytest.raises(ConfigurationError) as caught:
        RetryPolicy(wait=1.0, stop=3)  # type: ignore[arg-type]  # wrong on purpose
    assert [finding.setting for finding in caught.value.findings] == ["retry.wait", "retry.stop"]
    assert "tenacity's stop_* objects" in str(caught.value)


@pytest.mark.parametrize("value", [1, 1.0, timedelta(seconds=1)])
def test_seconds_come_as_numbers_or_timedeltas(value: Any) -> None:
    """And leave as floats."""
    seconds = as_seconds("timeout", value)
    assert seconds == 1.0
    assert type(seconds) is float


@pytest.mark.parametrize(
    "value", [0, -1, float("nan"), float("inf"), "1", None, True, timedelta(0), pytest.param(10**400, id="huge")]
)
def test_what_is_no_duration_is_refused(value: Any) -> None:
    """Under the name of its setting."""
    with pytest.raises(ConfigurationError, match=r"^timeout: "):
        as_seconds("timeout", value)


def test_zero_is_a_duration_where_it_means_something() -> None:
    """A linger of 0, a close at once."""
    assert as_seconds("linger", 0, zero=True) == 0.0
    with pytest.raises(ConfigurationError):
        as_seconds("linger", -0.001, zero=True)
