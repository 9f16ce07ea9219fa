"""The report's tables of size, quality and speed."""

from __future__ import annotations

import math

from bench.records import (
    THRESHOLD_KINDS,
    Auc,
    Evaluation,
    Interval,
    OperatingPoint,
    RunRecord,
    Timing,
    VariantEvaluation,
    VariantResult,
)
from bench.reports.content.text import (
    MIB,
    NONE,
    Table,
    change,
    columns,
    escape,
    number,
    ran_as,
    rough,
    signed,
    table,
    times,
    within,
)


def performance(run: RunRecord, evaluation: Evaluation) -> Table:
    """One row a variant, failed ones included."""
    return table(
        [
            ("Model", "left"),
            ("Verdict", "left"),
            ("Size (MiB)", "right"),
            ("Reduction", "right"),
            ("Params (M)", "right"),
            ("MACs (G)", "right"),
            (f"AUC (n = {run.frames['test'].count:,})", "right"),
            ("Diff", "right"),
            ("Latency (ms)", "right"),
            ("Speed-up", "right"),
            ("Frames/s", "right"),
            ("Gain", "right"),
            ("Ran as", "left"),
        ],
        [_performance_row(run, variant, evaluation) for variant in run.variants],
    )


def _performance_row(run: RunRecord, variant: VariantResult, evaluation: Evaluation) -> list[str]:
    name = f"**{escape(variant.name)}**"
    if variant.status != "ok":
        return [name, "failed", *[NONE] * 11]
    footprint, judged, found = variant.footprint, evaluation.variants[variant.name], evaluation.speeds[variant.name]
    is_baseline = variant is run.baseline
    return [
        name,
        verdict(is_baseline, judged),
        number(footprint.size_bytes / MIB, 2) if footprint else NONE,
        NONE if is_baseline else reduction(run, variant) or NONE,
        _in(1e6, footprint.parameters if footprint else None),
        _in(1e9, footprint.macs if footprint else None),
        area(judged.auc),
        signed(judged.comparison.delta.value, 4) if judged.comparison else NONE,
        _latency(found.single),
        NONE if is_baseline else times(found.speedup),
        _throughput(found.best),
        NONE if is_baseline else times(found.gain),
        escape(ran_as(variant.executed)),
    ]


def verdict(is_baseline: bool, judged: VariantEvaluation) -> str:
    """One word."""
    if is_baseline:
        return "baseline"
    return judged.comparison.verdict if judged.comparison else NONE


def reduction(run: RunRecord, variant: VariantResult) -> str | None:
    """The file's change in size from the baseline's, in percent; None where either is unknown."""
    baseline = run.baseline.footprint
    if variant.footprint is None or baseline is None:
        return None
    return change(variant.footprint.size_bytes, baseline.size_bytes)


def area(auc: Auc | None) -> str:
    """An AUC with its interval: "0.9870 (0.957–0.996)"."""
    return NONE if auc is None else f"{number(auc.value, 4)} ({within(auc.interval, 3)})"


def _in(unit: float, count: int | None) -> str:
    """Three significant digits or more: what pruning leaves of a small network must not round to nothing."""
    value = count / unit if count else 0.0
    digits = max(2, 2 - math.floor(math.log10(value))) if value else 2
    return NONE if count is None else number(value, digits)


def _latency(single: Timing | None) -> str:
    if single is None:
        return NONE
    return f"{rough(single.p50_ms)} ({rough(single.p25_ms)}–{rough(single.p75_ms)})"


def _throughput(best: Timing | None) -> str:
    if best is None:
        return NONE
    return f"{number(best.frames_per_second, 1)} (batch {best.batch_size})"


def classification(evaluation: Evaluation) -> Table:
    """The confusion at the fixed threshold, and what follows from it."""
    titles = ("TP", "TN", "FP", "FN", "Recall", "Specificity", "Precision", "F1", "Accuracy", "Bal. acc.", "MCC")
    return table(
        [("Model", "left"), *columns(titles)],
        [[f"**{escape(name)}**", *_classification_row(one.fixed)] for name, one in evaluation.variants.items()],
    )


def _classification_row(point: OperatingPoint) -> list[str]:
    counts = (point.tp, point.tn, point.fp, point.fn)
    return [
        *(f"{count:,}" for count in counts),
        _share(point.recall, point.recall_ci),
        _share(point.specificity, point.specificity_ci),
        _share(point.precision, point.precision_ci),
        *(number(rate, 3) for rate in (point.f1, point.accuracy, point.balanced_accuracy, point.mcc)),
    ]


def _share(value: float | None, interval: Interval | None) -> str:
    return NONE if value is None else f"{number(value, 3)} ({within(interval, 2)})"


def ranking(evaluation: Evaluation) -> Table:
    """Quality at no particular threshold."""
    titles = ("AUC", "AP", "EER", "TPR at FPR 1 %", "TPR at FPR 5 %", "Brier", "ECE")
    rows = []
    for name, one in evaluation.variants.items():
        score = one.score
        found = (score.average_precision, score.eer, score.tpr_at_fpr_1, score.tpr_at_fpr_5, score.brier)
        cells = [number(value, 3) for value in (*found, one.reliability.ece)]
        rows.append([f"**{escape(name)}**", number(score.auc, 4), *cells])
    return table([("Model", "left"), *columns(titles)], rows)


def thresholds(evaluation: Evaluation) -> Table | None:
    """Every variant at the fixed threshold, the baseline's carried over, and its own; None where there is but one."""
    if not any(one.thresholds.get("own") or one.thresholds.get("carried") for one in evaluation.variants.values()):
        return None
    titles = ("Accuracy: fixed", "carried", "own", "Bal. acc.: fixed", "carried", "own", "own − fixed")
    rows = []
    for name, one in evaluation.variants.items():
        fixed, own = one.thresholds.get("fixed"), one.thresholds.get("own")
        at = [one.thresholds.get(kind) for kind in THRESHOLD_KINDS]
        cells = [number(point.accuracy, 3) if point else NONE for point in at]
        cells += [number(point.balanced_accuracy, 3) if point else NONE for point in at]
        rows.append([f"**{escape(name)}**", *cells, _gap(fixed, own), _shifted(one)])
    return table([("Model", "left"), *columns(titles), ("", "left")], rows)


def at_thresholds(evaluation: Evaluation) -> Table:
    """The rates of every variant at each of its thresholds."""
    rows = []
    for name, one in evaluation.variants.items():
        for kind, point in one.thresholds.items():
            if point is not None:
                rates = (point.recall, point.specificity, point.precision, point.f1, point.accuracy)
                cells = [number(rate, 3) for rate in (point.threshold, *rates, point.balanced_accuracy)]
                rows.append([f"**{escape(name)}**", kind, *cells])
    titles = ("At", "Recall", "Specificity", "Precision", "F1", "Accuracy", "Bal. acc.")
    return table([*columns(("Model", "Threshold"), "left"), *columns(titles)], rows)


def _gap(fixed: OperatingPoint | None, own: OperatingPoint | None) -> str:
    if fixed is None or own is None or fixed.balanced_accuracy is None or own.balanced_accuracy is None:
        return NONE
    return signed(own.balanced_accuracy - fixed.balanced_accuracy, 3)


def _shifted(judged: VariantEvaluation) -> str:
    return f"**{judged.shift.verdict}**" if judged.shift and judged.shift.verdict else NONE
