"""The chart of the parts of the face: a bar for each variant, cut into the shares of the parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.records.inspection import PARTS
from bench.reports.content.regions import RegionsOfOutcome
from bench.reports.content.text import fitted, number
from bench.reports.html.chart import element, picture

if TYPE_CHECKING:
    from markupsafe import Markup

_WIDTH, _LEFT, _BAR, _STEP, _TOP = 760, 150, 18, 27, 6
_LEAST_NAMED = 0.11
"""A narrower part has no room for its name; a pointer shows it."""
_NAME = 20


def legend() -> Markup:
    """The colour of each part."""
    squares = [element("rect", width=12, height=12, class_=f"part part{index}") for index in range(len(PARTS))]
    swatches = [element("svg", square, class_="swatch", viewBox="0 0 12 12", aria_hidden="true") for square in squares]
    named = [element("span", swatch, part) for swatch, part in zip(swatches, PARTS, strict=True)]
    return element("p", *named, class_="legend")


def bars(of_outcome: RegionsOfOutcome) -> Markup:
    """The bars of one outcome, variants below each other; parts are told by name, by their order and by colour."""
    drawn: list[Markup] = []
    for index, (name, frames, shares) in enumerate(of_outcome.bars):
        top, left = _TOP + index * _STEP, float(_LEFT)
        label = f"{fitted(name, _NAME)} ({frames:,})" if frames else name
        drawn.append(element("text", label, x=_LEFT - 8, y=top + 13, text_anchor="end"))
        for number_of_part, (part, share) in enumerate(shares):
            width = share * (_WIDTH - _LEFT - 10)
            tooltip = f"{part}: {number(100 * share, 1)} %"
            bar = element(
                "rect", element("title", tooltip), x=left, y=top, width=max(width, 0.0), height=_BAR,
                class_=f"part part{number_of_part}",
            )  # fmt: skip
            drawn.append(bar)
            if share >= _LEAST_NAMED:
                words = {"x": left + width / 2, "y": top + 13, "text_anchor": "middle"}
                drawn.append(element("text", part, class_=f"in-part{number_of_part}", **words))
            left += width
    description = "; ".join(
        f"{name}: {', '.join(f'{part} {number(100 * share, 0)} %' for part, share in shares)}"
        for name, _, shares in of_outcome.bars
    )
    height = _TOP + len(of_outcome.bars) * _STEP
    return picture(f"Parts of the face: {of_outcome.title}", description, *drawn, size=(_WIDTH, height))
