"""report.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.reports.content.frame_sets import AllSets
from bench.reports.content.report import Report
from bench.reports.content.side_by_side import Overall
from bench.reports.content.side_by_side_on_sets import OverallOnSets
from bench.reports.markdown import write
from bench.reports.markdown.galleries import MarkdownGalleries
from bench.reports.markdown.videos import MarkdownVideos
from bench.reports.templates import environment

_FILTERS = {"text": write.escape, "words": write.words, "table": write.table}


def markdown(
    report: Report,
    figures: list[tuple[str, str]],
    galleries: MarkdownGalleries | None,
    flipped_videos: list[MarkdownVideos],
    above: str = "",
) -> str:
    """The whole report. `figures` are titles and file names; `above` is where the report of all lies, if any."""
    template = environment(Path(__file__).parent, _FILTERS, keep_trailing_newline=True).get_template("report.md.j2")
    return template.render(
        **vars(report), figures=figures, galleries=galleries, flipped_videos=flipped_videos, above=above
    )


def frame_sets(report: AllSets, tables: Sequence[tuple[str, str]]) -> str:
    """The whole report of several frame sets. `tables` are names and paths of the files with its tables."""
    template = environment(Path(__file__).parent, _FILTERS, keep_trailing_newline=True).get_template("frame_sets.md.j2")
    return template.render(**vars(report), tables=tables)


def side_by_side(overall: Overall, figures: list[list[tuple[str, str]]], tables: Sequence[tuple[str, str]]) -> str:
    """The whole report of several detectors. `figures` are titles and file names, by section; `tables` as above."""
    template = environment(Path(__file__).parent, _FILTERS, keep_trailing_newline=True).get_template(
        "side_by_side.md.j2"
    )
    sections = list(zip(overall.sections, figures, strict=True))
    return template.render(**{**vars(overall), "sections": sections}, tables=tables)


def side_by_side_on_sets(
    overall: OverallOnSets, figures: list[list[tuple[str, str]]], tables: Sequence[tuple[str, str]]
) -> str:
    """The whole report of several detectors on several frame sets; `figures` and `tables` as above."""
    name = "side_by_side_on_sets.md.j2"
    template = environment(Path(__file__).parent, _FILTERS, keep_trailing_newline=True).get_template(name)
    sections = list(zip(overall.sections, figures, strict=True))
    return template.render(**{**vars(overall), "sections": sections}, tables=tables)
