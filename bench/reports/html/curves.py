"""ROC curves, reliability, and how the scores of either class are spread."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from bench.records import Evidence, Judgement, Reliability
from bench.reports.html.chart import Axes, Scored, colour, dashes, element, key, marker, plot
from bench.reports.panels import bins
from bench.reports.text import counted, number, plain

if TYPE_CHECKING:
    from markupsafe import Markup
    from numpy.typing import NDArray

ZOOM = 0.1
"""The largest false-positive rate of the enlarged part: most uses cannot afford more."""

BINS = 50

CUT = (8, 6, 344, 128)
"""Left, top, width and height of the axes in which the threshold is a line."""


def roc(scored: Scored, *, zoomed: bool) -> Markup:
    """Every variant's curve; `zoomed` shows false-positive rates up to a tenth alone."""
    curves = [(index, one.roc) for index, _, one in scored if one.roc is not None]
    at_zero = min((float(tpr[np.searchsorted(fpr, 0.0, side="right") - 1]) for _, (fpr, tpr) in curves), default=0.0)
    low = min(math.floor(10 * at_zero) / 10, 0.9) if zoomed else 0.0
    axes = Axes(64, 12, 396, 360, (0.0, ZOOM if zoomed else 1.0), (low, 1.0))
    digits = (2, 2) if zoomed else (1, 1)
    parts = [axes.frame("false-positive rate", "true-positive rate", digits)]
    if not zoomed:
        parts.append(element("polyline", points=axes.path([(0, 0), (1, 1)]), class_="chance"))
    for place, (index, (fpr, tpr)) in enumerate(curves):
        # Each curve is thinner than the one below it, which therefore shows even where both agree.
        width = 1.4 + 2.4 * (1 - place / len(curves))
        look = {"class_": f"curve {colour(index)}", "stroke_dasharray": dashes(index), "stroke_width": width}
        parts.append(element("polyline", points=axes.path(_thinned(axes, fpr, tpr)), **look))
    names = [(index, f"{plain(name)}  {number(one.score.auc, 4)}") for index, name, one in scored]
    if not zoomed:
        parts.append(key(names, 225, 362))
    where = f"up to {ZOOM:g}" if zoomed else "from 0 to 1"
    said = f"True-positive rate over false-positive rate {where}. AUC: " + "; ".join(name for _, name in names)
    clipped = f"roc-{'zoomed' if zoomed else 'whole'}"
    clip = element("clipPath", element("rect", x=60, y=11, width=400, height=362), id=clipped)
    inside = element("g", *parts[1:], clip_path=f"url(#{clipped})")
    return plot(f"ROC curves, false-positive rate {where}", said, clip, parts[0], inside, size=(475, 420))


def _thinned(axes: Axes, fpr: NDArray[np.float64], tpr: NDArray[np.float64]) -> list[tuple[float, float]]:
    """The points of a curve that half a unit tells apart, up to the first beyond the right edge."""
    last = min(int(np.searchsorted(fpr, axes.across[1], side="right")) + 1, len(fpr))
    steps = np.stack([fpr[:last] * 2 * axes.width / axes.across[1], tpr[:last] * 2 * axes.height], axis=1).round()
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
    parts = [_grid(axes), element("polyline", points=axes.path([(0, 0), (1, 1)]), class_="chance")]
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


def _grid(axes: Axes) -> Markup:
    """Lines and numbers at the ends and the middle."""
    right, bottom, parts = axes.left + axes.width, axes.top + axes.height, []
    for value in (0.0, 0.5, 1.0):
        x, y = axes.x(value), axes.y(value)
        parts.append(element("line", x1=x, x2=x, y1=axes.top, y2=bottom, class_="grid"))
        parts.append(element("line", x1=axes.left, x2=right, y1=y, y2=y, class_="grid"))
        parts.append(element("text", f"{value:g}", x=x, y=264, text_anchor="middle"))
        parts.append(element("text", f"{value:g}", x=axes.left - 6, y=y + 4, text_anchor="end"))
    return element("g", *parts, class_="axes")


def spreads(judgement: Judgement, threshold: float) -> list[tuple[str, Markup]]:
    """By variant how many fakes (up) and reals (down) have which P(fake), with a line at the threshold."""
    fake = judgement.test.labels == 1
    found = {name: _binned(one, fake) for name, one in judgement.evidence.items()}
    most = max((math.sqrt(part.max(initial=0)) for both in found.values() for part in both), default=0.0) or 1.0
    return [(name, _spread(plain(name), both, most, threshold)) for name, both in found.items()]


def _binned(one: Evidence, fake: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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
