"""Charts of trainings drawn as SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.reports.content.text import plain
from bench.reports.html.chart import Frame, colour, dashes, element, marker, picture
from bench.reports.training.content import Chart

if TYPE_CHECKING:
    from markupsafe import Markup

_MOST_MARKS = 30


def draw(chart: Chart) -> Markup:
    """The chart; the best epoch is a dashed line."""
    frame = Frame(64, 12, 300 if chart.square else 430, 300 if chart.square else 260, chart.across, chart.up)
    parts = [frame.grid(labels=True)]
    if chart.diagonal:
        parts.append(element("polyline", points=frame.path([(0, 0), (1, 1)]), class_="chance"))
    if chart.best is not None:
        x = frame.x(min(max(chart.best, chart.across.low), chart.across.high))
        parts.append(element("line", x1=x, x2=x, y1=frame.top, y2=frame.bottom, class_="best"))
    for line in chart.lines:
        look = "" if chart.square else dashes(line.index)
        path = frame.path(_thinned(line.points))
        parts.append(element("polyline", points=path, class_=f"curve {colour(line.index)}", stroke_dasharray=look))
        if not chart.square and len(line.points) <= _MOST_MARKS:
            parts += [marker(line.index, frame.x(x), frame.y(y), 3.0) for x, y in line.points]
    size = round(frame.left + frame.width + 16), round(frame.top + frame.height + 46)
    return picture(plain(chart.title), chart.description, *parts, size=size)


def _thinned(points: tuple[tuple[float, float], ...], most: int = 2000) -> list[tuple[float, float]]:
    """At most about so many of them, the last among them."""
    every = max(1, len(points) // most)
    return [*points[::every], *points[-1:]]
