"""Precision over recall drawn as SVG; confusion matrices are tables of the page, since they follow its threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.reports.content.decision_plots import Precision, PrecisionPanel
from bench.reports.content.text import number, plain
from bench.reports.html.chart import Frame, colour, element, picture

if TYPE_CHECKING:
    from markupsafe import Markup

    from bench.reports.content.decision_plots import Curve


def precision(plot: Precision) -> list[tuple[PrecisionPanel, Markup]]:
    """Each panel with its picture."""
    return [(panel, _precision(plot, panel)) for panel in plot.panels]


def _precision(plot: Precision, panel: PrecisionPanel) -> Markup:
    """The curve in steps over the baseline's, and the share of fakes as a line."""
    frame = Frame(44, 8, 208, 168, plot.across, plot.up)
    prevalence = frame.y(plot.prevalence)
    parts = [frame.grid(labels=False)]
    parts.append(element("line", x1=frame.left, x2=frame.right, y1=prevalence, y2=prevalence, class_="front"))
    for curve, look in ((panel.behind, "curve behind"), (panel.curve, f"curve roc {colour(panel.index)}")):
        if curve is not None:
            parts.append(element("polyline", points=frame.path(_thinned(frame, curve)), class_=look))
    shown = f"Precision over recall; dashed, the share of fakes, {number(plot.prevalence, 3)}."
    return picture(f"Precision and recall of {plain(panel.name)}, {panel.number}", shown, *parts, size=(262, 202))


def _thinned(frame: Frame, curve: Curve) -> list[tuple[float, float]]:
    """The points of a curve that half a unit tells apart."""
    recall, values = curve
    across, up = frame.across.high - frame.across.low, frame.up.high - frame.up.low
    steps = np.stack([recall * 2 * frame.width / across, values * 2 * frame.height / up], axis=1).round()
    distinct = np.append(np.any(np.diff(steps, axis=0) != 0, axis=1), True)
    return list(zip(recall[distinct].tolist(), values[distinct].tolist(), strict=True))
