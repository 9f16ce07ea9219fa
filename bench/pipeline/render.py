"""Fourth stage: score and render what `results/<experiment>/` holds, without torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench import datasets, reports
from bench.errors import UserError
from bench.experiment import ExperimentSettings
from bench.files import sweep, write_text
from bench.provenance import digest, version
from bench.records import Event, OnEvent, Run, Score, silent
from bench.results import predict, score, store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

REPORT, MARK = "report.md", ".rendered"


@dataclass(frozen=True)
class Finished:
    """A rendered experiment: its run, the scores of the variants that have some, its report; the run's log if any."""

    run: Run
    scores: dict[str, Score]
    report: Path
    log: Path | None = None

    @property
    def ending(self) -> str:
        """How the run went, in one line."""
        fallen = [variant.name for variant in self.run.variants if variant.status == "failed"]
        told = "".join(f"\nwarning: {warning}" for warning in self.warnings)
        return f"ended: {len(self.run.variants)} variants, failed: {', '.join(fallen) or 'none'}{told}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What must be read before any number."""
        baseline = self.scores.get(self.run.variants[0].name)
        error = score.auc_standard_error(baseline) if baseline else None
        found = reports.warnings(self.run, baseline, error)
        return (*(text.replace("**", "").replace("\\", "") for text in found), *self.run.warnings)


def report(
    base: Path, name: str, settings: ExperimentSettings, *, again: bool = False, on_event: OnEvent = silent
) -> Finished:
    """Score and render an experiment from its stored results, with the threshold and gallery of `settings`.

    What was rendered from the same results by the same version stands, unless `again`.
    """
    results, folder = base / "results" / name, base / "reports" / name
    run = _as_set(store.read_run(results), settings)
    store.write_run(results, run)
    mark = _mark(results)
    if not again and _read(folder / MARK) == mark and reports.is_whole(folder):
        return Finished(run, reports.read_scores(folder), folder / REPORT)
    for variant in run.variants:
        if variant.status == "ok" and not predict.is_done(results / variant.name, variant.predictions_key):
            raise UserError(f"{results / variant.name}: has changed since the last whole run; `bench run` completes it")
    evidences = {v.name: _evidence(results / v.name, run.threshold) for v in run.variants if v.status == "ok"}

    drawn, wanted = 0, run.frames["test"].count

    def pixels(frame: str) -> NDArray[np.uint8]:
        nonlocal drawn
        drawn += 1
        if run.gallery_heatmaps == "all":
            on_event(Event("drawing heatmaps", drawn, wanted))
        return datasets.decode(base / run.frames["test"].root / frame, run.preprocessing.input_spec)

    on_event(Event("rendering the report", 0, 1, "reports"))
    sweep(folder, held=True)
    reports.render(run, evidences, pixels, results, folder)
    write_text(folder / MARK, mark)
    on_event(Event("rendering the report", 1, 1, "reports"))
    return Finished(run, {name: evidence.score for name, evidence in evidences.items()}, folder / REPORT)


def is_current(base: Path, name: str, settings: ExperimentSettings) -> bool:
    """Whether `report` would find everything rendered already."""
    results, folder = base / "results" / name, base / "reports" / name
    try:
        run = store.read_run(results)
    except UserError:
        return False
    return _as_set(run, settings) == run and _read(folder / MARK) == _mark(results) and reports.is_whole(folder)


def _as_set(run: Run, settings: ExperimentSettings) -> Run:
    """The run with what only its rendering depends on as it is set now."""
    return replace(
        run,
        threshold=settings.threshold,
        gallery_top=settings.gallery.top,
        gallery_heatmaps=settings.gallery.heatmaps,
    )


def _mark(results: Path) -> str:
    return digest({"run": (results / store.RUN).read_text(encoding="utf-8"), "bench": version("bench")})


def bundle(base: Path, name: str) -> Path:
    """The rendered report with every picture it shows, as one zip file that survives moving: its path."""
    out = base / "reports" / f"{name}.zip"
    try:
        reports.bundle(base / "reports" / name, base / "results" / name, out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror})") from error
    return out


def _evidence(folder: Path, threshold: float) -> reports.Evidence:
    predictions, cam = store.read_predictions(folder)
    test = predictions[predictions["split"] == "test"]
    labels, p_fake = test["label"].to_numpy(), test["p_fake"].to_numpy()
    points = score.points(labels, p_fake, threshold)
    curve = score.roc(labels, p_fake)[:2] if points.auc is not None else None
    return reports.Evidence(points, score.auc_standard_error(points), curve, predictions, cam)


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
