"""Sentences and cells as HTML. Text is data: it is escaped, and the only tags are those named here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.reports.content.cells import Cell
from bench.reports.content.spans import Sentence, Span
from bench.reports.content.text import plain

if TYPE_CHECKING:
    from markupsafe import Markup

_TAGS = {"strong": "strong", "emphasis": "em", "code": "code", "docs": "code", "frame": "bdi"}


def words(sentence: Sentence) -> Markup:
    """A sentence, or several of a paragraph."""
    from markupsafe import Markup

    return Markup("").join(map(_span, sentence.spans))


def _span(span: Span) -> Markup:
    from markupsafe import Markup, escape

    if span.style == "plain":
        # The space at its ends separates it from the next.
        before, after = (" " if edge else "" for edge in (span.text[:1].isspace(), span.text[-1:].isspace()))
        return escape(f"{before}{plain(span.text)}{after}" if span.text.strip() else before)
    if span.style == "link":
        return Markup('<a href="{}">{}</a>').format(span.target, plain(span.text))
    tag = _TAGS[span.style]
    return Markup(f"<{tag}>{{}}</{tag}>").format(plain(span.text))


def cell(content: Cell, *, stacked: bool = False) -> Markup:
    """A cell; where `stacked`, its interval is on a line of its own."""
    from markupsafe import Markup

    shown = words(content.text)
    if content.interval:
        # A narrow column breaks before the interval, and never inside of it.
        gap = Markup("<br>") if stacked else Markup(" ")
        shown += gap + Markup('<span class="interval">({})</span>').format(content.interval)
    if content.significant:
        shown += " ∗"
    return Markup("<strong>{}</strong>").format(shown) if content.stressed or content.variant is not None else shown


def sort_value(content: Cell, align: str) -> float | str | None:
    """What a cell sorts by: its number in a column of numbers, else its words; None comes last."""
    return content.value if align == "right" else plain(content)
