"""How two variants order pairs of a fake and a real frame differently, smoothed over frames that score alike.

Between variants that are close, few pairs change their order on some test frames, or none, and the variance of what
they counted says little. What these scores would do to other frames like these says more: so every frame's change of
score is tried on the whole neighbourhood of its score, by a normal kernel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.records import evenly
from bench.results.score.placements import Placements
from bench.results.score.rounding import CERTAIN, COARSE, FARTHEST, steps, tied_at_most

if TYPE_CHECKING:
    from numpy.typing import NDArray

BANDWIDTH = 0.8
"""The kernel's deviation in those of the scores within a class, times the fifth root of the smaller class's size."""
BANDWIDTH_OF_FEW = 1.84
"""The same times the third root, as for distribution functions: of fewer than 500 frames, which are sparse near a
frame, more count as its neighbours."""
ROUNDED = 0.41
"""The deviation of the distance of two scores that were rounded to the same step, in steps."""
CELLS = 64
"""Points in a deviation of the kernel, where distribution functions are tabulated."""
MOST_CELLS = 1 << 17
MOST_OF_A_CLASS = 512
"""Pairs are looked at one by one among as many frames of each class."""


@dataclass(frozen=True, eq=False)
class Swaps:
    """What becomes of the order of pairs from one variant to another, as expected of frames like these.

    `fake` [m] and `real` [n] are the changes of each frame's placement value. `share` is the expected share of pairs
    that change their order, and `hidden` what rounded scores add to it that they do not show. `squared` is the mean
    square of a pair's smoothed change. `counted` is that of the changes that these frames show. `unseen` is the
    variance that the resolution of rounded scores adds to the mean change, and `unresolved` how far the difference of
    the AUCs may lie from that of the scores before they were rounded.
    """

    fake: NDArray[np.float64]
    real: NDArray[np.float64]
    share: float
    squared: float
    counted: float
    unseen: float
    hidden: float = 0.0
    unresolved: float = 0.0

    @property
    def value(self) -> float:
        """The smoothed difference of the two AUCs."""
        return float(self.fake.mean() + self.real.mean()) / 2

    def minus(self, other: Swaps) -> Swaps:
        """What a variant changes beyond another change on the same frames; shares and squares of both add up."""
        return Swaps(
            self.fake - other.fake,
            self.real - other.real,
            self.share + other.share,
            self.squared + other.squared,
            self.counted + other.counted,
            self.unseen + other.unseen,
            self.hidden + other.hidden,
            self.unresolved + other.unresolved,
        )


def swaps(variant: Placements, baseline: Placements) -> Swaps:
    """The swaps from `baseline` to `variant`, on the same frames; O(n log n)."""
    is_fake = variant.is_fake
    scored, table = _tabulated(variant, baseline)
    fake, real = _changes(scored, is_fake, table)
    share, hidden, squared, counted = _pairs(scored, is_fake, table.width)
    return Swaps(
        fake=fake,
        real=real,
        share=share + hidden,
        squared=squared,
        counted=counted,
        unseen=_unseen(_hidden(scored), scored, is_fake, table),
        hidden=hidden,
        unresolved=_unresolved((baseline, variant), scored, table),
    )


def placement_changes(variant: Placements, baseline: Placements) -> NDArray[np.float64]:
    """The smoothed change of each frame's placement value [n], without what else `swaps` tells of them."""
    scored, table = _tabulated(variant, baseline)
    of_frames = np.empty(len(variant.is_fake))
    of_frames[variant.is_fake], of_frames[~variant.is_fake] = _changes(scored, variant.is_fake, table)
    return of_frames


def _tabulated(variant: Placements, baseline: Placements) -> tuple[list[_Scored], _Table]:
    """The scores before and after, and the table of their distribution functions."""
    is_fake = variant.is_fake
    smaller = min(int(is_fake.sum()), int((~is_fake).sum()))
    scored = [_Scored.of(placed) for placed in (baseline, variant)]
    rounded = max(float(each.steps.mean()) for each in scored)
    width = max(bandwidth(smaller), ROUNDED * rounded)
    return scored, _Table.over([each.scores for each in scored], width)


