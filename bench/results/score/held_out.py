"""What variants come to on held-out frames, while a search for one is under way: the test frames stay unseen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from bench.records import Judged, LabelledFrames, VideoScoring
from bench.results.score import clusters, videos
from bench.results.score.differences import difference
from bench.results.score.noninferiority import further_frames, verdict
from bench.results.score.placements import Placements, placements
from bench.results.score.points import p_fake

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.records import SearchOutcome

_DRAWS = 5
_HALVINGS = 9
# Shares of the logit difference's variance between which the limit of noise is looked for.
_LEAST_NOISE, _MOST_NOISE = 1e-6, 1.0


@dataclass(frozen=True)
class Limits:
    """What a variant may lose: AUC, and how far P(fake) may move on average, None for any way.

    `test` is how many frames, or videos, its verdict will rest on.
    """

    margin: float
    mean_dp: float | None
    test: int


class HeldOut:
    """The baseline's answers on labelled frames, with which those of other variants are compared.

    `logits` [n, 2] are the baseline's. Videos are scored in place of frames where `scoring` says how.
    """

    def __init__(self, frames: LabelledFrames, logits: NDArray[np.floating], scoring: VideoScoring | None) -> None:
        self._frames, self._scoring = frames, scoring
        self._videos = videos.group(frames) if scoring else None
        scored = videos.labelled(self._videos) if self._videos else frames
        self._counted, self._scored = scored.counted, scored.without_copies()
        self._clusters = clusters.clusters(self._scored.sources, self._scored.labels)
        self._logit_diff = _logit_diff(logits)
        self._variance = float(self._logit_diff.var())

    @property
    def count(self) -> int:
        """How many frames, or videos, are compared."""
        return len(self._scored.labels)

    def judge(self, logits: NDArray[np.floating], limits: Limits) -> tuple[Judged, SearchOutcome]:
        """What a variant with these logits [n, 2] comes to, by the rule that verdicts go by."""
        return self._judge(_logit_diff(logits), limits)

    def foretell(self, noise: float, limits: Limits) -> tuple[float, float, bool]:
        """The AUC lost and the mean change of P(fake) under so much noise, and whether a variant would qualify.

        `noise` is a share of the logit difference's variance; it is drawn, from a normal distribution, several times.
        """
        scale = float(np.sqrt(noise * self._variance))
        drawn = [self._judge(self._logit_diff + scale * draw, limits) for draw in self._draws]
        lost = -float(np.mean([judged.auc_delta for judged, _ in drawn]))
        moved = float(np.mean([judged.mean_dp for judged, _ in drawn]))
        return lost, moved, 2 * sum(outcome in ("keeps", "should keep") for _, outcome in drawn) > len(drawn)

    def noise_limit(self, limits: Limits) -> float:
        """The most noise with which a variant is foretold to qualify; 0 where none is little enough."""
        low, high = np.log(_LEAST_NOISE), np.log(_MOST_NOISE)
        if not self.foretell(_LEAST_NOISE, limits)[2]:
            return 0.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self.foretell(float(np.exp(middle)), limits)[2]:
                low = middle
            else:
                high = middle
        return float(np.exp(low))

    def _judge(self, logit_diff: NDArray[np.float64], limits: Limits) -> tuple[Judged, SearchOutcome]:
        """The same of logit differences [n]."""
        placed, moved = self._placed(logit_diff), np.abs(self._p_fake(logit_diff) - self._p_fake(self._logit_diff))
        delta, _ = difference(placed, self._baseline, self._clusters)
        judged = Judged(
            auc_delta=delta.value,
            low=delta.interval.low,
            high=delta.interval.high,
            mean_dp=float(moved.mean()),
            noise=self._noise(logit_diff),
        )
        if limits.mean_dp is not None and judged.mean_dp > limits.mean_dp:
            return judged, "loses"
        settled = verdict(delta.value, delta.interval, limits.margin)
        if settled != "inconclusive":
            return judged, "loses" if settled == "degraded" else "keeps"
        further = further_frames(delta, limits.margin, self.count)
        is_likely = delta.value > -limits.margin and further is not None and self.count + further <= limits.test
        return judged, "should keep" if is_likely else "open"

    def _noise(self, logit_diff: NDArray[np.float64]) -> float:
        """What a straight line through the baseline's logit differences leaves unexplained, as a share of variance.

        Shifted or scaled logit differences rank frames as before.
        """
        if not self._variance:
            return 0.0
        before = self._logit_diff - self._logit_diff.mean()
        slope = float((before * logit_diff).mean()) / self._variance
        rest = logit_diff - logit_diff.mean() - slope * before
        return float((rest**2).mean()) / self._variance

    @cached_property
    def _baseline(self) -> Placements:
        return self._placed(self._logit_diff)

    @cached_property
    def _draws(self) -> NDArray[np.float64]:
        """Standard normal noise [draws, n], the same for every amount."""
        return np.random.default_rng(0).standard_normal((_DRAWS, len(self._logit_diff)))

    def _placed(self, logit_diff: NDArray[np.float64]) -> Placements:
        ranks = self._p_fake(logit_diff) if self._videos else logit_diff[self._counted]
        return placements(self._scored.labels, ranks)

    def _p_fake(self, logit_diff: NDArray[np.float64]) -> NDArray[np.float64]:
        """P(fake) of each frame, or video, that counts."""
        of_frames = p_fake(np.zeros_like(logit_diff), logit_diff)
        if self._videos and self._scoring:
            of_frames = videos.scores(self._videos, of_frames, self._scoring)
        return of_frames[self._counted]


def _logit_diff(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(logits[:, 1], np.float64) - np.asarray(logits[:, 0], np.float64)
