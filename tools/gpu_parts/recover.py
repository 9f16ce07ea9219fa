"""Training after pruning: seconds a step in three precisions, and whether two runs give the same weights."""

from __future__ import annotations

import json
import tempfile
import time
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import testbed
from gpu_parts import Job, sessions
from gpu_parts.record import Cells

from bench.detectors import artifact
from bench.pipeline.measure import workshop
from bench.pipeline.plan import Plan
from bench.records import Built, silent
from bench.variants.steps import Work, recover

if TYPE_CHECKING:
    from torch import Tensor

PRECISIONS = ("bf16", "fp32", "fp16")
VARIANTS = {"baseline": "[]", "half": "[prune: {amount: 0.5, ranking: magnitude, repair: false}]"}


def run(job: Job) -> None:
    size, train = (64, 32) if job.small else (160, 256)
    steps, repeated = (2, 1) if job.small else (100, 10)
    counts = {"test": 4, "calibration": 16, "train": train}
    place = testbed.Workplace(job.architecture, size, size, size, counts, VARIANTS, job.device, "pytorch")
    plan = sessions.furnished(job.work / "recover", place)
    whole, half = (cache(partial(sessions.built, plan, variant)) for variant in VARIANTS)
    for precision in PRECISIONS:
        job.record.measure(f"{precision}, {steps} steps", lambda p=precision: _timed(plan, whole(), half(), p, steps))  # type: ignore[misc]
        job.record.measure(
            f"{precision}, {repeated} steps twice",
            lambda p=precision: _repeated(plan, whole(), half(), p, repeated),  # type: ignore[misc]
        )
    job.record.note(f"Batches of 16 frames (8 in a rehearsal) of {size} px; random weights, the half of them by magnitude.")


def _timed(plan: Plan, whole: Built, half: Built, precision: str, steps: int) -> Cells:
    began = time.monotonic()
    weights, told = recovered(plan, whole, half, precision, steps)
    seconds = time.monotonic() - began
    return {
        "steps": told["steps"],
        "s": seconds,
        "s a step, all included": seconds / max(told["steps"], 1),
        "error before": told["error"]["before"],
        "error after": told["error"]["after"],
        "ended": told["ended"],
        "all finite": all(bool(tensor.isfinite().all()) for tensor in weights.values()),
    }


def _repeated(plan: Plan, whole: Built, half: Built, precision: str, steps: int) -> Cells:
    first, second = (recovered(plan, whole, half, precision, steps)[0] for _ in range(2))
    largest = max(float((first[name].double() - second[name].double()).abs().max()) for name in first)
    return {"steps": steps, "same weights twice": largest == 0, "weights differ by at most": largest}


def recovered(
    plan: Plan, whole: Built, half: Built, precision: str, steps: int
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights after training, and the step's record of it."""
    settings = recover.Settings(
        steps=steps, batch_size=min(16, len(plan.frames["train"].frames) // 4), enough=0.0, precision=precision,  # type: ignore[arg-type]
        recalibrate=False,
    )  # fmt: skip
    shop = workshop(plan, silent)
    with tempfile.TemporaryDirectory(dir=plan.base) as scratch:
        work = Work(
            title="recover", spec=plan.spec, frames=plan.frames, read=shop.read,
            teacher=lambda: artifact.load_torch(whole.file), device=plan.device, threads=plan.threads, seed=0,
            scratch=Path(scratch), on_event=silent,
        )  # fmt: skip
        trained = recover.apply(artifact.load_torch(half.file), settings, work)
        told: dict[str, Any] = json.loads((Path(scratch) / recover.RECORD).read_text(encoding="utf-8"))
    return trained.state_dict(), told
