"""Scoring: from labels, scores and times to numbers with their intervals, and to verdicts. No torch."""

from bench.results.score.evaluate import evaluate
from bench.results.score.frame_sets import on_sets, side_by_side_on_sets
from bench.results.score.operating import with_threshold
from bench.results.score.points import p_fake
from bench.results.score.side_by_side import side_by_side

__all__ = ["evaluate", "on_sets", "p_fake", "side_by_side", "side_by_side_on_sets", "with_threshold"]
