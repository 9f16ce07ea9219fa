"""Compiled networks: the runtime inductor beside timm's network compiled, and both eager, in one call on one card."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from bench import runtimes
from bench.pipeline.prepared import Setup
from gpu_parts import Job, large, sessions, timm_way
from gpu_parts.record import NEEDS_CUDA, Cells

RUNTIME = "inductor"
BATCHES = (128,)


def run(job: Job) -> None:
    """Measure the network compiled by inductor beside PyTorch and timm, eager and compiled."""
    # Compiled once, a network is not compiled again by the next call on this machine.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(job.work / "inductor-cache"))
    prepared = sessions.furnished(job.work / "large", large.setup(job))
    job.record.measure("pytorch, fp16", partial(_row, job, prepared, "pytorch", "fp16"))
    job.record.measure("timm, fp16, eager", partial(_timm, job, "fp16", ""))
    job.record.measure(f"{RUNTIME}, fp16", partial(_row, job, prepared, RUNTIME, "fp16"))
    # Without CUDA the network is only traced: generating code for a CPU says nothing about a GPU.
    backend = "inductor" if job.device == "cuda" else "eager"
    job.record.measure("timm, fp16, compiled", partial(_timm, job, "fp16", backend))
    job.record.measure("timm, amp fp16, compiled", partial(_timm, job, "amp fp16", backend))
    for variant in ("half", "bf16", "baseline"):
        job.record.measure(f"{RUNTIME}, {variant}", partial(_row, job, prepared, RUNTIME, variant))
    job.record.note(f"Batches tried: {', '.join(map(str, _batches(job)))}; each shape is compiled for itself.")


def _batches(job: Job) -> tuple[int, ...]:
    return (2,) if job.small else BATCHES


def _row(job: Job, prepared: Setup, runtime: str, variant: str) -> Cells:
    if runtime not in runtimes.names():
        return {"answer": f"this version of bench has no runtime {runtime}"}
    if runtime == RUNTIME and job.device != "cuda":
        return {"answer": NEEDS_CUDA}
    seconds = large.pace_settings(job)[0]
    with sessions.session(sessions.built(prepared, variant), job, runtime, tf32=True) as session:
        row: dict[str, Any] = {"computed": session.executed.computed, "mode": session.executed.mode}
        row |= sessions.latency(session, job.size, 10 * seconds / 3)
        return row | _best(sessions.session_step(session, job.size, seconds), _batches(job))


def _timm(job: Job, precision: str, backend: str) -> Cells:
    seconds = large.pace_settings(job)[0]
    if job.device != "cuda":
        precision = "fp32"
    with timm_way.prepared(job, precision, seconds, backend) as step:
        row = _best(step, _batches(job)[-1:] if backend else _batches(job))
    return row if job.device == "cuda" else row | {"answer": f"{NEEDS_CUDA}; traced, in fp32"}


def _best(step: sessions.Step, batches: tuple[int, ...]) -> dict[str, Any]:
    """The fastest of a few batches; climbing would have every power of two compiled."""
    paces = [pace for batch in batches if (pace := sessions.at_batch(step, batch))]
    if not paces:
        raise MemoryError(f"no memory for {batches[0]}")
    return dict(sessions.cells(max(paces, key=sessions.rate)))
