"""The report's plots drawn with matplotlib: one look for all (`bench.mplstyle`), no display."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import write_atomically
from bench.reports.content.axes import Mark
from bench.reports.content.plots import Calibration, Plots, Roc, Trade
from bench.reports.content.robustness import RobustnessPlot
from bench.reports.content.text import fitted
from bench.reports.pictures import overlay
from bench.reports.pictures.decisions import confusion, precision
from bench.reports.pictures.panels import COLOURS, dark, panels_of, set_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

    Pixel = tuple[float, float]

STYLE = Path(__file__).with_name("bench.mplstyle")
DPI = 120

MARKERS = "osD^vph"
NAME = 24
CLEARLY = 1.5
"""Characters of a name that leave room for others."""
OFFSETS = [(across, up) for up in (5, -12, 18, -25, 31, -38, 44, -51, 57, -64) for across in (9, -9, 24, -24)]
"""Where a name may lie, in points from its mark, the best first."""


def draw(plots: Plots, report: Path) -> list[tuple[str, str]]:
    """Write the figures into the folder `report`; their titles and file names."""
    import matplotlib

    with matplotlib.rc_context(fname=STYLE):
        drawn = [(plot.title, plot.file, trade(plot)) for plot in plots.trades]
        if plots.roc is not None:
            drawn.append(("ROC curves", "roc.png", roc(plots.roc)))
        if plots.precision is not None:
            drawn.append(("Precision and recall", "precision_recall.png", precision(plots.precision)))
        if plots.confusion is not None:
            drawn.append(("Confusion matrices", "confusion.png", confusion(plots.confusion)))
        if plots.calibration is not None:
            drawn.append(("Reliability", "reliability.png", reliability(plots.calibration)))
        if plots.robustness is not None:
            drawn.append(("AUC under re-compression", "robustness.png", robustness(plots.robustness)))
        for _, file, figure in drawn:
            save(figure, report / file)
    return [(title, file) for title, file, _ in drawn]


def colour_bar(path: Path) -> None:
    """Write what the colours of heatmaps mean."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(fname=STYLE):
        figure = Figure(figsize=(4.6, 0.62), layout="constrained")
        axes = figure.subplots()
        axes.imshow(overlay.colour_bar(640, 24), extent=(-1, 1, 0, 1), aspect="auto")
        axes.set(yticks=(), xticks=(-1, 0, 1))
        left, _, right = axes.set_xticklabels(
            ["the frame's strongest for real", "nothing", "the frame's strongest for fake"]
        )
        left.set_horizontalalignment("left")
        right.set_horizontalalignment("right")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; the same figure is the same file, whatever version of matplotlib draws it."""
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None}))


def trade(plot: Trade) -> Figure:
    """One named point for each variant, with its 95 % interval, and a line along the Pareto front."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for mark in plot.marks:
        _draw_mark(axes, mark)
    if plot.front:
        axes.plot(*zip(*plot.front, strict=True), color="0.55", lw=1, ls=(0, (4, 3)), zorder=0)
    set_axes(axes, plot.across, plot.up)
    axes.set_xlabel(plot.across.label)
    axes.set_ylabel(plot.up.label)
    axes.set_title(plot.caption.removesuffix("."))
    if plot.margin is not None:
        _draw_margin(axes, plot.margin)
    _draw_names(figure, axes, plot.marks)
    return figure


