"""scores.json: the report's numbers for programs, written from a `ScoresFile` and read back as one.

reports/README.md documents the keys.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from bench import stored
from bench.errors import quoted
from bench.records import (
    CALIBRATION_METHODS,
    SCORES_SCHEMA,
    THRESHOLD_KINDS,
    Auc,
    Calibration,
    Choice,
    ClassName,
    Comparison,
    ConfirmedSlice,
    Degradation,
    DegradedScore,
    Drift,
    Effect,
    Ends,
    Evaluation,
    Exemplars,
    Faithfulness,
    GroupGap,
    Interval,
    LabelledFrames,
    Occlusion,
    OperatingPoint,
    Ratio,
    RunRecord,
    Scaling,
    ScoredAgainst,
    ScoredByVideo,
    ScoredCalibration,
    ScoredCandidate,
    ScoredChoice,
    ScoredConfirmedSlice,
    ScoredConfusion,
    ScoredConstraints,
    ScoredDegradation,
    ScoredDetector,
    ScoredDrift,
    ScoredEffect,
    ScoredExemplars,
    ScoredFaithfulness,
    ScoredFlips,
    ScoredFrames,
    ScoredGroup,
    ScoredGroupGap,
    ScoredLatency,
    ScoredPoint,
    ScoredRequirement,
    ScoredScaling,
    ScoredShift,
    ScoredSlice,
    ScoredSliceSearch,
    ScoredVariant,
    ScoredVideos,
    ScoredVideosOfSplit,
    ScoresFile,
    ScoresOnSets,
    Shift,
    SideBySide,
    SideBySideScores,
    SideBySideScoresOnSets,
    Slice,
    VariantEvaluation,
    VariantResult,
    VariantSpeed,
    VideoCounts,
)
from bench.reports.content.text import MIB
from bench.reports.scored_ensemble import scored_ensemble
from bench.reports.scored_localisation import scored_localisation, scored_masks
from bench.reports.scored_regions import scored_faces, scored_regions
from bench.reports.scored_threshold import scored_threshold

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SCORES = "scores.json"
RecordT = TypeVar("RecordT", bound="DataclassInstance")

RANKING = ("auc", "average_precision", "eer", "brier", "tpr_at_fpr_1", "tpr_at_fpr_5")
CONFUSION = ("tp", "tn", "fp", "fn")
RATES = ("precision", "recall", "specificity", "f1", "accuracy", "balanced_accuracy", "mcc")
WITH_INTERVAL = ("precision", "recall", "specificity")


def scores(run: RunRecord, evaluation: Evaluation) -> ScoresFile:
    """All numbers of an evaluated run."""
    return ScoresFile(
        schema=SCORES_SCHEMA,
        experiment=run.experiment,
        detector=run.detector,
        architecture=run.architecture,
        frames={split: _scored(ScoredFrames, frames.without_copies) for split, frames in run.frames.items()},
        machine=run.provenance.get("machine"),
        baseline=run.baseline.name,
        threshold=run.threshold,
        margin=run.margin,
        variants={variant.name: _variant(run, variant, evaluation) for variant in run.variants},
        choice=scored_choice(choice) if (choice := evaluation.by(run.judge).choice) else None,
        ablation=tuple(_effect(effect) for effect in evaluation.effects),
        not_sliced=evaluation.not_sliced,
        slice_search=_searched(evaluation.by(run.judge)),
        searches={variant.name: variant.search for variant in run.variants if variant.search},
        judge=run.judge,
        videos=_videos(run, evaluation),
        threshold_rule=scored_threshold(run, evaluation),
        exemplars=_exemplars(evaluation.exemplars) if evaluation.exemplars else None,
        masks=scored_masks(evaluation.localisation),
        faces=scored_faces(evaluation.regions),
        ensemble=scored_ensemble(run, evaluation),
    )


def _exemplars(lost: Exemplars) -> ScoredExemplars:
    """How many frames most variants lose; which ones stands in exemplars.csv."""
    frames, count = len(lost.rows), max(lost.count, 1)
    shares = {"share": frames / count, "expected_share": lost.expected / count}
    return _scored(ScoredExemplars, lost, lost=frames, **shares)


def _videos(run: RunRecord, evaluation: Evaluation) -> ScoredVideos | None:
    """How videos are scored, and how many count; None where none are known."""
    of_splits = {"test": evaluation.video and evaluation.video.test}
    of_splits["validation"] = evaluation.video and evaluation.video.validation
    splits = {split: _videos_of(run.videos[split], videos) for split, videos in of_splits.items() if videos}
    return _scored(ScoredVideos, run.video_scoring, splits=splits) if splits else None


def _videos_of(counts: VideoCounts, videos: LabelledFrames) -> ScoredVideosOfSplit:
    """The videos of a split; those that are copies of others do not count, those without frames stand last."""
    labels = videos.labels[: counts.count]
    firsts = range(counts.count) if videos.firsts is None else videos.firsts[: counts.count].tolist()
    fake = sum(int(labels[row]) for row, first in enumerate(firsts) if first == row)
    count = sum(first == row for row, first in enumerate(firsts))
    missing_fake = sum(video.label for video in counts.missing)
    return ScoredVideosOfSplit(
        count=count,
        fake=fake,
        real=count - fake,
        copies=counts.count - count,
        missing=len(counts.missing),
        missing_fake=missing_fake,
        missing_real=len(counts.missing) - missing_fake,
        coverage=counts.coverage,
    )


def scores_side_by_side(together: SideBySide) -> SideBySideScores:
    """All numbers of several detectors on a frame set: those of the first, and of each by name."""
    alone = {name: scores(detector.run, detector.evaluation) for name, detector in together.detectors.items()}
    first, choice = next(iter(alone.values())), together.evaluation.choice
    names = [field.name for field in dataclasses.fields(ScoresFile) if field.name != "choice"]
    return SideBySideScores(
        **{name: getattr(first, name) for name in names},
        choice=scored_choice(choice) if choice else None,
        best=together.best,
        reference=together.reference,
        detectors={
            name: _scored(ScoredDetector, numbers, **_delta(together.baselines.get(name)))
            for name, numbers in alone.items()
        },
        compared={title: _against(together, title) for title in together.titles},
    )


def _against(together: SideBySide, title: str) -> ScoredAgainst:
    """A variant against the reference; that itself has no difference and no p."""
    judged = together.evaluation.variants.get(title)
    is_reference = title == together.reference
    speedup = None if is_reference else together.evaluation.speeds[title].speedup
    return ScoredAgainst(**_delta(judged.comparison if judged else None), **_ratio("speedup", speedup))


def _delta(comparison: Comparison | None) -> dict[str, Any]:
    """The difference of AUC, by key."""
    keys = ("auc_delta", "auc_delta_ci", "auc_delta_p", "auc_delta_p_holm")
    return {key: value for key, value in _comparison(comparison).items() if key in keys}


def as_json(numbers: ScoresFile | ScoredVariant) -> dict[str, Any]:
    """The same in the types of JSON: dicts and lists. Raises `ValueError` where a number is not finite."""
    plain: dict[str, Any] = json.loads(as_text(numbers))
    return plain


def as_text(numbers: ScoresFile | ScoredVariant) -> str:
    """The text of scores.json, without a newline at its end. Raises `ValueError` where a number is not finite."""
    return json.dumps(dataclasses.asdict(numbers), indent=1, allow_nan=False)


def read_scores(report: Path) -> ScoresFile:
    """Read scores.json in the folder of a report. OSError where there is none, `DamagedError` as in `typed_scores`."""
    return typed_scores(stored.read_json(report / SCORES))


def typed_scores(content: Any) -> ScoresFile:
    """The content of a scores.json as a record.

    Raises `DamagedError` where the schema is another, a key is missing, or a value has another type.
    """
    if not isinstance(content, dict) or "schema" not in content:
        raise stored.DamagedError("it has no schema version")
    if content["schema"] != SCORES_SCHEMA:
        raise stored.DamagedError(
            f"it has schema version {quoted(content['schema'])}, this bench reads version {SCORES_SCHEMA}"
        )
    kinds = {(False, False): ScoresFile, (False, True): ScoresOnSets,
             (True, False): SideBySideScores, (True, True): SideBySideScoresOnSets}  # fmt: skip
    numbers: ScoresFile = stored.typed(kinds["detectors" in content, "sets" in content], content)
    if numbers.baseline not in numbers.variants:
        raise stored.DamagedError("its baseline is none of its variants")
    return numbers


def _variant(run: RunRecord, variant: VariantResult, evaluation: Evaluation) -> ScoredVariant:
    """What is known of a variant: what it is, its quality, its difference to the baseline, its speed."""
    scored = evaluation.variants.get(variant.name)
    return ScoredVariant(
        status=variant.status,
        reason=variant.reason,
        id=variant.id,
        steps=variant.steps,
        recovered=variant.recovered,
        **_execution(variant, is_size_only=variant.name in evaluation.size_only),
        **_footprint(variant),
        **_quality(scored),
        **_compared(variant is run.baseline, scored),
        **_speed(evaluation.speeds[variant.name]),
        measurements=evaluation.timings.get(variant.name, ()),
        faithfulness=_faithfulness(evaluation.occlusions.get(variant.name)),
        video=_by_video(run, variant, evaluation.video) if evaluation.video else None,
        robustness=_robustness(run, evaluation.degraded.get(variant.name, ())),
        calibration=_calibration(scored.calibration) if scored and scored.calibration else None,
        noise=evaluation.noises.get(variant.name),
        forecasts=variant.forecasts if variant.status == "ok" else (),
        localisation=scored_localisation(evaluation, variant.name),
        regions=scored_regions(evaluation, variant.name),
    )


def _calibration(calibration: Calibration) -> ScoredCalibration:
    """What validation frames say of P(fake), by method; None for a method that was not fitted."""
    scalings = calibration.scalings
    by_method = {
        method: scored_scaling(scalings[method]) if method in scalings else None for method in CALIBRATION_METHODS
    }
    return _scored(ScoredCalibration, calibration, **by_method, reasons=dict(calibration.reasons))


def scored_scaling(scaling: Scaling) -> ScoredScaling:
    """A fitted scaling; intervals without an end are None."""
    leading: Literal["sources", "frames"] = "sources" if scaling.slope.clustered else "frames"
    return _scored(
        ScoredScaling,
        scaling,
        temperature=scaling.temperature if scaling.shift is None else None,
        temperature_ci=_finite_ends(scaling.temperature_interval) if scaling.shift is None else None,
        slope=scaling.slope.value,
        slope_ci=_finite_ends(scaling.slope.interval),
        shift=scaling.added,
        shift_ci=_finite_ends(scaling.shift.interval) if scaling.shift else None,
        interval=leading,
    )


def _finite_ends(interval: Interval) -> Ends | None:
    """An interval's ends; None where it has not both."""
    return _ends(interval) if math.isfinite(interval.width) else None


