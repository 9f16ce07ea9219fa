"""The main tables of a report, for papers and for programs: as it shows them, and with unrounded numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeAlias

from bench.errors import counted
from bench.records import Evaluation, RunRecord, ScoresFile
from bench.reports.content import tables, variants
from bench.reports.content.cells import Table
from bench.reports.content.judged import judged

Value: TypeAlias = str | float | None

_INTERVALS = ("_ci", "_interval")
"""How keys of scores.json end whose values are the two ends of an interval."""

PERFORMANCE = (
    "status", "verdict", "size_mib", "parameters", "macs", "auc", "auc_ci", "auc_delta", "latency_ms.p50",
    "latency_ms.p25", "latency_ms.p75", "speedup", "speedup_interval", "throughput_fps", "throughput_batch_size",
    "throughput_gain", "throughput_gain_interval", "runtime", "device", "stored", "computed", "int8",
)  # fmt: skip
CLASSIFICATION = (
    "threshold", "confusion.tp", "confusion.tn", "confusion.fp", "confusion.fn", "recall", "recall_ci", "specificity",
    "specificity_ci", "precision", "precision_ci", "f1", "accuracy", "balanced_accuracy", "mcc",
)  # fmt: skip
CHANGES = (
    "verdict", "auc_delta", "auc_delta_ci", "auc_delta_p", "auc_delta_p_holm", "flips.worse", "flips.better", "flips.p",
    "size_mib", "speedup", "speedup_interval",
)  # fmt: skip
"""Keys of a variant in scores.json, in the order of columns; those inside others have a point."""


@dataclass(frozen=True)
class MainTable:
    """One table: `shown` as the report has it, `keys` and `rows` as scores.json has the same numbers.

    An interval is two columns, `auc_ci_low` and `auc_ci_high`; a number that is unavailable is None.
    """

    name: str
    caption: str
    shown: Table
    keys: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]


def main_tables(run: RunRecord, evaluation: Evaluation, numbers: ScoresFile) -> list[MainTable]:
    """Performance, classification quality and changes against the baseline, of what is judged, frames or videos."""
    of = judged(run, evaluation)
    on = f"{run.experiment}, {counted(of.run.test.count, f'test {of.unit}')}"
    threshold, baseline = f"at a threshold of {run.threshold:g}", run.baseline.name
    made = [
        ("performance", f"Performance: {on}", variants.performance_for_papers(of.run, of.evaluation), PERFORMANCE),
        (
            "classification",
            f"Classification quality {threshold}: {on}",
            tables.classification(of.evaluation),
            CLASSIFICATION,
        ),
        ("changes", f"Changes against {baseline}: {on}", variants.changes(of.run, of.evaluation), CHANGES),
    ]
    return [MainTable(name, caption, shown, *_exact(numbers, keys)) for name, caption, shown, keys in made]


def _exact(numbers: ScoresFile, keys: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[tuple[Value, ...], ...]]:
    """The names of the columns, and a row for each variant."""
    rows = [(name, *exact_values(scored, keys)) for name, scored in numbers.judged.items()]
    return ("variant", *column_names(keys)), tuple(rows)


def column_names(keys: Iterable[str], prefix: str = "") -> list[str]:
    """What the columns of keys of scores.json are called."""
    return [f"{prefix}{name}" for key in keys for name in _names(key)]


def exact_values(scored: object, keys: Iterable[str]) -> list[Value]:
    """What a record of scores.json holds under these keys, unrounded; None for all where there is no record."""
    return [value for key in keys for value in _values(scored, key)]


def _names(key: str) -> list[str]:
    name = key.replace(".", "_")
    return [f"{name}_low", f"{name}_high"] if key.endswith(_INTERVALS) else [name]


def _values(scored: object, key: str) -> Iterator[Value]:
    outer, _, inner = key.partition(".")
    value: Any = None if scored is None else getattr(scored, outer)
    if inner:
        value = None if value is None else attrgetter(inner)(value)
    if key.endswith(_INTERVALS):
        yield from (None, None) if value is None else value
    else:
        yield value
