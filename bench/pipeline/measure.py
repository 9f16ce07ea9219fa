"""Second and third stage: build the variants, evaluate and time them; what fails becomes a row that says why."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeAlias

from bench import datasets, runtimes
from bench.errors import UserError
from bench.pipeline.plan import Plan
from bench.provenance import digest, machine, version, versions
from bench.records import (
    LABELLED_SPLITS,
    BatchReader,
    Built,
    Footprint,
    FrameSet,
    OnEvent,
    Run,
    SplitSummary,
    VariantResult,
)
from bench.results import predict, store, timing
from bench.variants import build, steps

log = logging.getLogger("bench")

Executable: TypeAlias = tuple[str, str]
"""An artifact's id and the runtime that executes it."""


def build_variants(plan: Plan, on_event: OnEvent) -> tuple[dict[str, Built], dict[str, str]]:
    """The artifacts of all variants, and for those that could not be built the reason."""
    reader = _reader(plan.threads)
    shop = build.Workshop(
        plan.base / "variants", plan.frames, reader, plan.device, plan.threads, plan.settings.seed, on_event
    )
    built: dict[str, Built] = {}
    failed: dict[str, str] = {}
    for name, chain in plan.chains.items():
        try:
            built[name] = build.build(name, plan.source, chain, shop)
        except Exception as error:
            # Weights that cannot be used are bad input; a step that fails is that variant's outcome.
            if not chain:
                raise
            failed[name] = _reason(f"building {name}", error)
    return built, failed


def _reason(doing: str, error: Exception) -> str:
    log.error("%s failed", doing, exc_info=error)
    text = str(error).strip() or type(error).__name__
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


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


def measure_variants(plan: Plan, built: dict[str, Built], failed: dict[str, str], on_event: OnEvent) -> Run:
    """Evaluate and time every variant that has no results yet; what fails becomes a row with its reason."""
    jobs = {name: _job(plan, name, artifact) for name, artifact in built.items()}
    unpredicted = {n: job for n, job in jobs.items() if not predict.is_done(job.folder, job.predictions_key)}
    untimed = {n: job for n, job in jobs.items() if store.read_timed(job.folder, job.timing_key) is None}
    baseline = jobs[next(iter(plan.chains))].built
    wanted = {(job.built.id, job.runtime): job.built for job in (unpredicted | untimed).values()}
    # A speed-up is against the baseline in the same runtime, timed in the same session.
    wanted |= {(baseline.id, job.runtime): baseline for job in untimed.values()}
    sessions, problems = _open(wanted, plan)
    failed = failed | {n: problems[job.executable] for n, job in jobs.items() if job.executable in problems}
    failed |= _predict(plan, {n: job for n, job in unpredicted.items() if n not in failed}, sessions, on_event)
    _time(plan, {n: job for n, job in untimed.items() if n not in failed}, baseline.id, sessions, on_event)
    return _summary(plan, jobs, failed)


def _job(plan: Plan, name: str, built: Built) -> Job:
    runtime = runtimes.choose(plan.settings.runtime, built.kind, plan.device)
    executed = {
        "variant": built.id,
        "spec": asdict(plan.spec),
        "runtime": runtime,
        "device": plan.device,
        "libraries": versions(runtimes.find(runtime).LIBRARIES),
    }
    labelled = {split: plan.frames[split].digest for split in LABELLED_SPLITS if split in plan.frames}
    timing = {"machine": machine(), "threads": plan.threads, "seconds": plan.settings.timing.seconds}
    return Job(built, runtime, plan.results / name, digest({**executed, "frames": labelled}), digest(executed | timing))


def _open(
    wanted: Mapping[Executable, Built], plan: Plan
) -> tuple[dict[Executable, runtimes.Session], dict[Executable, str]]:
    """Load artifacts; for those that cannot be loaded, the reason."""
    sessions: dict[Executable, runtimes.Session] = {}
    problems: dict[Executable, str] = {}
    for key, built in wanted.items():
        try:
            sessions[key] = runtimes.find(key[1]).load(built, plan.device, plan.threads)
        except Exception as error:
            problems[key] = _reason(f"loading {key[0]} into {key[1]}", error)
    return sessions, problems


