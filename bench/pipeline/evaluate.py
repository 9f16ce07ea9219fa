"""Third stage: predict the frames with the variants; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench import locks, phases, runtimes
from bench.errors import UserError
from bench.pipeline import fidelity, journal
from bench.pipeline.jobs import Executable, Job, due_for_timing, executed, job_of, names_by_artifact
from bench.pipeline.prepare import Plan
from bench.records import (
    LABELLED_SPLITS,
    Built,
    Event,
    OnEvent,
    Session,
)
from bench.results import predict, store
from bench.variants import cache

if TYPE_CHECKING:
    pass


LOADING = "exporting and loading"


def evaluate_variants(
    plan: Plan, built: Mapping[str, Built], failed: dict[str, str], on_event: OnEvent
) -> tuple[dict[str, Job], dict[str, str]]:
    """Evaluate every variant that has no results yet; returned is also what failed so far, and why."""
    jobs = {name: job_of(plan, name, artifact) for name, artifact in built.items()}
    unpredicted = {n: job for n, job in jobs.items() if not predict.is_done(job.folder, job.predictions_key)}
    untimed = due_for_timing(plan, jobs)
    unchecked = {n: job for n, job in jobs.items() if fidelity.is_due(plan, job.built, job.runtime)}
    unknown = {n: job for n, job in jobs.items() if executed(job) is None}
    # Of the variants that were not asked for, those are shown whose results are there, their fidelity too.
    for name in (unpredicted.keys() | unchecked.keys() | unknown.keys()) - plan.wanted:
        for some in (jobs, unpredicted, unchecked, unknown):
            some.pop(name, None)
    baseline = jobs[next(iter(plan.chains))].built
    due = {n: job for n, job in (unpredicted | untimed | unchecked | unknown).items() if n not in failed}
    wanted = {job.executable: job.built for job in due.values()}
    # A speed-up is against the baseline in the same runtime, timed in the same session.
    wanted |= {(baseline.id, job.runtime): baseline for job in untimed.values()}
    sessions, problems = _open(wanted, names_by_artifact(jobs), plan, on_event)
    failed = failed | {n: problems[job.executable] for n, job in jobs.items() if job.executable in problems}
    failed |= _predict(plan, {n: job for n, job in unpredicted.items() if n not in failed}, sessions, on_event)
    for job in (job for n, job in unknown.items() if n not in failed and executed(job) is None):
        predict.write_executed(job.folder, sessions[job.executable].executed)
    return jobs, failed


def _open(
    wanted: Mapping[Executable, Built], names: Mapping[str, str], plan: Plan, on_event: OnEvent
) -> tuple[dict[Executable, Session], dict[Executable, str]]:
    """Load artifacts; for those that cannot be loaded, the reason."""
    sessions: dict[Executable, Session] = {}
    problems: dict[Executable, str] = {}
    for done, (key, built) in enumerate(wanted.items()):
        on_event(Event(LOADING, done, len(wanted), "variants", f"{names[key[0]]}: loading"))
        lock, doing = cache.lock_file(plan.base / "variants", built.id), f"exporting {built.id} of {plan.name}"
        try:
            # What a runtime exports beside an artifact, it exports once: another run waits for it here.
            with (
                phases.of(LOADING, on_event, names[key[0]]),
                locks.held(lock, doing, on_event, folder=plan.base, why=cache.WHY_WAIT),
            ):
                cache.check(built)
                fidelity.refuse_unsettled(built, key[1], plan.device)
                sessions[key] = runtimes.find(key[1]).load(built, plan.device, plan.threads, tf32=plan.settings.tf32)
                _check_fidelity(plan, built, key[1], sessions[key], on_event)
        except Exception as error:
            problems[key] = journal.failure(f"loading {key[0]} into {key[1]}", error)
        on_event(Event(LOADING, done + 1, len(wanted), "variants"))
    return sessions, problems


def _check_fidelity(plan: Plan, built: Built, runtime: str, session: Session, on_event: OnEvent) -> None:
    """Scores are worth having where this fails; the report says that it did, the run's log why."""
    try:
        fidelity.check(plan, built, runtime, session, on_event)
    except Exception as error:
        journal.failure(f"comparing {built.id} in {runtime} with its own graph", error)


def _predict(
    plan: Plan, jobs: Mapping[str, Job], sessions: Mapping[Executable, Session], on_event: OnEvent
) -> dict[str, str]:
    """Evaluate variants, every frame decoded once; for those that fail, the reason."""
    if not jobs:
        return {}
    pending = [
        predict.Pending(name, job.predictions_key, job.folder, sessions[job.executable]) for name, job in jobs.items()
    ]
    splits = [plan.frames[split] for split in LABELLED_SPLITS if split in plan.frames]
    rows = [predict.Labelled(frames.split, frame) for frames in splits for frame in frames.frames]
    problems = predict.predict(pending, rows, plan.spec, plan.read, on_event)
    return {name: journal.failure(f"evaluating {name}", error) for name, error in problems.items()}


def refuse_changed(plan: Plan, jobs: Mapping[str, Job], failed: Mapping[str, str]) -> None:
    """Raise `UserError` where another run, of other settings, has put its results in the place of these meanwhile."""
    for name, job in jobs.items():
        there = predict.is_done(job.folder, job.predictions_key) and executed(job) is not None
        is_to_be_timed = name in plan.wanted and plan.timing != "none"
        there &= not is_to_be_timed or store.read_timed(job.folder, job.timing_key) is not None
        if name not in failed and not there:
            raise UserError(
                f"{job.folder}: another run, with other settings, frames or weights, wrote its results here while this "
                "one took times: run the same command again when that one is done"
            )
