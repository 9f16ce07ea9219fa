"""Temperature and Platt scaling against statsmodels and scikit-learn, and what must hold whatever the scores."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from bench.records import Calibration, CalibrationMethod, LabelledFrames, Predictions, Scaling
from bench.results.score import evaluate, p_fake
from bench.results.score.clusters import clusters
from bench.results.score.scaling import calibrated, fit, known_logits
from tests.results.score.test_evaluate import run

METHODS: tuple[CalibrationMethod, ...] = ("temperature", "platt")


def drawn(
    count: int, slope: float = 0.5, shift: float = 0.3, seed: int = 0
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Labels, and logit differences of which P(fake) is sigmoid(slope · z + shift)."""
    rng = np.random.default_rng(seed)
    logit_diff = rng.normal(0, 4, count)
    return (rng.random(count) < 1 / (1 + np.exp(-slope * logit_diff - shift))).astype(np.int8), logit_diff


def frames(labels: NDArray[np.int8], sources: list[str | None] | None = None) -> LabelledFrames:
    names = pd.Series([f"{index}.png" for index in range(len(labels))], dtype=object)
    return LabelledFrames(
        names, labels, pd.Series(sources or [None] * len(labels), dtype=object), pd.DataFrame(index=range(len(labels)))
    )


def calibration(
    logit_diff: NDArray[np.float64], labels: NDArray[np.int8], threshold: float = 0.5, only_p: bool = False
) -> Calibration:
    """What the whole of scoring makes of these validation frames, which are the test frames too."""
    scores = p_fake(np.zeros_like(logit_diff), logit_diff)
    stored = (None, None) if only_p else (logit_diff, logit_diff)
    predicted = Predictions(scores, scores, None, *stored)
    record = dataclasses.replace(run("baseline"), threshold=threshold)
    of = evaluate(record, frames(labels), frames(labels), {"baseline": predicted}).variants["baseline"].calibration
    assert of is not None
    return of


