"""Judge variants again on re-compressed test frames: at the end of the third stage, while variants are loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from bench import datasets
from bench.pipeline import journal
from bench.pipeline.degraded import folder_of, frames_left, key_of
from bench.pipeline.jobs import Job, Jobs
from bench.pipeline.prepared import Prepared, Setup
from bench.records import DegradedSpec, OnEvent, Session
from bench.results import predict

WORK = "re-compressed frames"


def degrade(prepared: Prepared, jobs: Jobs, session_of: Callable[[Job], Session], on_event: OnEvent) -> None:
    """Predict for the test frames of every set at each level that a selected variant lacks.

    A frame is decoded once for all levels and variants. A level with which that fails lacks its numbers alone; the
    run's log says why.
    """
    for setups in prepared.by_frame_set.values():
        due = [job for job in jobs.unfailed.values() if job.setup in setups and job.variant in job.setup.selected]
        pending = [level for job in due for level in _pending(job, session_of)]
        if not pending:
            continue
        rows = [predict.FrameRow("test", frame) for frame in setups[0].frames["test"].frames]
        read = partial(datasets.read_for_each, threads=setups[0].threads)
        for name, error in predict.predict(pending, rows, read, on_event, work_on(setups[0])).items():
            journal.failure(f"evaluating {name}{setups[0].on_frames}", error)


def work_on(setup: Setup) -> str:
    """What this work on a frame set is called in events."""
    return f"{WORK}{setup.on_frames}:"


def _pending(job: Job, session_of: Callable[[Job], Session]) -> Sequence[predict.Pending]:
    """The levels that a variant lacks; none where it can't be loaded."""
    levels = frames_left(job.setup, job.folder, job.predictions_key)
    if not levels:
        return []
    try:
        session = session_of(job)
    except Exception as error:
        journal.failure(f"loading {job.result_title} for {WORK}", error)
        return []
    return [
        predict.Pending(
            f"{job.title} under {degradation.title}",
            key_of(job.predictions_key, degradation),
            folder_of(job.folder, degradation),
            session,
            DegradedSpec(job.setup.spec, degradation),
            maps=False,
        )
        for degradation in levels
    ]
