"""Text for whoever reads the output: in colour on a terminal (no-color.org), and never a command for anybody."""

from __future__ import annotations

import os
import re
from typing import Literal, TextIO

from bench.errors import on_one_line
from bench.streams import is_terminal

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
# Runners of GitHub, Azure and TeamCity read the output of a job, and obey such lines, blanks before them or not.
_COMMAND = re.compile(r"^\s*::|##(?=\w*\[)")


def harmless(text: str) -> str:
    """The same lines without control characters, and none that a CI system takes for a command."""
    return "\n".join(_COMMAND.sub(_disarmed, on_one_line(line)) for line in text.split("\n"))


def _disarmed(match: re.Match[str]) -> str:
    return f"{match[0][:-1]}\\x{ord(match[0][-1]):02x}"


def painted(text: str, stream: TextIO | None) -> str:
    """The text with what is worth it in colour, if `stream` shows colours; else as it is."""
    if not shows_colours(stream):
        return text
    for pattern, colour in _MARKED:
        text = re.sub(pattern, f"\x1b[{_CODES[colour]}m\\g<0>\x1b[0m", text, flags=re.M)
    return text


def shows_colours(stream: TextIO | None) -> bool:
    """Whether it is a terminal that understands them, and `NO_COLOR` is not set."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
