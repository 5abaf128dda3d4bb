"""Finding the profile of an event class, by the names that a publisher knows."""

from __future__ import annotations

from typing import Any

import pytest

from eventpub import CRITICAL, STANDARD, TELEMETRY, ConfigurationError, Event, EventRegistry
from eventpub.profiles import Profiles

REGISTRY = EventRegistry()
QUICK = CRITICAL.replace(name="quick", delivery_timeout=2)


class Plain(Event, type="plain", registry=REGISTRY):
    """An event that names no profile."""


class Metered(Event, type="metered", profile="telemetry", registry=REGISTRY):
    """An event that names one."""


class Billed(Event, type="billed", profile=QUICK, registry=REGISTRY):
    """An event that brings one."""


class Inherited(Metered, type="inherited"):
    """An event whose base names one."""


class Restated(Metered, type="restated", profile="mine"):
    """An event that names another than its base, which not every publisher knows."""


def test_the_class_goes_before_the_default() -> None:
    """By name, by value, by inheritance; a class that says nothing takes the default."""
    profiles = Profiles(STANDARD, {})
    assert profiles.of(Plain) is STANDARD
    assert profiles.of(Metered) is TELEMETRY
    assert profiles.of(Billed) is QUICK
    assert profiles.of(Inherited) is TELEMETRY


def test_names_of_ones_own() -> None:
    """A publisher's names are added to the presets', or take their place."""
    profiles = Profiles("mine", {"mine": QUICK, "telemetry": STANDARD})
    assert profiles.default is QUICK
    assert profiles.of(Restated) is QUICK
    assert profiles.of(Metered) is STANDARD
    assert profiles.named("critical") is CRITICAL
    assert Profiles(CRITICAL, {}).of(Metered) is TELEMETRY


def test_the_same_class_is_looked_up_once() -> None:
    """Publishing asks for every event, so the answer is kept."""
    profiles = Profiles(CRITICAL, {"mine": QUICK})
    assert profiles.of(Restated) is profiles.of(Restated)


@pytest.mark.parametrize("name", ["nobody", "", "CRITICAL"])
def test_an_unknown_name_is_refused_with_those_there_are(name: str) -> None:
    """The message lists the names that would do."""
    with pytest.raises(ConfigurationError, match="'critical', 'standard', 'telemetry', 'mine'"):
        Profiles(CRITICAL, {"mine": QUICK}).named(name)
    with pytest.raises(ConfigurationError, match="profile"):
        Profiles(name, {})


def test_a_class_that_names_an_unknown_one_is_refused_when_it_is_published() -> None:
    """Each publisher knows its own names, so the class alone cannot tell."""
    with pytest.raises(ConfigurationError, match="'mine' is not known"):
        Profiles(CRITICAL, {}).of(Restated)


@pytest.mark.parametrize("thing", [5, None, object(), {"acks": 1}, ["critical"]])
def test_what_is_no_profile_is_refused(thing: Any) -> None:
    """As the default, among the named, and at a single publish."""
    with pytest.raises(ConfigurationError, match="profile"):
        Profiles(thing, {})
    with pytest.raises(ConfigurationError, match=r"profiles\['mine'\]"):
        Profiles(CRITICAL, {"mine": thing})
    with pytest.raises(ConfigurationError, match=type(thing).__name__):
        Profiles(CRITICAL, {}).named(thing)


def test_the_longest_budget_in_use() -> None:
    """What a close waits for by default: the longest of default and named ones, and of those used since."""
    assert Profiles(QUICK, {}).longest == 2
    profiles = Profiles(QUICK, {"mine": STANDARD.replace(delivery_timeout=45)})
    assert profiles.longest == 45
    profiles.named(CRITICAL.replace(delivery_timeout=90))
    assert profiles.longest == 90
    profiles.named(QUICK)
    assert profiles.longest == 90


def test_a_codec_that_is_not_installed_is_refused_where_the_profile_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra; a batch that cannot be encoded later would blame its records."""
    monkeypatch.setattr("eventpub.profiles._HAS_CRAMJAM", False)
    with pytest.raises(ConfigurationError, match=r"eventpub\[compression\]"):
        Profiles(CRITICAL.replace(compression="zstd"), {})
    assert Profiles(CRITICAL.replace(compression="gzip"), {}).default.compression == "gzip"
