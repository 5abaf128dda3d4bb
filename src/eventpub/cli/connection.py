"""Where a command connects to: what the environment says, or the publisher of an application."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeAlias

from cyclopts import Parameter

from eventpub.config import KafkaConfig
from eventpub.exceptions import UsageError
from eventpub.publisher import Publisher

AppOption: TypeAlias = Annotated[
    str | None,
    Parameter(name="--app", help="Your application's publisher, or a function that makes it, as module:name."),
]

_FIX = "write module:name, where name is a Publisher or a function without arguments that returns one"


def publisher(app: str | None, **overrides: Any) -> Publisher:
    """Return the publisher of `connect`; for errors see there."""
    return connect(app, **overrides).publisher


class Connection(NamedTuple):
    """A publisher that is not open yet, and the source of events that no class of the application describes."""

    publisher: Publisher
    source: str | None


def connect(app: str | None, **overrides: Any) -> Connection:
    """Return what to publish with; *overrides* go before what the environment says, if that is asked.

    Raises:
        ConfigurationError: what is wrong with the environment.
        UsageError: *app* leads to no publisher.
    """
    if app is not None:
        return Connection(_publisher_of(app), overrides.get("source"))
    from eventpub.settings import publisher_arguments

    arguments = publisher_arguments(**overrides)
    return Connection(Publisher(**arguments), arguments["source"])


def cluster(app: str | None) -> KafkaConfig:
    """Return which Kafka cluster is meant; for errors see `connect`."""
    if app is not None:
        from eventpub.check.application import plan_of

        return plan_of(_publisher_of(app)).config
    from eventpub.settings import kafka_config

    return kafka_config()


def _publisher_of(app: str) -> Publisher:
    module, _, name = app.partition(":")
    sys.path.insert(0, str(Path.cwd()))  # as `python -m module` would have it
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"--app {app}: {error}; {_FIX}") from error
    finally:
        sys.path.pop(0)
    if callable(found) and not isinstance(found, Publisher):
        found = found()
    if not isinstance(found, Publisher):
        raise UsageError(f"--app {app}: got {type(found).__name__}; {_FIX}")
    return found
