"""How far a number may be from the truth, given so many frames."""

from __future__ import annotations

import math

from bench.records import Score


def auc_standard_error(score: Score) -> float | None:
    """Standard error of the AUC after Hanley & McNeil (1982), Radiology 143: 29-36; None without an AUC.

    From the AUC and the number of frames in each class alone, taking frames as independent.
    Exact where the scores of both classes are exponential; 0 at an AUC of 0 or 1, where it says nothing.
    """
    if score.auc is None:
        return None
    fake, real, auc = score.tp + score.fn, score.tn + score.fp, score.auc
    two_fakes = auc / (2 - auc)
    two_reals = 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (fake - 1) * (two_fakes - auc**2) + (real - 1) * (two_reals - auc**2)
    return math.sqrt(max(variance, 0.0) / (fake * real))
