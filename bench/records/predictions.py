"""Predictions of variants, the labelled frames that they are of, and the pass that made them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.records.frames import joined_sources, sources_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


def single_sources(sources: pd.Series[str]) -> set[str]:
    """The single sources that a column of sources [n] names, several of one frame apart."""
    return {part for name in sources.dropna().unique() for part in sources_of(str(name))}


@dataclass(frozen=True)
class LabelledFrames:
    """The labelled frames of one split, in the order of `predictions.parquet`, where test rows come first.

    `frames` [n] are their names, `labels` [n] 1 for fake and 0 for real, `sources` [n] the video or
    person each comes from, missing where unknown. `attributes` [n rows] has a column for each further column of a
    manifest, or for the folders below `real/` and `fake/`. `videos` [n] are the videos that frames were taken from, and
    `frame_indices` [n] their numbers there, both missing where unknown, and None where no video is known.
    `firsts` [n] are the rows of the first frames with the same
    content, each frame's of itself where that is only there once; None where all are. `measured` [n rows] has what was
    measured of the pictures, such as their brightness, missing where it was not; None where nothing was.
    `times_s` [n] are the seconds since the video's start at which each was shown, NaN where unknown, None where they
    were not asked for.
    """

    frames: pd.Series[str]
    labels: NDArray[np.int8]
    sources: pd.Series[str]
    attributes: pd.DataFrame
    firsts: NDArray[np.int64] | None = None
    videos: pd.Series[str] | None = None
    frame_indices: pd.Series[int] | None = None
    measured: pd.DataFrame | None = None
    times_s: NDArray[np.float64] | None = None

    @property
    def counted(self) -> NDArray[np.int64] | slice:
        """The rows that numbers are made of: identical files weigh together as one, the first of them."""
        import numpy as np

        return slice(None) if self.firsts is None else np.flatnonzero(self.firsts == np.arange(len(self.firsts)))

    def without_copies(self) -> LabelledFrames:
        """The frames that count, each with the sources of all its copies."""
        if self.firsts is None:
            return self
        rows = self.counted
        return LabelledFrames(
            self.frames.iloc[rows].reset_index(drop=True),
            self.labels[rows],
            self._sources_with_copies().iloc[rows].reset_index(drop=True),
            self.attributes.iloc[rows].reset_index(drop=True),
            videos=None if self.videos is None else self.videos.iloc[rows].reset_index(drop=True),
            frame_indices=None if self.frame_indices is None else self.frame_indices.iloc[rows].reset_index(drop=True),
            measured=None if self.measured is None else self.measured.iloc[rows].reset_index(drop=True),
        )

    def _sources_with_copies(self) -> pd.Series[str]:
        """The sources [n], of the first of several copies those of all."""
        import numpy as np

        assert self.firsts is not None
        names = self.sources.astype(object).where(self.sources.notna(), "")
        differing = np.flatnonzero((names != names.iloc[self.firsts].to_numpy()) & (names != ""))
        if not len(differing):
            return self.sources
        for row in differing.tolist():
            first = int(self.firsts[row])
            names.iloc[first] = joined_sources(names.iloc[first], names.iloc[row])
        return names.where(names != "", None)


@dataclass(frozen=True)
class Predictions:
    """The predictions of a variant: P(fake) of every test [n] and validation frame [k], float64 in [0, 1].

    `validation` is None where there are no such frames. `cam` [n + k, h, w] is the signed
    class-activation map of each, in logits, test frames first; None where there is none. It may be a memory map.
    `logit_diff` [n] is `logit_fake - logit_real` of the test frames. It ranks frames also where P(fake) has come
    so near to 0 or 1 that it ties. None where only P(fake) is known. `held_out_logit_diff` [k] is that of the
    validation frames. `assumed` [n] are test scores that nobody gave, the same in every variant: those of videos
    without frames; None where there are none.
    """

    test: NDArray[np.float64]
    validation: NDArray[np.float64] | None
    cam: NDArray[np.float32] | None
    logit_diff: NDArray[np.float64] | None = None
    held_out_logit_diff: NDArray[np.float64] | None = None
    assumed: NDArray[np.bool_] | None = None

    def of(self, test: NDArray[np.int64] | slice, validation: NDArray[np.int64] | slice) -> Predictions:
        """The predictions of some of the test and validation frames, without maps."""
        return Predictions(
            self.test[test],
            None if self.validation is None else self.validation[validation],
            None,
            None if self.logit_diff is None else self.logit_diff[test],
            None if self.held_out_logit_diff is None else self.held_out_logit_diff[validation],
            None if self.assumed is None else self.assumed[test],
        )

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
