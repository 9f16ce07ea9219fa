"""What each step cost and gained: whom a variant is compared with, and when speed may be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from bench.records import Conditions, Effect, Executed, Footprint, Measurement, RunRecord, VariantResult
from bench.results.score.ablation import effects
from bench.results.score.clusters import clusters
from bench.results.score.differences import difference
from bench.results.score.placements import Placements, placements
from bench.results.score.speed import ratio

SESSION = Conditions("2026-01-01T00:00:00+00:00", 9.0, 6, {"cpu": "some"})
EXECUTED = Executed("onnxruntime", "cpu", "none", (), "fp32", "fp32")
LABELS = np.tile([0, 1], 30)
PRUNED = ("prune: 0.5", "recover")


def variant(name: str, *steps: str, ms: float = 10.0, mib: float = 100.0, macs: int | None = 9) -> VariantResult:
    times = (Measurement("onnxruntime", "cpu", 1, ((ms, ms),) * 5), Measurement("onnxruntime", "cpu", 8, ((ms,),) * 5))
    size = Footprint(int(mib * 2**20), 1000, macs)
    return VariantResult(name, "", steps, "ok", None, size, EXECUTED, times, (), SESSION)


SIX = (
    variant("baseline"),
    variant("q16", "cast: fp16", mib=50.0),
    variant("q8", "quantize: int8", mib=25.0, ms=5.0),
    variant("q32-p50", *PRUNED, mib=50.0, ms=6.0, macs=4),
    variant("q16-p50", *PRUNED, "cast: fp16", mib=25.0, ms=6.0, macs=4),
    variant("q8-p50", *PRUNED, "quantize: int8", mib=12.5, ms=2.0, macs=4),
)


def scores(seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.random.default_rng(seed).normal(LABELS.astype(float), 1.0)


def placed(variants: tuple[VariantResult, ...]) -> dict[str, Placements]:
    return {row.name: placements(LABELS, scores(seed)) for seed, row in enumerate(variants)}


def effects_of(variants: tuple[VariantResult, ...]) -> dict[str, Effect]:
    run = RunRecord("e", "d", "a", None, 0.5, 5, "gallery", {}, variants, {})
    return {effect.variant: effect for effect in effects(run, placed(variants), None)}


def test_each_is_compared_with_the_longest_chain_it_continues() -> None:
    compared = [(effect.variant, effect.ancestor, effect.steps) for effect in effects_of(SIX).values()]
    assert compared == [
        ("q16", "baseline", ("cast: fp16",)),
        ("q8", "baseline", ("quantize: int8",)),
        ("q32-p50", "baseline", PRUNED),
        ("q16-p50", "q32-p50", ("cast: fp16",)),
        ("q8-p50", "q32-p50", ("quantize: int8",)),
    ]


def test_order_in_the_experiment_does_not_matter() -> None:
    assert effects_of((SIX[0], *reversed(SIX[1:])))["q8-p50"].ancestor == "q32-p50"


def test_a_failed_ancestor_is_passed_over() -> None:
    failed = replace(SIX[3], status="failed", reason="none", footprint=None, executed=None)
    through = effects_of((*SIX[:3], failed, *SIX[4:]))
    assert "q32-p50" not in through
    assert (through["q8-p50"].ancestor, through["q8-p50"].steps) == ("baseline", (*PRUNED, "quantize: int8"))
    headless = effects_of((replace(SIX[0], status="failed"), *SIX[1:]))
    assert list(headless) == ["q16-p50", "q8-p50"]


def test_of_twins_the_first_is_the_ancestor_and_neither_has_an_effect_on_the_other() -> None:
    compared = effects_of((*SIX[:4], replace(SIX[3], name="twin"), SIX[5], replace(SIX[0], name="again")))
    assert compared["twin"].ancestor == "baseline"
    assert compared["q8-p50"].ancestor == "q32-p50"
    assert "again" not in compared


def test_a_step_of_which_another_is_a_part_is_another_step() -> None:
    compared = effects_of((SIX[0], variant("half", "prune: 0.5"), variant("more", "prune: 0.55", "recover")))
    assert compared["more"].ancestor == "baseline"


def test_numbers_are_those_of_the_two() -> None:
    effect = effects_of(SIX)["q8-p50"]
    assert effect.delta is not None
    assert effect.delta.value == pytest.approx(roc_auc_score(LABELS, scores(5)) - roc_auc_score(LABELS, scores(3)))
    assert effect.p is not None
    assert 0 < effect.p < 1
    assert effect.size_bytes == (50 * 2**20, 12.5 * 2**20)
    assert effect.parameters == (1000, 1000)
    assert effect.macs == (4, 4)
    assert effect.speed == ratio(SIX[5].measurements[0], SIX[3].measurements[0])
    assert effect.speed is not None
    assert effect.speed.value == pytest.approx(3.0)


def test_frames_of_one_source_count_together() -> None:
    run = RunRecord("e", "d", "a", None, 0.5, 5, "gallery", {}, SIX[:2], {})
    shared = clusters(pd.Series(np.arange(60) // 6 * 2 + LABELS).astype(str), LABELS)
    by_variant = placed(SIX[:2])
    (effect,) = effects(run, by_variant, shared)
    assert (effect.delta, effect.p) == difference(by_variant["q16"], by_variant["baseline"], shared)
    assert effect.delta is not None
    assert effect.delta.by_source is not None


def test_speed_is_told_only_of_what_ran_side_by_side() -> None:
    simulated = replace(EXECUTED, stored="int8", int8="simulated")
    other = (replace(SIX[2].measurements[0], runtime="pytorch"),)
    for change in (
        replace(SIX[2], conditions=replace(SESSION, began="2026-01-02T00:00:00+00:00")),
        replace(SIX[2], conditions=None),
        replace(SIX[2], executed=simulated),
        replace(SIX[2], executed=None),
        replace(SIX[2], executed=replace(EXECUTED, runtime="pytorch"), measurements=other),
        replace(SIX[2], executed=replace(EXECUTED, device="cuda")),
        replace(SIX[2], measurements=()),
    ):
        assert effects_of((SIX[0], change))["q8"].speed is None
    native = replace(SIX[2], executed=replace(simulated, int8="native"))
    assert effects_of((SIX[0], native))["q8"].speed is not None


def test_neither_is_speed_where_both_were_never_timed() -> None:
    idle = tuple(replace(row, conditions=None) for row in SIX[:2])
    assert effects_of(idle)["q16"].speed is None


def test_what_is_unknown_of_either_is_none() -> None:
    unknown = replace(SIX[1], footprint=Footprint(7, None, None))
    run = RunRecord("e", "d", "a", None, 0.5, 5, "gallery", {}, (SIX[0], unknown), {})
    (effect,) = effects(run, {}, None)
    assert (effect.delta, effect.p, effect.parameters, effect.macs) == (None, None, None, None)
    assert effect.size_bytes == (100 * 2**20, 7)
    elsewhere = tuple(replace(each, steps=(), footprint=None, executed=None) for each in SIX)
    assert effects_of(elsewhere) == {}
