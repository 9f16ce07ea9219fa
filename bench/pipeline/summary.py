"""The record of a run: a row a variant, warnings to be read before the numbers, and where they come from."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from bench import datasets
from bench.pipeline import calibration_shift, degraded, face_points, fidelity, judging, masks, misread, notes, threshold
from bench.pipeline.jobs import Job, Jobs, executed
from bench.pipeline.prepared import Setup
from bench.provenance import machine, provenance
from bench.records import (
    DEFAULT_THRESHOLD,
    Built,
    Conventions,
    Fidelity,
    Footprint,
    FrameSet,
    GraphInput,
    RunRecord,
    SplitSummary,
    VariantResult,
)
from bench.records.weights import CLASS_ACTIVATION
from bench.results import attributes, store

_WEIGHTS = re.compile(r"(.*) \(SHA-256 ([0-9a-f]{64})\)")

NOT_SHOWN = "Not shown, since they have no results for these frames yet"
NOT_TIMED = "Not timed, so nothing is said of speed"
SEE_LOG = "; the run's log says why"


def summarise(setup: Setup, jobs: Jobs) -> RunRecord:
    """The record of a detector on a frame set; a variant that failed is a row that says why."""
    run = threshold.as_asked(_record(setup, jobs), setup.settings)
    return threshold.remembered(run, setup.results)


def _record(setup: Setup, jobs: Jobs) -> RunRecord:
    """The same with the default threshold."""
    keys = {name: setup.key(name) for name in setup.chains}
    shown = {name: key for name, key in keys.items() if key in jobs.by_key or key in jobs.failed}
    baseline = jobs.baseline_of(setup).built
    rows = (
        *(_row(setup, name, jobs.by_key.get(key), jobs.failed.get(key), baseline) for name, key in shown.items()),
        *_unfound(setup),
    )
    of_masks, of_faces = masks.counts_of(setup), face_points.counts_of(setup)
    return RunRecord(
        experiment=setup.name,
        detector=setup.detector_name,
        architecture=setup.source.architecture,
        preprocessing=setup.source.preprocessing,
        threshold=DEFAULT_THRESHOLD,
        gallery_top=setup.settings.gallery.top,
        gallery_heatmaps=setup.settings.gallery.heatmaps,
        gallery_occlusion=setup.settings.gallery.occlusion,
        margin=setup.settings.margin,
        choose=setup.settings.choose.record if setup.settings.choose else None,
        attributes=attributes.digest(setup.frames),
        degradations=degraded.of_experiment(setup),
        frame_set=setup.frame_set if len(setup.settings.folders) > 1 else "",
        files_left_out=datasets.left_out(setup.own_frames),
        frames={split: _split_summary(frames, setup.base) for split, frames in setup.frames.items()},
        variants=rows,
        judge=judging.judge(setup.settings, setup.frames["test"].frames),
        video_scoring=setup.settings.videos.record,
        videos=judging.videos_of(setup.frames),
        groups=setup.settings.groups,
        masks=of_masks,
        faces=of_faces,
        provenance=_provenance(setup) | _gpus(rows),
        map_kind=setup.reading.map_kind if setup.reading else CLASS_ACTIVATION,
        warnings=(
            *_remarks(setup, {*shown, *setup.unfound}, _untimed(rows)),
            *misread.remarks(setup, jobs, rows),
            *degraded.remarks(setup, rows),
            *masks.remarks(of_masks),
            *face_points.remarks(of_faces),
        ),
    )


def _untimed(rows: Sequence[VariantResult]) -> list[str]:
    return [row.name for row in rows if row.status == "ok" and not row.measurements]


def _remarks(setup: Setup, shown: Collection[str], untimed: Sequence[str]) -> tuple[str, ...]:
    """What a reader must know before the numbers."""
    remarks = [*setup.remarks, *(setup.reading.warnings if setup.reading else ())]
    if setup.detector.is_demo:
        remarks.append(
            "The demo detector knows drawings, not people: its numbers say nothing about any other detector."
        )
    if untimed:
        remarks.append(
            f"{NOT_TIMED}: {', '.join(untimed)}; `bench run` without `--no-timing` times "
            f"{'it' if len(untimed) == 1 else 'them'}."
        )
    remarks += [
        f"{name}: nothing that its search built keeps the verdict on validation frames; what comes nearest is shown."
        for name, trail in setup.trails.items()
        if trail.winner and not trail.winner.qualifies
    ]
    left_out = [name for name in setup.named if name not in shown]
    if left_out:
        remarks.append(f"{NOT_SHOWN}: {', '.join(left_out)}.")
    return (*remarks, *setup.frame_remarks)


def _row(setup: Setup, name: str, job: Job | None, reason: str | None, baseline: Built) -> VariantResult:
    """The row of a variant; without a job, or with a reason, that of a failure."""
    chain = setup.chains[name]
    spelled = tuple(use.text for use in chain)
    if job is None or reason is not None:
        trail = setup.trails.get(name)
        return VariantResult(name, job.built.id if job else "", spelled, "failed", reason, search=trail)
    timed = store.read_timed(job.times_folder, job.timing_key)
    exactness = fidelity.read(setup, job.built, job.runtime)
    forecasts = notes.forecasts(chain, job.built)
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
        notes=(
            *_origin(setup, name),
            *_searched(setup, name),
            *notes.notes(chain, job.built, baseline, forecasts),
            *_unmeasured(job.built, exactness),
            *_unclear(setup, job.built),
        ),
        recovered=notes.recovered(job.built),
        forecasts=forecasts,
        fidelity=exactness,
        evaluation=store.read_prediction_pass(job.folder, job.predictions_key),
        imported=chain[-1].file_name or "" if name in setup.imported else "",
        degraded=degraded.stored_predictions(setup, job.folder, job.predictions_key),
        calibration_shift=calibration_shift.read(setup, job.built),
        search=setup.trails.get(name),
    )


def _unfound(setup: Setup) -> list[VariantResult]:
    """The rows of variants for which a search found no chain."""
    searches = setup.searches
    return [VariantResult(name, "", (searches[name].text,), "failed", why) for name, why in setup.unfound.items()]


def _origin(setup: Setup, name: str) -> tuple[str, ...]:
    """Of a variant made elsewhere: from which file, and how that was read."""
    if name not in setup.imported:
        return ()
    used = setup.chains[name][-1]
    assert used.file is not None
    return (f"imported from {used.file_name} (SHA-256 {used.file.digest}): {setup.imported[name].sentence}",)


def _searched(setup: Setup, name: str) -> tuple[str, ...]:
    """Of a variant whose steps were searched for: among how many."""
    if name not in setup.trails:
        return ()
    trail, steps = setup.trails[name], ", ".join(use.text for use in setup.chains[name])
    gains = "" if trail.gains else f", which is not the {trail.find}: the baseline is"
    return (
        f"found by a search for the {trail.find}{gains} ({len(trail.candidates)} of {trail.chains:,} chains built, "
        f"judged on {trail.frames:,} validation {trail.unit}s): `{name}: [{steps}]` makes the same",
    )


def _unmeasured(built: Built, measured: Fidelity | None) -> tuple[str, ...]:
    if not built.quantised or measured is not None:
        return ()
    return (f"what its runtime computes could not be compared with its own graph{SEE_LOG}",)


def _unclear(setup: Setup, built: Built) -> tuple[str, ...]:
    """Why it is unknown how far these frames lie outside of calibrated ranges, where it is."""
    if reason := calibration_shift.reason(setup, built):
        return (f"how much of these frames its ranges clip can't be measured: {reason}",)
    if calibration_shift.is_due(setup, built):
        return (f"how much of these frames its ranges clip could not be measured{SEE_LOG}",)
    return ()


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
        sources=len(frames.frames_by_source),
        digest=frames.digest,
        copies=len(frames.copies),
        fake_copies=sum(frames.frames[index].label == 1 for index in frames.copies),
        largest_source=max(frames.frames_by_source.values(), default=0),
    )


def _relative(path: Path, base: Path) -> str:
    """`path` as seen from the experiment file; as it is where no way leads there (another Windows drive)."""
    try:
        return Path(os.path.relpath(path, base)).as_posix()
    except ValueError:
        return path.as_posix()


def _provenance(setup: Setup) -> dict[str, str]:
    libraries = ("torch", "timm", "torch-pruning", "onnx", "onnxruntime", "numpy", "opencv-python-headless", "pillow")
    details = {
        "weights": weights_of(setup),
        **({"weights read as": setup.reading.sentence} if setup.reading else {}),
        "seed": str(setup.settings.seed),
        "threads": str(setup.threads),
        "machine": "; ".join(f"{key}: {value}" for key, value in machine().items()),
    }
    return provenance(details, libraries)


def weights_of(setup: Setup) -> str:
    """The file of a detector's weights with its digest, and what its owner says of them."""
    return f"{setup.detector.weights.file} (SHA-256 {setup.source.digest}){_spelled(setup.source.conventions)}"


