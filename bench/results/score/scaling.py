"""Temperature and Platt scaling: P(fake) that is what it says, fitted on validation frames.

Guo et al. (2017), "On Calibration of Modern Neural Networks": sigmoid(z / T) of the logit difference z. Platt (1999),
"Probabilistic outputs for support vector machines": sigmoid(a z + b). Both by maximum likelihood, which is convex.
Neither changes a ranking, so no AUC changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bench.records import (
    CALIBRATION_METHODS,
    Calibration,
    CalibrationMethod,
    Estimate,
    Evaluation,
    Interval,
    Predictions,
    Scaling,
)
from bench.results.score import clusters
from bench.results.score.calibration import reliability
from bench.results.score.intervals import student_quantile
from bench.results.score.points import p_fake

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.results.score.clusters import Clusters

LEAST = 10
"""Frames of either class: with fewer for a parameter, estimates and intervals are far off (Peduzzi et al. 1996)."""


_NO_HIGHER = "higher scores are no more often fake on the validation frames"
_ENDLESS = "so the more certain the likelier, without end"


@dataclass(frozen=True)
class _Spread:
    """The covariance [k, k] of parameters, and how many standard errors their intervals of 95 % reach."""

    covariance: NDArray[np.float64]
    quantile: float


@dataclass(frozen=True)
class _Frames:
    """Validation frames that count, by `labels` [n], and what depends on each other among them."""

    labels: NDArray[np.int8]
    clusters: Clusters | None


class _NotFittedError(ValueError):
    """Why nothing can be fitted on these frames."""


def with_calibration(evaluation: Evaluation, threshold: float) -> Evaluation:
    """The evaluation of frames with the calibration of each variant, where there are validation frames."""
    if evaluation.validation is None:
        return evaluation
    validation, test = evaluation.validation.without_copies(), evaluation.test.without_copies()
    of_sources = clusters.clusters(validation.sources, validation.labels)
    frames, counted = _Frames(validation.labels, of_sources), (evaluation.test.counted, evaluation.validation.counted)
    variants = {
        name: replace(scored, calibration=calibrate(frames, test.labels, predicted, threshold))
        for name, scored in evaluation.variants.items()
        if (predicted := evaluation.predictions[name].of(*counted)).validation is not None
    }
    return replace(evaluation, variants={**evaluation.variants, **variants})


def calibrate(
    frames: _Frames, test_labels: NDArray[np.integer], predicted: Predictions, threshold: float
) -> Calibration:
    """A variant's scalings, fitted on its validation frames and judged on its test frames."""
    assert predicted.validation is not None
    labels, fake = frames.labels, int((frames.labels == 1).sum())
    logit_diff = known_logits(predicted.held_out_logit_diff, predicted.validation)
    of_test = known_logits(predicted.logit_diff, predicted.test)
    scalings: dict[CalibrationMethod, Scaling] = {}
    reasons: dict[CalibrationMethod, str] = {}
    for method in CALIBRATION_METHODS:
        try:
            slope, shift = fit(method, labels, logit_diff, frames.clusters)
        except _NotFittedError as error:
            reasons[method] = str(error)
            continue
        fitted = Scaling(method, slope, shift, math.nan, math.nan, math.nan)
        scores = calibrated(fitted, of_test)
        brier = float(((scores - test_labels) ** 2).mean()) if len(test_labels) else math.nan
        ece = reliability(test_labels, scores).ece
        scalings[method] = replace(fitted, threshold=fitted.moved(threshold), ece=ece, brier=brier)
    return Calibration(len(labels), fake, len(labels) - fake, scalings, reasons)


