"""Where the names of marks lie in a plot, so that none covers another, a mark or a bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot
from typing import TYPE_CHECKING

from bench.reports.content.axes import Mark
from bench.reports.content.text import fitted
from bench.reports.html.chart import Frame, colour, element

if TYPE_CHECKING:
    from markupsafe import Markup

OFFSETS = [(across, up) for up in (-8, 16, -24, 32, -40, 48, -56, 64, -72, 80) for across in (11, -11, 26, -26)]
"""Where a name may lie beside its mark, the best first."""
TEXT = 14
"""The largest size of the plots' text, that on phones."""
CLEARLY = 1.5
"""So many times as far from every other mark as from its own is a name that needs no line to it."""
NAME = 20
"""Characters of a name that leave room for others."""


@dataclass(frozen=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        beside = self.right <= other.left or other.right <= self.left
        return not (beside or self.bottom <= other.top or other.bottom <= self.top)

    def away(self, x: float, y: float) -> float:
        """How far a point is from the box."""
        return hypot(max(self.left - x, 0, x - self.right), max(self.top - y, 0, y - self.bottom))


def names(frame: Frame, marks: Sequence[Mark], margin: float | None) -> list[Markup]:
    """Each name beside its mark in its colour, where neither another name nor a mark, a bar or a line is in the way."""
    taken, drawn = [_margin_box(frame, margin)] if margin else [], []
    if margin is not None:
        taken.append(Box(frame.left, frame.y(0) - 1, frame.right, frame.y(0) + 1))
    for mark in marks:
        x, y = frame.x(mark.x), frame.y(mark.y)
        taken += [Box(x - 7, y - 7, x + 7, y + 7), Box(x - 2, frame.y(mark.high), x + 2, frame.y(mark.low))]
    # From the right, so that of two neighbours the right one is named on its right.
    for mark in sorted(marks, key=lambda mark: (mark.x, -mark.y), reverse=True):
        x, y, name = frame.x(mark.x), frame.y(mark.y), fitted(mark.name, NAME)
        others = [(frame.x(other.x), frame.y(other.y)) for other in marks if other is not mark]
        (dx, dy), box, clear = _best(frame, (x, y), _width(name), others, taken)
        taken.append(box)
        if hypot(dx, dy) > 24 or not clear:
            drawn.append(element("line", x1=x, y1=y, x2=x + dx, y2=y + dy - 4, class_="leader"))
        anchor = "start" if dx > 0 else "end"
        look = {"x": x + dx, "y": y + dy, "text_anchor": anchor, "class_": f"name {colour(mark.index)}"}
        drawn.append(element("text", name, **look))
    return drawn


def margin_label(margin: float) -> str:
    return f"margin −{margin:g}"


def _margin_box(frame: Frame, margin: float) -> Box:
    lowest = frame.y(-margin)
    return Box(frame.left, lowest, frame.left + _width(margin_label(margin)), lowest + 18)


def _best(
    frame: Frame, at: tuple[float, float], width: float, others: Sequence[tuple[float, float]], taken: Sequence[Box]
) -> tuple[tuple[int, int], Box, bool]:
    """The best of OFFSETS for a name of the mark `at`, its box, and whether it is clearly the name of that mark."""
    ranked = []
    for rank, (dx, dy) in enumerate(OFFSETS):
        left = at[0] + dx if dx > 0 else at[0] + dx - width
        box = Box(left - 3, at[1] + dy - TEXT + 2, left + width + 3, at[1] + dy + 4)
        across = max(frame.left - box.left, box.right - frame.right, 0)
        outside = across + max(frame.top - box.top, box.bottom - frame.bottom, 0)
        # A name that is about as near to another mark reads as that one's.
        clear = all(box.away(*other) > CLEARLY * box.away(*at) for other in others)
        ranked.append(((outside, sum(box.overlaps(other) for other in taken), not clear, rank), (dx, dy), box, clear))
    return min(ranked)[1:]


def _width(name: str) -> float:
    """About how wide a name is at most, in the units of a plot."""
    return TEXT * sum(1.1 if letter in "mwMW%@…" else 0.68 for letter in name)
