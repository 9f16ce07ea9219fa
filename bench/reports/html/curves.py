"""ROC curves, reliability, and how the scores of either class are spread."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from bench.records import Evaluation, Predictions, Reliability
from bench.reports.content.text import counted, number, plain, within
from bench.reports.html.chart import Axes, Scored, colour, element, marker, plot
from bench.reports.pictures.panels import bins, zoom

if TYPE_CHECKING:
    from markupsafe import Markup
    from numpy.typing import NDArray

    Curve: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]

BINS = 50

CUT = (8, 6, 344, 128)
"""Left, top, width and height of the axes in which the threshold is a line."""


def roc(scored: Scored) -> tuple[float, list[tuple[int, str, str, Markup]]]:
    """A small plot a variant over the baseline in grey, since curves that nearly agree would hide each other.

    Returns the side of the upper left corner that is shown, and of each variant its place, name, AUC and picture.
    """
    side = zoom([one for *_, one in scored])
    first, _, at_first = scored[0]
    drawn = []
    for index, name, one in scored:
        behind = at_first.roc if first == 0 < index else None
        told = f"{number(one.score.auc, 4)} ({within(one.auc.interval if one.auc else None, 3)})"
        drawn.append((index, name, told, _roc(index, f"{plain(name)}, AUC {told}", one.roc, behind, side)))
    return side, drawn


def _roc(index: int, told: str, own: Curve | None, behind: Curve | None, side: float) -> Markup:
    """The corner in which curves bend, and the whole curve small inside."""
    frame = _corner(Axes(44, 8, 208, 208, (0.0, 1.0), (0.0, 1.0)), side)
    parts = [_grid(frame, (0.0, 1 - side), side, below=16)]
    for left, top, wide, shown in ((44, 8, 208, side), (154, 118, 88, 1.0)):
        axes = _corner(Axes(0, 0, wide, wide, (0.0, 1.0), (0.0, 1.0)), shown)
        inside = [element("rect", width=wide, height=wide, class_="inset")] if shown > side else []
        for curve, look in ((behind, "curve behind"), (own, f"curve roc {colour(index)}")):
            if curve is not None:
                inside.append(element("polyline", points=axes.path(_thinned(axes, *curve)), class_=look))
        # A picture in the picture cuts off what lies outside it.
        parts.append(element("svg", *inside, x=left, y=top, width=wide, height=wide, aria_hidden="true"))
    said = f"True- over false-positive rate, the upper left corner of side {side:g}; inside, the whole curve."
    return plot(f"ROC curve of {told}", said, *parts, size=(262, 242))


def _corner(axes: Axes, side: float) -> Axes:
    """The upper left corner, with room for the thickness of lines along its edges."""
    return replace(axes, across=(-0.02 * side, side), up=(1 - side, 1 + 0.02 * side))


def _thinned(axes: Axes, fpr: NDArray[np.float64], tpr: NDArray[np.float64]) -> list[tuple[float, float]]:
    """The points of a curve that half a unit tells apart, up to the first beyond the right edge."""
    last = min(int(np.searchsorted(fpr, axes.across[1], side="right")) + 1, len(fpr))
    across, up = axes.across[1] - axes.across[0], axes.up[1] - axes.up[0]
    steps = np.stack([fpr[:last] * 2 * axes.width / across, tpr[:last] * 2 * axes.height / up], axis=1).round()
    kept = np.append(np.any(np.diff(steps, axis=0) != 0, axis=1), True)
    return list(zip(fpr[:last][kept].tolist(), tpr[:last][kept].tolist(), strict=True))


def reliability(scored: Scored) -> list[tuple[int, str, str, Markup]]:
    """A small plot a variant, since points of many would hide each other: its place, name, ECE and picture."""
    most = max((int(one.reliability.counts.max(initial=0)) for *_, one in scored), default=0) or 1
    return [
        (index, name, number(one.reliability.ece, 3), _reliability(index, plain(name), one.reliability, most))
        for index, name, one in scored
    ]


def _reliability(index: int, name: str, found: Reliability, most: int) -> Markup:
    """The share of fakes against the mean P(fake), bin by bin, over how many frames are in each bin."""
    axes = Axes(40, 8, 212, 196, (0.0, 1.0), (0.0, 1.0))
    parts = [_grid(axes, (0.0, 0.0), 1.0), element("polyline", points=axes.path([(0, 0), (1, 1)]), class_="chance")]
    for one in bins(found):
        x, y = axes.x(one.predicted), axes.y(one.share)
        bar = element("line", x1=x, x2=x, y1=axes.y(one.low), y2=axes.y(one.high), class_=f"bar {colour(index)}")
        parts.append(element("g", bar, marker(index, x, y, 3.5), class_="faint" if one.few else "many"))
    wide, top = axes.width / len(found.counts), axes.top + axes.height + 8
    for place, count in enumerate(found.counts.tolist()):
        box = {"x": axes.left + place * wide + 0.5, "y": top, "width": wide - 1, "height": 34 * count / most}
        parts.append(element("rect", element("title", counted(count, "frame")), **box, class_="count"))
    parts.append(element("line", x1=axes.left, x2=axes.left + axes.width, y1=top, y2=top, class_="zero"))
    said = "The share of fakes over P(fake), with 95 % intervals; below, how many frames have which P(fake)."
    return plot(f"Reliability of {name}", said, *parts, size=(262, 268))


def _grid(axes: Axes, start: tuple[float, float], side: float, below: float = 60.0) -> Markup:
    """Lines and numbers at the ends and the middle of `side` from `start`; numbers lie `below` the plot."""
    right, bottom, parts = axes.left + axes.width, axes.top + axes.height, []
    for part in (0.0, 0.5, 1.0):
        across, up = (round(low + part * side, 3) for low in start)
        x, y = axes.x(across), axes.y(up)
        parts.append(element("line", x1=x, x2=x, y1=axes.top, y2=bottom, class_="grid"))
        parts.append(element("line", x1=axes.left, x2=right, y1=y, y2=y, class_="grid"))
        parts.append(element("text", f"{across:g}", x=x, y=bottom + below, text_anchor="middle"))
        parts.append(element("text", f"{up:g}", x=axes.left - 6, y=y + 4, text_anchor="end"))
    return element("g", *parts, class_="axes")


def spreads(evaluation: Evaluation, threshold: float) -> list[tuple[str, Markup]]:
    """By variant how many fakes (up) and reals (down) have which P(fake), with a line at the threshold."""
    fake = evaluation.test.labels == 1
    found = {name: _binned(one, fake) for name, one in evaluation.predictions.items()}
    most = max((math.sqrt(part.max(initial=0)) for both in found.values() for part in both), default=0.0) or 1.0
    return [(name, _spread(plain(name), both, most, threshold)) for name, both in found.items()]


def _binned(one: Predictions, fake: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The share of each class in every bin."""
    fakes, reals = (np.histogram(one.test[rows], BINS, (0.0, 1.0))[0] for rows in (fake, ~fake))
    return fakes / max(fakes.sum(), 1), reals / max(reals.sum(), 1)


