"""Plots of decisions as data: precision over recall, and confusion matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from bench.records import OperatingPoint, VariantEvaluation
from bench.reports.content.axes import Axis, part_axis
from bench.reports.content.text import number, signed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Curve: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]

Scored: TypeAlias = Sequence[tuple[int, str, VariantEvaluation]]

CLASSES = ("fake", "real")
_FEW = 0.1
"""Below this recall, precision is that of a few frames."""


@dataclass(frozen=True)
class PrecisionPanel:
    """A variant's precision over its recall, in steps, `behind` it the baseline's, None for the baseline itself."""

    index: int
    name: str
    number: str
    curve: Curve | None
    behind: Curve | None


@dataclass(frozen=True)
class Precision:
    """A panel for each variant; `prevalence` is the share of fakes, the precision of whoever calls all frames fake."""

    title: str
    prevalence: float
    across: Axis
    up: Axis
    panels: tuple[PrecisionPanel, ...]


@dataclass(frozen=True)
class ConfusionPanel:
    """A variant's confusion matrix at the fixed threshold.

    `counts` and `shares` are by class, fake first, and what that was called, fake first. A share is of its class, 0
    where that has no frame.
    """

    index: int
    name: str
    number: str
    counts: tuple[tuple[int, int], tuple[int, int]]
    shares: tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Confusion:
    """A panel for each variant."""

    title: str
    panels: tuple[ConfusionPanel, ...]


def precision(scored: Scored) -> Precision | None:
    """Precision over recall of each variant, over the baseline's; None where no variant has a curve."""
    curves = {name: judged.precision_recall for _, name, judged in scored if judged.precision_recall is not None}
    if not curves:
        return None
    first, name_of_first, at_first = scored[0]
    point = at_first.fixed
    fakes, count = point.tp + point.fn, at_first.score.count
    prevalence = fakes / count
    start = _start(prevalence, list(curves.values()))
    edge = 0.02 * (1.0 - start)
    behind = curves.get(name_of_first) if first == 0 else None
    average = at_first.score.average_precision if first == 0 else None
    return Precision(
        title=f"Precision over recall; dashed: the share of fakes, {number(prevalence, 3)} ({count:,} frames)",
        prevalence=prevalence,
        across=part_axis("recall", 0.0, 1.0, (0.0, 0.02)),
        up=part_axis("precision", start, 1.0 - start, (edge, edge)),
        panels=tuple(
            PrecisionPanel(
                index,
                name,
                _average(judged.score.average_precision, average if index else None),
                steps(curves[name], start - edge) if name in curves else None,
                steps(behind, start - edge) if behind is not None and index else None,
            )
            for index, name, judged in scored
        ),
    )


def steps(curve: Curve, lowest: float = 0.0) -> Curve:
    """Recall and precision [2 k] of the line in steps whose area is the average precision; `curve` is both [k].

    What lies below `lowest` is drawn there.
    """
    import numpy as np

    recall, values = curve
    return np.repeat(np.append(0.0, recall), 2)[1:-1], np.repeat(np.maximum(values, lowest), 2)


def _start(prevalence: float, curves: Sequence[Curve]) -> float:
    """Where the axis of precision starts, so that it shows all of it but what the first few frames make of it."""
    lowest = min([prevalence, *(float(values[recall >= _FEW].min()) for recall, values in curves)])
    return min(max(math.floor(10 * lowest) / 10, 0.0), 0.9)


def confusion(scored: Scored, threshold: float) -> Confusion:
    """The confusion matrix of each variant at the fixed threshold."""
    count = scored[0][2].score.count
    return Confusion(
        title=f"Confusion at {threshold}: {count:,} frames, and their share of all fakes and of all reals",
        panels=tuple(_confusion(index, name, judged.fixed) for index, name, judged in scored),
    )


def _confusion(index: int, name: str, point: OperatingPoint) -> ConfusionPanel:
    of_fakes, of_reals = (point.tp, point.fn), (point.fp, point.tn)
    return ConfusionPanel(
        index,
        name,
        f"accuracy {number(point.accuracy, 3)}",
        (of_fakes, of_reals),
        (_shares(*of_fakes), _shares(*of_reals)),
    )


def _shares(first: int, second: int) -> tuple[float, float]:
    whole = max(first + second, 1)
    return first / whole, second / whole


def _average(value: float | None, of_baseline: float | None) -> str:
    """Average precision, and how far it lies from the baseline's."""
    if value is None or of_baseline is None:
        return f"AP {number(value, 4)}"
    return f"AP {number(value, 4)} ({signed(value - of_baseline, 4)})"
