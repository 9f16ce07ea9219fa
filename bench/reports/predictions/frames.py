"""The frame around a picture: green where it is called what it is, orange where not, grey where nobody knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.records import ClassName
from bench.reports.pictures.decisions import HIT, MISS

if TYPE_CHECKING:
    from PIL.Image import Image

_UNKNOWN = "#6e7680"


def outcome(called: ClassName, label: ClassName | None) -> str:
    """In a word: "right", "wrong", or "" where the label is unknown."""
    return "" if label is None else "right" if called == label else "wrong"


def framed(picture: Image, called: ClassName, label: ClassName | None, p_fake: float) -> Image:
    """A picture with a frame, and below it what it is called, what it is, and P(fake)."""
    from PIL import Image, ImageDraw, ImageFont

    colour = {"right": HIT, "wrong": MISS, "": _UNKNOWN}[outcome(called, label)]
    width = max(4, picture.width // 48)
    size = max(11, picture.width // 18)
    band = round(1.7 * size)
    whole = Image.new("RGB", (picture.width + 2 * width, picture.height + width + band), colour)
    whole.paste(picture, (width, width))
    truth = f"{called}, {outcome(called, label)}" if label else called
    middle = (whole.width / 2, picture.height + width + band / 2)
    text = f"{truth}: P(fake) {p_fake:.3f}"
    ImageDraw.Draw(whole).text(middle, text, "white", ImageFont.load_default(size), anchor="mm")
    return whole
