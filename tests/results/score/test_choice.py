"""The choice under constraints, on rows whose answer is known, and the Pareto front against brute force."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.records import (
    Auc,
    Candidate,
    Choice,
    Comparison,
    Constraints,
    Executed,
    Footprint,
    Interval,
    Measurement,
    Ratio,
    Reliability,
    RunRecord,
    Score,
    VariantEvaluation,
    VariantResult,
)
from bench.results.score.choice import Criterion, beats, choose, front
from bench.results.score.noninferiority import verdict
from bench.results.score.speed import speeds

FLOAT = Executed("onnxruntime", "cpu", "none", (), "fp32", "fp32")
SIMULATED = replace(FLOAT, stored="int8", int8="simulated")


@dataclass(frozen=True)
class Row:
    """A variant as a table tells it: the drop of the AUC with half the width of its interval."""

    name: str
    size_mib: float | None
    latency_ms: float | None
    drop: float = 0.0
    half: float = 0.001
    executed: Executed | None = FLOAT


BASELINE = Row("baseline", 108.8, 20.0, 0.0)
Q16 = Row("q16", 54.6, 20.0, 0.0001)
Q8 = Row("q8", 28.0, 12.0, 0.008, 0.0015)
Q8_P50 = Row("q8-p50", 15.0, 7.0, 0.05, 0.01)
FOUR = (BASELINE, Q16, Q8, Q8_P50)


def judged(row: Row, is_baseline: bool) -> VariantEvaluation:
    value = 0.95 - row.drop
    auc = Auc(value, Interval(value - 0.01, value + 0.01))
    delta = Auc(-row.drop, Interval(-row.drop - row.half, -row.drop + row.half))
    nothing = np.zeros(0)
    return VariantEvaluation(
        score=Score(100, value, None, None, None, None, None),
        auc=auc,
        roc=None,
        reliability=Reliability(nothing.astype(np.int64), nothing, nothing, nothing, nothing, 0.0),
        thresholds={},
        comparison=None if is_baseline else Comparison(delta, 0.5, 0.5, "stable"),
    )


def result(row: Row) -> VariantResult:
    times = () if row.latency_ms is None else (Measurement("onnxruntime", "cpu", 1, ((row.latency_ms,),) * 3),)
    size = None if row.size_mib is None else Footprint(round(row.size_mib * 2**20), None, None)
    return VariantResult(row.name, "", (), "ok", None, size, row.executed, times)


def chosen(rows: tuple[Row, ...], asked: Constraints | None = None, margin: float = 0.01) -> Choice:
    variants = tuple(result(row) for row in rows)
    run = RunRecord("e", "d", "a", None, 0.5, 5, "gallery", {}, variants, {}, margin=margin, choose=asked)
    answers = {row.name: judged(row, row is rows[0]) for row in rows}
    choice = choose(run, answers, speeds(run))
    assert choice
    return choice


def candidate(choice: Choice, name: str) -> Candidate:
    return next(rival for rival in choice.candidates if rival.name == name)


def test_unasked_the_smallest_within_the_margin_is_chosen() -> None:
    choice = chosen(FOUR)
    assert (choice.asked, choice.constraints) == (False, Constraints(auc_drop=0.01))
    assert (choice.chosen, choice.runner_up, choice.loosen) == ("q8", "q16", ())
    (need,) = candidate(choice, "q8").requirements
    assert (need.value, need.estimate, need.headroom) == pytest.approx((0.0095, 0.008, 0.0005))
    assert not candidate(choice, "q8-p50").qualifies


def test_the_drop_is_judged_by_the_far_end_of_its_interval() -> None:
    """The estimate alone would pass."""
    choice = chosen((BASELINE, replace(Q8, half=0.003)))
    assert choice.chosen == "baseline"
    assert choice.runner_up is None
    (need,) = candidate(choice, "q8").requirements
    assert need.estimate is not None
    assert need.headroom is not None
    assert need.estimate < need.limit
    assert need.headroom < 0


def test_the_end_at_the_limit_is_not_below_it_but_the_baseline_loses_nothing() -> None:
    at_limit = replace(Q8, drop=0.0, half=0.0)
    choice = chosen((BASELINE, at_limit), Constraints(auc_drop=0.0))
    assert [rival.qualifies for rival in choice.candidates] == [True, False]
    assert choice.candidates[0].requirements[0].value == 0.0
    assert str(candidate(choice, "q8").requirements[0].value) == "0.0"


@given(st.floats(-0.03, 0.03), st.floats(0, 0.02), st.floats(0, 0.02))
def test_a_variant_may_lose_what_a_stable_one_may(drop: float, half: float, margin: float) -> None:
    choice = chosen((BASELINE, replace(Q8, drop=drop, half=half)), Constraints(auc_drop=margin))
    outcome = verdict(-drop, Interval(-drop - half, -drop + half), margin)
    assert candidate(choice, "q8").qualifies == (outcome in ("improved", "stable"))


def test_sizes_and_times_at_their_limits_qualify() -> None:
    choice = chosen(FOUR, Constraints(auc_drop=0.5, size_mib=28.0, latency_ms=12.0))
    assert [rival.qualifies for rival in choice.candidates] == [False, False, True, True]
    assert choice.chosen == "q8-p50"


def test_who_asks_for_a_small_file_does_not_ask_for_a_bad_detector() -> None:
    choice = chosen(FOUR, Constraints(size_mib=28.0, latency_ms=12.0))
    assert choice.constraints.auc_drop == 0.01, "the margin"
    assert choice.chosen == "q8"


@pytest.mark.parametrize(
    ("prefer", "best", "second"), [("size", "q8", "q16"), ("latency", "q8", "q16"), ("auc", "q16", "baseline")]
)
def test_prefer(prefer: Criterion, best: str, second: str) -> None:
    choice = chosen(FOUR, Constraints(auc_drop=0.01, prefer=prefer))
    assert (choice.chosen, choice.runner_up) == (best, second)


def test_nearly_the_same_size_leaves_it_to_latency_and_then_to_auc() -> None:
    quick = Row("quick", 55.0, 10.0, 0.004, 0.001)
    assert chosen((BASELINE, Q16, quick)).chosen == "quick"
    assert chosen((BASELINE, Q16, replace(quick, size_mib=55.2))).chosen == "q16"
    level = replace(quick, latency_ms=19.9)
    assert chosen((BASELINE, level, Q16)).chosen == "q16", "all else equal, the one that lost nothing"


def test_an_auc_that_may_be_the_baselines_counts_as_such() -> None:
    noisy = Row("noisy", 30.0, 15.0, 0.004, 0.005)
    lossy = Row("lossy", 20.0, 15.0, 0.0041, 0.001)
    assert chosen((BASELINE, noisy, lossy), Constraints(prefer="auc")).chosen == "noisy"


def test_what_is_beaten_by_one_that_qualifies_never_wins() -> None:
    """Equal by the percent in size and latency, and first in the run; but the other is better in both."""
    beaten = Row("beaten", 30.1, 10.05, 0.002)
    better = Row("better", 30.0, 10.0, 0.002)
    choice = chosen((BASELINE, beaten, better))
    assert (choice.chosen, choice.runner_up) == ("better", "beaten")
    assert candidate(choice, "beaten").beaten_by == "better"
    assert candidate(choice, "better").beaten_by is None


def test_beaten_by_names_one_that_qualifies_where_there_is_one() -> None:
    slow = Row("slow", 60.0, 15.0, 0.06)
    choice = chosen((BASELINE, Q8_P50, Q8, slow))
    assert candidate(choice, "slow").beaten_by == "q8"


def test_fronts_for_the_plots() -> None:
    choice = chosen((*FOUR, Row("dear", 60.0, 25.0, 0.001)))
    assert choice.front_by_size == ("q8-p50", "q8", "q16", "baseline")
    assert choice.front_by_latency == ("q8-p50", "q8", "baseline")


def test_simulated_int8_has_no_latency() -> None:
    simulated = replace(Q8, executed=SIMULATED)
    choice = chosen((BASELINE, Q16, simulated), Constraints(latency_ms=15.0))
    need = candidate(choice, "q8").requirements[-1]
    assert need.constraint == "latency_ms"
    assert (need.value, need.headroom, need.met) == (None, None, False)
    assert "simulated" in need.reason
    assert candidate(choice, "q8").latency_ms is None
    assert choice.front_by_latency == ("baseline",)
    fast = chosen((BASELINE, Q16, simulated), Constraints(prefer="latency"))
    assert fast.chosen == "q16", "unknown comes last"


def test_scores_from_elsewhere_have_neither_size_nor_latency() -> None:
    alone = tuple(replace(row, size_mib=None, latency_ms=None, executed=None) for row in (BASELINE, Q16, Q8))
    choice = chosen(alone, Constraints(size_mib=60))
    assert choice.chosen is None
    assert choice.loosen == (), "no limit helps what is unknown"
    assert all(rival.requirements[-1].reason for rival in choice.candidates)
    assert chosen(alone).chosen == "baseline"


def test_where_none_qualifies_the_nearest_is_named_with_the_limit_it_needs() -> None:
    asked = Constraints(auc_drop=0.005, size_mib=20)
    choice = chosen(FOUR, asked)
    assert (choice.chosen, choice.runner_up) == (None, None)
    assert [(limit.variant, limit.constraint) for limit in choice.loosen] == [
        ("q16", "size_mib"),
        ("baseline", "size_mib"),
        ("q8-p50", "auc_drop"),
    ]
    assert choice.loosen[0].needed == pytest.approx(54.6, abs=0.011)


def test_where_all_miss_several_those_that_miss_the_fewest_are_named() -> None:
    choice = chosen((BASELINE, Q8, Q8_P50), Constraints(auc_drop=0.005, size_mib=10, latency_ms=5))
    assert [(limit.variant, limit.constraint) for limit in choice.loosen] == [
        ("baseline", "size_mib"),
        ("baseline", "latency_ms"),
    ]


limits = st.floats(0.001, 200, allow_nan=False)


@given(
    st.lists(st.tuples(limits, limits, st.floats(0, 0.5), st.floats(0, 0.1)), min_size=1, max_size=5),
    st.floats(0, 0.2),
    limits,
    limits,
    st.sampled_from(["size", "latency", "auc"]),
)
def test_what_is_said_to_be_needed_suffices(
    numbers: list[tuple[float, float, float, float]],
    auc_drop: float,
    size_mib: float,
    latency_ms: float,
    prefer: Criterion,
) -> None:
    rows = (BASELINE, *(Row(f"v{index}", *values) for index, values in enumerate(numbers)))
    asked = Constraints(auc_drop, size_mib, latency_ms, prefer)
    choice = chosen(rows, asked)
    if choice.chosen is not None:
        qualified = {rival.name for rival in choice.candidates if rival.qualifies}
        assert choice.chosen in qualified
        assert (choice.runner_up is None) == (len(qualified) == 1)
        assert choice.runner_up != choice.chosen
        best = candidate(choice, choice.chosen)
        assert best.beaten_by not in qualified
        return
    assert choice.loosen
    nearest = [limit for limit in choice.loosen if limit.variant == choice.loosen[0].variant]
    needed: dict[str, Any] = {limit.constraint: limit.needed for limit in nearest}
    again = chosen(rows, replace(asked, **needed))
    assert candidate(again, nearest[0].variant).qualifies


def test_nothing_to_choose_from() -> None:
    variants = (result(BASELINE), result(Q16))
    run = RunRecord("e", "d", "a", None, 0.5, 5, "gallery", {}, variants, {})
    timed = speeds(run)
    baseline, q16 = judged(BASELINE, True), judged(Q16, False)
    for low, is_chance in ((0.45, True), (0.5, True), (0.501, False)):
        unsure = replace(baseline, auc=Auc(0.6, Interval(low, 0.7)))
        assert (choose(run, {"baseline": unsure, "q16": q16}, timed) is None) == is_chance, low
    assert choose(run, {"baseline": baseline}, timed) is None
    assert choose(run, {"q16": q16}, timed) is None
    assert choose(run, {"baseline": replace(baseline, auc=None), "q16": replace(q16, auc=None)}, timed) is None


def test_only_a_constraint_is_asked() -> None:
    assert not chosen(FOUR, Constraints()).asked
    assert not chosen(FOUR, Constraints(prefer="auc")).asked
    for constraint in (Constraints(auc_drop=0.0), Constraints(size_mib=60.0), Constraints(latency_ms=20.0)):
        assert chosen(FOUR, constraint).asked


@pytest.mark.parametrize(
    ("ratio", "timed_on", "best"),
    [
        (Ratio(0.993, 0.974, 1.008), ("onnxruntime", "cpu"), "q16"),
        (Ratio(0.985, 0.974, 0.999), ("onnxruntime", "cpu"), "baseline"),
        (Ratio(0.993, 0.974, 1.008), ("pytorch", "cpu"), "baseline"),
        (None, ("onnxruntime", "cpu"), "baseline"),
    ],
    ids=["unclear", "slower", "in another runtime", "unknown"],
)
def test_latencies_that_may_be_the_same_leave_it_to_size(
    ratio: Ratio | None, timed_on: tuple[str, str], best: str
) -> None:
    """11.1 and 11.3 ms differ by more than the percent, but the rounds do not tell them apart."""
    rows = (replace(BASELINE, latency_ms=11.1), replace(Q16, latency_ms=11.3))
    variants = tuple(result(row) for row in rows)
    run = RunRecord("e", "d", "a", None, 0.5, 5, "gallery", {}, variants, {}, choose=Constraints(prefer="latency"))
    timed = speeds(run)
    assert timed["q16"].single
    single = replace(timed["q16"].single, runtime=timed_on[0], device=timed_on[1])
    timed["q16"] = replace(timed["q16"], single=single, speedup=ratio)
    choice = choose(run, {row.name: judged(row, row is rows[0]) for row in rows}, timed)
    assert choice
    assert choice.chosen == best


coordinates = st.integers(0, 6).map(float)
partly_known = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3),
    st.tuples(*[st.none() | coordinates] * 3),
    min_size=1,
)


@given(st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), st.tuples(coordinates, coordinates)))
def test_front_is_the_staircase(points: dict[str, tuple[float, float]]) -> None:
    """From left to right, a point is on the front where it is lower than all to its left."""
    expected = set()
    lowest = np.inf
    for lowest_so_far in sorted(set(points.values())):
        if lowest_so_far[1] < lowest:
            lowest = lowest_so_far[1]
            expected |= {name for name, point in points.items() if point == lowest_so_far}
    names = front(points)
    assert set(names) == expected
    assert [points[name][0] for name in names] == sorted(points[name][0] for name in names)


@given(partly_known)
def test_no_circle_of_points_beats_one_another(points: dict[str, tuple[float | None, ...]]) -> None:
    left = set(points)
    while left:
        unbeaten = {name for name in left if not any(beats(points[other], points[name]) for other in left)}
        assert unbeaten
        left -= unbeaten


@pytest.mark.parametrize(
    ("point", "other", "expected"),
    [
        ((1.0, 1.0), (1.0, 2.0), True),
        ((1.0, 1.0), (1.0, 1.0), False),
        ((1.0, 3.0), (1.0, 2.0), False),
        ((1.0, None), (2.0, 2.0), False),
        ((1.0, 2.0), (2.0, None), True),
        ((1.0, 2.0), (1.0, None), False),
        ((1.0, None), (2.0, None), True),
    ],
)
def test_beats(point: tuple[float | None, ...], other: tuple[float | None, ...], expected: bool) -> None:
    assert beats(point, other) is expected
