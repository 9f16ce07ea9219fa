"""What timm's own benchmark.py measures: a network on inputs that lie on the device, channels_last."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch

from gpu_parts import Job
from gpu_parts.sessions import Pace, Step, climb, free

PRECISIONS = ("amp fp16", "fp16", "bf16", "fp32 with TF32")


@contextmanager
def searched_kernels() -> Iterator[None]:
    """cuDNN tries its kernels for each shape, as timm's script asks it to."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def network(job: Job, precision: str) -> Any:
    import timm

    torch.manual_seed(0)
    made: Any = timm.create_model(f"tf_{job.architecture}", num_classes=2).eval()
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision, torch.float32)
    return made.to(device=job.device, dtype=dtype, memory_format=torch.channels_last)


def pace(job: Job, precision: str, seconds: float, most: int, budget_s: float) -> Pace:
    """The fastest batch of timm's way, eager."""
    with prepared(job, precision, seconds) as step:
        return climb(step, most, budget_s)


@contextmanager
def prepared(job: Job, precision: str, seconds: float, backend: str = "") -> Iterator[Step]:
    """What times one batch of timm's way. `backend` is one of torch.compile's; without it the network is eager."""
    free()  # what was measured before this
    model = network(job, precision)
    dtype = next(model.parameters()).dtype
    if backend:
        model = torch.compile(model, backend=backend, dynamic=False)

    def step(batch: int) -> tuple[float | None, float]:
        given = torch.randn(batch, 3, job.size, job.size, device=job.device, dtype=dtype)
        given = given.contiguous(memory_format=torch.channels_last)
        lower = torch.autocast(job.device, torch.float16, enabled=precision == "amp fp16")
        with torch.inference_mode(), lower:
            taken = seconds_of(lambda: model(given), job.device, seconds)
        return (taken, taken) if job.device == "cuda" else (None, taken)

    with searched_kernels():
        yield step


def seconds_of(work: Callable[[], object], device: str, seconds: float) -> float:
    """The median of a call, by CUDA events where there are any; calls run back to back, as in a real stream."""
    for _ in range(5):
        work()
    if device != "cuda":
        return _on_the_wall(work, seconds)
    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    count = int(min(max(seconds / max(time.perf_counter() - began, 1e-6), 5), 200))
    make: Any = torch.cuda.Event
    events = [make(enable_timing=True) for _ in range(count + 1)]
    events[0].record()
    for event in events[1:]:
        work()
        event.record()
    torch.cuda.synchronize()
    return statistics.median(float(a.elapsed_time(b)) / 1000 for a, b in pairwise(events))


def _on_the_wall(work: Callable[[], object], seconds: float) -> float:
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(taken) < 3:
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)
