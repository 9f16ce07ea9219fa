"""What became of files that a variant of a finished experiment judged."""

from __future__ import annotations

from dataclasses import dataclass

from bench.records.scores import Interval, VariantEvaluation


@dataclass(frozen=True)
class PredictedPicture:
    """A picture that is shown: what its row says, and the file of its heatmap."""

    path: str
    frame_index: int | None
    p_fake: float
    label: int | None
    heatmap: str


@dataclass(frozen=True)
class PredictedCounts:
    """Counts of what was judged.

    `files` are those of the inputs, `rows` those of the table, of which `failed` have an error in place of a score.
    `pictures` are pictures and frames of videos that have a score, of which `fake` are called fake; a picture with
    several faces counts once, by the highest of them. `labelled` are those whose true label is known, `videos` those of
    which frames have a score.
    """

    files: int
    rows: int
    failed: int
    pictures: int
    fake: int
    labelled: int
    videos: int

    @property
    def real(self) -> int:
        return self.pictures - self.fake


@dataclass(frozen=True)
class PredictedSummary:
    """What a summary of predictions says.

    `judged` are the scores of the labelled pictures, `by_video` those of labelled videos, each the score that
    `video_score` names; None without. `accuracy_ci` is the interval of the accuracy of either. `errors` are the first
    rows with an error, as (path, error); `shown` the pictures of the gallery, the most mistaken first. `notes` are
    sentences that a reader of the numbers must know.
    """

    experiment: str
    variant: str
    variant_id: str
    runtime: str
    device: str
    threshold: float
    inputs: tuple[str, ...]
    counts: PredictedCounts
    judged: VariantEvaluation | None
    by_video: VariantEvaluation | None
    video_score: str
    accuracy_ci: Interval | None = None
    video_accuracy_ci: Interval | None = None
    errors: tuple[tuple[str, str], ...] = ()
    shown: tuple[PredictedPicture, ...] = ()
    notes: tuple[str, ...] = ()
