"""scores.json: the report's numbers for programs. reports/README.md documents it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from bench import stored
from bench.records import (
    THRESHOLD_KINDS,
    Auc,
    Choice,
    Comparison,
    Drift,
    Effect,
    Evaluation,
    Fidelity,
    Flips,
    Interval,
    OperatingPoint,
    Ratio,
    RunRecord,
    Shift,
    Slice,
    Speed,
    VariantEvaluation,
    VariantResult,
)
from bench.reports.content.text import MIB

SCHEMA = 1
SCORES = "scores.json"

RANKING = ("auc", "average_precision", "eer", "brier", "tpr_at_fpr_1", "tpr_at_fpr_5")
CONFUSION = ("tp", "tn", "fp", "fn")
RATES = ("precision", "recall", "specificity", "f1", "accuracy", "balanced_accuracy", "mcc")
WITH_INTERVAL = ("precision", "recall", "specificity")


def scores(run: RunRecord, evaluation: Evaluation) -> dict[str, Any]:
    """Every key for every variant; what could not be had is None."""
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
        "baseline": run.baseline.name,
        "threshold": run.threshold,
        "margin": run.margin,
        "variants": {variant.name: _variant(run, variant, evaluation) for variant in run.variants},
        "choice": evaluation.choice and _choice(evaluation.choice),
        "ablation": [_effect(one) for one in evaluation.effects],
        "not_sliced": list(evaluation.not_sliced),
    }


def read_scores(report: Path) -> dict[str, Any]:
    """What scores.json of a rendered report holds."""
    told = stored.read_json(report / SCORES)
    if not isinstance(told, dict):
        raise stored.DamagedError("it is no scores.json")
    return told


def _variant(run: RunRecord, variant: VariantResult, evaluation: Evaluation) -> dict[str, Any]:
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
        "int8_size_only": variant.name in evaluation.size_only if executed and executed.int8 else None,
        "fidelity": _fidelity(variant.fidelity if ok else None),
        "size_mib": footprint and footprint.size_bytes / MIB,
        "parameters": footprint and footprint.parameters,
        "macs": footprint and footprint.macs,
        "zeros": footprint and footprint.zeros,
        "zstd_mib": footprint and footprint.zstd_bytes and footprint.zstd_bytes / MIB,
        "recovered": [dataclasses.asdict(one) for one in variant.recovered],
        **_quality(evaluation.variants.get(variant.name)),
        **_compared(variant is run.baseline, evaluation.variants.get(variant.name)),
        **_speed(evaluation.speeds[variant.name]),
        "measurements": [dataclasses.asdict(one) for one in evaluation.timings.get(variant.name, ())],
    }


def _fidelity(measured: Fidelity | None) -> dict[str, Any] | None:
    return dataclasses.asdict(measured) if measured else None


def _quality(judged: VariantEvaluation | None) -> dict[str, Any]:
    """What its own answers come to."""
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
        "slices": [_slice(one) for one in judged.slices] if judged else [],
    }


def _compared(is_baseline: bool, judged: VariantEvaluation | None) -> dict[str, Any]:
    """What it comes to beside the baseline."""
    if judged is None or is_baseline:
        nothing: dict[str, Any] = {**_comparison(None), **dict.fromkeys(("shift", "flips", "drift", "worst_slice"))}
        known = judged is not None and judged.auc is not None
        return nothing | {"auc_delta": 0.0 if known else None, "verdict": "baseline" if known else None}
    worst = judged.worst_slice
    return {
        **_comparison(judged.comparison),
        "shift": judged.shift and _shift(judged.shift),
        "flips": judged.flips and _flips(judged.flips),
        "drift": judged.drift and _drift(judged.drift),
        "worst_slice": worst and _slice(worst),
    }


def _comparison(found: Comparison | None) -> dict[str, Any]:
    delta = found and found.delta
    return {
        "auc_delta": delta and delta.value,
        "auc_delta_ci": _interval(delta.interval if delta else None),
        "auc_delta_p": found and found.p,
        "auc_delta_p_holm": found and found.p_holm,
        "auc_interval": delta and ("sources" if delta.clustered else "frames"),
        "verdict": found and found.verdict,
        "small_but_real": found and found.small_but_real,
        "further_frames": found and found.further_frames,
        "all_equal": found and found.all_equal,
    }


def _interval(found: Interval | Ratio | None) -> list[float] | None:
    return [found.low, found.high] if found else None


def _point(found: OperatingPoint | None) -> dict[str, Any] | None:
    return {name: getattr(found, name) for name in ("threshold", *CONFUSION, *RATES)} if found else None


def _shift(found: Shift) -> dict[str, Any]:
    return {
        "verdict": found.verdict,
        "gained": found.gained,
        "gained_ci": _interval(found.gained_ci),
        "left": found.left,
        "left_ci": _interval(found.left_ci),
    }


def _flips(found: Flips) -> dict[str, Any]:
    return {"worse": found.worse, "better": found.better, "p": found.p}


def _drift(found: Drift) -> dict[str, Any]:
    return {
        "count": found.count,
        "rank_correlation": found.rank_correlation,
        "rank_correlation_low": found.rank_correlation_low,
        "overlap": found.overlap,
        "both_right": found.both_right,
        "other_reason": len(found.other_reason),
    }


def _slice(found: Slice) -> dict[str, Any]:
    return {
        "column": found.column,
        "value": found.value,
        "fake": found.fake,
        "real": found.real,
        "against": found.against,
        **_area("auc", found.auc),
        **_area("auc_delta", found.delta),
        "p_holm": found.p_holm,
        "simultaneous": _interval(found.simultaneous),
    }


def _area(name: str, found: Auc | None) -> dict[str, Any]:
    return {name: found and found.value, f"{name}_ci": _interval(found.interval if found else None)}


def _choice(found: Choice) -> dict[str, Any]:
    asked = dataclasses.asdict(found.constraints)
    return {
        "chosen": found.chosen,
        "runner_up": found.runner_up,
        "asked": found.asked,
        "prefer": asked.pop("prefer"),
        "constraints": asked,
        "candidates": [{**dataclasses.asdict(one), "qualifies": one.qualifies} for one in found.candidates],
        "loosen": [dataclasses.asdict(one) for one in found.loosen],
    }


def _effect(found: Effect) -> dict[str, Any]:
    return {
        "variant": found.variant,
        "ancestor": found.ancestor,
        "steps": list(found.steps),
        **_area("auc_delta", found.delta),
        "auc_delta_p": found.p,
        "size_bytes": found.size_bytes,
        "parameters": found.parameters,
        "macs": found.macs,
        **_ratio("speedup", found.speed),
    }


def _speed(found: Speed) -> dict[str, Any]:
    single, best = found.single, found.best
    latency = {key: getattr(single, f"{key}_ms") if single else None for key in ("p25", "p50", "p75", "p90", "p99")}
    return {
        "latency_ms": {**latency, "device_p50": single and single.device_p50_ms, "calls": single and single.calls},
        "throughput_fps": best and best.frames_per_second,
        "throughput_batch_size": best and best.batch_size,
        **_ratio("speedup", found.speedup),
        **_ratio("throughput_gain", found.gain),
        "peak_memory_mib": single and (single.peak_cuda_reserved_mib or single.peak_rss_mib),
    }


def _ratio(name: str, ratio: Ratio | None) -> dict[str, Any]:
    return {name: ratio and ratio.value, f"{name}_interval": _interval(ratio)}
