"""Third stage: evaluate the variants on the labelled frames, as they are and re-compressed, and blur regions of those
that galleries will show.

One that fails does not stop the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import datasets, locks, phases, runtimes
from bench.pipeline import calibration_shift, face_points, fidelity, former, journal, masks
from bench.pipeline.build import BuiltVariants
from bench.pipeline.degrade import degrade
from bench.pipeline.jobs import Executable, Job, Jobs, due_for_timing, executed, job_of
from bench.pipeline.occlude import occlude
from bench.pipeline.prepared import Prepared, Setup
from bench.records import Built, Event, Frame, OnEvent, ResultKey, Session
from bench.results import appearance, predict, store
from bench.results.appearance import APPEARANCE
from bench.variants import cache

LOADING = "exporting and loading"


@dataclass(frozen=True)
class _Gaps:
    """What the stored results of a variant lack before they can be shown."""

    predictions: bool
    fidelity: bool
    execution: bool
    clipping: bool

    @property
    def of_results(self) -> bool:
        """Whether a report can't show the variant."""
        return self.predictions or self.fidelity or self.execution

    @property
    def any(self) -> bool:
        return self.of_results or self.clipping


def evaluate_variants(
    prepared: Prepared, built: BuiltVariants, on_event: OnEvent, failed: Mapping[ResultKey, str] | None = None
) -> Jobs:
    """Evaluate every selected variant that lacks results; of the others, those with all results stay.

    Two runs of one experiment take turns, and the second one reuses what the first has evaluated. `failed` are the
    reasons of variants that failed elsewhere while their shards were evaluated: they are not tried again.
    """
    with store.locked(prepared.results, f"running {prepared.first.name}", on_event, prepared.folders):
        jobs, gaps = _jobs(prepared, built)
        jobs = jobs.and_failed(failed or {})
        sessions, problems = _open(_executables(jobs, gaps), jobs, on_event)
        jobs = jobs.and_failed(
            {key: problems[job.executable] for key, job in jobs.by_key.items() if job.executable in problems}
        )
        for name, setups in prepared.by_frame_set.items():
            unpredicted = [job for key, job in jobs.unfailed.items() if key.frame_set == name and gaps[key].predictions]
            jobs = jobs.and_failed(_predict(setups[0], unpredicted, sessions, on_event))
            predicted = [job.folder for key, job in jobs.unfailed.items() if key.frame_set == name]
            predict.renew_videos(predicted, rows_of_set(setups[0]))
        for key, job in jobs.unfailed.items():
            if gaps[key].execution and executed(job) is None:
                predict.write_executed(job.folder, sessions[job.executable].executed)

        def session_of(job: Job) -> Session:
            return sessions.get(job.executable) or _load([job], job.runtime, on_event)

        def held(job: Job) -> Session:
            return sessions.setdefault(job.executable, session_of(job))

        degrade(prepared, jobs, held, on_event)
        occlude(prepared, jobs, session_of, on_event)
        masks.fit(prepared, on_event)
        face_points.find(prepared, on_event)
    return jobs


def load_all(prepared: Prepared, built: BuiltVariants, on_event: OnEvent) -> dict[str, str]:
    """Load the selected variants one after the other, so that all is made that loading and comparing them needs once.

    Returns the reasons of those that cannot be loaded, by their titles.
    """
    needed: dict[Executable, list[Job]] = {}
    for setup in prepared.setups:
        for variant in setup.chains:
            if variant in setup.selected and (artifact := built.artifacts.get((setup.detector_name, variant))):
                job = job_of(setup, variant, artifact)
                needed.setdefault(job.executable, []).append(job)
    failed: dict[str, str] = {}
    for done, ((artifact_id, runtime), of_artifact) in enumerate(needed.items()):
        title = of_artifact[0].title
        on_event(Event(LOADING, done, len(needed), "variants", f"{title}: loading"))
        try:
            _load(of_artifact, runtime, on_event)
        except Exception as error:
            reason = journal.failure(f"loading {artifact_id} into {runtime}", error)
            failed |= {job.title: reason for job in of_artifact}
        on_event(Event(LOADING, done + 1, len(needed), "variants"))
    return failed


def _jobs(prepared: Prepared, built: BuiltVariants) -> tuple[Jobs, dict[ResultKey, _Gaps]]:
    """The jobs of all variants that are shown, and what the results of each lack; results are moved to their place."""
    candidates = {
        setup.key(variant): job_of(setup, variant, artifact)
        for setup in prepared.setups
        for variant in setup.chains
        if (artifact := built.artifacts.get((setup.detector_name, variant)))
    }
    former.take_over(candidates.values())
    gaps = {
        key: _Gaps(
            predictions=not predict.is_done(job.folder, job.predictions_key),
            fidelity=fidelity.is_due(job.setup, job.built, job.runtime),
            execution=executed(job) is None,
            clipping=job.variant in job.setup.selected and calibration_shift.is_due(job.setup, job.built),
        )
        for key, job in candidates.items()
    }
    shown = {
        key: job for key, job in candidates.items() if job.variant in job.setup.selected or not gaps[key].of_results
    }
    failed = {
        setup.key(variant): reason
        for setup in prepared.setups
        for variant in setup.chains
        if (reason := built.failed.get((setup.detector_name, variant)))
    }
    return Jobs(shown, failed), gaps


