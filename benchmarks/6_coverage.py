"""How often 95 % intervals hold the truth, and how often "stable" is wrong, on scores drawn at random.

Scores are normal in both classes. In the first table, the variant's are correlated with the baseline's, or equal to
them but for rare failures; its true AUC is lower by exactly the margin, so that "stable" is wrong whenever it is said.
In the second, the variant is close: every frame's score changed by a small amount of its own.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from scipy.special import ndtr
from testbed import show

from bench.records import Auc, Interval
from bench.results.score.auc import estimate
from bench.results.score.clusters import Clusters
from bench.results.score.differences import difference
from bench.results.score.noninferiority import verdict
from bench.results.score.placements import placements

if TYPE_CHECKING:
    from numpy.typing import NDArray

MARGIN = 0.01
COLUMNS = ("AUC covered, %", "ΔAUC covered, %", "ΔAUC covered by frame, %", '"stable" wrong, %')


Kind: TypeAlias = Literal["alone", "rare", "one class", "unequal", "both classes"]


@dataclass(frozen=True)
class Setting:
    """`sources` of about `frames` frames each, of which each has one class, or `both classes` half and half.

    `alone`: every frame is a source of its own; `rare` is the same, but the variant answers all frames as
    the baseline does and fails wholly on a few fakes; `unequal` sources have 1 to twice as many frames.
    `likeness` is the correlation of the variant's scores with the baseline's within a class, `shared`
    what the frames of a source share of the variance there.
    """

    auc: float
    sources: int
    frames: int
    kind: Kind
    likeness: float
    shared: float

    @property
    def title(self) -> str:
        if self.frames == 1:
            return "none shared" if self.kind == "alone" else "none shared, rare failures"
        how = "both classes each" if self.kind == "both classes" else "one class each"
        size = f"1 to {2 * self.frames - 1}" if self.kind == "unequal" else str(self.frames)
        return f"{self.sources} of {size} frames, {how}"

    @property
    def sizes(self) -> NDArray[np.int64]:
        if self.kind == "unequal":
            return np.linspace(1, 2 * self.frames - 1, self.sources).round().astype(np.int64)
        return np.full(self.sources, self.frames)

    @property
    def clusters(self) -> Clusters | None:
        return Clusters.disjoint(np.arange(self.sources).repeat(self.sizes)) if self.frames > 1 else None

    @property
    def labels(self) -> NDArray[np.int64]:
        if self.kind == "both classes":
            return np.arange(self.sources * self.frames) % 2
        return (np.arange(self.sources) % 2).repeat(self.sizes)


@dataclass(frozen=True)
class Estimates:
    auc: Auc
    delta: Auc
    auc_truth: float
    delta_truth: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=4000, help="drawn data sets a row")
    parser.add_argument("--aucs", type=float, nargs="+", default=[0.8, 0.95, 0.99], help="the baseline's true AUC")
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 500, 2000], help="frames that share no source")
    parser.add_argument("--sources", type=int, nargs="+", default=[20, 50, 200], help="sources of several frames")
    parser.add_argument("--frames", type=int, default=10, help="frames a source")
    parser.add_argument("--likeness", type=float, default=0.9, help="correlation of the two variants' scores")
    parser.add_argument("--shared", type=float, default=0.5, help="share of the variance that a source's frames share")
    parser.add_argument("--close", type=int, nargs="+", default=[50, 200, 1000], help="frames of close variants")
    parser.add_argument(
        "--changes", type=float, nargs="+", default=[1e-4, 0.001, 0.01, 0.05, 0.2, 1.0], help="their changes of score"
    )
    given = parser.parse_args(arguments)
    kinds: list[tuple[list[int], int, Kind]] = [
        (given.counts, 1, "alone"),
        (given.counts, 1, "rare"),
        (given.sources, given.frames, "one class"),
        (given.sources, given.frames, "unequal"),
        (given.sources, given.frames, "both classes"),
    ]
    settings = [
        Setting(auc, count, frames, kind, given.likeness, given.shared)
        for counts, frames, kind in kinds
        for auc in given.aucs
        for count in counts
    ]
    rows = [_row(setting, _draw(setting, given.repetitions)) for setting in settings]
    show(
        f"6. Coverage, {given.repetitions} data sets a row",
        ["sources", "frames", "AUC", *COLUMNS],
        rows,
        f"The variant's true AUC is {MARGIN} lower, its scores correlate by {given.likeness} with the baseline's; "
        f"frames of a source share {given.shared:.0%} of the variance. Covered: the interval to go by holds the "
        f'truth, 95 % are aimed at; "stable" is aimed to be wrong in 2.5 %. The standard error of 95 % is '
        f"{100 * (0.95 * 0.05 / given.repetitions) ** 0.5:.1f} points.",
    )
    close = [
        _close(Close(kind, auc, count, change), given.repetitions)
        for kind in CHANGES
        for auc in given.aucs
        for count in given.close
        for change in given.changes
    ]
    show(
        f"6. Close variants, {given.repetitions} data sets a row",
        ["change of a frame", "AUC", "frames", "deviation of it", "covered, %", "width", "stable, %"],
        close,
        "Changes are in deviations of the scores within a class. Covered: the 95 % interval of ΔAUC holds the truth; "
        "93 % at least are aimed at. Width: the mean width of that interval, as a multiple of what holds the central "
        "95 % of the estimates, or of one step of the AUC's grid where that is wider.",
    )


Change: TypeAlias = Literal["normal", "shifted", "heavy-tailed", "of fakes"]
CHANGES: tuple[Change, ...] = ("normal", "shifted", "heavy-tailed", "of fakes")


@dataclass(frozen=True)
class Close:
    """Half fakes, half reals, no sources; every frame's score is moved by a `change` of this `kind`.

    `normal`, or so with a shift of three times that for all frames, or Student's t with 3 degrees of freedom; or a loss
    of fakes alone, half normal.
    """

    kind: Change
    auc: float
    frames: int
    change: float

    @property
    def labels(self) -> NDArray[np.int64]:
        return np.arange(self.frames) % 2

    def moves(self, labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
        """The change of each frame's score [n]."""
        if self.kind == "heavy-tailed":
            return self.change * rng.standard_t(3, size=len(labels))
        normal = self.change * rng.normal(size=len(labels))
        if self.kind == "of fakes":
            return np.where(labels == 1, -np.abs(normal), 0.0)
        return normal + 3 * self.change if self.kind == "shifted" else normal

    def truth(self) -> float:
        """The true ΔAUC, from 200,000 fakes and as many reals that are drawn in pairs."""
        rng = np.random.default_rng(1)
        labels = np.repeat([1, 0], 200_000)
        moves = self.moves(labels, rng)
        apart = (_apart(self.auc) + moves[:200_000] - moves[200_000:]) / 2**0.5
        return float(ndtr(apart).mean()) - self.auc


