"""What a run found out, put together for the report: a row a variant, what to know before, where it comes from."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.pipeline import fidelity, notes
from bench.pipeline.measure import Job, executed
from bench.pipeline.plan import Plan
from bench.provenance import command, machine, version, versions
from bench.records import Built, Fidelity, Footprint, FrameSet, Run, SplitSummary, VariantResult
from bench.results import attributes, store
from bench.variants.steps import Use

NOT_SHOWN = "Not shown, since they have no results for these frames yet"
NOT_TIMED = "Not timed, so nothing is said of speed"
SEE_LOG = "; the run's log says why"


def summarise(plan: Plan, jobs: Mapping[str, Job], failed: Mapping[str, str]) -> Run:
    """The run's record; a variant that failed is a row that says why."""
    shown = {name: chain for name, chain in plan.chains.items() if name in jobs or name in failed}
    baseline = jobs[next(iter(plan.chains))].built
    rows = tuple(_row(plan, name, chain, jobs.get(name), failed.get(name), baseline) for name, chain in shown.items())
    return Run(
        experiment=plan.name,
        detector=plan.settings.detector,
        architecture=plan.source.architecture,
        preprocessing=plan.source.preprocessing,
        threshold=plan.settings.threshold,
        gallery_top=plan.settings.gallery.top,
        gallery_heatmaps=plan.settings.gallery.heatmaps,
        margin=plan.settings.margin,
        choose=plan.settings.choose.record if plan.settings.choose else None,
        attributes=attributes.digest(plan.frames),
        frames={split: _split_summary(frames, plan.base) for split, frames in plan.frames.items()},
        variants=rows,
        provenance=_provenance(plan) | _gpus(rows),
        warnings=_remarks(plan, shown, [row.name for row in rows if row.status == "ok" and not row.measurements]),
    )


def _remarks(plan: Plan, shown: Collection[str], untimed: Sequence[str]) -> tuple[str, ...]:
    """What a reader must know before the numbers."""
    remarks = list(plan.remarks)
    if plan.detector.weights == "demo":
        remarks.append(
            "The demo detector knows drawings, not people: its numbers say nothing about any other detector."
        )
    if untimed:
        remarks.append(
            f"{NOT_TIMED}: {', '.join(untimed)}; `bench run` without `--no-timing` times "
            f"{'it' if len(untimed) == 1 else 'them'}."
        )
    left_out = [name for name in plan.settings.variants if name not in shown]
    if left_out:
        remarks.append(f"{NOT_SHOWN}: {', '.join(left_out)}.")
    return (*remarks, *plan.of_frames)


def _row(
    plan: Plan, name: str, chain: Sequence[Use], job: Job | None, reason: str | None, baseline: Built
) -> VariantResult:
    spelled = tuple(use.text for use in chain)
    if job is None or reason is not None:
        return VariantResult(name, job.built.id if job else "", spelled, "failed", reason)
    timed = store.read_timed(job.folder, job.timing_key)
    exactness = fidelity.read(plan, job.built, job.runtime)
    return VariantResult(
        name=name,
        id=job.built.id,
        steps=spelled,
        status="ok",
        reason=None,
        footprint=Footprint(
            job.built.size_bytes, job.built.parameters, job.built.macs, job.built.zeros, job.built.zstd_bytes
        ),
        executed=executed(job),
        measurements=timed.measurements if timed else (),
        baseline=timed.baseline if timed else (),
        conditions=timed.conditions if timed else None,
        predictions_key=job.predictions_key,
        notes=(*notes.notes(chain, job.built, baseline), *_unmeasured(job.built, exactness)),
        recovered=notes.recovered(job.built),
        fidelity=exactness,
        evaluation=store.read_evaluation(job.folder, job.predictions_key),
    )


def _unmeasured(built: Built, measured: Fidelity | None) -> tuple[str, ...]:
    if not built.quantised or measured is not None:
        return ()
    return (f"what its runtime computes could not be compared with its own graph{SEE_LOG}",)


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
        "command": command(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "bench": version("bench"),
        "weights": f"{plan.detector.weights} (SHA-256 {plan.source.digest})",
        "seed": str(plan.settings.seed),
        "threads": str(plan.threads),
        "machine": "; ".join(f"{key}: {value}" for key, value in machine().items()),
        "libraries": ", ".join(f"{name} {found}" for name, found in versions(libraries).items()),
    }


def _gpus(variants: Sequence[VariantResult]) -> dict[str, str]:
    """The GPUs that variants ran on when they were timed, which may be another one than this run's."""
    ran = [one.executed for one in variants if one.executed and one.executed.device == "cuda"]
    names = dict.fromkeys(executed.device_name for executed in ran)
    return {"GPU used": "; ".join(names)} if names else {}
