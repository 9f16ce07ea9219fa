"""report.html of several detectors: the comparison, and the way to the page of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.reports.content.side_by_side import Overall, Section
from bench.reports.content.side_by_side_on_sets import OverallOnSets
from bench.reports.content.text import NONE, plain
from bench.reports.html import FOLDER, chart, plots, policy_of, write
from bench.reports.templates import environment

if TYPE_CHECKING:
    from jinja2 import Environment


def page(overall: Overall, reports: Sequence[tuple[str, str]], tables: Sequence[tuple[str, str]]) -> str:
    """The whole page; `reports` are the names of the detectors, and where the page of each lies; `tables` of files."""
    loaded, style = templates()
    return loaded.get_template("side_by_side.html.j2").render(
        experiment=overall.experiment,
        warnings=overall.warnings,
        sections=[_with_pictures(section) for section in overall.sections],
        reports=reports,
        tables=tables,
        **style,
    )


def page_on_sets(
    overall: OverallOnSets, reports: Mapping[str, Sequence[tuple[str, str]]], tables: Sequence[tuple[str, str]]
) -> str:
    """The whole page of several frame sets; `reports` are the same by the name of the set."""
    loaded, style = templates()
    return loaded.get_template("side_by_side_on_sets.html.j2").render(
        **vars(overall) | {"sections": [_with_pictures(section) for section in overall.sections]},
        reports=reports,
        tables=tables,
        **style,
    )


def templates() -> tuple[Environment, dict[str, Any]]:
    """The templates of pages without a script, and their style and policy, by the names they have there."""
    from markupsafe import Markup

    style = "".join((FOLDER / name).read_text(encoding="utf-8") for name in ("report.css", "side_by_side.css"))
    filters = {"words": write.words, "cell": write.cell, "plain": plain, "sort_value": write.sort_value}
    loaded = environment(FOLDER, filters, autoescape=True)
    loaded.globals.update(swatch=chart.swatch, NONE=NONE)
    return loaded, {"style": Markup(style), "policy": policy_of(style, "")}


def _with_pictures(section: Section) -> dict[str, Any]:
    trades = [(plots.trade(trade), trade.caption) for trade in section.plots.trades]
    return vars(section) | {"trades": trades}