def _by_video(run: RunRecord, variant: VariantResult, evaluation: Evaluation) -> ScoredByVideo | None:
    """The same numbers of videos, without what needs frames; None where the variant failed."""
    scored = evaluation.variants.get(variant.name)
    if scored is None:
        return None
    numbers = _quality(scored) | _compared(variant is run.baseline, scored)
    numbers["robustness"] = _robustness(run, evaluation.degraded.get(variant.name, ()))
    return ScoredByVideo(**{field.name: numbers[field.name] for field in dataclasses.fields(ScoredByVideo)})


def _execution(variant: VariantResult, *, is_size_only: bool) -> dict[str, Any]:
    """What executed the variant, by key; all None where it failed."""
    executed = variant.executed if variant.status == "ok" else None
    names = ("runtime", "device", "device_name", "stored", "computed", "int8")
    return {
        **{name: getattr(executed, name, None) for name in names},
        "mode": (executed and executed.mode) or None,
        "int8_size_only": is_size_only if executed and executed.int8 else None,
        "fidelity": variant.fidelity if variant.status == "ok" else None,
        "calibration_shift": variant.calibration_shift if variant.status == "ok" else None,
    }


def _footprint(variant: VariantResult) -> dict[str, Any]:
    """Size and cost of the artifact, by key; all None where the variant failed."""
    footprint = variant.footprint if variant.status == "ok" else None
    return {
        "size_mib": footprint and footprint.size_bytes / MIB,
        "parameters": footprint and footprint.parameters,
        "macs": footprint and footprint.macs,
        "zeros": footprint and footprint.zeros,
        "zstd_mib": footprint and footprint.zstd_bytes and footprint.zstd_bytes / MIB,
    }


