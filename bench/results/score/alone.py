"""The scores of one variant on labelled frames, compared with nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.records import Interval, VariantEvaluation
from bench.results.score import auc, calibration, clusters, placements, points
from bench.results.score.intervals import wilson

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


def judged(
    labels: NDArray[np.int8], p_fake: NDArray[np.float64], sources: pd.Series[str], threshold: float
) -> VariantEvaluation:
    """Metrics of P(fake) [n] by `labels` [n], 1 = fake, and decisions at a threshold.

    `sources` [n] are the videos or persons of the frames, missing where unknown: the interval of the AUC is the wider
    one of those by frame and by source. What needs both classes is None where there is one. ValueError where a score is
    not in [0, 1].
    """
    has_both = len(np.unique(labels)) == 2
    placed = placements.placements(labels, p_fake) if has_both else None
    curve = points.roc(labels, p_fake) if has_both else None
    fakes = int((labels == 1).sum())
    return VariantEvaluation(
        score=points.score(labels, p_fake, placed, curve),
        auc=auc.estimate(placed, clusters.clusters(sources, labels)) if placed else None,
        roc=points.thinned(*curve[:2]) if curve else None,
        reliability=calibration.reliability(labels, p_fake),
        thresholds={"fixed": points.operating_point(labels, p_fake, threshold)},
        precision_recall=(
            points.thinned(*points.precision_recall(curve, fakes, len(labels) - fakes)) if curve else None
        ),
    )


def accuracy_interval(evaluated: VariantEvaluation) -> Interval | None:
    """Wilson's 95 % interval of the share of right decisions at the fixed threshold."""
    point = evaluated.fixed
    return wilson(point.tp + point.tn, evaluated.score.count)
