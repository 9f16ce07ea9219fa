"""Third stage: evaluate the variants on the labelled frames; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench import locks, phases, runtimes
from bench.pipeline import fidelity, journal
from bench.pipeline.build import BuiltVariants
from bench.pipeline.jobs import Executable, Job, Jobs, due_for_timing, executed, job_of
from bench.pipeline.prepare import Prepared
from bench.records import Built, Event, OnEvent, Session
from bench.results import predict, store
from bench.variants import cache

LOADING = "exporting and loading"


@dataclass(frozen=True)
class _Gaps:
    """What the stored results of a variant lack before they can be shown."""

    predictions: bool
    fidelity: bool
    execution: bool

    @property
    def any(self) -> bool:
        return self.predictions or self.fidelity or self.execution


def evaluate_variants(prepared: Prepared, built: BuiltVariants, on_event: OnEvent) -> Jobs:
    """Evaluate every selected variant that lacks results; of the others, those with all results stay.

    Two runs of one experiment take turns, and the second one reuses what the first has evaluated.
    """
    with store.locked(prepared.results, f"running {prepared.name}", on_event):
        jobs, gaps = _jobs(prepared, built)
        sessions, problems = _open(_executables(prepared, jobs, gaps), jobs.variant_of, prepared, on_event)
        jobs = jobs.and_failed(
            {name: problems[job.executable] for name, job in jobs.by_variant.items() if job.executable in problems}
        )
        unpredicted = {name: job for name, job in jobs.unfailed.items() if gaps[name].predictions}
        jobs = jobs.and_failed(_predict(prepared, unpredicted, sessions, on_event))
        for name, job in jobs.unfailed.items():
            if gaps[name].execution and executed(job) is None:
                predict.write_executed(job.folder, sessions[job.executable].executed)
    return jobs


def _jobs(prepared: Prepared, built: BuiltVariants) -> tuple[Jobs, dict[str, _Gaps]]:
    """The jobs of all variants that are shown, and what the results of each lack."""
    candidates = {name: job_of(prepared, name, artifact) for name, artifact in built.artifacts.items()}
    gaps = {
        name: _Gaps(
            predictions=not predict.is_done(job.folder, job.predictions_key),
            fidelity=fidelity.is_due(prepared, job.built, job.runtime),
            execution=executed(job) is None,
        )
        for name, job in candidates.items()
    }
    shown = {name: job for name, job in candidates.items() if name in prepared.selected or not gaps[name].any}
    return Jobs(shown, built.failed), gaps


def _executables(prepared: Prepared, jobs: Jobs, gaps: Mapping[str, _Gaps]) -> dict[Executable, Built]:
    """What must be loaded: variants whose results lack something, and the baseline in each runtime that is timed."""
    untimed = due_for_timing(prepared, jobs)
    baseline = jobs.by_variant[prepared.baseline].built
    due = [job for name, job in jobs.unfailed.items() if name in untimed or gaps[name].any]
    return {
        **{job.executable: job.built for job in due},
        # A speed-up is against the baseline in the same runtime, timed in the same session.
        **{(baseline.id, job.runtime): baseline for job in untimed.values()},
    }


def _open(
    artifacts: Mapping[Executable, Built], variant_of: Mapping[str, str], prepared: Prepared, on_event: OnEvent
) -> tuple[dict[Executable, Session], dict[Executable, str]]:
    """Load artifacts; for those that cannot be loaded, the reason."""
    sessions: dict[Executable, Session] = {}
    problems: dict[Executable, str] = {}
    for done, ((variant, runtime), built) in enumerate(artifacts.items()):
        on_event(Event(LOADING, done, len(artifacts), "variants", f"{variant_of[variant]}: loading"))
        try:
            with phases.of(LOADING, on_event, variant_of[variant]):
                sessions[variant, runtime] = _load(prepared, built, runtime, on_event)
        except Exception as error:
            problems[variant, runtime] = journal.failure(f"loading {variant} into {runtime}", error)
        on_event(Event(LOADING, done + 1, len(artifacts), "variants"))
    return sessions, problems


def _load(prepared: Prepared, built: Built, runtime: str, on_event: OnEvent) -> Session:
    """Load an artifact, and measure its fidelity where that was not done yet.

    What a runtime exports beside an artifact, it exports once: another run waits for it at the artifact's lock.
    """
    lock, doing = cache.lock_file(prepared.variants, built.id), f"exporting {built.id} of {prepared.name}"
    with locks.held(lock, doing, on_event, folder=prepared.base, why=cache.WHY_WAIT):
        cache.check(built)
        fidelity.refuse_unsettled(built, runtime, prepared.device)
        session = runtimes.find(runtime).load(built, prepared.device, prepared.threads, tf32=prepared.settings.tf32)
        _check_fidelity(prepared, built, runtime, session, on_event)
    return session


def _check_fidelity(prepared: Prepared, built: Built, runtime: str, session: Session, on_event: OnEvent) -> None:
    """Scores are worth having where this fails; the report says that it did, the run's log why."""
    try:
        fidelity.check(prepared, built, runtime, session, on_event)
    except Exception as error:
        journal.failure(f"comparing {built.id} in {runtime} with its own graph", error)


def _predict(
    prepared: Prepared, jobs: Mapping[str, Job], sessions: Mapping[Executable, Session], on_event: OnEvent
) -> dict[str, str]:
    """Evaluate variants, every frame decoded once; for those that fail, the reason."""
    if not jobs:
        return {}
    pending = [
        predict.Pending(name, job.predictions_key, job.folder, sessions[job.executable]) for name, job in jobs.items()
    ]
    rows = [predict.FrameRow(split, frame) for split, frames in prepared.labelled.items() for frame in frames.frames]
    problems = predict.predict(pending, rows, prepared.spec, prepared.read, on_event)
    return {name: journal.failure(f"evaluating {name}", error) for name, error in problems.items()}
