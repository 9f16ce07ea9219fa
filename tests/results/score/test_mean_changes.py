"""The mean change of placement values: its variance, degrees of freedom and skewness."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bench.results.score.mean_changes import (
    SKEWED,
    WHOLLY_BLURRED,
    MeanChange,
    combined,
    is_blurred,
    mean_by_frame,
    skew_shift,
)
from bench.results.score.swaps import Swaps

RNG = np.random.default_rng(5)


def changes(blur: float, unseen: float = 0.0) -> Swaps:
    """Of which a share of a tenth of all pairs swapped, blurred so far."""
    none = np.zeros(4)
    return Swaps(fake=none, real=none, share=0.1, squared=0.1 * blur, counted=0.0, unseen=unseen)


def test_variance_and_third_moment_are_those_of_two_independent_means() -> None:
    """Against SciPy's unbiased k-statistics of each class: of a mean of n, the third is that of one over n squared."""
    fake, real = RNG.exponential(size=40), -RNG.exponential(size=70)
    mean = mean_by_frame(fake, real, 0.0)
    third = sum(stats.kstat(part, 3) / len(part) ** 2 for part in (fake, real))
    assert mean.third == pytest.approx(third)
    assert mean.variance == pytest.approx(sum(part.var(ddof=1) / len(part) for part in (fake, real)), rel=0.05)


@pytest.mark.parametrize(("count", "freedom"), [(20, 1.0), (50, 1.0), (75, 1.5), (100, 2.0), (1000, 2.0)])
def test_a_single_frame_leaves_two_degrees_of_freedom_at_most(count: int, freedom: float) -> None:
    fake, real = np.zeros(count), np.zeros(count)
    fake[0] = 1.0
    assert mean_by_frame(fake, real, 0.0).freedom == pytest.approx(freedom, rel=0.05)


def test_the_interval_moves_to_the_side_of_the_outliers() -> None:
    loss, gain = MeanChange(1.0, 30.0, -0.3), MeanChange(1.0, 30.0, 0.3)
    assert skew_shift(loss) == pytest.approx(-0.3 * SKEWED)
    assert skew_shift(gain) == -skew_shift(loss)
    assert skew_shift(MeanChange(1.0, 30.0)) == 0
    assert skew_shift(MeanChange(0.0, 1.0, 1.0)) == 0
    # By half of its half width at most, however skewed.
    half = stats.t.ppf(0.975, 30) / 2
    assert skew_shift(MeanChange(1.0, 30.0, 50.0)) == pytest.approx(half)


def test_counted_changes_count_as_far_as_smoothing_has_blurred_them() -> None:
    """From no share at all up to all of it, and only where their variance is the larger one."""
    smooth, counted = MeanChange(1.0, 40.0, 0.1), MeanChange(4.0, 10.0, 0.9)
    variances = [combined(smooth, counted, changes(blur), 1e-4).variance for blur in (0.0, WHOLLY_BLURRED / 2, 0.5)]
    assert variances == pytest.approx([1.0, 2.5, 4.0])
    wholly = combined(smooth, counted, changes(0.5), 1e-4)
    assert (wholly.freedom, wholly.third) == pytest.approx((10.0, 0.9))
    assert combined(counted, smooth, changes(0.5), 1e-4).variance == 4.0


def test_what_rounding_hides_takes_the_fewer_degrees_of_freedom() -> None:
    smooth, counted = MeanChange(1.0, 40.0), MeanChange(0.5, 5.0)
    hidden = changes(0.2, unseen=0.5)
    assert is_blurred(hidden)
    assert combined(smooth, counted, hidden, 1e-4).freedom == 5.0
    assert combined(smooth, counted, changes(0.2), 1e-4).freedom == 40.0
