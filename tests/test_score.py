"""Metrics against independent computations, and the properties that every metric must have."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import mannwhitneyu

from bench.results.score import auc_standard_error, equal_error_rate, p_fake, points, roc


def sample(seed: int, count: int = 200, shift: float = 1.5) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % 5 < 3).astype(np.int64)
    margin = rng.normal(shift * (labels - 0.5), 1.0)
    return labels, p_fake(np.zeros(count), margin)


def test_confusion_numbers_by_hand() -> None:
    score = points(np.array([1, 1, 1, 1, 0, 0, 0]), np.array([0.9, 0.8, 0.5, 0.1, 0.7, 0.2, 0.1]), 0.5)
    assert (score.tp, score.tn, score.fp, score.fn) == (3, 2, 1, 1)
    assert score.precision == pytest.approx(3 / 4)
    assert score.recall == pytest.approx(3 / 4)
    assert score.specificity == pytest.approx(2 / 3)
    assert score.f1 == pytest.approx(3 / 4)
    assert score.accuracy == pytest.approx(5 / 7)
    assert score.balanced_accuracy == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert score.mcc == pytest.approx((3 * 2 - 1 * 1) / np.sqrt(4 * 4 * 3 * 3))


@pytest.mark.parametrize("seed", range(3))
def test_ranking_numbers_against_scipy_and_definitions(seed: int) -> None:
    labels, scores = sample(seed)
    score = points(labels, scores, 0.5)
    fakes, reals = scores[labels == 1], scores[labels == 0]
    assert score.auc == pytest.approx(mannwhitneyu(fakes, reals).statistic / (len(fakes) * len(reals)))
    assert score.brier == pytest.approx(((scores - labels) ** 2).mean())
    falling = labels[np.argsort(-scores)]
    precision_at_hits = (np.cumsum(falling) / np.arange(1, len(falling) + 1))[falling == 1]
    assert score.average_precision == pytest.approx(precision_at_hits.mean())


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12)), min_size=2, max_size=60))
def test_eer_against_root_finding_on_the_curve(rows: list[tuple[int, int]]) -> None:
    labels = np.array([0, 1, *(label for label, _ in rows)])
    scores = np.array([3, 5, *(value for _, value in rows)]) / 12.0
    thresholds = [np.inf, *sorted(set(scores), reverse=True)]
    false = [float((scores[labels == 0] >= t).mean()) for t in thresholds]
    missed = [float((scores[labels == 1] < t).mean()) for t in thresholds]
    steps = np.arange(len(thresholds), dtype=float)
    where = brentq(lambda x: np.interp(x, steps, false) - np.interp(x, steps, missed), 0.0, steps[-1])
    assert points(labels, scores, 0.5).eer == pytest.approx(np.interp(where, steps, false), abs=1e-6)


def test_perfect_inverted_and_tied_scores() -> None:
    labels = np.array([0, 0, 1, 1, 1])
    perfect = points(labels, labels * 0.8 + 0.1, 0.5)
    assert (perfect.auc, perfect.eer, perfect.average_precision, perfect.mcc) == (1.0, 0.0, 1.0, 1.0)
    inverted = points(labels, 0.9 - labels * 0.8, 0.5)
    assert (inverted.auc, inverted.eer, inverted.recall, inverted.mcc) == (0.0, 1.0, 0.0, -1.0)
    tied = points(labels, np.full(5, 0.3), 0.5)
    assert (tied.auc, tied.eer) == (0.5, 0.5)


def test_order_of_frames_does_not_matter() -> None:
    labels, scores = sample(7)
    order = np.random.default_rng(1).permutation(len(labels))
    first, second = (
        dataclasses.asdict(s) for s in (points(labels, scores, 0.4), points(labels[order], scores[order], 0.4))
    )
    assert first == pytest.approx(second)


@pytest.mark.filterwarnings("error")
def test_undefined_quantities_are_none() -> None:
    nothing_called = points(np.array([0, 1, 1]), np.array([0.1, 0.2, 0.3]), 0.5)
    assert nothing_called.precision is None
    assert nothing_called.mcc is None
    assert (nothing_called.recall, nothing_called.f1) == (0.0, 0.0)
    only_real = points(np.array([0, 0]), np.array([0.1, 0.9]), 0.5)
    for name in ("auc", "eer", "average_precision", "recall", "balanced_accuracy", "mcc"):
        assert getattr(only_real, name) is None, name
    assert only_real.specificity == 0.5
    assert auc_standard_error(only_real) is None
    no_frames = points(np.zeros(0, np.int64), np.zeros(0), 0.5)
    assert (no_frames.count, no_frames.auc, no_frames.accuracy, no_frames.brier) == (0, None, None, None)


def test_the_threshold_itself_counts_as_fake() -> None:
    assert points(np.array([1, 0]), np.array([0.5, 0.4]), 0.5).tp == 1


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        points(np.array([0, 1]), np.array([0.1, np.nan]), 0.5)


def test_p_fake_keeps_the_order_where_float32_saturates() -> None:
    margin = np.array([-20.0, -1.0, 0.0, 1.0, 18.0, 18.00001, 20.0, 22.0], np.float32)
    confident = p_fake(np.zeros_like(margin), margin)
    assert (np.diff(confident) > 0).all()
    assert confident[2] == 0.5
    np.testing.assert_allclose(confident + p_fake(margin, np.zeros_like(margin)), 1.0)
    np.testing.assert_array_equal(p_fake(np.array([900.0, 0.0]), np.array([0.0, 900.0])), [0.0, 1.0])


def test_roc_runs_from_corner_to_corner_with_every_score() -> None:
    labels, scores = sample(3, count=40)
    fpr, tpr, thresholds = roc(labels, scores)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0.0, 0.0, 1.0, 1.0)
    assert thresholds[1:].tolist() == sorted(scores.tolist(), reverse=True)
    assert np.trapezoid(tpr, fpr) == pytest.approx(points(labels, scores, 0.5).auc)
    assert equal_error_rate(fpr, tpr) == points(labels, scores, 0.5).eer


def test_standard_error_is_the_spread_of_the_auc_where_it_is_exact() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [60, 90])
    scores = rng.exponential(np.where(labels == 1, 4.0, 1.0), (4000, 150))
    ranks = scores.argsort(axis=1).argsort(axis=1) + 1
    aucs = (ranks[:, labels == 1].sum(axis=1) - 90 * 91 / 2) / (60 * 90)
    template = points(labels, np.linspace(0, 1, 150), 0.5)
    error = auc_standard_error(dataclasses.replace(template, auc=0.8))
    assert aucs.mean() == pytest.approx(0.8, abs=2e-3)
    assert error == pytest.approx(aucs.std(), rel=0.04)


def test_importing_the_scores_is_light() -> None:
    heavy = "{'torch', 'onnxruntime', 'sklearn', 'pandas', 'scipy'}"
    code = f"import sys, bench.results.score; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
