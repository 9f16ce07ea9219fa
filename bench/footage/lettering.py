"""Names on pictures: DejaVu Sans, which has Latin, Greek and Cyrillic letters, and escapes for what it has not."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import on_one_line

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont


@cache
def font(size: int) -> FreeTypeFont:
    """DejaVu Sans as it comes with matplotlib, its letters `size` pixels high.

    Pillow's own font has ASCII alone, and draws the same box for every other letter.
    """
    from PIL import ImageFont

    return ImageFont.truetype(_file(), size)


def drawable(text: str) -> str:
    r"""The text with `\u5317` in place of a letter that the font does not have, or that cannot be seen."""
    letters = _letters()
    return "".join(
        letter if ord(letter) in letters else letter.encode("ascii", "backslashreplace").decode("ascii")
        for letter in on_one_line(text)
    )


def fitted(text: str, drawn: FreeTypeFont, width: int) -> str:
    """The text, without its beginning where it is wider than so many pixels."""
    if drawn.getlength(text) <= width:
        return text
    ends = (f"…{text[first:]}" for first in range(1, len(text)))
    return next((end for end in ends if drawn.getlength(end) <= width), "…")


@cache
def _letters() -> frozenset[int]:
    """The code points that the font has."""
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(_file())).get_charmap())


def _file() -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
