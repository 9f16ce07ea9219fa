"""What every threshold makes of the scores, counted here so that its slider is exact for any number of frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.records import Evaluation, RunRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEPS = 1000
"""The slider's positions are k / STEPS, as a decimal number of three digits is read."""
_STEPS = np.arange(STEPS + 1) / STEPS


def counts(run: RunRecord, evaluation: Evaluation) -> dict[str, Any]:
    """By variant how many fakes and reals have `p_fake >= threshold`, and how many frames flip, at each threshold.

    The thresholds are 0 to 1 in steps of .001, then `extra`: those of the report that lie between. `worse` are
    frames that the baseline has right there and the variant wrong, `better` the other way round; empty without one.
    """
    return {"steps": STEPS, "extra": _extra(run, evaluation), "fixed": run.threshold,
            **at_thresholds(run, evaluation, evaluation)}  # fmt: skip


def at_thresholds(run: RunRecord, evaluation: Evaluation, reported: Evaluation) -> dict[str, Any]:
    """The counts of an evaluation at the thresholds of the `reported` one, which may be that of its videos."""
    thresholds = np.concatenate([_STEPS, _extra(run, reported)])
    rows = evaluation.test.counted
    fake = evaluation.test.labels[rows] == 1
    scores = {name: answered.test[rows] for name, answered in evaluation.predictions.items()}
    first = scores.get(run.baseline.name)
    variants = []
    for name, p_fake in scores.items():
        counted = {"name": name, "fake": at_or_above(p_fake[fake], thresholds)}
        counted["real"] = at_or_above(p_fake[~fake], thresholds)
        if first is not None and p_fake is not first:
            counted["worse"] = _crossed(p_fake, first, fake, thresholds)
            counted["better"] = _crossed(first, p_fake, fake, thresholds)
        variants.append(counted)
    return {
        "fakes": int(np.count_nonzero(fake)),
        "reals": int(np.count_nonzero(~fake)),
        "variants": variants,
    }


def _extra(run: RunRecord, evaluation: Evaluation) -> list[float]:
    """The thresholds of the report that lie between the slider's positions."""
    points = (point for judged in evaluation.variants.values() for point in judged.thresholds.values() if point)
    reported = {run.threshold, *(float(point.threshold) for point in points)}
    return sorted(reported - set(_STEPS.tolist()))


def at_or_above(scores: NDArray[np.float64], thresholds: NDArray[np.float64]) -> list[int]:
    """How many of `scores` [n] are at least each of `thresholds` [k]."""
    below = np.searchsorted(np.sort(scores), thresholds, side="left")
    counted: list[int] = (len(scores) - below).tolist()
    return counted


def _crossed(
    wrong: NDArray[np.float64], right: NDArray[np.float64], fake: NDArray[np.bool_], thresholds: NDArray[np.float64]
) -> list[int]:
    """How many frames scores `right` [n] decide rightly and `wrong` [n] wrongly, at each of `thresholds` [k]."""
    low, high = np.where(fake, wrong, right), np.where(fake, right, wrong)
    crossed = low < high
    above = np.array(at_or_above(high[crossed], thresholds)) - np.array(at_or_above(low[crossed], thresholds))
    counted: list[int] = above.tolist()
    return counted


def marks(run: RunRecord, evaluation: Evaluation) -> list[dict[str, Any]]:
    """The thresholds that the report speaks of: the fixed one, then each variant's carried and own."""
    first = {"kind": "fixed", "variant": None, "index": None, "threshold": run.threshold}
    indices = {variant.name: index for index, variant in enumerate(run.variants)}
    others = [
        {"kind": kind, "variant": name, "index": indices[name], "threshold": float(point.threshold)}
        for name, judged in evaluation.variants.items()
        for kind, point in judged.thresholds.items()
        if point is not None and kind != "fixed"
    ]
    return [first, *others]
