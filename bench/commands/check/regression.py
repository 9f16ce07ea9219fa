"""Compare the variants of a run with the accepted ones: their scores of the same frames, and their sizes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.commands.accept.reference import Accepted, AcceptedVariant, logit_diffs, unpacked
from bench.errors import counted
from bench.experiment import ExperimentSettings
from bench.pipeline.finished import Finished
from bench.pipeline.render import spelled
from bench.pipeline.summary import weights_digest
from bench.records import GateOutcome, LabelledFrames, Predictions, RunRecord, Unit, VariantResult
from bench.reports.content.text import further
from bench.results import store
from bench.results.score import videos
from bench.results.score.against import Change, against, answers
from bench.results.score.clusters import clusters
from bench.results.score.gates import beyond, is_strict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GROWTH = 0.01
"""The share by which a file may grow: the same steps make slightly larger or smaller files of other weights."""

ROUNDING = 0.001
"""How much AUC may differ with the same weights, as another processor or library rounds differently."""

AUC, SIZE = "auc_change", "size_change"


@dataclass(frozen=True)
class Compared:
    """Two gates for every accepted variant, warnings to be read before them, and remarks on what was compared."""

    outcomes: tuple[GateOutcome, ...] = ()
    warnings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def compare(
    finished: Finished, settings: ExperimentSettings, accepted: Accepted, results: Path, checked: Collection[str]
) -> Compared:
    """Compare the variants of a finished run that are among `checked` with the accepted ones, on the same frames."""
    run = finished.run
    evaluated = {variant.name: variant for variant in run.variants if variant.status == "ok"}
    # Where every variant failed, nothing can be read or compared.
    test = store.read_labelled(results, next(iter(evaluated)), run.frames)[0] if evaluated else None
    judged = _Judged(run, test) if test else None
    weights = weights_digest(run.provenance.get("weights", ""))
    same_weights = bool(weights) and weights == weights_digest(accepted.weights)
    outcomes, warnings = [], []
    for name, before in accepted.variants.items():
        if name not in checked and name in settings.variants:
            continue
        if judged is None or name not in evaluated:
            outcomes.append(_gone(name, run.variants, accepted, settings.margin))
            continue
        accepted_diffs = unpacked(before, run.frames["test"].count)
        change = judged.change(accepted_diffs, logit_diffs(results, run, evaluated[name]), settings)
        strict = is_strict(name, settings.gates)
        other_file = bool(evaluated[name].imported) and before.id != evaluated[name].id
        is_same = same_weights and not other_file
        outcome = _auc(name, change, settings.margin, strict, is_same, judged.unit)
        note = _other_steps(before, evaluated[name]) or "; another file than was accepted" * other_file
        outcomes.append(replace(outcome, note=outcome.note + note))
        outcomes += _size(name, before, finished.scores.variants[name].size_mib)
        if change and _is_unexplained(change, is_same):
            warnings.append(_improved(name, change, is_same))
    new = [name for name in evaluated if name in checked and name not in accepted.variants]
    on = judged.in_words if judged else counted(run.test.count, "test frame")
    remarks = (*_remarks(accepted, on, new, same_weights), *_changed_settings(accepted, settings, run))
    return Compared(tuple(outcomes), tuple(warnings), remarks)


class _Judged:
    """The test frames, or where videos are judged the test videos, that new and accepted answers compare on."""

    def __init__(self, run: RunRecord, test: LabelledFrames) -> None:
        self._run, self._videos = run, videos.of_run(run, test, None)[0] if run.judge == "video" else None
        self.unit: Unit = "frame" if self._videos is None else "video"
        self._labelled = test if self._videos is None else videos.labelled(self._videos)
        distinct = self._labelled.without_copies()
        self._clusters = clusters(distinct.sources, distinct.labels)
        self.in_words = counted(len(distinct.labels), f"test {self.unit}")

    def change(
        self, accepted: NDArray[np.float32], new: NDArray[np.float32], settings: ExperimentSettings
    ) -> Change | None:
        """How new logit differences of all test frames [n] differ from accepted ones."""
        rows = self._labelled.counted
        before, after = (self._scored(answers(diffs)).of(rows, slice(None)) for diffs in (accepted, new))
        labels = self._labelled.labels[rows]
        return against(labels, self._clusters, before, after, self._run.threshold, settings.margin)

    def _scored(self, of_frames: Predictions) -> Predictions:
        if self._videos is None:
            return of_frames
        return videos.predictions(of_frames, self._videos, None, self._run.video_scoring)


def of_part(compared: Compared, part: Finished) -> Compared:
    """The same with the names of the detector and of the frame set where others are judged beside them."""
    before, after = (f"{part.detector}/" if part.detector else "", f" on {part.frame_set}" if part.frame_set else "")
    return Compared(
        tuple(replace(outcome, variant=f"{before}{outcome.variant}{after}") for outcome in compared.outcomes),
        tuple(f"{part.prefix}{warning}" for warning in compared.warnings),
        tuple(f"{part.prefix}{remark}" for remark in compared.remarks),
    )


def new_set(frame_set: str) -> Compared:
    """What is said of a frame set that nothing was accepted on."""
    return Compared(remarks=(f"the frame set {frame_set} is new: `bench accept` takes it into the reference.",))


def gone(accepted: Accepted, settings: ExperimentSettings) -> tuple[GateOutcome, ...]:
    """The variants of detectors and on frame sets that were accepted and that the experiment no longer has."""
    missing = [detector for detector in accepted.detectors if detector not in settings.detector_names]
    lost = [f"{detector}/{name}" for detector in missing for name in accepted.of(detector).variants]
    for frame_set, of_set in accepted.by_set.items():
        if frame_set not in settings.frame_sets:
            lost += [f"{name} on {frame_set}" for name in of_set.variants]
    return tuple(_gone(name, (), accepted, settings.margin) for name in lost)


def _is_unexplained(change: Change, same_weights: bool) -> bool:
    """A significant gain of any size: that of a leak may be small."""
    return change.delta.interval.low > (ROUNDING if same_weights else 0)


def _gone(name: str, variants: tuple[VariantResult, ...], accepted: Accepted, margin: float) -> GateOutcome:
    failed = [variant.reason or "no reason was recorded" for variant in variants if variant.name == name]
    why = f"it failed: {failed[0]}" if failed else "it is gone from the experiment"
    note = f"accepted on {accepted.accepted}, but {why}"
    return GateOutcome(name, AUC, None, None, -margin, None, fell=True, proven=False, note=note)


def _auc(
    name: str, change: Change | None, margin: float, strict: bool, same_weights: bool, unit: Unit = "frame"
) -> GateOutcome:
    """The gate on AUC: falls where degraded, or better without a reason; with `strict`, by the estimate alone too."""
    if change is None:
        note = f"there is no AUC on {unit}s of one class"
        return GateOutcome(name, AUC, None, None, -margin, None, fell=True, proven=False, note=note)
    delta = change.delta
    unexplained = _is_unexplained(change, same_weights)
    beyond_limit, _ = beyond(delta.value, None, -margin, at_least=True)
    _, significant = beyond(delta.value, delta.interval, -margin, at_least=True)
    fell = change.verdict == "degraded" or (unexplained and (same_weights or strict)) or (beyond_limit and strict)
    verdict = "better, unexplained" if unexplained else f"{change.verdict}{_further(change, unit)}"
    note = f"{verdict}; {counted(change.flips.worse, unit)} worse, {change.flips.better:,} better"
    return GateOutcome(
        name, AUC, delta.value, delta.interval, -margin, delta.value + margin, fell, significant and not fell, note
    )


def _other_steps(before: AcceptedVariant, now: VariantResult) -> str:
    """A note where the variant of this name has other steps now; it is compared all the same."""
    if before.steps == now.steps:
        return ""
    return f"; accepted as {spelled(before.steps)}, now {spelled(now.steps)}"


def _further(change: Change, unit: Unit) -> str:
    if change.further_frames is None:
        return ""
    return f": {further(change.further_frames, unit)} would settle it"


def _size(name: str, before: AcceptedVariant, size_mib: float | None) -> list[GateOutcome]:
    if before.size_mib is None or size_mib is None:
        return []
    growth = size_mib / before.size_mib - 1
    fell, significant = beyond(growth, None, GROWTH, at_least=False)
    note = f"{before.size_mib:.2f} MiB accepted, {size_mib:.2f} MiB now"
    return [GateOutcome(name, SIZE, growth, None, GROWTH, GROWTH - growth, fell, significant, note)]


def _improved(name: str, change: Change, same_weights: bool) -> str:
    low, high = change.delta.interval.low, change.delta.interval.high
    weights = " though the weights are the same" if same_weights else ""
    return (
        f"{name}: unexplained improvement{weights}, AUC {change.delta.value:+.4f} [{low:+.4f}, {high:+.4f}]: the usual "
        "sign of a leak or of a changed frame set; if you know why, `bench accept` takes it as the reference"
    )


def _remarks(accepted: Accepted, on: str, new: Collection[str], same_weights: bool) -> tuple[str, ...]:
    """What was compared, `on` which frames or videos, and with what."""
    weights = "the same weights" if same_weights else "other weights"
    what = (
        f"Compared on {on} with what was accepted on {accepted.accepted} ({weights}): "
        "auc_change is new minus accepted AUC, size_change the growth of the file."
    )
    return (what, *(f"{name} is new: `bench accept` takes it into the reference." for name in new))


def _changed_settings(accepted: Accepted, settings: ExperimentSettings, run: RunRecord) -> list[str]:
    """Remarks on settings that have changed since the scores were accepted."""
    judge, pairs = run.judge, {"margin": (accepted.margin, settings.margin)}
    # What is accepted of several detectors has the threshold of the first, and a rule finds one for each.
    if run.threshold_rule is None or not settings.is_side_by_side:
        pairs["threshold"] = (accepted.threshold, run.threshold)
    judged = f"By {accepted.judge}s it was judged when the scores were accepted, by {judge}s now: both go by {judge}s."
    return [judged] * (accepted.judge != judge) + [
        f"The {name} was {before} when the scores were accepted and is {now} now, which is what both are judged by."
        for name, (before, now) in pairs.items()
        if before != now
    ]