def _generator(setting: Setting | Close) -> np.random.Generator:
    """The draws of a row, whichever others there are."""
    return np.random.default_rng(zlib.crc32(repr(setting).encode()))


def _close(setting: Close, repetitions: int) -> list[object]:
    """How often the interval holds the truth, how wide it is, and how often the verdict is "stable"."""
    labels, truth, rng = setting.labels, setting.truth(), _generator(setting)
    deltas = []
    for _ in range(repetitions):
        before = _apart(setting.auc) * labels + rng.normal(size=len(labels))
        after = before + setting.moves(labels, rng)
        deltas.append(difference(placements(labels, after), placements(labels, before), None)[0])
    central = float(np.subtract(*np.quantile([delta.value for delta in deltas], (0.975, 0.025))))
    widest = max(central, 4 / setting.frames**2)
    covered = [_holds(delta.interval, truth) for delta in deltas]
    stable = [verdict(delta.value, delta.interval, MARGIN) == "stable" for delta in deltas]
    return [
        setting.kind,
        setting.auc,
        setting.frames,
        setting.change,
        f"{100 * float(np.mean(covered)):.1f}",
        f"{float(np.mean([delta.interval.width for delta in deltas])) / widest:.2f}",
        f"{100 * float(np.mean(stable)):.1f}",
    ]


