"""Speed-ups and their intervals, against SciPy's bootstrap and on rounds whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import bootstrap

from bench.records import Conditions, Executed, Measurement, RunRecord, VariantResult, VariantSpeed
from bench.reports.content.text import times
from bench.results.score.ablation import effects
from bench.results.score.speed import LEAST_SAMPLES_FOR_P99, ratio, speed, speeds, taken, timing
from bench.results.score.speed import size_only as judged_size_only

EXECUTED = Executed("onnxruntime", "cpu", "none", (), "fp32", "fp32")


def measured(rounds: list[list[float]], batch_size: int = 1) -> Measurement:
    return Measurement("onnxruntime", "cpu", batch_size, tuple(map(tuple, rounds)))


def compared(timed: list[list[float]], baseline: list[list[float]]) -> VariantSpeed:
    return speed(VariantResult("q8", "", (), "ok", None, None, EXECUTED, (measured(timed),), (measured(baseline),)))


def noisy(median_ms: float, seed: int, spread: float = 0.05) -> list[list[float]]:
    rng = np.random.default_rng(seed)
    return [list(samples) for samples in median_ms * rng.lognormal(0, spread, (10, 6))]


def test_interval_is_that_of_scipys_bootstrap() -> None:
    timed, baseline = noisy(10, 1), noisy(16, 2)
    faster = compared(timed, baseline).speedup
    assert faster
    ratios = np.median(baseline, axis=1) / np.median(timed, axis=1)
    expected = bootstrap((ratios,), np.median, method="percentile", n_resamples=10_000, rng=np.random.default_rng(3))
    assert faster.value == pytest.approx(np.median(ratios))
    assert faster.low == pytest.approx(expected.confidence_interval.low, rel=0.01)
    assert faster.high == pytest.approx(expected.confidence_interval.high, rel=0.01)
    assert times(faster).startswith(f"{faster.value:.2f}× (")


def test_what_may_be_nothing_is_printed_as_about_one() -> None:
    faster = compared(noisy(10, 1), noisy(10, 2)).speedup
    assert faster
    assert faster.low < 1 < faster.high
    assert times(faster).startswith("≈ 1 (")


@pytest.mark.parametrize(("seconds", "speedup"), [(None, True), (0.05, True), (3.0, False)])
def test_what_a_quota_stopped_earns_no_speed(seconds: float | None, speedup: bool) -> None:
    """More than a hundredth of the ten seconds that the session took."""
    conditions = Conditions("now", 10.0, 2, {}, throttled_seconds=seconds, throttled_share=0.4)
    timed, baseline = (measured(noisy(median, 1)) for median in (10, 16))
    variant = VariantResult("q16", "", ("cast",), "ok", None, None, EXECUTED, (timed,), (baseline,), conditions)
    first = replace(variant, name="baseline", steps=(), measurements=(baseline,))
    run = RunRecord("e", "d", "a", None, 0.5, 5, "gallery", {}, (first, variant), {})
    faster = speeds(run)["q16"]
    assert faster.single, "the times themselves are kept"
    assert [value is not None for value in (faster.speedup, faster.gain, faster.latency_ms)] == [speedup] * 3
    (effect,) = effects(run, {}, None)
    assert (effect.speed is not None) == speedup


def test_drift_that_all_share_does_not_widen_the_interval() -> None:
    """The machine slows down threefold over the rounds; the variant is twice as fast in each."""
    drift = np.linspace(1, 3, 10)[:, None]
    baseline = 20 * drift * np.ones((10, 4))
    faster = compared((baseline / 2).tolist(), baseline.tolist()).speedup
    assert faster
    assert (faster.low, faster.value, faster.high) == pytest.approx((2, 2, 2))


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = 0
    for seed in range(200):
        faster = compared(noisy(10, 2 * seed), noisy(13, 2 * seed + 1)).speedup
        assert faster
        held += faster.low <= 1.3 <= faster.high
    assert 0.88 <= held / 200 <= 1


def test_gain_compares_each_at_its_own_best_batch() -> None:
    timed = (measured([[10.0]] * 10), measured([[40.0]] * 10, 8))
    baseline = (measured([[20.0]] * 10), measured([[15.0]] * 10))
    faster = speed(VariantResult("q8", "", (), "ok", None, None, EXECUTED, timed, baseline))
    assert faster.speedup
    assert faster.gain
    assert faster.best
    assert faster.speedup.value == pytest.approx(2)
    assert faster.gain.value == pytest.approx((8 / 40) / (1 / 15)), (
        "with the rounds beside it, in which the machine was faster"
    )
    assert faster.best.batch_size == 8


def test_no_speedup_for_simulated_int8_or_another_runtime() -> None:
    timed, baseline = (measured(noisy(10, 1)),), (measured(noisy(20, 2)),)
    simulated, untold = replace(EXECUTED, stored="int8", int8="simulated"), replace(EXECUTED, stored="int8")
    elsewhere = (replace(baseline[0], runtime="pytorch"),)
    for executed, beside in ((simulated, baseline), (untold, baseline), (EXECUTED, elsewhere), (EXECUTED, ())):
        faster = speed(VariantResult("q8", "", (), "ok", None, None, executed, timed, beside))
        assert faster.single
        assert faster.speedup is None
        assert faster.gain is None


def test_percentiles_are_numpys_and_p99_needs_662_samples() -> None:
    samples = np.random.default_rng(0).lognormal(3, 0.2, LEAST_SAMPLES_FOR_P99)
    whole, one_less = timing(measured([samples.tolist()])), timing(measured([samples[1:].tolist()]))
    assert (whole.p25_ms, whole.p75_ms) == pytest.approx(tuple(np.quantile(samples, (0.25, 0.75))))
    assert whole.p99_ms == pytest.approx(np.quantile(samples, 0.99))
    assert one_less.p99_ms is None


def test_taken_are_those_of_its_own_runtime_and_device_that_have_samples() -> None:
    timed = (
        measured([[1.0]]),
        measured([[2.0]], 8),
        measured([], 4),
        replace(measured([[3.0]]), runtime="pytorch"),
        replace(measured([[4.0]]), device="cuda"),
    )
    variant = VariantResult("q8", "", (), "ok", None, None, EXECUTED, timed)
    assert taken(variant) == list(timed[:2])
    assert taken(replace(variant, executed=None)) == []


def test_ratio_is_turned_around_where_the_two_are_exchanged() -> None:
    timed, baseline = measured(noisy(10, 1)), measured(noisy(16, 2))
    forth, back = ratio(timed, baseline), ratio(baseline, timed)
    # The median of an even number of rounds is a mean of two, so it turns around only nearly.
    assert (1 / back.value, 1 / back.high, 1 / back.low) == pytest.approx(
        (forth.value, forth.low, forth.high), rel=0.01
    )
    assert ratio(timed, timed).value == 1


def test_latencies_of_another_session_are_brought_to_the_baselines() -> None:
    """The machine was 2.5 times slower when q8 was timed, as the baseline beside it tells."""
    quiet, busy = (Conditions(began, 1.0, 2, {}) for began in ("once", "later"))

    def row(name: str, own_ms: float, reference_ms: float, conditions: Conditions) -> VariantResult:
        timed, reference = (measured([[ms, ms]] * 10) for ms in (own_ms, reference_ms))
        executed = replace(EXECUTED, runtime=timed.runtime)
        return VariantResult(name, "", (), "ok", None, None, executed, (timed,), (reference,), conditions)

    variants = (row("baseline", 10, 10, quiet), row("q16", 11, 10, quiet), row("q8", 30, 25, busy))
    faster = speeds(RunRecord("e", "d", "a", None, 0.5, 5, "gallery", {}, variants, {}))
    assert [faster[row.name].latency_ms for row in variants] == pytest.approx([10, 11, 12])
    assert faster["q8"].single
    assert faster["q8"].single.p50_ms == 30
    stopped = replace(variants[0], conditions=replace(quiet, throttled_seconds=0.5))
    faster = speeds(RunRecord("e", "d", "a", None, 0.5, 5, "gallery", {}, (stopped, variants[2]), {}))
    assert [faster[name].latency_ms for name in ("baseline", "q8")] == [None, 30]
    simulated = replace(variants[2], executed=replace(EXECUTED, stored="int8", int8="simulated"))
    run = RunRecord("e", "d", "a", None, 0.5, 5, "gallery", {}, (variants[0], simulated), {})
    assert speeds(run)["q8"].latency_ms is None


STEADY = Conditions("then", 1.0, 3, {})


@pytest.mark.parametrize(
    ("int8", "ms", "batch_ms", "size_only"),
    [
        ("native", 10.2, 80.0, True),
        ("native", 10.2, 60.0, False),  # more frames a second at the best batch size
        ("native", 9.5, 80.0, False),  # faster, if by little
        ("native", 12.0, 90.0, True),
        ("simulated", 20.0, 160.0, True),
    ],
)
def test_int8_that_is_no_faster_buys_size_only(int8: Any, ms: float, batch_ms: float, size_only: bool) -> None:
    def variant(name: str, steps: tuple[str, ...], executed: Executed, single: float, batch: float) -> VariantResult:
        timed = tuple(
            measured([[value * (1 + 0.001 * call) for call in range(5)] for _ in range(10)], size)
            for value, size in ((single, 1), (batch, 8))
        )
        return VariantResult(name, "", steps, "ok", None, None, executed, timed, base, STEADY)

    base = tuple(
        measured([[value * (1 + 0.001 * call) for call in range(5)] for _ in range(10)], size)
        for value, size in ((10.0, 1), (80.0, 8))
    )
    integers = replace(EXECUTED, stored="int8", computed="int8", int8=int8)
    variants = (
        variant("baseline", (), EXECUTED, 10.0, 80.0),
        variant("q8", ("quantize: int8",), integers, ms, batch_ms),
        variant("q32-p50", ("prune: 0.5",), EXECUTED, 5.0, 40.0),
        # Twice as fast as the baseline, and not by its integers.
        variant("q8-p50", ("prune: 0.5", "quantize: int8"), integers, ms / 2, batch_ms / 2),
    )
    run = RunRecord("e", "d", "a", None, 0.5, 5, "gallery", {}, variants, {})
    names = judged_size_only(run, effects(run, {}, None), speeds(run))
    assert ("q8" in names) == size_only
    # Of what is not the baseline's direct child, only the time of one frame is known beside its parent's.
    assert ("q8-p50" in names) == (int8 == "simulated" or ms >= 10)


def test_wide_intervals_prove_nothing_of_int8() -> None:
    timed, base = (measured(noisy(10, seed, 0.5)) for seed in (1, 2))
    integers = replace(EXECUTED, stored="int8", computed="int8", int8="native")
    variants = (
        VariantResult("baseline", "", (), "ok", None, None, EXECUTED, (base,), (base,), STEADY),
        VariantResult("q8", "", ("quantize: int8",), "ok", None, None, integers, (timed,), (base,), STEADY),
    )
    run = RunRecord("e", "d", "a", None, 0.5, 5, "gallery", {}, variants, {})
    (effect,) = effects(run, {}, None)
    assert effect.speed is not None
    assert effect.speed.low < 1
    assert effect.speed.high > 1.1
    assert judged_size_only(run, [effect], speeds(run)) == frozenset()
