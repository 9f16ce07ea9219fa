"""What calibrating frames does to videos: their scores are made of the calibrated P(fake) of their frames."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bench.records import Calibration, CalibrationMethod, Evaluation, Predictions, Scaling, Videos, VideoScoring
from bench.results.score import videos
from bench.results.score.calibration import reliability
from bench.results.score.scaling import calibrated, known_logits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def with_videos(evaluation: Evaluation, of_test: Videos, scoring: VideoScoring) -> Evaluation:
    """The evaluation of frames with what each of its scalings makes of the calibration error of test videos.

    Nothing is fitted to videos: a file that is exported answers for frames, and its logits are those of frames.
    """
    variants = {
        name: replace(
            scored, calibration=_of_videos(scored.calibration, evaluation.predictions[name], of_test, scoring)
        )
        for name, scored in evaluation.variants.items()
        if scored.calibration is not None
    }
    return replace(evaluation, variants={**evaluation.variants, **variants})


def _of_videos(calibration: Calibration, frames: Predictions, of_test: Videos, scoring: VideoScoring) -> Calibration:
    """The same with the errors of videos' scores that are made of calibrated `frames`; as it is without any video."""
    logit_diff, labelled = known_logits(frames.logit_diff, frames.test), videos.labelled(of_test)
    labels = labelled.without_copies().labels
    if not len(labels):
        return calibration
    scalings: dict[CalibrationMethod, Scaling] = {}
    for method, scaling in calibration.scalings.items():
        scores = videos.scores(of_test, calibrated(scaling, logit_diff), scoring)[labelled.counted]
        scalings[method] = replace(
            scaling, video_ece=reliability(labels, scores).ece, video_brier=_brier(labels, scores)
        )
    return replace(calibration, scalings=scalings)


def _brier(labels: NDArray[np.integer], scores: NDArray[np.float64]) -> float:
    return float(((scores - labels) ** 2).mean())
