"""Tables of quality: decisions at each threshold, ranking, calibration."""

from __future__ import annotations

from itertools import groupby

from bench.records import THRESHOLD_KINDS, Evaluation, Interval, OperatingPoint, VariantEvaluation
from bench.reports.content.cells import (
    EMPTY,
    Cell,
    Column,
    Table,
    cell,
    columns,
    table,
    variant_cell,
    with_interval,
)
from bench.reports.content.spans import strong
from bench.reports.content.text import cutoff, number, signed, within


def classification(evaluation: Evaluation) -> Table:
    """The confusion at the fixed threshold, and what follows from it."""
    titles = ("TP", "TN", "FP", "FN", "Recall", "Specificity", "Precision", "F1", "Accuracy", "Bal. acc.", "MCC")
    return table(
        [Column("Model", "left"), *columns(titles)],
        [[variant_cell(name), *_decisions(judged.fixed)] for name, judged in evaluation.variants.items()],
    )


def _decisions(point: OperatingPoint) -> list[Cell]:
    counts = (point.tp, point.tn, point.fp, point.fn)
    return [
        *(cell(f"{count:,}") for count in counts),
        _share(point.recall, point.recall_ci),
        _share(point.specificity, point.specificity_ci),
        _share(point.precision, point.precision_ci),
        *_rates(point.f1, point.accuracy, point.balanced_accuracy, point.mcc),
    ]


def _share(value: float | None, interval: Interval | None) -> Cell:
    return EMPTY if value is None else with_interval(number(value, 3), within(interval, 2))


def _rates(*values: float | None) -> list[Cell]:
    return [cell(number(value, 3)) for value in values]


def ranking(evaluation: Evaluation) -> Table:
    """Quality at no particular threshold."""
    titles = ("AUC", "AP", "EER", "TPR at FPR 1 %", "TPR at FPR 5 %", "Brier", "ECE")
    rows = []
    for name, judged in evaluation.variants.items():
        score = judged.score
        at_fpr = (score.tpr_at_fpr_1, score.tpr_at_fpr_5)
        rates = _rates(score.average_precision, score.eer, *at_fpr, score.brier, judged.reliability.ece)
        rows.append([variant_cell(name), cell(number(score.auc, 4)), *rates])
    return table([Column("Model", "left"), *columns(titles)], rows)


def thresholds(evaluation: Evaluation) -> Table | None:
    """Accuracy of each variant at the fixed, the carried and its own threshold; None where there is only the fixed."""
    kinds = [judged.thresholds for judged in evaluation.variants.values()]
    if not any(points.get("own") or points.get("carried") for points in kinds):
        return None
    titles = ("Accuracy: fixed", "carried", "own", "Bal. acc.: fixed", "carried", "own", "own − fixed")
    rows = []
    for name, judged in evaluation.variants.items():
        points = [judged.thresholds.get(kind) for kind in THRESHOLD_KINDS]
        accuracies = _rates(*(point.accuracy if point else None for point in points))
        balanced = _rates(*(point.balanced_accuracy if point else None for point in points))
        gained = _gained(judged.thresholds.get("fixed"), judged.thresholds.get("own"))
        rows.append([variant_cell(name), *accuracies, *balanced, gained, _shifted(judged)])
    return table([Column("Model", "left"), *columns(titles), Column("", "left")], rows)


def at_thresholds(evaluation: Evaluation) -> Table:
    """The rates of every variant at each of its thresholds."""
    rows = []
    for name, judged in evaluation.variants.items():
        points = [(kind, point) for kind, point in judged.thresholds.items() if point is not None]
        for threshold, same in groupby(points, lambda each: each[1].threshold):
            kinds, (point, *_) = zip(*same, strict=True)
            rates = (point.recall, point.specificity, point.precision, point.f1, point.accuracy)
            rates_at = _rates(*rates, point.balanced_accuracy)
            rows.append([variant_cell(name), cell(", ".join(kinds)), cell(cutoff(threshold)), *rates_at])
    titles = ("At", "Recall", "Specificity", "Precision", "F1", "Accuracy", "Bal. acc.")
    return table([*columns(("Model", "Threshold"), "left"), *columns(titles)], rows)


def _gained(fixed: OperatingPoint | None, best: OperatingPoint | None) -> Cell:
    """The balanced accuracy that a variant's own threshold gains over the fixed one."""
    if fixed is None or best is None or fixed.balanced_accuracy is None or best.balanced_accuracy is None:
        return EMPTY
    return cell(signed(best.balanced_accuracy - fixed.balanced_accuracy, 3))


def _shifted(judged: VariantEvaluation) -> Cell:
    return cell(strong(judged.shift.verdict)) if judged.shift and judged.shift.verdict else EMPTY
