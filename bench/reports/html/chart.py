"""Parts of SVG plots. Colours are CSS variables of the page, so that they follow its theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.reports.content.axes import Axis

if TYPE_CHECKING:
    from markupsafe import Markup

COLOURS = 7
"""How many the page's stylesheet has: c0 to c6, after Okabe & Ito (2008), darkened or lightened to stand out."""

DASHES = ("", "7 3", "8 3 2 3", "2 3", "8 3 2 3 2 3", "12 4")


def element(tag: str, *content: str, **attributes: object) -> Markup:
    """An SVG element. `content` is Markup or data, which is escaped; of a name in `attributes` _ stands for -."""
    from markupsafe import Markup, escape

    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_short(value))}"' for name, value in attributes.items()
    )
    return Markup(f"<{tag}{written}>{''.join(str(escape(part)) for part in content)}</{tag}>")


def _short(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def dashes(index: int) -> str:
    """The line of the variant at `index`; pairs of line and colour repeat after 42."""
    return DASHES[index % len(DASHES)]


def colour(index: int) -> str:
    """The class that gives the variant at `index` its colour."""
    return f"c{index % COLOURS}"


def marker(index: int, x: float, y: float, radius: float = 4.0) -> Markup:
    """One of seven shapes around a point, so that variants differ in grey too; looks repeat after 98."""
    corners = {1: (4, 45), 2: (4, 0), 3: (3, -90), 4: (3, 90), 5: (5, -90), 6: (6, 0)}
    again = index // COLOURS
    # Where colours begin anew, marks are hollow, and then have another shape.
    shape, look = (index + again // 2) % COLOURS, "mark hollow" if again % 2 else "mark"
    looks = f"{look} {colour(index)}"
    if shape == 0:
        return element("circle", cx=x, cy=y, r=radius, class_=looks)
    count, turn = corners[shape]
    angles = (math.radians(turn + 360 * corner / count) for corner in range(count))
    reach = 1.2 * radius
    points = " ".join(f"{x + reach * math.cos(angle):.1f},{y + reach * math.sin(angle):.1f}" for angle in angles)
    return element("polygon", points=points, class_=looks)


def swatch(index: int) -> Markup:
    """How the variant at `index` is drawn, small enough to stand before its name."""
    line = element("line", x1=0, y1=6, x2=26, y2=6, class_=f"curve {colour(index)}", stroke_dasharray=dashes(index))
    return element("svg", line, marker(index, 13, 6), class_="swatch", viewBox="0 0 26 12", aria_hidden="true")


@dataclass(frozen=True)
class Frame:
    """A rectangle of the plot, in the plot's units, and the axes that it shows."""

    left: float
    top: float
    width: float
    height: float
    across: Axis
    up: Axis

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def x(self, value: float) -> float:
        along = math.log if self.across.by_factors else float
        low, high = along(self.across.low), along(self.across.high)
        return self.left + self.width * (along(value) - low) / (high - low)

    def y(self, value: float) -> float:
        return self.top + self.height * (1 - (value - self.up.low) / (self.up.high - self.up.low))

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)

    def grid(self, *, labels: bool, below: float = 16.0) -> Markup:
        """Grid lines and numbers at the ticks, `below` the plot for the lower axis; with `labels` what the axes are."""
        parts = []
        for value, text in self.across.ticks:
            x = self.x(value)
            parts.append(element("line", x1=x, x2=x, y1=self.top, y2=self.bottom, class_="grid"))
            parts.append(element("text", text, x=x, y=self.bottom + below, text_anchor="middle"))
        for value, text in self.up.ticks:
            y = self.y(value)
            parts.append(element("line", x1=self.left, y1=y, x2=self.right, y2=y, class_="grid"))
            parts.append(element("text", text, x=self.left - 6, y=y + 4, text_anchor="end"))
        if labels:
            middle = self.left + self.width / 2
            turned = f"translate({self.left - 64:.0f} {self.top + self.height / 2:.0f}) rotate(-90)"
            parts.append(element("text", self.across.label, x=middle, y=self.bottom + 34, text_anchor="middle"))
            parts.append(element("text", self.up.label, transform=turned, text_anchor="middle"))
        return element("g", *parts, class_="axes")


def picture(title: str, description: str, *content: str, size: tuple[int, int]) -> Markup:
    """A whole picture; a screen reader reads `title` and `description`."""
    width, height = size
    read = (element("title", title), element("desc", description))
    return element("svg", *read, *content, class_="plot", viewBox=f"0 0 {width} {height}", role="img")
