"""What the maps of all variants come to beside the masks of the same test fakes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bench.records import Chance, FittedMasks, LabelledFrames, Localisation, Localised, Predictions, evenly
from bench.results.localisation.measuring import centre, measured, speaks_for, up_sampled
from bench.results.score import means
from bench.results.score.clusters import Clusters, clusters

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_FRAMES = 2_000
"""Enough to know a mean to a hundredth; a map takes a fifth of a millisecond."""


@dataclass(frozen=True, eq=False)
class _Values:
    """What the maps of a variant come to on each fake [n]."""

    pointing: NDArray[np.float64]
    inside: NDArray[np.float64]
    auc: NDArray[np.float64]
    blank: NDArray[np.bool_]


def localisation(
    masks: FittedMasks, test: LabelledFrames, predictions: Mapping[str, Predictions], baseline: str
) -> Localisation:
    """Where the maps of every variant lie on the fakes that have a mask, and how that differs from the baseline's.

    `predictions` are of all test frames. Of more than `MOST_FRAMES` fakes, as many at even distances are compared.
    """
    chosen = evenly(len(masks.rows), MOST_FRAMES)
    if not chosen:
        return Localisation(masks.counts, 0, reasons=dict.fromkeys(predictions, NO_MASKS))
    rows, shares = masks.rows[chosen], np.asarray(masks.shares[masks.positions[chosen]])
    of_sources = clusters_of(test, rows)
    values = {name: _measured(each.cam, rows, shares) for name, each in predictions.items() if each.cam is not None}
    before, of_baseline = values.get(baseline), predictions.get(baseline)
    return Localisation(
        masks.counts,
        len(rows),
        _chance(shares, of_baseline.cam[rows] if of_baseline and of_baseline.cam is not None else None),
        {
            name: _localised(of_variant, None if name == baseline else before, of_sources)
            for name, of_variant in values.items()
        },
        {name: NO_MAPS for name in predictions if name not in values},
    )


NO_MAPS, NO_MASKS = "its answers have no class-activation map", "no mask counts"


def clusters_of(test: LabelledFrames, rows: NDArray[np.int64]) -> Clusters | None:
    """The clusters of some test frames, by what hangs together among all of them; None where no two share one."""
    frames = test.without_copies()
    of_all = clusters(frames.sources, frames.labels)
    if of_all is None:
        return None
    counted = np.arange(len(test.labels))[test.counted]
    return of_all.dependent_subset(np.searchsorted(counted, rows))


def _measured(cam: NDArray[np.float32], rows: NDArray[np.int64], shares: NDArray[np.uint8]) -> _Values:
    pairs = zip(rows.tolist(), shares, strict=True)
    return _as_values(
        [measured(up_sampled(cam[row]), mask, blank=not speaks_for(cam[row], fake=True)) for row, mask in pairs]
    )


def _as_values(of_frames: list[tuple[float, float, float, bool]]) -> _Values:
    pointing, inside, auc, blank = zip(*of_frames, strict=True)
    return _Values(np.array(pointing), np.array(inside), np.array(auc), np.array(blank))


def _chance(shares: NDArray[np.uint8], cams: NDArray[np.float32] | None) -> Chance:
    """What maps come to that know nothing of a frame; `cams` [n, h, w] are the baseline's."""
    area, of_centre = float(shares.mean() / 255), _of_one(centre(), shares)
    finite = [] if cams is None else [cam for cam in cams if np.isfinite(cam).all()]
    if not finite:
        return Chance(area, *of_centre)
    mean: NDArray[np.float32] = np.stack(finite).mean(0, dtype=np.float64).astype(np.float32)
    return Chance(area, *of_centre, *_of_one(up_sampled(mean), shares, blank=not speaks_for(mean, fake=True)))


def _of_one(fine: NDArray[np.float32], shares: NDArray[np.uint8], *, blank: bool = False) -> tuple[float, float, float]:
    """What one map comes to for all fakes: pointing, evidence inside, AUC."""
    values = _as_values([measured(fine, mask, blank=blank) for mask in shares])
    return float(values.pointing.mean()), float(values.inside.mean()), float(values.auc.mean())


def _localised(values: _Values, before: _Values | None, of_sources: Clusters | None) -> Localised:
    """The means of a variant, and their differences to the baseline's; `before` is None for the baseline itself."""
    alone = Localised(
        frames=len(values.blank),
        blank=int(values.blank.sum()),
        pointing=means.share(values.pointing, of_sources),
        inside=means.mean(values.inside, of_sources),
        auc=means.mean(values.auc, of_sources),
    )
    if before is None:
        return alone
    return replace(
        alone,
        pointing_delta=means.share_difference(values.pointing, before.pointing, of_sources),
        inside_delta=means.mean(values.inside - before.inside, of_sources, low=-1.0),
        auc_delta=means.mean(values.auc - before.auc, of_sources, low=-1.0),
    )
