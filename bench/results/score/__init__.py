"""Scoring: from labels and scores to numbers. NumPy and scikit-learn, no torch; heavy imports are late."""

from bench.results.score.intervals import auc_standard_error
from bench.results.score.points import equal_error_rate, p_fake, points, roc

__all__ = ["auc_standard_error", "equal_error_rate", "p_fake", "points", "roc"]
