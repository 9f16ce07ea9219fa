"""Several detectors on the same frames: the reference, paired differences, speeds of one session, the choice."""

from __future__ import annotations

import pytest
from sklearn.metrics import roc_auc_score

from bench.records import Constraints, SideBySide
from bench.results.score import side_by_side
from bench.results.score.differences import difference
from bench.results.score.placements import placements
from tests.support.side_by_side import B5, LATER, MOBILE, SPECS, XCEPTION, all_failed, alone, three


def candidate(together: SideBySide, name: str) -> bool:
    assert together.evaluation.choice is not None
    return next(rival.qualifies for rival in together.evaluation.choice.candidates if rival.name == name)


def test_all_are_compared_with_the_most_accurate_baseline() -> None:
    together = three()
    assert (together.best, together.reference) == ("b5", "b5/baseline")
    assert list(together.titles) == [f"{detector}/{name}" for detector, spec in SPECS.items() for name in spec]
    test = together.detectors["b5"].evaluation.test
    for title, (detector, name) in together.titles.items():
        answers = [
            together.detectors[each].evaluation.predictions[called].ranks
            for each, called in ((detector, name), ("b5", "baseline"))
        ]
        comparison = together.evaluation.variants[title].comparison
        if title == "b5/baseline":
            assert comparison is None
            continue
        assert comparison is not None
        aucs = [roc_auc_score(test.labels, ranks) for ranks in answers]
        assert comparison.delta.value == pytest.approx(aucs[0] - aucs[1])
        variant, reference = (placements(test.labels, ranks) for ranks in answers)
        expected, p = difference(variant, reference, None)
        assert (comparison.delta.interval, comparison.p) == (expected.interval, p)


def test_each_keeps_what_it_is_against_its_own_baseline() -> None:
    together = three()
    for name, spec in SPECS.items():
        by_itself = alone(name, spec)
        for variant, judged in together.detectors[name].evaluation.variants.items():
            assert judged.comparison == by_itself.evaluation.variants[variant].comparison


def test_baselines_are_corrected_for_their_own_number() -> None:
    """Two comparisons with the best, though there are eight of variants."""
    together = three()
    assert list(together.baselines) == ["xception", "mobile"]
    smallest = min(together.baselines.values(), key=lambda compared: compared.p)
    assert smallest.p_holm == pytest.approx(2 * smallest.p)
    of_variants = together.evaluation.variants["mobile/baseline"].comparison
    assert of_variants is not None
    assert of_variants.delta == together.baselines["mobile"].delta
    assert of_variants.p_holm >= together.baselines["mobile"].p_holm


def test_a_drop_of_auc_that_was_asked_for_is_from_the_best_baseline() -> None:
    """However fast that one is."""
    together = three(Constraints(auc_drop=0.02, latency_ms=35))
    assert together.reference == "b5/baseline"
    assert together.evaluation.choice is not None
    assert together.evaluation.choice.chosen == "xception/baseline"
    assert not candidate(together, "mobile/q8")
    assert not candidate(together, "b5/q8"), "it is too slow"


def test_within_a_budget_alone_the_best_that_fits_is_the_measure() -> None:
    """B5 does not fit into 35 ms, so what fits is not held against it."""
    together = three(Constraints(latency_ms=35))
    assert (together.best, together.reference) == ("b5", "xception/baseline")
    assert together.evaluation.choice is not None
    assert together.evaluation.choice.chosen == "xception/baseline"
    assert three(Constraints(size_mib=30)).reference == "b5/q8", "a variant may be the most accurate that fits"
    assert three(Constraints(size_mib=1)).reference == "b5/baseline", "where nothing fits, the best of all is"


def test_where_nothing_fits_the_nearest_is_named() -> None:
    choice = three(Constraints(size_mib=4)).evaluation.choice
    assert choice is not None
    assert choice.chosen is None
    assert {loosening.variant for loosening in choice.loosen}


def test_speeds_compare_within_a_session_alone() -> None:
    together = three()
    speeds = together.evaluation.speeds
    assert together.sessions == 1
    assert speeds["xception/q8"].speedup is not None
    assert speeds["xception/q8"].speedup.value == pytest.approx(80 / 15)
    xception = alone("xception", XCEPTION, session=LATER)
    apart = side_by_side({"b5": alone("b5", B5), "xception": xception, "mobile": alone("mobile", MOBILE)})
    assert apart.sessions == 2
    assert apart.evaluation.speeds["xception/q8"].speedup is None
    assert apart.evaluation.speeds["mobile/q8"].speedup is not None
    assert apart.evaluation.latencies is not None
    assert not [name for name in apart.evaluation.latencies.by_variant if name.startswith("xception")]


def test_the_fronts_run_over_all_detectors() -> None:
    choice = three().evaluation.choice
    assert choice is not None
    assert choice.front_by_size == ("mobile/q8", "mobile/q16", "xception/q8", "b5/q8", "b5/baseline")
    assert choice.front_by_latency[0] == "mobile/q8"
    sizes = {rival.name: (rival.size_mib, rival.auc) for rival in choice.candidates}
    on_front = [sizes[name] for name in choice.front_by_size]
    assert on_front == sorted(on_front)
    assert [auc for _, auc in on_front] == sorted(auc for _, auc in on_front if auc is not None)


def test_a_detector_of_which_all_failed_stops_no_other() -> None:
    nothing = all_failed("mobile", MOBILE)
    together = side_by_side({"mobile": nothing, "b5": alone("b5", B5), "xception": alone("xception", XCEPTION)})
    assert together.reference == "b5/baseline"
    assert together.evaluation.choice is not None
    assert "mobile" not in together.baselines
    assert {name for name in together.evaluation.variants if name.startswith("mobile")} == set()
    assert all(judged.auc is not None for judged in together.evaluation.variants.values())
    alone_gone = side_by_side({"mobile": nothing})
    assert alone_gone.evaluation.choice is None
