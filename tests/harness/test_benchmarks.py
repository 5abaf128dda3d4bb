"""What the benchmark says of its figures, and where it puts them: no broker is needed for this."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import __main__ as command
from benchmarks import at_once, java, page, peers, table
from benchmarks.at_once import Burst
from benchmarks.contenders import CONTENDERS
from benchmarks.load import Sample, median
from benchmarks.section import Chart, Effort, Section
from benchmarks.table import Target

LINES = Chart("speed", "How fast", "publishers", "events/s", {"a": [(1, 2), (10, 30)], "b": [(1, 3)]})
SECTION = Section("one", ("| a |", "| --- |"), (LINES,))
PAGE = "# Title\n\n<!-- one -->\nold\n<!-- /one -->\n\nbetween\n\n<!-- two -->\nkept\n<!-- /two -->\nend\n"


@pytest.fixture
def draw() -> Callable[..., bytes]:
    """Return the function that draws, where there is matplotlib."""
    pytest.importorskip("matplotlib")
    from benchmarks.figures import draw

    return draw


def one_turn(ours: float = 1000.0, **theirs: float) -> dict[tuple[str, int], list[Sample]]:
    """Return figures of all contenders: *ours*, and 500 events/s for whom is not named."""
    rates = dict.fromkeys(CONTENDERS, 500.0) | {"eventpub": ours} | theirs
    return {(name, count): [Sample(rate, 12.0, 1.0, 2.0)] for name, rate in rates.items() for count in peers.PUBLISHERS}


def test_a_section_takes_the_place_of_what_was_between_its_markers() -> None:
    """Its lines and pictures, and nothing else of the page."""
    shown = "| a |\n| --- |\n\n![How fast](speed.svg)\n"
    assert page.put(PAGE, SECTION) == PAGE.replace("old\n", shown)


def test_a_section_can_be_put_again() -> None:
    """Twice is the same as once."""
    once = page.put(PAGE, SECTION)
    assert page.put(once, SECTION) == once


@pytest.mark.parametrize(
    "text",
    ["no markers", "<!-- one -->\n", "<!-- /one -->\n<!-- one -->\n", PAGE + PAGE],
    ids=["none", "no end", "upside down", "twice"],
)
def test_a_page_without_a_place_for_the_section_is_refused(text: str) -> None:
    """The message shows the markers that are to be written."""
    with pytest.raises(ValueError, match="<!-- one --> and below it one line <!-- /one -->"):
        page.put(text, SECTION)


def test_the_page_has_a_place_for_each_section_in_the_order_of_the_list() -> None:
    """None is measured in vain."""
    text = command.PAGE.read_text()
    for name in command.SECTIONS:
        page.put(text, Section(name, ()))
    assert re.findall(r"<!-- (\w+) -->", text) == list(command.SECTIONS)


def test_what_is_written_is_the_page_and_its_pictures(tmp_path: Path, draw: Callable[..., bytes]) -> None:
    """Pictures lie beside the page, which names them so."""
    there = tmp_path / "index.md"
    there.write_text(PAGE)
    page.write(there, SECTION)
    assert there.read_text() == page.put(PAGE, SECTION)
    assert (tmp_path / "speed.svg").read_bytes() == draw(LINES)


@pytest.mark.parametrize(
    "chart",
    [
        LINES,
        Chart("logs", "", "x", "y", {"a": [(1, 2), (1000, 30)]}, log_x=True, log_y=True),
        Chart("bars", "", "x", "y", {"a": [(1, 2), (16, 30)], "b": [(1, 3), (16, 4)]}, "bars"),
        Chart("list", "", "x", "y", {f"stage {number}": [(1, 2.5)] for number in range(12)}, "bars"),
    ],
    ids=lambda chart: chart.name,
)
def test_the_same_figures_are_drawn_as_the_same_bytes(chart: Chart, draw: Callable[..., bytes]) -> None:
    """So a picture changes when its figures do; and it is one, with every name of the chart in it."""
    picture = draw(chart)
    assert picture == draw(chart)
    said = {text.strip() for text in ET.fromstring(picture).itertext()}
    assert {chart.y, *(chart.series if len(chart.series) > 1 else ())} <= said


def test_other_figures_are_another_picture(draw: Callable[..., bytes]) -> None:
    """It is not only the same frame."""
    other = Chart(LINES.name, LINES.title, LINES.x, LINES.y, LINES.series | {"b": [(1, 4)]})
    assert draw(other) != draw(LINES)


@pytest.mark.parametrize(
    "target, cells",
    [
        (Target("x", 1.1, 1.1), ("x", "≥ 1.1x", "1.10x", "met")),
        (Target("x", 1.099, 1.1), ("x", "≥ 1.1x", "1.10x", "**not met**")),
        (Target("x", 18.0, 18.0, " µs", at_most=True), ("x", "≤ 18 µs", "18.00 µs", "met")),
        (Target("x", 3073.0, 3072.0, " bytes", at_most=True), ("x", "≤ 3,072 bytes", "3,073.00 bytes", "**not met**")),
    ],
)
def test_a_target_is_met_by_the_figure_and_not_by_its_rounding(target: Target, cells: tuple[str, ...]) -> None:
    """At the bound it is met, and short of it it is not, whatever two digits say."""
    assert target.cells == cells


def test_a_table_has_as_many_cells_in_each_row() -> None:
    """Header, rule and rows."""
    assert table.table(("a", "b"), [("1", "2")]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]


def test_the_median_is_that_of_each_figure() -> None:
    """And not one round's."""
    rounds = [Sample(1, 30, 5, 9), Sample(2, 10, 6, 7), Sample(3, 20, 4, 8)]
    assert median(rounds) == Sample(2, 20, 5, 8)