def _quality(scored: VariantEvaluation | None) -> dict[str, Any]:
    """What the variant's own predictions come to, by key; all None where it failed."""
    score, point, auc = (scored.score, scored.fixed, scored.auc) if scored else (None, None, None)
    return {
        **{name: getattr(score, name, None) for name in RANKING},
        "ece": scored and scored.reliability.ece,
        "resolution": scored and scored.resolution,
        "auc_standard_error": auc and auc.standard_error,
        "auc_ci": _ends(auc.interval if auc else None),
        "threshold": point and point.threshold,
        "confusion": ScoredConfusion(**{name: getattr(point, name, None) for name in CONFUSION}),
        **{name: getattr(point, name, None) for name in RATES},
        **{f"{name}_ci": _ends(getattr(point, f"{name}_ci", None)) for name in WITH_INTERVAL},
        "thresholds": {kind: _point(scored.thresholds.get(kind) if scored else None) for kind in THRESHOLD_KINDS},
        "slices": tuple(_slice(part) for part in scored.slices) if scored else (),
        "confirmed_slices": tuple(_confirmed(part) for part in scored.confirmed) if scored else (),
        "group_gaps": tuple(_gap(part) for part in scored.gaps) if scored else (),
    }


def _compared(is_baseline: bool, scored: VariantEvaluation | None) -> dict[str, Any]:
    """What the comparison with the baseline comes to, by key."""
    if scored is None or is_baseline:
        unknown: dict[str, Any] = {**_comparison(None), **dict.fromkeys(("shift", "flips", "drift", "worst_slice"))}
        has_auc = scored is not None and scored.auc is not None
        return unknown | {"auc_delta": 0.0 if has_auc else None, "verdict": "baseline" if has_auc else None}
    worst = scored.worst_slice
    return {
        **_comparison(scored.comparison),
        "shift": _shift(scored.shift) if scored.shift else None,
        "flips": _scored(ScoredFlips, scored.flips) if scored.flips else None,
        "drift": _drift(scored.drift) if scored.drift else None,
        "worst_slice": _slice(worst) if worst else None,
    }


