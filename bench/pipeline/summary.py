"""The record of a run: a row a variant, warnings to be read before the numbers, and where they come from."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from bench.pipeline import fidelity, notes
from bench.pipeline.jobs import Job, Jobs, executed
from bench.pipeline.prepare import Prepared
from bench.provenance import machine, provenance
from bench.records import Built, Fidelity, Footprint, FrameSet, RunRecord, SplitSummary, VariantResult
from bench.results import attributes, store
from bench.variants.steps import Use

NOT_SHOWN = "Not shown, since they have no results for these frames yet"
NOT_TIMED = "Not timed, so nothing is said of speed"
SEE_LOG = "; the run's log says why"


def summarise(prepared: Prepared, jobs: Jobs) -> RunRecord:
    """The run's record; a variant that failed is a row that says why."""
    shown = {name: chain for name, chain in prepared.chains.items() if name in jobs.by_variant or name in jobs.failed}
    baseline = jobs.by_variant[prepared.baseline].built
    rows = tuple(
        _row(prepared, name, chain, jobs.by_variant.get(name), jobs.failed.get(name), baseline)
        for name, chain in shown.items()
    )
    return RunRecord(
        experiment=prepared.name,
        detector=prepared.settings.detector,
        architecture=prepared.source.architecture,
        preprocessing=prepared.source.preprocessing,
        threshold=prepared.settings.threshold,
        gallery_top=prepared.settings.gallery.top,
        gallery_heatmaps=prepared.settings.gallery.heatmaps,
        margin=prepared.settings.margin,
        choose=prepared.settings.choose.record if prepared.settings.choose else None,
        attributes=attributes.digest(prepared.frames),
        frames={split: _split_summary(frames, prepared.base) for split, frames in prepared.frames.items()},
        variants=rows,
        provenance=_provenance(prepared) | _gpus(rows),
        warnings=_remarks(prepared, shown, [row.name for row in rows if row.status == "ok" and not row.measurements]),
    )


def _remarks(prepared: Prepared, shown: Collection[str], untimed: Sequence[str]) -> tuple[str, ...]:
    """What a reader must know before the numbers."""
    remarks = list(prepared.remarks)
    if prepared.detector.weights == "demo":
        remarks.append(
            "The demo detector knows drawings, not people: its numbers say nothing about any other detector."
        )
    if untimed:
        remarks.append(
            f"{NOT_TIMED}: {', '.join(untimed)}; `bench run` without `--no-timing` times "
            f"{'it' if len(untimed) == 1 else 'them'}."
        )
    left_out = [name for name in prepared.settings.variants if name not in shown]
    if left_out:
        remarks.append(f"{NOT_SHOWN}: {', '.join(left_out)}.")
    return (*remarks, *prepared.frame_remarks)


def _row(
    prepared: Prepared, name: str, chain: Sequence[Use], job: Job | None, reason: str | None, baseline: Built
) -> VariantResult:
    """The row of a variant; without a job, or with a reason, that of a failure."""
    spelled = tuple(use.text for use in chain)
    if job is None or reason is not None:
        return VariantResult(name, job.built.id if job else "", spelled, "failed", reason)
    timed = store.read_timed(job.folder, job.timing_key)
    exactness = fidelity.read(prepared, job.built, job.runtime)
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
        evaluation=store.read_prediction_pass(job.folder, job.predictions_key),
    )


def _unmeasured(built: Built, measured: Fidelity | None) -> tuple[str, ...]:
    if not built.quantised or measured is not None:
        return ()
    return (f"what its runtime computes could not be compared with its own graph{SEE_LOG}",)


def _split_summary(frames: FrameSet, base: Path) -> SplitSummary:
    """What the record says of a split: where its frames lie, and how many there are of each class and source."""
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


def _provenance(prepared: Prepared) -> dict[str, str]:
    libraries = ("torch", "timm", "torch-pruning", "onnx", "onnxruntime", "numpy", "opencv-python-headless", "pillow")
    details = {
        "weights": f"{prepared.detector.weights} (SHA-256 {prepared.source.digest})",
        "seed": str(prepared.settings.seed),
        "threads": str(prepared.threads),
        "machine": "; ".join(f"{key}: {value}" for key, value in machine().items()),
    }
    return provenance(details, libraries)


def _gpus(variants: Sequence[VariantResult]) -> dict[str, str]:
    """The GPUs that variants ran on when they were timed, which may be another one than this run's."""
    names = dict.fromkeys(
        variant.executed.device_name for variant in variants if variant.executed and variant.executed.device == "cuda"
    )
    return {"GPU used": "; ".join(names)} if names else {}
