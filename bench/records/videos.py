"""Videos: how the scores of frames become a video's, which videos a split has, and which of them have no frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

Unit: TypeAlias = Literal["frame", "video"]
"""What is judged."""

VideoScore: TypeAlias = Literal["mean", "max", "top"]
"""What a video's score is of its frames' P(fake): their mean, the highest, or the mean of the highest few."""

MissingScore: TypeAlias = Literal["exclude", "real", "fake", "0.5"]
"""What a video without frames counts as: as nothing, as called real or fake for certain, or as P(fake) 0.5."""

SCORE_OF_MISSING: Mapping[MissingScore, float] = {"real": 0.0, "fake": 1.0, "0.5": 0.5}
"""P(fake) of a video without frames, where it counts."""


@dataclass(frozen=True)
class VideoScoring:
    """How videos are scored: `top` is how many of a video's highest frames are averaged, where `score` is "top"."""

    score: VideoScore = "mean"
    top: int = 5
    missing: MissingScore = "exclude"

    @property
    def words(self) -> str:
        """What the score of a video is: "the mean of its frames"."""
        whole = {"mean": "the mean of its frames", "max": "the highest of its frames"}
        return whole.get(self.score, f"the mean of its {self.top} highest frames")


@dataclass(frozen=True)
class MissingVideo:
    """A video of a labelled split that has no frame, and the reason. `label` is 1 for fake and 0 for real."""

    name: str
    label: int
    source: str | None
    reason: str


@dataclass(frozen=True)
class VideoCounts:
    """The videos of a split: how many have frames, of each class, and those that have none."""

    count: int
    fake: int
    real: int
    missing: tuple[MissingVideo, ...] = ()

    @property
    def coverage(self) -> float:
        """The share of the videos that have a frame, and so a score of their own."""
        return self.count / (self.count + len(self.missing))


@dataclass(frozen=True, eq=False)
class Videos:
    """The videos of a split, those that have frames first, in the order of their first frames.

    `names` [v] are what manifests, layouts or extractions call them, `labels` [v] 1 for fake and 0 for real, `sources`
    [v] as those of frames, `attributes` [v rows] the values on which all frames of a video agree, missing where they
    differ. `rows` [n] are the rows of all frames, video by video, in order of their numbers there; those of video
    `i` are `rows[bounds[i]:bounds[i + 1]]`, and `bounds` is [v + 1]. Videos without frames stand at the end, where they
    count. `stills` [n] numbers the pictures that are scored, from 0: the faces of a frame have one number,
    and so do the identical frames of a video; it is in the order of `rows`.
    `firsts` [v] are the indices of the first videos with the same frames, None where each has other ones. `measured`
    [v rows] are the means of what is known of frames in numbers, and of what was measured of their pictures.
    """

    names: pd.Series[str]
    labels: NDArray[np.int8]
    sources: pd.Series[str]
    attributes: pd.DataFrame
    rows: NDArray[np.int64]
    bounds: NDArray[np.int64]
    stills: NDArray[np.int64]
    firsts: NDArray[np.int64] | None = None
    measured: pd.DataFrame | None = None
    missing: tuple[MissingVideo, ...] = field(default=())

    def rows_of(self, video: int) -> NDArray[np.int64]:
        """The rows of a video's frames among all of the split, in order of their numbers; empty where it has none."""
        return self.rows[self.bounds[video] : self.bounds[video + 1]]

    @property
    def present(self) -> int:
        """How many videos have frames."""
        return int((self.bounds[1:] > self.bounds[:-1]).sum())
