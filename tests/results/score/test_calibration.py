"""Reliability against a direct loop and scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from bench.results.score.calibration import BINS, reliability


def frames(count: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    p_fake = rng.beta(0.4, 0.6, count)
    return (rng.random(count) < p_fake**2).astype(np.int8), p_fake


def test_bins_are_those_of_scikit_learn() -> None:
    labels, p_fake = frames()
    ours = reliability(labels, p_fake)
    observed, predicted = calibration_curve(labels, p_fake, n_bins=BINS)
    assert len(ours.counts) == 15
    assert ours.counts.all()
    np.testing.assert_allclose(ours.observed, observed)
    np.testing.assert_allclose(ours.predicted, predicted)
    assert ours.counts.sum() == len(labels)


def test_error_is_that_of_a_direct_loop() -> None:
    labels, p_fake = frames()
    ece = 0.0
    for number in range(BINS):
        inside = (p_fake > number / BINS) & (p_fake <= (number + 1) / BINS) | ((number == 0) & (p_fake == 0))
        ece += inside.mean() * abs(p_fake[inside].mean() - labels[inside].mean())
    assert reliability(labels, p_fake).ece == pytest.approx(ece, abs=1e-12)
    assert ece > 0.05


def test_a_bin_has_its_upper_edge() -> None:
    at_edges = np.linspace(0, 1, 16)
    assert list(reliability(np.zeros(16, np.int8), at_edges).counts) == [2] + [1] * 14


def test_empty_bins_are_nan_and_cost_nothing() -> None:
    result = reliability(np.array([0, 1, 1]), np.array([0.0, 1.0, 1.0]))
    assert result.ece == 0
    assert list(result.counts[[0, -1]]) == [1, 2]
    assert np.isnan(result.predicted[1:-1]).all()
    assert np.isnan(result.observed[1:-1]).all()


def test_certain_and_wrong_is_an_error_of_one() -> None:
    assert reliability(np.array([1, 0]), np.array([0.0, 1.0])).ece == 1


def test_opposite_errors_in_one_half_do_not_cancel() -> None:
    labels = np.repeat([0, 1, 0, 1], [9, 1, 1, 9])
    assert reliability(labels, np.repeat([0.3, 0.7], 10)).ece == pytest.approx(0.2)


def test_permuted_frames_change_nothing() -> None:
    labels, p_fake = frames()
    order = np.random.default_rng(2).permutation(len(labels))
    assert reliability(labels[order], p_fake[order]).ece == pytest.approx(reliability(labels, p_fake).ece, abs=1e-12)


def test_without_frames_nothing_is_known() -> None:
    assert math.isnan(reliability(np.array([], np.int8), np.array([])).ece)
