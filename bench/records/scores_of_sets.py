"""What scores.json holds beside the first frame set's numbers where there are several sets; see `scores_file`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.records.exemplars import ScoredExemplars
from bench.records.scored_choice import (
    ScoredChoice,
    ScoredEffect,
)
from bench.records.scored_decisions import (
    Ends,
)
from bench.records.scored_maps import ScoredFaces, ScoredMasks
from bench.records.scored_slices import (
    ScoredSliceSearch,
)
from bench.records.scored_threshold import ScoredThresholdRule
from bench.records.scored_variant import (
    ScoredVariant,
)
from bench.records.scores import Verdict
from bench.records.scores_file import (
    Judged,
    ScoredDetector,
    ScoredFrames,
    ScoredVideos,
    ScoresFile,
    SideBySideScores,
)
from bench.records.videos import Unit


@dataclass(frozen=True)
class ScoredSet(Judged):
    """A detector on one of several frame sets; `choice` is what it would be on this set alone.

    `judge` and `videos` are those of `ScoresFile`: one set may be judged by video and another by frame. The threshold
    is the same on all sets, and `threshold_rule` says which rates it comes to on this one.
    """

    frames: dict[str, ScoredFrames]
    variants: dict[str, ScoredVariant]
    choice: ScoredChoice | None
    ablation: tuple[ScoredEffect, ...]
    not_sliced: tuple[str, ...]
    judge: Unit = field(default="frame", kw_only=True)
    videos: ScoredVideos | None = field(default=None, kw_only=True)
    threshold_rule: ScoredThresholdRule | None = field(default=None, kw_only=True)
    exemplars: ScoredExemplars | None = field(default=None, kw_only=True)
    masks: ScoredMasks | None = field(default=None, kw_only=True)
    faces: ScoredFaces | None = field(default=None, kw_only=True)
    slice_search: ScoredSliceSearch | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class ScoredPooled:
    """A variant against the baseline by the scores of all sets put together."""

    auc_delta: float | None
    auc_delta_ci: Ends | None
    auc_delta_p: float | None
    verdict: Verdict | None
    auc_delta_unresolved: float | None = None


@dataclass(frozen=True)
class ScoredOverall:
    """The verdict on a variant over all frame sets.

    `worst_first` orders the sets that compare it with the baseline, `p_sets` is the p of each, corrected for their
    number (Holm). `lost` are those that are degraded after that correction, `unknown` those without a comparison.
    `keeps_at_home_only` is whether the home set is stable or improved and another one is lost. `pooled` is null unless
    the file says `pool: true`; the verdict is then that of pooled scores.
    """

    verdict: Verdict | None
    worst_first: tuple[str, ...]
    p_sets: dict[str, float]
    lost: tuple[str, ...]
    unknown: tuple[str, ...]
    keeps_at_home_only: bool
    pooled: ScoredPooled | None


@dataclass(frozen=True)
class ScoresOnSets(ScoresFile):
    """The file of several frame sets: all else is that of the first, but `choice`, which holds on each of them.

    `home` is the set that variants were built with, or the first; `pool` is whether verdicts over all are of pooled
    scores. `overall` has every variant but the baseline.
    """

    home: str
    pool: bool
    sets: dict[str, ScoredSet]
    overall: dict[str, ScoredOverall]


@dataclass(frozen=True)
class ScoredDetectorOnSets(ScoredDetector):
    """One of several detectors on several frame sets: what is not below `sets` is that of the first.

    `choice` holds on each set, against the detector's own baseline.
    """

    sets: dict[str, ScoredSet]
    overall: dict[str, ScoredOverall]


@dataclass(frozen=True)
class SideBySideScoresOnSets(SideBySideScores):
    """The file of several detectors on several frame sets: what is not below `detectors` is that of the first one.

    `choice` is among all and holds on each set. `compared` is on the first set, and `overall_compared` the verdict of
    each variant over all sets against the `reference`.
    """

    detectors: Mapping[str, ScoredDetectorOnSets]
    home: str
    pool: bool
    sets: dict[str, ScoredSet]
    overall: dict[str, ScoredOverall]
    overall_compared: dict[str, ScoredOverall]