def _predict(
    plan: Plan, jobs: Mapping[str, Job], sessions: Mapping[Executable, runtimes.Session], on_event: OnEvent
) -> dict[str, str]:
    """Evaluate variants, every frame decoded once; for those that fail, the reason."""
    if not jobs:
        return {}
    pending = [
        predict.Pending(name, job.predictions_key, job.folder, sessions[job.executable]) for name, job in jobs.items()
    ]
    splits = [plan.frames[split] for split in LABELLED_SPLITS if split in plan.frames]
    rows = [predict.Labelled(frames.split, frame) for frames in splits for frame in frames.frames]
    problems = predict.predict(pending, rows, plan.spec, _reader(plan.threads), on_event)
    return {name: _reason(f"evaluating {name}", error) for name, error in problems.items()}


def _time(
    plan: Plan,
    jobs: Mapping[str, Job],
    baseline: str,
    sessions: Mapping[Executable, runtimes.Session],
    on_event: OnEvent,
) -> None:
    """Time variants and the baseline beside them in one session, and store the samples."""
    keys = {job.executable for job in jobs.values()} | {(baseline, job.runtime) for job in jobs.values()}
    timed = {key: session for key, session in sessions.items() if key in keys}
    if not timed:
        return
    frames = next(_reader(plan.threads)(plan.frames["test"].frames[:16], plan.spec, 16))
    samples = timing.measure(timed, frames, plan.settings.timing.seconds, on_event)
    for job in jobs.values():
        executed = sessions[job.executable].executed
        found = store.Timed(executed, samples[job.executable], samples.get((baseline, job.runtime), ()))
        store.write_timed(job.folder, job.timing_key, found)


def _reader(threads: int) -> BatchReader:
    return partial(datasets.read_batches, threads=threads)


def _summary(plan: Plan, jobs: Mapping[str, Job], failed: Mapping[str, str]) -> Run:
    return Run(
        experiment=plan.name,
        detector=plan.settings.detector,
        architecture=plan.source.architecture,
        preprocessing=plan.source.preprocessing,
        threshold=plan.settings.threshold,
        gallery_top=plan.settings.gallery.top,
        gallery_heatmaps=plan.settings.gallery.heatmaps,
        frames={split: _split_summary(frames, plan.base) for split, frames in plan.frames.items()},
        variants=tuple(_row(name, chain, jobs.get(name), failed.get(name)) for name, chain in plan.chains.items()),
        provenance=_provenance(plan),
    )


def _row(name: str, chain: Sequence[steps.Use], job: Job | None, reason: str | None) -> VariantResult:
    spelled = tuple(use.text for use in chain)
    if job is None or reason is not None:
        return VariantResult(name, job.built.id if job else "", spelled, "failed", reason)
    timed = store.read_timed(job.folder, job.timing_key)
    assert timed is not None
    return VariantResult(
        name=name,
        id=job.built.id,
        steps=spelled,
        status="ok",
        reason=None,
        footprint=Footprint(job.built.size_bytes, job.built.parameters, job.built.macs),
        executed=timed.executed,
        measurements=timed.measurements,
        baseline=timed.baseline,
        notes=(f"its last step took {job.built.seconds:.0f} s",) if chain else (),
    )


def _split_summary(frames: FrameSet, base: Path) -> SplitSummary:
    first = frames.frames[0]
    # A frame's path is relative to its split's folder.
    root = first.file.parents[first.path.count("/")]
    return SplitSummary(
        root=os.path.relpath(root, base),
        count=len(frames.frames),
        fake=frames.fake,
        real=frames.real,
        sources=len({frame.source for frame in frames.frames if frame.source is not None}),
        digest=frames.digest,
    )


def _provenance(plan: Plan) -> dict[str, str]:
    libraries = ("torch", "timm", "torch-pruning", "onnx", "onnxruntime", "numpy", "opencv-python-headless", "pillow")
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "bench": version("bench"),
        "weights": f"{plan.detector.weights} (SHA-256 {plan.source.digest})",
        **{f"{split} frames": f"{len(f.frames)} (digest {f.digest})" for split, f in plan.frames.items()},
        "seed": str(plan.settings.seed),
        "threads": str(plan.threads),
        "machine": "; ".join(f"{key}: {value}" for key, value in machine().items()),
        "libraries": ", ".join(f"{name} {found}" for name, found in versions(libraries).items()),
    }
