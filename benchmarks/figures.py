"""Draws a chart. The same figures give the same bytes, so that a picture changes when they do.

Nothing is painted behind it, and every colour can be told from white and from black: one
picture serves pages of either kind.
"""

from __future__ import annotations

import io
import itertools
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from benchmarks.section import Chart

_INK = "#7d7d7d"
_COLOURS = ("#2f7fd6", "#e07b1a", "#2e9e5b", "#c2479b", "#8a6fd1", "#b8860b", "#1f9aa8", "#d0504c")
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "grid.alpha": 0.3,
    "grid.color": _INK,
    "savefig.transparent": True,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "eventpub",
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
_WIDTH = 8.0  # inches


def draw(chart: Chart, form: Literal["svg", "png"] = "svg") -> bytes:
    """Return *chart* as the bytes of a file."""
    picture = io.BytesIO()
    with mpl.rc_context(_STYLE):
        figure = _figure(chart)
        figure.savefig(picture, format=form, metadata={"Date": None} if form == "svg" else None)
    return picture.getvalue()


def _figure(chart: Chart) -> Figure:
    if chart.kind == "bars" and len(_places(chart)) == 1:
        return _ranking(chart)
    figure = Figure(figsize=(_WIDTH, 4.4), layout="constrained")
    axes = figure.add_subplot()
    (_bars if chart.kind == "bars" else _lines)(axes, chart)
    axes.set(title=chart.title, xlabel=chart.x, ylabel=chart.y)
    axes.grid(axis="y")
    if len(chart.series) > 1:
        figure.legend(loc="outside right upper", frameon=False)
    return figure


def _lines(axes: Axes, chart: Chart) -> None:
    for number, (name, points) in enumerate(chart.series.items()):
        axes.plot(
            *zip(*points, strict=True),
            label=name,
            color=_COLOURS[number % len(_COLOURS)],
            marker=_MARKS[number % len(_MARKS)],
            markersize=5,
            linewidth=1.5 if number else 2.8,  # the first is what the picture is about
            zorder=2 if number else 3,
        )
    if chart.log_x:
        axes.set_xscale("log")
        axes.set_xticks(_places(chart), map(_number, _places(chart)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_formatter(_NUMBERS)
    _upwards(axes, chart)


def _bars(axes: Axes, chart: Chart) -> None:
    places = _places(chart)
    width = 0.8 / len(chart.series)
    for number, (name, points) in enumerate(chart.series.items()):
        left = (number - (len(chart.series) - 1) / 2) * width
        axes.bar(
            [places.index(x) + left for x, _ in points],
            [y for _, y in points],
            width=0.92 * width,
            label=name,
            color=_COLOURS[number % len(_COLOURS)],
        )
    axes.set_xticks(range(len(places)), map(_number, places))
    _upwards(axes, chart)


def _upwards(axes: Axes, chart: Chart) -> None:
    if chart.log_y:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.08 * max(y for points in chart.series.values() for _, y in points))
    axes.yaxis.set_major_formatter(_NUMBERS)


def _ranking(chart: Chart) -> Figure:
    """Draw bars of one x as a list, each with its name and figure: no legend has so many colours."""
    names = list(chart.series)
    values = [points[0][1] for points in chart.series.values()]
    figure = Figure(figsize=(_WIDTH, 1.1 + 0.32 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(range(len(names)), values, height=0.7, color=_COLOURS[0])
    axes.set(title=chart.title, xlabel=chart.y)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    for place, value in enumerate(values):
        axes.annotate(_number(value), (value, place), xytext=(5, 0), textcoords="offset points", va="center")
    axes.grid(axis="x")
    return figure


def _places(chart: Chart) -> Sequence[float]:
    return list(dict.fromkeys(x for x, _ in itertools.chain.from_iterable(chart.series.values())))


def _number(value: float, _position: object = None) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


_NUMBERS = FuncFormatter(_number)
