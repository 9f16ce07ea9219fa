"""scores.json: the report's numbers for programs. reports/README.md documents it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from bench import stored
from bench.records import (
    THRESHOLD_KINDS,
    Auc,
    Candidate,
    Choice,
    Choose,
    Comparison,
    Drift,
    Effect,
    Fidelity,
    Flips,
    Interval,
    Judged,
    Judgement,
    Loosening,
    OperatingPoint,
    Ratio,
    Requirement,
    Run,
    Shift,
    Slice,
    Speed,
    VariantResult,
)
from bench.reports.content.text import MIB

SCHEMA = 1
SCORES = "scores.json"

RANKING = ("auc", "average_precision", "eer", "brier", "tpr_at_fpr_1", "tpr_at_fpr_5")
CONFUSION = ("tp", "tn", "fp", "fn")
RATES = ("precision", "recall", "specificity", "f1", "accuracy", "balanced_accuracy", "mcc")
WITH_INTERVAL = ("precision", "recall", "specificity")


def scores(run: Run, judgement: Judgement) -> dict[str, Any]:
    """Every key for every variant; what is unavailable is None."""
    return {
        "schema": SCHEMA,
        "experiment": run.experiment,
        "detector": run.detector,
        "architecture": run.architecture,
        "frames": {
            split: {"count": frames.count, "fake": frames.fake, "real": frames.real, "digest": frames.digest}
            for split, frames in run.frames.items()
        },
        "machine": run.provenance.get("machine"),
        "baseline": run.variants[0].name,
        "threshold": run.threshold,
        "margin": run.margin,
        "variants": {variant.name: _variant(run, variant, judgement) for variant in run.variants},
        "choice": judgement.choice and _choice(judgement.choice),
        "ablation": [_effect(effect) for effect in judgement.effects],
        "not_sliced": list(judgement.not_sliced),
    }


def read_scores(report: Path) -> dict[str, Any]:
    """What scores.json of a rendered report holds."""
    content = stored.read_json(report / SCORES)
    if not isinstance(content, dict):
        raise stored.DamagedError("it is no scores.json")
    return content


def choice_of(scores: dict[str, Any]) -> Choice | None:
    """The choice that scores.json holds, as a record; the Pareto fronts are not in it."""
    content = scores["choice"]
    if content is None:
        return None
    return Choice(
        constraints=Choose(prefer=content["prefer"], **content["constraints"]),
        asked=content["asked"],
        candidates=tuple(_candidate(candidate) for candidate in content["candidates"]),
        chosen=content["chosen"],
        runner_up=content["runner_up"],
        loosen=tuple(Loosening(**loosening) for loosening in content["loosen"]),
    )


def _candidate(content: dict[str, Any]) -> Candidate:
    requirements = tuple(Requirement(**requirement) for requirement in content["requirements"])
    fields = {key: value for key, value in content.items() if key not in ("requirements", "qualifies")}
    return Candidate(requirements=requirements, **fields)


def _variant(run: Run, variant: VariantResult, judgement: Judgement) -> dict[str, Any]:
    """What is known of a variant: what it is, its quality, its difference to the baseline, its speed."""
    ok = variant.status == "ok"
    executed = variant.executed if ok else None
    footprint = variant.footprint if ok else None
    return {
        "status": variant.status,
        "reason": variant.reason,
        "id": variant.id,
        "steps": list(variant.steps),
        "runtime": executed and executed.runtime,
        "device": executed and executed.device,
        "device_name": executed and executed.device_name,
        "stored": executed and executed.stored,
        "computed": executed and executed.computed,
        "mode": (executed and executed.mode) or None,
        "int8": executed and executed.int8,
        "int8_size_only": variant.name in judgement.size_only if executed and executed.int8 else None,
        "fidelity": _fidelity(variant.fidelity if ok else None),
        "size_mib": footprint and footprint.size_bytes / MIB,
        "parameters": footprint and footprint.parameters,
        "macs": footprint and footprint.macs,
        "zeros": footprint and footprint.zeros,
        "zstd_mib": footprint and footprint.zstd_bytes and footprint.zstd_bytes / MIB,
        "recovered": [dataclasses.asdict(recovery) for recovery in variant.recovered],
        **_quality(judgement.variants.get(variant.name)),
        **_compared(variant is run.variants[0], judgement.variants.get(variant.name)),
        **_speed(judgement.speeds[variant.name]),
        "measurements": [dataclasses.asdict(timing) for timing in judgement.timings.get(variant.name, ())],
    }


def _fidelity(measured: Fidelity | None) -> dict[str, Any] | None:
    return dataclasses.asdict(measured) if measured else None


def _quality(judged: Judged | None) -> dict[str, Any]:
    """Quality of a variant by itself."""
    score, point, auc = (judged.score, judged.fixed, judged.auc) if judged else (None, None, None)
    return {
        **{name: getattr(score, name, None) for name in RANKING},
        "ece": judged and judged.reliability.ece,
        "auc_standard_error": auc and auc.standard_error,
        "auc_ci": _interval(auc.interval if auc else None),
        "threshold": point and point.threshold,
        "confusion": {name: getattr(point, name, None) for name in CONFUSION},
        **{name: getattr(point, name, None) for name in RATES},
        **{f"{name}_ci": _interval(getattr(point, f"{name}_ci", None)) for name in WITH_INTERVAL},
        "thresholds": {kind: _point(judged.thresholds.get(kind) if judged else None) for kind in THRESHOLD_KINDS},
        "slices": [_slice(part) for part in judged.slices] if judged else [],
    }


def _compared(is_baseline: bool, judged: Judged | None) -> dict[str, Any]:
    """A variant beside the baseline."""
    if judged is None or is_baseline:
        nothing: dict[str, Any] = {**_comparison(None), **dict.fromkeys(("shift", "flips", "drift", "worst_slice"))}
        has_auc = judged is not None and judged.auc is not None
        return nothing | {"auc_delta": 0.0 if has_auc else None, "verdict": "baseline" if has_auc else None}
    worst = judged.worst_slice
    return {
        **_comparison(judged.comparison),
        "shift": judged.shift and _shift(judged.shift),
        "flips": judged.flips and _flips(judged.flips),
        "drift": judged.drift and _drift(judged.drift),
        "worst_slice": worst and _slice(worst),
    }


def _comparison(comparison: Comparison | None) -> dict[str, Any]:
    """The difference of AUC, with what speaks for it."""
    delta = comparison and comparison.delta
    return {
        "auc_delta": delta and delta.value,
        "auc_delta_ci": _interval(delta.interval if delta else None),
        "auc_delta_p": comparison and comparison.p,
        "auc_delta_p_holm": comparison and comparison.p_holm,
        "auc_interval": delta and ("sources" if delta.clustered else "frames"),
        "verdict": comparison and comparison.verdict,
        "small_but_real": comparison and comparison.small_but_real,
        "further_frames": comparison and comparison.further_frames,
        "all_equal": comparison and comparison.all_equal,
    }


def _interval(interval: Interval | Ratio | None) -> list[float] | None:
    return [interval.low, interval.high] if interval else None


def _point(point: OperatingPoint | None) -> dict[str, Any] | None:
    return {name: getattr(point, name) for name in ("threshold", *CONFUSION, *RATES)} if point else None


def _shift(shift: Shift) -> dict[str, Any]:
    return {
        "verdict": shift.verdict,
        "gained": shift.gained,
        "gained_ci": _interval(shift.gained_ci),
        "left": shift.left,
        "left_ci": _interval(shift.left_ci),
    }


def _flips(flips: Flips) -> dict[str, Any]:
    return {"worse": flips.worse, "better": flips.better, "p": flips.p}


def _drift(drift: Drift) -> dict[str, Any]:
    return {
        "count": drift.count,
        "rank_correlation": drift.rank_correlation,
        "rank_correlation_low": drift.rank_correlation_low,
        "overlap": drift.overlap,
        "both_right": drift.both_right,
        "other_reason": len(drift.other_reason),
    }


def _slice(part: Slice) -> dict[str, Any]:
    """The AUC of a slice, and its difference to the baseline's there."""
    return {
        "column": part.column,
        "value": part.value,
        "fake": part.fake,
        "real": part.real,
        "against": part.against,
        **_area("auc", part.auc),
        **_area("auc_delta", part.delta),
        "p_holm": part.p_holm,
        "simultaneous": _interval(part.simultaneous),
    }


