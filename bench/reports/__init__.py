"""Room 4: from what a run measured to something a person can read. No torch; heavy imports are late."""

from bench.reports.bundle import bundle, is_whole
from bench.reports.content.warnings import plain_warnings
from bench.reports.pictures.gallery import rows_in_galleries
from bench.reports.render import render, render_on_sets, render_side_by_side, render_side_by_side_on_sets
from bench.reports.scores_json import SCORES, as_text, read_scores
from bench.reports.terminal.frame_sets import summary_on_sets
from bench.reports.terminal.side_by_side import summary_of_all
from bench.reports.terminal.summary import summary

__all__ = [
    "SCORES",
    "as_text",
    "bundle",
    "is_whole",
    "plain_warnings",
    "read_scores",
    "render",
    "render_on_sets",
    "render_side_by_side",
    "render_side_by_side_on_sets",
    "rows_in_galleries",
    "summary",
    "summary_of_all",
    "summary_on_sets",
]
