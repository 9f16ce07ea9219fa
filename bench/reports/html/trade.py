"""What a smaller file or a faster call costs in AUC: a named point for each variant, intervals, the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from bench.reports.html.chart import LETTER, Axes, Scored, colour, digits, element, marker, plot
from bench.reports.text import number, plain

if TYPE_CHECKING:
    from markupsafe import Markup

# Where a name may lie beside its point, the best first.
PLACES = [(across, up) for up in (-8, 16, -24, 32, -40, 48, -56, 64, -72, 80) for across in (9, -9, 26, -26)]


@dataclass(frozen=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: _Box) -> bool:
        beside = self.right <= other.left or other.right <= self.left
        return not (beside or self.bottom <= other.top or other.bottom <= self.top)


def trade(title: str, across: Mapping[str, float], scored: Scored, below: str, front: Sequence[str]) -> Markup:
    """`across` is size or latency by variant; `front` are those that none beats in both, the least first."""
    points = [
        (index, name, across[name], one.auc) for index, name, one in scored if name in across and one.auc is not None
    ]
    lows, highs = [auc.interval.low for *_, auc in points], [auc.interval.high for *_, auc in points]
    spread = max(max(highs) - min(lows), 1e-4)
    up = (max(min(lows) - 0.08 * spread, 0.0), min(max(highs) + 0.08 * spread, 1.0))
    axes = Axes(66, 12, 440, 290, (0.0, 1.22 * max(x for _, _, x, _ in points)), up)
    count = scored[0][2].score.count
    parts = [axes.frame(below, f"AUC (n = {count:,} frames)", (digits(*axes.across), digits(*up)))]
    along = sorted((x, auc.value) for _, name, x, auc in points if name in front)
    stepped = [point for pair in pairwise(along) for point in (pair[0], (pair[1][0], pair[0][1]))]
    parts.append(element("polyline", points=axes.path([*stepped, *along[-1:]]), class_="front"))
    for index, _, x, auc in points:
        place, low, high = axes.x(x), axes.y(auc.interval.low), axes.y(auc.interval.high)
        for y1, y2, half in ((low, high, 0), (low, low, 5), (high, high, 5)):
            bar = {"x1": place - half, "x2": place + half, "y1": y1, "y2": y2}
            parts.append(element("line", **bar, class_=f"bar {colour(index)}"))
        parts.append(marker(index, place, axes.y(auc.value), 5.0))
    parts += _names(axes, [(index, plain(name), axes.x(x), axes.y(auc.value)) for index, name, x, auc in points])
    said = "; ".join(f"{plain(name)}: {number(x, 2)}, AUC {number(auc.value, 4)}" for _, name, x, auc in points)
    return plot(title, f"AUC over {below}, with 95 % intervals. {said}", *parts, size=(520, 352))


def _names(axes: Axes, points: Sequence[tuple[int, str, float, float]]) -> list[Markup]:
    """Each beside its point in its colour, where neither another name nor a point is in the way."""
    taken = [_Box(x - 7, y - 7, x + 7, y + 7) for *_, x, y in points]
    found = []
    # From the right, so that of two neighbours the right one is named on its right.
    for index, name, x, y in sorted(points, key=lambda point: point[2:], reverse=True):
        width = LETTER * len(name)
        for dx, dy in PLACES:
            left = x + dx if dx > 0 else x + dx - width
            box = _Box(left - 3, y + dy - 10, left + width + 3, y + dy + 4)
            inside = axes.left <= box.left and box.right <= axes.left + axes.width and box.top >= axes.top
            if inside and box.bottom <= axes.top + axes.height and not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)
        if abs(dy) > 16:
            found.append(element("line", x1=x, y1=y, x2=x + dx, y2=y + dy - 4, class_="leader"))
        anchor = "start" if dx > 0 else "end"
        found.append(element("text", name, x=x + dx, y=y + dy, text_anchor=anchor, class_=f"name {colour(index)}"))
    return found
