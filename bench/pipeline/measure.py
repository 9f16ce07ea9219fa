"""Second and third stage: build the variants, evaluate and time them; what fails becomes a row that says why."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Collection, Mapping, Sequence
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
    Event,
    Footprint,
    FrameSet,
    OnEvent,
    Run,
    SplitSummary,
    VariantResult,
)
from bench.results import predict, store, timing
from bench.variants import build, steps

FAILURES = "failures.log"

Executable: TypeAlias = tuple[str, str]
"""An artifact's id and the runtime that executes it."""


def build_variants(plan: Plan, on_event: OnEvent) -> tuple[dict[str, Built], dict[str, str]]:
    """The artifacts of all variants, and for those that could not be built the reason."""
    shop = build.Workshop(
        folder=plan.base / "variants",
        frames=plan.frames,
        read=_reader(plan.threads),
        decoder=_decoder(),
        device=plan.device,
        threads=plan.threads,
        seed=plan.settings.seed,
        on_event=on_event,
    )
    built: dict[str, Built] = {}
    failed: dict[str, str] = {}
    for name, chain in plan.chains.items():
        if name not in plan.wanted and not build.is_built(shop.folder, build.ids(plan.source, chain, shop)[-1]):
            continue
        try:
            built[name] = build.build(name, plan.source, chain, shop)
        except Exception as error:
            # Weights that cannot be used are bad input; a step that fails is that variant's outcome.
            if not chain:
                raise
            failed[name] = _reason(plan, f"building {name}", error)
    return built, failed


def _decoder() -> dict[str, str]:
    """What turns files into pixels, for ids and keys."""
    return {"version": str(datasets.VERSION), **versions(datasets.LIBRARIES)}


def _reason(plan: Plan, doing: str, error: Exception) -> str:
    """What the report says of a failure; the traceback goes into a file, for whoever mends it."""
    text = str(error).strip() or type(error).__name__
    if isinstance(error, UserError):
        return text
    plan.results.mkdir(parents=True, exist_ok=True)
    with (plan.results / FAILURES).open("a", encoding="utf-8") as file:
        file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {doing}\n")
        file.writelines(traceback.format_exception(error))
    return f"{type(error).__name__}: {text}"


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
    untimed = {n: job for n, job in jobs.items() if not _is_timed(job)}
    # Of the variants that were not asked for, those are shown whose results are there.
    for name in (unpredicted.keys() | untimed.keys()) - plan.wanted:
        for some in (jobs, unpredicted, untimed):
            some.pop(name, None)
    baseline = jobs[next(iter(plan.chains))].built
    wanted = {(job.built.id, job.runtime): job.built for job in (unpredicted | untimed).values()}
    # A speed-up is against the baseline in the same runtime, timed in the same session.
    wanted |= {(baseline.id, job.runtime): baseline for job in untimed.values()}
    sessions, problems = _open(wanted, plan, on_event)
    failed = failed | {n: problems[job.executable] for n, job in jobs.items() if job.executable in problems}
    failed |= _predict(plan, {n: job for n, job in unpredicted.items() if n not in failed}, sessions, on_event)
    failed |= _time(plan, {n: job for n, job in untimed.items() if n not in failed}, baseline.id, sessions, on_event)
    return _summary(plan, jobs, failed)


def _job(plan: Plan, name: str, built: Built) -> Job:
    runtime = runtimes.choose(plan.settings.runtime, built.kind, plan.device)
    executed = {
        "variant": built.id,
        "spec": asdict(plan.spec),
        "runtime": runtime,
        "device": plan.device,
        "libraries": versions(runtimes.find(runtime).LIBRARIES),
        "decoded by": _decoder(),
    }
    labelled = {split: plan.frames[split].digest for split in LABELLED_SPLITS if split in plan.frames}
    timed = {
        "version": timing.VERSION,
        "machine": machine(),
        "threads": plan.threads,
        "seconds": plan.settings.timing.seconds,
    }
    return Job(built, runtime, plan.results / name, digest({**executed, "frames": labelled}), digest(executed | timed))


def _is_timed(job: Job) -> bool:
    """Without the baseline beside it, a time compares with nothing: it is taken again."""
    timed = store.read_timed(job.folder, job.timing_key)
    return timed is not None and len(timed.baseline) > 0