def _area(name: str, auc: Auc | None) -> dict[str, Any]:
    return {name: auc and auc.value, f"{name}_ci": _interval(auc.interval if auc else None)}


def _choice(choice: Choice) -> dict[str, Any]:
    """Which variant to ship, under which constraints, and how every candidate stands to them."""
    asked = dataclasses.asdict(choice.constraints)
    return {
        "chosen": choice.chosen,
        "runner_up": choice.runner_up,
        "asked": choice.asked,
        "prefer": asked.pop("prefer"),
        "constraints": asked,
        "candidates": [
            {**dataclasses.asdict(candidate), "qualifies": candidate.qualifies} for candidate in choice.candidates
        ],
        "loosen": [dataclasses.asdict(loosening) for loosening in choice.loosen],
    }


def _effect(effect: Effect) -> dict[str, Any]:
    """What the steps between a variant and its ancestor cost and gained."""
    return {
        "variant": effect.variant,
        "ancestor": effect.ancestor,
        "steps": list(effect.steps),
        **_area("auc_delta", effect.delta),
        "auc_delta_p": effect.p,
        "size_bytes": effect.size_bytes,
        "parameters": effect.parameters,
        "macs": effect.macs,
        **_ratio("speedup", effect.speed),
    }


def _speed(speed: Speed) -> dict[str, Any]:
    single, best = speed.single, speed.best
    latency = {key: getattr(single, f"{key}_ms") if single else None for key in ("p25", "p50", "p75", "p90", "p99")}
    return {
        "latency_ms": {**latency, "device_p50": single and single.device_p50_ms, "calls": single and single.calls},
        "throughput_fps": best and best.frames_per_second,
        "throughput_batch_size": best and best.batch_size,
        **_ratio("speedup", speed.speedup),
        **_ratio("throughput_gain", speed.gain),
        "peak_memory_mib": single and (single.peak_cuda_reserved_mib or single.peak_rss_mib),
    }


def _ratio(name: str, ratio: Ratio | None) -> dict[str, Any]:
    return {name: ratio and ratio.value, f"{name}_interval": _interval(ratio)}
