"""By what the best epoch is chosen: a weighted mean of metrics, and whether that prefers to call all frames fake."""

from __future__ import annotations

import math
from collections.abc import Mapping

_EASY = 0.6
"""Where a detector that has so large a share of each class right scores below one that calls all fake, it is told."""
_ALL_FAKE = 0.95


def score_of(metrics: Mapping[str, float | None], weights: Mapping[str, float]) -> float:
    """The weighted mean of metrics; what is undefined counts as 0. Weights sum to 1."""
    return sum(weight * (metrics.get(name) or 0.0) for name, weight in weights.items())


def of_all_fake(fakes: int, reals: int) -> dict[str, float]:
    """The metrics of calling every one of so many frames fake."""
    share = fakes / (fakes + reals)
    return {
        "accuracy": share, "precision": share, "recall": 1.0, "f1": 2 * share / (1 + share), "auc": 0.5,
        "specificity": 0.0, "average_precision": share,
    }  # fmt: skip


def of_even(right: float, fakes: int, reals: int) -> dict[str, float]:
    """The metrics of a detector that has the share `right` of each class right, with scores of two equal normals."""
    from scipy.stats import norm

    share = fakes / (fakes + reals)
    precision = share * right / (share * right + (1 - share) * (1 - right))
    auc = float(norm.cdf(math.sqrt(2) * norm.ppf(right)))
    return {
        "accuracy": right, "precision": precision, "recall": right, "f1": 2 * precision * right / (precision + right),
        "auc": auc, "specificity": right, "average_precision": max(auc, precision),
    }  # fmt: skip


def break_even(weights: Mapping[str, float], fakes: int, reals: int) -> float:
    """The share of each class that a detector must have right to score above one that calls every frame fake."""
    from scipy.optimize import brentq

    all_fake = score_of(of_all_fake(fakes, reals), weights)

    def ahead(right: float) -> float:
        return score_of(of_even(right, fakes, reals), weights) - all_fake

    low, high = 0.5, 1 - 1e-9
    if ahead(low) >= 0:
        return low
    return high if ahead(high) <= 0 else float(brentq(ahead, low, high, xtol=1e-4))


def warnings_before(weights: Mapping[str, float], fakes: int, reals: int) -> list[str]:
    """That the weights prefer a detector that calls all frames fake, where they do."""
    needed = break_even(weights, fakes, reals)
    if needed <= _EASY:
        return []
    all_fake = score_of(of_all_fake(fakes, reals), weights)
    return [
        f'These weights of `select:` prefer "all fake": calling every validation frame fake scores {all_fake:.3f}, '
        f"more than a detector that has {math.floor(100 * needed)} % of each class right; give recall less weight, or "
        "select by auc."
    ]


def warnings_after(
    score: float, metrics: Mapping[str, float | None], weights: Mapping[str, float], fakes: int, reals: int
) -> list[str]:
    """That the chosen epoch is no better than calling all frames fake, or does so."""
    all_fake, warnings = score_of(of_all_fake(fakes, reals), weights), []
    specificity = metrics.get("specificity")
    if set(weights) != {"auc"} and score <= all_fake:
        warnings.append(
            f"The best epoch scores {score:.3f}, and calling every validation frame fake {all_fake:.3f}: by these "
            "weights of `select:` nothing was learned."
        )
    if specificity is not None and specificity <= 1 - _ALL_FAKE:
        warnings.append(
            f"The best epoch calls {100 * (1 - specificity):.0f} % of the real validation frames fake: `select:` has "
            "chosen a detector that calls nearly all fake."
        )
    return warnings
