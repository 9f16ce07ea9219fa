"""Summaries of raw timings, and speed-ups against the baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.records import (
    Effect,
    Executed,
    Latencies,
    Measurement,
    Ratio,
    RunRecord,
    Timing,
    VariantResult,
    VariantSpeed,
)

LEAST_SAMPLES_FOR_P99 = 662
"""MLPerf LoadGen: so many samples bound the 99th percentile with 99 % confidence."""

RESAMPLES = 10_000

LEAST_GAIN_OF_INT8 = 1.1
"""An int8 variant gains size only where its speed-up is not significant and significantly below this factor."""


def timing(measurement: Measurement) -> Timing:
    """Percentiles of the raw samples; no p99 under 662 of them."""
    samples = _samples(measurement.rounds_ms)
    device = _samples(measurement.device_rounds_ms)
    p25, p50, p75, p90, p99 = (float(value) for value in np.percentile(samples, (25, 50, 75, 90, 99)))
    peak = measurement.peak_memory
    return Timing(
        runtime=measurement.runtime,
        device=measurement.device,
        batch_size=measurement.batch_size,
        rounds=len(measurement.rounds_ms),
        calls=len(samples),
        p25_ms=p25,
        p50_ms=p50,
        p75_ms=p75,
        p90_ms=p90,
        p99_ms=p99 if len(samples) >= LEAST_SAMPLES_FOR_P99 else None,
        mean_ms=float(samples.mean()),
        device_p50_ms=float(np.median(device)) if len(device) else None,
        frames_per_second=1000 * measurement.batch_size / p50,
        peak_rss_mib=peak.rss_mib if peak else None,
        peak_cuda_allocated_mib=peak.cuda_allocated_mib if peak else None,
        peak_cuda_reserved_mib=peak.cuda_reserved_mib if peak else None,
        settled=measurement.settled,
    )


def summaries(measurements: Iterable[Measurement]) -> tuple[Timing, ...]:
    """Summarise the measurements that have samples."""
    return tuple(timing(measurement) for measurement in measurements if measurement.rounds_ms)


def speed(variant: VariantResult) -> VariantSpeed:
    """The speed of a variant, and its speed-up where the baseline was timed beside it."""
    executed = variant.executed
    if variant.status != "ok" or executed is None:
        return VariantSpeed()
    timed, reference = taken(variant), _taken(variant.baseline, executed)
    comparable = len(timed) == len(reference) > 0 and not is_simulated(executed) and not is_throttled(variant)
    return VariantSpeed(
        single=timing(timed[0]) if timed else None,
        best=timing(timed[-1]) if timed else None,
        reference=timing(reference[0]) if reference else None,
        speedup=ratio(timed[0], reference[0]) if comparable else None,
        gain=ratio(timed[-1], reference[-1]) if comparable else None,
    )


def comparable_latencies(run: RunRecord, timed: Mapping[str, VariantSpeed]) -> Latencies | None:
    """The latencies of the variants whose speed compares with the baseline's own; None where that was not timed."""
    baseline = timed[run.baseline.name].single
    if baseline is None:
        return None
    by_variant = {
        name: speed.latency_ms
        for name, speed in timed.items()
        if speed.single
        and speed.latency_ms
        and speed.speedup is not None
        and (speed.single.runtime, speed.single.device) == (baseline.runtime, baseline.device)
    }
    return Latencies(by_variant, baseline.runtime, baseline.device)


def speeds(run: RunRecord) -> dict[str, VariantSpeed]:
    """The speed of every variant by name, with latencies that compare across sessions."""
    by_name = {variant.name: speed(variant) for variant in run.variants}
    baseline = by_name[run.baseline.name].single
    return {
        variant.name: replace(
            by_name[variant.name],
            latency_ms=_latency_ms(variant, by_name[variant.name], run.baseline, baseline),
        )
        for variant in run.variants
    }


