"""One report: overlays, figures, the ledger of flips, report.md, report.html, and scores.json last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import phases
from bench.files import write_atomically, write_text
from bench.records import Evaluation, Preprocessing, RunRecord, ScoresFile
from bench.reports import html
from bench.reports.content import changes, measured, tables, verdict
from bench.reports.content.insights import insights, warnings
from bench.reports.content.text import counted, escape
from bench.reports.html.pictures import pictured
from bench.reports.markdown import environment as markdown_environment
from bench.reports.markdown import galleries, notes
from bench.reports.pictures import figures
from bench.reports.pictures.gallery import Galleries, draw_overlays
from bench.reports.pictures.gallery import galleries as choose
from bench.reports.scores_json import as_text, scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEDGER = "flips.csv"
# By OWASP's page on CSV injection, with the full-width forms that spreadsheets take for the same.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
COLOUR_BAR = "heatmap_colours.png"
THUMBNAILS = ".thumbnails"


def render(
    run: RunRecord,
    evaluation: Evaluation,
    pixels: Callable[[str], NDArray[np.uint8]] | None,
    results: Path | None,
    report: Path,
) -> None:
    """Write report.md, its figures, report.html, flips.csv and scores.json into `report`, and overlays below `results`.

    `pixels(frame)` is a test frame as the networks saw it, uint8 RGB [size, size, 3], asked for only
    where an overlay or a thumbnail is missing or out of date. `results` is the experiment's folder. Both are None
    where there are only scores, and no galleries then. Every file is written atomically, scores.json last.
    """
    shown = None
    if pixels is not None and results is not None:
        phases.begin("drawing galleries")
        shown = choose(run, evaluation)
        draw_overlays(run, evaluation, shown, pixels, results)
    phases.begin("drawing figures")
    drawn = figures.draw(run, evaluation, report)
    ledger = _write_ledger(run, evaluation, report)
    phases.begin("writing the pages")
    numbers = scores(run, evaluation)
    pictures = (
        _galleries(run, evaluation, shown, results, report) if shown is not None and results is not None else None
    )
    parts = gathered(run, evaluation, numbers, ledger=ledger)
    markdown = _markdown(parts, figures=drawn, galleries=pictures)
    stored = pictured(run, evaluation, pixels, report / THUMBNAILS)
    page = html.page(run, evaluation, numbers, parts, stored)
    write_text(report / "report.md", markdown)
    write_text(report / "report.html", page)
    write_text(report / "scores.json", f"{as_text(numbers)}\n")


def _write_ledger(run: RunRecord, evaluation: Evaluation, report: Path) -> bool:
    found = changes.ledger(run, evaluation)
    if found is None:
        (report / LEDGER).unlink(missing_ok=True)
        return False
    # People open it in a spreadsheet, and names of frames come from strangers.
    for name in ("frame", "source", "variant"):
        found[name] = found[name].map(_no_formula, na_action="ignore")
    write_atomically(report / LEDGER, lambda file: found.to_csv(file, index=False, errors="replace"))
    return True


def _no_formula(cell: object) -> object:
    """Text as a spreadsheet shows it: what it would take for a formula gets an apostrophe in front."""
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip(" ").startswith(_FORMULAS) else cell


def _galleries(run: RunRecord, evaluation: Evaluation, shown: Galleries, results: Path, report: Path) -> dict[str, Any]:
    """The colours' key, and by kind, titles and tables: frames of each outcome, and pairs."""
    flipped = {name: len(one.flips.rows) for name, one in evaluation.variants.items() if one.flips}
    other = {name: len(one.drift.other_reason) for name, one in evaluation.variants.items() if one.drift}
    pairs = [
        ("Largest flips", galleries.of_pairs(run, shown.flips, flipped, results, report)),
        ("Right for another reason", galleries.of_pairs(run, shown.other_reason, other, results, report)),
    ]
    has_maps = any(one.cam is not None for one in evaluation.predictions.values())
    if has_maps:
        figures.colour_bar(report / COLOUR_BAR)
    return {
        "colour_bar": COLOUR_BAR if has_maps else None,
        "outcomes": galleries.of_outcomes(run, shown, results, report),
        "pairs": [(title, found) for title, found in pairs if found],
    }


def gathered(run: RunRecord, evaluation: Evaluation, numbers: ScoresFile, *, ledger: bool) -> dict[str, Any]:
    """What every form of the report says, pictures aside: sentences and tables, all in Markdown."""
    return {
        "run": run,
        "test": run.frames["test"],
        "baseline_judged": run.baseline.name in evaluation.variants,
        "judged": bool(evaluation.variants),
        "opening": _opening(run),
        "warnings": [*warnings(run, numbers), *map(escape, run.warnings)],
        "answer": verdict.answer_sentences(run, evaluation),
        "verdicts": verdict.overview(run, evaluation),
        "method": verdict.method(run, evaluation),
        "noted": measured.noted(run),
        "insights": insights(run, evaluation),
        "performance": tables.performance(run, evaluation),
        "classification": tables.classification(evaluation),
        "thresholds": tables.thresholds(evaluation),
        "at_thresholds": tables.at_thresholds(evaluation),
        "ranking": tables.ranking(evaluation),
        "flips": changes.flips(evaluation),
        "drift": changes.drift(evaluation),
        "slices": changes.slices(run, evaluation),
        "worst": changes.worst(evaluation),
        "not_sliced": evaluation.not_sliced,
        "ablation": changes.ablation(evaluation),
        "execution": measured.execution(run),
        "evaluations": measured.evaluations(run),
        "timings": measured.timings(run, evaluation),
        "conditions": measured.conditions(run),
        "provenance": measured.provenance(run),
        "ledger": ledger,
    }


def _markdown(parts: dict[str, Any], **pictures: Any) -> str:
    environment = markdown_environment()
    text: str = environment.get_template("report.md.j2").render(**parts, **pictures, notes=notes(parts))
    return text


def _opening(run: RunRecord) -> str:
    """Who was compressed, judged by what, where."""
    test = run.frames["test"]
    sources = f" from {counted(test.sources, 'source')}" if test.sources else ""
    frames = f"{counted(test.count, 'test frame')} ({test.fake:,} fake, {test.real:,} real){sources}"
    if run.preprocessing is None:
        return (
            f"Scores from elsewhere of {counted(len(run.variants), 'variant')}, judged on {frames}. Nothing was built, "
            "executed or timed for this report; which files were read stands under Provenance."
        )
    places = dict.fromkeys(
        f"{one.executed.device} ({one.executed.device_name})" for one in run.variants if one.executed is not None
    )
    where = f" It ran on {escape(' and '.join(places))}." if places else ""
    return (
        f"Detector **{escape(run.detector)}** ({escape(run.architecture)}, {escape(_input(run.preprocessing))}) "
        f"in {counted(len(run.variants), 'variant')}, judged on {frames} in {escape(test.root)}.{where}"
    )


def _input(preprocessing: Preprocessing) -> str:
    blend = f", {preprocessing.wavelet} wavelet blend" if preprocessing.wavelet != "none" else ""
    return f"{preprocessing.size} × {preprocessing.size} px {preprocessing.channels.upper()}{blend}"
