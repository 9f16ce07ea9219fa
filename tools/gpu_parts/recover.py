"""Training after pruning: seconds a step in three precisions, and whether two runs give the same weights."""

from __future__ import annotations

import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import testbed

from bench.artifacts import safetensors
from bench.pipeline.build import build_context
from bench.pipeline.prepared import Setup
from bench.records import Built, silent
from bench.variants.steps import StepContext, recover
from gpu_parts import Job, sessions
from gpu_parts.record import NEEDS_CUDA, Cells

if TYPE_CHECKING:
    from torch import Tensor

    from bench.detectors.detector import Detector

PRECISIONS = ("bf16", "fp32", "fp16")
VARIANTS = {"baseline": "[]", "half": "[prune: {amount: 0.5, ranking: magnitude, repair: false}]"}


def run(job: Job) -> None:
    """Time the training of `recover` in each precision, and train twice to compare."""
    size, train = (64, 16) if job.small else (160, 256)
    steps, repeated = (1, 1) if job.small else (100, 10)
    counts = {"test": 4, "calibration": 16, "train": train}
    setup = testbed.Workplace(job.architecture, size, size, size, counts, VARIANTS, job.device, "pytorch")
    bed = Bed(sessions.furnished(job.work / "recover", setup))
    for precision in PRECISIONS:
        if job.device != "cuda" and precision != "fp32":
            job.record.measure(f"{precision}, {steps} steps", lambda: {"answer": NEEDS_CUDA})
            continue
        job.record.measure(f"{precision}, {steps} steps", partial(_timed, bed, precision, steps))
        job.record.measure(f"{precision}, {repeated} steps twice", partial(_repeated, bed, precision, repeated))
    job.record.note(
        f"Batches of {bed.batch} frames of {size} px. Random weights; the half is cut by magnitude. Timed: the whole "
        "teaches its half, in steps too small to diverge. Twice: the whole teaches itself with a hundredth of "
        "noise on its weights."
    )


class Bed:
    """The whole network and its half, as they were built, and what trains them."""

    def __init__(self, prepared: Setup) -> None:
        self.prepared = prepared
        self.whole, self.half = (sessions.built(prepared, variant) for variant in VARIANTS)
        self.batch = min(16, len(prepared.frames["train"].frames) // 4)

    def train(self, teacher: Built, student: Detector, **settings: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The weights after training, and the step's record of it."""
        chosen = recover.Settings(batch_size=self.batch, enough=0.0, recalibrate=False, **settings)
        with tempfile.TemporaryDirectory(dir=self.prepared.base) as scratch:
            work = StepContext(
                title="recover", spec=self.prepared.spec, frames=self.prepared.frames,
                read=build_context(self.prepared, silent).read, teacher=lambda: safetensors.load_torch(teacher.file),
                device=self.prepared.device, threads=self.prepared.threads, seed=0, scratch=Path(scratch),
                on_event=silent,
            )  # fmt: skip
            trained = recover.apply(student, chosen, work)
            recorded: dict[str, Any] = json.loads((Path(scratch) / recover.RECORD).read_text(encoding="utf-8"))
        return trained.state_dict(), recorded


def _timed(bed: Bed, precision: str, steps: int) -> Cells:
    """How long so many steps take, all included."""
    began = time.monotonic()
    student = safetensors.load_torch(bed.half.file)
    weights, recorded = bed.train(bed.whole, student, precision=precision, steps=steps, learning_rate=1e-7)
    seconds = time.monotonic() - began
    return {
        "steps": recorded["steps"],
        "s": seconds,
        "s a step, all included": seconds / max(recorded["steps"], 1),
        "ended": recorded["ended"],
        "all finite": all(bool(tensor.isfinite().all()) for tensor in weights.values()),
    }


def _repeated(bed: Bed, precision: str, steps: int) -> Cells:
    """Whether training twice gives the same weights."""
    runs = [
        bed.train(bed.whole, _noisy(bed.whole), precision=precision, steps=steps, learning_rate=1e-5) for _ in range(2)
    ]
    (first, recorded), (second, _) = runs
    largest = max(float((first[name].double() - second[name].double()).abs().max()) for name in first)
    return {
        "steps": recorded["steps"],
        "error before": recorded["error"]["before"],
        "error after": recorded["error"]["after"],
        "best step": recorded["best_step"],
        "same weights twice": largest == 0 if recorded["best_step"] else None,  # else both are the untrained ones
        "weights differ by at most": largest,
    }


def _noisy(built: Built) -> Detector:
    import torch

    student, generator = safetensors.load_torch(built.file), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in student.parameters():
            weight.mul_(1 + 0.01 * torch.randn(weight.shape, generator=generator))
    return student
