"""report.html: one file that needs no network and no server, from the same content as report.md."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.records import Evaluation, RunRecord
from bench.reports.content.exemplars import lost_frames
from bench.reports.content.flipped_videos import flipped_videos
from bench.reports.content.judged import judged
from bench.reports.content.plots import Plots
from bench.reports.content.recommendation import recommend
from bench.reports.content.report import Report
from bench.reports.content.text import NONE, cutoff, number, plain
from bench.reports.html import chart, decision_plots, depth, galleries, plots, regions, write
from bench.reports.html.comparison import comparison
from bench.reports.html.counts import at_thresholds, counts, marks
from bench.reports.html.pictures import Pictures, ranks
from bench.reports.html.videos import timeline
from bench.reports.templates import environment

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).parent


def page(report: Report, evaluation: Evaluation, drawable: Plots, pictures: Pictures | None, above: str = "") -> str:
    """The whole page. `pictures` is None where no frames are at hand; `above` is the page of several detectors."""
    from markupsafe import Markup

    run = report.run
    of = judged(run, evaluation)
    recommended = recommend(of.evaluation.choice, run.baseline.name)
    style, script = (_without_end(FOLDER / name) for name in ("report.css", "report.js"))
    return (
        _templates(run)
        .get_template("page.html.j2")
        .render(
            **vars(report),
            test=run.test,
            style=Markup(style),
            script=Markup(script),
            policy=policy_of(style, script),
            recommended=recommended,
            comparison=comparison(report, of.evaluation),
            points=[(name, scored.fixed) for name, scored in of.evaluation.variants.items()],
            marks=marks(run, of.evaluation),
            judged_flips={name: scored.flips for name, scored in of.evaluation.variants.items() if scored.flips},
            flip_counts={name: judged.flips for name, judged in evaluation.variants.items() if judged.flips},
            counts=_data(run, evaluation, of.evaluation, recommended.chosen),
            pictures=pictures,
            above=above,
            galleries=galleries.galleries(run, evaluation, pictures),
            most=ranks(run, pictures is not None),
            flipped=galleries.flipped_rows(run, evaluation),
            flipped_videos=[
                (of_variant, [(video, timeline(video, run.threshold)) for video in of_variant.drawn])
                for of_variant in flipped_videos(run, evaluation)
            ],
            depth_pictures=depth.pictures(report.depths),
            region_legend=regions.legend(),
            region_bars=[regions.bars(of_outcome) for of_outcome in report.regions],
            lost_frames=lost_frames(run, evaluation, ranks(run, True)),
            other_reasons=galleries.other_reasons(run, evaluation) if pictures else {},
            **_drawn(drawable, run.threshold),
        )
    )


def _data(run: RunRecord, evaluation: Evaluation, judged: Evaluation, chosen: str | None) -> dict[str, Any]:
    """What the script reads: counts, where plots draw the threshold, and the indices of the variants it announces.

    Counts are of what is `judged`; where these are videos, those of frames stand beside them, for galleries.
    """
    names = list(judged.variants)
    first = (chosen, run.baseline.name, *names[:1])
    announced = list(dict.fromkeys(names.index(name) for name in first if name in names))[:2]
    of_galleries = {"galleries": at_thresholds(run, evaluation, judged)} if judged is not evaluation else {}
    of_judged = counts(run, judged) | of_galleries
    return {**of_judged, "cut": {"left": plots.CUT[0], "width": plots.CUT[2]}, "announced": announced}


def _templates(run: RunRecord) -> Environment:
    """Templates beside this file, with filters that write sentences, cells and the looks of variants."""
    filters = {"words": write.words, "cell": write.cell, "plain": plain, "sort_value": write.sort_value}
    filters |= {"rate": _rate, "share": _percent, "cutoff": cutoff}
    templates = environment(FOLDER, filters, autoescape=True)
    templates.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    indices = {variant.name: index for index, variant in enumerate(run.variants)}
    templates.globals.update(indices=indices, swatch=chart.swatch, NONE=NONE)
    return templates


def _rate(value: float | None) -> str:
    return number(value, 3)


def _percent(share: float) -> str:
    return f"{number(100 * share, 1)} %"


def _without_end(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    assert "</" not in text, f"{path.name} would end its own element"
    return text


def policy_of(style: str, script: str) -> str:
    """Nothing is loaded but pictures that are in the page, nothing executed but what has these digests."""

    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest(style)}'; "
        f"script-src 'sha256-{digest(script)}'; base-uri 'none'; form-action 'none'"
    )


def _drawn(drawable: Plots, threshold: float) -> dict[str, Any]:
    """The plots that there are, drawn; the threshold moves on histograms."""
    return {
        "trades": [(plots.trade(trade), trade.caption) for trade in drawable.trades],
        "roc": drawable.roc,
        "roc_panels": plots.roc(drawable.roc) if drawable.roc else [],
        "precision": drawable.precision,
        "precision_panels": decision_plots.precision(drawable.precision) if drawable.precision else [],
        "reliability_panels": plots.reliability(drawable.calibration) if drawable.calibration else [],
        "robustness_panels": plots.robustness(drawable.robustness) if drawable.robustness else [],
        "histograms": plots.histograms(drawable.histograms, threshold),
    }
