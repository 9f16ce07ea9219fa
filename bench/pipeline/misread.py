"""Files from elsewhere whose scores are far from the baseline's: their input or output may be read wrongly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.pipeline.jobs import Jobs
from bench.pipeline.prepared import Setup
from bench.records import Reading, VariantResult
from bench.results import store
from bench.results.score.agreement import Agreement, agreement


def remarks(setup: Setup, jobs: Jobs, rows: Sequence[VariantResult]) -> Iterator[str]:
    """A sentence for each, with how the file was read; of several frame sets, by the first alone."""
    imported = [row.name for row in rows if row.status == "ok" and row.name in setup.imported]
    baseline = jobs.baseline_of(setup)
    if not (imported and setup.is_first_set and rows[0].status == "ok"):
        return
    count = len(setup.frames["test"].frames)
    expected = store.read_predictions(baseline.folder, count)
    for name in imported:
        measured = agreement(expected, store.read_predictions(setup.results / name, count))
        if measured is not None and measured.is_unlike:
            yield f"{name}: {_sentence(measured, setup.imported[name])}"


def _sentence(measured: Agreement, reading: Reading) -> str:
    """What is far from what, what may be wrong, and what was taken for granted."""
    if measured.is_reversed:
        fact = f"its scores rank frames in nearly the reverse order of the baseline's ({_numbers(measured)})"
        advice = "the file may want another `positive:` (of one output) or `classes:` (of two)"
    else:
        fact = f"its scores are further from the baseline's than compression takes them ({_numbers(measured)})"
        advice = (
            "the file may want another `input:` (scale, mean, std, channels, layout), `output:` or `positive:`, unless "
            "it is another network"
        )
    return f"{fact}: {advice}. It was read as: {reading.arithmetic}; {reading.logits}."


def _numbers(measured: Agreement) -> str:
    change = f"P(fake) differs by {measured.mean_change:.3f} on average"
    if measured.rank_correlation is None:
        return change
    return f"rank correlation {measured.rank_correlation:.2f}, {change}"
