"""What the report of an experiment says of a detector's variants: their verdicts, the threshold, which one to ship."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import reports
from bench.experiment import ExperimentSettings
from bench.pipeline import render, threshold
from bench.pipeline.rendered import evaluate_run, is_rendered, mark_of
from bench.records import Auc, Evaluation, Interval, RunRecord, ScoresFile
from bench.reports.content.text import estimate_and_range, number
from bench.results import store
from bench.results.score.frame_sets import over_all


@dataclass(frozen=True)
class Quality:
    """The AUC of a variant; what it differs by from the baseline, and the verdict on that. None where unavailable."""

    auc: float | None
    delta: Auc | None
    verdict: str | None


@dataclass(frozen=True)
class Reported:
    """The run of a detector with the settings of now, and what its variants came to by frame or by video as judged.

    `to_ship` is the variant that the report says to ship, None where it names none.
    """

    run: RunRecord
    qualities: Mapping[str, Quality]
    to_ship: str | None

    def verdict(self, variant: str) -> str:
        """A variant's verdict in a sentence: "stable: AUC 0.9678, −0.0005 (95 % −0.0020 to +0.0009) against …"."""
        quality = self.qualities.get(variant)
        if quality is None:
            return "not judged: it was not scored on all frame sets"
        area = "no AUC" if quality.auc is None else f"AUC {number(quality.auc, 4)}"
        if variant == self.run.baseline.name:
            return f"the uncompressed {'ensemble' if self.run.ensemble else 'detector'} itself: {area}"
        if quality.delta is None:
            return f"not compared with the baseline: {area}"
        change, span = estimate_and_range(quality.delta)
        return f"{quality.verdict}: {area}, {change} (95 % {span}) against the baseline"

    def auc(self, variant: str) -> float | None:
        """The AUC of a variant on the test frames; None where it has none."""
        return self.qualities[variant].auc if variant in self.qualities else None


def reported(base: Path, name: str, settings: ExperimentSettings, detector: str) -> Reported:
    """What is reported of a detector, over all frame sets where there are several.

    Where the report of these results is there, it is read from its scores.json; else the stored predictions are scored
    as it would be.
    """
    frame_sets = settings.frame_sets
    runs: dict[str, RunRecord] = {}
    for frame_set in frame_sets:
        results = base / "results" / name / settings.folder(detector, frame_set)
        run = render.as_set(store.read_run(results), settings)
        first = runs.get(frame_sets[0])
        runs[frame_set] = threshold.of_first_set(run, first) if first else threshold.of_stored(run, results)
    run = runs[frame_sets[0]]
    if len(runs) == 1:
        below = Path(name) / settings.folder(detector, frame_sets[0])
        return _read(run, base, below) or _of_scores(run, evaluate_run(run, base / "results" / below).by(run.judge))
    judged = {
        frame_set: evaluate_run(each, base / "results" / name / settings.folder(detector, frame_set)).by(each.judge)
        for frame_set, each in runs.items()
    }
    return _of_scores(run, over_all(run, judged))


def _read(run: RunRecord, base: Path, below: Path) -> Reported | None:
    """What scores.json says, where this user rendered it from these results and these settings."""
    results, folder = base / "results" / below, base / "reports" / below
    if store.read_run(results) != run or not is_rendered(folder, mark_of(results)):
        return None
    scores = reports.read_scores(folder)
    chosen = scores.choice.chosen if scores.choice else None
    return Reported(run, dict(_qualities(scores)), chosen)


def _qualities(scores: ScoresFile) -> list[tuple[str, Quality]]:
    """Those of all variants that were scored."""
    rows = []
    for name, each in scores.judged.items():
        if each.status != "ok":
            continue
        delta = None
        if each.auc_delta is not None and each.auc_delta_ci is not None:
            delta = Auc(each.auc_delta, Interval(*each.auc_delta_ci))
        rows.append((name, Quality(each.auc, delta, each.verdict)))
    return rows


def _of_scores(run: RunRecord, evaluation: Evaluation) -> Reported:
    """The same from the scores themselves."""
    qualities = {}
    for name, each in evaluation.variants.items():
        compared = each.comparison
        delta, verdict = (compared.delta, compared.verdict) if compared else (None, None)
        qualities[name] = Quality(each.auc.value if each.auc else None, delta, verdict)
    return Reported(run, qualities, evaluation.choice.chosen if evaluation.choice else None)
