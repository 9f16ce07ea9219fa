"""What changed against the baseline: flips, heatmaps, slices, steps; as tables, and the ledger of flips."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.records import Auc, Effect, Evaluation, Interval, RunRecord, Slice
from bench.reports.content.tables import area
from bench.reports.content.text import (
    NONE,
    Table,
    chance,
    change,
    columns,
    counted,
    difference,
    escape,
    number,
    span,
    table,
    times,
)

if TYPE_CHECKING:
    import pandas as pd


def flips(evaluation: Evaluation) -> Table | None:
    """How many outcomes changed at the fixed threshold; None where nothing can be compared."""
    rows = []
    for name, one in evaluation.variants.items():
        if one.flips is not None:
            counts = (one.flips.worse, one.flips.better, one.flips.better - one.flips.worse)
            net = f"{counts[2]:+,}".replace("-", "−") if counts[2] else "0"
            rows.append([f"**{escape(name)}**", f"{counts[0]:,}", f"{counts[1]:,}", net, chance(one.flips.p)])
    titles = ("Right → wrong", "Wrong → right", "Net", "p (McNemar)")
    return table([("Model", "left"), *columns(titles)], rows) if rows else None


def ledger(run: RunRecord, evaluation: Evaluation) -> pd.DataFrame | None:
    """Every flip of every variant, the largest first; None where nothing can be compared."""
    import numpy as np
    import pandas as pd

    baseline = evaluation.predictions.get(run.baseline.name)
    test, parts = evaluation.test, []
    for name, one in evaluation.variants.items():
        if one.flips is None or baseline is None:
            continue
        rows = one.flips.rows
        told = {
            "frame": test.frames.iloc[rows].to_numpy(),
            "source": test.sources.iloc[rows].to_numpy(),
            "label": test.labels[rows],
            "variant": name,
            "flip": np.where(one.flips.is_worse, "worse", "better"),
            "baseline_p_fake": baseline.test[rows],
            "variant_p_fake": evaluation.predictions[name].test[rows],
        }
        parts.append(pd.DataFrame(told, index=range(len(rows))))
    return pd.concat(parts, ignore_index=True) if parts else None


def drift(evaluation: Evaluation) -> Table | None:
    """How far the heatmaps moved; None where there are none to compare."""
    rows = []
    for name, one in evaluation.variants.items():
        if one.drift is not None:
            found = one.drift
            correlation = f"{number(found.rank_correlation, 3)} ({number(found.rank_correlation_low, 3)})"
            overlap = f"{number(100 * found.overlap, 1)} %"
            other = f"{len(found.other_reason):,} of {found.both_right:,}"
            rows.append([f"**{escape(name)}**", f"{found.count:,}", correlation, overlap, other])
    titles = ("Frames", "Rank correlation (5 % are below)", "Hottest tenth in common", "Right for another reason")
    return table([("Model", "left"), *columns(titles)], rows) if rows else None


def slices(run: RunRecord, evaluation: Evaluation) -> list[tuple[str, Table]]:
    """Column and table for each column that was sliced: AUC of the baseline and ΔAUC of every other variant."""
    baseline = evaluation.variants.get(run.baseline.name)
    first = baseline or next(iter(evaluation.variants.values()), None)
    sliced = dict.fromkeys(one.column for one in first.slices) if first else ()
    return [(column, _slices_of(column, run, evaluation)) for column in sliced]


def _slices_of(column: str, run: RunRecord, evaluation: Evaluation) -> Table:
    found: dict[str, dict[str, Slice]] = {}
    for name, judged in evaluation.variants.items():
        for one in judged.slices:
            if one.column == column:
                found.setdefault(one.value, {})[name] = one
    names = list(evaluation.variants)
    titles = [
        f"{escape(name)}: {'AUC' if name == run.baseline.name or run.baseline.name not in names else 'ΔAUC'}"
        for name in names
    ]
    rows = []
    for value, by_name in found.items():
        one = next(iter(by_name.values()))
        cells = [_slice_cell(by_name.get(name), evaluation.variants[name].worst_slice) for name in names]
        rows.append([escape(value), _classes(one), *cells])
    return table([(escape(column), "left"), *columns(("Fake, real", *titles))], rows)


def _classes(one: Slice) -> str:
    """How many frames of either class; in parentheses what was taken from all frames instead."""
    fake = f"{one.fake:,}" if one.against != "fake" else "(all)"
    real = f"{one.real:,}" if one.against != "real" else "(all)"
    return f"{fake}, {real}"


def _slice_cell(one: Slice | None, worst: Slice | None) -> str:
    if one is None or one.auc is None:
        return NONE
    if one.delta is None:
        return _stacked(area(one.auc))
    proven = one.p_holm is not None and one.p_holm < 0.05
    said = f"{difference(one.delta, 3)}{' ∗' if proven else ''}"
    return _stacked(f"**{said}**" if one is worst and one.delta.value < 0 else said)


def _stacked(value: str) -> str:
    """The interval on a line of its own: one column a variant leaves little width."""
    return value.replace(" (", "<br>(", 1)


def worst(evaluation: Evaluation) -> list[str]:
    """For each variant the slice whose loss is proven best, or else has the lowest estimate, in a sentence."""
    found = []
    for name, one in evaluation.variants.items():
        least = one.worst_slice
        if least is None or least.delta is None or least.delta.value >= 0:
            continue
        at_once = _at_once(least.delta, least.simultaneous) if least.simultaneous else ""
        place = f"{escape(least.column)} = {escape(least.value)}"
        frames = counted(least.fake + least.real, "frame")
        where = f"is proven to lose where {place} ({frames})"
        if not least.is_proven_loss:
            where = f"has its lowest estimate where {place} ({frames}), not proven"
        found.append(f"**{escape(name)}** {where}: ΔAUC {difference(least.delta)}{at_once}.")
    return found


def _at_once(delta: Auc, simultaneous: Interval) -> str:
    """The wider interval; what one frame could make may bound both alike."""
    if span(simultaneous) == span(delta.interval):
        return ", an interval that holds for all slices at once as well"
    return f", {span(simultaneous)} for all slices at once"


def ablation(evaluation: Evaluation) -> Table | None:
    """What the steps between a variant and its nearest ancestor cost and gained; None where there is none."""
    titles = ("ΔAUC (95 %)", "p", "Size", "Parameters", "MACs", "Speed-up")
    rows = [_effect_row(one) for one in evaluation.effects]
    return table([*columns(("Model", "From", "By"), "left"), *columns(titles)], rows) if rows else None


def _effect_row(one: Effect) -> list[str]:
    changes = [
        NONE if pair is None else change(pair[1], pair[0]) for pair in (one.size_bytes, one.parameters, one.macs)
    ]
    head = [f"**{escape(one.variant)}**", escape(one.ancestor), escape(", ".join(one.steps))]
    return [*head, difference(one.delta), chance(one.p), *changes, times(one.speed)]
