"""Plots as SVG: axes, lines, points and names. Colours are CSS variables of the page, so that they follow its theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from bench.records import VariantEvaluation
from bench.reports.content.text import number

if TYPE_CHECKING:
    from markupsafe import Markup

Scored: TypeAlias = Sequence[tuple[int, str, VariantEvaluation]]
"""Variants that have an AUC: place in the experiment, by which they are drawn, name, and what is known of each."""

COLOURS = 7
"""How many the page's stylesheet has: c0 to c6, after Okabe & Ito (2008), darkened or lightened to stand out."""

DASHES = ("", "7 3", "8 3 2 3", "2 3", "8 3 2 3 2 3", "12 4")


def element(tag: str, *content: str, **attributes: object) -> Markup:
    """An SVG element. `content` is Markup or data, which is escaped; of a name in `attributes` _ stands for -."""
    from markupsafe import Markup, escape

    told = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_short(value))}"' for name, value in attributes.items()
    )
    return Markup(f"<{tag}{told}>{''.join(str(escape(one)) for one in content)}</{tag}>")


def _short(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def dashes(index: int) -> str:
    """The line of the variant at `index`; pairs of line and colour repeat after 42."""
    return DASHES[index % len(DASHES)]


def colour(index: int) -> str:
    """The class that gives the variant at `index` its colour."""
    return f"c{index % COLOURS}"


def marker(index: int, x: float, y: float, radius: float = 4.0, **attributes: object) -> Markup:
    """One of seven shapes around a point, so that variants are told apart in grey too; looks repeat after 98."""
    corners = {1: (4, 45), 2: (4, 0), 3: (3, -90), 4: (3, 90), 5: (5, -90), 6: (6, 0)}
    again = index // COLOURS
    # Where colours begin anew, marks are hollow, and then have another shape.
    shape, look = (index + again // 2) % COLOURS, "mark hollow" if again % 2 else "mark"
    said = {"class_": f"{look} {colour(index)}", **attributes}
    if shape == 0:
        return element("circle", cx=x, cy=y, r=radius, **said)
    count, turn = corners[shape]
    angles = (math.radians(turn + 360 * corner / count) for corner in range(count))
    reach = 1.2 * radius
    points = " ".join(f"{x + reach * math.cos(angle):.1f},{y + reach * math.sin(angle):.1f}" for angle in angles)
    return element("polygon", points=points, **said)


def swatch(index: int) -> Markup:
    """How the variant at `index` is drawn, small enough to stand before its name."""
    line = element("line", x1=0, y1=6, x2=26, y2=6, class_=f"curve {colour(index)}", stroke_dasharray=dashes(index))
    return element("svg", line, marker(index, 13, 6), class_="swatch", viewBox="0 0 26 12", aria_hidden="true")


@dataclass(frozen=True)
class Axes:
    """A rectangle of the plot, in its units, and the ranges that it shows."""

    left: float
    top: float
    width: float
    height: float
    across: tuple[float, float]
    up: tuple[float, float]
    by_factors: bool = False
    """Whether equal distances across are equal factors."""

    def x(self, value: float) -> float:
        along = math.log if self.by_factors else float
        low, high = map(along, self.across)
        return self.left + self.width * (along(value) - low) / (high - low)

    def y(self, value: float) -> float:
        low, high = self.up
        return self.top + self.height * (1 - (value - low) / (high - low))

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)

    def frame(self, below: str, beside: str, digits: tuple[int, int]) -> Markup:
        """Grid, numbers and what they are; `digits` after the point, across and up."""
        bottom = self.top + self.height
        parts = []
        for value in factor_ticks(*self.across) if self.by_factors else ticks(*self.across):
            x, told = self.x(value), f"{value:g}" if self.by_factors else number(value, digits[0])
            parts.append(element("line", x1=x, y1=self.top, x2=x, y2=bottom, class_="grid"))
            parts.append(element("text", told, x=x, y=bottom + 16, text_anchor="middle"))
        for value in ticks(*self.up):
            y = self.y(value)
            parts.append(element("line", x1=self.left, y1=y, x2=self.left + self.width, y2=y, class_="grid"))
            parts.append(element("text", number(value, digits[1]), x=self.left - 6, y=y + 4, text_anchor="end"))
        parts.append(element("text", below, x=self.left + self.width / 2, y=bottom + 34, text_anchor="middle"))
        place = f"translate({self.left - 54:.0f} {self.top + self.height / 2:.0f}) rotate(-90)"
        parts.append(element("text", beside, transform=place, text_anchor="middle"))
        return element("g", *parts, class_="axes")


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from `low` to `high`."""
    unit = 10 ** math.floor(math.log10((high - low) / about))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if (high - low) / (unit * factor) <= about + 0.5)
    first = math.ceil(low / step - 1e-9)
    return [round(step * place, 10) for place in range(first, math.floor(high / step + 1e-9) + 1)]


def factor_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten from `low` to `high`."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [value for power in powers for factor in (1, 2, 5) if low <= (value := factor * 10.0**power) <= high]


def digits(low: float, high: float) -> int:
    """So many after the point that neighbouring ticks look different."""
    found = ticks(low, high)
    return next(count for count in range(12) if all(abs(round(one, count) - one) < 1e-9 for one in found))


def plot(title: str, said: str, *content: str, size: tuple[int, int]) -> Markup:
    """A whole picture; `title` and `said` are what a screen reader tells of it."""
    width, height = size
    told = (element("title", title), element("desc", said))
    return element("svg", *told, *content, class_="plot", viewBox=f"0 0 {width} {height}", role="img")
