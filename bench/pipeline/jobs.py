"""What executes each built variant, and the keys of its predictions and of its times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from bench import datasets, runtimes
from bench.errors import UserError
from bench.pipeline import fidelity
from bench.pipeline.prepared import Setup
from bench.provenance import cuda_devices, digest, machine, versions
from bench.records import Built, Executed, ResultKey, as_inputs
from bench.results import predict, store, timing
from bench.variants import ids

Executable: TypeAlias = tuple[str, str]
"""An artifact's id and the runtime that executes it."""


@dataclass(frozen=True)
class Job:
    """A built variant on a frame set, with the runtime that will execute it, and the keys of what that gives.

    Its predictions lie in `folder`, its times in `times_folder`.
    """

    setup: Setup
    variant: str
    built: Built
    runtime: str
    folder: Path
    times_folder: Path
    predictions_key: str
    timing_key: str

    @property
    def executable(self) -> Executable:
        return self.built.id, self.runtime

    @property
    def title(self) -> str:
        return self.setup.title(self.variant)

    @property
    def result_title(self) -> str:
        return self.setup.result_title(self.variant)


@dataclass(frozen=True)
class Jobs:
    """The jobs of the variants that were built, and for each variant that failed so far the reason."""

    by_key: Mapping[ResultKey, Job]
    failed: Mapping[ResultKey, str]

    @property
    def unfailed(self) -> dict[ResultKey, Job]:
        return {key: job for key, job in self.by_key.items() if key not in self.failed}

    @property
    def first_of(self) -> dict[str, Job]:
        """The first job of each artifact, by the artifact's id: several variants may share one."""
        return {job.built.id: job for job in reversed(list(self.by_key.values()))}

    def baseline_of(self, setup: Setup) -> Job:
        """The job of what the variants of a detector are compared with on a frame set."""
        return self.by_key[setup.key(setup.baseline)]

    def and_failed(self, reasons: Mapping[ResultKey, str]) -> Jobs:
        return replace(self, failed={**self.failed, **reasons})


def due_for_timing(jobs: Jobs) -> dict[ResultKey, Job]:
    """The jobs that this run is to time."""
    return {
        key: job
        for key, job in jobs.unfailed.items()
        if job.variant in job.setup.selected and is_time_due(job.setup, job.times_folder, job.timing_key)
    }


def executed(job: Job) -> Executed | None:
    """What executes a variant, as far as it was timed or evaluated."""
    timed = store.read_timed(job.times_folder, job.timing_key)
    return timed.executed if timed else predict.read_executed(job.folder, job.predictions_key)


def job_of(setup: Setup, variant: str, built: Built) -> Job:
    runtime, predictions_key, timing_key = keys(setup, built.id, built.kind, built, imported=variant in setup.imported)
    folder, times_folder = setup.results / variant, setup.times_folder / variant
    return Job(setup, variant, built, runtime, folder, times_folder, predictions_key, timing_key)


def keys(
    setup: Setup, variant: str, kind: str, built: Built | None = None, *, imported: bool = False
) -> tuple[str, str, str]:
    """For an artifact's id and kind: the runtime that executes it, the keys of its predictions and of its times.

    `built` is the artifact where it is there, `imported` whether it was made elsewhere.
    """
    runtime, predictions, times = inputs(setup, variant, kind, built, imported=imported)
    return runtime, digest(predictions), digest(times)


def inputs(
    setup: Setup, variant: str, kind: str, built: Built | None = None, *, imported: bool = False
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The runtime, and what the two keys are the digests of, as JSON values."""
    runtime = runtimes.choose(setup.settings.runtime, kind, setup.device)
    by = runtimes.find(runtime)
    executed: dict[str, Any] = {
        "variant": variant,
        "spec": as_inputs(setup.spec),
        "runtime": runtime,
        "device": setup.device,
        "libraries": versions(by.LIBRARIES),
        "versions": dict(by.VERSIONS),
        "decoded by": datasets.decoder_versions(),
    }
    if setup.device == "cuda":
        # Which kernels there are, and whether TF32 is among them, is a matter of the GPU's model.
        executed |= {"tf32": setup.settings.tf32, "gpu": cuda_devices()[:1]}
    if built is not None:
        # The same id may be built again to other bits, where another number of threads was free.
        executed["content"] = built.digest
        if (arithmetic := fidelity.arithmetic(setup, built, runtime)) is not None:
            executed["arithmetic"] = arithmetic
    digests = {split: frames.digest for split, frames in setup.labelled.items()}
    timed = {
        "version": timing.VERSIONS[setup.device],
        "machine": machine(),
        "threads": setup.threads,
        "seconds": setup.settings.timing.seconds,
    }
    if imported:
        # Beside which baseline it was timed, the ids of others tell; its own is of no detector.
        timed["beside"] = ids.of_weights(setup.source)
    return runtime, {**executed, "frames": digests}, executed | timed


def is_timed(folder: Path, key: str) -> bool:
    """Without the baseline beside it, a time compares with nothing: it is taken again."""
    timed = store.read_timed(folder, key)
    return timed is not None and len(timed.baseline) > 0


def is_time_due(setup: Setup, folder: Path, key: str) -> bool:
    """Whether this run times a variant anyway, or since that was not done yet; on one frame set alone."""
    is_due = setup.timing == "again" or (setup.timing == "due" and not is_timed(folder, key))
    return is_due and setup.is_first_set


def refuse_changed(jobs: Jobs) -> None:
    """Raise `UserError` where another run with other settings has replaced the results of this one."""
    for job in jobs.unfailed.values():
        is_evaluated = predict.is_done(job.folder, job.predictions_key) and executed(job) is not None
        setup = job.setup
        needs_times = job.variant in setup.selected and setup.is_first_set and setup.timing != "none"
        if not is_evaluated or (needs_times and store.read_timed(job.times_folder, job.timing_key) is None):
            raise UserError(
                f"{job.folder}: another run, with other settings, frames or weights, wrote its results here while this "
                "one took times: run the same command again when that one is done"
            )
