"""Point estimates of one variant's quality on labelled frames."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.records import Score

if TYPE_CHECKING:
    from numpy.typing import NDArray


def p_fake(logit_real: NDArray[np.floating], logit_fake: NDArray[np.floating]) -> NDArray[np.float64]:
    """`softmax([logit_real, logit_fake])[1]`, float64, same shape.

    Every metric ranks by this number. In float64 it separates any two float32 logit margins up to
    about ±23 (float32 saturates at 17, where confident frames would tie), so that ranking by it is
    ranking by the margin `logit_fake - logit_real`.
    """
    margin = np.asarray(logit_fake, np.float64) - np.asarray(logit_real, np.float64)
    small = np.exp(-np.abs(margin))
    return np.where(margin >= 0, 1.0, small) / (1.0 + small)


def roc(
    labels: NDArray[np.integer], p_fake: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """False-positive rates, true-positive rates and thresholds [k], from (0, 0) at infinity to (1, 1).

    One point for every distinct score; `labels` [n] are 1 for fake and need both classes.
    """
    from sklearn.metrics import roc_curve

    fpr, tpr, thresholds = roc_curve(labels, p_fake, drop_intermediate=False)
    return fpr, tpr, thresholds


def equal_error_rate(fpr: NDArray[np.floating], tpr: NDArray[np.floating]) -> float:
    """Where the ROC curve crosses `fpr = 1 - tpr`, linearly interpolated between its points.

    `fpr - (1 - tpr)` rises strictly from -1 to 1 along the curve, so there is exactly one crossing;
    frames with equal scores become fake together, hence the straight line between the points.
    """
    return float(np.interp(0.0, fpr + tpr - 1.0, fpr))


def points(labels: NDArray[np.integer], p_fake: NDArray[np.floating], threshold: float) -> Score:
    """Quality of the scores `p_fake` [n], in [0, 1], against `labels` [n], 1 = fake, 0 = real.

    A frame counts as fake where `p_fake >= threshold`. A quantity that is undefined (precision
    where nothing is called fake, AUC with one class) is None. scikit-learn's definitions;
    the equal error rate is `equal_error_rate`. ValueError on scores that are not finite.
    """
    if not np.isfinite(p_fake).all():
        raise ValueError("scores must be finite")
    fake = labels == 1
    called = p_fake >= threshold
    return Score(
        count=len(labels),
        threshold=threshold,
        tp=int((called & fake).sum()),
        tn=int((~called & ~fake).sum()),
        fp=int((called & ~fake).sum()),
        fn=int((~called & fake).sum()),
        **_ranking(fake, p_fake),
        **_decisions(fake, called),
    )


def _ranking(fake: NDArray[np.bool_], scores: NDArray[np.floating]) -> dict[str, float | None]:
    """What doesn't depend on the threshold."""
    from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

    both = bool(fake.any() and not fake.all())
    return {
        "auc": float(roc_auc_score(fake, scores)) if both else None,
        "eer": equal_error_rate(*roc(fake.astype(np.int64), scores)[:2]) if both else None,
        "average_precision": float(average_precision_score(fake, scores)) if fake.any() else None,
        "brier": float(brier_score_loss(fake, scores, pos_label=True)) if len(fake) else None,
    }


def _decisions(fake: NDArray[np.bool_], called: NDArray[np.bool_]) -> dict[str, float | None]:
    """What follows from the confusion at the threshold."""
    from sklearn import metrics

    if not len(fake):
        names = ("precision", "recall", "specificity", "f1", "accuracy", "balanced_accuracy", "mcc")
        return dict.fromkeys(names)
    both = bool(fake.any() and not fake.all())
    both_called = bool(called.any() and not called.all())
    undefined: Any = np.nan
    return {
        "precision": _known(metrics.precision_score(fake, called, zero_division=undefined)),
        "recall": _known(metrics.recall_score(fake, called, zero_division=undefined)),
        "specificity": _known(metrics.recall_score(~fake, ~called, zero_division=undefined)),
        "f1": _known(metrics.f1_score(fake, called, zero_division=undefined)),
        "accuracy": _known(metrics.accuracy_score(fake, called)),
        "balanced_accuracy": _known(metrics.balanced_accuracy_score(fake, called)) if both else None,
        "mcc": _known(metrics.matthews_corrcoef(fake, called)) if both and both_called else None,
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
