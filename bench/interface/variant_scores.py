"""The numbers of one variant, typed: a row of `Results.frame()`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Literal

from bench.records import ScoredVariant, Verdict

_INTERVALS = ("auc", "auc_delta", "precision", "recall", "specificity")
_RATIOS = ("speedup", "throughput_gain")


@dataclass(frozen=True)
class VariantScores:
    """What an experiment says of a variant. What could not be had is None.

    `*_low` and `*_high` are 95 % intervals. `auc_delta` is the AUC less the baseline's on the same frames, and
    `verdict` what follows from it; `auc_delta_p_holm` is its p-value, corrected for the number of variants. `tp` to
    `mcc` are at `threshold`. `latency_ms` is the median call with one frame, `throughput_fps` frames a second in
    batches of `throughput_batch_size`; `speedup` and `throughput_gain` are times the baseline's, in the same runtime,
    device and session. `size_mib` is that of the shipped file, `macs` the multiply-accumulates of a frame.
    """

    variant: str
    status: Literal["ok", "failed"]
    reason: str | None
    verdict: Verdict | None
    steps: tuple[str, ...]
    auc: float | None
    auc_low: float | None
    auc_high: float | None
    auc_delta: float | None
    auc_delta_low: float | None
    auc_delta_high: float | None
    auc_delta_p: float | None
    auc_delta_p_holm: float | None
    further_frames: int | None
    size_mib: float | None
    parameters: int | None
    macs: int | None
    latency_ms: float | None
    speedup: float | None
    speedup_low: float | None
    speedup_high: float | None
    throughput_fps: float | None
    throughput_batch_size: int | None
    throughput_gain: float | None
    throughput_gain_low: float | None
    throughput_gain_high: float | None
    peak_memory_mib: float | None
    threshold: float | None
    tp: int | None
    tn: int | None
    fp: int | None
    fn: int | None
    precision: float | None
    precision_low: float | None
    precision_high: float | None
    recall: float | None
    recall_low: float | None
    recall_high: float | None
    specificity: float | None
    specificity_low: float | None
    specificity_high: float | None
    f1: float | None
    accuracy: float | None
    balanced_accuracy: float | None
    mcc: float | None
    average_precision: float | None
    eer: float | None
    brier: float | None
    ece: float | None
    tpr_at_fpr_1: float | None
    tpr_at_fpr_5: float | None
    runtime: str | None
    device: str | None
    stored: str | None
    computed: str | None
    int8: Literal["native", "simulated"] | None
    id: str


COUNTS = ("further_frames", "parameters", "macs", "throughput_batch_size", "tp", "tn", "fp", "fn")
"""Whole numbers, which may lack."""


def variant_scores(name: str, scored: ScoredVariant) -> VariantScores:
    """The numbers of a variant in scores.json as one flat row."""
    flat = {field.name: getattr(scored, field.name) for field in fields(VariantScores) if hasattr(scored, field.name)}
    intervals = {key: getattr(scored, f"{key}_ci") for key in _INTERVALS}
    intervals |= {key: getattr(scored, f"{key}_interval") for key in _RATIOS}
    for key, ends in intervals.items():
        flat[f"{key}_low"], flat[f"{key}_high"] = ends or (None, None)
    return VariantScores(**{**flat, **asdict(scored.confusion), "variant": name, "latency_ms": scored.latency_ms.p50})
