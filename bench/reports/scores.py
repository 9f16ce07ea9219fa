"""scores.json: the report's numbers for programs. reports/README.md documents it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from bench.records import Run, Score, VariantResult
from bench.reports.evidence import Evidences
from bench.reports.speed import Ratio, Speed, speed, timing
from bench.reports.text import MIB

SCHEMA = 1

QUALITY = tuple(
    field.name
    for field in dataclasses.fields(Score)
    if field.name not in ("count", "threshold", "tp", "tn", "fp", "fn")
)


def scores(run: Run, evidences: Evidences) -> dict[str, Any]:
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
        "baseline": run.variants[0].name,
        "variants": {variant.name: _variant(run, variant, evidences) for variant in run.variants},
    }


def read_scores(report: Path) -> dict[str, Score]:
    """The scores that a rendered report holds, of the variants that have some."""
    told = json.loads((report / "scores.json").read_text(encoding="utf-8"))
    return {
        name: Score(
            count=sum(found["confusion"].values()),
            threshold=found["threshold"],
            **found["confusion"],
            **{quality: found[quality] for quality in QUALITY},
        )
        for name, found in told["variants"].items()
        if found["status"] == "ok"
    }


def _variant(run: Run, variant: VariantResult, evidences: Evidences) -> dict[str, Any]:
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
        "stored": executed and executed.stored,
        "computed": executed and executed.computed,
        "int8": executed and executed.int8,
        "size_mib": footprint and footprint.size_bytes / MIB,
        "parameters": footprint and footprint.parameters,
        "macs": footprint and footprint.macs,
        "zeros": footprint and footprint.zeros,
        "zstd_mib": footprint and footprint.zstd_bytes and footprint.zstd_bytes / MIB,
        **_quality(run, variant, evidences),
        **_speed(speed(variant)),
        "measurements": [dataclasses.asdict(timing(one)) for one in variant.measurements if one.rounds_ms]
        if ok
        else [],
    }


def _quality(run: Run, variant: VariantResult, evidences: Evidences) -> dict[str, Any]:
    evidence = evidences.get(variant.name) if variant.status == "ok" else None
    score = evidence.score if evidence else None
    baseline = evidences.get(run.variants[0].name)
    return {
        **{name: getattr(score, name) if score else None for name in QUALITY},
        "auc_standard_error": evidence.auc_standard_error if evidence else None,
        "auc_delta": auc_delta(score, baseline.score if baseline else None),
        "threshold": score.threshold if score else None,
        "confusion": {name: getattr(score, name) if score else None for name in ("tp", "tn", "fp", "fn")},
    }


def auc_delta(score: Score | None, baseline: Score | None) -> float | None:
    """The AUC's change from the baseline, on the same frames."""
    if score is None or baseline is None or score.auc is None or baseline.auc is None:
        return None
    return score.auc - baseline.auc


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
    return {name: ratio and ratio.value, f"{name}_interval": [ratio.low, ratio.high] if ratio else None}
