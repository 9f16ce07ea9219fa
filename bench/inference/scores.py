"""From the logits of one frame to its score."""

from __future__ import annotations

from bench.records.inspection import Score
from bench.results.score import p_fake


def score_of(logits: tuple[float, float]) -> Score:
    """P(fake), as evaluation computes it, and the logit difference, which ranks where P(fake) is 0 or 1."""
    import numpy as np

    real, fake = np.array(logits, np.float32).reshape(2, 1)
    return Score(float(p_fake(real, fake)[0]), logits[1] - logits[0])
