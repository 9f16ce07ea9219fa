"""Scoring: from labels, scores and times to numbers with their intervals, and to verdicts. No torch."""

from bench.results.score.evaluate import evaluate
from bench.results.score.points import p_fake
from bench.results.score.side_by_side import side_by_side

__all__ = ["evaluate", "p_fake", "side_by_side"]