def _comparison(comparison: Comparison | None) -> dict[str, Any]:
    """The difference of AUC and what follows from it, by key; all None without one."""
    delta = comparison and comparison.delta
    names = ("verdict", "small_but_real", "further_frames", "all_equal")
    return {
        "auc_delta": delta and delta.value,
        "auc_delta_ci": _ends(delta.interval if delta else None),
        "auc_delta_unresolved": delta and delta.unresolved,
        "auc_delta_p": comparison and comparison.p,
        "auc_delta_p_holm": comparison and comparison.p_holm,
        "auc_interval": delta and ("sources" if delta.clustered else "frames"),
        **{name: getattr(comparison, name, None) for name in names},
    }


def _ends(interval: Interval | Ratio | None) -> Ends | None:
    return (interval.low, interval.high) if interval else None


def _scored(kind: type[RecordT], record: object, **others: Any) -> RecordT:
    """A record of scores.json: its fields are those of `record` with the same name, but for `others`."""
    names = {field.name for field in dataclasses.fields(kind)} - others.keys()
    return kind(**{name: getattr(record, name) for name in names}, **others)


def _point(point: OperatingPoint | None) -> ScoredPoint | None:
    return _scored(ScoredPoint, point) if point else None


def _shift(shift: Shift) -> ScoredShift:
    return _scored(ScoredShift, shift, gained_ci=_ends(shift.gained_ci), left_ci=_ends(shift.left_ci))


def _drift(drift: Drift) -> ScoredDrift:
    return _scored(ScoredDrift, drift, other_reason=len(drift.other_reason))


def _faithfulness(occlusion: Occlusion | None) -> dict[ClassName, ScoredFaithfulness | None]:
    judged = occlusion.faithfulness if occlusion else {}
    return {"fake": _faithful(judged.get("fake")), "real": _faithful(judged.get("real"))}


def _faithful(judged: Faithfulness | None) -> ScoredFaithfulness | None:
    names = ("right", "fall", "fall_elsewhere")
    beside = {f"baseline_{name}": getattr(judged and judged.baseline, name, None) for name in names}
    return _scored(ScoredFaithfulness, judged, **beside) if judged else None


