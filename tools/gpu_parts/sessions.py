"""What the parts share: artifacts of a network with random weights, sessions, and how those are timed."""

from __future__ import annotations

import gc
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import testbed

from bench import runtimes
from bench.experiment import read
from bench.pipeline.build import build_context
from bench.pipeline.prepare import prepare
from bench.pipeline.prepared import Setup
from bench.records import Built, silent
from bench.variants import build
from gpu_parts import Job

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.records import Session

BATCHES = (32, 128, 256)

Step: TypeAlias = Callable[[int], tuple[float | None, float]]
"""The seconds of a batch of so many frames, by the device's clock, None where it has none, and by the wall's."""


@dataclass(frozen=True)
class Pace:
    """At the best batch: frames a second by the device's own clock and end to end, and peak memory in MiB."""

    batch: int
    device_fps: float | None
    fps: float
    peak_mib: float | None
    tried: str = ""
    ended: str = ""


# ---------------------------------------------------------------------------------------- artifacts
def furnished(folder: Path, setup: testbed.Workplace) -> Setup:
    """The experiment in `folder`, written at the first call; its artifacts are kept there for later ones."""
    file = folder / "experiments.yaml"
    if not file.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        testbed.furnish(folder, setup)  # writes the experiment file last
    return prepare(read(file), file, testbed.NAME, device=setup.device).first


def built(prepared: Setup, variant: str) -> Built:
    return build.build(variant, prepared.source, prepared.chains[variant], build_context(prepared, silent))


# ------------------------------------------------------------------------------------------ sessions
@contextmanager
def session(
    built: Built, job: Job, runtime: str = "pytorch", *, autotuned: bool = False, channels_last: bool | None = None,
    **settings: Any,
) -> Iterator[Session]:  # fmt: skip
    """An artifact loaded on the job's device.

    `autotuned`: cuDNN times its algorithms, as timm has it do. `channels_last`: that memory format or the contiguous
    one, where it is not left to the runtime.
    """
    import torch

    from bench.runtimes.pytorch import network

    module: Any = runtimes.find(runtime)
    free()  # what the session before this one held
    before = network.AUTOTUNED, network.memory_format
    network.AUTOTUNED = autotuned
    if channels_last is not None:
        chosen = torch.channels_last if channels_last else torch.contiguous_format
        network.memory_format = lambda device, dtype: chosen
    try:
        yield module.load(built, job.device, threads(), **settings)
    finally:
        network.AUTOTUNED, network.memory_format = before


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
    frame = frames(1, size)
    for _ in range(5):
        session.predict_timed(frame)
    device: list[float | None] = []
    wall: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or not wall:
        began = time.perf_counter()
        device_ms = session.predict_timed(frame).device_ms
        wall.append((time.perf_counter() - began) * 1000)
        device.append(device_ms)
    by_device = [value for value in device if value is not None]
    return {
        "batch 1, device ms": statistics.median(by_device) if by_device else None,
        "batch 1, ms": statistics.median(wall),
        "batch 1, ms at the 95th percentile": float(np.percentile(wall, 95)),
    }


def fastest(step: Step, batches: Sequence[int]) -> Pace:
    """The pace at the best of a few batches; larger ones are not tried once memory has run out.

    A few: with every new size cuDNN prepares its kernels anew, which took seconds on an H100, and minutes where it
    times them.
    """
    paces: list[Pace] = []
    ended = ""
    for batch in batches:
        pace = at_batch(step, batch)
        if pace is None:
            ended = f"no memory for {batch}"
            break
        paces.append(pace)
    if not paces:
        raise MemoryError(ended)
    free()
    return replace(max(paces, key=rate), tried=", ".join(str(pace.batch) for pace in paces), ended=ended)


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
        """Seconds of a batch by the device's clock and by the wall."""
        given = frames(batch, size)
        for _ in range(2):
            session.predict(given)
        device: list[float | None] = []
        wall: list[float] = []
        until = time.perf_counter() + seconds
        while time.perf_counter() < until or len(wall) < 3:
            began = time.perf_counter()
            device_ms = session.predict_timed(given).device_ms
            wall.append(time.perf_counter() - began)
            device.append(device_ms)
        by_device = [value / 1000 for value in device if value is not None]
        return statistics.median(by_device) if by_device else None, statistics.median(wall)

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
        "batches tried": pace.tried,
        "ended": pace.ended,
    }
