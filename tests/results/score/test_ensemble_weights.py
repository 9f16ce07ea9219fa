"""Weights of an ensemble's members, fitted on validation frames: beside scikit-learn's loss and a grid."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from bench.records import LabelledFrames
from bench.records.ensembles import Combination, Ensemble
from bench.results.score.weights import fit

COUNT = 400


def frames(labels: np.ndarray, per_source: int = 10) -> LabelledFrames:
    names = pd.Series([f"{index:03}.png" for index in range(len(labels))], dtype=object)
    # Sources of either class, so that every fold has both.
    sources = pd.Series([f"s{label}-{index // (2 * per_source)}" for index, label in enumerate(labels)], dtype=object)
    return LabelledFrames(names, labels.astype(np.int8), sources, pd.DataFrame(index=names.index))


def answers() -> tuple[np.ndarray, list[np.ndarray]]:
    """Labels, and the logit differences of a good, a fair and a useless member."""
    rng = np.random.default_rng(5)
    labels = np.arange(COUNT) % 2
    signs = np.where(labels == 1, 1.0, -1.0)
    return labels, [signs * strength + rng.normal(0, 1.5, COUNT) for strength in (2.0, 1.0, 0.0)]


@pytest.mark.slow
@pytest.mark.parametrize("combine", ["mean", "logits"])
def test_the_weights_have_the_least_loss_of_a_grid(combine: Combination) -> None:
    labels, differences = answers()
    fitted = fit(Ensemble({"a": 1, "b": 1, "c": 1}, combine), differences, frames(labels))
    weights = list(fitted.weights.values())
    assert sum(weights) == pytest.approx(1, abs=1e-3)

    def loss(by: list[float]) -> float:
        if combine == "mean":
            return float(log_loss(labels, np.average(expit(differences), axis=0, weights=by)))
        return float(log_loss(labels, expit(np.average(differences, axis=0, weights=by))))

    grid = [[a, b, 1 - a - b] for a in np.linspace(0, 1, 21) for b in np.linspace(0, 1 - a, 21)]
    assert loss(weights) <= min(map(loss, grid)) + 1e-4


def test_a_useless_member_weighs_least_and_equal_ones_about_the_same() -> None:
    labels, differences = answers()
    equal = np.where(labels == 1, 2.0, -2.0) + np.random.default_rng(6).normal(0, 1.5, COUNT)
    weights = fit(Ensemble({"a": 1, "b": 1, "c": 1}), [differences[0], equal, differences[2]], frames(labels)).weights
    assert weights["a"] == pytest.approx(weights["b"], abs=0.3)
    assert 0 < weights["c"] < 0.1


def test_the_auc_is_of_sources_that_were_held_back() -> None:
    """A member that only knows its frames by heart is no help on those that were held back: labels are random."""
    labels, differences = answers()
    fitted = fit(Ensemble({"a": 1, "b": 1, "c": 1}), differences, frames(labels))
    assert (fitted.frames, fitted.sources, fitted.folds) == (COUNT, 40, 5)
    assert fitted.equal_auc == pytest.approx(roc_auc_score(labels, np.mean(expit(differences), axis=0)))
    assert fitted.auc is not None
    assert fitted.auc == pytest.approx(roc_auc_score(labels, differences[0]), abs=0.03)


def test_few_sources_say_nothing_of_fitted_weights() -> None:
    labels, differences = answers()
    fitted = fit(Ensemble({"a": 1, "b": 1, "c": 1}), differences, frames(labels, per_source=COUNT))
    assert (fitted.folds, fitted.auc) == (0, None)
