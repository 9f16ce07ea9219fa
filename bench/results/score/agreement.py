"""Whether a network that should answer as the baseline does: rank correlation, and the mean change of P(fake)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.records import Predictions

FEWEST_FRAMES = 12
"""Of fewer, ranks say nothing."""

REVERSED = -0.5
"""A rank correlation below this is no matter of noise."""

UNLIKE_RANKS, UNLIKE_CHANGE = 0.8, 0.05
"""A rank correlation below the first with a mean change above the second is more than rounding to int8 does."""

LARGE_CHANGE = 0.15
"""A mean change of P(fake) above this is more than that, whatever the ranks.

Six ways of onnxruntime's to round a small network to int8 gave rank correlations from .97 on and mean changes below
.025; other statistics, another scale and the other order of channels changed P(fake) by .43 and more, and left ranks
at .97 or turned them round.
"""


@dataclass(frozen=True)
class Agreement:
    """Spearman's correlation of the differences of logits, None where either is constant, and the mean |ΔP(fake)|.

    `mean_change_of_real` is that of what the variant leaves for real, P(real), from the baseline's P(fake).
    """

    rank_correlation: float | None
    mean_change: float
    mean_change_of_real: float

    @property
    def is_reversed(self) -> bool:
        """Whether its P(real) is what its P(fake) should be: a wrong input may reverse ranks, but not so exactly."""
        return self._ranks_reversely and self.mean_change_of_real <= LARGE_CHANGE

    @property
    def _ranks_reversely(self) -> bool:
        return self.rank_correlation is not None and self.rank_correlation < REVERSED

    @property
    def is_unlike(self) -> bool:
        """Whether the scores are further from the baseline's than those that compression gives."""
        other_ranks = self.rank_correlation is not None and self.rank_correlation < UNLIKE_RANKS
        differs = other_ranks and self.mean_change > UNLIKE_CHANGE
        return differs or self._ranks_reversely or self.mean_change > LARGE_CHANGE


def agreement(baseline: Predictions, variant: Predictions) -> Agreement | None:
    """Of the same test frames; None of fewer than 12."""
    from scipy.stats import rankdata

    if len(baseline.test) < FEWEST_FRAMES:
        return None
    ranks = [rankdata(predictions.ranks) for predictions in (baseline, variant)]
    is_constant = any(np.ptp(of_one) == 0 for of_one in ranks)
    correlation = None if is_constant else float(np.corrcoef(*ranks)[0, 1])
    changes = (float(np.abs(scores - baseline.test).mean()) for scores in (variant.test, 1 - variant.test))
    return Agreement(correlation, *changes)
