"""What a run says before its work begins: who else is at work, what is due and why, and how long it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench import locks
from bench.errors import UserError
from bench.pipeline import reasons, report_reasons
from bench.pipeline.estimates import duration, total
from bench.pipeline.forecast import Row, Stage, rows_of, stages
from bench.pipeline.prepared import Prepared
from bench.pipeline.remaining import Remaining
from bench.records import Event, OnEvent
from bench.results import store
from bench.variants import cache


def check_folders(base: Path, name: str) -> None:
    """Refuse with `UserError` what would stop the run at its end: a file where one of its folders must be."""
    for folder in ("variants", "results", "reports"):
        if (base / folder).exists() and not (base / folder).is_dir():
            raise UserError(f"{base / folder}: is a file, and bench keeps a folder there; move it away")
    locks.check(base / "results" / name / store.LOCK)


def warn_of_another_run(results: Path, on_event: OnEvent) -> None:
    """Say at once who holds the results: it may take a while until this run needs them."""
    lock = results / store.LOCK
    if not lock.exists():
        return
    with locks.tried(lock) as free:
        holder = "" if free else locks.holder(lock, results.parent.parent)
    if holder:
        on_event(Event(f"another run is here ({holder}): this one waits before it evaluates", 1, 1, "warning"))


@contextmanager
def announced(prepared: Prepared, on_event: OnEvent) -> Iterator[OnEvent]:
    """Say what is due, and inside, let others see that this run is at work.

    Yields a listener that adds to each event how long the run still takes.
    """
    rows = rows_of(prepared)
    _explain(prepared, rows, on_event)
    first = prepared.first
    with locks.announced(first.variants / cache.LOCKS, f"running {first.name}", on_event):
        due = stages(prepared, rows, on_event)
        _foresee(prepared, due, on_event)
        yield Remaining(due, on_event)


def _explain(prepared: Prepared, rows: Sequence[Row], on_event: OnEvent) -> None:
    """Say why work is due again, and what is to know of the frames; nothing where all is done."""
    due = reasons.due(rows)
    for redone in reasons.again(due):
        on_event(Event(f"due again: {redone.text}", 1, 1, "note"))
    if not due and (of_report := report_reasons.of_reports(prepared, rows)):
        on_event(Event(f"the report is due: {'; '.join(of_report)}", 1, 1, "note"))
    if not due:
        return
    for name, text in prepared.accounts.items():
        on_event(Event(f"frames{prepared.of_frames(name)}: {text}", 1, 1, "note"))
    for remark in prepared.frame_remarks:
        on_event(Event(remark, 1, 1, "warning"))


def _foresee(prepared: Prepared, due: Sequence[Stage], on_event: OnEvent) -> None:
    """Say what there is to do and about how long it takes; nothing where no work is due."""
    if works := [f"{stage.name} {stage.work}" for stage in due if stage.work and stage.name != "report"]:
        takes = duration(total(stage.estimate for stage in due))
        on_event(Event(f"{prepared.first.name}: {'; '.join(works)}; takes {takes}", 1, 1, "note"))
