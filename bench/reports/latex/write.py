r"""Text and cells as LaTeX. Text is data here: it shows as these characters and never as a command.

Characters that the oldest encoding of LaTeX's fonts (OT1) lacks are named by their numbers, as in [U+4E2D].
"""

from __future__ import annotations

import re
import unicodedata

from bench.reports.content.cells import Align, Cell
from bench.reports.content.spans import Span
from bench.reports.content.text import plain

_CHARACTERS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "`": r"\textasciigrave{}", '"': "''",
    # After the end of a row, these two would begin an option and a command of its own.
    "[": "{[}", "]": "{]}", "*": "{*}",
    "−": "$-$", "–": "--", "—": "---", "×": r"$\times$", "≈": r"$\approx$", "Δ": r"$\Delta$", "→": r"$\rightarrow$",
    "∗": "$^{*}$", "±": r"$\pm$", "≤": r"$\leq$", "≥": r"$\geq$", "µ": r"$\mu$", "μ": r"$\mu$", "…": r"\ldots{}",
    "“": "``", "”": "''", "‘": "`", "’": "'", "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "ø": r"\o{}", "Ø": r"\O{}",
    "œ": r"\oe{}", "Œ": r"\OE{}", "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}",
}  # fmt: skip
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
    "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
}  # fmt: skip
_LONGEST_TITLE = 8
SIDES: dict[Align, str] = {"left": "l", "right": "r", "center": "c"}
# Two of these in a row would be drawn as one sign.
_LIGATURES = re.compile(r"([-',])(?=\1)|([?!])(?=`)")


def escape(value: object) -> str:
    """Data as LaTeX that shows exactly these characters."""
    return "".join(map(_character, _LIGATURES.sub(r"\1\2" + "\0", plain(value))))


def _character(character: str) -> str:
    if character == "\0":
        return "{}"
    if character in _CHARACTERS:
        return _CHARACTERS[character]
    if " " <= character <= "~":
        return character
    letter, accent = (*unicodedata.normalize("NFD", character), "")[:2]
    if accent in _ACCENTS and letter.isascii() and letter.isalpha():
        return rf"\{_ACCENTS[accent]}{{{letter}}}"
    return f"{{[}}U+{ord(character):04X}{{]}}"


def _span(span: Span) -> str:
    text = escape(span.text)
    # What stands at its ends separates it from its neighbours.
    before, after = (" " if edge.isspace() else "" for edge in (span.text[:1], span.text[-1:]))
    styled = {"strong": rf"\textbf{{{text}}}", "emphasis": rf"\emph{{{text}}}", "code": rf"\texttt{{{text}}}"}
    return f"{before}{styled.get(span.style, text)}{after if text else ''}"


def cell(content: Cell) -> str:
    """A cell, its interval in parentheses below it, names of variants in bold type."""
    shown = "".join(map(_span, content.text.spans)).strip()
    if content.significant:
        shown += " $^{*}$"
    if content.interval:
        return _stacked(shown, f"({escape(content.interval)})")
    return rf"\textbf{{{shown}}}" if content.stressed or content.variant is not None else shown


def title(text: str, align: Align) -> str:
    """The title of a column, over two lines where it is long."""
    first, space, rest = text.partition(": ") if ": " in text else text.partition(" ")
    if len(text) <= _LONGEST_TITLE or not space:
        return escape(text)
    first += space.rstrip()
    return _stacked(escape(first), escape(rest), SIDES[align])


def _stacked(above: str, below: str, side: str = "r") -> str:
    """Two lines, the first on the line of its row."""
    return rf"\begin{{tabular}}[t]{{@{{}}{side}@{{}}}}{above} \\ {below}\end{{tabular}}"
