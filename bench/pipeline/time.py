"""Fourth stage: time the variants beside the baseline, in turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from bench import locks, runtimes
from bench.pipeline import fidelity, journal
from bench.pipeline.jobs import Executable, Job, Jobs, due_for_timing
from bench.pipeline.prepare import Prepared
from bench.records import OnEvent
from bench.results import predict, store, timing
from bench.variants import cache

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


TIMED_FRAMES = 16


def time_variants(prepared: Prepared, jobs: Jobs, on_event: OnEvent) -> Jobs:
    """Time what is due and the baseline beside it in one session, and store the samples.

    Results are locked only while they are read or written, so that nobody waits for the timing itself who evaluates
    or renders meanwhile.
    """
    if not due_for_timing(prepared, jobs):
        return jobs
    doing = f"timing {prepared.name}"
    with _turn(prepared, doing, on_event):
        with store.locked(prepared.results, doing, on_event):
            # Another run may have timed some while this one waited.
            untimed = due_for_timing(prepared, jobs)
            if not untimed:
                return jobs
            subjects, batch = _subjects(prepared, jobs, untimed)
        with fidelity.alone(prepared, doing, on_event):
            timings = timing.measure(subjects, batch, prepared.settings.timing.seconds, on_event)
        with store.locked(prepared.results, doing, on_event):
            _store(timings, untimed, jobs.by_variant[prepared.baseline].built.id)
    return jobs.and_failed(
        {
            name: journal.failure(f"timing {name}", timings.failed[job.executable])
            for name, job in untimed.items()
            if job.executable in timings.failed
        }
    )


@contextmanager
def _turn(prepared: Prepared, doing: str, on_event: OnEvent) -> Iterator[None]:
    """Inside, no other run in this folder times: the machine-wide lock is each user's own, a team shares the folder."""
    lock = prepared.variants / cache.LOCKS / "timing.lock"
    with locks.held(lock, doing, on_event, folder=prepared.base, why=fidelity.WHY_WAIT):
        yield


def _subjects(
    prepared: Prepared, jobs: Jobs, untimed: Mapping[str, Job]
) -> tuple[dict[Executable, timing.Subject], NDArray[np.uint8]]:
    """What is timed side by side, the baseline first, and the frames that it is timed with."""
    indices = prepared.frames["test"].sample_evenly(TIMED_FRAMES)
    frames = [prepared.frames["test"].frames[index] for index in indices]
    evaluated = {
        job.built.id: job for job in jobs.by_variant.values() if predict.is_done(job.folder, job.predictions_key)
    }
    baseline = jobs.by_variant[prepared.baseline].built.id
    executables = {job.executable for job in untimed.values()} | {(baseline, job.runtime) for job in untimed.values()}
    subjects = {
        (variant, runtime): timing.Subject(
            partial(
                runtimes.find(runtime).load,
                evaluated[variant].built,
                prepared.device,
                prepared.threads,
                tf32=prepared.settings.tf32,
            ),
            store.read_logits(evaluated[variant].folder)[indices],
            jobs.variant_of[variant],
        )
        for variant, runtime in sorted(executables, key=lambda executable: executable[0] != baseline)
        if variant in evaluated
    }
    return subjects, next(prepared.read(frames, prepared.spec, len(frames)))


def _store(timings: timing.Timings[Executable], untimed: Mapping[str, Job], baseline: str) -> None:
    """Store the samples of each variant, and beside them the baseline's in the same runtime."""
    for job in untimed.values():
        if timed := timings.times.get(job.executable):
            beside = timings.times.get((baseline, job.runtime))
            store.write_timed(
                job.folder,
                job.timing_key,
                store.SessionTimes(
                    timed.executed, timed.measurements, beside.measurements if beside else (), timings.conditions
                ),
            )
