"""How often slices that are planted are found and confirmed, and how often anything is where none is, on drawn scores.

Logits are normal in both classes with a deviation of 1. Frames have five columns of numbers, and two of names, which
say nothing of scores but in the planted slice: an eighth of the frames, by a name, by the lowest numbers or by whole
sources.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pandas as pd
from testbed import show

from bench.records import ConfirmedSlice, LabelledFrames
from bench.results.score.clusters import clusters
from bench.results.score.discovery import confirmed, search
from bench.results.score.groups import gaps, groupings
from bench.results.score.placements import placements

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOSS = 0.05
"""Of AUC, within the planted slice."""
MOVED = 0.05
"""The deviation of what compression changes of each frame's logit, everywhere."""

Mechanism: TypeAlias = Literal["fakes sink", "noise"]
Moves: TypeAlias = Literal["normal", "heavy tails", "rare failures"]
How: TypeAlias = Literal["a name", "lowest numbers", "whole sources"]


@dataclass(frozen=True)
class Setting:
    """What is drawn: `frames` in `sources`, each of one class, all frames alone where that is 0.

    In the slice the fakes' logits `sink`, or all logits get `noise`, so that the AUC there falls by `loss`.
    `everywhere` is the same loss on all frames. `weaker` is how much lower the baseline's AUC is in the slice. `moves`
    is how frames change everywhere: heavy tails are Student's t with 2 degrees of freedom, and one fake in a hundred
    fails wholly. All logits of the slice are `shifted`, which takes nothing from its AUC.
    """

    mechanism: Mechanism = "fakes sink"
    how: How = "a name"
    auc: float = 0.92
    frames: int = 2000
    sources: int = 0
    loss: float = LOSS
    everywhere: float = 0.0
    weaker: float = 0.0
    shared: float = 0.3
    moves: Moves = "normal"
    shifted: float = 0.0

    @property
    def title(self) -> str:
        planted = f"{self.mechanism}, {self.loss:g} lost by {self.how}" if self.loss else "none planted"
        parts = [planted, f"AUC {self.auc:g}", f"{self.frames:,} frames"]
        parts += [f"{self.sources} sources"] if self.sources else []
        parts += [f"{self.everywhere:g} lost everywhere ({self.mechanism})"] if self.everywhere else []
        parts += [f"baseline {self.weaker:g} lower in the slice"] if self.weaker else []
        parts += [self.moves] if self.moves != "normal" else []
        parts += [f"the slice shifted by {self.shifted:g}"] if self.shifted else []
        return "; ".join(parts)

    @property
    def truth(self) -> float:
        """The true ΔAUC in the slice."""
        sinks = self.mechanism == "fakes sink"
        after = _distance(self.auc - self.loss if sinks else self.auc)
        variance = 1 + MOVED**2 + (0.0 if sinks else _noise(self.auc, self.loss) ** 2)
        return NormalDist().cdf(after / (2 * variance) ** 0.5) - self.auc


def _distance(auc: float) -> float:
    """How far apart the classes' means are."""
    return NormalDist().inv_cdf(auc) * 2**0.5


def _noise(auc: float, loss: float) -> float:
    """The deviation of the noise in all logits by which this AUC falls by `loss`."""
    return float(((_distance(auc) / _distance(auc - loss)) ** 2 - 1) ** 0.5)


def _changed(
    setting: Setting, auc: float, loss: float, labels: NDArray[np.int8], draws: np.random.Generator
) -> NDArray[np.float64]:
    """What is added to logits [n] with this AUC so that it falls by `loss`."""
    if not loss:
        return np.zeros(len(labels))
    if setting.mechanism == "noise":
        return draws.normal(scale=_noise(auc, loss), size=len(labels))
    return np.asarray((_distance(auc - loss) - _distance(auc)) * labels, np.float64)