def file_of_weights(text: str) -> tuple[str, str] | None:
    """The name and the SHA-256 of the file in what `weights_of` says; None where it says nothing of the kind."""
    match = _WEIGHTS.match(text)
    return (Path(match[1]).name, match[2]) if match else None


def weights_digest(text: str) -> str:
    """The SHA-256 in what `weights_of` says, with the words behind it: a file that is moved keeps it."""
    return text.rpartition("(SHA-256 ")[2].rstrip(")")


def _spelled(conventions: Conventions) -> str:
    """What the owner says of the weights: with other words they are another detector's."""
    words = [f"{key}: {_word(value)}" for key, value in vars(conventions).items() if value is not None]
    return f", {', '.join(words)}" if words else ""


def _word(value: object) -> str:
    """A convention as its owner spells it."""
    if not isinstance(value, GraphInput):
        return str(value)
    given = (f"{key}: {_word(part)}" for key, part in vars(value).items() if part is not None)
    return f"{{{', '.join(given)}}}"


def _gpus(variants: Sequence[VariantResult]) -> dict[str, str]:
    """The GPUs that variants ran on when they were timed, which may be another one than this run's."""
    names = dict.fromkeys(
        variant.executed.device_name for variant in variants if variant.executed and variant.executed.device == "cuda"
    )
    return {"GPU used": "; ".join(names)} if names else {}
