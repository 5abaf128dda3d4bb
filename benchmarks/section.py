"""What a section of the benchmark is given and what it hands back: figures as lines and charts.

It knows neither what is measured nor how a chart is drawn or where it is put.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["lines", "bars"]


@dataclass(frozen=True, slots=True)
class Effort:
    """How often a thing is measured, and how long each time takes.

    Attributes:
        rounds: how many rounds count; what warms up comes on top.
        seconds: how long a round publishes.
    """

    rounds: int = 5
    seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture, by its figures.

    Attributes:
        name: of its file, without suffix.
        title: the sentence above it.
        x: what runs to the right, with its unit.
        y: what runs upwards, with its unit.
        series: the points of each line or colour of bars, by the name in the legend. Bars of one x
            stand side by side, at even distances, in the order of the first series.
        kind: lines with a mark at each point, or bars.
        log_x: powers of ten at even distances; of no meaning for bars.
        log_y: the same, upwards.
    """

    name: str
    title: str
    x: str
    y: str
    series: dict[str, list[tuple[float, float]]]
    kind: Kind = "lines"
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """What a section found.

    Attributes:
        name: of the section, as on the command line and in the markers of the page.
        lines: its text, Markdown, without the pictures.
        charts: its pictures, shown under the text in this order.
    """

    name: str
    lines: tuple[str, ...]
    charts: tuple[Chart, ...] = ()
