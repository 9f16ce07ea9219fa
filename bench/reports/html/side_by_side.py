"""report.html of several detectors: the comparison, and the way to the page of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.reports.content.side_by_side import Overall, Section
from bench.reports.content.text import NONE, plain
from bench.reports.html import FOLDER, chart, plots, policy_of, write
from bench.reports.templates import environment


def page(overall: Overall, reports: Sequence[tuple[str, str]]) -> str:
    """The whole page; `reports` are the names of the detectors, and where the page of each lies."""
    from markupsafe import Markup

    style = "".join((FOLDER / name).read_text(encoding="utf-8") for name in ("report.css", "side_by_side.css"))
    filters = {"words": write.words, "cell": write.cell, "plain": plain, "sort_value": write.sort_value}
    templates = environment(FOLDER, filters, autoescape=True)
    templates.globals.update(swatch=chart.swatch, NONE=NONE)
    return templates.get_template("side_by_side.html.j2").render(
        experiment=overall.experiment,
        warnings=overall.warnings,
        sections=[_with_pictures(section) for section in overall.sections],
        reports=reports,
        style=Markup(style),
        policy=policy_of(style, ""),
    )


def _with_pictures(section: Section) -> dict[str, Any]:
    trades = [(plots.trade(trade), trade.caption) for trade in section.plots.trades]
    return vars(section) | {"trades": trades}
