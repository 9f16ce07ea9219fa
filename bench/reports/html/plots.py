"""The report's plots drawn as SVG."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import counted
from bench.reports.content.axes import part_axis
from bench.reports.content.plots import Calibration, Histogram, ReliabilityPanel, Roc, RocPanel, Trade
from bench.reports.content.robustness import RobustnessPanel, RobustnessPlot, description
from bench.reports.content.text import plain
from bench.reports.html.chart import Frame, colour, element, marker, picture
from bench.reports.html.names import margin_label, names

if TYPE_CHECKING:
    from markupsafe import Markup

    from bench.reports.content.plots import Curve

CUT = (8, 6, 344, 128)
"""Left, top, width and height of the axes in which the threshold is a line."""


def trade(plot: Trade) -> Markup:
    """What a smaller file or a faster call costs in AUC."""
    frame = Frame(84, 12, 422, 290, plot.across, plot.up)
    parts = [frame.grid(labels=True)]
    if plot.margin is not None:
        parts += _margin(frame, plot.margin)
    if plot.front:
        parts.append(element("polyline", points=frame.path(plot.front), class_="front"))
    for mark in plot.marks:
        x, low, high = frame.x(mark.x), frame.y(mark.low), frame.y(mark.high)
        if mark.high > mark.low:
            for y1, y2, half in ((low, high, 0), (low, low, 5), (high, high, 5)):
                bar = {"x1": x - half, "x2": x + half, "y1": y1, "y2": y2}
                parts.append(element("line", **bar, class_=f"bar {colour(mark.index)}"))
        parts.append(marker(mark.index, x, frame.y(mark.y), 5.0))
    parts += names(frame, plot.marks, plot.margin)
    return picture(plot.title, plot.description, *parts, size=(520, 352))


def _margin(frame: Frame, margin: float) -> list[Markup]:
    """The baseline's own height, and how far below it is still allowed."""
    zero, lowest = frame.y(0), frame.y(-margin)
    drawn = [element("line", x1=frame.left, x2=frame.right, y1=zero, y2=zero, class_="zero")]
    if margin:
        band = {"x": frame.left, "y": zero, "width": frame.width, "height": lowest - zero}
        drawn.append(element("rect", **band, class_="allowed"))
        # Below the band, which may be narrow, and on the left: the baseline with its name is mostly far on the right.
        drawn.append(element("text", margin_label(margin), x=frame.left + 4, y=lowest + 13))
    return drawn


def roc(plot: Roc) -> list[tuple[RocPanel, Markup]]:
    """Each panel with its picture."""
    return [(panel, _roc(plot, panel)) for panel in plot.panels]


def _roc(plot: Roc, panel: RocPanel) -> Markup:
    """The corner in which curves bend, and the whole curve small inside."""
    parts = [Frame(44, 8, 208, 208, plot.across, plot.up).grid(labels=False)]
    corner, whole = (plot.across, plot.up), plot.whole
    for left, top, side, (across, up) in ((44, 8, 208, corner), (154, 118, 88, whole)):
        frame = Frame(0, 0, side, side, across, up)
        inside = [element("rect", width=side, height=side, class_="inset")] if left > 44 else []
        for curve, look in ((panel.behind, "curve behind"), (panel.curve, f"curve roc {colour(panel.index)}")):
            if curve is not None:
                inside.append(element("polyline", points=frame.path(_thinned(frame, curve)), class_=look))
        # A picture in the picture cuts off what lies outside it.
        parts.append(element("svg", *inside, x=left, y=top, width=side, height=side, aria_hidden="true"))
    shown = f"True- over false-positive rate, the upper left corner of side {plot.side:g}; inside, the whole curve."
    return picture(f"ROC curve of {plain(panel.name)}, {panel.number}", shown, *parts, size=(262, 242))


def _thinned(frame: Frame, curve: Curve) -> list[tuple[float, float]]:
    """The points of a curve that half a unit tells apart, up to the first beyond the right edge."""
    fpr, tpr = curve
    last = min(int(np.searchsorted(fpr, frame.across.high, side="right")) + 1, len(fpr))
    across, up = frame.across.high - frame.across.low, frame.up.high - frame.up.low
    steps = np.stack([fpr[:last] * 2 * frame.width / across, tpr[:last] * 2 * frame.height / up], axis=1).round()
    distinct = np.append(np.any(np.diff(steps, axis=0) != 0, axis=1), True)
    return list(zip(fpr[:last][distinct].tolist(), tpr[:last][distinct].tolist(), strict=True))


def reliability(plot: Calibration) -> list[tuple[ReliabilityPanel, Markup]]:
    """Each panel with its picture."""
    return [(panel, _reliability(plot, panel)) for panel in plot.panels]


