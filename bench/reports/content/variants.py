"""Tables with a row for each variant. Each column is made once; a table picks the columns that it shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench.records import (
    Auc,
    Comparison,
    Evaluation,
    Ratio,
    RunRecord,
    Timing,
    VariantEvaluation,
    VariantResult,
    VariantSpeed,
)
from bench.reports.content.cells import (
    EMPTY,
    Align,
    Cell,
    Column,
    Table,
    cell,
    several,
    table,
    variant_cell,
    with_interval,
)
from bench.reports.content.remarks import remarks
from bench.reports.content.spans import with_code
from bench.reports.content.text import (
    MIB,
    area,
    chance,
    change,
    estimate_and_range,
    factor,
    factor_range,
    number,
    ran_as,
    rough,
    signed,
    within,
)

OVERVIEW = ("model", "verdict", "delta", "p", "size", "speedup", "remarks")
PERFORMANCE = (
    "model", "verdict", "size", "reduction", "parameters", "macs", "auc", "difference", "latency", "speedup",
    "throughput", "gain", "ran_as",
)  # fmt: skip
FOR_PAPERS = ("model", "verdict", "size", "reduction", "parameters", "macs", "auc", "latency", "speedup", "throughput")
"""What of the performance fits across a page of paper."""
CHANGES = ("model", "verdict", "delta", "p", "worse", "better", "reduction", "speedup")
COMPARED = (
    "verdict", "delta", "size", "speedup", "remarks", "auc", "latency", "reduction", "p", "throughput", "gain",
    "parameters", "macs", "ran_as",
)  # fmt: skip
"""All columns of the page, without the names; those up to "remarks" stand in its first table."""


@dataclass(frozen=True)
class _Row:
    """A variant that was evaluated, with what was measured of it."""

    run: RunRecord
    variant: VariantResult
    evaluation: Evaluation

    @property
    def is_baseline(self) -> bool:
        return self.variant is self.run.baseline

    @property
    def judged(self) -> VariantEvaluation:
        return self.evaluation.variants[self.variant.name]

    @property
    def comparison(self) -> Comparison | None:
        return self.judged.comparison

    @property
    def speed(self) -> VariantSpeed:
        return self.evaluation.speeds[self.variant.name]


def overview(run: RunRecord, evaluation: Evaluation) -> Table:
    """The verdict on each variant, what it gains, and what else to know of it."""
    return _picked(OVERVIEW, run, evaluation)


def performance(run: RunRecord, evaluation: Evaluation) -> Table:
    """Size, AUC and speed of each variant, failed ones included."""
    return _picked(PERFORMANCE, run, evaluation)


def performance_for_papers(run: RunRecord, evaluation: Evaluation) -> Table:
    """The same without what needs more room than a page has."""
    return _picked(FOR_PAPERS, run, evaluation)


def changes(run: RunRecord, evaluation: Evaluation) -> Table:
    """What each variant lost and gained against the baseline."""
    return _picked(CHANGES, run, evaluation)


def compared(run: RunRecord, evaluation: Evaluation) -> Table:
    """Everything about each variant, without the column of names."""
    return _picked(COMPARED, run, evaluation)


def _picked(keys: Iterable[str], run: RunRecord, evaluation: Evaluation) -> Table:
    picked = [(key, *_COLUMNS[key]) for key in keys]
    columns = [Column(title.format(n=f"{run.test.count:,}"), align, key) for key, title, align, _ in picked]
    rows = []
    for variant in run.variants:
        row = _Row(run, variant, evaluation)
        failed = _failed(variant)
        rows.append([make(row) if variant.status == "ok" else failed.get(key, EMPTY) for key, _, _, make in picked])
    return table(columns, rows)


def _failed(variant: VariantResult) -> dict[str, Cell]:
    """The cells of a variant that could not be built or measured."""
    return {
        "model": variant_cell(variant.name),
        "verdict": cell("failed"),
        "remarks": cell(with_code(variant.reason or "no reason was recorded")),
    }


def verdict(is_baseline: bool, judged: VariantEvaluation) -> str | None:
    """The verdict in one word; None where there is nothing to compare with."""
    if is_baseline:
        return "baseline"
    return judged.comparison.verdict if judged.comparison else None


def reduction(run: RunRecord, variant: VariantResult) -> str | None:
    """The file's change in size from the baseline's, in percent; None where either is unknown."""
    baseline = run.baseline.footprint
    if variant.footprint is None or baseline is None:
        return None
    return change(variant.footprint.size_bytes, baseline.size_bytes)


def area_cell(auc: Auc | None) -> Cell:
    return EMPTY if auc is None else with_interval(number(auc.value, 4), within(auc.interval, 3), auc.value)


def difference_cell(delta: Auc | None, least: int = 4) -> Cell:
    """A difference of AUC with its interval, of `least` digits or more."""
    return EMPTY if delta is None else with_interval(*estimate_and_range(delta, least), delta.value)


def ratio_cell(ratio: Ratio | None) -> Cell:
    return EMPTY if ratio is None else with_interval(factor(ratio), factor_range(ratio), ratio.value)


def _verdict(row: _Row) -> Cell:
    word = verdict(row.is_baseline, row.judged)
    return cell(word) if word else EMPTY


def _delta(row: _Row) -> Cell:
    if row.comparison is None:
        # The baseline sorts among the differences, as no difference at all.
        return Cell(EMPTY.text, value=0.0 if row.is_baseline and row.judged.auc else None)
    return difference_cell(row.comparison.delta)


def _p(row: _Row) -> Cell:
    return cell(chance(row.comparison.p_holm), value=row.comparison.p_holm) if row.comparison else EMPTY


def _worse(row: _Row) -> Cell:
    return cell(f"{row.judged.flips.worse:,}", value=row.judged.flips.worse) if row.judged.flips else EMPTY


def _better(row: _Row) -> Cell:
    return cell(f"{row.judged.flips.better:,}", value=row.judged.flips.better) if row.judged.flips else EMPTY


def _size(row: _Row) -> Cell:
    footprint = row.variant.footprint
    return EMPTY if footprint is None else _number(footprint.size_bytes / MIB, 2)


def _reduction(row: _Row) -> Cell:
    footprint, text = row.variant.footprint, reduction(row.run, row.variant)
    value = -footprint.size_bytes / MIB if footprint else None
    return Cell(EMPTY.text, value=value) if row.is_baseline or text is None else cell(text, value=value)


def _parameters(row: _Row) -> Cell:
    return _in(1e6, row.variant.footprint.parameters if row.variant.footprint else None)


def _macs(row: _Row) -> Cell:
    return _in(1e9, row.variant.footprint.macs if row.variant.footprint else None)


def _in(unit: float, count: int | None) -> Cell:
    """Three significant digits or more: what pruning leaves of a small network must not round to nothing."""
    if count is None:
        return EMPTY
    value = count / unit
    digits = max(2, 2 - math.floor(math.log10(value))) if value else 2
    return cell(number(value, digits), value=count)


def _auc(row: _Row) -> Cell:
    return area_cell(row.judged.auc)


def _difference(row: _Row) -> Cell:
    if row.comparison is None:
        return EMPTY
    value = row.comparison.delta.value
    return cell(signed(value, 4), value=value)


def _latency(row: _Row) -> Cell:
    single = row.speed.single
    if single is None:
        return EMPTY
    return with_interval(rough(single.p50_ms), f"{rough(single.p25_ms)}–{rough(single.p75_ms)}", single.p50_ms)


def _speedup(row: _Row) -> Cell:
    return EMPTY if row.is_baseline else ratio_cell(row.speed.speedup)


def _throughput(row: _Row) -> Cell:
    best: Timing | None = row.speed.best
    if best is None:
        return EMPTY
    value = best.frames_per_second
    return with_interval(number(value, 1), f"batch {best.batch_size}", value)


def _gain(row: _Row) -> Cell:
    return EMPTY if row.is_baseline else ratio_cell(row.speed.gain)


def _ran_as(row: _Row) -> Cell:
    return cell(ran_as(row.variant.executed))


def _remarks(row: _Row) -> Cell:
    level = [f"AUC {area(row.judged.auc)}"] if row.is_baseline and row.judged.auc else []
    return several([*level, *remarks(row.run, row.variant, row.evaluation)])


def _number(value: float, digits: int) -> Cell:
    return cell(number(value, digits), value=value)


_COLUMNS: dict[str, tuple[str, Align, Callable[[_Row], Cell]]] = {
    "model": ("Model", "left", lambda row: variant_cell(row.variant.name)),
    "verdict": ("Verdict", "left", _verdict),
    "delta": ("ΔAUC (95 %)", "right", _delta),
    "p": ("p (Holm)", "right", _p),
    "worse": ("Right → wrong", "right", _worse),
    "better": ("Wrong → right", "right", _better),
    "size": ("Size (MiB)", "right", _size),
    "reduction": ("Reduction", "right", _reduction),
    "parameters": ("Params (M)", "right", _parameters),
    "macs": ("MACs (G)", "right", _macs),
    "auc": ("AUC (n = {n})", "right", _auc),
    "difference": ("Diff", "right", _difference),
    "latency": ("Latency (ms)", "right", _latency),
    "speedup": ("Speed-up", "right", _speedup),
    "throughput": ("Frames/s", "right", _throughput),
    "gain": ("Gain", "right", _gain),
    "ran_as": ("Ran as", "left", _ran_as),
    "remarks": ("What to know", "left", _remarks),
}
