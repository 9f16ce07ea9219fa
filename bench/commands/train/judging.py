"""Metrics of validation frames, by the code that judges test frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.results.score import points

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class AtThreshold:
    """Gives the metrics of labels and logit differences; those of decisions at a threshold of P(fake)."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def __call__(self, labels: NDArray[np.int64], logit_diffs: NDArray[np.float64]) -> dict[str, float | None]:
        from sklearn.metrics import average_precision_score, roc_auc_score

        decided = points.operating_point(labels, p_fake_of(logit_diffs), self.threshold)
        has_both = len(set(labels.tolist())) == 2
        return {
            "accuracy": decided.accuracy, "precision": decided.precision, "recall": decided.recall, "f1": decided.f1,
            "specificity": decided.specificity,
            "auc": float(roc_auc_score(labels, logit_diffs)) if has_both else None,
            "average_precision": float(average_precision_score(labels, logit_diffs)) if has_both else None,
        }  # fmt: skip


def p_fake_of(logit_diffs: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(fake) [n] of logit differences [n]."""
    import numpy as np

    return points.p_fake(np.zeros_like(logit_diffs), logit_diffs)
