"""Figures of decisions: precision over recall, and confusion matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.reports.content.decision_plots import CLASSES, Confusion, ConfusionPanel, Precision
from bench.reports.pictures.panels import COLOURS, panels_of, set_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HIT, MISS = "#00795a", "#c44e00"
"""The shades of right and wrong decisions, as on the page."""
_STRONGEST = 0.35


def precision(plot: Precision) -> Figure:
    """Precision over recall in steps, over the baseline's, with the share of fakes."""
    figure, panels = panels_of(plot.panels, 0.8, plot.title)
    for axes, panel in panels:
        axes.axhline(plot.prevalence, color="0.5", lw=0.9, ls=(0, (4, 3)), zorder=1)
        if panel.behind is not None:
            axes.plot(*panel.behind, color="0.65", lw=2.6)
        if panel.curve is not None:
            axes.plot(*panel.curve, color=COLOURS[panel.index % len(COLOURS)], lw=1.3)
        set_axes(axes, plot.across, plot.up)
    figure.supxlabel(plot.across.label, fontsize=9, color="#333333")
    figure.supylabel(plot.up.label, fontsize=9, color="#333333")
    return figure


def confusion(plot: Confusion) -> Figure:
    """A matrix a variant: counts and shares of each class, the darker the larger the share."""
    figure, panels = panels_of(plot.panels, 0.62, plot.title)
    for axes, panel in panels:
        _matrix(axes, panel)
    return figure


def _matrix(axes: Axes, panel: ConfusionPanel) -> None:
    """Rows are classes, columns what their frames are called."""
    from matplotlib.patches import Rectangle

    for row, (counts, shares) in enumerate(zip(panel.counts, panel.shares, strict=True)):
        for column, (count, share) in enumerate(zip(counts, shares, strict=True)):
            colour = HIT if row == column else MISS
            axes.add_patch(Rectangle((column, row), 1, 1, color=colour, alpha=_STRONGEST * share, lw=0))
            axes.text(column + 0.5, row + 0.42, f"{count:,}", ha="center", va="center", weight="bold")
            axes.text(column + 0.5, row + 0.72, f"{100 * share:.1f} %", ha="center", va="center", fontsize=7.5)
    axes.set_xlim(0, 2)
    axes.set_ylim(2, 0)
    axes.set_xticks((0.5, 1.5), [f"called {name}" for name in CLASSES])
    axes.set_yticks((0.5, 1.5), CLASSES)
    axes.tick_params(length=0)
    axes.grid(visible=False)
