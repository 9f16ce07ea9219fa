"""Sentences, cells and tables as Markdown. Text is data here: it shows as these characters and never as markup."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote

from bench.reports.content.cells import Cell, Table
from bench.reports.content.spans import Sentence, Span
from bench.reports.content.text import plain

_BACKSLASHED = re.compile(r"([\\`*_\[\]#!])")
# Entities, because tables, autolinks and mathematics are recognised before backslashes are. "< 0.001" opens no tag.
_ENTITIES = str.maketrans({"&": "&amp;", ">": "&gt;", "|": "&#124;", "~": "&#126;", "$": "&#36;"})
_OPENS_TAG = re.compile(r"<(?! )")
RULES = {"left": ":---", "right": "---:", "center": ":---:"}


def escape(value: object) -> str:
    """Data as Markdown text that shows exactly these characters, also in a table cell."""
    return _escaped(plain(value))


def _escaped(text: str) -> str:
    return _OPENS_TAG.sub("&lt;", _BACKSLASHED.sub(r"\\\1", text).translate(_ENTITIES))


def link(target: Path, start: Path) -> str:
    """A link target relative to the folder `start`, percent-encoded."""
    relative = Path(os.path.relpath(target, start)).as_posix()
    return quote(os.fsencode(relative), safe="/")


def words(sentence: Sentence) -> str:
    """A sentence, or several of a paragraph, on one line."""
    return "".join(map(_span, sentence.spans)).strip()


def _span(span: Span) -> str:
    if span.style in ("code", "docs"):
        return f"`{plain(span.text).replace('`', chr(39)).replace('|', chr(166))}`"
    if span.style == "plain":
        return _plain(span.text)
    marks = {"strong": "**", "emphasis": "*", "frame": "_", "link": ""}
    shown = f"{marks[span.style]}{escape(span.text)}{marks[span.style]}"
    return f"[{shown}]({span.target})" if span.style == "link" else shown


def _plain(text: str) -> str:
    """Plain words keep the space at their ends, which separates them from the next."""
    before, after = (" " if edge else "" for edge in (text[:1].isspace(), text[-1:].isspace()))
    inside = escape(text)
    return f"{before}{inside}{after}" if inside else before


def cell(content: Cell, *, stacked: bool = False) -> str:
    """A cell; where `stacked`, its interval is on a line of its own."""
    shown = words(content.text)
    if content.interval:
        shown += f"{'<br>' if stacked else ' '}({escape(content.interval)})"
    if content.significant:
        shown += " ∗"
    return f"**{shown}**" if content.stressed or content.variant is not None else shown


def table(content: Table) -> str:
    """A table of GitHub's Markdown. Without a final newline."""
    titles = [escape(column.title) for column in content.columns]
    rows = [
        [cell(inside, stacked=column.stacked) for inside, column in zip(cells, content.columns, strict=True)]
        for cells in content.rows
    ]
    return lines(titles, [RULES[column.align] for column in content.columns], *rows)


def lines(*rows: list[str]) -> str:
    """Rows whose cells are Markdown already."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
