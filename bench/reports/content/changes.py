"""What changed against the baseline: flips, heatmaps, slices, steps; as tables, and the ledger of flips."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.errors import counted
from bench.records import Auc, ClassName, Effect, Evaluation, Faithfulness, Interval, RunRecord, Slice
from bench.reports.content.cells import EMPTY, Cell, Column, Table, cell, columns, table, variant_cell, with_interval
from bench.reports.content.spans import Sentence, sentence, strong
from bench.reports.content.text import chance, change, difference, estimate_and_range, number, signed, span
from bench.reports.content.variants import area_cell, difference_cell, ratio_cell

if TYPE_CHECKING:
    import pandas as pd

CALLED: tuple[ClassName, ...] = ("fake", "real")


def flips(evaluation: Evaluation) -> Table | None:
    """How many outcomes changed at the fixed threshold; None where nothing can be compared."""
    rows = []
    for name, judged in evaluation.variants.items():
        if judged.flips is not None:
            worse, better = judged.flips.worse, judged.flips.better
            net = f"{better - worse:+,}".replace("-", "−") if better != worse else "0"
            counts = [cell(f"{worse:,}"), cell(f"{better:,}"), cell(net), cell(chance(judged.flips.p))]
            rows.append([variant_cell(name), *counts])
    titles = ("Right → wrong", "Wrong → right", "Net", "p (McNemar)")
    return table([Column("Model", "left"), *columns(titles)], rows) if rows else None


def ledger(run: RunRecord, evaluation: Evaluation) -> pd.DataFrame | None:
    """Every flip of every variant, the largest first; None where nothing can be compared."""
    import numpy as np
    import pandas as pd

    baseline = evaluation.predictions.get(run.baseline.name)
    test, parts = evaluation.test, []
    for name, judged in evaluation.variants.items():
        if judged.flips is None or baseline is None:
            continue
        rows = judged.flips.rows
        columns_of_variant = {
            "frame": test.frames.iloc[rows].to_numpy(),
            "source": test.sources.iloc[rows].to_numpy(),
            "label": test.labels[rows],
            "variant": name,
            "flip": np.where(judged.flips.is_worse, "worse", "better"),
            "baseline_p_fake": baseline.test[rows],
            "variant_p_fake": evaluation.predictions[name].test[rows],
        }
        parts.append(pd.DataFrame(columns_of_variant, index=range(len(rows))))
    return pd.concat(parts, ignore_index=True) if parts else None


def drift(evaluation: Evaluation) -> Table | None:
    """How far the heatmaps moved; None where there are none to compare."""
    rows = []
    for name, judged in evaluation.variants.items():
        if judged.drift is not None:
            moved = judged.drift
            correlation = with_interval(number(moved.rank_correlation, 3), number(moved.rank_correlation_low, 3))
            overlap = cell(f"{number(100 * moved.overlap, 1)} %")
            other = cell(f"{len(moved.other_reason):,} of {moved.both_right:,}")
            rows.append([variant_cell(name), cell(f"{moved.count:,}"), correlation, overlap, other])
    titles = ("Frames", "Rank correlation (5 % are below)", "Hottest tenth in common", "Right for another reason")
    return table([Column("Model", "left"), *columns(titles)], rows) if rows else None


def faithful(evaluation: Evaluation) -> Table | None:
    """Whether the heatmaps point at what matters; None where none was judged."""
    rows = []
    for name, occlusion in evaluation.occlusions.items():
        if occlusion.faithfulness:
            judged = [occlusion.faithfulness.get(called) for called in CALLED]
            pairs = [(of_class, of_class and of_class.baseline) for of_class in judged]
            rows.append([variant_cell(name), *(_faithful(each) for pair in pairs for each in pair)])
    titles = [title for called in CALLED for title in (f"Called {called}", "Baseline, same frames")]
    return table([Column("Model", "left"), *columns(titles)], rows) if rows else None


def _faithful(judged: Faithfulness | None) -> Cell:
    """In how many frames a map points at what matters, and how the probability of the called class moves."""
    if judged is None:
        return EMPTY
    moved = f"{signed(-judged.fall, 3)}, {signed(-judged.fall_elsewhere, 3)}"
    return with_interval(f"{judged.right:,} of {judged.frames:,}", moved)


def slices(run: RunRecord, evaluation: Evaluation) -> list[tuple[str, Table]]:
    """Column and table for each column that was sliced: AUC of the baseline and ΔAUC of every other variant."""
    baseline = evaluation.variants.get(run.baseline.name)
    first = baseline or next(iter(evaluation.variants.values()), None)
    sliced = dict.fromkeys(part.column for part in first.slices) if first else ()
    return [(column, _slices_of(column, run, evaluation)) for column in sliced]


def _slices_of(column: str, run: RunRecord, evaluation: Evaluation) -> Table:
    """The table of one column, a row for each of its values."""
    by_value: dict[str, dict[str, Slice]] = {}
    for name, judged in evaluation.variants.items():
        for part in judged.slices:
            if part.column == column:
                by_value.setdefault(part.value, {})[name] = part
    names, baseline = list(evaluation.variants), run.baseline.name
    compared = baseline in names
    titles = [f"{name}: {'ΔAUC' if compared and name != baseline else 'AUC'}" for name in names]
    rows = []
    for value, by_name in by_value.items():
        worst = {name: evaluation.variants[name].worst_slice for name in names}
        cells = [_slice_cell(by_name.get(name), worst[name]) for name in names]
        rows.append([cell(value), cell(_classes(next(iter(by_name.values())))), *cells])
    stacked = [Column(title, stacked=True) for title in titles]
    return table([Column(column, "left"), Column("Fake, real"), *stacked], rows)


def _classes(part: Slice) -> str:
    """How many frames of either class; in parentheses what was taken from all frames instead."""
    fake = f"{part.fake:,}" if part.against != "fake" else "(all)"
    real = f"{part.real:,}" if part.against != "real" else "(all)"
    return f"{fake}, {real}"


def _slice_cell(part: Slice | None, worst: Slice | None) -> Cell:
    """A variant in a slice: its AUC, or its difference to the baseline's."""
    if part is None or part.auc is None:
        return EMPTY
    if part.delta is None:
        return area_cell(part.auc)
    text, interval = estimate_and_range(part.delta, 3)
    is_worst = part is worst and part.delta.value < 0
    significant = part.p_holm is not None and part.p_holm < 0.05
    return Cell(sentence(text), interval, part.delta.value, stressed=is_worst, significant=significant)


