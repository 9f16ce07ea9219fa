"""Speed and memory of a B5 at 380 px with random weights, in every precision, beside timm's own way of measuring."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import testbed

from bench.pipeline.plan import Plan
from gpu_parts import Job, sessions, timm_way
from gpu_parts.record import NEEDS_CUDA, Cells

HALF = "[prune: {amount: 0.5, ranking: magnitude, repair: false}, cast: fp16]"
VARIANTS = {"baseline": "[]", "fp16": "[cast: fp16]", "bf16": "[cast: bf16]", "half": HALF}


@dataclass(frozen=True)
class Way:
    """How an artifact is run: with float32 rounded to TF32 or not, in CUDA graphs or eager."""

    variant: str
    tf32: bool = True
    graphs: bool = True


WAYS = {
    "fp16, CUDA graphs": Way("fp16"),
    "fp16, eager": Way("fp16", graphs=False),
    "half of it in fp16, CUDA graphs": Way("half"),
    "bf16, CUDA graphs": Way("bf16"),
    "fp32 with TF32, CUDA graphs": Way("baseline"),
    "fp32, CUDA graphs": Way("baseline", tf32=False),
    "half of it in fp16, eager": Way("half", graphs=False),
    "bf16, eager": Way("bf16", graphs=False),
    "fp32 with TF32, eager": Way("baseline", graphs=False),
    "fp32, eager": Way("baseline", tf32=False, graphs=False),
}


def place(job: Job) -> testbed.Workplace:
    counts = {"test": 4, "calibration": 16}
    return testbed.Workplace(job.architecture, job.size, job.size, job.size, counts, VARIANTS, job.device, "pytorch")


def pace_settings(job: Job) -> tuple[float, int, float]:
    """Seconds a batch, the largest batch, seconds a row."""
    return (0.01, 2, 0.5) if job.small else (0.2, sessions.MOST_FRAMES, 7.0)


def run(job: Job) -> None:
    plan = sessions.furnished(job.work / "large", place(job))
    names = list(WAYS)
    # What decides comes first: half precision, and what it is compared with.
    _measure(job, plan, names[:2])
    _measure_timm(job)
    _measure(job, plan, names[2:7] if job.small else names[2:])
    job.record.note(
        "Random weights: speed and memory only. The half is cut by `prune: {amount: 0.5, ranking: magnitude, "
        "repair: false}`, which needs no frames: its widths are not those that a trained network keeps."
    )


def _measure(job: Job, plan: Plan, names: list[str]) -> None:
    for name in names:
        job.record.measure(name, partial(_row, job, plan, WAYS[name]))


def _row(job: Job, plan: Plan, way: Way) -> Cells:
    seconds, most, budget_s = pace_settings(job)
    if way.graphs and job.device != "cuda":
        return {"answer": NEEDS_CUDA}
    if way.graphs and sessions.lacking("pytorch", graphs=True):
        return {"answer": "this version of the runtime pytorch has no CUDA graphs"}
    artifact = sessions.built(plan, way.variant)
    with sessions.session(artifact, job, tf32=way.tf32, graphs=way.graphs) as session:
        told: dict[str, Any] = {"computed": session.executed.computed, "mode": session.executed.mode}
        told |= sessions.latency(session, job.size, 10 * seconds / 3)
        best = sessions.climb(sessions.session_step(session, job.size, seconds), most, budget_s)
        told |= sessions.cells(best)
        told["frames/s, two batches under way"] = sessions.submitted_fps(session, best.batch, job.size, seconds)
        return told | {"parameters, M": _millions(artifact.parameters), "MACs, G": _millions(artifact.macs, 1e9)}


def _measure_timm(job: Job) -> None:
    for precision in timm_way.PRECISIONS:
        if job.device != "cuda" and not precision.startswith("fp32"):
            job.record.measure(f"timm, {precision}", lambda: {"answer": NEEDS_CUDA})
            continue
        job.record.measure(f"timm, {precision}", partial(_timm_row, job, precision))


def _timm_row(job: Job, precision: str) -> Cells:
    return sessions.cells(timm_way.pace(job, precision, *pace_settings(job)))


def _millions(count: int | None, unit: float = 1e6) -> float | None:
    return None if count is None else count / unit
