"""Parts of the face that heatmaps lie on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.records.frames import Outcome
from bench.records.localisation import Mean


@dataclass(frozen=True)
class FaceCounts:
    """In how many of `frames` test frames a face was found. `key` is that of the stored points, `finder` who did."""

    key: str
    finder: str
    frames: int
    faces: int


@dataclass(frozen=True)
class PartShare:
    """The mean share of the evidence for the called class that lies on a part of the face.

    `delta` is the difference to the share in the baseline's maps of the same frames, for the same class; None for the
    baseline itself, or where no frame compares.
    """

    share: Mean
    delta: Mean | None = None


@dataclass(frozen=True)
class OutcomeRegions:
    """The parts, in the order of `PARTS`, over `frames` frames of an outcome in which something speaks for the class.

    `compared` of them also have the baseline's evidence for that class beside it, 0 for the baseline itself.
    """

    frames: int
    compared: int
    parts: Mapping[str, PartShare]


@dataclass(frozen=True)
class ChangedPart:
    """A test frame, by its row, whose leading part is another one than in the baseline's map, for the same class."""

    row: int
    before: str
    after: str


@dataclass(frozen=True)
class VariantRegions:
    """Where a variant looks, by outcome; `changed` of `compared` frames have another leading part, the surest first."""

    outcomes: Mapping[Outcome, OutcomeRegions]
    compared: int = 0
    changed: tuple[ChangedPart, ...] = ()


@dataclass(frozen=True)
class Regions:
    """Which parts of the face each variant looks at, over `frames` test frames with a face.

    `areas` are the parts' mean shares of what the network sees. `reasons` says why variants have no numbers.
    """

    counts: FaceCounts
    frames: int
    areas: Mapping[str, float] = field(default_factory=dict)
    variants: Mapping[str, VariantRegions] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
