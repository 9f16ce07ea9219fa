"""How far a variant's class-activation maps moved from the baseline's."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from bench.records import Drift, Predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_FRAMES = 20_000
"""Enough to know a median to a hundredth; the maps of a million frames would take half a minute a variant."""

FRAMES_AT_ONCE = 2_000

HOTTEST = 0.1
"""Share of the map's area that is compared as its hottest part."""

OTHER_REASON_BELOW = 0.5
"""Maps with no common cell in their hottest tenth and a rank correlation below this show another reason."""


def drift(
    labels: NDArray[np.integer],
    baseline: Predictions,
    variant: Predictions,
    threshold: float,
    counted: NDArray[np.int64] | None = None,
) -> Drift | None:
    """Compare the variant's maps with the baseline's on at most 20,000 of the rows `counted`, sampled evenly.

    `labels` [n] and predictions are of all test frames; without `counted`, all of them count.
    Maps of unlike size are first resampled onto the coarser grid; each cell is the mean of the area that it covers.
    The hottest tenth are the cells with the strongest support for the class that the baseline predicts. Cells that
    tie for the last cells of that tenth, as dead ones do, count as equal shares of them. A frame is right for another
    reason where both are right, the hottest tenths have no cell in common, and the rank correlation is below 0.5.
    Frames with a map that is constant or not finite have no ranks and are left out. None where either has no maps, or
    no frame can be compared.
    """
    if baseline.cam is None or variant.cam is None or not len(labels):
        return None
    counted = np.arange(len(labels)) if counted is None else counted
    rows = counted[np.unique(np.linspace(0, len(counted) - 1, min(len(counted), MOST_FRAMES)).round().astype(np.int64))]
    called = baseline.test[rows] >= threshold
    pairs = _pairs(baseline.cam, variant.cam, rows)
    measured = [_measure(*pair, called[start : start + FRAMES_AT_ONCE]) for start, pair in pairs]
    correlation, overlap = (np.concatenate(parts) for parts in zip(*measured, strict=True))
    comparable = np.isfinite(correlation)
    if not comparable.any():
        return None
    rows, called = rows[comparable], called[comparable]
    correlation, overlap = correlation[comparable], overlap[comparable]
    fake = labels[rows] == 1
    right = (called == fake) & ((variant.test[rows] >= threshold) == fake)
    other = np.flatnonzero(right & (overlap == 0) & (correlation < OTHER_REASON_BELOW))
    return Drift(
        count=len(rows),
        rank_correlation=float(np.median(correlation)),
        rank_correlation_low=float(np.percentile(correlation, 5)),
        overlap=float(overlap.mean()),
        both_right=int(right.sum()),
        other_reason=rows[other[np.argsort(correlation[other], kind="stable")]],
    )


def _pairs(
    baseline: NDArray[np.floating], variant: NDArray[np.floating], rows: NDArray[np.int64]
) -> Iterator[tuple[int, tuple[NDArray[np.floating], NDArray[np.floating]]]]:
    """Maps [r, cells] of both on one grid, read piece by piece, and where in `rows` each piece starts."""
    grid = min(baseline.shape[1], variant.shape[1]), min(baseline.shape[2], variant.shape[2])
    for start in range(0, len(rows), FRAMES_AT_ONCE):
        piece = rows[start : start + FRAMES_AT_ONCE]
        yield start, (_onto(baseline[piece], grid), _onto(variant[piece], grid))
        for maps in (baseline, variant):
            forget(maps)


def forget(maps: NDArray[np.floating]) -> None:
    """Tell the system to drop the pages read of a mapped file: they count as this process's memory."""
    if isinstance(maps.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        maps.base.madvise(mmap.MADV_DONTNEED)


def _onto(maps: NDArray[np.floating], grid: tuple[int, int]) -> NDArray[np.floating]:
    """Maps [r, h, w] resampled by area onto a grid that is no finer, as [r, cells]; on the same grid untouched."""
    if maps.shape[1:] != grid:
        maps = _shares(maps.shape[1], grid[0]) @ maps @ _shares(maps.shape[2], grid[1]).T
    return maps.reshape(len(maps), -1)


def _shares(cells: int, fewer: int) -> NDArray[np.float64]:
    """What share each of `cells` equal parts of a line has in each of `fewer` equal parts [fewer, cells]."""
    edges, new = np.linspace(0, 1, cells + 1), np.linspace(0, 1, fewer + 1)
    common = np.minimum(edges[None, 1:], new[1:, None]) - np.maximum(edges[None, :-1], new[:-1, None])
    return np.asarray(np.maximum(common, 0) * fewer)


def _measure(
    baseline: NDArray[np.floating], variant: NDArray[np.floating], called: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Spearman's coefficient and the share of the hottest cells in common of maps [r, cells]; NaN where undefined."""
    from scipy.stats import rankdata

    first, second = (_standardized(rankdata(maps, axis=1)) for maps in (baseline, variant))
    correlation = np.einsum("rc,rc->r", first, second)
    correlation[~(np.isfinite(baseline) & np.isfinite(variant)).all(axis=1)] = np.nan
    towards = np.where(called, 1, -1)[:, None]
    common = np.minimum(_hottest(baseline * towards), _hottest(variant * towards)).sum(axis=1, dtype=np.float64)
    return correlation, common / _hottest_cells(baseline.shape[1])


def _standardized(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of mean 0 and length 1; NaN where all are equal."""
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    length = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    return np.asarray(centred / np.where(length > 0, length, np.nan))


def _hottest(support: NDArray[np.floating]) -> NDArray[np.float32]:
    """Membership of each cell [r, cells] in the hottest tenth: 1, 0, or an equal share where cells tie."""
    chosen = _hottest_cells(support.shape[1])
    least = np.partition(support, -chosen, axis=1)[:, -chosen, None]
    above, equal = support > least, support == least
    left = chosen - np.count_nonzero(above, axis=1, keepdims=True)
    share = left / np.maximum(np.count_nonzero(equal, axis=1, keepdims=True), 1)
    return np.asarray(above + equal * share.astype(np.float32))


def _hottest_cells(cells: int) -> int:
    return max(1, round(HOTTEST * cells))