def test_parameters_are_those_of_logistic_regression() -> None:
    labels, logit_diff = drawn(400)
    slope, shift = fit("temperature", labels, logit_diff, None)
    alone = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(logit_diff[:, None], labels)
    assert slope.value == pytest.approx(float(alone.coef_[0, 0]), rel=1e-5)
    assert shift is None
    slope, shift = fit("platt", labels, logit_diff, None)
    both = LogisticRegression(C=np.inf, tol=1e-10).fit(logit_diff[:, None], labels)
    assert shift is not None
    assert slope.value == pytest.approx(float(both.coef_[0, 0]), rel=1e-5)
    assert shift.value == pytest.approx(float(both.intercept_[0]), rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_intervals_are_those_of_leaving_out_each_unit(method: CalibrationMethod) -> None:
    """Close to the jackknife that fits anew without each frame, and to statsmodels' sandwich; so by source."""
    labels, logit_diff = drawn(240)
    x = np.stack([logit_diff, np.ones(240)][: METHODS.index(method) + 1], axis=1)
    names = [f"video {index // 6}" for index in range(240)]
    of = clusters(pd.Series(names), labels)
    slope, _ = fit(method, labels, logit_diff, of)
    robust = sm.Logit(labels, x).fit(disp=0, cov_type="HC1").bse[0]
    assert slope.by_frame.width / 2 / 1.97 == pytest.approx(robust, rel=0.05)
    groups = np.arange(240) // 6
    clustered = sm.Logit(labels, x).fit(disp=0, cov_type="cluster", cov_kwds={"groups": groups}).bse[0]
    assert slope.by_source is not None
    assert slope.by_source.width / 2 / 2.03 == pytest.approx(clustered, rel=0.12)
    assert slope.interval == (slope.by_source if slope.clustered else slope.by_frame)
    left_out = [fit(method, labels[groups != group], logit_diff[groups != group], None)[0].value for group in range(40)]
    jackknife = np.sqrt(((np.array(left_out) - slope.value) ** 2).sum())
    assert slope.by_source.width / 2 / 2.03 == pytest.approx(jackknife, rel=0.06)


def test_sources_that_overlap_are_taken_together() -> None:
    labels, logit_diff = drawn(120)
    apart = pd.Series([f"{index // 4:03}" for index in range(120)])
    tied = pd.Series([f"{index // 4:03};{(index // 4 + 1) % 30:03}" if label else f"{index // 4:03}"
                      for index, label in enumerate(labels)])  # fmt: skip
    widths = [fit("platt", labels, logit_diff, clusters(names, labels))[0].by_source for names in (apart, tied)]
    assert all(width is not None and np.isfinite(width.width) for width in widths)


def test_one_source_of_a_class_leaves_no_ends() -> None:
    labels, logit_diff = drawn(120)
    of = clusters(pd.Series([f"video {index}" if label else "one" for index, label in enumerate(labels)]), labels)
    slope, _ = fit("temperature", labels, logit_diff, of)
    assert slope.by_source is not None
    assert not np.isfinite(slope.interval.width)
    assert np.isfinite(slope.by_frame.width)


def test_one_source_that_alone_tells_a_parameter_leaves_no_ends() -> None:
    """All other frames have one score, or the logit 0, so that nothing of Platt's two, or of T, is left without it."""
    labels = np.tile([0, 1], 20).astype(np.int8)
    sources = clusters(pd.Series(["a"] * 3 + [f"b{index // 2}" for index in range(37)], dtype=object), labels)
    for method, score in zip(METHODS, (0.0, 0.5), strict=True):
        logit_diff = np.append([-0.3, 0.4, 0.2], np.full(37, score))
        slope, _ = fit(method, labels, logit_diff, sources)
        assert np.isfinite([slope.by_frame.low, slope.by_frame.high]).all()
        assert slope.by_source is not None
        assert np.isinf([slope.by_source.low, slope.by_source.high]).all()


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 40.0])
def test_a_scale_of_the_logits_is_taken_back(scale: float) -> None:
    labels, logit_diff = drawn(300)
    (first, _), (second, _) = fit("platt", labels, logit_diff, None), fit("platt", labels, scale * logit_diff, None)
    assert second.value == pytest.approx(first.value / scale, rel=1e-6)
    assert second.by_frame.high == pytest.approx(first.by_frame.high / scale, rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_order_copies_and_auc(method: CalibrationMethod) -> None:
    labels, logit_diff = drawn(200)
    of = calibration(logit_diff, labels).scalings[method]
    order = np.random.default_rng(3).permutation(200)
    assert calibration(logit_diff[order], labels[order]).scalings[method].slope.value == pytest.approx(of.slope.value)
    after = calibrated(of, logit_diff)
    assert roc_auc_score(labels, after) == roc_auc_score(labels, logit_diff)
    # Every second frame again: copies weigh with the first.
    rows = np.sort(np.concatenate([np.arange(200), np.arange(0, 200, 2)]))
    firsts = np.searchsorted(rows, rows)
    doubled = dataclasses.replace(frames(labels[rows]), firsts=firsts)
    scores = p_fake(np.zeros(300), logit_diff[rows])
    predicted = Predictions(scores, scores, None, logit_diff[rows], logit_diff[rows])
    copied = evaluate(run("baseline"), doubled, doubled, {"baseline": predicted}).variants["baseline"].calibration
    assert copied is not None
    assert (copied.count, copied.scalings[method]) == (200, of)


@pytest.mark.parametrize("threshold", [0.0, 1e-6, 0.2, 0.5, 0.93, 1.0])
@pytest.mark.parametrize("method", METHODS)
def test_decisions_stay_where_the_threshold_moves_along(method: CalibrationMethod, threshold: float) -> None:
    labels, logit_diff = drawn(500)
    of = calibration(logit_diff, labels, threshold).scalings[method]
    before = p_fake(np.zeros(500), logit_diff) >= threshold
    np.testing.assert_array_equal(calibrated(of, logit_diff) >= of.threshold, before)


def test_calibrated_is_better_calibrated() -> None:
    labels, logit_diff = drawn(4000, slope=0.3, shift=1.0)
    of = calibration(logit_diff, labels)
    scores = p_fake(np.zeros(4000), logit_diff)
    before = float(((scores - labels) ** 2).mean())
    assert of.scalings["platt"].brier < of.scalings["temperature"].brier < before
    assert of.scalings["platt"].ece < 0.03
    assert calibration(*drawn(4000, 0.3, 0.0)[::-1]).scalings["temperature"].temperature == pytest.approx(
        1 / 0.3, rel=0.1
    )
    assert of.scalings["platt"].slope.by_frame.low < 0.3 < of.scalings["platt"].slope.by_frame.high


def test_scores_alone_give_what_logits_give() -> None:
    labels, logit_diff = drawn(200)
    first, second = calibration(logit_diff, labels), calibration(logit_diff, labels, only_p=True)
    for method in METHODS:
        assert second.scalings[method].slope.value == pytest.approx(first.scalings[method].slope.value, rel=1e-6)
        assert second.scalings[method].ece == pytest.approx(first.scalings[method].ece, abs=1e-9)
    np.testing.assert_allclose(known_logits(None, p_fake(np.zeros(200), logit_diff)), logit_diff, rtol=1e-6, atol=1e-9)


# --------------------------------------------------------------------------------------------- what is not fitted
def reasons(logit_diff: NDArray[np.float64], labels: NDArray[np.int8], only_p: bool = False) -> dict[str, str]:
    of = calibration(logit_diff, labels, only_p=only_p)
    assert set(of.reasons) | set(of.scalings) == set(METHODS)
    return {str(method): reason for method, reason in of.reasons.items()}


HALF = np.repeat([0, 1], 20).astype(np.int8)


def test_separated_frames_are_told() -> None:
    apart = np.where(HALF == 1, 2.0, -2.0) + np.linspace(-1, 1, 40)
    by_method = reasons(apart, HALF)
    assert "no validation frame is on the wrong side of 0.5" in by_method["temperature"]
    assert "separate the classes perfectly" in by_method["platt"]
    shifted = reasons(apart + 5, HALF)
    assert "temperature" not in shifted, "real frames are on the wrong side"
    assert "separate the classes perfectly" in shifted["platt"]


def test_reversed_and_equal_scores_are_told() -> None:
    for scores in (np.where(HALF == 1, -1.0, 1.0) + np.linspace(-2, 2, 40), np.zeros(40), np.where(HALF == 1, -2, 2)):
        for reason in reasons(scores.astype(np.float64), HALF).values():
            assert reason == "higher scores are no more often fake on the validation frames"


@pytest.mark.parametrize("fakes", [0, 1, 9])
def test_few_frames_are_told(fakes: int) -> None:
    labels = np.repeat([0, 1], [40, fakes]).astype(np.int8)
    by_method = reasons(np.random.default_rng(0).normal(0, 1, len(labels)), labels)
    assert set(by_method.values()) == {f"{fakes or 'no'} validation frames of a class; expected 10 or more of each"}


def test_scores_without_a_logit_are_told() -> None:
    labels, logit_diff = drawn(100)
    by_method = reasons(np.where(np.arange(100) < 7, 60.0, logit_diff), labels, only_p=True)
    assert set(by_method) == set(METHODS)
    assert "exactly 0 or 1 on validation frames" in by_method["platt"]


def test_without_validation_frames_nothing_is_said() -> None:
    labels, logit_diff = drawn(60)
    predicted = Predictions(p_fake(np.zeros(60), logit_diff), None, None, logit_diff)
    assert (
        evaluate(run("baseline"), frames(labels), None, {"baseline": predicted}).variants["baseline"].calibration
        is None
    )


def test_thresholds_at_the_ends_stay() -> None:
    labels, logit_diff = drawn(100)
    of: Scaling = calibration(logit_diff, labels).scalings["platt"]
    assert [of.moved(end) for end in (0.0, 1.0)] == [0.0, 1.0]
    assert of.moved(0.5) == pytest.approx(1 / (1 + np.exp(-of.added)))
