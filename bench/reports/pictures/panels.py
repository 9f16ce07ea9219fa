"""Figures of curves: a panel a variant, since curves that nearly agree hide each other in one.

The baseline is grey in every panel, so that each variant is seen against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.records import Reliability, VariantEvaluation
from bench.reports.content.text import fitted, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# After Okabe & Ito (2008), told apart with every common colour vision, darkened so that names in them are read on
# white: those of the page in its light theme, since a variant looks the same there and here.
COLOURS = ("#22262a", "#0072b2", "#c44e00", "#00795a", "#a33e77", "#5b4fc4", "#806000")
MARKERS = "osD^vph"
ENOUGH = 10
"""Fewer frames in a bin tell little of the share of fakes among them."""
_COLUMNS = 3
_PANEL = 2.75
"""Inches a panel is wide."""
_NAME = 18
"""Characters of a name that do not reach the next panel's, be they the widest."""


@dataclass(frozen=True)
class Bin:
    """Frames of about the same P(fake): its mean, the share of fakes with its 95 % interval (Wilson)."""

    predicted: float
    share: float
    low: float
    high: float
    few: bool


def dark(colour: str) -> list[float]:
    """The colour as text, dark enough to be read on white."""
    from matplotlib.colors import to_rgb

    return [0.72 * part for part in to_rgb(colour)]


def roc(scored: Mapping[str, VariantEvaluation], names: Sequence[str] = ()) -> Figure:
    """True- against false-positive rate: the corner in which the curves bend, and the whole curve small inside.

    `names` are all variants, the baseline first, so that each has its colour though another failed.
    """
    side = zoom(scored.values())
    count = next(iter(scored.values())).score.count
    figure, panels = _panels(scored, names, 1.0, f"ROC, the upper left corner; inside: whole curves ({count:,} frames)")
    first = scored.get(next(iter(names or scored)))
    baseline = first.roc if first else None
    for axes, name, judged, colour in panels:
        inner = axes.inset_axes((0.56, 0.08, 0.4, 0.4))
        for place, side_shown in ((axes, side), (inner, 1.0)):
            if baseline is not None and name is not None:
                place.plot(*baseline, color="0.65", lw=2.6)
            if judged.roc is not None:
                place.plot(*judged.roc, color=colour, lw=1.3)
            place.set_xlim(-0.02 * side_shown, side_shown)
            place.set_ylim(1 - side_shown, 1 + 0.02 * side_shown)
            place.set_aspect("equal")
        inner.set_xticks([])
        inner.set_yticks([])
        inner.grid(visible=False)
        for spine in inner.spines.values():
            spine.set_visible(True)
        _titled(axes, judged, colour, f"AUC {judged.score.auc:.4f}", _against(judged))
    figure.supxlabel("false-positive rate", fontsize=9, color="#333333")
    figure.supylabel("true-positive rate", fontsize=9, color="#333333")
    return figure


def reliability(scored: Mapping[str, VariantEvaluation], names: Sequence[str] = ()) -> Figure:
    """The share of fakes against the mean P(fake), bin by bin with intervals, over how many frames are in each bin."""
    import numpy as np

    count = next(iter(scored.values())).score.count
    title = f"On the line, P(fake) is the share of fakes; bars: 95 % intervals; below: frames ({count:,} in all)"
    figure, panels = _panels(scored, names, 1.12, title)
    most = max(int(one.reliability.counts.max()) for one in scored.values())
    for axes, _, judged, colour in panels:
        found = judged.reliability
        axes.plot([0, 1], [0, 1], color="0.65", lw=1)
        for one in bins(found):
            bars = [[abs(one.low - one.share)], [abs(one.high - one.share)]]
            look: dict[str, Any] = {"color": colour, "alpha": 0.3 if one.few else 1.0}
            axes.errorbar([one.predicted], [one.share], bars, fmt="o", ms=4.5, lw=1.2, **look)
        edges = np.linspace(0, 1, len(found.counts) + 1)
        axes.stairs(-0.06 - 0.24 * found.counts / most, edges, baseline=-0.06, fill=True, color="0.8")
        axes.axhline(-0.06, color="0.6", lw=0.8)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.32, 1.04)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        _titled(axes, judged, colour, f"ECE {found.ece:.3f}", "")
    figure.supxlabel(f"P(fake), mean of a bin (faint: under {ENOUGH} frames)", fontsize=9, color="#333333")
    figure.supylabel("share of fakes", fontsize=9, color="#333333")
    return figure


def bins(found: Reliability) -> list[Bin]:
    """Those that hold any frame."""
    from scipy.stats import binomtest

    told = []
    for count, predicted, share in zip(found.counts, found.predicted, found.observed, strict=True):
        if count:
            ends = binomtest(round(share * count), int(count)).proportion_ci(method="wilson")
            told.append(Bin(float(predicted), float(share), float(ends.low), float(ends.high), count < ENOUGH))
    return told


def _panels(
    scored: Mapping[str, VariantEvaluation], names: Sequence[str], tall: float, title: str
) -> tuple[Figure, Iterator[tuple[Axes, str | None, VariantEvaluation, str]]]:
    """A figure with an empty panel for every variant: its axes, name (None of the baseline), answers and colour."""
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(scored))
    rows = -(-len(scored) // columns)
    figure = Figure(figsize=(_PANEL * columns + 0.4, (_PANEL * tall + 0.15) * rows + 0.7), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5)
    found = []
    for index, name, judged in placed(scored, names):
        axes = next(grid)
        axes.set_label(fitted(name, _NAME))
        found.append((axes, name if index else None, judged, COLOURS[index % len(COLOURS)]))
    for left_over in grid:
        left_over.set_axis_off()
    return figure, iter(found)


def placed(scored: Mapping[str, VariantEvaluation], names: Sequence[str]) -> list[tuple[int, str, VariantEvaluation]]:
    """Variants with their places among all `names`, by which they are drawn here and on the page."""
    order = list(names or scored)
    return [(order.index(name), name, judged) for name, judged in scored.items()]


def _titled(axes: Axes, judged: VariantEvaluation, colour: str, number: str, against: str) -> None:
    """The name above its number: beside each other, a long name would run over it."""
    axes.set_title(str(axes.get_label()), color=dark(colour), weight="bold", pad=18)
    axes.text(0, 1.03, f"{number}{against}", transform=axes.transAxes, va="bottom", fontsize=7.5, color="0.3")


def _against(judged: VariantEvaluation) -> str:
    return f" ({signed(judged.comparison.delta.value, 4)})" if judged.comparison else ""


def zoom(scored: Iterable[VariantEvaluation]) -> float:
    """The side of the upper left corner in which every curve that is any good bends."""
    errors = sorted(judged.score.eer for judged in scored if judged.score.eer is not None)
    typical = errors[len(errors) // 2] if errors else 0.5
    return min(max(round(2.5 * typical, 1), 0.1), 1.0)
