"""One verdict over several frame sets: its rule, its size and power, the choice on all of them, pooled scores."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bench.records import Alone, Auc, Comparison, Constraints, Interval, Verdict
from bench.results.score import evaluate
from bench.results.score.frame_sets import on_sets, overall
from bench.results.score.noninferiority import verdict
from tests.support.frame_sets import COUNTS, LOST, detectors_on_three, on_set, three
from tests.support.side_by_side import SPECS

MARGIN = 0.01


def compared(delta: float, error: float) -> Comparison:
    """A comparison with a normal interval."""
    interval = Interval(delta - 1.96 * error, delta + 1.96 * error)
    p = math.erfc(abs(delta) / error / math.sqrt(2))
    return Comparison(Auc(delta, interval), p, p, verdict(delta, interval, MARGIN))


STABLE, IMPROVED = compared(-0.001, 0.002), compared(0.02, 0.004)
LOSS, SLIGHT, WIDE = compared(-0.05, 0.01), compared(-0.025, 0.0115), compared(-0.012, 0.02)
"""`SLIGHT` is degraded by its own interval (p .03), and not after the correction for two sets."""


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ([STABLE, STABLE, STABLE], "stable"),
        ([STABLE, IMPROVED], "stable"),
        ([IMPROVED, IMPROVED], "improved"),
        ([STABLE, LOSS, STABLE], "degraded"),
        ([IMPROVED, LOSS], "degraded"),
        ([WIDE, LOSS], "degraded"),
        ([STABLE, WIDE], "inconclusive"),
        ([STABLE, SLIGHT], "inconclusive"),
        ([SLIGHT], "degraded"),
        ([STABLE, None], "inconclusive"),
        ([LOSS, None], "degraded"),
        ([None, None], None),
    ],
)
def test_one_verdict_of_several(sets: list[Comparison | None], expected: Verdict | None) -> None:
    assert overall({f"set{index}": each for index, each in enumerate(sets)}, "set0").verdict == expected


def test_the_worst_set_comes_first() -> None:
    """By verdict, then by how low the interval ends; a loss that the correction takes away is inconclusive."""
    judged = overall({"a": IMPROVED, "b": STABLE, "c": WIDE, "d": LOSS, "e": None}, "a")
    assert tuple(judged.comparisons) == ("d", "c", "b", "a")
    assert (judged.worst, judged.lost, judged.unknown) == ("d", ("d",), ("e",))
    judged = overall({"a": SLIGHT, "b": WIDE}, "a")
    assert (tuple(judged.comparisons), judged.uncorrected, judged.lost) == (("b", "a"), ("a",), ())


@pytest.mark.parametrize(
    ("at_home", "abroad", "keeps"), [(STABLE, LOSS, True), (LOSS, STABLE, False), (LOSS, LOSS, False),
                                     (STABLE, SLIGHT, False), (WIDE, LOSS, False), (IMPROVED, LOSS, True)],
)  # fmt: skip
def test_what_keeps_at_home_and_loses_abroad(at_home: Comparison, abroad: Comparison, keeps: bool) -> None:
    assert overall({"home": at_home, "abroad": abroad}, "home").keeps_at_home_only is keeps


def test_one_set_is_its_own_verdict() -> None:
    for each in (STABLE, IMPROVED, LOSS, SLIGHT, WIDE):
        assert overall({"a": each}, "a").verdict == each.verdict


# ------------------------------------------------------------------------------------------- size and power
def drawn(deltas: list[float], error: float, count: int) -> list[Verdict | None]:
    """The verdicts of as many experiments, whose estimates lie around these differences."""
    noise = np.random.default_rng(7).normal(0, error, (count, len(deltas)))
    estimates = np.array(deltas) + noise
    return [overall({str(index): compared(each, error) for index, each in enumerate(row)}, "0").verdict
            for row in estimates.tolist()]  # fmt: skip


def share(verdicts: list[Verdict | None], *words: Verdict) -> float:
    return float(np.mean([each in words for each in verdicts]))


def test_stable_needs_no_correction() -> None:
    """On the border on one set, well within it on the others: called stable in 2.5 % at most, however many sets."""
    for sets in (2, 5):
        wrong = share(drawn([-MARGIN, *[0.0] * (sets - 1)], 0.002, 4000), "stable", "improved")
        assert 0.013 < wrong < 0.035
    assert share(drawn([-MARGIN] * 3, 0.002, 4000), "stable", "improved") < 0.002


def test_degraded_keeps_its_size_by_the_correction() -> None:
    """Nothing lost anywhere, and errors large enough for the estimate to lie beyond the margin by chance."""
    for sets in (1, 2, 5):
        assert share(drawn([0.0] * sets, 0.02, 4000), "degraded") < 0.035
    uncorrected = np.random.default_rng(7).normal(0, 0.02, (4000, 5))
    assert np.mean((uncorrected < -1.96 * 0.02).any(axis=1)) > 0.1, "without it, one in nine would be called degraded"


def test_power_falls_with_sets_as_it_must() -> None:
    """Without a loss, stable on each of three is as likely as on one to the third power; a true loss is still found."""
    alone, three_sets = (share(drawn([0.0] * sets, 0.0045, 4000), "stable", "improved") for sets in (1, 3))
    assert three_sets == pytest.approx(alone**3, abs=0.04)
    single, corrected = (share(drawn([-0.04, *[0.0] * further], 0.01, 4000), "degraded") for further in (0, 3))
    assert single > 0.95
    assert corrected > 0.9


# ------------------------------------------------------------------------------------------- of whole runs
def test_verdicts_are_of_each_sets_own_auc() -> None:
    across = three()
    for name, alone in across.sets.items():
        test, baseline = alone.evaluation.test, alone.evaluation.predictions["baseline"]
        for variant, judged in across.verdicts.items():
            ranks = alone.evaluation.predictions[variant].ranks
            expected = roc_auc_score(test.labels, ranks) - roc_auc_score(test.labels, baseline.ranks)
            assert judged.comparisons[name].delta.value == pytest.approx(expected)
    assert across.verdicts["q8"].keeps_at_home_only
    assert across.verdicts["q8"].worst == "ffpp_c40"
    assert across.worst_first[0] == "ffpp_c40"


def test_the_choice_holds_on_each_set() -> None:
    """q8 is the smallest and would be shipped on two of the sets; it has lost its AUC on the third."""
    across = three()
    alone = {name: each.evaluation.choice for name, each in across.sets.items()}
    assert [choice.chosen for choice in alone.values() if choice] == ["q8", "q16", "q8"]
    choice = across.evaluation.choice
    assert choice is not None
    assert choice.chosen == "q16"
    by_name = {candidate.name: candidate for candidate in choice.candidates}
    [drop] = by_name["q16"].requirements
    lows = [across.verdicts["q16"].comparisons[name].delta.interval.low for name in COUNTS]
    assert drop.value == pytest.approx(-min(lows))
    averaged = [each.evaluation.variants["q16"].auc for each in across.sets.values()]
    assert by_name["q16"].auc == pytest.approx(np.mean([auc.value for auc in averaged if auc]))


def test_no_choice_where_the_baseline_is_at_chance_on_a_set() -> None:
    across = three()
    lost = across.sets["mine"]
    labels = np.random.default_rng(0).integers(0, 2, len(lost.evaluation.test.labels)).astype(np.int8)
    test = dataclasses.replace(lost.evaluation.test, labels=labels)
    guessing = Alone(lost.run, evaluate(lost.run, test, None, lost.evaluation.predictions))
    judged = on_sets({**across.sets, "mine": guessing}, "celeb")
    assert judged.at_chance == ("mine",)
    assert judged.evaluation.choice is None


def test_a_variant_that_failed_on_a_set_cannot_be_chosen() -> None:
    across = three(lost={})
    assert across.evaluation.choice
    assert across.evaluation.choice.chosen == "q8"
    gone = across.sets["mine"]
    failed = tuple(
        dataclasses.replace(each, status="failed", reason="lost") if each.name == "q8" else each
        for each in gone.run.variants
    )
    run = dataclasses.replace(gone.run, variants=failed)
    answers = {name: each for name, each in gone.evaluation.predictions.items() if name != "q8"}
    without = Alone(run, evaluate(run, gone.evaluation.test, None, answers))
    judged = on_sets({**across.sets, "mine": without}, "celeb")
    assert judged.verdicts["q8"].unknown == ("mine",)
    assert judged.verdicts["q8"].verdict == "inconclusive"
    assert judged.evaluation.choice
    assert judged.evaluation.choice.chosen == "q16"


def test_pooled_scores_only_where_that_is_asked_for() -> None:
    """By the AUC of all scores together, which is not the mean of the AUCs of each set."""
    across = three(pool=True)
    sets = [each.evaluation for each in across.sets.values()]
    labels = np.concatenate([each.test.labels for each in sets])

    def auc(variant: str) -> float:
        return float(roc_auc_score(labels, np.concatenate([each.predictions[variant].ranks for each in sets])))

    for variant, judged in across.verdicts.items():
        assert judged.pooled is not None
        assert judged.pooled.delta.value == pytest.approx(auc(variant) - auc("baseline"))
        assert judged.verdict == judged.pooled.verdict
    assert three().verdicts["q8"].pooled is None
    assert across.evaluation.choice == three().evaluation.choice, "limits hold on each set all the same"


def test_equal_names_of_sources_are_of_other_videos_in_another_set() -> None:
    """Pooled, sources of the same name in two sets are two clusters: intervals are no wider than by these."""
    import pandas as pd

    sets = {name: on_set("b5", SPECS["b5"], name, LOST, None) for name in ("celeb", "mine")}

    def with_sources(prefix: bool) -> dict[str, Alone]:
        named = {}
        for name, alone in sets.items():
            count = len(alone.evaluation.test.labels)
            before = f"{name}-" if prefix else ""
            sources = pd.Series([f"{before}video{index // 4}" for index in range(count)], dtype=object)
            test = dataclasses.replace(alone.evaluation.test, sources=sources)
            named[name] = Alone(alone.run, evaluate(alone.run, test, None, alone.evaluation.predictions))
        return named

    same, other = (on_sets(with_sources(prefix), "celeb", pool=True).verdicts["q8"].pooled for prefix in (False, True))
    assert same is not None
    assert other is not None
    assert same.delta.by_source == other.delta.by_source


def test_detectors_are_compared_with_one_reference_on_all_sets() -> None:
    together = detectors_on_three(Constraints(auc_drop=MARGIN, size_mib=60))
    references = {compared.reference for compared in together.compared.values()}
    assert len(references) == 1
    choice = together.evaluation.choice
    assert choice is not None
    assert choice.chosen is not None
    chosen = together.verdicts[choice.chosen]
    assert all(each.delta.interval.low > -MARGIN for each in chosen.comparisons.values())
