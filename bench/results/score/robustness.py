"""Under re-compression: the AUC of each variant there, of frames and videos, and what it loses beyond the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bench.records import Degradation, DegradedScore, Evaluation, LabelledFrames, Predictions, RunRecord
from bench.results.score import videos
from bench.results.score.auc import estimate
from bench.results.score.clusters import Clusters, clusters
from bench.results.score.differences import difference, extra_contrast
from bench.results.score.intervals import holm
from bench.results.score.noninferiority import verdict
from bench.results.score.placements import Placements, of_predictions

if TYPE_CHECKING:
    from bench.records import Auc

Degraded = Mapping[Degradation, Predictions]
"""A variant's predictions for re-compressed test frames."""


def with_robustness(evaluation: Evaluation, degraded: Mapping[str, Degraded], run: RunRecord) -> Evaluation:
    """The evaluation with scores under re-compression: per frame, and per video where videos are known."""
    of_frames = robustness(evaluation.test, evaluation.predictions, degraded, run.baseline.name, run.margin)
    by_video, grouped = evaluation.video, evaluation.videos
    if by_video is not None and grouped is not None:
        of_videos = {
            name: {
                level: videos.predictions(predicted, grouped, None, run.video_scoring)
                for level, predicted in of_variant.items()
            }
            for name, of_variant in degraded.items()
        }
        scores = robustness(by_video.test, by_video.predictions, of_videos, run.baseline.name, run.margin)
        by_video = replace(by_video, degraded=scores)
    return replace(evaluation, degraded=of_frames, video=by_video)


def robustness(
    test: LabelledFrames,
    predictions: Mapping[str, Predictions],
    degraded: Mapping[str, Degraded],
    baseline: str,
    margin: float,
) -> dict[str, tuple[DegradedScore, ...]]:
    """The scores of every variant under each re-compression that it was judged under.

    `predictions` are those for the test frames as they are, `degraded` those for re-compressed ones, in the same
    order. Identical files weigh together as one frame, and p is corrected over all variants and levels (Holm). Empty
    where the frames are of one class.
    """
    frames = test.without_copies()
    if len(np.unique(frames.labels)) < 2:
        return {}
    of_sources = clusters(frames.sources, frames.labels)

    def placed(predicted: Predictions) -> Placements:
        return of_predictions(frames.labels, predicted.of(test.counted, slice(None)))

    clean = {name: placed(predictions[name]) for name in degraded}
    levels = {
        name: {level: placed(each) for level, each in of_variant.items()} for name, of_variant in degraded.items()
    }
    before, under = clean.get(baseline), levels.get(baseline, {})
    judged: dict[tuple[str, Degradation], tuple[DegradedScore, float | None]] = {}
    for name, of_variant in levels.items():
        for level, degraded_placed in of_variant.items():
            score = DegradedScore(level, estimate(degraded_placed, of_sources))
            if name == baseline:
                judged[name, level] = replace(score, verdict="baseline"), None
            elif before is None or level not in under:
                judged[name, level] = score, None
            else:
                pairs = (degraded_placed, under[level]), (clean[name], before)
                judged[name, level] = _compared(score, pairs, of_sources, margin, len(of_variant))
    corrected = iter(holm([p for _, p in judged.values() if p is not None]))
    scores = {key: score if p is None else replace(score, p_holm=next(corrected)) for key, (score, p) in judged.items()}
    return {name: tuple(score for (owner, _), score in scores.items() if owner == name) for name in levels}


def _compared(
    score: DegradedScore,
    pairs: tuple[tuple[Placements, Placements], tuple[Placements, Placements]],
    of_sources: Clusters | None,
    margin: float,
    count: int,
) -> tuple[DegradedScore, float]:
    """The score with what compares it with the baseline, and p before it is corrected.

    `pairs` are variant and baseline, re-compressed and as they are; `count` is the number of the variant's levels.
    """
    delta, _ = difference(*pairs[0], of_sources)
    beyond = extra_contrast(*pairs, of_sources)
    (extra, p), (at_once, _) = beyond.at(), beyond.at(1 - 0.05 / count)
    compared = replace(
        score,
        delta=delta,
        extra=extra,
        verdict=verdict(extra.value, extra.interval, margin, extra.unresolved),
        simultaneous=at_once.interval,
    )
    return compared, p


def worst(scores: tuple[DegradedScore, ...]) -> tuple[DegradedScore, Auc] | None:
    """The level at which a variant loses most beyond the baseline, with that loss; None where none was compared."""
    compared = [(score, score.extra) for score in scores if score.extra is not None]
    return min(compared, key=lambda pair: pair[1].value, default=None)
