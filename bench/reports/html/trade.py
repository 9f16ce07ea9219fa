"""What a smaller file or a faster call costs in AUC: a named point for each variant, intervals, the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import hypot
from typing import TYPE_CHECKING

from bench.reports.content.text import fitted, number, signed
from bench.reports.html.chart import Axes, Scored, colour, digits, element, marker, plot
from bench.reports.pictures.figures import LOGARITHMIC, height

if TYPE_CHECKING:
    from markupsafe import Markup

# Where a name may lie beside its point, the best first.
PLACES = [(across, up) for up in (-8, 16, -24, 32, -40, 48, -56, 64, -72, 80) for across in (11, -11, 26, -26)]
TEXT = 14
"""The largest size of the plots' text, that on phones."""
CLEARLY = 1.5
"""So many times as far from every other mark as from its own is a name that needs no line to it."""


@dataclass(frozen=True)
class _Point:
    """A variant: its place in the experiment, size or latency, and its height with a 95 % interval."""

    index: int
    name: str
    x: float
    value: float
    low: float
    high: float
    on_front: bool


@dataclass(frozen=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: _Box) -> bool:
        beside = self.right <= other.left or other.right <= self.left
        return not (beside or self.bottom <= other.top or other.bottom <= self.top)

    def away(self, x: float, y: float) -> float:
        """How far a point is from the box."""
        return hypot(max(self.left - x, 0, x - self.right), max(self.top - y, 0, y - self.bottom))


def trade(
    title: str, across: Mapping[str, float], scored: Scored, below: str, front: Sequence[str], margin: float
) -> tuple[Markup, str]:
    """`across` is size or latency by variant; `front` are those that none beats in both, the least first.

    Up goes the AUC minus the baseline's on the same frames; where there is no baseline, the AUC itself.
    Returns the picture and what to say below it.
    """
    paired = any(one.comparison for _, _, one in scored)
    points = [
        _Point(index, fitted(name, 20), across[name], *height(one, paired), name in front)
        for index, name, one in scored
        if name in across
    ]
    low, high = min(one.low for one in points), max(one.high for one in points)
    if paired:
        low, high = min(low, -1.25 * margin), max(high, 0.5 * margin)
    room = 0.08 * max(high - low, 1e-4)
    least, most = min(one.x for one in points), max(one.x for one in points)
    by_factors = most > LOGARITHMIC * least
    reach = (least / 1.4, 1.6 * most) if by_factors else (0.0, 1.22 * most)
    axes = Axes(76, 12, 430, 290, reach, (low - room, high + room), by_factors)
    count = f"n = {scored[0][2].score.count:,} frames"
    beside = f"AUC minus the baseline's ({count})" if paired else f"AUC ({count})"
    parts = [axes.frame(below, beside, (digits(*axes.across), digits(*axes.up)))]
    if paired:
        parts += _limits(axes, margin)
    along = sorted({(one.x, one.value) for one in points if one.on_front})
    stepped = [point for pair in pairwise(along) for point in (pair[0], (pair[1][0], pair[0][1]))]
    caption = "Left is better, up is better; bars are 95 % intervals"
    if stepped:
        parts.append(element("polyline", points=axes.path([*stepped, *along[-1:]]), class_="front"))
        caption += "; dashed: the Pareto front"
    for one in points:
        parts += _bar(axes, one)
    parts += _names(axes, points, [_margin_box(axes, margin)] if paired and margin else [])
    said = "; ".join(
        f"{one.name}: {number(one.x, 2)}, {(signed if paired else number)(one.value, 4)}" for one in points
    )
    return plot(title, f"{beside} over {below}, with 95 % intervals. {said}", *parts, size=(520, 352)), f"{caption}."


def _limits(axes: Axes, margin: float) -> list[Markup]:
    """The baseline's own height, and how far below it is still allowed."""
    zero, lowest = axes.y(0), axes.y(-margin)
    found = [element("line", x1=axes.left, x2=axes.left + axes.width, y1=zero, y2=zero, class_="zero")]
    if margin:
        band = {"x": axes.left, "y": zero, "width": axes.width, "height": lowest - zero}
        found.append(element("rect", **band, class_="allowed"))
        # On the left, where no variant is: the baseline, and with it its name, is mostly far on the right.
        found.append(element("text", f"margin \u2212{margin:g}", x=axes.left + 4, y=lowest - 4))
    return found


def _bar(axes: Axes, one: _Point) -> list[Markup]:
    place, low, high = axes.x(one.x), axes.y(one.low), axes.y(one.high)
    lines = [(low, high, 0), (low, low, 5), (high, high, 5)] if one.high > one.low else []
    drawn = [
        element("line", x1=place - half, x2=place + half, y1=y1, y2=y2, class_=f"bar {colour(one.index)}")
        for y1, y2, half in lines
    ]
    return [*drawn, marker(one.index, place, axes.y(one.value), 5.0)]


def _margin_box(axes: Axes, margin: float) -> _Box:
    lowest = axes.y(-margin)
    return _Box(axes.left, lowest - 18, axes.left + _width(f"margin \u2212{margin:g}"), lowest)


def _names(axes: Axes, points: Sequence[_Point], texts: Sequence[_Box]) -> list[Markup]:
    """Each beside its point in its colour, where neither another name nor a point nor a bar is in the way."""
    taken, found = [*texts], []
    for one in points:
        x, y = axes.x(one.x), axes.y(one.value)
        taken += [_Box(x - 7, y - 7, x + 7, y + 7), _Box(x - 2, axes.y(one.high), x + 2, axes.y(one.low))]
    # From the right, so that of two neighbours the right one is named on its right.
    for one in sorted(points, key=lambda point: (point.x, -point.value), reverse=True):
        x, y = axes.x(one.x), axes.y(one.value)
        others = [(axes.x(other.x), axes.y(other.value)) for other in points if other is not one]
        (dx, dy), box, clear = _place(axes, (x, y), _width(one.name), others, taken)
        taken.append(box)
        if hypot(dx, dy) > 24 or not clear:
            found.append(element("line", x1=x, y1=y, x2=x + dx, y2=y + dy - 4, class_="leader"))
        anchor = "start" if dx > 0 else "end"
        name = {"x": x + dx, "y": y + dy, "text_anchor": anchor, "class_": f"name {colour(one.index)}"}
        found.append(element("text", one.name, **name))
    return found


def _place(
    axes: Axes, at: tuple[float, float], width: float, others: Sequence[tuple[float, float]], taken: Sequence[_Box]
) -> tuple[tuple[int, int], _Box, bool]:
    """The best of PLACES for a name of the mark `at`, its box, and whether it is clearly the name of that mark."""
    ranked = []
    for rank, (dx, dy) in enumerate(PLACES):
        left = at[0] + dx if dx > 0 else at[0] + dx - width
        box = _Box(left - 3, at[1] + dy - TEXT + 2, left + width + 3, at[1] + dy + 4)
        across = max(axes.left - box.left, box.right - axes.left - axes.width, 0)
        outside = across + max(axes.top - box.top, box.bottom - axes.top - axes.height, 0)
        # A name that is about as near to another mark reads as that one's.
        clear = all(box.away(*other) > CLEARLY * box.away(*at) for other in others)
        ranked.append(((outside, sum(box.overlaps(one) for one in taken), not clear, rank), (dx, dy), box, clear))
    return min(ranked)[1:]


def _width(name: str) -> float:
    """About how wide a name is at most, in the units of a plot."""
    return TEXT * sum(1.1 if letter in "mwMW%@…" else 0.68 for letter in name)
