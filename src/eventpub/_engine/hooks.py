"""Calls users' hooks, and keeps what they raise away from delivery."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from eventpub.exceptions import ConfigurationError, Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_log = logging.getLogger("eventpub.hooks")


class Hooks:
    """The subset of methods that each hook has, by name. Empty lists cost a truth test per event."""

    __slots__ = ("on_attempt", "on_dead_letter", "on_late_outcome", "on_outcome", "on_state")

    def __init__(self, hooks: Iterable[object] = ()) -> None:
        hooks = tuple(hooks)
        deaf = [type(hook).__name__ for hook in hooks if not any(hasattr(hook, name) for name in self.__slots__)]
        if deaf:
            names = ", ".join(self.__slots__)
            raise ConfigurationError(
                Finding("hooks", f"{name} has none of {names}", "see eventpub.abc.Hook") for name in deaf
            )
        self.on_attempt = _methods(hooks, "on_attempt")
        self.on_outcome = _methods(hooks, "on_outcome")
        self.on_dead_letter = _methods(hooks, "on_dead_letter")
        self.on_late_outcome = _methods(hooks, "on_late_outcome")
        self.on_state = _methods(hooks, "on_state")


def _methods(hooks: tuple[object, ...], name: str) -> list[Callable[[Any], object]]:
    return [method for hook in hooks if callable(method := getattr(hook, name, None))]


def call(methods: list[Callable[[Any], object]], details: object) -> None:
    """Call each of *methods*; one that raises is logged and changes nothing."""
    for method in methods:
        try:
            method(details)
        except Exception:  # noqa: BLE001 - whatever a user's function raises
            _log.exception("a hook raised; the delivery is not affected", extra={"line": "hook.raised"})
