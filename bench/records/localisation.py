"""What heatmaps come to beside the masks of what was forged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.records.masks import MaskCounts
from bench.records.scores import ByFrameAndSource, Interval


@dataclass(frozen=True)
class Mean(ByFrameAndSource):
    """The mean of a number that each frame has, or of its difference to the baseline's on the same frames.

    Without an interval where nothing is known of it.
    """

    value: float
    by_frame: Interval
    by_source: Interval | None = None


@dataclass(frozen=True)
class Localised:
    """Whether the maps of a variant lie on what was forged, on average over `frames` fakes; all from 0 to 1.

    `pointing` is the share of the fakes whose hottest place lies inside of the mask, `inside` the share of the evidence
    for fake that does, `auc` the area under the ROC curve of the map against the mask. In `blank` fakes, nothing speaks
    for fake. The differences are to the baseline's on the same fakes, None for the baseline itself.
    """

    frames: int
    blank: int
    pointing: Mean
    inside: Mean
    auc: Mean
    pointing_delta: Mean | None = None
    inside_delta: Mean | None = None
    auc_delta: Mean | None = None

    @property
    def pointing_not_blank(self) -> float | None:
        """`pointing` over the fakes that are not blank; None where all are."""
        shown = self.frames - self.blank
        return self.pointing.value * self.frames / shown if shown else None


@dataclass(frozen=True)
class Chance:
    """What a map comes to, on average over the same fakes, that knows nothing of them.

    `area` is the share of the mask, and what pointing anywhere comes to. Those of the `centre` are of a map that is
    hottest there, and `mean` is of the mean of the baseline's maps, the same for every fake; None where it has none.
    """

    area: float
    centre_pointing: float
    centre_inside: float
    centre_auc: float
    mean_pointing: float | None = None
    mean_inside: float | None = None
    mean_auc: float | None = None


@dataclass(frozen=True)
class Localisation:
    """Where the maps of all variants lie beside the masks of the same test fakes.

    `variants` has those with maps, `reasons` says why each other one has no numbers. `frames` is how many fakes were
    compared, at even distances where there are very many; `chance` is None where there are none.
    """

    counts: MaskCounts
    frames: int
    chance: Chance | None = None
    variants: Mapping[str, Localised] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
