"""How often the interval of an extra loss under re-compression holds the truth, on scores drawn at random.

Scores are normal in both classes, four of each frame: baseline and variant, as the frames are and re-compressed.
The variant loses a little as they are, and exactly the margin more than the baseline where they are re-compressed, so
that "stable" is wrong whenever it is said.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from testbed import show

from bench.records import Auc
from bench.results.score.clusters import Clusters
from bench.results.score.differences import extra_difference
from bench.results.score.noninferiority import verdict
from bench.results.score.placements import placements

if TYPE_CHECKING:
    from numpy.typing import NDArray

MARGIN, LOSS, HARM = 0.01, 0.002, 0.05
"""Of AUC: the extra loss, the variant's loss on frames as they are, and the baseline's under re-compression."""
LIKENESS = {"variant": 0.95, "degraded": 0.8}
"""Correlations within a class: of the variant's scores with the baseline's, of re-compressed frames' with others'."""


@dataclass(frozen=True)
class Setting:
    """`sources` of `frames` frames each, all of one class; `shared` is what they share of the variance there.

    `rare`: the variant answers as the baseline does, and fails wholly on a few re-compressed fakes.
    """

    auc: float
    sources: int
    frames: int
    shared: float
    rare: bool = False

    @property
    def labels(self) -> NDArray[np.int64]:
        return (np.arange(self.sources) % 2).repeat(self.frames)

    @property
    def clusters(self) -> Clusters | None:
        return Clusters.disjoint(np.arange(self.sources).repeat(self.frames)) if self.frames > 1 else None

    @property
    def aucs(self) -> tuple[float, float, float, float]:
        """The true AUCs: variant and baseline under re-compression, then both as the frames are."""
        clean, degraded = self.auc, self.auc - HARM
        loss = 0.0 if self.rare else LOSS
        return degraded - loss - MARGIN, degraded, clean - loss, clean


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=2000, help="drawn data sets a row")
    parser.add_argument("--aucs", type=float, nargs="+", default=[0.9, 0.98], help="the baseline's true AUC")
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 500, 2000], help="frames that share no source")
    parser.add_argument("--sources", type=int, nargs="+", default=[20, 50, 200], help="sources of ten frames")
    given = parser.parse_args(arguments)
    rng = np.random.default_rng(0)
    settings = [
        *(Setting(auc, count, 1, 0.0, rare) for rare in (False, True) for auc in given.aucs for count in given.counts),
        *(Setting(auc, sources, 10, 0.5) for auc in given.aucs for sources in given.sources),
    ]
    rows = [_row(setting, [_estimate(setting, rng) for _ in range(given.repetitions)]) for setting in settings]
    show(
        f"Extra loss under re-compression, {given.repetitions} data sets a row",
        ["frames", "sources", "AUC", "covered, %", "covered by frame, %", '"stable" wrong, %', "median width"],
        rows,
        f"Scores of the variant correlate by {LIKENESS['variant']} with the baseline's, those of re-compressed frames "
        f"by {LIKENESS['degraded']} with those of frames as they are. Covered: the interval to go by holds the truth, "
        f'95 % are aimed at; "stable" is aimed to be wrong in 2.5 %.',
    )


def _row(setting: Setting, estimates: Sequence[Auc]) -> list[object]:
    wrong = [verdict(extra.value, extra.interval, MARGIN) in ("stable", "improved") for extra in estimates]
    shares = [
        [extra.interval.low <= -MARGIN <= extra.interval.high for extra in estimates],
        [extra.by_frame.low <= -MARGIN <= extra.by_frame.high for extra in estimates],
        wrong,
    ]
    counted = [f"{100 * float(np.mean(share)):.1f}" for share in shares]
    width = float(np.median([extra.interval.width for extra in estimates]))
    kind = "none shared, rare failures" if setting.rare else str(setting.sources) if setting.frames > 1 else "none"
    return [len(setting.labels), kind, setting.auc, *counted, f"{width:.3f}"]


def _estimate(setting: Setting, rng: np.random.Generator) -> Auc:
    """The extra difference of a drawn data set."""
    labels = setting.labels
    placed = [placements(labels, scores) for scores in _scores(setting, labels, rng)]
    extra, _ = extra_difference((placed[0], placed[1]), (placed[2], placed[3]), setting.clusters)
    return extra


def _scores(setting: Setting, labels: NDArray[np.int64], rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Scores in the order of `Setting.aucs`, each [frames]."""
    base, of_variant, of_level, of_both = _noise(setting, rng)
    by, level = LIKENESS["variant"], LIKENESS["degraded"]
    clean = base
    degraded = level * base + (1 - level**2) ** 0.5 * of_level
    variant = by * clean + (1 - by**2) ** 0.5 * of_variant
    both = by * degraded + (1 - by**2) ** 0.5 * (level * of_variant + (1 - level**2) ** 0.5 * of_both)
    if not setting.rare:
        noise = (both, degraded, variant, clean)
        return [_apart(auc) * labels + errors for auc, errors in zip(setting.aucs, noise, strict=True)]
    as_they_are, under = _apart(setting.aucs[3]) * labels + clean, _apart(setting.aucs[1]) * labels + degraded
    twins = [scores + 0.01 * of_variant for scores in (under, as_they_are)]
    twins[0][(labels == 1) & (rng.random(len(labels)) < MARGIN / setting.aucs[1])] = -100
    return [twins[0], under, twins[1], as_they_are]


def _noise(setting: Setting, rng: np.random.Generator) -> NDArray[np.float64]:
    """Four independent parts [4, frames] of variance 1, partly shared within a source."""
    noise = rng.normal(size=(4, len(setting.labels)))
    shared = rng.normal(size=(4, setting.sources)).repeat(setting.frames, axis=1)
    mixed: NDArray[np.float64] = np.sqrt(setting.shared) * shared + np.sqrt(1 - setting.shared) * noise
    return mixed


def _apart(auc: float) -> float:
    """The distance of two normal distributions of variance 1 with that area under the ROC curve."""
    return 2**0.5 * NormalDist().inv_cdf(auc)


if __name__ == "__main__":
    main()
