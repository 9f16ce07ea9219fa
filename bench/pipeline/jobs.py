"""What executes each built variant, and the keys of its predictions and of its times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from bench import datasets, runtimes
from bench.pipeline import fidelity
from bench.pipeline.prepare import Prepared
from bench.provenance import cuda_devices, digest, machine, versions
from bench.records import (
    LABELLED_SPLITS,
    Built,
    Executed,
)
from bench.results import predict, store, timing

if TYPE_CHECKING:
    pass


Executable: TypeAlias = tuple[str, str]
"""An artifact's id and the runtime that executes it."""


@dataclass(frozen=True)
class Job:
    """A built variant with the runtime that will execute it, and the keys of what that gives."""

    built: Built
    runtime: str
    folder: Path
    predictions_key: str
    timing_key: str

    @property
    def executable(self) -> Executable:
        return self.built.id, self.runtime


def due_for_timing(prepared: Prepared, jobs: Mapping[str, Job]) -> dict[str, Job]:
    """What is to be timed."""
    return {
        n: job for n, job in jobs.items() if n in prepared.wanted and is_time_due(prepared, job.folder, job.timing_key)
    }


def executed(job: Job) -> Executed | None:
    """What executes a variant, as far as it was timed or evaluated."""
    timed = store.read_timed(job.folder, job.timing_key)
    return timed.executed if timed else predict.read_executed(job.folder, job.predictions_key)


def job_of(prepared: Prepared, name: str, built: Built) -> Job:
    runtime, predictions_key, timing_key = keys(prepared, built.id, built.kind, built)
    return Job(built, runtime, prepared.results / name, predictions_key, timing_key)


def keys(prepared: Prepared, variant: str, kind: str, built: Built | None = None) -> tuple[str, str, str]:
    """For an artifact's id and kind: the runtime that executes it, the keys of its predictions and of its times.

    `built` is the artifact where it is there.
    """
    runtime, predictions, times = inputs(prepared, variant, kind, built)
    return runtime, digest(predictions), digest(times)


def inputs(
    prepared: Prepared, variant: str, kind: str, built: Built | None = None
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The runtime, and what the two keys are the digests of, as JSON values."""
    runtime = runtimes.choose(prepared.settings.runtime, kind, prepared.device)
    by = runtimes.find(runtime)
    executed: dict[str, Any] = {
        "variant": variant,
        "spec": asdict(prepared.spec),
        "runtime": runtime,
        "device": prepared.device,
        "libraries": versions(by.LIBRARIES),
        "versions": dict(by.VERSIONS),
        "decoded by": datasets.decoder_versions(),
    }
    if prepared.device == "cuda":
        # Which kernels there are, and whether TF32 is among them, is a matter of the GPU's model.
        executed |= {"tf32": prepared.settings.tf32, "gpu": cuda_devices()[:1]}
    if built is not None:
        # The same id may be built again to other bits, where another number of threads was free.
        executed["content"] = built.digest
        if (arithmetic := fidelity.arithmetic(prepared, built, runtime)) is not None:
            executed["arithmetic"] = arithmetic
    labelled = {split: prepared.frames[split].digest for split in LABELLED_SPLITS if split in prepared.frames}
    timed = {
        "version": timing.VERSIONS[prepared.device],
        "machine": machine(),
        "threads": prepared.threads,
        "seconds": prepared.settings.timing.seconds,
    }
    return runtime, {**executed, "frames": labelled}, executed | timed


def is_timed(folder: Path, key: str) -> bool:
    """Without the baseline beside it, a time compares with nothing: it is taken again."""
    timed = store.read_timed(folder, key)
    return timed is not None and len(timed.baseline) > 0


def is_time_due(prepared: Prepared, folder: Path, key: str) -> bool:
    """Whether this run times a variant anyway, or since that was not done yet."""
    return prepared.timing == "again" or (prepared.timing == "due" and not is_timed(folder, key))


def names_by_artifact(jobs: Mapping[str, Job]) -> dict[str, str]:
    """By artifact, what the first variant that it belongs to is called."""
    return {job.built.id: name for name, job in reversed(list(jobs.items()))}
