"""Means and shares with their intervals: against SciPy, by source against means of sources, and how often they hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.results.score.clusters import Clusters
from bench.results.score.means import mean, share, share_difference

RNG = np.random.default_rng(0)


def sources_of(count: int, size: int) -> Clusters:
    return Clusters.disjoint(np.repeat(np.arange(count), size))


def test_a_mean_by_frame_is_students() -> None:
    values = RNG.uniform(0, 1, 30)
    low, high = stats.t.interval(0.95, 29, values.mean(), stats.sem(values))
    estimate = mean(values, None)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.by_source is None
    assert (estimate.by_frame.low, estimate.by_frame.high) == pytest.approx((low, high))


def test_a_mean_by_sources_of_equal_size_is_that_of_their_means() -> None:
    values = (RNG.uniform(0.3, 0.7, (12, 1)) + RNG.uniform(-0.1, 0.1, (12, 5))).ravel()
    of_sources = values.reshape(12, 5).mean(1)
    by_source = mean(values, sources_of(12, 5)).by_source
    assert by_source is not None
    error = stats.sem(of_sources)
    half = by_source.width / 2
    # The degrees of freedom go by how unequal the sources' shares of the variance are: between 1 and 11.
    assert stats.t.ppf(0.975, 11) * error <= half <= stats.t.ppf(0.975, 3) * error
    assert (by_source.low + by_source.high) / 2 == pytest.approx(values.mean())


def test_of_one_frame_or_one_source_nothing_is_known() -> None:
    assert (mean(np.array([0.4]), None).by_frame.low, mean(np.array([0.4]), None).by_frame.high) == (0, 1)
    by_source = mean(RNG.uniform(0, 1, 9), sources_of(1, 9)).by_source
    assert by_source is not None
    assert (by_source.low, by_source.high) == (0, 1)


def test_equal_values_have_no_width() -> None:
    assert mean(np.full(20, 0.25), sources_of(4, 5)).interval.width == 0


@pytest.mark.parametrize(("hits", "count"), [(0, 20), (3, 20), (20, 20), (1, 1)])
def test_a_share_by_frame_is_wilsons(hits: int, count: int) -> None:
    values = np.zeros(count)
    values[:hits] = 1
    expected = stats.binomtest(hits, count).proportion_ci(method="wilson")
    interval = share(values, None).by_frame
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_a_share_of_sources_that_agree_counts_sources() -> None:
    """Ten frames of a source that all hit or all miss are one."""
    of_sources = np.repeat([1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0], 10)
    by_source = share(of_sources, sources_of(8, 10)).by_source
    one_each = share(of_sources[::10], None).by_frame
    assert by_source is not None
    assert by_source.width > one_each.width, "with Student's t"
    assert by_source.width == pytest.approx(one_each.width, rel=0.25)
    certain = share(np.ones(80), sources_of(8, 10)).by_source
    assert certain is not None
    assert certain.low < 0.75


def test_frames_that_share_nothing_but_a_source_count_each() -> None:
    values = np.tile([1.0, 0.0, 1.0, 1.0, 0.0], 16)
    estimate = share(values, sources_of(16, 5))
    assert estimate.by_source is not None
    assert estimate.by_source.width == pytest.approx(estimate.by_frame.width, rel=0.15)


def test_no_change_in_few_frames_is_not_certain() -> None:
    hits = np.ones(50)
    estimate = share_difference(hits, hits, sources_of(10, 5))
    assert estimate.value == 0
    assert estimate.by_frame.high == pytest.approx(-estimate.by_frame.low)
    assert 0.02 < estimate.by_frame.high < 0.06
    assert estimate.by_source is not None
    assert estimate.by_source.width > estimate.by_frame.width


def test_all_lost_is_lost() -> None:
    estimate = share_difference(np.zeros(30), np.ones(30), None)
    assert estimate.value == -1
    assert estimate.by_frame.low == -1
    assert estimate.by_frame.high < -0.8


@pytest.mark.parametrize("sources", [12, 40])
def test_intervals_hold_the_truth_about_as_often_as_they_say(sources: int) -> None:
    """Of frames of few sources that differ much: 95 % within what 400 draws tell, and not much more."""
    rng, held = np.random.default_rng(3), {"mean": 0, "share": 0, "difference": 0}
    clusters, draws = sources_of(sources, 6), 400
    for _ in range(draws):
        of_source = np.repeat(rng.beta(2, 2, sources), 6)
        values = np.clip(of_source + rng.normal(0, 0.05, len(of_source)), 0, 1)
        held["mean"] += _holds(mean(values, clusters), 0.5)
        before = (rng.uniform(size=len(of_source)) < of_source).astype(float)
        held["share"] += _holds(share(before, clusters), 0.5)
        lost = rng.uniform(size=len(of_source)) < 0.2 * np.repeat(rng.integers(0, 2, sources), 6)
        after = np.where(lost, 0.0, before)
        held["difference"] += _holds(share_difference(after, before, clusters), -0.05)
    for name, count in held.items():
        assert count / draws > 0.95 - 3 * math.sqrt(0.95 * 0.05 / draws), (name, count / draws)


def _holds(estimate: object, truth: float) -> bool:
    interval = estimate.interval  # type: ignore[attr-defined]
    return bool(interval.low <= truth <= interval.high)