def test_ratios_say_how_many_times_that_eventpub_publishes() -> None:
    """1,000 beside 250 events/s is four times, and beside 2,000 half."""
    lines = peers.section_of(one_turn(aiokafka=250.0, FastStream=2000.0), Effort()).lines
    for row in ("| **eventpub** | **1,000** |", "| aiokafka | 250 (4.00x) |", "| FastStream | 2,000 (0.50x) |"):
        assert [line for line in lines if line.startswith(row)]


def test_a_ratio_is_the_median_of_those_of_each_turn() -> None:
    """A machine that is slow for one turn is slow for both: 2, 2 and 4 times, where the medians have 3."""
    turns = [one_turn(100.0, aiokafka=50.0), one_turn(300.0, aiokafka=150.0), one_turn(400.0, aiokafka=100.0)]
    rounds = {of: [turn[of][0] for turn in turns] for of in turns[0]}
    assert [line for line in peers.section_of(rounds, Effort()).lines if line.startswith("| aiokafka | 100 (2.00x) |")]


def test_of_the_hand_rolled_producers_the_faster_one_is_the_measure() -> None:
    """Whichever of its settings serves it better."""
    figures = one_turn(**{"confluent-kafka": 800.0, "confluent-kafka, linger 0": 1600.0})
    goal = next(goal for goal in peers.goals(figures) if goal.what.startswith("hand-rolled"))
    assert (goal.measured, goal.met) == (1000 / 1600, False)


def test_the_warm_up_of_the_perf_tool_does_not_count() -> None:
    """Of its lines the one about the steady state is read."""
    said = (
        "In steady state.\n"
        "400000 records sent, 26017.952387 records/sec (27.29 MB/sec), 920.67 ms avg latency.\n"
        "250000 steady state records sent, 35466.023549 records/sec (37.21 MB/sec), 693.21 ms avg latency.\n"
    )
    assert java.steady_rate(said) == 35466.023549


def test_a_perf_tool_that_failed_is_no_figure() -> None:
    """What it said is in the error."""
    with pytest.raises(RuntimeError, match="no such broker"):
        java.steady_rate("no such broker")


def test_javas_records_are_as_long_as_ours() -> None:
    """About 1 kB, key and headers included."""
    assert 1000 < java.record_size() < 1300


def test_the_longest_slice_of_all_bursts_counts() -> None:
    """A median would hide it."""
    lines = at_once.section_of([Burst(20_000, 1.0, 5.0, ""), Burst(19_999, 3.0, 21.0, "")], 2000.0).lines
    assert any("21.00 ms | **not met**" in line for line in lines)
    assert any("19,999 were delivered, in 2.00 s" in line for line in lines)


def test_what_takes_long_is_left_out_unless_it_is_asked_for() -> None:
    """By name, or by ``--all``."""
    every = list(command.SECTIONS)
    assert command.chosen([], everything=False) == [name for name in every if name != "soak"]
    assert command.chosen([], everything=True) == every
    assert command.chosen(["soak", "java"], everything=False) == ["soak", "java"]


def test_a_section_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is measured then."""
    with pytest.raises(SystemExit):
        command.main(["peers", "paers"])
    assert "there is no section paers" in capsys.readouterr().err


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_each_section_is_written_before_the_next_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that fails takes nothing of the others along."""
    there = tmp_path / "index.md"
    there.write_text("<!-- peers -->\n<!-- /peers -->\n")

    def measured(name: str, effort: Effort) -> Any:
        if name == "java":
            raise RuntimeError("no java here")
        return Section(name, (f"{effort.rounds} of {effort.seconds}",))

    monkeypatch.setattr(command, "measured", measured)
    monkeypatch.setattr(command, "PAGE", there)
    monkeypatch.setattr(command, "ROOT", tmp_path)
    with pytest.raises(RuntimeError, match="no java here"):
        command.main(["peers", "java", "--rounds", "3", "--seconds", "0.5", "--write"])
    assert there.read_text() == "<!-- peers -->\n3 of 0.5\n<!-- /peers -->\n"
    assert "## peers\n\n3 of 0.5" in capsys.readouterr().out
