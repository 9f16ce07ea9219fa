"""Gates from a made-up scores.json: each falls, passes, passes unproven, is strict, falls where nothing is known."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from pydantic import ValidationError

from bench.records import (
    GateOutcome,
    Interval,
    ScoredByVideo,
    ScoredConfusion,
    ScoredDegradation,
    ScoredFlips,
    ScoredGroupGap,
    ScoredSlice,
    ScoredVariant,
    ScoredVideos,
    ScoredVideosOfSplit,
    ScoresFile,
    Unit,
)
from bench.results.limits import GateSettings
from bench.results.score.gates import asked, check_gates, is_strict
from tests.support.scores import scored_latency, scored_variant, scores_file


def part(value: str, delta: float | None, simultaneous: tuple[float, float] | None) -> ScoredSlice:
    return ScoredSlice("method", value, 50, 50, None, None, None, delta, None, None, simultaneous)


def level(kind: Any, of: float, extra: float | None, simultaneous: tuple[float, float] | None) -> ScoredDegradation:
    return ScoredDegradation(kind, of, None, None, None, None, extra, None, None, None, simultaneous)


def gap(rate: Any, change: float | None, simultaneous: tuple[float, float] | None) -> ScoredGroupGap:
    return ScoredGroupGap("tone", rate, (), None, None, None, None, change, None, simultaneous, False)


def variant(**changed: Any) -> ScoredVariant:
    """A variant of 100 fake and 100 real frames."""
    usual = scored_variant(
        size_mib=30.0,
        auc=0.90, auc_ci=(0.86, 0.94), auc_delta=-0.02, auc_delta_ci=(-0.03, -0.01),
        confusion=ScoredConfusion(tp=80, fn=20, tn=95, fp=5),
        recall=0.80, recall_ci=(0.71, 0.87), specificity=0.95, specificity_ci=(0.89, 0.98),
        latency_ms=scored_latency(12.0), speedup=2.0, speedup_interval=(1.6, 2.5),
        flips=ScoredFlips(worse=7, better=2, p=0.18),
        slices=(part("NT", -0.05, (-0.09, -0.01)),),
        robustness=(level("jpeg", 50, -0.03, (-0.06, -0.01)), level("blur", 1.5, 0.0, (-0.01, 0.01))),
        group_gaps=(gap("fpr", 0.03, (0.01, 0.06)), gap("fnr", 0.0, (-0.01, 0.01))),
    )  # fmt: skip
    return replace(usual, **changed)


def scores(**variants: ScoredVariant) -> ScoresFile:
    return scores_file("baseline", {"baseline": variant(flips=None, speedup=None), **variants})


def outcome_of(q8: ScoredVariant, **gates: Any) -> GateOutcome:
    (outcome,) = check_gates(scores(q8=q8), {"q8": GateSettings(**gates)})
    return outcome


# gate: limits that it falls at, passes unproven at (strict falls), passes unproven at (strict too), passes proven at
LIMITS = {
    "auc": (0.95, 0.91, 0.89, 0.86),
    "auc_drop": (0.005, 0.015, 0.025, 0.03),
    "recall": (0.88, 0.85, 0.75, 0.70),
    "fpr": (0.01, 0.03, 0.05, 0.11),
    "latency_ratio": (0.39, 0.45, 0.55, 0.63),
    "worst_slice_auc_drop": (0.005, 0.03, 0.07, 0.09),
    "robustness_drop": (0.005, 0.025, 0.035, 0.06),
    "group_gap": (0.005, 0.025, 0.035, 0.06),
}


@pytest.mark.parametrize("gate", LIMITS)
def test_noisy_gates_are_judged_by_their_interval(gate: str) -> None:
    falls, over, under, proven = LIMITS[gate]
    cases: tuple[tuple[float, bool, bool, bool], ...] = (
        (falls, False, True, False), (falls, True, True, False), (over, False, False, False), (over, True, True, False),
        (under, False, False, False), (under, True, False, False), (proven, False, False, True),
        (proven, True, False, True),
    )  # fmt: skip
    for limit, strict, fell, is_proven in cases:
        outcome = outcome_of(variant(), **{gate: limit, "strict": strict})
        assert (outcome.fell, outcome.proven) == (fell, is_proven), (limit, strict)
        assert outcome.limit == limit
        assert outcome.headroom is not None
        assert (outcome.headroom >= -1e-9) == (limit in (under, proven)), "headroom is the estimate's"


@pytest.mark.parametrize(("gate", "falls", "exactly"), [("size_mib", 29.9, 30.0), ("flips", 6, 7)])
def test_exact_gates(gate: str, falls: float, exactly: float) -> None:
    assert outcome_of(variant(), **{gate: falls}).fell
    outcome = outcome_of(variant(), **{gate: exactly})
    assert (outcome.fell, outcome.proven, outcome.interval, outcome.headroom) == (False, True, None, 0)


UNKNOWN: dict[str, tuple[dict[str, Any], str]] = {
    "auc": ({"auc": None, "auc_ci": None}, "one class"),
    "auc_drop": ({"auc_delta": None, "auc_delta_ci": None}, "no AUC of both"),
    "recall": ({"recall": None, "recall_ci": None}, "no fake test frame"),
    "fpr": ({"confusion": ScoredConfusion(tp=80, fn=20, tn=0, fp=0)}, "no real test frame"),
    "size_mib": ({"size_mib": None}, "not known"),
    "latency_ratio": ({"speedup": None, "speedup_interval": None}, "not timed"),
    "flips": ({"flips": None}, "not compared"),
    "worst_slice_auc_drop": ({"slices": ()}, "no column divides the frames"),
    "robustness_drop": ({"robustness": ()}, "add `robustness:` to the experiment"),
    "group_gap": ({"group_gaps": ()}, "add `groups:`"),
}


def test_every_gate_is_tested() -> None:
    # Coverage is of the videos, not of a variant.
    assert sorted([*UNKNOWN, "min_coverage"]) == sorted(GateSettings.gate_names())
    assert {*LIMITS, "size_mib", "flips"} == set(UNKNOWN)


VIDEOS = ScoredVideos("mean", 5, "exclude", {"test": ScoredVideosOfSplit(90, 40, 50, 0, 10, 6, 4, 0.9)})


def test_coverage_is_that_of_the_test_videos_and_checked_once() -> None:
    with_videos = replace(scores(q8=variant()), videos=VIDEOS)
    for limit, fell in ((0.95, True), (0.9, False)):
        (outcome,) = check_gates(with_videos, {"all": GateSettings(min_coverage=limit)})
        assert (outcome.variant, outcome.value, outcome.fell) == ("baseline", 0.9, fell)
        assert outcome.note == "10 of 100 have no frame"
    (unknown,) = check_gates(scores(q8=variant()), {"q8": GateSettings(min_coverage=0.5)})
    assert (unknown.variant, unknown.value, unknown.fell) == ("q8", None, True)


def test_each_limit_of_coverage_is_checked_once() -> None:
    with_videos = replace(scores(q8=variant(), q16=variant()), videos=VIDEOS)
    asked_of = {
        "all": GateSettings(min_coverage=0.5), "q8": GateSettings(min_coverage=0.99),
        "q16": GateSettings(min_coverage=0.99),
    }  # fmt: skip
    outcomes = check_gates(with_videos, asked_of)
    assert [(each.variant, each.limit, each.fell) for each in outcomes] == [
        ("baseline", 0.5, False), ("q8", 0.99, True)
    ]  # fmt: skip


def test_gates_are_of_videos_where_these_are_judged() -> None:
    names = {field.name for field in fields(ScoredByVideo)}
    worse = replace(variant(), auc=0.7, auc_ci=(0.65, 0.75))
    q8 = replace(variant(), video=ScoredByVideo(**{name: getattr(worse, name) for name in names}))
    cases: tuple[tuple[Unit, float], ...] = (("frame", 0.9), ("video", 0.7))
    for judge, value in cases:
        judged = replace(scores(q8=q8), judge=judge)
        (outcome,) = check_gates(judged, {"q8": GateSettings(auc=0.8)})
        assert (outcome.value, outcome.fell) == (value, judge == "video")


@pytest.mark.parametrize("gate", UNKNOWN)
def test_an_unavailable_quantity_falls(gate: str) -> None:
    changed, why = UNKNOWN[gate]
    limit: float = 1000 if gate == "flips" else 0.5
    for q8, reason in (
        (variant(**changed), why),
        (variant(status="failed", reason="no room"), "it failed: no room"),
    ):
        outcome = outcome_of(q8, **{gate: limit})
        assert (outcome.fell, outcome.value, outcome.headroom, outcome.proven) == (True, None, None, False)
        assert reason in outcome.note


def test_what_was_not_timed_has_no_latency_ratio() -> None:
    outcome = outcome_of(
        variant(speedup=None, speedup_interval=None, latency_ms=scored_latency(None)), latency_ratio=1.0
    )
    assert (outcome.fell, outcome.note) == (True, "it was not timed: run once without --no-timing")


def test_simulated_int8_has_no_latency_ratio() -> None:
    outcome = outcome_of(variant(speedup=None, speedup_interval=None, int8="simulated"), latency_ratio=1.0)
    assert outcome.fell
    assert "simulated" in outcome.note


def test_latency_ratio_is_the_mirrored_speedup() -> None:
    outcome = outcome_of(variant(), latency_ratio=1.0)
    assert outcome.value == 0.5
    assert outcome.interval == Interval(1 / 2.5, 1 / 1.6)


def test_fpr_has_the_mirrored_interval_of_specificity() -> None:
    outcome = outcome_of(variant(), fpr=0.05, strict=True)
    assert outcome.value == 0.05
    assert outcome.interval == Interval(1 - 0.98, 1 - 0.89)
    assert not outcome.fell, "0.05 is no more than 0.05, whatever binary fractions make of 1 - 0.95"


def test_a_slice_that_is_proven_falls_beside_one_that_looks_worse() -> None:
    """The largest drop of all slices lies between the largest of their lower ends and of their upper ends."""
    small, sure = part("NT", -0.05, (-0.20, 0.10)), part("DF", -0.03, (-0.04, -0.02))
    assert not outcome_of(variant(slices=(small,)), worst_slice_auc_drop=0.015).fell
    outcome = outcome_of(variant(slices=(small, sure)), worst_slice_auc_drop=0.015)
    assert (outcome.fell, outcome.value, outcome.interval) == (True, 0.03, Interval(0.02, 0.04))
    assert outcome.note == "method = DF"
    assert outcome.headroom == pytest.approx(-0.015)


def test_no_slice_that_proves_a_fall_leaves_the_one_that_looks_worst() -> None:
    slices = (part("NT", -0.05, (-0.20, 0.10)), part("DF", -0.03, (-0.04, -0.02)), part("FS", None, None))
    for strict in (False, True):
        outcome = outcome_of(variant(slices=slices), worst_slice_auc_drop=0.045, strict=strict)
        assert (outcome.fell, outcome.value, outcome.interval) == (strict, 0.05, Interval(0.02, 0.20))
        assert outcome.note == "method = NT; too little to be judged: method = FS"


def test_the_worst_level_is_named_and_a_missing_one_falls() -> None:
    levels = (level("jpeg", 50, -0.05, (-0.20, 0.10)), level("h264", 40, -0.03, (-0.04, -0.02)))
    outcome = outcome_of(variant(robustness=levels), robustness_drop=0.015)
    assert (outcome.fell, outcome.value, outcome.interval) == (True, 0.03, Interval(0.02, 0.04))
    assert outcome.note == "h264 40"
    outcome = outcome_of(variant(robustness=(*levels, level("blur", 1.5, None, None))), robustness_drop=0.9)
    assert outcome.fell
    assert outcome.value is None
    assert "was not judged under blur 1.5: run again" in outcome.note


def test_the_gap_that_grew_is_named_and_groups_that_are_too_small_fall() -> None:
    outcome = outcome_of(variant(), group_gap=0.02)
    assert outcome.note == "FPR of tone"
    outcome = outcome_of(variant(group_gaps=(gap("fpr", None, None),)), group_gap=0.9)
    assert outcome.fell
    assert "no column has two groups with 20 frames of a class from 5 sources or more" in outcome.note


def test_slices_that_are_there_but_too_small() -> None:
    outcome = outcome_of(variant(slices=(part("NT", None, None),)), worst_slice_auc_drop=0.1)
    assert outcome.fell
    assert "too few frames" in outcome.note
    outcome = outcome_of(variant(slices=(), auc_delta=None), worst_slice_auc_drop=0.1)
    assert "no AUC of both" in outcome.note


def test_nothing_is_proven_where_a_part_could_not_be_judged() -> None:
    fine, unknown = part("DF", 0.0, (-0.005, 0.005)), part("FS", None, None)
    gaps = (gap("fpr", 0.0, (-0.01, 0.01)), gap("tpr", None, None))
    for judged, limit in (({"slices": (fine,)}, "worst_slice_auc_drop"), ({"group_gaps": gaps[:1]}, "group_gap")):
        assert outcome_of(variant(**judged), **{limit: 0.02}).proven
    of_slices = outcome_of(variant(slices=(fine, unknown)), worst_slice_auc_drop=0.02)
    of_gaps = outcome_of(variant(group_gaps=gaps), group_gap=0.02)
    for outcome, missing in ((of_slices, "method = FS"), (of_gaps, gaps[1].column)):
        assert (outcome.fell, outcome.proven) == (False, False)
        assert "too little to be judged" in outcome.note
        assert missing in outcome.note.partition("judged: ")[2]


def test_whether_any_gate_is_asked() -> None:
    gates = {"all": GateSettings(auc_drop=0.1), "q8": GateSettings(size_mib=9)}
    assert not asked(["baseline"], "baseline", gates)
    assert not asked(["baseline", "q4"], "baseline", {"q8": gates["q8"]})
    assert asked(["baseline", "q4"], "baseline", gates)


def test_without_an_interval_the_estimate_is_judged_and_it_says_so() -> None:
    outcome = outcome_of(variant(auc_ci=None), auc=0.91)
    assert outcome.fell
    assert "no interval" in outcome.note


def test_own_keys_come_before_those_of_all() -> None:
    both = scores(q8=variant(), q4=variant())
    gates = {"all": GateSettings(auc=0.91, size_mib=20, strict=True), "q8": GateSettings(size_mib=40)}
    outcomes = {(checked.variant, checked.gate): checked for checked in check_gates(both, gates)}
    assert outcomes["q8", "size_mib"].limit == 40
    assert outcomes["q4", "size_mib"].limit == 20
    assert outcomes["q8", "auc"].fell
    assert outcomes["q4", "auc"].fell, "strict is of all"
    gates["q8"] = GateSettings(size_mib=40, strict=False)
    lenient = {(checked.variant, checked.gate): checked for checked in check_gates(both, gates)}
    assert not lenient["q8", "auc"].fell, "and overridden like any key"
    assert lenient["q4", "auc"].fell


def test_the_baseline_is_not_compared_with_itself() -> None:
    gates = {"all": GateSettings(auc=0.5, auc_drop=0.1, flips=10, latency_ratio=1, worst_slice_auc_drop=0.1)}
    asked = [(checked.variant, checked.gate) for checked in check_gates(scores(q8=variant()), gates)]
    assert [gate for name, gate in asked if name == "baseline"] == ["auc"]
    assert [gate for name, gate in asked if name == "q8"] == [
        "auc", "auc_drop", "latency_ratio", "flips", "worst_slice_auc_drop",
    ]  # fmt: skip


def test_a_variant_without_results_falls() -> None:
    (outcome,) = check_gates(scores(), {"q8": GateSettings(auc=0.5)})
    assert outcome.fell
    assert "no results" in outcome.note


def test_an_equal_variant_passes_the_strictest_drop() -> None:
    outcome = outcome_of(variant(auc_delta=0.0, auc_delta_ci=(0.0, 0.0)), auc_drop=0, strict=True)
    assert (outcome.fell, outcome.proven, str(outcome.value)) == (False, True, "0.0")


@pytest.mark.parametrize(
    ("settings", "message"),
    [({}, "no gate"), ({"flips": 2.5}, "integer"), ({"flips": True}, "number"),
     ({"auc": 1.5}, "less than or equal to 1"), ({"fpr": -0.1}, "greater than or equal to 0"),
     ({"size_mib": 0}, "greater than 0"), ({"auc_drop": False}, "number"), ({"auc": 0.5, "strict": 1}, "boolean"),
     ({"latency_ms": 20}, "Extra inputs"), ({"auc": None}, "guard nothing"),
     ({"auc": 0.5, "fpr": None}, "guard nothing"), ({"size_mib": float("inf")}, "finite"),
     ({"latency_ratio": float("nan")}, "finite|greater than 0")],
)  # fmt: skip
def test_settings_that_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GateSettings(**settings)


def test_a_variant_may_be_let_off_the_strictness_of_all() -> None:
    gates = {"all": GateSettings(auc=0.9, strict=True), "q8": GateSettings(strict=False)}
    assert (is_strict("q16", gates), is_strict("q8", gates)) == (True, False)
