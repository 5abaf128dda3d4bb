"""The reference page says what the code does."""

from __future__ import annotations

import re

from eventpub.instrumentation import names, table
from support.kafka_node import ROOT

PAGE = (ROOT / "docs/reference/telemetry.md").read_text()
WORDS = re.compile(r"`((?:messaging|eventpub|cloudevents|server|error)\.[a-z_.]+)`")
OURS = {value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}


def test_metrics() -> None:
    """The table has every metric with its kind, unit and attributes, in the order of the code."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if line.startswith("| `")]
    shown = [(*row[:3], set(WORDS.findall(row[3]))) for row in rows if len(row) == 5]
    assert shown == [
        (f"`{metric.name}`", metric.kind, f"`{metric.unit}`", set(metric.attributes)) for metric in table.METRICS
    ]


def test_words() -> None:
    """Every attribute and event of the code is on the page, and the page names no other."""
    metrics = {metric.name for metric in table.METRICS}
    dotted = {word for word in OURS if re.fullmatch(WORDS, f"`{word}`")}
    assert set(WORDS.findall(PAGE)) == metrics | dotted


def test_spans() -> None:
    """Schema, and what spans are called."""
    assert names.SCHEMA_URL in PAGE
    for span in (names.SEND, names.CREATE, names.LATE_SPAN):
        assert f"`{span} {{topic}}`" in PAGE
    assert f"| `{names.DEAD_LETTER_SPAN}` | CLIENT |" in PAGE
