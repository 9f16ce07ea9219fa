"""Templates in Markdown, and the notes that every form of the report says around its tables."""

from __future__ import annotations

from typing import Any

from bench.reports.content.text import escape


def environment() -> Any:
    """Templates that lie beside this file; `text` makes Markdown of data."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found: Any = Environment(
        loader=PackageLoader("bench.reports", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["text"] = escape
    return found


def notes(parts: dict[str, Any]) -> Any:
    """The macros of notes.md.j2: each gives one paragraph in Markdown, on what `parts` of a report say."""
    return environment().get_template("notes.md.j2").make_module(parts)
