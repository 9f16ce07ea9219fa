"""What scores.json holds: the numbers of a report, for programs. A dataclass field is a key of the file.

Every key is written for every variant. A number that is unavailable is None, never left out. reports/README.md and
docs/numbers.md say what each key means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.records.exemplars import ScoredExemplars
from bench.records.scored_choice import ScoredChoice, ScoredEffect
from bench.records.scored_decisions import Ends
from bench.records.scored_ensemble import ScoredEnsemble
from bench.records.scored_maps import ScoredFaces, ScoredMasks
from bench.records.scored_slices import ScoredSliceSearch
from bench.records.scored_threshold import ScoredThresholdRule
from bench.records.scored_variant import ScoredVariant
from bench.records.search import SearchTrail
from bench.records.videos import MissingScore, Unit, VideoScore

SCORES_SCHEMA = 1
"""Counts up when a key changes its meaning or goes away."""


@dataclass(frozen=True)
class ScoredFrames:
    """One split: how many frames count, the digest of all paths, labels, sources and content, and further copies.

    `copies` are files that are identical to another one of the split. They are in predictions.parquet and in the
    digest, and count neither here nor in any other number.
    """

    count: int
    fake: int
    real: int
    digest: str
    copies: int = 0


@dataclass(frozen=True)
class ScoredVideosOfSplit:
    """The videos of a split that have frames, further copies of these, and those that have none.

    `copies` consist of the same frames as another video, and count neither here nor in any other number. `coverage` is
    the share of all videos that have frames.
    """

    count: int
    fake: int
    real: int
    copies: int
    missing: int
    missing_fake: int
    missing_real: int
    coverage: float


@dataclass(frozen=True)
class ScoredVideos:
    """How videos are scored, what those without frames count as, and how many there are of each split."""

    score: VideoScore
    top: int
    missing: MissingScore
    splits: dict[str, ScoredVideosOfSplit]


class Judged:
    """Variants that are judged by their numbers per frame or per video."""

    variants: dict[str, ScoredVariant]
    judge: Unit

    @property
    def judged(self) -> dict[str, ScoredVariant]:
        """The variants with the numbers that verdicts and gates go by: those of videos, where these are judged."""
        if self.judge == "frame":
            return self.variants
        return {name: variant.by_video for name, variant in self.variants.items()}


@dataclass(frozen=True)
class ScoresFile(Judged):
    """The whole file. `baseline` is the first of `variants`; `machine` is None where scores came from elsewhere.

    `judge` is what `choice` goes by: frames, or videos, whose numbers are in `video` of each variant. `videos` is None
    where none are known. `threshold_rule` is how `threshold` was found, None where the experiment says a number.
    `exemplars` are the test frames that most variants lose, None where too few variants decide otherwise than others.
    `searches` are the trails of those variants whose steps were searched for. `masks` are those of test fakes, None
    where no fake has one. `faces` are those found for `regions: true`, None where nobody asked. `ensemble` says how
    members were joined, None of a single network.
    """

    schema: int
    experiment: str
    detector: str
    architecture: str
    frames: dict[str, ScoredFrames]
    machine: str | None
    baseline: str
    threshold: float
    margin: float
    variants: dict[str, ScoredVariant]
    choice: ScoredChoice | None
    ablation: tuple[ScoredEffect, ...]
    not_sliced: tuple[str, ...]
    judge: Unit = field(default="frame", kw_only=True)
    videos: ScoredVideos | None = field(default=None, kw_only=True)
    threshold_rule: ScoredThresholdRule | None = field(default=None, kw_only=True)
    exemplars: ScoredExemplars | None = field(default=None, kw_only=True)
    slice_search: ScoredSliceSearch | None = field(default=None, kw_only=True)
    searches: dict[str, SearchTrail] = field(default_factory=dict, kw_only=True)
    masks: ScoredMasks | None = field(default=None, kw_only=True)
    faces: ScoredFaces | None = field(default=None, kw_only=True)
    ensemble: ScoredEnsemble | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class ScoredDetector:
    """One of several detectors. `auc_delta` and what follows it compare its baseline with that of the best detector."""

    architecture: str
    baseline: str
    auc_delta: float | None
    auc_delta_ci: Ends | None
    auc_delta_p: float | None
    auc_delta_p_holm: float | None
    variants: dict[str, ScoredVariant]
    choice: ScoredChoice | None
    ablation: tuple[ScoredEffect, ...]
    not_sliced: tuple[str, ...]
    threshold: float | None = field(default=None, kw_only=True)
    threshold_rule: ScoredThresholdRule | None = field(default=None, kw_only=True)
    exemplars: ScoredExemplars | None = field(default=None, kw_only=True)
    slice_search: ScoredSliceSearch | None = field(default=None, kw_only=True)
    searches: dict[str, SearchTrail] = field(default_factory=dict, kw_only=True)
    masks: ScoredMasks | None = field(default=None, kw_only=True)
    faces: ScoredFaces | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class ScoredAgainst:
    """A variant against the `reference` of all, on the same frames, and where both were timed in one session."""

    auc_delta: float | None
    auc_delta_ci: Ends | None
    auc_delta_p: float | None
    auc_delta_p_holm: float | None
    speedup: float | None
    speedup_interval: Ends | None


@dataclass(frozen=True)
class SideBySideScores(ScoresFile):
    """The file of several detectors: all else is that of the first, but `choice`, which is among all.

    Keys of `compared`, `reference` and names in `choice` are "detector/variant". `best` is the detector whose baseline
    has the highest AUC, and `reference` the variant that `compared` and `choice` compare with.
    """

    best: str
    reference: str
    detectors: Mapping[str, ScoredDetector]
    compared: dict[str, ScoredAgainst]
