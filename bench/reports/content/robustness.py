"""Under re-compression: a table, a plot as data, and what it comes to in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.errors import counted
from bench.records import Auc, Degradation, DegradedScore, Evaluation, RunRecord
from bench.reports.content.axes import Axis, Mark, ticks
from bench.reports.content.cells import EMPTY, Cell, Column, Table, cell, table
from bench.reports.content.spans import Sentence, joined, sentence, strong
from bench.reports.content.text import estimate_and_range, moved, number, within

AS_THEY_ARE = "as they are"
HOLDS = ("baseline", "stable", "improved")
_BESIDE = 0.3
"""How far a variant's mark is below the baseline's of the same level, in rows."""


def levels_of(degraded: Mapping[str, Sequence[DegradedScore]]) -> list[Degradation]:
    """The levels that any variant was judged under, in their order."""
    return list(dict.fromkeys(score.degradation for scores in degraded.values() for score in scores))


def _by_level(scores: Sequence[DegradedScore]) -> dict[Degradation, DegradedScore]:
    return {score.degradation: score for score in scores}


# ----------------------------------------------------------------------------------------------------- table
def robustness(run: RunRecord, evaluation: Evaluation) -> Table | None:
    """A row a level: the baseline's AUC, and how much more every other variant loses; None where none was judged."""
    degraded, baseline = evaluation.degraded, run.baseline.name
    if not degraded:
        return None
    names, compared = list(degraded), baseline in degraded
    by_level = {name: _by_level(scores) for name, scores in degraded.items()}
    first = [_as_they_are(evaluation, name) for name in names]
    rows = [[cell(AS_THEY_ARE), *first]]
    for level in levels_of(degraded):
        cells = [_cell(by_level[name].get(level), is_area=name == baseline or not compared) for name in names]
        rows.append([cell(level.title), *cells])
    titles = [f"{name}: {'extra ΔAUC' if compared and name != baseline else 'AUC'}" for name in names]
    return table([Column("Test frames", "left"), *(Column(title, stacked=True) for title in titles)], rows)


def _as_they_are(evaluation: Evaluation, name: str) -> Cell:
    """What levels are compared with: the AUC, or its difference to the baseline's."""
    judged = evaluation.variants[name]
    if judged.comparison is not None:
        return cell(f"ΔAUC {moved(judged.comparison.delta.value)}")
    return _area(judged.auc) if judged.auc else EMPTY


def _area(auc: Auc) -> Cell:
    return Cell(sentence(number(auc.value, 4)), within(auc.interval, 3), auc.value)


def _cell(score: DegradedScore | None, *, is_area: bool) -> Cell:
    """A variant at a level: its AUC, or its extra loss with interval and verdict."""
    if score is None:
        return EMPTY
    if is_area or score.extra is None:
        return _area(score.auc)
    text, interval = estimate_and_range(score.extra, 3)
    beside, lost = f"{interval}; {score.verdict}", score.verdict == "degraded"
    return Cell(sentence(text), beside, score.extra.value, stressed=lost, significant=score.is_significant_loss)


# ------------------------------------------------------------------------------------------------- sentences
def insights(run: RunRecord, evaluation: Evaluation) -> list[Sentence]:
    """Which variants lose more than the baseline under re-compression, or that none does."""
    compared = {
        name: [score for score in scores if score.extra is not None] for name, scores in evaluation.degraded.items()
    }
    compared = {name: scores for name, scores in compared.items() if scores}
    if not compared:
        return []
    lost = {name: [score for score in scores if score.is_significant_loss] for name, scores in compared.items()}
    losses = [sentence(strong(name), f" {_losses(scores)}") for name, scores in lost.items() if scores]
    if losses:
        text = "Under re-compression, significantly more is lost than the baseline loses there: "
        return [sentence(text, joined(losses, "; "), ".")]
    levels = counted(len(levels_of(evaluation.degraded)), "level")
    unsure = {
        name: [score.degradation.title for score in scores if score.verdict not in HOLDS]
        for name, scores in compared.items()
    }
    undecided = [sentence(strong(name), f" ({', '.join(titles)})") for name, titles in unsure.items() if titles]
    if not undecided:
        every = f"no variant loses {run.margin:g} AUC more than the baseline does, which is shown for every level"
        return [sentence(f"Under re-compression ({levels}), {every}.")]
    none = f"Under re-compression ({levels}), no variant loses significantly more than the baseline does. "
    return [sentence(none, f"Not shown to be less than {run.margin:g}: ", joined(undecided, ", "), ".")]


def of_variant(scores: Sequence[DegradedScore], baseline: str = "the baseline", frame_set: str = "") -> list[Sentence]:
    """What speaks against shipping a variant: what it loses significantly beyond its baseline, on one of several sets.

    `baseline` is what that is called in the sentence, and `frame_set` the set's name where there are several.
    """
    lost = [score for score in scores if score.is_significant_loss]
    if not lost:
        return []
    on = f" on {frame_set}" if frame_set else ""
    return [sentence(strong(f"Under re-compression it loses more than {baseline}{on}"), f": {_losses(lost)}.")]


