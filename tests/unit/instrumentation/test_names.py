"""The words are those of the conventions that the schema URL names."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.semconv._incubating.attributes import cloudevents_attributes, messaging_attributes
from opentelemetry.semconv._incubating.metrics import messaging_metrics
from opentelemetry.semconv.attributes import error_attributes, server_attributes
from opentelemetry.semconv.schemas import Schemas

from eventpub.instrumentation import names, table

if TYPE_CHECKING:
    from types import ModuleType

PREFIXES = ("messaging.", "cloudevents.", "error.", "server.")
OURS = {name: value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}
CONVENTIONS: tuple[ModuleType, ...] = (
    messaging_attributes,
    cloudevents_attributes,
    error_attributes,
    server_attributes,
)


@pytest.mark.skipif(not hasattr(Schemas, "V1_44_0"), reason="the oldest conventions allowed know no schema so new")
def test_schema() -> None:
    """The schema URL is that of the version the words were taken from, and the scope says which eventpub it is."""
    assert Schemas.V1_44_0.value == names.SCHEMA_URL
    assert (names.SCOPE, version("eventpub")) == ("eventpub", names.VERSION)


@pytest.mark.parametrize("word", sorted(value for value in OURS.values() if value.startswith(PREFIXES)))
def test_attributes(word: str) -> None:
    """Every attribute outside eventpub's own namespace is in the conventions, and not deprecated there."""
    known = {value: module for module in CONVENTIONS for value in vars(module).values() if isinstance(value, str)}
    assert word in known
    assert "Deprecated" not in _described(known[word], word)


def _described(module: ModuleType, word: str) -> str:
    """Return what stands below a constant in the module's source."""
    _, _, after = Path(str(module.__file__)).read_text().partition(f'"{word}"\n')
    return after.lstrip().removeprefix('"""').partition('"""')[0] if after.lstrip().startswith('"""') else ""


@pytest.mark.parametrize(
    "metric, make",
    [
        (table.DURATION, messaging_metrics.create_messaging_client_operation_duration),
        (table.SENT, messaging_metrics.create_messaging_client_sent_messages),
    ],
    ids=["duration", "sent"],
)
def test_metrics(metric: table.Metric, make: Any) -> None:
    """The two metrics of the conventions have their names, units and descriptions."""

    class Meter:
        def __getattr__(self, kind: str) -> Any:
            return lambda **given: given

    assert make(Meter()) == {"name": metric.name, "unit": metric.unit, "description": metric.description}


def test_buckets() -> None:
    """Durations have the buckets that the conventions advise."""
    assert table.DURATION.buckets == (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


def test_operation() -> None:
    """System, operation names and types are of the conventions' lists."""
    assert messaging_attributes.MessagingSystemValues.KAFKA.value == names.KAFKA
    types = {each.value for each in messaging_attributes.MessagingOperationTypeValues}
    assert {names.SEND, names.CREATE} <= types
    assert error_attributes.ErrorTypeValues.OTHER.value == names.OTHER_ERROR
