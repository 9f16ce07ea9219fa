"""The plots of a report as data. `pictures.figures` draws them for report.md, `html.plots` for the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from bench.records import Evaluation, RunRecord, VariantEvaluation
from bench.reports.content import robustness
from bench.reports.content.axes import Axis, Mark, axis, factor_axis, part_axis
from bench.reports.content.decision_plots import Confusion, Precision, confusion, precision
from bench.reports.content.robustness import RobustnessPlot
from bench.reports.content.text import MIB, area, number, signed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Curve: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]

LOGARITHMIC = 5
"""Where the largest value is more than so many times the smallest, it would press all others to one side."""

ENOUGH = 10
"""Fewer frames in a bin say little of the share of fakes among them."""

HISTOGRAM_BINS = 50

Scored: TypeAlias = Sequence[tuple[int, str, VariantEvaluation]]
"""Variants that have an AUC: index in the experiment, by which they are drawn, name, and their scores."""


@dataclass(frozen=True)
class Trade:
    """What a smaller file or a faster call costs in AUC: a named mark for each variant.

    Up goes the AUC minus the baseline's on the same frames; where there is no baseline, the AUC itself, and `margin`
    is then None. `front` are the corners of a line along the variants that none beats in both, empty for fewer than
    two. `description` is for screen readers.
    """

    title: str
    file: str
    caption: str
    description: str
    across: Axis
    up: Axis
    marks: tuple[Mark, ...]
    front: tuple[tuple[float, float], ...]
    margin: float | None


@dataclass(frozen=True)
class RocPanel:
    """A variant's ROC curve, `behind` it the baseline's, None for the baseline itself."""

    index: int
    name: str
    number: str
    curve: Curve | None
    behind: Curve | None


@dataclass(frozen=True)
class Roc:
    """A panel for each variant, since curves that nearly agree hide each other: the corner in which they bend.

    `side` is how much of either axis that corner has. `whole` are the axes of the inset with the whole curves.
    """

    title: str
    side: float
    across: Axis
    up: Axis
    whole: tuple[Axis, Axis]
    panels: tuple[RocPanel, ...]


@dataclass(frozen=True)
class ReliabilityPanel:
    """A variant's share of fakes over P(fake), a mark for each bin that holds a frame; `counts` are frames by bin."""

    index: int
    name: str
    number: str
    marks: tuple[Mark, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Calibration:
    """A panel for each variant; `most` is the largest count of a bin."""

    title: str
    across: Axis
    up: Axis
    most: int
    panels: tuple[ReliabilityPanel, ...]


@dataclass(frozen=True)
class Histogram:
    """The share of all fakes, and of all reals, in each of equally wide bins of P(fake)."""

    name: str
    fakes: tuple[float, ...]
    reals: tuple[float, ...]


@dataclass(frozen=True)
class Plots:
    """What can be drawn of a run; `roc` and `calibration` are None where no variant has an AUC.

    `robustness` is None where no variant was judged beside the baseline under re-compression.
    """

    trades: tuple[Trade, ...]
    roc: Roc | None
    calibration: Calibration | None
    histograms: tuple[Histogram, ...]
    robustness: RobustnessPlot | None = None
    precision: Precision | None = None
    confusion: Confusion | None = None


def plots(run: RunRecord, evaluation: Evaluation) -> Plots:
    """The plots that a evaluation allows."""
    scored = [
        (index, variant.name, evaluation.variants[variant.name])
        for index, variant in enumerate(run.variants)
        if variant.name in evaluation.variants and evaluation.variants[variant.name].auc is not None
    ]
    return Plots(
        trades=tuple(_trades(run, evaluation, scored)),
        roc=roc(scored) if scored else None,
        calibration=calibration(scored) if scored else None,
        histograms=histograms(evaluation),
        robustness=robustness.plot(run, evaluation),
        precision=precision(scored) if scored else None,
        confusion=confusion(scored, run.threshold) if scored else None,
    )


def _trades(run: RunRecord, evaluation: Evaluation, scored: Scored) -> Iterable[Trade]:
    """Size against AUC, and latency against AUC where at least two latencies compare."""
    names, choice, latencies = {name for _, name, _ in scored}, evaluation.choice, evaluation.latencies
    sizes = {
        variant.name: variant.footprint.size_bytes / MIB
        for variant in run.variants
        if variant.footprint and variant.name in names
    }
    if sizes:
        front = choice.front_by_size if choice else ()
        titles = ("File size against AUC", "size_auc.png", "size of the shipped file (MiB)")
        yield trade(titles, sizes, scored, front, run.margin)
    if latencies is not None and len(latencies.by_variant.keys() & names) > 1:
        front = choice.front_by_latency if choice else ()
        below = f"median latency at batch 1 (ms, {latencies.runtime}, {latencies.device})"
        yield trade(("Latency against AUC", "latency_auc.png", below), latencies.by_variant, scored, front, run.margin)


def trade(
    titles: tuple[str, str, str],
    across: Mapping[str, float],
    scored: Scored,
    front: Sequence[str],
    margin: float,
    minus: str = "the baseline's",
) -> Trade:
    """A plot of `across`, size or latency by variant, against AUC, `minus` the AUC that it is compared with.

    `titles` are its title, its file and the label of the axis; `front` names the variants that none beats in both.
    """
    title, file, below = titles
    paired = any(judged.comparison for _, _, judged in scored)
    marks = tuple(
        Mark(index, name, across[name], *_height(judged, paired)) for index, name, judged in scored if name in across
    )
    low, high = min(mark.low for mark in marks), max(mark.high for mark in marks)
    if paired:
        low, high = min(low, -1.25 * margin), max(high, 0.5 * margin)
    gap = 0.08 * max(high - low, 1e-4)
    measure = f"AUC minus {minus}" if paired else "AUC"
    beside = f"{measure} (n = {scored[0][2].score.count:,} frames)"
    values = "; ".join(
        f"{mark.name}: {number(mark.x, 2)}, {(signed if paired else number)(mark.y, 4)}" for mark in marks
    )
    corners = _front([(mark.x, mark.y) for mark in marks if mark.name in front])
    dashed = "; dashed: the Pareto front" if corners else ""
    return Trade(
        title=title,
        file=file,
        caption=f"Left is better, up is better; bars are 95 % intervals{dashed}.",
        description=f"{beside} over {below}, with 95 % intervals. {values}",
        across=_across(below, [mark.x for mark in marks]),
        up=axis(beside, low - gap, high + gap),
        marks=marks,
        front=corners,
        margin=margin if paired else None,
    )


def _across(label: str, values: Sequence[float]) -> Axis:
    """From 0, or by factors where the largest is many times the smallest; with headroom for names on the right."""
    least, most = min(values), max(values)
    if most > LOGARITHMIC * least:
        return factor_axis(label, least / 1.4, 1.6 * most)
    return axis(label, 0.0, 1.22 * most)


def _front(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """The corners of the steps through these points."""
    along = sorted(set(points))
    if len(along) < 2:
        return ()
    return (*(corner for left, right in pairwise(along) for corner in (left, (right[0], left[1]))), along[-1])


def _height(judged: VariantEvaluation, paired: bool) -> tuple[float, float, float]:
    """The value, low and high end of a variant's mark."""
    if not paired:
        assert judged.auc is not None
        return judged.auc.value, judged.auc.interval.low, judged.auc.interval.high
    if judged.comparison is None:
        return 0.0, 0.0, 0.0
    delta = judged.comparison.delta
    return delta.value, delta.interval.low, delta.interval.high


def roc(scored: Scored) -> Roc:
    """The ROC curve of each variant, over the baseline's where that has one."""
    side = zoom(judged for *_, judged in scored)
    first, _, at_first = scored[0]
    edge = 0.02
    across, up = "false-positive rate", "true-positive rate"
    return Roc(
        title=f"ROC, the upper left corner; inside: whole curves ({at_first.score.count:,} frames)",
        side=side,
        across=part_axis(across, 0.0, side, (edge * side, 0.0)),
        up=part_axis(up, 1 - side, side, (0.0, edge * side)),
        whole=(part_axis(across, 0.0, 1.0, (edge, 0.0)), part_axis(up, 0.0, 1.0, (0.0, edge))),
        panels=tuple(
            RocPanel(index, name, f"AUC {area(judged.auc)}", judged.roc, at_first.roc if first == 0 < index else None)
            for index, name, judged in scored
        ),
    )


def zoom(scored: Iterable[VariantEvaluation]) -> float:
    """The side of the upper left corner in which every curve that is any good bends."""
    errors = sorted(judged.score.eer for judged in scored if judged.score.eer is not None)
    typical = errors[len(errors) // 2] if errors else 0.5
    return min(max(round(2.5 * typical, 1), 0.1), 1.0)


def calibration(scored: Scored) -> Calibration:
    """The share of fakes against the mean P(fake), bin by bin, over how many frames are in each bin."""
    frames = scored[0][2].score.count
    most = max(int(judged.reliability.counts.max(initial=0)) for *_, judged in scored)
    return Calibration(
        title=f"On the line, P(fake) is the share of fakes; bars: 95 % intervals; below: frames ({frames:,} in all)",
        across=part_axis(f"P(fake), mean of a bin (faint: under {ENOUGH} frames)", 0.0, 1.0),
        up=part_axis("share of fakes", 0.0, 1.0),
        most=most or 1,
        panels=tuple(
            ReliabilityPanel(
                index,
                name,
                f"ECE {number(judged.reliability.ece, 3)}",
                _bins(index, name, judged),
                tuple(judged.reliability.counts.tolist()),
            )
            for index, name, judged in scored
        ),
    )


def _bins(index: int, name: str, judged: VariantEvaluation) -> tuple[Mark, ...]:
    """A mark for each bin that holds a frame."""
    bins = judged.reliability
    columns = (bins.counts, bins.predicted, bins.observed, bins.low, bins.high)
    return tuple(
        Mark(index, name, predicted, share, low, high, faint=count < ENOUGH)
        for count, predicted, share, low, high in zip(*(column.tolist() for column in columns), strict=True)
        if count
    )


def histograms(evaluation: Evaluation) -> tuple[Histogram, ...]:
    """How the scores of each variant lie."""
    counted = evaluation.test.counted
    fake = evaluation.test.labels[counted] == 1
    return tuple(
        Histogram(name, _shares(answered.test[counted][fake]), _shares(answered.test[counted][~fake]))
        for name, answered in evaluation.predictions.items()
    )


def _shares(p_fake: NDArray[np.float64]) -> tuple[float, ...]:
    import numpy as np

    counts, _ = np.histogram(p_fake, HISTOGRAM_BINS, (0.0, 1.0))
    return tuple((counts / max(counts.sum(), 1)).tolist())
