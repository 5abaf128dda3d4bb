"""Finds the delivery profile of an event class, by the names that a publisher knows."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from eventpub.declaration import declared
from eventpub.exceptions import ConfigurationError, Finding
from eventpub.profile import CRITICAL, STANDARD, TELEMETRY, DeliveryProfile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventpub.event import Event

_CODECS_OF_CRAMJAM = frozenset({"snappy", "lz4", "zstd"})
_HAS_CRAMJAM = find_spec("cramjam") is not None
_PRESETS = {profile.name: profile for profile in (CRITICAL, STANDARD, TELEMETRY)}


class Profiles:
    """The presets, and what a publisher adds to them or puts in their place.

    *kept* says whether the publisher has dead letters, which a profile may demand.
    """

    def __init__(
        self, default: DeliveryProfile | str, more: Mapping[str, DeliveryProfile], *, kept: bool = False
    ) -> None:
        findings = [
            Finding(f"profiles[{name!r}]", f"got {type(profile).__name__}", "give a DeliveryProfile")
            for name, profile in more.items()
            if not isinstance(profile, DeliveryProfile)
        ]
        if findings:
            raise ConfigurationError(findings)
        self._kept = kept
        for profile in more.values():
            self._check_kept(profile)
        self._by_name = {**_PRESETS, **more}
        self._by_class: dict[type[Event], DeliveryProfile] = {}
        self.default = self.named(default)
        self.longest = max(profile.delivery_timeout for profile in (self.default, *more.values()))

    def of(self, event_class: type[Event]) -> DeliveryProfile:
        """Return the profile that *event_class* names, or the default."""
        profile = self._by_class.get(event_class)
        if profile is None:
            named = declared(event_class).profile
            profile = self.default if named is None else self.named(named)
            self._by_class[event_class] = profile
        return profile

    def named(self, profile: DeliveryProfile | str) -> DeliveryProfile:
        """Return *profile*, looked up if it is a name.

        Raises:
            ConfigurationError: a name that nobody gave, something else altogether, a codec that is not
                installed, or dead letters are demanded and there are none.
        """
        if isinstance(profile, str) and profile in self._by_name:
            found = self._by_name[profile]
        elif isinstance(profile, DeliveryProfile):
            found = profile
        else:
            shown = repr(profile) if isinstance(profile, str) else type(profile).__name__
            known = ", ".join(map(repr, self._by_name))
            raise ConfigurationError.of("profile", f"{shown} is not known", f"use one of {known}, or a DeliveryProfile")
        _check_codec(found)
        self._check_kept(found)
        self.longest = max(found.delivery_timeout, getattr(self, "longest", 0.0))
        return found

    def _check_kept(self, profile: DeliveryProfile) -> None:
        if profile.dead_letter is True and not self._kept:
            reason = f"the profile {profile.name!r} demands them, and this publisher has none"
            fix = "give the publisher dead_letters=DeadLetters(...), or leave dead_letter out"
            raise ConfigurationError.of("dead_letters", reason, fix)


def _check_codec(profile: DeliveryProfile) -> None:
    if profile.compression in _CODECS_OF_CRAMJAM and not _HAS_CRAMJAM:
        reason = f"{profile.compression} needs the package cramjam, which is not installed"
        raise ConfigurationError.of("compression", reason, 'install "eventpub[compression]", or use gzip or none')
