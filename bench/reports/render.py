"""One report: overlays, figures, report.md, and scores.json last."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import write_atomically
from bench.records import Outcome, Preprocessing, Run
from bench.reports import figures, tables
from bench.reports.evidence import Evidences
from bench.reports.gallery import Verdicts, draw_overlays, verdicts
from bench.reports.insights import insights, warnings
from bench.reports.scores import scores
from bench.reports.text import counted, escape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TITLES: dict[Outcome, str] = {
    "true_positives": "Resolved fakes (true positives)",
    "false_negatives": "Missed fakes (false negatives)",
    "false_positives": "Reals labelled fake (false positives)",
    "true_negatives": "Confirmed reals (true negatives)",
}


def render(
    run: Run, evidences: Evidences, pixels: Callable[[str], NDArray[np.uint8]], results: Path, report: Path
) -> None:
    """Write report.md, its figures and scores.json into `report`, and overlays below `results`.

    `evidences` has every variant with status "ok"; `pixels(frame)` is a test frame as the networks
    saw it, uint8 RGB [size, size, 3], asked for only where an overlay is missing or out of date.
    `results` is the experiment's folder; every file is written atomically, scores.json last.
    """
    ordered = {variant.name: evidences[variant.name] for variant in run.variants if variant.status == "ok"}
    ranked = verdicts(ordered, run.threshold)
    draw_overlays(run, ordered, ranked, pixels, results)
    drawn = figures.draw(run, ordered, report)
    markdown = _markdown(run, ordered, ranked, drawn, (results, report))
    numbers = json.dumps(scores(run, ordered), indent=1, allow_nan=False)
    write_atomically(report / "report.md", lambda file: file.write(markdown.encode()))
    write_atomically(report / "scores.json", lambda file: file.write(numbers.encode() + b"\n"))


def _markdown(
    run: Run, evidences: Evidences, ranked: Verdicts, drawn: list[tuple[str, str]], folders: tuple[Path, Path]
) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment: Any = Environment(
        loader=PackageLoader("bench.reports", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["text"] = escape
    timed = any(variant.measurements for variant in run.variants if variant.status == "ok")
    baseline = evidences.get(run.variants[0].name)
    text: str = environment.get_template("report.md.j2").render(
        run=run,
        test=run.frames["test"],
        evidences=evidences,
        opening=_opening(run),
        warnings=[
            *warnings(run, baseline.score if baseline else None, baseline.auc_standard_error if baseline else None),
            *map(escape, run.warnings),
        ],
        failed=[variant for variant in run.variants if variant.status != "ok"],
        noted=[variant for variant in run.variants if variant.notes],
        insights=insights(run, evidences),
        figures=drawn,
        performance=tables.performance(run, evidences),
        classification=tables.classification(evidences),
        galleries=[(title, tables.gallery(run, ranked, outcome, *folders)) for outcome, title in TITLES.items()],
        execution=tables.execution(run),
        timings=tables.timings(run) if timed else "",
        conditions=tables.conditions(run),
        provenance=tables.provenance(run),
    )
    return text


def _opening(run: Run) -> str:
    """Who was compressed, judged by what, where."""
    test = run.frames["test"]
    sources = f" from {counted(test.sources, 'source')}" if test.sources else ""
    places = dict.fromkeys(
        f"{one.executed.device} ({one.executed.device_name})" for one in run.variants if one.executed is not None
    )
    where = f" It ran on {escape(' and '.join(places))}." if places else ""
    return (
        f"Detector **{escape(run.detector)}** ({escape(run.architecture)}, {escape(_input(run.preprocessing))}) "
        f"in {counted(len(run.variants), 'variant')}, judged on {counted(test.count, 'test frame')} "
        f"({test.fake:,} fake, {test.real:,} real){sources} in {escape(test.root)}.{where}"
    )


def _input(preprocessing: Preprocessing) -> str:
    blend = f", {preprocessing.wavelet} wavelet blend" if preprocessing.wavelet != "none" else ""
    return f"{preprocessing.size} × {preprocessing.size} px {preprocessing.channels.upper()}{blend}"
