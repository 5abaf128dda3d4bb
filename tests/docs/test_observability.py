"""The page for operators names what there is, and its example shows it."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from eventpub.instrumentation import names, table
from support.kafka_node import ROOT

PAGE = (ROOT / "docs/guides/observability.md").read_text()
SOURCE = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
LINE = re.compile(r'(?:"line": |\bline=)"((?:[a-z]+)\.(?:[a-z]+))"')
STATES = {"publisher.open", "publisher.draining"}
_UNITS = {"s": "_seconds", "By": "_bytes"}


def rows(title: str) -> list[list[str]]:
    """Return the cells of the table whose first column is called *title*."""
    body = PAGE.split(f"| {title} |", 1)[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in body.splitlines()[2:]]


def words(cells: list[str]) -> set[str]:
    """Return what stands in code spans."""
    return {word for cell in cells for word in re.findall(r"`([\w.]+)`", cell)}


def test_every_line_of_the_log_is_explained() -> None:
    """Those in the source and those on the page are the same."""
    assert words([row[0] for row in rows("`line`")]) == set(LINE.findall(SOURCE)) | STATES


def test_every_field_is_explained() -> None:
    """Those that the lines of the engine, the brokers and the publisher carry."""
    known = words([row[0] for row in rows("field")])
    files = ("_engine/attempt_log.py", "transports/kafka/broker_log.py", "publisher.py", "deadletter/writer.py")
    source = "\n".join((ROOT / "src/eventpub" / name).read_text() for name in files)
    used = {
        name
        for facts in re.findall(r"facts \|?= \{(.*?)\}", source, re.DOTALL)
        for name in re.findall(r'"(\w+)":', facts)
    }
    assert len(used) > 10
    assert used - {"line"} <= known


def test_the_metrics_to_watch_exist() -> None:
    """With the attributes they are looked at by; an alert's are those that Prometheus gets to see."""
    attributes = {value for name, value in vars(names).items() if name.isupper()}
    assert words([row[0] for row in rows("metric")]) <= {metric.name for metric in table.METRICS} | attributes
    exported = {
        metric.name.replace(".", "_") + _UNITS.get(metric.unit, "") + "_total" * (metric.kind == "counter")
        for metric in table.METRICS
    }
    alerts = PAGE.split("```yaml")[1].split("```")[0]
    asked = {name.removesuffix("_bucket") for name in re.findall(r"\b((?:eventpub|messaging_client)_\w+)[{\[]", alerts)}
    assert len(asked) == 6
    assert asked <= exported


def observability(**environment: str) -> subprocess.CompletedProcess[str]:
    """Run the example as a user does."""
    command = [sys.executable, "-m", "examples.observability"]
    usual = {name: value for name, value in os.environ.items() if name not in {"FORCE_COLOR", "COLUMNS"}}
    return subprocess.run(
        command, cwd=ROOT, env=usual | environment, text=True, capture_output=True, timeout=50, check=False
    )


@pytest.mark.wire
def test_the_example_shows_traces_stages_and_the_log() -> None:
    """Each order's trace reaches its consumer; what the broker did is in the trace, the stages and the log. 80 columns."""
    done = observability()
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    said = done.stdout
    assert "43 orders placed, 43 traces from the request to the consumer" in said
    assert max(map(len, said.splitlines())) <= 80
    waterfall = (
        r"POST /orders(?s:.*?)send orders(?s:.*?)attempt: NOT_ENOUGH_REPLICAS(?s:.*?)back-off(?s:.*?)attempt: acked"
    )
    assert re.search(waterfall + r"(?s:.*?)orders receive(?s:.*?)ship order", said), said
    for stage in ("admission", "metadata", "linger", "wire", "backoff"):
        assert re.search(rf"^  {stage} +\d+ +\d+\.\d+ █+ ", said, re.MULTILINE), said
    for words in ("NOT_ENOUGH_REPLICAS", "no broker answers", "is reached again after", "written again after"):
        assert words in said.split("What the log says")[1], said
