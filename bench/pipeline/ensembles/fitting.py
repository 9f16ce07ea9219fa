"""Weights of an ensemble that are fitted on validation frames, and what they are worth on frames held back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError
from bench.records import FrameSet, RunRecord, Split
from bench.records.ensembles import FittedWeights
from bench.results import store
from bench.results.score.weights import fit

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from bench.records.ensembles import Ensemble


def problem(frames: Mapping[Split, FrameSet]) -> str:
    """Why nothing can be fitted, where it cannot."""
    if "validation" in frames:
        return ""
    return (
        "`weights: fit` needs validation frames, and the first frame set has none: give it a `validation:` folder or "
        "`split: auto`, or give each member its weight"
    )


def fitted(rule: Ensemble, runs: Mapping[str, RunRecord], folders: Mapping[str, Path]) -> FittedWeights:
    """The weights with the least log loss on validation frames, by the members' baselines.

    `runs` and `folders` are those of the members on the first frame set. `UserError` where a baseline did not answer.
    """
    first = next(iter(rule.members))
    _, validation = store.read_labelled(folders[first], runs[first].baseline.name, runs[first].frames)
    if validation is None:
        raise UserError(f"{folders[first]}: has no validation frames, which `weights: fit` needs")
    rows = validation.counted
    differences = [_differences(folders[name] / runs[name].baseline.name, runs[name])[rows] for name in rule.members]
    return fit(rule, differences, validation.without_copies())


def _differences(folder: Path, run: RunRecord) -> NDArray[np.float64]:
    predictions = store.read_predictions(folder, run.frames["test"].count)
    assert predictions.held_out_logit_diff is not None
    return predictions.held_out_logit_diff
