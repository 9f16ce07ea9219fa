"""The noise of variants on test frames, beside what the steps that made them foretold of it.

Noise is the mean square of what a variant's logit difference differs by, as a share of the other's variance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.records import LabelledFrames, MeasuredNoise, Predictions, RunRecord, VariantResult

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_HUNDREDTH = 0.01
# The median square of a normal distribution over its mean square.
_MEDIAN_SQUARE = 0.4549


def measured(run: RunRecord, test: LabelledFrames, predictions: Mapping[str, Predictions]) -> dict[str, MeasuredNoise]:
    """By variant, of those whose noise was foretold since a variant that has predictions too."""
    by_id = {variant.id: variant.name for variant in reversed(run.variants) if variant.name in predictions}
    noises = {}
    for variant in run.variants:
        before = _foretold(variant, by_id) if variant.name in predictions else None
        if before is None:
            continue
        against, foretold = before
        answers = (predictions[name].logit_diff for name in (variant.name, against))
        changed, unchanged = (None if of is None else of[test.counted] for of in answers)
        if changed is not None and unchanged is not None and len(unchanged) and unchanged.var() > 0:
            share = foretold / float(unchanged.var())
            noises[variant.name] = MeasuredNoise(against, share, *noise_of(changed, unchanged), len(changed))
    return noises


def noise_of(changed: NDArray[np.float64], unchanged: NDArray[np.float64]) -> tuple[float, float, float]:
    """Of logit differences [n]: on average, by the median frame, and the share that the noisiest hundredth makes."""
    import numpy as np

    squares = np.sort((changed - unchanged) ** 2) / float(unchanged.var())
    average, most = float(squares.mean()), max(1, round(_HUNDREDTH * len(squares)))
    share = float(squares[-most:].sum() / squares.sum()) if average > 0 else 0.0
    return average, float(np.median(squares)) / _MEDIAN_SQUARE, share


def _foretold(variant: VariantResult, by_id: Mapping[str, str]) -> tuple[str, float] | None:
    """The nearest variant that this one was made from by steps that foretold their noise, and the sum of that.

    It is the mean square of a change of the logit difference: how much this varies depends on the frames.
    """
    by_artifact = {forecast.id: forecast for forecast in variant.forecasts}
    artifact, square = variant.id, 0.0
    while (forecast := by_artifact.pop(artifact, None)) is not None:
        foretold = forecast.foretold
        if foretold.noise is None or foretold.deviation is None:
            return None
        artifact, square = forecast.parent, square + foretold.noise * foretold.deviation**2
        if artifact in by_id:
            return by_id[artifact], square
    return None
