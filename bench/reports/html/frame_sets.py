"""report.html of several frame sets: one verdict over all, and the way to the page of each."""

from __future__ import annotations

from collections.abc import Sequence

from bench.reports.content.frame_sets import AllSets
from bench.reports.html.side_by_side import templates


def page(report: AllSets, reports: Sequence[tuple[str, str]], tables: Sequence[tuple[str, str]]) -> str:
    """The whole page; `reports` are the names of the sets, and where the page of each lies; `tables` of files."""
    loaded, style = templates()
    looks = {cells[0].variant: index for index, cells in enumerate(report.variants.rows)}
    given = {"reports": reports, "tables": tables, "looks": looks}
    return loaded.get_template("frame_sets.html.j2").render(**vars(report), **given, **style)
