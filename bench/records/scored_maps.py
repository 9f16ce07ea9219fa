"""What scores.json says of heatmaps: whether they lie on what was forged, and on which parts of the face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.records.frames import Outcome
from bench.records.scored_decisions import Ends


@dataclass(frozen=True)
class ScoredLocalisation:
    """Whether heatmaps lie on what was forged, over `frames` test fakes with a mask; all from 0 to 1.

    See `Localised`. Deltas are to the baseline's on the same fakes. Where a variant has no maps, `reason` says why, and
    the numbers are None.
    """

    reason: str | None
    frames: int | None
    blank: int | None
    pointing_game: float | None
    pointing_game_ci: Ends | None
    pointing_game_delta: float | None
    pointing_game_delta_ci: Ends | None
    pointing_game_not_blank: float | None
    evidence_inside: float | None
    evidence_inside_ci: Ends | None
    evidence_inside_delta: float | None
    evidence_inside_delta_ci: Ends | None
    mask_auc: float | None
    mask_auc_ci: Ends | None
    mask_auc_delta: float | None
    mask_auc_delta_ci: Ends | None
    interval: Literal["sources", "frames"] | None


@dataclass(frozen=True)
class ScoredMasks:
    """The masks of test fakes, and what maps come to beside them that know nothing; see `MaskCounts` and `Chance`."""

    fakes: int
    used: int
    missing: int
    unreadable: int
    misshapen: int
    black: int
    outside: int
    whole: int
    marked_real: int
    compared: int
    area: float | None
    centre_pointing: float | None
    centre_inside: float | None
    centre_auc: float | None
    mean_pointing: float | None = None
    mean_inside: float | None = None
    mean_auc: float | None = None


@dataclass(frozen=True)
class ScoredPart:
    """The mean share of the evidence for the called class on a part of the face; see `PartShare`."""

    part: str
    share: float
    share_ci: Ends
    delta: float | None
    delta_ci: Ends | None


@dataclass(frozen=True)
class ScoredOutcomeRegions:
    """The parts of the face over `frames` frames of an outcome, `compared` of them with the baseline's beside them."""

    outcome: Outcome
    frames: int
    compared: int
    parts: tuple[ScoredPart, ...]


@dataclass(frozen=True)
class ScoredRegions:
    """Which parts of the face a variant looks at, by outcome; `changed` of `compared` frames have another leading part.

    Where a variant has no maps, `reason` says why, and there are no outcomes.
    """

    reason: str | None
    compared: int | None
    changed: int | None
    outcomes: tuple[ScoredOutcomeRegions, ...]


@dataclass(frozen=True)
class ScoredArea:
    """A part of the face, and its mean share of what the network sees."""

    part: str
    area: float


@dataclass(frozen=True)
class ScoredFaces:
    """In how many of `frames` test frames a face was found, by which finder, and the parts' shares of the area."""

    finder: str
    frames: int
    faces: int
    compared: int
    areas: tuple[ScoredArea, ...]
