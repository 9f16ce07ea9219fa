"""The whole program on one screen: frames, variants, results, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench import locks
from bench.errors import UserError
from bench.experiment import Experiments, ExperimentSettings, select
from bench.pipeline import journal, reasons, render
from bench.pipeline.clean import clean
from bench.pipeline.estimates import total
from bench.pipeline.forecast import Forecast, Row, Stage, forecast, rows_of, stages
from bench.pipeline.forecast_text import duration
from bench.pipeline.handover import export
from bench.pipeline.measure import (
    build_variants,
    evaluate_variants,
    refuse_changed,
    settle_variants,
    time_variants,
)
from bench.pipeline.plan import Plan, Timing, prepare
from bench.pipeline.remaining import Remaining
from bench.pipeline.render import Finished, bundle
from bench.pipeline.summary import summarise
from bench.records import Event, OnEvent, silent
from bench.results import store
from bench.variants import build

__all__ = ["Finished", "Forecast", "bundle", "clean", "export", "forecast", "report", "run"]


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
        plan = prepare(experiments, path, name, only=only, device=device, for_run=True, on_event=log)
        plan = replace(plan, timing=timing)
        rows = rows_of(plan)
        _explain(plan, rows, log)
        with locks.announced(variants / build.LOCKS, doing, log):
            due = stages(plan, rows, log)
            _foresee(plan, due, log)
            told_left = Remaining(due, log)
            built, failed = build_variants(plan, told_left)
            failed |= settle_variants(plan, built, told_left)
            # Two runs of one experiment take turns here; the second finds what the first has done.
            with store.locked(plan.results, doing, log):
                jobs, failed = evaluate_variants(plan, built, failed, told_left)
            failed = time_variants(plan, jobs, failed, told_left)
            with store.locked(plan.results, doing, log):
                refuse_changed(plan, jobs, failed)
                told = summarise(plan, jobs, failed)
                store.write_attributes(plan.results, plan.frames, told)
                store.write_run(plan.results, told)
                reasons.write(plan, jobs, failed)
                finished = render.report(plan.base, plan.name, plan.settings, on_event=told_left)
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


def _explain(plan: Plan, rows: Sequence[Row], on_event: OnEvent) -> None:
    """Before work begins: why it is due again, and what is to know of the frames. Silent where nothing is due."""
    due = reasons.due(plan, rows)
    for one in reasons.again(due):
        on_event(Event(f"due again: {one.text}", 1, 1, "note"))
    if not due and (why := reasons.of_report(plan, rows)):
        on_event(Event(f"the report is due: {'; '.join(why)}", 1, 1, "note"))
    for remark in plan.of_frames if due else ():
        on_event(Event(remark, 1, 1, "warning"))


def _foresee(plan: Plan, due: Sequence[Stage], on_event: OnEvent) -> None:
    """What there is to do and about how long that takes; silent where nothing is."""
    if works := [f"{stage.name} {stage.work}" for stage in due if stage.work and stage.name != "report"]:
        takes = duration(total(stage.estimate for stage in due))
        on_event(Event(f"{plan.name}: {'; '.join(works)}; takes {takes}", 1, 1, "note"))


def _check_rooms(base: Path) -> None:
    """Hours of work must not end at a file that lies where the report's folder should be."""
    for room in ("variants", "results", "reports"):
        if (base / room).exists() and not (base / room).is_dir():
            raise UserError(f"{base / room}: is a file, and bench keeps a folder there; move it away")


def report(
    base: Path, name: str, settings: ExperimentSettings, *, again: bool = False, on_event: OnEvent = silent
) -> Finished:
    """Score and render what is stored, waiting for a run that is at it; see `render.report`."""
    store.read_run(base / "results" / name)
    with store.locked(base / "results" / name, f"rendering {name}", on_event):
        return render.report(base, name, settings, again=again, on_event=on_event)
