"""How variants fared from check to check, drawn as the other figures are."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import write_atomically
from bench.reports.content.text import fitted
from bench.reports.pictures.figures import DPI, MARKERS, NAME, STYLE
from bench.reports.pictures.panels import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENDINGS = (".png", ".svg")
_MOST_LABELS = 24


@dataclass(frozen=True)
class Point:
    """A value at a check, by its position in the history, with its 95 % interval if any; `fell` where a gate did."""

    x: int
    y: float
    low: float | None = None
    high: float | None = None
    fell: bool = False


@dataclass(frozen=True)
class Course:
    """A variant over all checks: its AUC, and its difference to the baseline's."""

    name: str
    auc: tuple[Point, ...]
    delta: tuple[Point, ...]


def draw(courses: Sequence[Course], labels: Sequence[str], path: Path, breaks: Sequence[int] = ()) -> None:
    """Write the picture, as PNG or SVG by its name; `labels` name the checks, `breaks` those with other frames."""
    import matplotlib

    # Names come from a file that anybody may have written: a dollar sign is no mathematics.
    with matplotlib.rc_context({"text.parse_math": False, "svg.hashsalt": "bench"}, fname=STYLE):
        figure, form = history(courses, labels, breaks), path.suffix[1:].lower()
        metadata: dict[str, Any] = {"Software": None} if form == "png" else {"Date": None}
        write_atomically(path, lambda file: figure.savefig(file, format=form, dpi=DPI, metadata=metadata))


def history(courses: Sequence[Course], labels: Sequence[str], breaks: Sequence[int] = ()) -> Figure:
    """AUC above, its difference to the baseline's with intervals below; gates that fell are ringed.

    Before each of `breaks` a line says that test frames are others from there on, and the courses end.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for index, course in enumerate(courses):
        _draw_between(above, course.auc, index, fitted(course.name, NAME), len(courses), breaks)
        _draw_between(below, course.delta, index, "", len(courses), breaks)
    below.axhline(0, color="0.55", lw=0.8, zorder=0.6)
    above.set_ylabel("ROC AUC")
    below.set_ylabel("ΔAUC against the baseline")
    shown = range(0, len(labels), -(-len(labels) // _MOST_LABELS) or 1)
    below.set_xticks(list(shown), [labels[index] for index in shown], rotation=60, ha="right")
    above.set_title("From check to check, with 95 % intervals; a ring is a gate that fell")
    for axes, at in product((above, below), breaks):
        axes.axvline(at - 0.5, color="0.55", lw=0.8, ls="--", zorder=0.6)
    for at in breaks:
        above.annotate("other frames", (at - 0.5, 1), (2, -9), xycoords=("data", "axes fraction"),
                       textcoords="offset points", fontsize=7, color="0.35")  # fmt: skip
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def _draw_between(
    axes: Axes, points: Sequence[Point], index: int, label: str, count: int, breaks: Sequence[int]
) -> None:
    """A line for each stretch between breaks, of which the first has the label."""
    for _, stretch in groupby(points, lambda point: bisect_right(breaks, point.x)):
        _draw(axes, list(stretch), index, label, count)
        label = ""


def _draw(axes: Axes, points: Sequence[Point], index: int, label: str, count: int) -> None:
    """A line in the looks of its variant; each a little aside, so that intervals lie beside each other."""
    if not points:
        return
    aside = 0.3 * (index / max(count - 1, 1) - 0.5)
    x, y = [point.x + aside for point in points], [point.y for point in points]
    below = [point.y - point.low if point.low is not None else 0.0 for point in points]
    above = [point.high - point.y if point.high is not None else 0.0 for point in points]
    spread = [[max(0.0, length) for length in lengths] for lengths in (below, above)]
    look: dict[str, Any] = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}
    axes.errorbar(x, y, spread, lw=1, ms=5, elinewidth=0.8, label=label or None, **look)
    fell = [index for index, point in enumerate(points) if point.fell]
    rings = [x[index] for index in fell], [y[index] for index in fell]
    axes.plot(*rings, ls="none", marker="o", ms=11, mfc="none", mec="#c00000", mew=1.4, zorder=4)