def known_logits(logit_diff: NDArray[np.float64] | None, p_fake: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logit difference [n], or where that is not known what P(fake) [n] stands for, infinite at 0 and 1."""
    if logit_diff is not None:
        return logit_diff
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(p_fake) - np.log1p(-p_fake))


def calibrated(scaling: Scaling, logit_diff: NDArray[np.float64]) -> NDArray[np.float64]:
    """The calibrated P(fake) [n] of a logit difference [n]."""
    scaled = scaling.slope.value * logit_diff + scaling.added
    return p_fake(np.zeros_like(scaled), scaled)


def fit(
    method: CalibrationMethod, labels: NDArray[np.integer], logit_diff: NDArray[np.float64], of: Clusters | None
) -> tuple[Estimate, Estimate | None]:
    """The slope and the shift of the highest likelihood of `labels` [n], 1 for fake; the shift is None if fixed to 0.

    Raises `_NotFittedError` where these frames have no such slope above 0.
    """
    _refuse(method, labels == 1, logit_diff)
    # Of size 1, so that one tolerance does for logits of any size.
    size = float(np.sqrt(np.mean(logit_diff**2)))
    columns = [logit_diff / size, np.ones(len(labels))][: 1 if method == "temperature" else 2]
    theta = _most_likely(np.stack(columns, axis=1), labels)
    if theta[0] <= 0:
        raise _NotFittedError(_NO_HIGHER)
    theta[0] /= size
    x = np.stack([logit_diff, *columns[1:]], axis=1)
    spreads = _spreads(x, labels, theta, of)
    estimates = [_estimate(value, spreads, index) for index, value in enumerate(theta.tolist())]
    return estimates[0], estimates[1] if method == "platt" else None


def _refuse(method: CalibrationMethod, fake: NDArray[np.bool_], logit_diff: NDArray[np.float64]) -> None:
    """Raise `_NotFittedError` where the likelihood has no maximum, or too few frames to say where."""
    rarer = min(int(fake.sum()), int((~fake).sum()))
    if rarer < LEAST:
        raise _NotFittedError(f"{rarer or 'no'} validation frames of a class; expected {LEAST} or more of each")
    if not np.isfinite(logit_diff).all():
        raise _NotFittedError(
            "P(fake) is exactly 0 or 1 on validation frames, and has no logit there; expected logits, or scores with "
            "more digits"
        )
    fakes, reals = logit_diff[fake], logit_diff[~fake]
    if fakes.max() <= reals.min():
        raise _NotFittedError(_NO_HIGHER)
    if method == "temperature" and fakes.min() >= 0 >= reals.max():
        raise _NotFittedError(f"no validation frame is on the wrong side of 0.5, {_ENDLESS}")
    if method == "platt" and fakes.min() >= reals.max():
        raise _NotFittedError(f"validation scores separate the classes perfectly, {_ENDLESS}")


def _most_likely(x: NDArray[np.float64], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """The parameters [k] of logistic regression on `x` [n, k] without an intercept of its own."""
    from scipy.optimize import minimize
    from scipy.special import expit

    def loss(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = x @ theta
        value = float((np.logaddexp(0, scores) - labels * scores).mean())
        return value, x.T @ (expit(scores) - labels) / len(labels)

    def curvature(theta: NDArray[np.float64]) -> NDArray[np.float64]:
        p_fake = expit(x @ theta)
        hessian: NDArray[np.float64] = x.T @ (x * (p_fake * (1 - p_fake))[:, None]) / len(labels)
        return hessian

    options = {"gtol": 1e-12}
    start = np.zeros(x.shape[1])
    theta: NDArray[np.float64] = minimize(
        loss, start, method="trust-exact", jac=True, hess=curvature, options=options
    ).x
    return theta


def _spreads(
    x: NDArray[np.float64], labels: NDArray[np.integer], theta: NDArray[np.float64], of: Clusters | None
) -> tuple[_Spread, _Spread | None]:
    """The covariance of the parameters with frames independent, and with sources independent; None without sources.

    A sandwich whose filling is what the parameters lose with each unit: the jackknife in one Newton step, which on few
    units is not too narrow (Bell & McCaffrey 2002, Survey Methodology 28: 169-181). It holds also where no scaling
    makes P(fake) exact, needs no random numbers, and takes sources that overlap, which no bootstrap of sources does.
    """
    from scipy.special import expit

    p_fake = expit(x @ theta)
    scores, weights = x * (labels - p_fake)[:, None], p_fake * (1 - p_fake)
    curvatures = np.einsum("n,ni,nj->nij", weights, x, x)
    count, size = x.shape
    by_frame = _Spread(_jackknife(scores, curvatures), student_quantile(0.95, count - size))
    if of is None or of.independent:
        return by_frame, None
    sources = min(of.effective(labels == label) for label in (0, 1))
    if sources < 2:
        return by_frame, _Spread(np.full((size, size), math.inf), 1.0)
    sums = np.stack([of.sums(column) for column in scores.T], axis=1)
    flat = np.stack([of.sums(column) for column in curvatures.reshape(count, -1).T], axis=1)
    covariance = _jackknife(sums, flat.reshape(-1, size, size), curvatures.sum(0), of)
    return by_frame, _Spread(covariance, student_quantile(0.95, sources - 1))


def _jackknife(
    scores: NDArray[np.float64],
    curvatures: NDArray[np.float64],
    total: NDArray[np.float64] | None = None,
    of: Clusters | None = None,
) -> NDArray[np.float64]:
    """The covariance [k, k] from the scores [g, k] and the curvatures [g, k, k] of the likelihood of each unit.

    Without `of`, units share nothing, and `total` is the sum of their curvatures. Infinite where a single unit tells a
    parameter, so that the others say nothing of it.
    """
    others = (curvatures.sum(0) if total is None else total) - curvatures
    try:
        lost = np.linalg.solve(others, scores[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        return np.full(others.shape[1:], math.inf)
    if of is None:
        return lost.T @ lost
    return np.array([[of.product(first, second) for second in lost.T] for first in lost.T])


def _estimate(value: float, spreads: tuple[_Spread, _Spread | None], index: int) -> Estimate:
    """A parameter with its intervals; those of a slope may reach 0, which is honest where few frames tell it."""

    def around(spread: _Spread) -> Interval:
        # Where sources overlap, the sum over their pairs may fall below 0.
        half = spread.quantile * math.sqrt(max(float(spread.covariance[index, index]), 0.0))
        return Interval(value - half, value + half)

    by_frame, by_source = spreads
    return Estimate(value, around(by_frame), None if by_source is None else around(by_source))