def draw(
    setting: Setting, draws: np.random.Generator
) -> tuple[LabelledFrames, NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Frames, which of them [n] are in the slice, and the logits [n] of baseline and variant."""
    count = setting.frames
    source = np.arange(count) * setting.sources // count if setting.sources else np.arange(count)
    labels = (source % 2).astype(np.int8)
    names = np.char.add("kind ", draws.integers(8, size=count).astype(str))
    columns = {f"number {index}": draws.normal(size=count) for index in range(5)}
    if setting.how == "whole sources":
        # A source of fakes and the one of real frames beside it are of one kind.
        kinds = draws.permutation(np.arange(-(-(source.max() + 1) // 2)) % 8)
        names = np.char.add("kind ", kinds[source // 2].astype(str))
    inside = names == "kind 0"
    if setting.how == "lowest numbers":
        inside = columns["number 0"] < np.quantile(columns["number 0"], 1 / 8)
    scales = setting.shared**0.5, (1 - setting.shared) ** 0.5
    of_source = draws.normal(size=source.max() + 1)[source]
    distance = np.where(inside, _distance(setting.auc - setting.weaker), _distance(setting.auc))
    baseline = scales[0] * of_source + scales[1] * draws.normal(size=count) + distance * labels
    variant = baseline + _moves(setting, labels, draws) + setting.shifted * inside
    variant += inside * _changed(setting, setting.auc - setting.weaker, setting.loss, labels, draws)
    variant += _changed(setting, setting.auc, setting.everywhere, labels, draws)
    frames = LabelledFrames(
        pd.Series([f"{row:06}.png" for row in range(count)]),
        labels,
        pd.Series([f"source {of}" for of in source] if setting.sources else [None] * count, dtype="object"),
        pd.DataFrame({"kind": names, "place": draws.integers(9, size=count).astype(str), **columns}),
    )
    return frames, inside, baseline, variant


def _moves(setting: Setting, labels: NDArray[np.int8], draws: np.random.Generator) -> NDArray[np.float64]:
    """What compression adds to each frame's logit [n], wherever it is."""
    if setting.moves == "heavy tails":
        return MOVED * draws.standard_t(2, size=len(labels))
    moves = draws.normal(scale=MOVED, size=len(labels))
    if setting.moves == "rare failures":
        moves -= 9 * labels * (draws.random(len(labels)) < 0.01)
    return moves


def judged(setting: Setting, seed: int) -> tuple[tuple[ConfirmedSlice, ...], list[ConfirmedSlice]]:
    """What is confirmed in a draw, and of that the slices of the column that was planted."""
    frames, _, baseline, variant = draw(setting, np.random.default_rng(seed))
    searched = search(frames, clusters(frames.sources, frames.labels))
    parts = confirmed(searched, placements(frames.labels, variant), placements(frames.labels, baseline))
    planted = "number 0" if setting.how == "lowest numbers" else "kind"
    return parts, [part for part in parts if part.column == planted]


SETTINGS = [
    *(Setting(mechanism, how, auc) for mechanism in ("fakes sink", "noise") for how in ("a name", "lowest numbers")
      for auc in (0.85, 0.92, 0.97)),
    *(Setting(mechanism, how, sources=200) for mechanism in ("fakes sink", "noise")
      for how in ("a name", "whole sources")),
    Setting("noise", frames=8000),
    *(replace(Setting(loss=0), **each) for each in (
        {}, {"sources": 200}, {"sources": 200, "how": "whole sources"}, {"frames": 400},
        {"everywhere": 0.02}, {"mechanism": "noise", "everywhere": 0.02}, {"mechanism": "noise", "everywhere": 0.05},
        {"mechanism": "noise", "everywhere": 0.02, "sources": 200}, {"weaker": 0.1},
        {"weaker": 0.1, "everywhere": 0.02}, {"weaker": 0.1, "everywhere": 0.02, "mechanism": "noise"},
        {"weaker": -0.06, "everywhere": 0.02, "mechanism": "noise"},
        {"weaker": -0.06, "everywhere": 0.02}, {"moves": "heavy tails"}, {"moves": "rare failures"},
        {"moves": "rare failures", "frames": 400}, {"shifted": 0.5},
    )),
]  # fmt: skip


@dataclass(frozen=True)
class Gap:
    """Groups of `frames` real frames each, alone or in `sources`; `rates` is the baseline's FPR in each group.

    The last group's FPR grows by `growth`.
    """

    rates: tuple[float, ...]
    frames: int
    sources: int = 0
    growth: float = 0.0

    @property
    def title(self) -> list[object]:
        rates = ", ".join(f"{rate:g}" for rate in self.rates)
        return [rates, self.frames, self.sources or "alone", self.growth]

    @property
    def after(self) -> NDArray[np.float64]:
        return np.append(self.rates[:-1], self.rates[-1] + self.growth)


def drawn_gap(setting: Gap, seed: int) -> tuple[bool, bool, float]:
    """Whether the interval of the change holds the truth, whether it holds 0, and its width."""
    draws, groups = np.random.default_rng(seed), len(setting.rates)
    count = setting.frames * groups
    sources = np.arange(count) * setting.sources * groups // count if setting.sources else np.arange(count)
    of_group = sources % groups
    noise = [0.3**0.5 * draws.normal(size=count)[sources] + 0.7**0.5 * draws.normal(size=count) for _ in range(2)]
    variant = (noise[0] + 0.3 * noise[1]) / 1.09**0.5
    cuts = [np.array([NormalDist().inv_cdf(1 - rate) for rate in rates]) for rates in (setting.rates, setting.after)]
    frames = LabelledFrames(
        pd.Series([f"{row:06}.png" for row in range(count)]),
        np.zeros(count, np.int8),
        pd.Series([f"source {of}" for of in sources] if setting.sources else [None] * count, dtype="object"),
        pd.DataFrame({"group": np.char.add("group ", of_group.astype(str))}),
    )
    of_sources = clusters(frames.sources, frames.labels)
    wrong, before = variant > cuts[1][of_group], noise[0] > cuts[0][of_group]
    part = gaps(groupings(["group"], frames, of_sources), wrong, before, of_sources)[0]
    assert part.change_ci is not None
    truth = float(np.ptp(setting.after) - np.ptp(setting.rates))
    low, high = part.change_ci.low, part.change_ci.high
    return low <= truth <= high, low <= 0 <= high, high - low


GAPS = [
    Gap(rates, frames, sources, growth)
    for frames, sources in ((50, 0), (200, 0), (200, 20), (1000, 0))
    for rates in ((0.1, 0.1), (0.05, 0.2), (0.05, 0.05, 0.05, 0.05, 0.2), (0.01, 0.02))
    for growth in (0.0, 0.1)
] + [Gap((0.1,) * 5, 200, growth=0.1), Gap((0.1, 0.2), 200, growth=-0.1), Gap((0.1,) * 4 + (0.2,), 200, growth=-0.1)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--draws", type=int, default=300, help="drawn data sets a row")
    parser.add_argument("--only", default="", help="settings whose title has this text; gaps for the other table")
    given = parser.parse_args(arguments)
    rows = [_slices_row(setting, given.draws) for setting in SETTINGS if given.only in setting.title]
    if rows:
        _show_slices(rows, given.draws)
    if given.only in ("", "gaps"):
        _show_gaps(given.draws)


def _show_slices(rows: Sequence[Sequence[object]], draws: int) -> None:
    show(
        f"Slices that are searched for, {draws} data sets a row",
        ["drawn", "planted confirmed, %", "its ΔAUC covered, %", "anything, %"],
        rows,
        "Where none is planted, at most 5 % are aimed at. Covered: of the slices confirmed, those whose interval holds "
        "the true ΔAUC.",
    )


def _slices_row(setting: Setting, draws: int) -> list[object]:
    results = [judged(setting, seed) for seed in range(draws)]
    anything = f"{100 * sum(bool(parts) for parts, _ in results) / draws:.1f}"
    if not setting.loss:
        return [setting.title, "–", "–", anything]
    planted = [parts[0].delta_ci for _, parts in results if parts]
    covered = f"{100 * np.mean([ci.low <= setting.truth <= ci.high for ci in planted]):.1f}" if planted else "–"
    return [setting.title, f"{100 * len(planted) / draws:.1f}", covered, anything]


def _show_gaps(draws: int) -> None:
    columns = ["FPR of groups", "frames each", "sources each", "last grows by", "covered, %", "beyond 0, %", "width"]
    show(
        f"Change of the gap between groups, {draws} data sets a row",
        columns,
        [_gap_row(gap, draws) for gap in GAPS],
        "95 % are to be covered.",
    )


def _gap_row(gap: Gap, draws: int) -> list[object]:
    held, zero, widths = np.array([drawn_gap(gap, seed) for seed in range(draws)]).T
    return [*gap.title, f"{100 * held.mean():.1f}", f"{100 - 100 * zero.mean():.1f}", f"{widths.mean():.3f}"]


if __name__ == "__main__":
    main()