def _open(
    wanted: Mapping[Executable, Built], plan: Plan, on_event: OnEvent
) -> tuple[dict[Executable, runtimes.Session], dict[Executable, str]]:
    """Load artifacts; for those that cannot be loaded, the reason."""
    sessions: dict[Executable, runtimes.Session] = {}
    problems: dict[Executable, str] = {}
    for done, (key, built) in enumerate(wanted.items()):
        on_event(Event("exporting and loading", done, len(wanted), "variants"))
        try:
            sessions[key] = runtimes.find(key[1]).load(built, plan.device, plan.threads)
        except Exception as error:
            problems[key] = _reason(plan, f"loading {key[0]} into {key[1]}", error)
        on_event(Event("exporting and loading", done + 1, len(wanted), "variants"))
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
    return {name: _reason(plan, f"evaluating {name}", error) for name, error in problems.items()}


def _time(
    plan: Plan,
    jobs: Mapping[str, Job],
    baseline: str,
    sessions: Mapping[Executable, runtimes.Session],
    on_event: OnEvent,
) -> dict[str, str]:
    """Time variants and the baseline beside them in one session, and store the samples; returned is what failed."""
    keys = {job.executable for job in jobs.values()} | {(baseline, job.runtime) for job in jobs.values()}
    timed = {key: session for key, session in sessions.items() if key in keys}
    if not timed:
        return {}
    frames = next(_reader(plan.threads)(plan.frames["test"].frames[:16], plan.spec, 16))
    samples, problems = timing.measure(timed, frames, plan.settings.timing.seconds, on_event)
    failed = {
        n: _reason(plan, f"timing {n}", problems[j.executable]) for n, j in jobs.items() if j.executable in problems
    }
    for name, job in jobs.items():
        if name not in failed:
            beside = () if (baseline, job.runtime) in problems else samples.get((baseline, job.runtime), ())
            found = store.Timed(sessions[job.executable].executed, samples[job.executable], beside)
            store.write_timed(job.folder, job.timing_key, found)
    return failed


def _reader(threads: int) -> BatchReader:
    return partial(datasets.read_batches, threads=threads)


def _summary(plan: Plan, jobs: Mapping[str, Job], failed: Mapping[str, str]) -> Run:
    shown = {name: chain for name, chain in plan.chains.items() if name in jobs or name in failed}
    return Run(
        experiment=plan.name,
        detector=plan.settings.detector,
        architecture=plan.source.architecture,
        preprocessing=plan.source.preprocessing,
        threshold=plan.settings.threshold,
        gallery_top=plan.settings.gallery.top,
        gallery_heatmaps=plan.settings.gallery.heatmaps,
        frames={split: _split_summary(frames, plan.base) for split, frames in plan.frames.items()},
        variants=tuple(_row(name, chain, jobs.get(name), failed.get(name)) for name, chain in shown.items()),
        provenance=_provenance(plan),
        warnings=_remarks(plan, shown),
    )


def _remarks(plan: Plan, shown: Collection[str]) -> tuple[str, ...]:
    """What a reader must know before the numbers."""
    remarks = []
    if plan.detector.weights == "demo":
        remarks.append(
            "The demo detector knows drawings, not people: its numbers say nothing about any other detector."
        )
    left_out = [name for name in plan.settings.variants if name not in shown]
    if left_out:
        remarks.append(f"Not shown, since they have no results for these frames yet: {', '.join(left_out)}.")
    return tuple(remarks)


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
        predictions_key=job.predictions_key,
        notes=(f"its last step took {job.built.seconds:.0f} s",) if chain else (),
    )


def _split_summary(frames: FrameSet, base: Path) -> SplitSummary:
    first = frames.frames[0]
    # A frame's path is relative to its split's folder.
    root = first.file.parents[first.path.count("/")]
    return SplitSummary(
        root=_relative(root, base),
        count=len(frames.frames),
        fake=frames.fake,
        real=frames.real,
        sources=len({frame.source for frame in frames.frames if frame.source is not None}),
        digest=frames.digest,
    )


def _relative(path: Path, base: Path) -> str:
    """`path` as seen from the experiment file; as it is where no way leads there (another Windows drive)."""
    try:
        return Path(os.path.relpath(path, base)).as_posix()
    except ValueError:
        return path.as_posix()


def _provenance(plan: Plan) -> dict[str, str]:
    libraries = ("torch", "timm", "torch-pruning", "onnx", "onnxruntime", "numpy", "opencv-python-headless", "pillow")
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "bench": version("bench"),
        "weights": f"{plan.detector.weights} (SHA-256 {plan.source.digest})",
        "seed": str(plan.settings.seed),
        "threads": str(plan.threads),
        "machine": "; ".join(f"{key}: {value}" for key, value in machine().items()),
        "libraries": ", ".join(f"{name} {found}" for name, found in versions(libraries).items()),
    }