def _reliability(plot: Calibration, panel: ReliabilityPanel) -> Markup:
    """The share of fakes against the mean P(fake), bin by bin, over how many frames are in each bin."""
    frame = Frame(40, 8, 212, 196, plot.across, plot.up)
    diagonal = element("polyline", points=frame.path([(0, 0), (1, 1)]), class_="chance")
    parts = [frame.grid(labels=False, below=60), diagonal]
    for mark in panel.marks:
        x, y = frame.x(mark.x), frame.y(mark.y)
        ends = {"x1": x, "x2": x, "y1": frame.y(mark.low), "y2": frame.y(mark.high)}
        bar = element("line", **ends, class_=f"bar {colour(mark.index)}")
        parts.append(element("g", bar, marker(mark.index, x, y, 3.5), class_="faint" if mark.faint else "many"))
    width, top = frame.width / len(panel.counts), frame.bottom + 8
    for index, count in enumerate(panel.counts):
        height = 34 * count / plot.most
        box = {"x": frame.left + index * width + 0.5, "y": top, "width": width - 1, "height": height}
        parts.append(element("rect", element("title", counted(count, "frame")), **box, class_="count"))
    parts.append(element("line", x1=frame.left, x2=frame.right, y1=top, y2=top, class_="zero"))
    shown = "The share of fakes over P(fake), with 95 % intervals; below, how many frames have which P(fake)."
    return picture(f"Reliability of {plain(panel.name)}", shown, *parts, size=(262, 268))


def robustness(plot: RobustnessPlot) -> list[tuple[RobustnessPanel, Markup]]:
    """Each panel with its picture."""
    return [(panel, _robustness(plot, panel)) for panel in plot.panels]


def _robustness(plot: RobustnessPlot, panel: RobustnessPanel) -> Markup:
    """A row a level: the baseline's AUC in grey, below it the variant's, with their intervals."""
    height = 30 * len(plot.up.ticks)
    frame = Frame(84, 4, 170, height, plot.across, plot.up)
    parts = [frame.grid(labels=False)]
    for marks, look in ((panel.behind, "chance"), (panel.marks, f"bar {colour(panel.index)}")):
        for mark in marks:
            y = frame.y(mark.y)
            ends = {"x1": frame.x(mark.low), "x2": frame.x(mark.high), "y1": y, "y2": y}
            parts.append(element("line", **ends, class_=look))
            is_behind = marks is panel.behind
            grey = element("circle", cx=frame.x(mark.x), cy=y, r=3.0, class_="grey")
            parts.append(grey if is_behind else marker(panel.index, frame.x(mark.x), y, 3.5))
    title = f"AUC of {plain(panel.name)} under re-compression"
    return picture(title, description(panel, plot), *parts, size=(262, height + 26))


def histograms(plots: tuple[Histogram, ...], threshold: float) -> list[tuple[str, Markup]]:
    """By variant how many fakes (up) and reals (down) have which P(fake), with a line at the threshold."""
    most = max((math.sqrt(share) for plot in plots for share in (*plot.fakes, *plot.reals)), default=0.0) or 1.0
    across = part_axis("P(fake)", 0.0, 1.0)
    frame = Frame(*CUT, across, replace(across, low=-most, high=most))
    return [(plot.name, _histogram(frame, plot, threshold)) for plot in plots]


def _histogram(frame: Frame, plot: Histogram, threshold: float) -> Markup:
    """The bars of both classes, as square roots so that a few show too."""
    middle, count = frame.y(0), len(plot.fakes)
    parts = []
    for shares, is_fake in ((plot.fakes, True), (plot.reals, False)):
        side = "fake" if is_fake else "real"
        for index, share in enumerate(shares):
            if share:
                reach = middle - frame.y(math.sqrt(share))
                box = {"x": frame.x(index / count) + 0.5, "y": middle - reach if is_fake else middle}
                parts.append(element("rect", **box, width=frame.width / count - 1, height=reach, class_=f"bin {side}"))
        # At the end of the axis that the class seldom reaches, so that no bar is below the word.
        x, y, anchor = (frame.left, frame.top + 12, "start") if is_fake else (frame.right, frame.bottom - 4, "end")
        parts.append(element("text", f"{side}s", x=x, y=y, text_anchor=anchor, class_=f"side {side}"))
    parts.append(element("line", x1=frame.left, x2=frame.right, y1=middle, y2=middle, class_="zero"))
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        anchor = {0.0: "start", 1.0: "end"}.get(value, "middle")
        parts.append(element("text", f"{value:g}", x=frame.x(value), y=150, text_anchor=anchor))
    x = frame.x(threshold)
    parts.append(element("line", x1=x, x2=x, y1=frame.top, y2=frame.bottom, class_="cut"))
    shown = "The share of each class over P(fake), square roots; the line is the threshold."
    return picture(f"Scores of {plain(plot.name)}", shown, *parts, size=(360, 156))
