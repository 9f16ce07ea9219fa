"""How often 95 % intervals hold the truth, and how often "stable" is wrong, on scores drawn at random.

Scores are normal in both classes; the variant's are correlated with the baseline's, and its true AUC
is lower by exactly the margin, so that "stable" is wrong whenever it is said.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from testbed import show

from bench.records import Auc, Interval
from bench.results.score.auc import difference, estimate, placements
from bench.results.score.verdict import verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

MARGIN = 0.01
COLUMNS = ("AUC covered, %", "ΔAUC covered, %", "ΔAUC covered by frame, %", '"stable" wrong, %')


@dataclass(frozen=True)
class Setting:
    """`sources` of `frames` frames each; `both` where a source has frames of both classes, half and half.

    `likeness` is the correlation of the variant's scores with the baseline's within a class, `shared`
    what the frames of a source share of the variance there.
    """

    auc: float
    sources: int
    frames: int
    both: bool
    likeness: float
    shared: float

    @property
    def title(self) -> str:
        if self.frames == 1:
            return "none shared"
        return f"{self.sources} of {self.frames} frames, {'both classes' if self.both else 'one class'} each"

    @property
    def labels(self) -> NDArray[np.int64]:
        frames = np.arange(self.sources * self.frames)
        return (frames if self.both else frames // self.frames) % 2

    @property
    def clusters(self) -> NDArray[np.int64] | None:
        return np.arange(self.sources * self.frames) // self.frames if self.frames > 1 else None


@dataclass(frozen=True)
class Found:
    auc: Auc
    delta: Auc
    auc_truth: float
    delta_truth: float


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=10000, help="drawn data sets a row")
    parser.add_argument("--aucs", type=float, nargs="+", default=[0.8, 0.95, 0.99], help="the baseline's true AUC")
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 500, 2000], help="frames that share no source")
    parser.add_argument("--sources", type=int, nargs="+", default=[20, 50, 200], help="sources of several frames")
    parser.add_argument("--frames", type=int, default=10, help="frames a source")
    parser.add_argument("--likeness", type=float, default=0.9, help="correlation of the two variants' scores")
    parser.add_argument("--shared", type=float, default=0.5, help="share of the variance that a source's frames share")
    given = parser.parse_args(arguments)
    rng = np.random.default_rng(0)
    kinds = [(given.counts, 1, False), (given.sources, given.frames, False), (given.sources, given.frames, True)]
    settings = [
        Setting(auc, count, frames, both, given.likeness, given.shared)
        for counts, frames, both in kinds
        for auc in given.aucs
        for count in counts
    ]
    rows = [_row(setting, _draw(setting, given.repetitions, rng)) for setting in settings]
    show(
        f"6. Coverage, {given.repetitions} data sets a row",
        ["sources", "frames", "AUC", *COLUMNS],
        rows,
        f"The variant's true AUC is {MARGIN} lower, its scores correlate by {given.likeness} with the baseline's; "
        f"frames of a source share {given.shared:.0%} of the variance. Covered: the interval to go by holds the "
        f'truth, 95 % are aimed at; "stable" is aimed to be wrong in 2.5 %. The standard error of 95 % is '
        f"{100 * (0.95 * 0.05 / given.repetitions) ** 0.5:.1f} points.",
    )


def _row(setting: Setting, found: Sequence[Found]) -> list[object]:
    # "improved" is as wrong, and as much of a promise.
    wrong = [verdict(one.delta.value, one.delta.interval, MARGIN) in ("stable", "improved") for one in found]
    shares = [
        [_holds(one.auc.interval, one.auc_truth) for one in found],
        [_holds(one.delta.interval, one.delta_truth) for one in found],
        [_holds(one.delta.by_frame, one.delta_truth) for one in found],
        wrong,
    ]
    counted = [f"{100 * float(np.mean(share)):.1f}" for share in shares]
    return [setting.title, len(setting.labels), setting.auc, *counted]


def _holds(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


def _draw(setting: Setting, repetitions: int, rng: np.random.Generator) -> list[Found]:
    labels, clusters = setting.labels, setting.clusters
    aucs = setting.auc, setting.auc - MARGIN
    truths = [_expected(setting, auc) for auc in aucs]
    found = []
    for _ in range(repetitions):
        noise = _noise(setting, rng)
        baseline, variant = (
            placements(labels, _apart(auc) * labels + own) for auc, own in zip(aucs, noise, strict=True)
        )
        delta, _ = difference(variant, baseline, clusters)
        found.append(Found(estimate(baseline, clusters), delta, truths[0], truths[1] - truths[0]))
    return found


def _noise(setting: Setting, rng: np.random.Generator) -> NDArray[np.float64]:
    """Of both variants, [2, frames]: variance 1, partly shared within a source, correlated between the two."""
    own = rng.normal(size=(2, setting.sources * setting.frames))
    if setting.frames > 1:
        shared = rng.normal(size=(2, setting.sources)).repeat(setting.frames, axis=1)
        own = np.sqrt(setting.shared) * shared + np.sqrt(1 - setting.shared) * own
    own[1] = setting.likeness * own[0] + np.sqrt(1 - setting.likeness**2) * own[1]
    return own


def _apart(auc: float) -> float:
    """The distance of two normal distributions of variance 1 with that area under the ROC curve."""
    return 2**0.5 * NormalDist().inv_cdf(auc)


def _expected(setting: Setting, auc: float) -> float:
    """What the AUC of drawn frames is on average: a fake and a real of one source differ by less noise."""
    if not setting.both:
        return auc
    within = NormalDist().cdf(_apart(auc) / (2 * (1 - setting.shared)) ** 0.5)
    return auc + (within - auc) / setting.sources


if __name__ == "__main__":
    main()
