"""The whole program on one screen: frames, variants, results, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench import locks
from bench.errors import UserError
from bench.experiment import Experiments, select
from bench.pipeline import journal, reasons, render
from bench.pipeline.build import build_variants, settle_variants
from bench.pipeline.estimates import duration, total
from bench.pipeline.evaluate import evaluate_variants, refuse_changed
from bench.pipeline.forecast import Row, Stage, rows_of, stages
from bench.pipeline.prepare import Prepared, Timing, prepare
from bench.pipeline.remaining import Remaining
from bench.pipeline.render import Finished
from bench.pipeline.summary import summarise
from bench.pipeline.time import time_variants
from bench.records import Event, OnEvent, silent
from bench.results import store
from bench.variants import cache

__all__ = ["Finished", "run"]


def run(
    experiments: Experiments,
    path: Path,
    name: str | None = None,
    *,
    only: Sequence[str] = (),
    device: str | None = None,
    timing: Timing = "due",
    on_event: OnEvent = silent,
) -> Finished:
    """Everything: build what is missing, evaluate and time it, render the report.

    `path` is the experiment file, which all folders are relative to; `only` names the variants to
    run (the baseline always does), `device` overrides the file's, `timing` says what is timed: what has no times
    yet, all "again", or "none". Raises `UserError` for bad input.
    """
    name, _ = select(experiments, name, path)
    _check_rooms(path.parent)
    locks.check(path.parent / "results" / name / store.LOCK)
    doing, variants = f"running {name}", path.parent / "variants"
    with journal.kept(path.parent / "results" / name, on_event) as log:
        _tell_of_another(path.parent / "results" / name, log)
        prepared = prepare(experiments, path, name, only=only, device=device, for_run=True, on_event=log)
        prepared = replace(prepared, timing=timing)
        rows = rows_of(prepared)
        _explain(prepared, rows, log)
        with locks.announced(variants / cache.LOCKS, doing, log):
            due = stages(prepared, rows, log)
            _foresee(prepared, due, log)
            told_left = Remaining(due, log)
            built, failed = build_variants(prepared, told_left)
            failed |= settle_variants(prepared, built, told_left)
            # Two runs of one experiment take turns here; the second finds what the first has done.
            with store.locked(prepared.results, doing, log):
                jobs, failed = evaluate_variants(prepared, built, failed, told_left)
            failed = time_variants(prepared, jobs, failed, told_left)
            with store.locked(prepared.results, doing, log):
                refuse_changed(prepared, jobs, failed)
                told = summarise(prepared, jobs, failed)
                store.write_attributes(prepared.results, prepared.frames, told)
                store.write_run(prepared.results, told)
                reasons.write(prepared, jobs, failed)
                finished = render.report(prepared.base, prepared.name, prepared.settings, on_event=told_left)
        log.ended(finished.ending)
        return replace(finished, log=log.path)


def _tell_of_another(results: Path, on_event: OnEvent) -> None:
    """At once, since it may take a while until this run needs what another one holds."""
    lock = results / store.LOCK
    if not lock.exists():
        return
    with locks.tried(lock) as free:
        who = "" if free else locks.holder(lock, results.parent.parent)
    if who:
        on_event(Event(f"another run is here ({who}): this one waits before it evaluates", 1, 1, "warning"))


def _explain(prepared: Prepared, rows: Sequence[Row], on_event: OnEvent) -> None:
    """Before work begins: why it is due again, and what is to know of the frames. Silent where nothing is due."""
    due = reasons.due(prepared, rows)
    for one in reasons.again(due):
        on_event(Event(f"due again: {one.text}", 1, 1, "note"))
    for remark in prepared.of_frames if due else ():
        on_event(Event(remark, 1, 1, "warning"))


def _foresee(prepared: Prepared, due: Sequence[Stage], on_event: OnEvent) -> None:
    """What there is to do and about how long that takes; silent where nothing is."""
    if works := [f"{stage.name} {stage.work}" for stage in due if stage.work and stage.name != "report"]:
        takes = duration(total(stage.estimate for stage in due))
        on_event(Event(f"{prepared.name}: {'; '.join(works)}; takes {takes}", 1, 1, "note"))


def _check_rooms(base: Path) -> None:
    """Hours of work must not end at a file that lies where the report's folder should be."""
    for room in ("variants", "results", "reports"):
        if (base / room).exists() and not (base / room).is_dir():
            raise UserError(f"{base / room}: is a file, and bench keeps a folder there; move it away")