def _spread(name: str, both: tuple[NDArray[np.float64], NDArray[np.float64]], most: float, threshold: float) -> Markup:
    axes = Axes(*CUT, (0.0, 1.0), (-most, most))
    parts = []
    for shares, sign, side in zip(both, (1, -1), ("fake", "real"), strict=True):
        for place, share in enumerate(shares.tolist()):
            if share:
                reach = axes.y(0) - axes.y(math.sqrt(share))
                top = axes.y(0) - reach if sign > 0 else axes.y(0)
                box = {"x": axes.x(place / BINS) + 0.5, "y": top, "width": axes.width / BINS - 1, "height": reach}
                parts.append(element("rect", **box, class_=f"bin {side}"))
        y = axes.top + 12 if sign > 0 else axes.top + axes.height - 4
        parts.append(element("text", "fakes" if sign > 0 else "reals", x=axes.left + 90, y=y, class_=f"side {side}"))
    parts.append(element("line", x1=axes.left, x2=axes.left + axes.width, y1=axes.y(0), y2=axes.y(0), class_="zero"))
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        anchor = {0.0: "start", 1.0: "end"}.get(value, "middle")
        parts.append(element("text", f"{value:g}", x=axes.x(value), y=150, text_anchor=anchor))
    x = axes.x(threshold)
    parts.append(element("line", x1=x, x2=x, y1=axes.top, y2=axes.top + axes.height, class_="cut"))
    said = "The share of each class over P(fake), square roots; the line is the threshold."
    return plot(f"Scores of {name}", said, *parts, size=(360, 156))