def worst(evaluation: Evaluation) -> list[Sentence]:
    """For each variant the slice with the surest significant loss, unless it was confirmed and is said already."""
    texts = []
    for name, judged in evaluation.variants.items():
        least = judged.worst_slice
        if least is None or least.delta is None or not least.is_proven_loss:
            continue
        if any((part.column, part.value) == (least.column, least.value) for part in judged.confirmed):
            continue
        at_once = _at_once(least.delta, least.simultaneous) if least.simultaneous else ""
        frames = counted(least.fake + least.real, "frame")
        where = f"{least.column} = {least.value} ({frames})"
        lost = f" loses significantly where {where}: ΔAUC {difference(least.delta)}{at_once}."
        texts.append(sentence(strong(name), lost))
    return texts


def _at_once(delta: Auc, simultaneous: Interval) -> str:
    """The wider interval; what one frame could make may bound both alike."""
    if span(simultaneous) == span(delta.interval):
        return ", an interval that holds for all slices at once as well"
    return f", {span(simultaneous)} for all slices at once"


def ablation(evaluation: Evaluation) -> Table | None:
    """What the steps between a variant and its nearest ancestor cost and gained; None where there is none."""
    titles = ("ΔAUC (95 %)", "p (uncorrected)", "Size", "Parameters", "MACs", "Speed-up")
    rows = [_effect(effect) for effect in evaluation.effects]
    return table([*columns(("Model", "From", "By"), "left"), *columns(titles)], rows) if rows else None


def _effect(effect: Effect) -> list[Cell]:
    pairs = (effect.size_bytes, effect.parameters, effect.macs)
    changes = [EMPTY if pair is None else cell(change(pair[1], pair[0])) for pair in pairs]
    head = [variant_cell(effect.variant), cell(effect.ancestor), cell(", ".join(effect.steps))]
    return [*head, difference_cell(effect.delta), cell(chance(effect.p)), *changes, ratio_cell(effect.speed)]