def _row(setting: Setting, repetitions: Sequence[Estimates]) -> list[object]:
    """How often the intervals of the drawn data sets hold the truth, and how often the verdict is wrong, in %."""
    # "improved" is as wrong, and as much of a promise.
    wrong = [
        verdict(drawn.delta.value, drawn.delta.interval, MARGIN) in ("stable", "improved") for drawn in repetitions
    ]
    shares = [
        [_holds(drawn.auc.interval, drawn.auc_truth) for drawn in repetitions],
        [_holds(drawn.delta.interval, drawn.delta_truth) for drawn in repetitions],
        [_holds(drawn.delta.by_frame, drawn.delta_truth) for drawn in repetitions],
        wrong,
    ]
    counted = [f"{100 * float(np.mean(share)):.1f}" for share in shares]
    return [setting.title, len(setting.labels), setting.auc, *counted]


def _holds(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


def _draw(setting: Setting, repetitions: int) -> list[Estimates]:
    labels, clusters, rng = setting.labels, setting.clusters, _generator(setting)
    aucs = setting.auc, setting.auc - MARGIN
    truths = [_expected(setting, auc) for auc in aucs]
    estimates = []
    for _ in range(repetitions):
        scores = _failing(setting, labels, rng) if setting.kind == "rare" else _moved(setting, labels, rng)
        baseline, variant = (placements(labels, of_variant) for of_variant in scores)
        delta, _ = difference(variant, baseline, clusters)
        estimates.append(Estimates(estimate(baseline, clusters), delta, truths[0], truths[1] - truths[0]))
    return estimates


def _moved(setting: Setting, labels: NDArray[np.int64], rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Scores of both variants, whose classes lie so far apart as the two AUCs ask."""
    noise = _noise(setting, rng)
    aucs = setting.auc, setting.auc - MARGIN
    return [_apart(auc) * labels + errors for auc, errors in zip(aucs, noise, strict=True)]


def _failing(setting: Setting, labels: NDArray[np.int64], rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Scores of the baseline, and the same moved a little, but for the few fakes that end below all else."""
    baseline = _apart(setting.auc) * labels + rng.normal(size=len(labels))
    variant = baseline + 0.01 * rng.normal(size=len(labels))
    variant[(labels == 1) & (rng.random(len(labels)) < MARGIN / setting.auc)] = -100
    return [baseline, variant]


def _noise(setting: Setting, rng: np.random.Generator) -> NDArray[np.float64]:
    """Of both variants, [2, frames]: variance 1, partly shared within a source, correlated between the two."""
    noise = rng.normal(size=(2, int(setting.sizes.sum())))
    if setting.frames > 1:
        shared = rng.normal(size=(2, setting.sources)).repeat(setting.sizes, axis=1)
        noise = np.sqrt(setting.shared) * shared + np.sqrt(1 - setting.shared) * noise
    noise[1] = setting.likeness * noise[0] + np.sqrt(1 - setting.likeness**2) * noise[1]
    return noise


def _apart(auc: float) -> float:
    """The distance of two normal distributions of variance 1 with that area under the ROC curve."""
    return 2**0.5 * NormalDist().inv_cdf(auc)


def _expected(setting: Setting, auc: float) -> float:
    """What the AUC of drawn frames is on average: a fake and a real of one source differ by less noise."""
    if setting.kind != "both classes":
        return auc
    within = NormalDist().cdf(_apart(auc) / (2 * (1 - setting.shared)) ** 0.5)
    return auc + (within - auc) / setting.sources


if __name__ == "__main__":
    main()
