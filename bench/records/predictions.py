"""Predictions of variants, the labelled frames that they are of, and the pass that made them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelledFrames:
    """The labelled frames of one split, in the order of `predictions.parquet`, where test rows come first.

    `frames` [n] are their names, `labels` [n] 1 for fake and 0 for real, `sources` [n] the video or
    person each comes from, missing where unknown. `attributes` [n rows] has a column for each further column of a
    manifest, or for the folders below `real/` and `fake/`. `videos` [n] are the videos that frames were taken from, and
    `frame_indices` [n] their numbers there, both missing where unknown, and None where no video is known.
    """

    frames: pd.Series[str]
    labels: NDArray[np.int8]
    sources: pd.Series[str]
    attributes: pd.DataFrame
    videos: pd.Series[str] | None = None
    frame_indices: pd.Series[int] | None = None


@dataclass(frozen=True)
class Predictions:
    """The predictions of a variant: P(fake) of every test [n] and validation frame [k], float64 in [0, 1].

    `validation` is None where there are no such frames. `cam` [n + k, h, w] is the signed
    class-activation map of each, in logits, test frames first; None where there is none. It may be a memory map.
    `logit_diff` [n] is `logit_fake - logit_real` of the test frames. It ranks frames also where P(fake) has come
    so near to 0 or 1 that it ties. None where only P(fake) is known.
    """

    test: NDArray[np.float64]
    validation: NDArray[np.float64] | None
    cam: NDArray[np.float32] | None
    logit_diff: NDArray[np.float64] | None = None

    @property
    def ranks(self) -> NDArray[np.float64]:
        """What test frames are ranked by [n]."""
        return self.test if self.logit_diff is None else self.logit_diff


@dataclass(frozen=True)
class PredictionPass:
    """One pass over the frames: each was decoded once and given to every variant.

    `frames` counts those computed in this pass, without those of an earlier, interrupted one. For `waited_seconds`
    of its `seconds`, no decoded frame was ready. `variants` counts those that it predicted for.
    """

    frames: int
    seconds: float
    waited_seconds: float
    variants: int
