"""The demo's verdict: it has to notice whatever differs between the answers and the log."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from rich.console import Console

from examples.task_api.report import TOPIC, Answer, Run, print_run
from support.readback import ReadRecord

Records = list[ReadRecord]


def answer(offset: int, status: int = 201) -> Answer:
    """Return what the API says of an event at *offset* of partition 0."""
    body = {
        "topic": TOPIC,
        "partition": 0,
        "offset": offset,
        "event_id": f"id-{offset}",
        "task_id": f"task-{offset}",
        "attempts": 1,
        "elapsed": 0.001,
    }
    return Answer("Write docs", status, body, 0.002)


def record(number: int, offset: int | None = None) -> ReadRecord:
    """Return event *number* as it lies in the log."""
    value = json.dumps({"task_id": f"task-{number}", "title": "Write docs"}).encode()
    headers = (("ce_id", f"id-{number}".encode()), ("ce_type", b"task.created"))
    return ReadRecord(0, number if offset is None else offset, f"task-{number}".encode(), value, headers, 0)


def printed(run: Run) -> list[str]:
    """Return the lines that the demo prints of *run*."""
    console = Console(highlight=False, width=80, no_color=True)
    with console.capture() as capture:
        print_run(console, run)
    return capture.get().splitlines()


def test_all_confirmed_and_all_there_is_complete() -> None:
    """Three equal numbers, and a run that is complete."""
    run = Run([answer(0), answer(1)], [record(0), record(1)], 1, 1.0)
    assert run.complete
    assert printed(run)[-1] == "2 published, 2 confirmed, 2 read back"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda records: records[:1], id="missing"),
        pytest.param(lambda records: [*records, record(1, offset=2)], id="doubled"),
        pytest.param(lambda records: [records[0], record(1, offset=5)], id="elsewhere"),
        pytest.param(lambda records: [records[0], records[1]._replace(key=b"other")], id="other key"),
        pytest.param(lambda records: [records[0], records[1]._replace(headers=())], id="no id"),
        pytest.param(lambda records: [records[0], records[1]._replace(value=b'{"title": "?"}')], id="other payload"),
        pytest.param(lambda records: [*records, record(7)], id="never confirmed"),
    ],
)
def test_a_log_that_differs_is_noticed(change: Callable[[Records], Records]) -> None:
    """A record that is missing, doubled, elsewhere or other than was said fails the run, and is named."""
    run = Run([answer(0), answer(1)], change([record(0), record(1)]), 1, 1.0)
    assert not run.complete
    assert any("in the log" in line for line in printed(run)[-4:-1])


def test_an_event_that_was_not_confirmed_is_noticed() -> None:
    """A 503 fails the run, though the log holds nothing that it should not."""
    refused = Answer("Write docs", 503, {"title": "Event not persisted", "detail": "too late"}, 5.0)
    run = Run([answer(0), refused], [record(0)], 1, 1.0)
    assert not run.complete
    lines = printed(run)
    assert "not confirmed: 503 Event not persisted: too late" in lines
    assert lines[-1] == "2 published, 1 confirmed, 1 read back"
