"""How fast variants are: warmed up, in alternation, raw samples kept.

All variants of a runtime are loaded and take turns in rounds (A B C A B C …), so that a machine
that slows down or speeds up meanwhile does so for all of them alike.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from bench.records import Event, Measurement, OnEvent
from bench.results.predict import Predicts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Key = TypeVar("Key")

ROUNDS = 3
WARM_UP_CALLS = 2
LEAST_GAIN = 1.05
"""A larger batch is only tried while the last one raised throughput by this factor."""

LARGEST_BATCH = {"cpu": 16, "cuda": 256}


def measure(
    sessions: Mapping[Key, Predicts], frames: NDArray[np.uint8], seconds: float, on_event: OnEvent
) -> dict[Key, tuple[Measurement, ...]]:
    """Time calls of every session at batch 1, 2, 4, … until throughput levels off.

    `frames` are uint8 RGB [n, 3, H, W], repeated where a batch is larger; each session gets
    `seconds` for each batch size. A batch that does not fit into memory ends a session's climb.
    """
    import numpy as np

    found: dict[Key, list[Measurement]] = {name: [] for name in sessions}
    climbing, size = dict(sessions), 1
    while climbing:
        batch = np.ascontiguousarray(frames[np.arange(size) % len(frames)])
        samples = _alternate(climbing, batch, seconds, on_event)
        for name, times in samples.items():
            executed = sessions[name].executed
            found[name].append(Measurement(executed.runtime, executed.device, size, tuple(times)))
        climbing = {
            name: session
            for name, session in climbing.items()
            if name in samples and _still_gains(found[name]) and size < LARGEST_BATCH[session.executed.device]
        }
        size *= 2
    return {name: tuple(measured) for name, measured in found.items()}


def throughput_fps(measurement: Measurement) -> float:
    """Frames a second at the median call."""
    import numpy as np

    return float(measurement.batch_size / np.median(measurement.samples_ms) * 1000)


def _still_gains(found: list[Measurement]) -> bool:
    return len(found) < 2 or throughput_fps(found[-1]) >= LEAST_GAIN * throughput_fps(found[-2])


def _alternate(
    sessions: Mapping[Key, Predicts], batch: NDArray[np.uint8], seconds: float, on_event: OnEvent
) -> dict[Key, list[float]]:
    """Milliseconds of every call, per session; a session that runs out of memory is left out."""
    samples: dict[Key, list[float]] = {}
    work, total = f"timing, batch {len(batch)}", (ROUNDS + 1) * len(sessions)
    for done, (name, session) in enumerate(sessions.items()):
        on_event(Event(work, done, total, "turns"))
        try:
            for _ in range(WARM_UP_CALLS):
                session.predict(batch)
            samples[name] = []
        except MemoryError:
            continue
    for turn in range(ROUNDS):
        for place, name in enumerate(samples):
            on_event(Event(work, (turn + 1) * len(sessions) + place, total, "turns"))
            until = time.perf_counter() + seconds / ROUNDS
            while time.perf_counter() < until or not samples[name]:
                began = time.perf_counter()
                sessions[name].predict(batch)
                samples[name].append((time.perf_counter() - began) * 1000)
    on_event(Event(work, total, total, "turns"))
    return samples
