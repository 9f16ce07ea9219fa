"""Speed and memory of a B5 at 380 px with random weights, in every precision, beside timm's own way of measuring."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import testbed

from bench.pipeline.prepared import Setup
from gpu_parts import Job, sessions, timm_way
from gpu_parts.record import NEEDS_CUDA, Cells

HALF = "[prune: {amount: 0.5, ranking: magnitude, repair: false}, cast: fp16]"
VARIANTS = {"baseline": "[]", "fp16": "[cast: fp16]", "bf16": "[cast: bf16]", "half": HALF}


@dataclass(frozen=True)
class Way:
    """How an artifact is run: float32 rounded to TF32 or not, CUDA graphs or eager, cuDNN's algorithms timed or not.

    `channels_last`: whether in that memory format; None where the runtime chooses.
    """

    variant: str
    tf32: bool = True
    graphs: bool = True
    autotuned: bool = False
    channels_last: bool | None = None


WAYS = {
    "fp16, CUDA graphs": Way("fp16"),
    "fp16, eager": Way("fp16", graphs=False),
    "fp16, CUDA graphs, cuDNN autotuned": Way("fp16", autotuned=True),
    "half of it in fp16, CUDA graphs": Way("half"),
    "bf16, CUDA graphs": Way("bf16"),
    "fp32 with TF32, CUDA graphs": Way("baseline"),
    "fp32, CUDA graphs": Way("baseline", tf32=False),
    "fp16, CUDA graphs, contiguous": Way("fp16", channels_last=False),
    "fp32 with TF32, CUDA graphs, channels_last": Way("baseline", channels_last=True),
    "half of it in fp16, eager": Way("half", graphs=False),
    "bf16, eager": Way("bf16", graphs=False),
    "fp32 with TF32, eager": Way("baseline", graphs=False),
    "fp32, eager": Way("baseline", tf32=False, graphs=False),
}


def setup(job: Job) -> testbed.Workplace:
    counts = {"test": 4, "calibration": 16}
    return testbed.Workplace(job.architecture, job.size, job.size, job.size, counts, VARIANTS, job.device, "pytorch")


def pace_settings(job: Job) -> tuple[float, tuple[int, ...]]:
    """Seconds a batch, and the batches that are tried."""
    return (0.01, (1, 2)) if job.small else (0.2, sessions.BATCHES)


def run(job: Job) -> None:
    prepared = sessions.furnished(job.work / "large", setup(job))
    names = list(WAYS)
    # What decides comes first: half precision, and what it is compared with.
    _measure(job, prepared, names[:3])
    _measure_timm(job)
    _measure(job, prepared, names[3:10] if job.small else names[3:])
    job.record.note(
        "Random weights: speed and memory only. The half is cut by `prune: {amount: 0.5, ranking: magnitude, "
        "repair: false}`, which needs no frames: its widths are not those that a trained network keeps."
    )


def _measure(job: Job, prepared: Setup, names: list[str]) -> None:
    for name in names:
        job.record.measure(name, partial(_row, job, prepared, WAYS[name]))


def _row(job: Job, prepared: Setup, way: Way) -> Cells:
    """One way to run the network: latency, throughput at the best batch, memory."""
    seconds, batches = pace_settings(job)
    if way.graphs and job.device != "cuda":
        return {"answer": NEEDS_CUDA}
    artifact = sessions.built(prepared, way.variant)
    with sessions.session(
        artifact, job, autotuned=way.autotuned, channels_last=way.channels_last, tf32=way.tf32, graphs=way.graphs
    ) as session:
        row: dict[str, Any] = {"computed": session.executed.computed, "mode": session.executed.mode}
        row |= sessions.latency(session, job.size, 10 * seconds / 3)
        best = sessions.fastest(sessions.session_step(session, job.size, seconds), batches)
        row |= sessions.cells(best)
        row["frames/s, two batches under way"] = sessions.submitted_fps(session, best.batch, job.size, seconds)
        return row | {"parameters, M": _millions(artifact.parameters), "MACs, G": _millions(artifact.macs, 1e9)}


def _measure_timm(job: Job) -> None:
    for precision in timm_way.PRECISIONS:
        if job.device != "cuda" and not precision.startswith("fp32"):
            job.record.measure(f"timm, {precision}", lambda: {"answer": NEEDS_CUDA})
            continue
        job.record.measure(f"timm, {precision}", partial(_timm_row, job, precision))


def _timm_row(job: Job, precision: str) -> Cells:
    # One batch: timing its kernels took timm's way ten seconds a size on an H100.
    seconds, batches = pace_settings(job)
    return sessions.cells(timm_way.pace(job, precision, seconds, batches[1:2]))


def _millions(count: int | None, unit: float = 1e6) -> float | None:
    return None if count is None else count / unit
