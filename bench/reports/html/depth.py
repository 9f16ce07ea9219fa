"""Where the loss sits, drawn over the network's depth as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.reports.content.axes import Axis, ticks
from bench.reports.content.depth import Bar, Depth, Look
from bench.reports.content.text import number, plain
from bench.reports.html.chart import Frame, element, picture

if TYPE_CHECKING:
    from markupsafe import Markup

_WIDTH, _LEFT, _RIGHT = 720, 50, 8
_HIGH, _LOW = 150, 60
_BETWEEN = 14
# Names of parts are written in the first of these lines in which those before leave room, at about so much a letter.
_LETTER = 7.2
_LINES = (15, 29)

LEGEND: dict[Look, str] = {
    "eight": "eight bits",
    "four": "four bits",
    "float": "stays in float",
    "narrowed": "lost channels",
    "whole": "whole",
}


def pictures(depths: Sequence[Depth]) -> list[tuple[Depth, Markup]]:
    """Each step with its picture."""
    return [(depth, _picture(depth)) for depth in depths]


def _picture(depth: Depth) -> Markup:
    """Bars of noise from the input to the output; below them the channels that are left, where a step takes any."""
    count = len(depth.bars)
    # One layer fills no whole picture.
    across = Axis("", 0.0, float(max(count, 4)), ())
    noise = _frame(22.0, _HIGH, across, max((bar.share or 0.0 for bar in depth.bars), default=0.0) or 1.0)
    frames = [noise]
    parts = [*_legend(depth), noise.grid(labels=False), _title("share of the foretold noise", noise)]
    parts += [_bar(noise, index, bar, bar.share) for index, bar in enumerate(depth.bars)]
    if depth.of_channels:
        left = _frame(noise.bottom + 2 * _BETWEEN, _LOW, across, 1.0)
        frames.append(left)
        parts += [left.grid(labels=False), _title("channels left", left)]
        parts += [_bar(left, index, bar, bar.left) for index, bar in enumerate(depth.bars)]
    parts += _names_of_parts(depth, frames)
    height = round(frames[-1].bottom + _LINES[-1] + 11)
    noisiest = sorted((bar for bar in depth.bars if bar.share), key=lambda bar: -(bar.share or 0.0))[:5]
    shown = "; ".join(f"{bar.name} {number(100 * (bar.share or 0.0), 1)} %" for bar in noisiest)
    title = f"Where the loss of {plain(depth.name)} sits ({plain(depth.step)})"
    return picture(title, f"Share of the foretold noise, layer by layer. Most: {shown}.", *parts, size=(_WIDTH, height))


def _frame(top: float, height: float, across: Axis, most: float) -> Frame:
    marks = tuple((value, f"{number(100 * value, 1).removesuffix('.0')} %") for value in ticks(0.0, most, 3))
    return Frame(_LEFT, top, _WIDTH - _LEFT - _RIGHT, height, across, Axis("", 0.0, 1.05 * most, marks))


def _title(words: str, frame: Frame) -> Markup:
    return element("text", words, x=frame.right, y=frame.top - 6, text_anchor="end", class_="quiet")


def _bar(frame: Frame, index: int, bar: Bar, height: float | None) -> Markup:
    """A bar with its number as a tooltip; a layer in float is a mark below the axis."""
    wide = frame.x(index + 1) - frame.x(index)
    left = frame.x(index) + 0.1 * wide
    shown = {"class_": f"layer {bar.look}"}
    if height is None:
        title = element("title", f"{bar.name}: {LEGEND[bar.look]}")
        return element("rect", title, x=left, y=frame.bottom + 1, width=0.8 * wide, height=4.0, **shown)
    title = element("title", f"{bar.name}: {number(100 * height, 1)} %")
    top = frame.y(height)
    return element("rect", title, x=left, y=top, width=0.8 * wide, height=max(frame.bottom - top, 0.5), **shown)


def _names_of_parts(depth: Depth, frames: Sequence[Frame]) -> list[Markup]:
    """A line where each part of the network begins, and its name below, where there is room."""
    drawn: list[Markup] = []
    free = dict.fromkeys(_LINES, 0.0)
    for index, name in depth.parts:
        x = frames[0].x(index)
        drawn += [element("line", x1=x, x2=x, y1=frame.top, y2=frame.bottom, class_="grid") for frame in frames]
        wide = _LETTER * len(name)
        line = next((line for line in _LINES if x >= free[line]), None)
        if line is not None and x + wide <= _WIDTH:
            drawn.append(element("text", name, x=x, y=frames[-1].bottom + line, class_="quiet"))
            free[line] = x + wide + 6
    return drawn


def _legend(depth: Depth) -> list[Markup]:
    """What the colours are, of those that the picture has."""
    drawn: list[Markup] = []
    x = float(_LEFT)
    for look, words in LEGEND.items():
        if any(bar.look == look for bar in depth.bars):
            drawn.append(element("rect", x=x, y=4, width=11, height=11, class_=f"layer {look}"))
            drawn.append(element("text", words, x=x + 16, y=14))
            x += 30 + _LETTER * len(words)
    return drawn
