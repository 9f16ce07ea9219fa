"""report.html: one file that needs no network and no server, from what report.md says and the same records."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.records import Evaluation, RunRecord, ScoresFile
from bench.reports.content.text import MIB, NONE, escape, number, plain
from bench.reports.content.verdict import weighs
from bench.reports.html import chart, curves, galleries, trade
from bench.reports.html.comparison import comparison
from bench.reports.html.counts import counts, marks
from bench.reports.html.inline import inline, text_of
from bench.reports.html.pictures import Pictures, ranks
from bench.reports.markdown import notes
from bench.reports.pictures.figures import comparable_latencies

if TYPE_CHECKING:
    from markupsafe import Markup

HERE = Path(__file__).parent


def page(
    run: RunRecord, evaluation: Evaluation, numbers: ScoresFile, parts: dict[str, Any], pictures: Pictures | None
) -> str:
    """The whole page. `numbers` is what scores.json holds, `parts` what report.md says, in Markdown."""
    from markupsafe import Markup

    # Where nothing speaks for a smaller AUC, what comes first is no recommendation, and report.md makes none.
    choice = evaluation.choice if evaluation.choice and weighs(evaluation.choice) else None
    style, script = (_without_end(HERE / name) for name in ("report.css", "report.js"))
    environment = _environment(run)
    text: str = environment.get_template("page.html.j2").render(
        **parts,
        notes=notes(parts),
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
        choice=choice,
        compared=comparison(run, choice, numbers, parts),
        points=[(name, one.fixed) for name, one in evaluation.variants.items()],
        marks=marks(run, evaluation),
        flip_counts={name: one.flips for name, one in evaluation.variants.items() if one.flips},
        counts=_data(run, evaluation),
        pictures=pictures,
        galleries=galleries.galleries(run, evaluation, pictures),
        most=ranks(run, pictures is not None),
        flipped=galleries.flipped_rows(run, evaluation),
        other_reasons=galleries.other_reasons(run, evaluation) if pictures else {},
        **_plots(run, evaluation),
    )
    return text


def _data(run: RunRecord, evaluation: Evaluation) -> dict[str, Any]:
    """What the script reads: counts, where plots draw the threshold, and of whom it tells at each: `told`, by place."""
    names = list(evaluation.variants)
    wanted = (evaluation.choice.chosen if evaluation.choice else None, run.baseline.name, *names[:1])
    told = list(dict.fromkeys(names.index(name) for name in wanted if name in names))[:2]
    return {**counts(run, evaluation), "cut": {"left": curves.CUT[0], "width": curves.CUT[2]}, "told": told}


def _environment(run: RunRecord) -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment: Any = Environment(
        loader=PackageLoader("bench.reports", "html"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    places = {variant.name: place for place, variant in enumerate(run.variants)}
    by_cell = {f"**{escape(name)}**": place for name, place in places.items()}
    environment.filters |= {"inline": inline, "text_of": text_of, "plain": plain, "rate": _rate}
    environment.globals |= {"places": places, "swatch": chart.swatch, "NONE": NONE, "swatch_of": _swatches(by_cell)}
    return environment


def _swatches(by_cell: dict[str, int]) -> Any:
    def swatch_of(cell: str) -> Markup | str:
        """How the variant that a cell names is drawn; nothing before other cells."""
        return chart.swatch(by_cell[cell]) if cell in by_cell else ""

    return swatch_of


def _rate(value: float | None) -> str:
    return number(value, 3)


def _without_end(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    assert "</" not in text, f"{path.name} would end its own element"
    return text


def _policy(style: str, script: str) -> str:
    """Nothing is loaded but pictures that are in the page, nothing executed but what has these digests."""

    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest(style)}'; "
        f"script-src 'sha256-{digest(script)}'; base-uri 'none'; form-action 'none'"
    )


def _plots(run: RunRecord, evaluation: Evaluation) -> dict[str, Any]:
    """The plots that the evaluation allows."""
    scored = [
        (place, one.name, evaluation.variants[one.name])
        for place, one in enumerate(run.variants)
        if one.name in evaluation.variants and evaluation.variants[one.name].auc is not None
    ]
    names = {name for _, name, _ in scored}
    choice, trades = evaluation.choice, []
    sizes = {one.name: one.footprint.size_bytes / MIB for one in run.variants if one.footprint and one.name in names}
    if sizes:
        front = choice.front_by_size if choice else ()
        trades.append(
            trade.trade("File size against AUC", sizes, scored, "size of the shipped file (MiB)", front, run.margin)
        )
    latencies, where = comparable_latencies(run, evaluation)
    if len(latencies.keys() & names) > 1:
        below = f"median latency at batch 1 (ms, {where})"
        front = choice.front_by_latency if choice else ()
        trades.append(trade.trade("Latency against AUC", latencies, scored, below, front, run.margin))
    return {
        "trades": trades,
        "roc": curves.roc(scored) if scored else None,
        "reliability": curves.reliability(scored),
        "spreads": curves.spreads(evaluation, run.threshold),
    }
