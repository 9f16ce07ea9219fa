"""Colour on a terminal: where a person looks at one, and has not asked for none (no-color.org)."""

from __future__ import annotations

import os
import re
from typing import Literal, TextIO

Colour = Literal["red", "green", "yellow", "bold"]

_CODES: dict[Colour, str] = {"red": "31;1", "green": "32", "yellow": "33", "bold": "1"}
# What of a summary is worth a colour; the words say the same without it.
_MARKED: tuple[tuple[str, Colour], ...] = (
    (r"^Model .*", "bold"),
    (r"^ship: .*", "bold"),
    (r"(?<=: )(?:stable|improved)(?= \()", "green"),
    (r"(?<=: )inconclusive(?= \()", "yellow"),
    (r"(?<=: )degraded(?= \()|(?<= )failed:|^error:|^FAILED\b.*", "red"),
    (r"^(?:note|warning):", "yellow"),
)


def painted(text: str, stream: TextIO) -> str:
    """The text with what is worth it in colour, if `stream` shows colours; else as it is."""
    if not shows_colours(stream):
        return text
    for pattern, colour in _MARKED:
        text = re.sub(pattern, f"\x1b[{_CODES[colour]}m\\g<0>\x1b[0m", text, flags=re.M)
    return text


def shows_colours(stream: TextIO) -> bool:
    """Whether it is a terminal that understands them, and `NO_COLOR` is not set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
