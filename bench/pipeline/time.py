"""Fourth stage: time the variants beside the baseline, in turns."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from bench import locks, runtimes
from bench.pipeline import fidelity, journal
from bench.pipeline.jobs import Executable, Job, due_for_timing, names_by_artifact
from bench.pipeline.prepare import Plan
from bench.records import (
    OnEvent,
)
from bench.results import predict, store, timing
from bench.variants import cache

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


TIMED_FRAMES = 16


def time_variants(plan: Plan, jobs: Mapping[str, Job], failed: dict[str, str], on_event: OnEvent) -> dict[str, str]:
    """Time what is to be timed and the baseline beside it in one session, and store the samples.

    Returned is what failed so far. Nobody who only evaluates or renders has to wait meanwhile: results are
    held where they are read and written alone.
    """
    if not due_for_timing(plan, {n: job for n, job in jobs.items() if n not in failed}):
        return failed
    doing = f"timing {plan.name}"
    lock = plan.base / "variants" / cache.LOCKS / "timing.lock"
    # A team shares the folder, and the machine-wide lock is each user's own.
    with locks.held(lock, doing, on_event, folder=plan.base, why=fidelity.WHY_WAIT):
        with store.locked(plan.results, doing, on_event):
            # Another run may have timed some while this one waited.
            untimed = due_for_timing(plan, {n: job for n, job in jobs.items() if n not in failed})
            baseline = jobs[next(iter(plan.chains))].built.id
            if not untimed:
                return failed
            subjects, batch = _subjects(plan, jobs, untimed, baseline)
        with fidelity.alone(plan, doing, on_event):
            session = timing.measure(subjects, batch, plan.settings.timing.seconds, on_event)
        with store.locked(plan.results, doing, on_event):
            for job in untimed.values():
                if found := session.found.get(job.executable):
                    beside = session.found.get((baseline, job.runtime))
                    timed = store.SessionTimes(
                        found.executed, found.measurements, beside.measurements if beside else (), session.conditions
                    )
                    store.write_timed(job.folder, job.timing_key, timed)
    return failed | {
        name: journal.failure(f"timing {name}", session.failed[job.executable])
        for name, job in untimed.items()
        if job.executable in session.failed
    }


def _subjects(
    plan: Plan, jobs: Mapping[str, Job], untimed: Mapping[str, Job], baseline: str
) -> tuple[dict[Executable, timing.Subject], NDArray[np.uint8]]:
    """What is timed side by side, the baseline first, and the frames that it is timed with."""
    places = plan.frames["test"].spread(TIMED_FRAMES)
    frames = [plan.frames["test"].frames[place] for place in places]
    names = names_by_artifact(jobs)
    predicted = {job.built.id: job for job in jobs.values() if predict.is_done(job.folder, job.predictions_key)}
    runtimes_used = {job.runtime for job in untimed.values()}
    wanted = {job.executable for job in untimed.values()} | {(baseline, runtime) for runtime in runtimes_used}
    subjects = {
        (variant, runtime): timing.Subject(
            partial(
                runtimes.find(runtime).load,
                predicted[variant].built,
                plan.device,
                plan.threads,
                tf32=plan.settings.tf32,
            ),
            store.read_logits(predicted[variant].folder)[places],
            names[variant],
        )
        for variant, runtime in sorted(wanted, key=lambda one: one[0] != baseline)
        if variant in predicted
    }
    return subjects, next(plan.read(frames, plan.spec, len(frames)))