def on_sets(degraded: Mapping[str, Mapping[str, Sequence[DegradedScore]]]) -> list[Sentence]:
    """Which variants lose more than their baseline under re-compression, and on which set; or that none does.

    `degraded` has the scores by set and variant.
    """
    compared = {
        frame_set: {name: scores for name, scores in of_set.items() if any(score.extra is not None for score in scores)}
        for frame_set, of_set in degraded.items()
    }
    if not any(compared.values()):
        return []
    lost = [
        sentence(strong(name), " on ", strong(frame_set), f" {_losses(significant)}")
        for frame_set, of_set in compared.items()
        for name, scores in of_set.items()
        if (significant := [score for score in scores if score.is_significant_loss])
    ]
    if lost:
        text = "Under re-compression, significantly more is lost than the baseline loses there: "
        return [sentence(text, joined(lost, "; "), ".")]
    none = "Under re-compression, no variant loses significantly more than the baseline does on any of the frame sets; "
    return [sentence(none, "the report on each says which losses are not ruled out.")]


def _losses(lost: Sequence[DegradedScore]) -> str:
    """The largest of several losses with its interval, and at how many further levels there are others."""
    largest, *others = sorted(lost, key=lambda score: score.extra.value if score.extra else 0.0)
    assert largest.extra is not None
    estimate, interval = estimate_and_range(largest.extra, 3)
    more = f", and less at {', '.join(score.degradation.title for score in others)}" if others else ""
    return f"{estimate} ({interval}; {largest.verdict}) at {largest.degradation.title}{more}"


# ------------------------------------------------------------------------------------------------------ plot
@dataclass(frozen=True)
class RobustnessPanel:
    """A variant's AUC at each level, `behind` it the baseline's; `number` is what it loses most beyond that."""

    index: int
    name: str
    number: str
    marks: tuple[Mark, ...]
    behind: tuple[Mark, ...]


@dataclass(frozen=True)
class RobustnessPlot:
    """A panel for each variant but the baseline; a row for each level, the frames as they are first."""

    title: str
    across: Axis
    up: Axis
    panels: tuple[RobustnessPanel, ...]


def plot(run: RunRecord, evaluation: Evaluation) -> RobustnessPlot | None:
    """AUC over the levels; None where no variant can be set beside the baseline."""
    degraded, baseline = evaluation.degraded, run.baseline.name
    others = [
        (index, variant.name)
        for index, variant in enumerate(run.variants)
        if variant.name in degraded and variant.name != baseline
    ]
    if baseline not in degraded or not others:
        return None
    levels = levels_of(degraded)
    behind = _marks(evaluation, baseline, 0, levels, 0.0)
    panels = tuple(
        RobustnessPanel(index, name, _worst(degraded[name]), _marks(evaluation, name, index, levels, _BESIDE), behind)
        for index, name in others
    )
    marks = [*behind, *(mark for panel in panels for mark in panel.marks)]
    low, high = min(mark.low for mark in marks), max(mark.high for mark in marks)
    gap = 0.04 * max(high - low, 1e-3)
    low, high = low - gap, high + gap
    tick = [(value, f"{value:g}") for value in ticks(low, high, 3)]
    rows = [(-float(row), title) for row, title in enumerate([AS_THEY_ARE, *(level.title for level in levels)])]
    count = f"{evaluation.variants[baseline].score.count:,} frames"
    return RobustnessPlot(
        title=f"AUC under re-compression: the variant, above it the baseline in grey; bars: 95 % intervals ({count})",
        across=Axis("AUC", low, high, tuple(tick)),
        up=Axis("", -len(levels) - 0.6, 0.6, tuple(rows)),
        panels=panels,
    )


def _marks(
    evaluation: Evaluation, name: str, index: int, levels: Sequence[Degradation], below: float
) -> tuple[Mark, ...]:
    """A mark for each row that the variant has an AUC in, `below` the baseline's."""
    by_level = _by_level(evaluation.degraded[name])
    areas = [evaluation.variants[name].auc, *(by_level[level].auc if level in by_level else None for level in levels)]
    return tuple(
        Mark(index, name, auc.value, -row + _BESIDE / 2 - below, auc.interval.low, auc.interval.high)
        for row, auc in enumerate(areas)
        if auc is not None
    )


def _worst(scores: Sequence[DegradedScore]) -> str:
    compared = [(score.extra.value, score.degradation.title) for score in scores if score.extra is not None]
    if not compared:
        return ""
    value, title = min(compared)
    return f"extra at worst {moved(value)} ({title})" if value < 0 else "no extra loss"


def description(panel: RobustnessPanel, plotted: RobustnessPlot) -> str:
    """What a panel shows, for screen readers."""
    titles = dict(plotted.up.ticks)
    values = (f"{titles[float(round(mark.y))]} {number(mark.x, 4)}" for mark in panel.marks)
    return f"AUC of {panel.name} with 95 % intervals, above each the baseline's: {'; '.join(values)}"
