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

VERSION = 1
"""Raised whenever times would be taken in another way."""

ROUNDS = 3
WARM_UP_CALLS = 2
LEAST_GAIN = 1.05
"""A larger batch is only tried while the last one raised throughput by this factor."""

LARGEST_BATCH = {"cpu": 16, "cuda": 256}


def measure(
    sessions: Mapping[Key, Predicts], frames: NDArray[np.uint8], seconds: float, on_event: OnEvent
) -> tuple[dict[Key, tuple[Measurement, ...]], dict[Key, Exception]]:
    """Time calls of every session at batch 1, 2, 4, … until throughput levels off.

    `frames` are uint8 RGB [n, 3, H, W], repeated where a batch is larger; each session gets
    `seconds` for each batch size. A batch that does not fit into memory ends a session's climb;
    whatever else goes wrong in a session, or with a single frame, is returned beside the measurements.
    """
    import numpy as np

    found: dict[Key, list[Measurement]] = {name: [] for name in sessions}
    failed: dict[Key, Exception] = {}
    climbing, size = dict(sessions), 1
    while climbing:
        batch = np.ascontiguousarray(frames[np.arange(size) % len(frames)])
        samples, problems = _alternate(climbing, batch, seconds, on_event)
        for name, times in samples.items():
            executed = sessions[name].executed
            found[name].append(Measurement(executed.runtime, executed.device, size, tuple(times)))
        failed |= {name: e for name, e in problems.items() if size == 1 or not isinstance(e, MemoryError)}
        climbing = {
            name: session
            for name, session in climbing.items()
            if name in samples and _still_gains(found[name]) and size < LARGEST_BATCH[session.executed.device]
        }
        size *= 2
    return {name: tuple(measured) for name, measured in found.items()}, failed


def throughput_fps(measurement: Measurement) -> float:
    """Frames a second at the median call."""
    import numpy as np

    return float(measurement.batch_size / np.median(measurement.samples_ms) * 1000)


def _still_gains(found: list[Measurement]) -> bool:
    return len(found) < 2 or throughput_fps(found[-1]) >= LEAST_GAIN * throughput_fps(found[-2])


def _alternate(
    sessions: Mapping[Key, Predicts], batch: NDArray[np.uint8], seconds: float, on_event: OnEvent
) -> tuple[dict[Key, list[float]], dict[Key, Exception]]:
    """Milliseconds of every call, per session; a session that fails is left out from then on, with its error."""
    samples: dict[Key, list[float]] = {name: [] for name in sessions}
    failed: dict[Key, Exception] = {}
    turns = [(turn, name) for turn in range(ROUNDS + 1) for name in sessions]
    work = f"timing, batch {len(batch)}"
    for done, (turn, name) in enumerate(turns):
        on_event(Event(work, done, len(turns), "turns"))
        if name in failed:
            continue
        try:
            if turn == 0:
                for _ in range(WARM_UP_CALLS):
                    sessions[name].predict(batch)
            else:
                samples[name] += _timed_calls(sessions[name], batch, seconds / ROUNDS)
        except Exception as error:
            failed[name] = error
            del samples[name]
    on_event(Event(work, len(turns), len(turns), "turns"))
    return samples, failed


def _timed_calls(session: Predicts, batch: NDArray[np.uint8], seconds: float) -> list[float]:
    """Milliseconds of each call, for as many calls as begin within the time, one at least."""
    times: list[float] = []
    until = time.perf_counter() + seconds
    while not times or time.perf_counter() < until:
        began = time.perf_counter()
        session.predict(batch)
        times.append((time.perf_counter() - began) * 1000)
    return times
