"""report.md."""

from __future__ import annotations

from typing import Any

from bench.reports.content.report import Report
from bench.reports.markdown import write
from bench.reports.markdown.galleries import MarkdownGalleries


def markdown(report: Report, figures: list[tuple[str, str]], galleries: MarkdownGalleries | None) -> str:
    """The whole report. `figures` are titles and file names."""
    template = _environment().get_template("report.md.j2")
    text: str = template.render(**vars(report), figures=figures, galleries=galleries)
    return text


def _environment() -> Any:
    """Templates beside this file, with filters that write data, sentences and tables."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment: Any = Environment(
        loader=PackageLoader("bench.reports", "markdown"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"text": write.escape, "words": write.words, "table": write.table}
    return environment
