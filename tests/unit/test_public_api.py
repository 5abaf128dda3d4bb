"""The public surface: a name that comes or goes is a decision, and shows here."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import eventpub

PUBLIC = [
    "CRITICAL",
    "STANDARD",
    "TELEMETRY",
    "Attempt",
    "AttemptOutcome",
    "BufferFullError",
    "BufferLimits",
    "ConfigurationError",
    "DeadLetterError",
    "Delivery",
    "DeliveryProfile",
    "DeliveryReports",
    "DrainReport",
    "Envelope",
    "Event",
    "EventPubError",
    "EventRegistry",
    "EventTooLargeError",
    "Finding",
    "Health",
    "InvalidRecordError",
    "KafkaConfig",
    "NotPersistedError",
    "PendingDelivery",
    "PersistenceStatus",
    "PossiblyPersistedError",
    "PublishError",
    "Publisher",
    "PublisherClosed",
    "PublisherNotOpen",
    "PublisherState",
    "PublisherStatistics",
    "Record",
    "RejectedError",
    "RetryPolicy",
    "SerializationError",
    "Serializer",
    "StartError",
    "TopicAuthorizationError",
    "UnavailableError",
    "UnknownTopicError",
    "UsageError",
    "delivery_budget",
    "emits",
]


def test_these_names_are_public() -> None:
    """`__all__` holds exactly these."""
    assert sorted(eventpub.__all__) == sorted(PUBLIC)


def test_all_is_sorted() -> None:
    """Constants first, then classes, then functions, each in order, as the linter sorts them."""
    groups = [
        [name for name in eventpub.__all__ if name.isupper()],
        [name for name in eventpub.__all__ if not name.isupper() and name[0].isupper()],
        [name for name in eventpub.__all__ if name[0].islower()],
    ]
    assert list(eventpub.__all__) == [name for group in groups for name in sorted(group)]


def test_nothing_else_lies_flat() -> None:
    """Whatever else the package shows is one of its modules."""
    others = {name for name in vars(eventpub) if not name.startswith("_")} - {*eventpub.__all__, "TYPE_CHECKING"}
    assert all(inspect.ismodule(getattr(eventpub, name)) for name in others)


@pytest.mark.parametrize("name", eventpub.__all__)
def test_every_name_can_be_had_and_is_documented(name: str) -> None:
    """It is importable, and classes and functions have a docstring of their own that begins with a sentence."""
    thing = getattr(eventpub, name)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        assert "__doc__" in vars(thing) or inspect.isfunction(thing)
        assert inspect.getdoc(thing)
        assert (inspect.getdoc(thing) or "").splitlines()[0].rstrip(":").endswith((".", '"', "`", "…"))


@pytest.mark.parametrize("name", [each for each in eventpub.__all__ if inspect.isclass(getattr(eventpub, each))])
def test_every_public_method_is_documented(name: str) -> None:
    """What a class shows without underscore says what it does."""
    for attribute, member in vars(getattr(eventpub, name)).items():
        if attribute.startswith("_") or not (inspect.isfunction(member) or isinstance(member, property)):
            continue
        assert inspect.getdoc(member), f"{name}.{attribute}"


def test_every_error_has_one_root_and_answers_whether_to_send_again() -> None:
    """One class catches all of eventpub's; below `PublishError` each is *not persisted* or *possibly persisted*."""
    errors = [thing for thing in vars(eventpub).values() if inspect.isclass(thing) and issubclass(thing, Exception)]
    assert all(issubclass(error, eventpub.EventPubError) for error in errors)
    outcomes = [error for error in errors if issubclass(error, eventpub.PublishError)]
    for error in outcomes:
        if error is eventpub.PublishError:
            continue
        doubtful = issubclass(error, eventpub.PossiblyPersistedError)
        assert doubtful != issubclass(error, eventpub.NotPersistedError)
        assert error.status is (
            eventpub.PersistenceStatus.POSSIBLY_PERSISTED if doubtful else eventpub.PersistenceStatus.NOT_PERSISTED
        )


def test_a_memory_publisher_imports_no_aiokafka() -> None:
    """Tests of applications on ``memory://`` need no Kafka client in their process."""
    code = (
        "import sys, eventpub; eventpub.Publisher('memory://');"
        "print([name for name in sys.modules if name.partition('.')[0] in"
        " ('aiokafka', 'confluent_kafka', 'pydantic_settings', 'cramjam', 'sqlite3')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert run.stdout.strip() == "[]"


def test_every_public_name_can_be_had_and_is_where_type_checkers_see_it() -> None:
    """Names are loaded when asked for, out of a table that must not drift from the imports above it."""
    assert set(eventpub._HOME) == set(eventpub.__all__)
    seen: dict[str, str] = {}
    for node in ast.walk(ast.parse(Path(eventpub.__file__).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("eventpub"):
            seen |= {alias.name: node.module for alias in node.names}
    assert seen == eventpub._HOME
    assert set(eventpub.__all__) <= set(dir(eventpub))
    with pytest.raises(AttributeError, match="module 'eventpub' has no attribute 'Nothing'"):
        eventpub.Nothing  # noqa: B018 - asked for, and not there


def test_importing_the_package_loads_nothing_of_it() -> None:
    """The command line's help and a pytest plugin would else wait for what they do not use."""
    code = "import sys, eventpub; print(sorted(name for name in sys.modules if name.startswith('eventpub.')))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert run.stdout.strip() == "[]"
