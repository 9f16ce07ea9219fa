"""Points against scikit-learn and definitions, intervals and tests against SciPy and statsmodels."""

from __future__ import annotations

import math
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binomtest
from sklearn import metrics

from bench.records import OperatingPoint, Score
from bench.reports.content.decision_plots import steps
from bench.results.score import points
from bench.results.score.intervals import holm, mcnemar, wilson
from bench.results.score.placements import placements
from bench.results.score.points import equal_error_rate, operating_point, p_fake, roc, thinned
from tests.support.pace import limit

LABELS_AND_LEVELS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12)), min_size=2, max_size=60)


def sample(seed: int, count: int = 200, shift: float = 1.5) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % 5 < 3).astype(np.int64)
    margin = rng.normal(shift * (labels - 0.5), 1.0)
    return labels, p_fake(np.zeros(count), margin)


def scored(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> Score:
    both = len(np.unique(labels)) == 2
    placed, curve = (placements(labels, scores), roc(labels, scores)) if both else (None, None)
    return points.score(labels, scores, placed, curve)


def drawn(rows: list[tuple[int, int]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels and tied scores, both classes among them."""
    labels = np.array([0, 1, *(label for label, _ in rows)])
    return labels, np.array([3, 5, *(value for _, value in rows)]) / 12.0


# ------------------------------------------------------------------------------- at no threshold
@given(LABELS_AND_LEVELS)
def test_ranking_numbers_against_scikit_learn(rows: list[tuple[int, int]]) -> None:
    labels, scores = drawn(rows)
    score = scored(labels, scores)
    assert score.auc == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)
    assert score.average_precision == pytest.approx(metrics.average_precision_score(labels, scores), abs=1e-12)
    assert score.brier == pytest.approx(metrics.brier_score_loss(labels, scores), abs=1e-12)


@given(LABELS_AND_LEVELS)
def test_roc_against_scikit_learn(rows: list[tuple[int, int]]) -> None:
    labels, scores = drawn(rows)
    expected = metrics.roc_curve(labels, scores, drop_intermediate=False)
    for computed, other in zip(roc(labels, scores), expected, strict=True):
        np.testing.assert_allclose(computed, other, atol=1e-15)


@given(LABELS_AND_LEVELS)
def test_precision_and_recall_against_scikit_learn(rows: list[tuple[int, int]]) -> None:
    labels, scores = drawn(rows)
    fakes = int(labels.sum())
    recall, precision = points.precision_recall(roc(labels, scores), fakes, len(labels) - fakes)
    of_sklearn = metrics.precision_recall_curve(labels, scores)  # from the lowest threshold on, with an end at (1, 0)
    np.testing.assert_allclose(precision, of_sklearn[0][-2::-1], atol=1e-12)
    np.testing.assert_allclose(recall, of_sklearn[1][-2::-1], atol=1e-12)


@pytest.mark.parametrize("count", [60, 20_000])
def test_the_area_below_the_drawn_steps_is_the_average_precision(count: int) -> None:
    labels, scores = sample(1, count)
    fakes = int(labels.sum())
    drawn_points = thinned(*points.precision_recall(roc(labels, scores), fakes, count - fakes))
    recall, precision = steps(drawn_points)
    area = float(np.trapezoid(precision, recall))
    assert area == pytest.approx(metrics.average_precision_score(labels, scores), abs=2e-3 if count > 60 else 1e-12)
    assert len(drawn_points[0]) <= 4_100


@given(LABELS_AND_LEVELS)
def test_eer_against_root_finding_on_the_curve(rows: list[tuple[int, int]]) -> None:
    labels, scores = drawn(rows)
    thresholds = [np.inf, *sorted(set(scores), reverse=True)]
    false = [float((scores[labels == 0] >= t).mean()) for t in thresholds]
    missed = [float((scores[labels == 1] < t).mean()) for t in thresholds]
    steps = np.arange(len(thresholds), dtype=float)
    where = brentq(lambda x: np.interp(x, steps, false) - np.interp(x, steps, missed), 0.0, steps[-1])
    assert scored(labels, scores).eer == pytest.approx(np.interp(where, steps, false), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_tpr_at_fpr_is_the_best_of_all_thresholds_that_hold_the_rate(seed: int) -> None:
    labels, scores = sample(seed, count=400)
    scores = np.round(scores, 2)
    score = scored(labels, scores)
    for most, tpr in ((0.01, score.tpr_at_fpr_1), (0.05, score.tpr_at_fpr_5)):
        rates = [
            float((scores[labels == 1] >= threshold).mean())
            for threshold in [*set(scores), 2.0]
            if (scores[labels == 0] >= threshold).mean() <= most
        ]
        assert tpr == pytest.approx(max(rates))


def test_tpr_at_fpr_needs_frames_enough_to_tell_the_rate() -> None:
    labels = np.repeat([0, 1], [99, 20])
    score = scored(labels, labels * 0.5)
    assert (score.tpr_at_fpr_1, score.tpr_at_fpr_5) == (None, 1.0)
    labels = np.repeat([0, 1], [100, 20])
    scores = np.append(np.append(np.zeros(99), 0.9), np.full(20, 0.5))
    assert scored(labels, scores).tpr_at_fpr_1 == 1.0


def test_perfect_inverted_and_tied_scores() -> None:
    labels = np.array([0, 0, 1, 1, 1])
    perfect = scored(labels, labels * 0.8 + 0.1)
    assert (perfect.auc, perfect.eer, perfect.average_precision) == (1.0, 0.0, 1.0)
    inverted = scored(labels, 0.9 - labels * 0.8)
    assert (inverted.auc, inverted.eer) == (0.0, 1.0)
    tied = scored(labels, np.full(5, 0.3))
    assert (tied.auc, tied.eer) == (0.5, 0.5)


def test_order_of_frames_does_not_matter() -> None:
    labels, scores = sample(7)
    order = np.random.default_rng(1).permutation(len(labels))
    first, second = scored(labels, scores), scored(labels[order], scores[order])
    assert (first.auc, first.eer, first.average_precision) == (second.auc, second.eer, second.average_precision)
    assert operating_point(labels, scores, 0.4) == operating_point(labels[order], scores[order], 0.4)


def test_undefined_quantities_are_none() -> None:
    only_real = scored(np.array([0, 0]), np.array([0.1, 0.9]))
    assert (only_real.auc, only_real.eer, only_real.average_precision, only_real.tpr_at_fpr_5) == (None,) * 4
    assert only_real.brier == pytest.approx((0.01 + 0.81) / 2)
    only_fake = scored(np.array([1, 1]), np.array([0.1, 0.9]))
    assert (only_fake.auc, only_fake.average_precision) == (None, 1.0)
    no_frames = scored(np.zeros(0, np.int64), np.zeros(0))
    assert (no_frames.count, no_frames.auc, no_frames.brier) == (0, None, None)


@pytest.mark.parametrize(("wrong", "message"), [(np.nan, "finite"), (np.inf, "finite"), (1.5, "1.5"), (-0.1, "-0.1")])
def test_scores_that_are_no_probabilities_are_refused(wrong: float, message: str) -> None:
    labels, scores = np.array([0, 1]), np.array([0.1, wrong])
    with pytest.raises(ValueError, match=message):
        points.score(labels, scores, None, None)
    with pytest.raises(ValueError, match=message):
        operating_point(labels, scores, 0.5)


def test_p_fake_keeps_the_order_where_float32_saturates() -> None:
    margin = np.array([-20.0, -1.0, 0.0, 1.0, 18.0, 18.00001, 20.0, 22.0], np.float32)
    confident = p_fake(np.zeros_like(margin), margin)
    assert (np.diff(confident) > 0).all()
    assert confident[2] == 0.5
    np.testing.assert_allclose(confident + p_fake(margin, np.zeros_like(margin)), 1.0)
    np.testing.assert_array_equal(p_fake(np.array([900.0, 0.0]), np.array([0.0, 900.0])), [0.0, 1.0])


# -------------------------------------------------------------------------------- thinned curves
def test_a_short_curve_keeps_its_corners() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 0, 1])
    scores = np.array([0.1, 0.2, 0.3, 0.9, 0.8, 0.7, 0.6, 0.15])
    fpr, tpr = thinned(*roc(labels, scores)[:2])
    assert list(zip(fpr.tolist(), tpr.tolist(), strict=True)) == [(0, 0), (0, 0.75), (0.75, 0.75), (0.75, 1), (1, 1)]


def test_a_long_curve_keeps_its_picture() -> None:
    labels, scores = sample(0, count=200_000)
    fpr, tpr, _ = roc(labels, scores)
    few_fpr, few_tpr = thinned(fpr, tpr)
    assert len(fpr) > 190_000
    assert len(few_fpr) <= 4000
    assert (few_fpr[0], few_tpr[0], few_fpr[-1], few_tpr[-1]) == (0, 0, 1, 1)
    # Along the diagonal, where every curve is a function: never further off than the squares are wide.
    away = np.interp(fpr + tpr, few_fpr + few_tpr, few_tpr - few_fpr) - (tpr - fpr)
    assert np.abs(away).max() < 2e-3
    assert np.trapezoid(few_tpr, few_fpr) == pytest.approx(np.trapezoid(tpr, fpr), abs=1e-4)


# -------------------------------------------------------------------------------- at a threshold
def by_scikit_learn(labels: NDArray[np.int64], called: NDArray[np.bool_]) -> dict[str, float]:
    return {
        "precision": metrics.precision_score(labels, called, zero_division=np.nan),
        "recall": metrics.recall_score(labels, called, zero_division=np.nan),
        "specificity": metrics.recall_score(labels, called, pos_label=0, zero_division=np.nan),
        "f1": metrics.f1_score(labels, called, zero_division=np.nan),
        "accuracy": metrics.accuracy_score(labels, called),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, called),
        "mcc": metrics.matthews_corrcoef(labels, called) if len(set(called.tolist())) == 2 else np.nan,
    }


@given(LABELS_AND_LEVELS, st.integers(0, 13))
def test_decisions_against_scikit_learn(rows: list[tuple[int, int]], level: int) -> None:
    labels, scores = drawn(rows)
    called = scores >= level / 12
    point = operating_point(labels, scores, level / 12)
    tn, fp, fn, tp = metrics.confusion_matrix(labels, called).ravel().tolist()
    assert (point.tn, point.fp, point.fn, point.tp) == (tn, fp, fn, tp)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = by_scikit_learn(labels, called)
    for name, value in expected.items():
        computed = getattr(point, name)
        assert computed is None if math.isnan(value) else computed == pytest.approx(value, abs=1e-12), name


def test_confusion_numbers_and_intervals_by_hand() -> None:
    point = operating_point(np.array([1, 1, 1, 1, 0, 0, 0]), np.array([0.9, 0.8, 0.5, 0.1, 0.7, 0.2, 0.1]), 0.5)
    assert (point.tp, point.tn, point.fp, point.fn) == (3, 2, 1, 1)
    assert (point.precision, point.recall, point.specificity) == (3 / 4, 3 / 4, 2 / 3)
    assert (point.precision_ci, point.recall_ci, point.specificity_ci) == (wilson(3, 4), wilson(3, 4), wilson(2, 3))


def test_the_threshold_itself_counts_as_fake() -> None:
    assert operating_point(np.array([1, 0]), np.array([0.5, 0.4]), 0.5).tp == 1


def test_undefined_decisions_are_none() -> None:
    nothing_called = operating_point(np.array([0, 1, 1]), np.array([0.1, 0.2, 0.3]), 0.5)
    assert (nothing_called.precision, nothing_called.precision_ci, nothing_called.mcc) == (None, None, None)
    assert (nothing_called.recall, nothing_called.f1) == (0.0, 0.0)
    only_real = operating_point(np.array([0, 0]), np.array([0.1, 0.9]), 0.5)
    assert (only_real.recall, only_real.balanced_accuracy, only_real.mcc, only_real.specificity) == (None,) * 3 + (0.5,)
    no_frames = operating_point(np.zeros(0, np.int64), np.zeros(0), 0.5)
    assert no_frames == OperatingPoint(0.5, 0, 0, 0, 0, *(None,) * 10)


# ---------------------------------------------------------------------------- intervals and tests
@pytest.mark.parametrize(
    ("successes", "count"), [(0, 1), (1, 1), (0, 20), (20, 20), (3, 7), (999_999, 1_000_000), (400_000, 1_000_000)]
)
def test_wilson_against_scipy_and_statsmodels(successes: int, count: int) -> None:
    from statsmodels.stats.proportion import proportion_confint

    computed = wilson(successes, count)
    assert computed is not None
    scipy = binomtest(successes, count).proportion_ci(method="wilson")
    assert (computed.low, computed.high) == pytest.approx((scipy.low, scipy.high), abs=1e-12)
    assert (computed.low, computed.high) == pytest.approx(
        proportion_confint(successes, count, method="wilson"), abs=1e-12
    )
    assert 0 <= computed.low < computed.high <= 1


def test_wilson_of_nothing_is_none() -> None:
    assert wilson(0, 0) is None


@settings(max_examples=20)
@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_against_statsmodels(p: list[float]) -> None:
    from statsmodels.stats.multitest import multipletests

    expected = multipletests(p, method="holm")[1].tolist() if p else []
    assert holm(p) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("worse", "better"), [(0, 1), (1, 0), (5, 5), (3, 12), (40, 22), (1_000_000, 998_000), (600_000, 0)]
)
def test_mcnemar_against_scipy_and_statsmodels(worse: int, better: int) -> None:
    from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

    computed = mcnemar(worse, better)
    assert computed == pytest.approx(binomtest(worse, worse + better).pvalue, rel=1e-7)
    assert computed == pytest.approx(statsmodels_mcnemar([[0, worse], [better, 0]], exact=True).pvalue, rel=1e-7)
    assert computed == mcnemar(better, worse)


def test_mcnemar_without_changes() -> None:
    assert mcnemar(0, 0) == 1.0


# ------------------------------------------------------------------------------------------ cost
@pytest.mark.slow
def test_a_million_frames_take_seconds() -> None:
    labels, scores = sample(0, count=1_000_000)
    began = time.process_time()
    curve = roc(labels, scores)
    points.score(labels, scores, placements(labels, scores), curve)
    thinned(*curve[:2])
    operating_point(labels, scores, 0.5)
    assert time.process_time() - began < limit(5)


def test_equal_error_rate_of_a_curve() -> None:
    assert equal_error_rate(np.array([0.0, 0.2, 1.0]), np.array([0.0, 0.8, 1.0])) == pytest.approx(0.2)


def test_importing_the_scores_is_light() -> None:
    heavy = "{'torch', 'onnxruntime', 'sklearn', 'pandas', 'scipy'}"
    code = f"import sys, bench.results.score; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
