"""Point estimates of one variant's quality on labelled frames."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from bench.records import OperatingPoint, Score
from bench.results.score.intervals import wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.results.score.placements import Placements

    Curve: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

_CELLS = 1000


def p_fake(logit_real: NDArray[np.floating], logit_fake: NDArray[np.floating]) -> NDArray[np.float64]:
    """`softmax([logit_real, logit_fake])[1]`, float64, same shape.

    In float64 it separates any two float32 logit differences up to about ±23 (float32 saturates at 17).
    Frames are ranked by the difference `logit_fake - logit_real` itself wherever that is known.
    """
    logit_diff = np.asarray(logit_fake, np.float64) - np.asarray(logit_real, np.float64)
    small = np.exp(-np.abs(logit_diff))
    return np.where(logit_diff >= 0, 1.0, small) / (1.0 + small)


def roc(labels: NDArray[np.integer], p_fake: NDArray[np.floating]) -> Curve:
    """False-positive rates, true-positive rates and thresholds [k], from (0, 0) at infinity to (1, 1).

    One point for every distinct score; `labels` [n] are 1 for fake and need both classes.
    """
    falling = np.argsort(p_fake)[::-1]
    scores, fake = p_fake[falling], labels[falling] == 1
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    tp = np.cumsum(fake)[last]
    fp = last + 1 - tp
    return (
        np.concatenate([[0.0], fp / fp[-1]]),
        np.concatenate([[0.0], tp / tp[-1]]),
        np.concatenate([[np.inf], scores[last]]),
    )


def precision_recall(curve: Curve, fakes: int, reals: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Recall and precision [k] at each threshold of a ROC `curve` of so many fakes and reals, the highest first.

    In steps, where a point's precision holds from the recall before it to its own, the area is the average precision.
    """
    fpr, tpr, _ = curve
    tp, fp = tpr[1:] * fakes, fpr[1:] * reals
    return tpr[1:], tp / (tp + fp)


def thinned(fpr: NDArray[np.float64], tpr: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same picture of a curve of rates in at most about 4,000 points, both ends among them.

    Points on a horizontal or vertical line between two others go; of a long curve only the first and the
    last point in each square of a thousandth stay.
    """
    keep = np.ones(len(fpr), bool)
    flat = [(values[1:-1] == values[:-2]) & (values[1:-1] == values[2:]) for values in (fpr, tpr)]
    keep[1:-1] = ~(flat[0] | flat[1])
    fpr, tpr = fpr[keep], tpr[keep]
    if len(fpr) <= 4 * _CELLS:
        return fpr, tpr
    across, up = (np.floor(values * _CELLS) for values in (fpr, tpr))
    moves = (np.diff(across) != 0) | (np.diff(up) != 0)
    keep = np.concatenate([[True], moves]) | np.concatenate([moves, [True]])
    return fpr[keep], tpr[keep]


def equal_error_rate(fpr: NDArray[np.floating], tpr: NDArray[np.floating]) -> float:
    """Where the ROC curve crosses `fpr = 1 - tpr`, linearly interpolated between its points.

    `fpr - (1 - tpr)` rises strictly from -1 to 1 along the curve, so there is exactly one crossing;
    frames with equal scores become fake together, hence the straight line between the points.
    """
    return float(np.interp(0.0, fpr + tpr - 1.0, fpr))


def score(
    labels: NDArray[np.integer], p_fake: NDArray[np.floating], placed: Placements | None, curve: Curve | None
) -> Score:
    """Metrics of the scores `p_fake` [n], in [0, 1], that need no threshold; `labels` [n] are 1 for fake.

    `placed` and `curve` are what `placements` and `roc` made of the same, None where a class has no
    frame. ValueError on scores that are not finite or outside [0, 1].
    """
    _check(p_fake)
    fakes = int(np.count_nonzero(labels == 1))
    reals = len(labels) - fakes
    return Score(
        count=len(labels),
        auc=placed.auc if placed else None,
        average_precision=_average_precision(fakes, reals, curve),
        eer=equal_error_rate(*curve[:2]) if curve else None,
        brier=float(((p_fake - labels) ** 2).mean()) if len(labels) else None,
        tpr_at_fpr_1=_tpr_at(0.01, reals, curve),
        tpr_at_fpr_5=_tpr_at(0.05, reals, curve),
    )


def _check(p_fake: NDArray[np.floating]) -> None:
    if not np.isfinite(p_fake).all():
        raise ValueError("scores must be finite")
    if len(p_fake) and not (p_fake.min() >= 0 and p_fake.max() <= 1):
        raise ValueError(f"scores must lie in [0, 1], found {p_fake.min():g} to {p_fake.max():g}")


def _average_precision(fakes: int, reals: int, curve: Curve | None) -> float | None:
    """The mean, over the fakes, of the precision at each one's score."""
    if curve is None:
        return 1.0 if fakes and not reals else None
    fpr, tpr, _ = curve
    tp, fp = tpr[1:] * fakes, fpr[1:] * reals
    return float((np.diff(tpr) * tp / (tp + fp)).sum())


def _tpr_at(most: float, reals: int, curve: Curve | None) -> float | None:
    """The largest true-positive rate with at most that false-positive rate; None where one real frame is more."""
    if curve is None or reals < 1 / most:
        return None
    fpr, tpr, _ = curve
    return float(tpr[np.searchsorted(fpr, most, side="right") - 1])


def operating_point(labels: NDArray[np.integer], p_fake: NDArray[np.floating], threshold: float) -> OperatingPoint:
    """The decisions of `p_fake` [n] at a threshold against `labels` [n], 1 = fake, and their rates.

    A rate that is undefined (precision where nothing is called fake) is None. ValueError on scores
    that are not finite or outside [0, 1].
    """
    _check(p_fake)
    fake, called = labels == 1, p_fake >= threshold
    fakes, calls = int(np.count_nonzero(fake)), int(np.count_nonzero(called))
    tp = int(np.count_nonzero(fake & called))
    fn, fp = fakes - tp, calls - tp
    tn = len(labels) - tp - fn - fp
    recall, specificity = _share(tp, tp + fn), _share(tn, tn + fp)
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return OperatingPoint(
        threshold=threshold,
        tp=tp,
        tn=tn,
        fp=fp,
        fn=fn,
        precision=_share(tp, tp + fp),
        recall=recall,
        specificity=specificity,
        precision_ci=wilson(tp, tp + fp),
        recall_ci=wilson(tp, tp + fn),
        specificity_ci=wilson(tn, tn + fp),
        f1=_share(2 * tp, 2 * tp + fp + fn),
        accuracy=_share(tp + tn, len(labels)),
        balanced_accuracy=(recall + specificity) / 2 if recall is not None and specificity is not None else None,
        mcc=(tp * tn - fp * fn) / math.sqrt(product) if product else None,
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
