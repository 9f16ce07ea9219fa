"""What the parts share: artifacts of a network with random weights, sessions, and how those are timed."""

from __future__ import annotations

import gc
import inspect
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import testbed

from bench import runtimes
from bench.experiment import read
from bench.pipeline.measure import workshop
from bench.pipeline.plan import Plan, prepare
from bench.records import Built, silent
from bench.variants import build
from gpu_parts import Job

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.runtimes import Session

MOST_FRAMES = 512
_GAIN = 1.02

Step: TypeAlias = Callable[[int], tuple[float | None, float]]
"""The seconds of a batch of so many frames, by the device's clock, None where it has none, and by the wall's."""


@dataclass(frozen=True)
class Pace:
    """At the best batch: frames a second by the device's own clock and end to end, and peak memory in MiB."""

    batch: int
    device_fps: float | None
    fps: float
    peak_mib: float | None
    ended: str = ""


# ---------------------------------------------------------------------------------------- artifacts
def furnished(folder: Path, place: testbed.Workplace) -> Plan:
    """The experiment in `folder`, written at the first call; its artifacts are kept there for later ones."""
    file = folder / "experiments.yaml"
    if not file.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        testbed.furnish(folder, place)  # writes the experiment file last
    return prepare(read(file), file, testbed.NAME, device=place.device)


def built(plan: Plan, variant: str) -> Built:
    return build.build(variant, plan.source, plan.chains[variant], workshop(plan, silent))


# ------------------------------------------------------------------------------------------ sessions
def lacking(runtime: str, **settings: Any) -> list[str]:
    """The settings that this runtime's `load` does not know, in this version of bench."""
    known = inspect.signature(runtimes.find(runtime).load).parameters
    return [name for name in settings if name not in known]


@contextmanager
def session(built: Built, job: Job, runtime: str = "pytorch", **settings: Any) -> Iterator[Session]:
    """An artifact loaded on the job's device; settings that `load` does not know are left out."""
    module: Any = runtimes.find(runtime)
    unknown = lacking(runtime, **settings)
    known = {name: value for name, value in settings.items() if name not in unknown}
    with float32(settings["tf32"]) if "tf32" in unknown else _nothing():
        free()  # what the session before this one held
        yield module.load(built, job.device, threads(), **known)


@contextmanager
def float32(tf32: bool) -> Iterator[None]:
    """Whether float32 on CUDA may be rounded to ten bits of mantissa, where `load` does not take that."""
    import torch

    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = tf32
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def free() -> None:
    """Give back the device's memory that nobody holds any more."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@cache
def threads() -> int:
    from bench.provenance import cpu_cores

    return cpu_cores()


@cache
def frames(count: int, size: int) -> NDArray[np.uint8]:
    """uint8 RGB [count, 3, size, size], never zeros: those can be computed faster than pictures."""
    return np.random.default_rng(count).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


# -------------------------------------------------------------------------------------------- timing
def latency(session: Session, size: int, seconds: float) -> dict[str, float | None]:
    """Medians of a single frame, in ms: by the device's clock, and from array to arrays."""
    one = frames(1, size)
    for _ in range(5):
        session.predict_timed(one)
    device: list[float | None] = []
    wall: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or not wall:
        began = time.perf_counter()
        device_ms = session.predict_timed(one)[2]
        wall.append((time.perf_counter() - began) * 1000)
        device.append(device_ms)
    known = [value for value in device if value is not None]
    return {
        "batch 1, device ms": statistics.median(known) if known else None,
        "batch 1, ms": statistics.median(wall),
        "batch 1, ms at the 95th percentile": float(np.percentile(wall, 95)),
    }


def climb(step: Step, most: int, budget_s: float) -> Pace:
    """Double the batch until that brings no more frames a second, memory runs out, or the budget of time does."""
    best: Pace | None = None
    batch, until, ended = 1, time.monotonic() + budget_s, f"{most} are enough"
    while batch <= most:
        pace = at_batch(step, batch)
        if pace is None:
            ended = f"no memory for {batch}"
            break
        before, best = best, max(best or pace, pace, key=rate)
        if before and rate(pace) < rate(before) * _GAIN:
            ended = f"no gain at {batch}"
            break
        if time.monotonic() > until:
            ended = f"no time for more than {batch}"
            break
        batch *= 2
    if best is None:
        raise MemoryError(ended)
    free()
    return replace(best, ended=ended)


def at_batch(step: Step, batch: int) -> Pace | None:
    """The pace at a batch; None where the device has no memory for it."""
    peak = _watch_memory()
    try:
        device_s, wall_s = step(batch)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
            free()
            return None
        raise
    return Pace(batch, batch / device_s if device_s else None, batch / wall_s, peak())


def rate(pace: Pace) -> float:
    return pace.device_fps or pace.fps


def _watch_memory() -> Callable[[], float | None]:
    import torch

    if not torch.cuda.is_available():
        return lambda: None
    torch.cuda.reset_peak_memory_stats()
    return lambda: float(torch.cuda.max_memory_allocated()) / 2**20


def session_step(session: Session, size: int, seconds: float) -> Step:
    """A session's step: medians over calls that take `seconds` together, at least three."""

    def step(batch: int) -> tuple[float | None, float]:
        given = frames(batch, size)
        for _ in range(2):
            session.predict(given)
        device: list[float | None] = []
        wall: list[float] = []
        until = time.perf_counter() + seconds
        while time.perf_counter() < until or len(wall) < 3:
            began = time.perf_counter()
            device_ms = session.predict_timed(given)[2]
            wall.append(time.perf_counter() - began)
            device.append(device_ms)
        known = [value / 1000 for value in device if value is not None]
        return statistics.median(known) if known else None, statistics.median(wall)

    return step


def submitted_fps(session: Any, batch: int, size: int, seconds: float) -> float | None:
    """Frames a second end to end with two batches under way; None where a session computes one after the other."""
    if not hasattr(session, "submit"):
        return None
    given, done = frames(batch, size), 0
    waiting = session.submit(given)
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or done < 3:
        following = session.submit(given)
        waiting()
        waiting, done = following, done + 1
    taken = time.perf_counter() - began
    waiting()
    return done * batch / taken


def cells(pace: Pace) -> Mapping[str, Any]:
    return {
        "best batch": pace.batch,
        "frames/s, device": pace.device_fps,
        "frames/s, end to end": pace.fps,
        "peak, MiB": pace.peak_mib,
        "climb ended": pace.ended,
    }
