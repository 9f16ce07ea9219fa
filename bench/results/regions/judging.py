"""Which parts of the face every variant looks at, by outcome, beside the baseline on the same frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.records import (
    OUTCOMES,
    ChangedPart,
    FaceCounts,
    LabelledFrames,
    OutcomeRegions,
    PartShare,
    Predictions,
    Regions,
    VariantRegions,
    evenly,
)
from bench.records.inspection import PARTS
from bench.results.localisation.judging import NO_MAPS, clusters_of
from bench.results.localisation.measuring import speaks_for, up_sampled
from bench.results.regions.measuring import areas, parts_of, shares
from bench.results.score import means
from bench.results.score.clusters import Clusters
from bench.results.score.outcomes import outcomes

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_FRAMES = 2_000
"""Enough to know a mean to a hundredth."""
NO_FACES = "no face was found in any test frame"


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a variant's maps of some frames [n] show for fake and for real, by part [n, parts]; NaN where nothing."""

    fake: NDArray[np.float64]
    real: NDArray[np.float64]

    def of(self, called_fake: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The shares [n, parts] for the class that each frame is called."""
        return np.where(called_fake[:, None], self.fake, self.real)


@dataclass(frozen=True, eq=False)
class _Frames:
    """The frames that are looked at: `rows` [n] of the test frames, their labels, and their clusters."""

    rows: NDArray[np.int64]
    labels: NDArray[np.integer]
    clusters: Clusters | None


def regions(
    counts: FaceCounts,
    points: NDArray[np.float64],
    test: LabelledFrames,
    predictions: Mapping[str, Predictions],
    of: tuple[str, float],
) -> Regions:
    """The shares of evidence on each part, by variant and outcome.

    `points` [n, 5, 2] are those of all test frames, NaN without a face; `of` is the baseline and the threshold. Of
    more than `MOST_FRAMES` frames with a face, as many at even distances are looked at.
    """
    baseline, threshold = of
    counted = np.arange(len(test.labels))[test.counted]
    with_face = counted[np.isfinite(points[counted]).all((1, 2))]
    rows = with_face[evenly(len(with_face), MOST_FRAMES)]
    if not len(rows):
        return Regions(counts, 0, reasons=dict.fromkeys(predictions, NO_FACES))
    frames = _Frames(rows, test.labels[rows], clusters_of(test, rows))
    parts = [parts_of(points[row]) for row in rows]
    seen = {name: _seen(each.cam, rows, parts) for name, each in predictions.items() if each.cam is not None}
    before = seen.get(baseline)
    return Regions(
        counts,
        len(rows),
        dict(zip(PARTS, np.mean([areas(of_frame) for of_frame in parts], axis=0).tolist(), strict=True)),
        {
            name: _of_variant(
                frames, (predictions[name].test[rows], threshold), of_variant, None if name == baseline else before
            )
            for name, of_variant in seen.items()
        },
        {name: NO_MAPS for name in predictions if name not in seen},
    )


def _seen(cam: NDArray[np.float32], rows: NDArray[np.int64], parts: list[NDArray[np.intp]]) -> _Seen:
    fake, real = list["NDArray[np.float64]"](), list["NDArray[np.float64]"]()
    for row, of_frame in zip(rows.tolist(), parts, strict=True):
        fine = up_sampled(cam[row])
        for is_fake, of_class in ((True, fake), (False, real)):
            nothing = np.full(len(PARTS), np.nan)
            of_class.append(shares(fine, of_frame, is_fake) if speaks_for(cam[row], fake=is_fake) else nothing)
    return _Seen(np.array(fake), np.array(real))


def _of_variant(
    frames: _Frames, scores: tuple[NDArray[np.float64], float], seen: _Seen, before: _Seen | None
) -> VariantRegions:
    """The parts of each outcome, and the frames with another leading part than the baseline's.

    `scores` are P(fake) [n] and the threshold.
    """
    p_fake, threshold = scores
    called = p_fake >= threshold
    now, then = seen.of(called), before.of(called) if before else None
    by_outcome = {
        outcome: of_outcome
        for outcome, chosen in outcomes(frames.labels, p_fake, threshold).items()
        if (of_outcome := _of_outcome(chosen, now, then, frames.clusters))
    }
    in_order = {outcome: by_outcome[outcome] for outcome in OUTCOMES if outcome in by_outcome}
    if then is None:
        return VariantRegions(in_order)
    compared = np.flatnonzero(np.isfinite(now[:, 0]) & np.isfinite(then[:, 0]))
    leading, led = now[compared].argmax(1), then[compared].argmax(1)
    gained = now[compared, leading] - then[compared, leading]
    changed = [index for index in np.argsort(-gained, kind="stable").tolist() if leading[index] != led[index]]
    return VariantRegions(
        in_order,
        len(compared),
        tuple(ChangedPart(int(frames.rows[compared[i]]), PARTS[led[i]], PARTS[leading[i]]) for i in changed),
    )


def _of_outcome(
    chosen: NDArray[np.int64], now: NDArray[np.float64], then: NDArray[np.float64] | None, of_all: Clusters | None
) -> OutcomeRegions | None:
    """The parts over the frames `chosen`; None where nothing speaks for the class in any of them."""
    shown = chosen[np.isfinite(now[chosen, 0])]
    if not len(shown):
        return None
    paired = shown[np.isfinite(then[shown, 0])] if then is not None else shown[:0]
    of_shown, of_paired = _subset(of_all, shown), _subset(of_all, paired)
    parts = {}
    for index, part in enumerate(PARTS):
        delta = None
        if then is not None and len(paired):
            delta = means.mean(now[paired, index] - then[paired, index], of_paired, low=-1.0)
        parts[part] = PartShare(means.mean(now[shown, index], of_shown), delta)
    return OutcomeRegions(len(shown), len(paired), parts)


def _subset(of_all: Clusters | None, rows: NDArray[np.int64]) -> Clusters | None:
    """The clusters of some of the frames; None where no two of them share one."""
    return of_all.dependent_subset(rows) if of_all is not None and len(rows) else None