def _slice(part: Slice) -> ScoredSlice:
    """The AUC of a slice, and its difference to the baseline's there."""
    auc, delta = _area("auc", part.auc), _area("auc_delta", part.delta)
    return _scored(ScoredSlice, part, **auc, **delta, simultaneous=_ends(part.simultaneous))


def _confirmed(part: ConfirmedSlice) -> ScoredConfirmedSlice:
    ends = {"delta_ci": _ends(part.delta_ci), "excess_ci": _ends(part.excess_ci)}
    return _scored(ScoredConfirmedSlice, part, **ends)


def _searched(evaluation: Evaluation) -> ScoredSliceSearch | None:
    searched = evaluation.slice_search
    return _scored(ScoredSliceSearch, searched) if searched else None


def _gap(part: GroupGap) -> ScoredGroupGap:
    """The rates of the groups, and what became of the gap between them."""
    groups = tuple(_scored(ScoredGroup, group) for group in part.groups)
    ends = {"change_ci": _ends(part.change_ci), "simultaneous": _ends(part.simultaneous)}
    return _scored(ScoredGroupGap, part, groups=groups, **ends)


def _area(name: str, auc: Auc | None) -> dict[str, Any]:
    return {name: auc and auc.value, f"{name}_ci": _ends(auc.interval if auc else None)}


def _robustness(run: RunRecord, scores: Sequence[DegradedScore]) -> tuple[ScoredDegradation, ...]:
    """Every level that was asked for; all None where the variant could not be judged there."""
    by_level = {score.degradation: score for score in scores}
    return tuple(_degraded(level, by_level.get(level)) for level in run.degradations)


def _degraded(level: Degradation, score: DegradedScore | None) -> ScoredDegradation:
    """The AUC on re-compressed frames, and what they cost beyond what they cost the baseline."""
    auc, delta, extra = (score.auc, score.delta, score.extra) if score else (None, None, None)
    return ScoredDegradation(
        kind=level.kind,
        level=level.level,
        **_area("auc", auc),
        **_area("auc_delta", delta),
        **_area("extra", extra),
        extra_unresolved=extra.unresolved if extra else None,
        p_holm=score.p_holm if score else None,
        verdict=score.verdict if score else None,
        simultaneous=_ends(score.simultaneous if score else None),
    )


def scored_choice(choice: Choice) -> ScoredChoice:
    """Which variant to ship, under which constraints, and how every candidate stands to them."""
    return _scored(
        ScoredChoice,
        choice,
        prefer=choice.constraints.prefer,
        constraints=_scored(ScoredConstraints, choice.constraints),
        candidates=tuple(
            _scored(
                ScoredCandidate,
                candidate,
                requirements=tuple(
                    _scored(ScoredRequirement, requirement, room=requirement.headroom)
                    for requirement in candidate.requirements
                ),
            )
            for candidate in choice.candidates
        ),
    )


def _effect(effect: Effect) -> ScoredEffect:
    """What the steps between a variant and its ancestor cost and gained."""
    delta, speedup = _area("auc_delta", effect.delta), _ratio("speedup", effect.speed)
    return _scored(ScoredEffect, effect, **delta, auc_delta_p=effect.p, **speedup)


def _speed(speed: VariantSpeed) -> dict[str, Any]:
    """Latency in ms, frames a second, and how many times faster than the baseline."""
    single, best = speed.single, speed.best
    latency = {key: getattr(single, f"{key}_ms") if single else None for key in ("p25", "p50", "p75", "p90", "p99")}
    return {
        "latency_ms": ScoredLatency(
            **latency, device_p50=single.device_p50_ms if single else None, calls=single.calls if single else None
        ),
        "throughput_fps": best and best.frames_per_second,
        "throughput_batch_size": best and best.batch_size,
        **_ratio("speedup", speed.speedup),
        **_ratio("throughput_gain", speed.gain),
        "peak_memory_mib": single and (single.peak_cuda_reserved_mib or single.peak_rss_mib),
    }


def _ratio(name: str, ratio: Ratio | None) -> dict[str, Any]:
    return {name: ratio and ratio.value, f"{name}_interval": _ends(ratio)}
