"""Evaluate some of an experiment's shards: each frame is decoded once, each variant loaded once, nobody waited for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from bench import datasets, locks, phases
from bench.pipeline import degrade, journal
from bench.pipeline.evaluate import LOADING, load_session, work_on
from bench.pipeline.jobs import Executable, Job
from bench.pipeline.sharding.appearances import Appearances
from bench.pipeline.sharding.passes import Pass, Target
from bench.pipeline.sharding.records import folder_of
from bench.records import Event, OnEvent, Session
from bench.results import predict
from bench.variants import cache


class Evaluator:
    """Evaluates shards with sessions that stay loaded; `failed` says why of what failed, by its title with the set.

    `note` is the name of the files in which it notes its batch sizes: that of no other process.
    """

    def __init__(self, note: str, on_event: OnEvent) -> None:
        self._note, self._on_event = note, on_event
        self._sessions: dict[Executable, Session] = {}
        self._unloaded: dict[Executable, str] = {}
        self.failed: dict[str, str] = {}

    def evaluate(self, of: Pass, lows: Sequence[int]) -> None:
        """Write those of the shards that are missing; what failed before is left out."""
        due = [target for target in of.targets if not self._has_failed(target) and target.missing(lows)]
        pending = [target.pending(session) for target in due if (session := self._session(target))]
        if not pending:
            return
        setup = of.setup
        appearances = Appearances(folder_of(setup.base / "results" / setup.name), setup.frames["test"].digest, of.rows)
        work = degrade.work_on(setup) if of.is_degraded else work_on(setup)
        errors, _ = predict.fill(
            pending,
            of.rows,
            lows,
            partial(datasets.read_for_each, threads=setup.threads, look=None if of.is_degraded else appearances.keep),
            self._on_event,
            work,
            note=self._note,
            before_shard=None if of.is_degraded else appearances.write,
        )
        for target in due:
            if error := errors.get(target.title):
                self.failed[target.result_title] = journal.failure(f"evaluating {target.result_title}", error)

    def _has_failed(self, target: Target) -> bool:
        """Whether it failed before, or its variant did on the frames as they are."""
        return target.result_title in self.failed or target.job.result_title in self.failed

    def _session(self, target: Target) -> Session | None:
        """The loaded variant; None where it can't be loaded, which then is its failure."""
        job = target.job
        if job.executable not in self._sessions and job.executable not in self._unloaded:
            try:
                with phases.of(LOADING, self._on_event, job.title):
                    self._sessions[job.executable] = _load(job, self._on_event)
            except Exception as error:
                variant, runtime = job.executable
                self._unloaded[job.executable] = journal.failure(f"loading {variant} into {runtime}", error)
        if reason := self._unloaded.get(job.executable):
            self.failed[job.result_title] = reason
        return self._sessions.get(job.executable)


def _load(job: Job, on_event: OnEvent) -> Session:
    """Load an artifact. What its runtime makes beside it is made by one process, for which others wait.

    Once that is there, nobody waits: hundreds of processes may load one artifact at once. Where another process that
    has another secret replaces these files meanwhile, loading fails, and is tried again in turn.
    """
    on_event(Event(LOADING, 0, 0, "", f"{job.title}: loading"))
    if any(job.built.file.parent.glob(f"{job.built.file.stem}.*.seal")):
        try:
            return load_session(job)
        except Exception as error:
            on_event(Event(f"loading {job.title} again: {error}", 1, 1, "note"))
    lock, doing = cache.lock_file(job.setup.variants, job.built.id), f"exporting {job.built.id} of {job.setup.name}"
    with locks.held(lock, doing, on_event, folder=job.setup.base, why=cache.WHY_WAIT):
        return load_session(job)
