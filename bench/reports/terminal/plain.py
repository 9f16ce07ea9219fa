"""Text for a terminal of any encoding: pure ASCII, at most 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from bench.reports.content.text import plain

WIDTH = 80
_SPELLED = str.maketrans(
    {"−": "-", "–": "-", "—": "-", "×": "x", "→": ">", "…": "~", "Δ": "d", "“": '"', "”": '"', "’": "'"}
)


def ascii_(text: object) -> str:
    """On one line; characters that ASCII has no likeness of as question marks."""
    return plain(text).translate(_SPELLED).encode("ascii", "replace").decode()


def wrapped(texts: Iterable[str], indent: str = "  ", first: str = "") -> list[str]:
    """The lines of all texts: a text's first line begins with `first`, those that follow it with `indent`."""
    return [
        line
        for text in texts
        for line in textwrap.wrap(ascii_(text), WIDTH, initial_indent=first, subsequent_indent=indent)
    ]
