"""What executes each built variant, and the keys of its predictions and of its times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from bench import datasets, runtimes
from bench.errors import UserError
from bench.pipeline import fidelity
from bench.pipeline.prepare import Prepared
from bench.provenance import cuda_devices, digest, machine, versions
from bench.records import Built, Executed
from bench.results import predict, store, timing

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


@dataclass(frozen=True)
class Jobs:
    """The jobs of the variants that were built, by name, and for each variant that failed so far the reason."""

    by_variant: Mapping[str, Job]
    failed: Mapping[str, str]

    @property
    def unfailed(self) -> dict[str, Job]:
        return {name: job for name, job in self.by_variant.items() if name not in self.failed}

    @property
    def variant_of(self) -> dict[str, str]:
        """The name of the first variant that each artifact belongs to, by the artifact's id."""
        return {job.built.id: name for name, job in reversed(list(self.by_variant.items()))}

    def and_failed(self, reasons: Mapping[str, str]) -> Jobs:
        return replace(self, failed={**self.failed, **reasons})


def due_for_timing(prepared: Prepared, jobs: Jobs) -> dict[str, Job]:
    """The jobs that this run is to time."""
    return {
        name: job
        for name, job in jobs.unfailed.items()
        if name in prepared.selected and is_time_due(prepared, job.folder, job.timing_key)
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
    digests = {split: frames.digest for split, frames in prepared.labelled.items()}
    timed = {
        "version": timing.VERSIONS[prepared.device],
        "machine": machine(),
        "threads": prepared.threads,
        "seconds": prepared.settings.timing.seconds,
    }
    return runtime, {**executed, "frames": digests}, executed | timed


def is_timed(folder: Path, key: str) -> bool:
    """Without the baseline beside it, a time compares with nothing: it is taken again."""
    timed = store.read_timed(folder, key)
    return timed is not None and len(timed.baseline) > 0


def is_time_due(prepared: Prepared, folder: Path, key: str) -> bool:
    """Whether this run times a variant anyway, or since that was not done yet."""
    return prepared.timing == "again" or (prepared.timing == "due" and not is_timed(folder, key))


def refuse_changed(prepared: Prepared, jobs: Jobs) -> None:
    """Raise `UserError` where another run with other settings has replaced the results of this one."""
    for name, job in jobs.unfailed.items():
        is_evaluated = predict.is_done(job.folder, job.predictions_key) and executed(job) is not None
        needs_times = name in prepared.selected and prepared.timing != "none"
        if not is_evaluated or (needs_times and store.read_timed(job.folder, job.timing_key) is None):
            raise UserError(
                f"{job.folder}: another run, with other settings, frames or weights, wrote its results here while this "
                "one took times: run the same command again when that one is done"
            )
