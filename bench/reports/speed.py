"""Summaries of raw timings, and whom a variant's speed may be compared with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bench.records import Measurement, VariantResult

LEAST_SAMPLES_FOR_P99 = 662
"""MLPerf LoadGen: so many samples bound the 99th percentile with 99 % confidence."""


@dataclass(frozen=True)
class Timing:
    """One measurement in numbers: milliseconds a call, frames a second at the median call."""

    runtime: str
    device: str
    batch_size: int
    calls: int
    p50_ms: float
    p90_ms: float
    p99_ms: float | None
    mean_ms: float
    frames_per_second: float


@dataclass(frozen=True)
class Speed:
    """A variant in its own runtime.

    `single` is batch 1, `best` the batch size of the highest throughput, `reference` the baseline at
    batch 1 on the same device in the same runtime. `speedup` is the reference's median latency over
    the variant's; None where either was not measured, and for simulated int8, whose time is not
    that of int8.
    """

    single: Timing | None = None
    best: Timing | None = None
    reference: Timing | None = None
    speedup: float | None = None


def timing(measurement: Measurement) -> Timing:
    """Percentiles of the raw samples; no p99 under 662 of them."""
    samples = np.asarray(measurement.samples_ms)
    p50, p90, p99 = (float(value) for value in np.percentile(samples, (50, 90, 99)))
    return Timing(
        runtime=measurement.runtime,
        device=measurement.device,
        batch_size=measurement.batch_size,
        calls=len(samples),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99 if len(samples) >= LEAST_SAMPLES_FOR_P99 else None,
        mean_ms=float(samples.mean()),
        frames_per_second=1000 * measurement.batch_size / p50,
    )


def speed(variant: VariantResult) -> Speed:
    """What the variant's row says about time."""
    executed = variant.executed
    if variant.status != "ok" or executed is None:
        return Speed()
    here = (executed.runtime, executed.device)
    own = _timings(variant.measurements, here)
    # The baseline timed in the variant's own session is the fair one.
    reference = _single(_timings(variant.baseline, here))
    single = _single(own)
    comparable = single and reference and executed.int8 != "simulated"
    return Speed(
        single=single,
        best=max(own, key=lambda one: one.frames_per_second, default=None),
        reference=reference,
        speedup=reference.p50_ms / single.p50_ms if comparable and single and reference else None,
    )


def _timings(measurements: Iterable[Measurement], here: tuple[str, str]) -> list[Timing]:
    return [timing(one) for one in measurements if (one.runtime, one.device) == here and one.samples_ms]


def _single(timings: list[Timing]) -> Timing | None:
    return next((one for one in timings if one.batch_size == 1), None)