def _latency_ms(
    variant: VariantResult, speed: VariantSpeed, first: VariantResult, baseline: Timing | None
) -> float | None:
    """The median latency of a variant, as it would have been in the baseline's session.

    A machine may be slower in another session. The baseline was timed in both sessions, so the ratio of its latencies
    corrects for that. `first` is the baseline, `baseline` its timing at batch 1 in its own session.
    """
    if speed.single is None or variant.executed is None or is_simulated(variant.executed) or is_throttled(variant):
        return None
    median = speed.single.p50_ms
    if variant.conditions == first.conditions or speed.reference is None or baseline is None:
        return median
    # A CPU quota slows the baseline down by chance: the ratio says nothing of the machine.
    if is_throttled(first):
        return median
    same = (speed.single.runtime, speed.single.device) == (baseline.runtime, baseline.device)
    return median * baseline.p50_ms / speed.reference.p50_ms if same else median


def taken(variant: VariantResult) -> list[Measurement]:
    """The variant's measurements in its own runtime and device, in the order in which they were taken.

    Batch 1 first, then the batch size of the highest throughput.
    """
    return _taken(variant.measurements, variant.executed) if variant.executed else []


def is_simulated(executed: Executed) -> bool:
    """Whether int8 was computed in float, so that its time is not that of int8; True also where that is unknown."""
    return executed.stored == "int8" and executed.int8 != "native"


def is_throttled(variant: VariantResult) -> bool:
    """Whether a CPU quota stopped the variant while it was timed: such times compare with nothing."""
    return variant.conditions is not None and variant.conditions.is_throttled


def size_only(run: RunRecord, effects: Iterable[Effect], speeds: Mapping[str, VariantSpeed]) -> frozenset[str]:
    """Names of the int8 variants on a CPU that are smaller, but no faster than what was quantised.

    Either the interval of their speed-up shows no gain, or all operators were computed in float. Where the baseline
    itself was quantised, more frames a second at the best batch size count as a gain too.
    """
    effect_of = {effect.variant: effect for effect in effects}
    names = set()
    for variant in run.variants:
        executed = variant.executed
        if variant.status != "ok" or executed is None or (executed.stored, executed.device) != ("int8", "cpu"):
            continue
        effect, gain = effect_of.get(variant.name), speeds[variant.name].gain
        by_quantising = effect.speed if effect and len(effect.steps) == 1 else None
        gains_frames = effect is not None and effect.ancestor == run.baseline.name and gain and gain.low > 1
        slow = by_quantising is not None and by_quantising.low <= 1 and by_quantising.high < LEAST_GAIN_OF_INT8
        in_float = executed.int8 == "simulated" and not executed.int8_operators
        if in_float or (slow and not gains_frames):
            names.add(variant.name)
    return frozenset(names)


def ratio(measurement: Measurement, reference: Measurement) -> Ratio:
    """Frames a second of `measurement` over those of `reference`: the median over the rounds, with its interval.

    Both were timed in the same rounds and are compared within each round, so that whatever slowed the machine down
    slowed both. The interval is a percentile bootstrap over the rounds (Efron & Tibshirani 1993, chapter 13), written
    out because importing SciPy's takes longer than a cached run.
    """
    rounds = min(len(measurement.rounds_ms), len(reference.rounds_ms))
    ratios = _rates(measurement)[:rounds] / _rates(reference)[:rounds]
    drawn = np.random.default_rng(0).integers(0, rounds, (RESAMPLES, rounds))
    low, high = np.percentile(np.median(ratios[drawn], axis=1), (2.5, 97.5))
    return Ratio(float(np.median(ratios)), float(low), float(high))


def _taken(measurements: Iterable[Measurement], executed: Executed) -> list[Measurement]:
    return [
        measurement
        for measurement in measurements
        if (measurement.runtime, measurement.device) == (executed.runtime, executed.device) and measurement.rounds_ms
    ]


def _samples(rounds_ms: tuple[tuple[float, ...], ...]) -> NDArray[np.float64]:
    return np.array([sample for samples in rounds_ms for sample in samples])


def _rates(measurement: Measurement) -> NDArray[np.float64]:
    """Frames a millisecond at the median call, round by round."""
    return measurement.batch_size / np.array([np.median(samples) for samples in measurement.rounds_ms])
