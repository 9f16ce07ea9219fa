"""Templates of inspections and predictions: Markdown, and pages with the report's look that need no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.reports.content.text import NONE, plain
from bench.reports.html import FOLDER, chart, policy_of
from bench.reports.html import write as html_write
from bench.reports.markdown import write as markdown_write
from bench.reports.templates import environment

_FOLDER = Path(__file__).parent


def markdown(template: str, context: Mapping[str, Any], folder: Path = _FOLDER) -> str:
    """The Markdown of a template in `folder`."""
    filters = {
        "text": markdown_write.escape, "words": markdown_write.words, "table": markdown_write.table, "to": _linked,
    }  # fmt: skip
    return environment(folder, filters, keep_trailing_newline=True).get_template(template).render(**context)


def html(template: str, context: Mapping[str, Any], variants: Sequence[str], folder: Path = _FOLDER) -> str:
    """A page of a template in `folder`; `variants` are looks in the order of their colours."""
    from jinja2 import ChoiceLoader, FileSystemLoader
    from markupsafe import Markup

    files = dict.fromkeys((FOLDER / "report.css", _FOLDER / "inspection.css", *sorted(folder.glob("*.css"))))
    style = "".join(file.read_text(encoding="utf-8") for file in files)
    filters = {"words": html_write.words, "cell": html_write.cell, "plain": plain, "sort_value": html_write.sort_value}
    loaded = environment(folder, filters, autoescape=True)
    loaded.loader = ChoiceLoader([FileSystemLoader(folder), FileSystemLoader(FOLDER)])
    loaded.globals.update(
        swatch=chart.swatch, NONE=NONE, indices={name: index for index, name in enumerate(variants)}
    )  # fmt: skip
    return loaded.get_template(template).render(**context, style=Markup(style), policy=policy_of(style, ""))


def _linked(path: str) -> str:
    from urllib.parse import quote

    return quote(path, safe="/")
