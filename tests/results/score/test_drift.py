"""Drift of constructed class-activation maps, against scipy.stats.spearmanr and OpenCV's area resampling."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from bench.records import Drift, Predictions
from bench.results.score import drift as module
from bench.results.score.drift import drift

LABELS = np.array([1, 0] * 20, np.int8)
RIGHT = np.where(LABELS == 1, 0.9, 0.1)


def maps(seed: int, frames: int = 40, side: int = 8) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(frames, side, side)).astype(np.float32)


def drifted(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    p_first: NDArray[np.float64] = RIGHT,
    p_second: NDArray[np.float64] = RIGHT,
) -> Drift:
    """LABELS at threshold 0.5."""
    result = drift(
        LABELS, Predictions(p_first, None, np.asarray(first)), Predictions(p_second, None, np.asarray(second)), 0.5
    )
    assert result is not None
    return result


def spearman(first: NDArray[np.floating], second: NDArray[np.floating]) -> list[float]:
    return [
        float(spearmanr(before.ravel(), after.ravel()).statistic) for before, after in zip(first, second, strict=True)
    ]


def test_rank_correlation_is_scipys() -> None:
    first = np.round(maps(0), 1)  # with ties
    second = np.round(first + maps(1), 1)
    expected = spearman(first, second)
    result = drifted(first, second)
    assert result.count == 40
    assert result.rank_correlation == pytest.approx(np.median(expected))
    assert result.rank_correlation_low == pytest.approx(np.percentile(expected, 5))
    assert 0.3 < result.rank_correlation < 0.9


def test_overlap_is_that_of_a_direct_loop_for_the_class_the_baseline_predicts() -> None:
    first, second = maps(0), maps(0) + maps(1)
    p_first = RIGHT.copy()
    p_first[:7] = 1 - p_first[:7]
    shares = []
    for before, after, p in zip(first, second, p_first, strict=True):
        sign = 1 if p >= 0.5 else -1
        hottest = [set(np.argsort(sign * x.ravel())[-6:]) for x in (before, after)]  # a tenth of 64 cells
        shares.append(len(hottest[0] & hottest[1]) / 6)
    result = drifted(first, second, p_first)
    assert result.overlap == pytest.approx(np.mean(shares))
    assert result.overlap != pytest.approx(drifted(first, second).overlap)
    assert result.both_right == 33


def test_cells_that_are_equally_hot_share_the_last_places_alike() -> None:
    """Six are the hottest tenth. Dead and saturated cells are as equal as can be, and have not moved."""
    upper = RIGHT > 0.5
    dead, saturated = np.zeros((40, 64)), np.zeros((40, 64))
    dead[upper, :2], saturated[upper, :30] = (5.0, 7.0), 9.0
    dead[~upper, :2], saturated[~upper, :30] = (-5.0, -7.0), -9.0
    for cells in (dead, saturated):
        maps = cells.reshape(40, 8, 8)
        result = drifted(maps, maps * 2)
        assert result.overlap == pytest.approx(1)
        assert not len(result.other_reason)
    # One has two cells and four places among 62; the other six among 30.
    expected = (2 * 6 / 30 + 28 * 4 / 62) / 6
    assert drifted(dead.reshape(40, 8, 8), saturated.reshape(40, 8, 8)).overlap == pytest.approx(expected)


def test_what_is_equally_hot_in_one_and_hottest_in_the_other_is_in_common() -> None:
    """Turned maps of which half the cells are equal: nothing is right for another reason."""
    first = np.zeros((40, 64))
    first[:, :32] = np.where(LABELS == 1, 1.0, -1.0)[:, None]
    second = np.where(LABELS == 1, 1.0, -1.0)[:, None] * (np.arange(64) == 31)
    second[:, 32:] += np.where(LABELS == 1, 0.5, -0.5)[:, None] * np.linspace(0.1, 1, 32)
    result = drifted(first.reshape(40, 8, 8), second.reshape(40, 8, 8))
    assert result.rank_correlation < 0
    assert result.overlap == pytest.approx((6 / 32) / 6)
    assert not len(result.other_reason)


def test_equal_maps_have_not_moved() -> None:
    result = drifted(maps(0), maps(0) * 3 + 1)
    assert result.rank_correlation == pytest.approx(1)
    assert result.overlap == 1
    assert not len(result.other_reason)


def test_a_coarser_map_is_met_on_its_own_grid() -> None:
    fine, coarse = maps(0, side=12), maps(1, side=5)
    resampled = np.array([cv2.resize(cam, (5, 5), interpolation=cv2.INTER_AREA) for cam in fine])
    result = drifted(fine, coarse)
    assert result.rank_correlation == pytest.approx(np.median(spearman(resampled, coarse)))
    assert drifted(coarse, fine).rank_correlation == pytest.approx(result.rank_correlation)
    assert drifted(fine, resampled).overlap == 1


def test_right_for_another_reason() -> None:
    """Maps that point elsewhere count only where both verdicts are right; the most different come first."""
    first = maps(0)
    second = first.copy()
    second[4] = -first[4]
    second[7] = np.roll(first[7], 3, axis=0)
    second[9] = -first[9]
    second[20] = first[20][::-1]
    lowest = first[12].ravel().copy()  # nothing in common in its hottest part, yet much the same
    order = np.argsort(lowest)
    lowest[order[:6]] = 10 + np.arange(6)
    second[12] = lowest.reshape(8, 8)
    p_second = RIGHT.copy()
    p_second[9] = 1 - p_second[9]
    result = drifted(first, second, p_second=p_second)
    correlation = np.array(spearman(first, second))
    towards = np.where(LABELS == 1, 1, -1)
    expected = [
        row
        for row in np.argsort(correlation)
        if row != 9
        and correlation[row] < 0.5
        and not set(np.argsort(towards[row] * first[row].ravel())[-6:])
        & set(np.argsort(towards[row] * second[row].ravel())[-6:])
    ]
    assert expected[0] == 4
    assert list(result.other_reason) == expected
    assert result.both_right == 39


def test_correlated_maps_without_common_hottest_cells_have_the_same_reason() -> None:
    first = np.sort(maps(0).reshape(40, 64), axis=1).reshape(40, 8, 8)
    second = first.copy().reshape(40, 64)
    for left, right_of_it in ((slice(0, 6), slice(6, 12)), (slice(-6, None), slice(-12, -6))):
        second[:, left], second[:, right_of_it] = second[:, right_of_it].copy(), second[:, left].copy()
    result = drifted(first, second.reshape(40, 8, 8))
    assert result.overlap == 0
    assert result.rank_correlation > 0.5
    assert not len(result.other_reason)


def test_constant_maps_have_no_ranks() -> None:
    first, second = maps(0), maps(0) + maps(1)
    flat = second.copy()
    flat[[3, 5]] = 0.0
    flat[6, 0, 0] = np.nan
    rest = np.delete(np.arange(40), [3, 5, 6])
    result = drifted(first, flat)
    assert result.count == result.both_right == 37
    assert result.rank_correlation == pytest.approx(np.median(np.array(spearman(first, second))[rest]))
    everywhere = Predictions(RIGHT, None, np.zeros_like(first))
    assert drift(LABELS, Predictions(RIGHT, None, first), everywhere, 0.5) is None


def test_nothing_to_compare() -> None:
    bare, full = Predictions(RIGHT, None, None), Predictions(RIGHT, None, maps(0))
    assert drift(LABELS, bare, full, 0.5) is None
    assert drift(LABELS, full, bare, 0.5) is None
    assert drift(LABELS[:0], full, full, 0.5) is None


def test_maps_are_read_in_pieces_from_disk_without_those_of_validation_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = maps(0), maps(0) + maps(1)
    whole = drifted(first, second)
    np.save(tmp_path / "cam.npy", np.concatenate([second, maps(5, 9)]))
    monkeypatch.setattr(module, "FRAMES_AT_ONCE", 7)
    read = drifted(first, np.load(tmp_path / "cam.npy", mmap_mode="r"))
    assert (read.rank_correlation, read.overlap, read.count) == (whole.rank_correlation, whole.overlap, 40)


def test_of_many_frames_some_are_taken_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FRAMES", 4)
    first, second = maps(0), maps(0) + maps(1)
    rows = [0, 13, 26, 39]
    result = drifted(first, second)
    assert result.count == 4
    assert result.rank_correlation == pytest.approx(np.median(spearman(first[rows], second[rows])))
