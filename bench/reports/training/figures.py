"""Charts of trainings drawn with matplotlib, for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.reports.pictures.figures import MARKERS, STYLE, save
from bench.reports.pictures.panels import COLOURS, set_axes
from bench.reports.training.content import Chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_MARKS = 30


def write(charts: Sequence[Chart], folder: Path) -> list[tuple[str, str]]:
    """Write a picture of each chart; their titles and file names."""
    import matplotlib

    with matplotlib.rc_context(fname=STYLE):
        for chart in charts:
            save(draw(chart), folder / chart.file)
    return [(chart.title, chart.file) for chart in charts]


def draw(chart: Chart) -> Figure:
    """Lines over an axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 4.2) if chart.square else (6.5, 3.6), layout="constrained")
    axes = figure.subplots()
    if chart.diagonal:
        axes.plot([0, 1], [0, 1], color="0.65", lw=1)
    if chart.best is not None:
        axes.axvline(chart.best, color="0.5", lw=1, ls=(0, (4, 3)), zorder=0)
    for line in chart.lines:
        few = not chart.square and len(line.points) <= _MOST_MARKS
        axes.plot(
            [x for x, _ in line.points], [y for _, y in line.points], color=COLOURS[line.index % len(COLOURS)],
            marker=MARKERS[line.index % len(MARKERS)] if few else None, ms=4, label=line.name or None,
        )  # fmt: skip
    set_axes(axes, chart.across, chart.up)
    if not chart.square:
        low, high = chart.across.low, chart.across.high
        axes.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    axes.set_xlabel(chart.across.label)
    axes.set_ylabel(chart.up.label)
    best = "" if chart.best is None else f"; dashed: epoch {chart.best:.0f}, the result"
    axes.set_title(f"{chart.title}{best}")
    if sum(bool(line.name) for line in chart.lines) > 1:
        axes.legend(fontsize=8)
    return figure