def _executables(jobs: Jobs, gaps: Mapping[ResultKey, _Gaps]) -> dict[Executable, list[Job]]:
    """What must be loaded, with the jobs that need it: variants whose results lack something, and the baseline in each
    runtime that is timed.
    """
    untimed = due_for_timing(jobs)
    needed: dict[Executable, list[Job]] = {}
    for key, job in jobs.unfailed.items():
        if key in untimed or gaps[key].any:
            needed.setdefault(job.executable, []).append(job)
    for job in untimed.values():
        # A speed-up is against the baseline in the same runtime, timed in the same session.
        baseline = jobs.baseline_of(job.setup)
        needed.setdefault((baseline.built.id, job.runtime), [baseline])
    return needed


def _open(
    needed: Mapping[Executable, Sequence[Job]], jobs: Jobs, on_event: OnEvent
) -> tuple[dict[Executable, Session], dict[Executable, str]]:
    """Load artifacts; for those that cannot be loaded, the reason."""
    sessions: dict[Executable, Session] = {}
    problems: dict[Executable, str] = {}
    first_of = jobs.first_of
    for done, ((variant, runtime), of_artifact) in enumerate(needed.items()):
        title = first_of[variant].title
        on_event(Event(LOADING, done, len(needed), "variants", f"{title}: loading"))
        try:
            with phases.of(LOADING, on_event, title):
                sessions[variant, runtime] = _load(of_artifact, runtime, on_event)
        except Exception as error:
            problems[variant, runtime] = journal.failure(f"loading {variant} into {runtime}", error)
        on_event(Event(LOADING, done + 1, len(needed), "variants"))
    return sessions, problems


def _load(jobs: Sequence[Job], runtime: str, on_event: OnEvent) -> Session:
    """Load the artifact of these jobs, and measure its fidelity and what it clips where that was not done yet.

    What a runtime exports beside an artifact, it exports once: another run waits for it at the artifact's lock.
    """
    setup, built = jobs[0].setup, jobs[0].built
    lock, doing = cache.lock_file(setup.variants, built.id), f"exporting {built.id} of {setup.name}"
    with locks.held(lock, doing, on_event, folder=setup.base, why=cache.WHY_WAIT):
        session = load_session(jobs[0], runtime)
        for of_set in {job.setup.frame_set: job.setup for job in jobs}.values():
            _check_fidelity(of_set, built, runtime, session, on_event)
            _check_calibration(of_set, built, on_event)
    return session


def load_session(job: Job, runtime: str = "") -> Session:
    """Load the artifact of a job into a runtime, by default its own. `UserError` where it is not what was built."""
    setup, built, runtime = job.setup, job.built, runtime or job.runtime
    cache.check(built)
    fidelity.refuse_unsettled(built, runtime, setup.device)
    return runtimes.find(runtime).load(built, setup.device, setup.threads, tf32=setup.settings.tf32)


def _check_fidelity(setup: Setup, built: Built, runtime: str, session: Session, on_event: OnEvent) -> None:
    """Scores are worth having where this fails; the report says that it did, the run's log why."""
    try:
        fidelity.check(setup, built, runtime, session, on_event)
    except Exception as error:
        journal.failure(f"comparing {built.id} in {runtime} with its own graph", error)


def _check_calibration(setup: Setup, built: Built, on_event: OnEvent) -> None:
    """Scores are worth having where this fails too."""
    try:
        calibration_shift.check(setup, built, on_event)
    except Exception as error:
        journal.failure(f"{calibration_shift.WORK} of {built.id}{setup.on_frames}", error)


def _predict(
    setup: Setup, jobs: Sequence[Job], sessions: Mapping[Executable, Session], on_event: OnEvent
) -> dict[ResultKey, str]:
    """Evaluate variants on the frame set of `setup`, every frame decoded once; for those that fail, the reason."""
    if not jobs:
        return {}
    pending = [
        predict.Pending(job.title, job.predictions_key, job.folder, sessions[job.executable], job.setup.spec)
        for job in jobs
    ]
    looks: dict[Path, datasets.Appearance] = {}

    def look(frame: Frame, appearance: datasets.Appearance) -> None:
        looks[frame.file] = appearance

    read = partial(datasets.read_for_each, threads=setup.threads, look=look)
    try:
        problems = predict.predict(pending, rows_of_set(setup), read, on_event, work_on(setup))
    finally:
        _write_appearance([job.setup for job in jobs], looks)
    return {
        job.setup.key(job.variant): journal.failure(f"evaluating {job.result_title}", problems[job.title])
        for job in jobs
        if job.title in problems
    }


def _write_appearance(setups: Sequence[Setup], looks: Mapping[Path, datasets.Appearance]) -> None:
    """Store what was measured of test frames while they were decoded, with the results of each detector."""
    test = setups[0].frames["test"]
    names = [frame.path for frame in test.frames]
    of_test = {frame.path: looks[frame.file] for frame in test.frames if frame.file in looks}
    for folder in dict.fromkeys(setup.results for setup in setups) if of_test else ():
        appearance.write(folder / APPEARANCE, test.digest, names, of_test)


def rows_of_set(setup: Setup) -> list[predict.FrameRow]:
    """The labelled frames of a set, in the order of predictions.parquet."""
    return [predict.FrameRow(split, frame) for split, frames in setup.labelled.items() for frame in frames.frames]


def work_on(setup: Setup) -> str:
    """What the evaluation on a frame set is called in events."""
    return f"{predict.WORK}{setup.on_frames}{':' if setup.on_frames else ''}"
