"""Fourth stage: time the variants beside the baseline, in turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from bench import locks, runtimes
from bench.pipeline import fidelity, journal
from bench.pipeline.jobs import Executable, Job, Jobs, due_for_timing
from bench.pipeline.prepared import Prepared, Setup
from bench.records import InputSpec, OnEvent, ResultKey
from bench.results import predict, store, timing
from bench.variants import cache

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


TIMED_FRAMES = 16


def time_variants(prepared: Prepared, jobs: Jobs, on_event: OnEvent) -> Jobs:
    """Time what is due and the baselines beside it in one session, and store the samples.

    Results are locked only while they are read or written, so that nobody waits for the timing itself who evaluates
    or renders meanwhile.
    """
    if not due_for_timing(jobs):
        return jobs
    setup = prepared.first
    doing = f"timing {setup.name}"
    with _turn(setup, doing, on_event):
        with store.locked(prepared.results, doing, on_event, prepared.folders):
            # Another run may have timed some while this one waited.
            untimed = due_for_timing(jobs)
            if not untimed:
                return jobs
            subjects = _subjects(jobs, untimed)
        with fidelity.alone(setup, doing, on_event):
            timings = timing.measure(subjects, setup.settings.timing.seconds, on_event)
        with store.locked(prepared.results, doing, on_event, prepared.folders):
            _store(timings, jobs, untimed)
    return jobs.and_failed(
        {
            key: journal.failure(f"timing {job.title}", timings.failed[job.executable])
            for key, job in untimed.items()
            if job.executable in timings.failed
        }
    )


@contextmanager
def _turn(setup: Setup, doing: str, on_event: OnEvent) -> Iterator[None]:
    """Inside, no other run in this folder times: the machine-wide lock is each user's own, a team shares the folder."""
    lock = setup.variants / cache.LOCKS / "timing.lock"
    with locks.held(lock, doing, on_event, folder=setup.base, why=fidelity.WHY_WAIT):
        yield


def _subjects(jobs: Jobs, untimed: Mapping[ResultKey, Job]) -> dict[Executable, timing.Subject]:
    """What is timed side by side, baselines first, each with frames as its detector takes them."""
    evaluated = {
        job.built.id: job
        for job in jobs.by_key.values()
        if job.setup.is_first_set and predict.is_done(job.folder, job.predictions_key)
    }
    baselines = [(jobs.baseline_of(job.setup).built.id, job.runtime) for job in untimed.values()]
    timed_frames: dict[InputSpec, NDArray[np.uint8]] = {}
    first_of, subjects = jobs.first_of, {}
    for variant, runtime in dict.fromkeys([*baselines, *(job.executable for job in untimed.values())]):
        if job := evaluated.get(variant):
            setup, indices = job.setup, job.setup.frames["test"].sample_evenly(TIMED_FRAMES)
            if setup.spec not in timed_frames:
                frames = [setup.frames["test"].frames[index] for index in indices]
                timed_frames[setup.spec] = next(setup.read(frames, setup.spec, len(frames)))
            load = runtimes.find(runtime).load
            subjects[variant, runtime] = timing.Subject(
                partial(load, job.built, setup.device, setup.threads, tf32=setup.settings.tf32),
                store.read_logits(job.folder)[indices],
                timed_frames[setup.spec],
                first_of[variant].title,
            )
    return subjects


def _store(timings: timing.Timings[Executable], jobs: Jobs, untimed: Mapping[ResultKey, Job]) -> None:
    """Store the samples of each variant, and beside them its baseline's in the same runtime."""
    for job in untimed.values():
        if timed := timings.times.get(job.executable):
            beside = timings.times.get((jobs.baseline_of(job.setup).built.id, job.runtime))
            store.write_timed(
                job.times_folder,
                job.timing_key,
                store.SessionTimes(
                    timed.executed, timed.measurements, beside.measurements if beside else (), timings.conditions
                ),
            )
