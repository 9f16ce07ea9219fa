"""Weights of an ensemble's members with the least log loss, checked on sources that were held back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.records import LabelledFrames
from bench.records.ensembles import Ensemble, FittedWeights

FOLDS = 5
_LEAST = 1e-4
"""The least weight of a member, before they are made to sum to 1: none is 0, since it would then be no member."""


def fit(rule: Ensemble, differences: Sequence[NDArray[np.float64]], frames: LabelledFrames) -> FittedWeights:
    """Fit weights to validation frames, by the members' logit differences, each [n].

    Weights are at least 0 and sum to 1; the log loss of the joined P(fake) is least (SLSQP of SciPy). Frames of a
    source, of a video where no source is known, are held back together (StratifiedGroupKFold of scikit-learn).
    """
    stacked, labels = np.array(differences), np.asarray(frames.labels)
    groups = _groups(frames)
    weights = _fit(rule, stacked, labels)
    folds, held_out = _held_out(rule, stacked, labels, groups)
    equal = replace(rule, weights=dict.fromkeys(rule.members, 1.0)).join_differences(stacked)[1]
    return FittedWeights(
        weights=dict(zip(rule.members, np.round(weights, 4).tolist(), strict=True)),
        frames=len(labels),
        sources=len(np.unique(groups)),
        folds=folds,
        auc=_auc(labels, held_out),
        equal_auc=_auc(labels, equal),
    )


def _groups(frames: LabelledFrames) -> NDArray[np.int64]:
    """The number of each frame's source [n], of its video where that is unknown, its own where that is, too."""
    names = frames.sources.astype(object)
    if frames.videos is not None:
        names = names.where(names.notna(), frames.videos.astype(object))
    alone = [f"\0{index}" for index in range(len(names))]
    groups = [str(name) if isinstance(name, str) else single for name, single in zip(names, alone, strict=True)]
    return np.unique(groups, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _fit(rule: Ensemble, differences: NDArray[np.float64], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """The weights [members] with the least log loss, none below `_LEAST`, with the sum 1."""
    from scipy.optimize import minimize

    count = len(differences)
    signs = np.where(np.asarray(labels) == 1, 1.0, -1.0)

    def loss(weights: NDArray[np.float64]) -> float:
        by_member = dict(zip(rule.members, np.maximum(weights, _LEAST / 10).tolist(), strict=True))
        joined = replace(rule, weights=by_member, minimum=1).join_differences(differences)[1]
        return float(np.logaddexp(0.0, -signs * np.clip(joined, -36, 36)).mean())

    solved = minimize(
        loss,
        np.full(count, 1 / count),
        method="SLSQP",
        bounds=[(_LEAST, 1.0)] * count,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
    )
    weights = np.maximum(solved.x, _LEAST)
    weights /= weights.sum()
    return np.asarray(weights, np.float64)


def _held_out(
    rule: Ensemble, differences: NDArray[np.float64], labels: NDArray[np.integer], groups: NDArray[np.int64]
) -> tuple[int, NDArray[np.float64]]:
    """The joined logit difference of each frame [n] by weights fitted without its fold; NaN without folds."""

    from sklearn.model_selection import StratifiedGroupKFold

    joined = np.full(len(labels), np.nan)
    least = min((len(np.unique(groups[labels == label])) for label in (0, 1)), default=0)
    folds = min(FOLDS, least)
    if folds < 2:
        return 0, joined
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    for learned, held in splitter.split(np.zeros((len(labels), 1)), labels, groups):
        weights = dict(zip(rule.members, _fit(rule, differences[:, learned], labels[learned]).tolist(), strict=True))
        joined[held] = replace(rule, weights=weights, minimum=1).join_differences(differences[:, held])[1]
    return folds, joined


def _auc(labels: NDArray[np.integer], scores: NDArray[np.float64]) -> float | None:
    from bench.results.score.placements import placements

    if np.isnan(scores).any() or len(np.unique(labels)) < 2:
        return None
    return float(placements(np.asarray(labels), scores).auc)
