"""Summaries of raw timings, and whom a variant's speed may be compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.records import Effect, Executed, Latencies, Measurement, Ratio, Run, Speed, Timing, VariantResult

LEAST_SAMPLES_FOR_P99 = 662
"""MLPerf LoadGen: so many samples bound the 99th percentile with 99 % confidence."""

RESAMPLES = 10_000

LEAST_GAIN_OF_INT8 = 1.1
"""int8 that is proven to gain less than this factor, and not proven to gain anything, buys size only."""


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
    """Those of the measurements that were taken."""
    return tuple(timing(one) for one in measurements if one.rounds_ms)


def speed(variant: VariantResult) -> Speed:
    """What the variant's row says about time."""
    executed = variant.executed
    if variant.status != "ok" or executed is None:
        return Speed()
    own, reference = taken(variant), _taken(variant.baseline, executed)
    comparable = len(own) == len(reference) > 0 and not is_simulated(executed) and not is_throttled(variant)
    return Speed(
        single=timing(own[0]) if own else None,
        best=timing(own[-1]) if own else None,
        reference=timing(reference[0]) if reference else None,
        speedup=ratio(own[0], reference[0]) if comparable else None,
        gain=ratio(own[-1], reference[-1]) if comparable else None,
    )


def comparable_latencies(run: Run, timed: Mapping[str, Speed]) -> Latencies | None:
    """The latencies of the variants whose speed compares with the baseline's own; None where that was not timed."""
    baseline = timed[run.variants[0].name].single
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


def speeds(run: Run) -> dict[str, Speed]:
    """That of every variant, with latencies that compare."""
    found = {variant.name: speed(variant) for variant in run.variants}
    first = run.variants[0]
    baseline = found[first.name].single
    return {
        one.name: replace(found[one.name], latency_ms=_latency_ms(one, found[one.name], first, baseline))
        for one in run.variants
    }


def _latency_ms(variant: VariantResult, own: Speed, first: VariantResult, baseline: Timing | None) -> float | None:
    """The machine may have been slower in another session; by how much, the baseline tells, which was timed in both."""
    if own.single is None or variant.executed is None or is_simulated(variant.executed) or is_throttled(variant):
        return None
    median = own.single.p50_ms
    if variant.conditions == first.conditions or own.reference is None or baseline is None:
        return median
    # How slow a quota made the baseline is chance: it tells nothing of the machine.
    if is_throttled(first):
        return median
    same = (own.single.runtime, own.single.device) == (baseline.runtime, baseline.device)
    return median * baseline.p50_ms / own.reference.p50_ms if same else median


def taken(variant: VariantResult) -> list[Measurement]:
    """Its measurements in its own runtime and device, in the order in which they were taken.

    Batch 1 first, then the batch size of the highest throughput.
    """
    return _taken(variant.measurements, variant.executed) if variant.executed else []


def is_simulated(executed: Executed) -> bool:
    """Whether int8 was computed in float, so that its time is not that of int8; so too where nobody can tell."""
    return executed.stored == "int8" and executed.int8 != "native"


def is_throttled(variant: VariantResult) -> bool:
    """Whether a CPU quota stopped it while it was timed: how often is chance, so such times compare with nothing."""
    return variant.conditions is not None and variant.conditions.is_throttled


def size_only(run: Run, effects: Iterable[Effect], speeds: Mapping[str, Speed]) -> frozenset[str]:
    """The int8 variants on a CPU that are no faster than what was quantised: by their intervals, or all in float.

    Where that is the baseline, more frames a second at the best batch size count as a gain too.
    """
    effect_of = {effect.variant: effect for effect in effects}
    names = set()
    for variant in run.variants:
        executed = variant.executed
        if variant.status != "ok" or executed is None or (executed.stored, executed.device) != ("int8", "cpu"):
            continue
        effect, gain = effect_of.get(variant.name), speeds[variant.name].gain
        by_quantising = effect.speed if effect and len(effect.steps) == 1 else None
        gains_frames = effect is not None and effect.ancestor == run.variants[0].name and gain and gain.low > 1
        slow = by_quantising is not None and by_quantising.low <= 1 and by_quantising.high < LEAST_GAIN_OF_INT8
        in_float = executed.int8 == "simulated" and not executed.int8_operators
        if in_float or (slow and not gains_frames):
            names.add(variant.name)
    return frozenset(names)


def ratio(own: Measurement, reference: Measurement) -> Ratio:
    """The median, over the rounds, of how many times as many frames a second the own one did.

    Both were timed in the same rounds and are compared within each, so that what slowed the machine
    down for a while slowed both. The interval is a percentile bootstrap over the rounds (Efron &
    Tibshirani 1993, chapter 13), by hand because SciPy's takes longer to import than a cached run lasts.
    """
    rounds = min(len(own.rounds_ms), len(reference.rounds_ms))
    ratios = _rates(own)[:rounds] / _rates(reference)[:rounds]
    drawn = np.random.default_rng(0).integers(0, rounds, (RESAMPLES, rounds))
    low, high = np.percentile(np.median(ratios[drawn], axis=1), (2.5, 97.5))
    return Ratio(float(np.median(ratios)), float(low), float(high))


def _taken(measurements: Iterable[Measurement], executed: Executed) -> list[Measurement]:
    here = (executed.runtime, executed.device)
    return [one for one in measurements if (one.runtime, one.device) == here and one.rounds_ms]


def _samples(rounds_ms: tuple[tuple[float, ...], ...]) -> NDArray[np.float64]:
    return np.array([sample for samples in rounds_ms for sample in samples])


def _rates(measurement: Measurement) -> NDArray[np.float64]:
    """Frames a millisecond at the median call, round by round."""
    return measurement.batch_size / np.array([np.median(samples) for samples in measurement.rounds_ms])