def _changes(
    scored: list[_Scored], is_fake: NDArray[np.bool_], table: _Table
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The changes of the smoothed placement values of fakes and of reals."""
    (fake_before, real_before), (fake_after, real_after) = (
        table.placements(each.scores[is_fake], each.scores[~is_fake]) for each in scored
    )
    return fake_after - fake_before, real_after - real_before


def bandwidth(smaller: int) -> float:
    """The kernel's deviation, in those of the scores within a class, where the smaller class has so many frames."""
    return float(max(BANDWIDTH * smaller**-0.2, BANDWIDTH_OF_FEW * smaller ** (-1 / 3)))


@dataclass(frozen=True, eq=False)
class _Scored:
    """The scores [n] of a variant in deviations within a class, and how far apart rounding leaves them [n].

    Scores that are assumed hide nothing: they are the same before and after.
    """

    scores: NDArray[np.float64]
    steps: NDArray[np.float64]

    @classmethod
    def of(cls, placed: Placements) -> _Scored:
        spread = _unbounded(placed.scores)
        deviation = _deviation(spread, placed.is_fake)
        scaled = (spread - np.median(spread)) / deviation if deviation > 0 else np.zeros(len(spread))
        scaled = np.clip(scaled, -FARTHEST, FARTHEST)
        if placed.assumed is None:
            return cls(scaled, steps(scaled))
        of_frames = np.zeros(len(scaled))
        of_frames[~placed.assumed] = steps(scaled[~placed.assumed])
        return cls(scaled, of_frames)


def _unbounded(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Scores as they are, and P(fake) as logits: neighbours near 0 and 1 are then as far apart as others."""
    values = np.asarray(scores, np.float64)
    if values.min() < 0 or values.max() > 1:
        return values
    inside = values[(values > 0) & (values < 1)]
    if not len(inside):
        return values
    # 1 - least would be 1 where least is below the last digit of 1; and the odds must stay a finite number.
    least = max(min(inside.min(), 1 - inside.max()) / 2, np.finfo(np.float64).tiny)
    logits: NDArray[np.float64] = np.log(np.maximum(values, least) / np.maximum(1 - values, least))
    return logits


def _deviation(scores: NDArray[np.float64], is_fake: NDArray[np.bool_]) -> float:
    """The deviation within a class: by quartiles, which outliers leave alone, where these differ.

    Where all scores of a class are equal, that of all.
    """
    parts = [scores[is_fake], scores[~is_fake]]
    weights = [len(part) for part in parts]
    quartiles = [float(np.subtract(*np.quantile(part, (0.75, 0.25)))) / 1.349 for part in parts]
    deviations = quartiles if min(quartiles) > 0 else [float(part.std()) for part in parts]
    return math.sqrt(float(np.average(np.square(deviations), weights=weights))) or float(scores.std())


@dataclass(frozen=True, eq=False)
class _Table:
    """Points [k] at which distribution functions are tabulated, for a kernel of this `width`."""

    points: NDArray[np.float64]
    width: float

    @classmethod
    def over(cls, scores: list[NDArray[np.float64]], width: float) -> _Table:
        low, high = min(part.min() for part in scores) - 6 * width, max(part.max() for part in scores) + 6 * width
        count = min(math.ceil((high - low) / width * CELLS) + 1, MOST_CELLS)
        return cls(np.linspace(low, high, count), width)

    def density(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The smoothed share of `scores` in each cell [k]."""
        from scipy.ndimage import gaussian_filter1d

        cell = float(self.points[1] - self.points[0])
        position = (scores - self.points[0]) / cell
        left = position.astype(np.int64)
        right_part = position - left
        counts = np.bincount(left, 1 - right_part, len(self.points)) + np.bincount(
            left + 1, right_part, len(self.points)
        )
        smooth: NDArray[np.float64] = gaussian_filter1d(counts / len(scores), self.width / cell, mode="constant")
        return smooth

    def below(self, scores: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
        """The smoothed share of `scores` below each value of `at`."""
        density = self.density(scores)
        return self.interpolated(np.cumsum(density) - density / 2, at)

    def interpolated(self, curve: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
        """`curve` [k] at each value of `at`, which lie between the points: these are even, so none is searched for."""
        position = (at - self.points[0]) / float(self.points[1] - self.points[0])
        left = position.astype(np.int64)
        return np.asarray(curve[left] + (position - left) * (curve[left + 1] - curve[left]), np.float64)

    def placements(
        self, fakes: NDArray[np.float64], reals: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The smoothed share of reals below each fake, and of fakes above each real."""
        return self.below(reals, fakes), 1 - self.below(fakes, reals)


def _pairs(scored: list[_Scored], is_fake: NDArray[np.bool_], width: float) -> tuple[float, float, float, float]:
    """The mean size of pairs' smoothed changes of order, what rounding hides of it, and the mean square.

    And the latter of changes that were counted. On frames sampled evenly.
    """
    from scipy.special import ndtr

    before, after = scored
    order = np.argsort(before.scores + after.scores, kind="stable")
    fakes, reals = (
        rows[evenly(len(rows), MOST_OF_A_CLASS)] for rows in (order[is_fake[order]], order[~is_fake[order]])
    )

    def gaps(each: _Scored) -> NDArray[np.float64]:
        apart: NDArray[np.float64] = (each.scores[fakes, None] - each.scores[reals]) / width
        return apart

    change = ndtr(gaps(after)) - ndtr(gaps(before))
    counted = (np.sign(gaps(after)) - np.sign(gaps(before))) / 2
    hidden, variances = 0.0, _hidden(scored)
    if variances.any():
        apart = np.sqrt(variances[fakes, None] + variances[reals]) / width
        near = (np.exp(-(gaps(before) ** 2) / 2) + np.exp(-(gaps(after) ** 2) / 2)) / 2
        hidden = float((near * apart).mean()) / math.pi
    return float(np.abs(change).mean()), hidden, float((change**2).mean()), float((counted**2).mean())


def _hidden(scored: list[_Scored]) -> NDArray[np.float64]:
    """The variance of what rounding hides of each frame's change of score [n]."""
    before, after = scored
    variances: NDArray[np.float64] = (before.steps**2 + after.steps**2) / 12
    return variances


def _unresolved(placed: tuple[Placements, ...], scored: list[_Scored], table: _Table) -> float:
    """How far the difference may be off, both AUCs together: see `Swaps`."""
    is_fake = placed[0].is_fake
    coarse = sum(tied_at_most(of.ranks, is_fake, each.steps) for of, each in zip(placed, scored, strict=True))
    if not coarse:
        # No fake and real frame share a score: whole scores give the same AUCs. Equal ones may be copies.
        return 0.0
    # Of coarse steps, all that they may hide is counted already.
    fine = np.square([np.where(each.steps < COARSE, each.steps, 0.0) for each in scored]).sum(axis=0) / 12
    return coarse + CERTAIN * math.sqrt(_unseen(fine, scored, is_fake, table))


def _unseen(variances: NDArray[np.float64], scored: list[_Scored], is_fake: NDArray[np.bool_], table: _Table) -> float:
    """The variance of the mean change of placement that changes of scores of these `variances` [n] would make."""
    if not variances.any():
        return 0.0
    cell, total = float(table.points[1] - table.points[0]), 0.0
    for rows in (is_fake, ~is_fake):
        slopes = sum(
            table.interpolated(table.density(each.scores[~rows]) / cell, each.scores[rows]) / 2 for each in scored
        )
        total += float((slopes**2 * variances[rows]).sum()) / int(rows.sum()) ** 2
    return total
