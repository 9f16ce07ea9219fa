"""What answers under one name: a loaded variant, or those of an ensemble's members, and how these are joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from bench.inference.subjects import FramesOfSet
from bench.pipeline.ensembles import same_size
from bench.records import Preprocessing, Session, VideoScoring
from bench.records.ensembles import Ensemble
from bench.records.inspection import Judge

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Map = NDArray[np.floating] | None


@dataclass(frozen=True)
class Member:
    """A loaded variant of one detector.

    `latency_ms` has the median time of a call by batch size, as it was measured in the runtime and on the device that
    it runs in; empty where it was not.
    """

    name: str
    judge: Judge
    session: Session
    preprocessing: Preprocessing
    of_set: FramesOfSet
    latency_ms: Mapping[int, float]


@dataclass(frozen=True)
class Joined:
    """P(fake) of several pictures [n]; of each how many members `agree` of those that `answered` [n]."""

    p_fake: NDArray[np.float64]
    agree: NDArray[np.int64]
    answered: NDArray[np.int64]


@dataclass(frozen=True)
class Served:
    """What answers under one name: one member, or the members of an ensemble in the order of its `rule`.

    `failed` are members that did not answer in the run, by name with the reason: they are not loaded. `verdict` is the
    sentence of the report on it, `auc` that of the test frames, None where it has none. `has_map` is whether it can say
    where it looks, `video_scoring` how the score of a video is made of its frames'.
    """

    name: str
    members: tuple[Member, ...]
    rule: Ensemble
    threshold: float
    verdict: str
    auc: float | None
    size_mib: float
    has_map: bool
    video_scoring: VideoScoring
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_ensemble(self) -> bool:
        return len(self.members) + len(self.failed) > 1

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Those of the loaded members."""
        return tuple(member.name for member in self.members)

    def join(self, differences: NDArray[np.floating]) -> Joined:
        """What comes of the members' `logit_fake - logit_real` [members, n], NaN where one gave no number.

        Where fewer answered than must, P(fake) is NaN. It is computed as that of a run is.
        """
        from bench.records.ensembles import sigmoid

        given = differences.astype(float)
        joined, _ = self.rule.join_differences(given)
        agree, answered = self.rule.consensus(sigmoid(given), self.threshold)
        return Joined(joined, agree, answered)

    def joint_map(self, maps: Sequence[Map], answers: Sequence[float]) -> Map:
        """The members' signed maps of a picture, weighted by their weights [h, w]; None where it has none.

        `answers` are their P(fake), NaN where one gave none.
        """
        return self.rule.join_maps(same_size(maps), answers) if self.has_map else None

    def weights(self, answered: Sequence[str] | None = None) -> dict[str, float | None]:
        """What each member's answer counts for, of 1: all of them, or those that `answered`; None where the highest
        P(fake) counts alone.
        """
        names = self.names if answered is None else answered
        if self.rule.combine == "max" and self.is_ensemble:
            return dict.fromkeys(names)
        total = sum(self.rule.weights[name] for name in names)
        return {name: self.rule.weights[name] / total for name in names}

    @property
    def votes_at(self) -> float:
        """The P(fake) from which on a member is counted as calling a picture fake."""
        return self.rule.votes_at(self.threshold)