def _draw_mark(axes: Axes, mark: Mark) -> None:
    """A point in the looks of its variant, with its interval."""
    # Where colours begin anew, marks are hollow, and then have another shape.
    again, colour = mark.index // len(COLOURS), COLOURS[mark.index % len(COLOURS)]
    marker = MARKERS[(mark.index + again // 2) % len(MARKERS)]
    interval = [[max(mark.y - mark.low, 0)], [max(mark.high - mark.y, 0)]]
    hollow: dict[str, Any] = {"mfc": "white", "mec": colour, "mew": 1.6}
    look = hollow if again % 2 else {"mec": "white", "mew": 0.8}
    axes.errorbar([mark.x], [mark.y], interval, color=colour, marker=marker, ms=8, **look)


def _draw_margin(axes: Axes, margin: float) -> None:
    """The baseline's own height, and how far below it is still allowed."""
    # Above the grid, which has a line there too, and below the marks.
    axes.axhline(0, color="0.55", lw=0.8, zorder=0.6)
    if margin:
        axes.axhspan(-margin, 0, color="#009E73", alpha=0.07, lw=0, zorder=0)
        beside: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        axes.annotate(f"margin −{margin:g}", (0, -margin), (3, -3), fontsize=7.5, color="0.35", va="top", **beside)


def _draw_names(figure: Figure, axes: Axes, marks: Sequence[Mark]) -> None:
    """Name each mark beside it, in its colour, where neither another name nor a mark nor a bar is in the way.

    A name that is about as near to another mark would read as that one's, so it lies clearly nearer to its own.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw_without_rendering()
    taken = [box for mark in marks for box in _boxes(axes, mark)]
    pixels: dict[Mark, Pixel] = {mark: tuple(axes.transData.transform((mark.x, mark.y))) for mark in marks}
    # From the right, so that of two neighbours the right one is named on its right.
    for mark in sorted(marks, key=lambda mark: (mark.x, mark.y, mark.name), reverse=True):
        at, colour = (mark.x, mark.y), dark(COLOURS[mark.index % len(COLOURS)])
        name = fitted(mark.name, NAME)
        text = axes.annotate(name, at, (0, 0), textcoords="offset points", color=colour, weight="bold")
        others = [pixel for other, pixel in pixels.items() if other is not mark]
        boxes = [_put(text, offset, renderer) for offset in OFFSETS]
        faults = [_faults(axes.bbox, box, pixels[mark], others, taken) for box in boxes]
        best = faults.index(min(faults))
        (across, up), box = OFFSETS[best], _put(text, OFFSETS[best], renderer)
        taken.append(box)
        if math.hypot(across, up) > 16:
            line: dict[str, Any] = {"arrowstyle": "-", "color": "0.5", "lw": 0.6}
            axes.annotate("", at, (across, up), textcoords="offset points", arrowprops=line)


def _put(text: Annotation, offset: tuple[int, int], renderer: RendererBase) -> Bbox:
    """Put a name beside its mark; what it covers then, in pixels."""
    from matplotlib.text import Text

    text.set_position(offset)
    text.set_horizontalalignment("left" if offset[0] > 0 else "right")
    text.update_positions(renderer)
    return Text.get_window_extent(text, renderer)


def _faults(
    frame: Bbox, box: Bbox, at: Pixel, others: Sequence[Pixel], taken: Sequence[Bbox]
) -> tuple[bool, int, bool]:
    """What is wrong with a name that lies there, the worst first: outside, over something, as near to another mark."""

    def away(pixel: Pixel) -> float:
        x, y = pixel
        return math.hypot(max(box.x0 - x, 0, x - box.x1), max(box.y0 - y, 0, y - box.y1))

    inside = frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1)
    clear = all(away(other) > CLEARLY * away(at) for other in others)
    return not inside, sum(box.overlaps(other) for other in taken), not clear


def _boxes(axes: Axes, mark: Mark) -> Iterator[Bbox]:
    """What a mark and its bar cover, in pixels."""
    from matplotlib.transforms import Bbox

    x, y = axes.transData.transform((mark.x, mark.y))
    yield Bbox.from_extents(x - 6, y - 6, x + 6, y + 6)
    (left, down), (_, up) = axes.transData.transform(((mark.x, mark.low), (mark.x, mark.high)))
    yield Bbox.from_extents(left - 2, down, left + 2, up)


def roc(plot: Roc) -> Figure:
    """True- against false-positive rate: the corner in which the curves bend, and the whole curve small inside."""
    figure, panels = panels_of(plot.panels, 1.0, plot.title)
    for axes, panel in panels:
        inner = axes.inset_axes((0.56, 0.08, 0.4, 0.4))
        for inset, (across, up) in ((axes, (plot.across, plot.up)), (inner, plot.whole)):
            if panel.behind is not None:
                inset.plot(*panel.behind, color="0.65", lw=2.6)
            if panel.curve is not None:
                inset.plot(*panel.curve, color=COLOURS[panel.index % len(COLOURS)], lw=1.3)
            set_axes(inset, across, up)
            inset.set_aspect("equal")
        inner.set_xticks([])
        inner.set_yticks([])
        inner.grid(visible=False)
        for spine in inner.spines.values():
            spine.set_visible(True)
    figure.supxlabel(plot.across.label, fontsize=9, color="#333333")
    figure.supylabel(plot.up.label, fontsize=9, color="#333333")
    return figure


def reliability(plot: Calibration) -> Figure:
    """The share of fakes against the mean P(fake), bin by bin with intervals, over how many frames are in each bin."""
    import numpy as np

    figure, panels = panels_of(plot.panels, 1.12, plot.title)
    for axes, panel in panels:
        colour = COLOURS[panel.index % len(COLOURS)]
        axes.plot([0, 1], [0, 1], color="0.65", lw=1)
        for mark in panel.marks:
            bars = [[abs(mark.low - mark.y)], [abs(mark.high - mark.y)]]
            look: dict[str, Any] = {"color": colour, "alpha": 0.3 if mark.faint else 1.0}
            axes.errorbar([mark.x], [mark.y], bars, fmt="o", ms=4.5, lw=1.2, **look)
        set_axes(axes, plot.across, plot.up)
        counts, edges = np.array(panel.counts), np.linspace(0, 1, len(panel.counts) + 1)
        axes.stairs(-0.06 - 0.24 * counts / plot.most, edges, baseline=-0.06, fill=True, color="0.8")
        axes.axhline(-0.06, color="0.6", lw=0.8)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.32, 1.04)
    figure.supxlabel(plot.across.label, fontsize=9, color="#333333")
    figure.supylabel(plot.up.label, fontsize=9, color="#333333")
    return figure


def robustness(plot: RobustnessPlot) -> Figure:
    """A row a level: the baseline's AUC in grey, below it the variant's, with their intervals."""
    figure, panels = panels_of(plot.panels, 0.3 + 0.1 * len(plot.up.ticks), plot.title)
    for axes, panel in panels:
        for marks, colour in ((panel.behind, "0.6"), (panel.marks, COLOURS[panel.index % len(COLOURS)])):
            for mark in marks:
                bars = [[max(mark.x - mark.low, 0)], [max(mark.high - mark.x, 0)]]
                axes.errorbar([mark.x], [mark.y], xerr=bars, fmt="o", ms=4.5, lw=1.2, color=colour)
        set_axes(axes, plot.across, plot.up)
    figure.supxlabel(plot.across.label, fontsize=9, color="#333333")
    return figure
