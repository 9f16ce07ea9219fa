"""The fixed threshold by a rule: against scikit-learn's curves, on ties, on saturated scores, and by video."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from bench.errors import UserError
from bench.records import BestCriterion, LabelledFrames, Predictions, RunRecord, ThresholdRule, VideoCounts
from bench.results.score.operating import find_threshold, problems, with_threshold
from bench.results.score.points import operating_point
from bench.results.score.thresholds import same_fpr

CLOSE = 1e-9


def scored(seed: int, count: int, digits: int | None = None) -> tuple[Any, Any]:
    """Labels of both classes and overlapping scores of `count` frames, rounded where `digits` are given."""
    rng = np.random.default_rng(seed)
    labels = np.append([0, 1], rng.integers(0, 2, count - 2))
    p_fake = 1 / (1 + np.exp(-rng.normal(2.0 * labels - 1.0, 1.5)))
    return labels, p_fake if digits is None else p_fake.round(digits)


def run_with(rule: ThresholdRule, **others: Any) -> RunRecord:
    return RunRecord(
        "e", "", "", None, 0.5, 1, "gallery", {}, (), {}, threshold_rule=rule, **others
    )  # fmt: skip


@pytest.mark.parametrize("limit", [0.01, 0.05, 0.29])
@pytest.mark.parametrize("digits", [None, 2, 1])
@pytest.mark.parametrize("seed", range(4))
def test_no_threshold_with_that_fpr_finds_more_fakes(seed: int, digits: int | None, limit: float) -> None:
    labels, p_fake = scored(seed, 400, digits)
    threshold, reached = find_threshold(ThresholdRule("fpr", limit), labels, p_fake)
    point = operating_point(labels, p_fake, threshold)
    fpr, _, thresholds = metrics.roc_curve(labels, p_fake, drop_intermediate=False)
    within = thresholds[fpr <= limit + CLOSE]
    attainable = [1 - (operating_point(labels, p_fake, min(at, 1.0)).specificity or 0.0) for at in within if at <= 1]
    assert reached == bool(attainable)
    assert point.specificity is not None
    assert 1 - point.specificity == pytest.approx(max(attainable, default=1 - point.specificity))
    assert 0 < threshold <= 1


@pytest.mark.parametrize("limit", [0.01, 0.1])
@pytest.mark.parametrize("digits", [None, 1])
def test_the_fnr_is_as_near_to_its_limit_as_scores_allow(digits: int | None, limit: float) -> None:
    labels, p_fake = scored(3, 300, digits)
    threshold, reached = find_threshold(ThresholdRule("fnr", limit), labels, p_fake)
    point = operating_point(labels, p_fake, threshold)
    rates = [1 - (operating_point(labels, p_fake, at).recall or 0.0) for at in np.unique(p_fake) if at > 0]
    assert reached
    assert point.recall is not None
    assert 1 - point.recall == pytest.approx(max(rate for rate in rates if rate <= limit + CLOSE))


@pytest.mark.parametrize("digits", [None, 1])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("criterion", ["f1", "accuracy", "precision", "recall", "youden"])
def test_nothing_is_better_than_the_best(criterion: BestCriterion, seed: int, digits: int | None) -> None:
    of_sklearn = {
        "f1": metrics.f1_score,
        "accuracy": metrics.accuracy_score,
        "precision": metrics.precision_score,
        "recall": metrics.recall_score,
        "youden": metrics.balanced_accuracy_score,
    }[criterion]
    labels, p_fake = scored(seed, 60, digits)
    threshold, _ = find_threshold(ThresholdRule(criterion), labels, p_fake)

    def value(at: float) -> float:
        return float(of_sklearn(labels, p_fake >= at, **({"zero_division": 0.0} if criterion == "precision" else {})))

    assert value(threshold) == pytest.approx(max(value(at) for at in np.append(np.unique(p_fake), 1.0) if at > 0))


def test_of_equal_precision_or_recall_the_other_kind_of_error_decides() -> None:
    labels, p_fake = np.array([0, 0, 1, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.6, 0.7, 0.9])
    assert 0.6 < find_threshold(ThresholdRule("precision"), labels, p_fake)[0] <= 0.7  # two fakes, not one
    assert 0.2 < find_threshold(ThresholdRule("recall"), labels, p_fake)[0] <= 0.3  # not everything is called fake


def test_the_number_is_short_and_decides_alike() -> None:
    labels, p_fake = np.array([0, 0, 1, 1]), np.array([0.1, 0.8123, 0.8345, 0.99])
    threshold, _ = find_threshold(ThresholdRule("youden"), labels, p_fake)
    assert threshold == 0.82
    separated = np.array([0.1, 0.3, 0.8, 0.9])
    assert find_threshold(ThresholdRule("f1"), labels, separated)[0] == 0.5


@given(st.integers(0, 10_000), st.integers(2, 60), st.sampled_from([0.1, 0.3, 0.5]), st.sampled_from([None, 1, 2]))
@settings(max_examples=60, deadline=None)
def test_carried_to_the_baseline_itself_the_rate_stays(seed: int, count: int, limit: float, digits: int | None) -> None:
    labels, p_fake = scored(seed, count, digits)
    threshold, _ = find_threshold(ThresholdRule("fpr", limit), labels, p_fake)
    assert same_fpr(labels, p_fake, p_fake, threshold) == threshold


def test_saturated_scores_give_what_comes_nearest_and_say_so() -> None:
    labels = np.array([0] * 10 + [1] * 10)
    saturated = np.array([0.2] * 7 + [1.0] * 3 + [1.0] * 10)
    threshold, reached = find_threshold(ThresholdRule("fpr", 0.1), labels, saturated)
    assert (reached, int((saturated[labels == 0] >= threshold).sum())) == (False, 3)
    lowest = np.array([0.0] * 10 + [0.0] * 4 + [0.9] * 6)
    threshold, reached = find_threshold(ThresholdRule("fnr", 0.1), labels, lowest)
    assert (reached, int((lowest[labels == 1] < threshold).sum())) == (False, 4)
    assert threshold > 0
    near_one = np.append(np.full(10, 0.3), 1 - np.arange(1, 11) * 1e-16)
    assert 0 < find_threshold(ThresholdRule("fnr", 0.2), labels, near_one)[0] <= 1


def test_ties_stay_on_the_side_that_keeps_the_limit() -> None:
    labels, p_fake = np.array([0] * 10 + [1] * 3), np.array([0.1] * 6 + [0.9] * 4 + [0.8, 0.95, 0.99])
    threshold, reached = find_threshold(ThresholdRule("fpr", 0.3), labels, p_fake)
    assert (reached, 0.9 < threshold <= 0.95) == (True, True)


@pytest.mark.parametrize(
    ("rule", "fake", "real", "parts"),
    [
        (ThresholdRule("fpr", 0.01), 0, 0, ("there are none", "`validation`")),
        (ThresholdRule("f1"), 5, 0, ("both classes", "all 5 are fake", "real ones")),
        (ThresholdRule("fpr", 0.01), 50, 63, ("finer than 63 real", "1 of 63", "0.016", "100 real")),
        (ThresholdRule("fnr", 0.05), 19, 100, ("finer than 19 fake", "0.053", "20 fake")),
    ],
)
def test_what_frames_cannot_show_is_refused(rule: ThresholdRule, fake: int, real: int, parts: tuple[str, ...]) -> None:
    [problem] = problems(rule, fake, real)
    assert all(part in problem for part in (f"`{rule.text}`", *parts))


@pytest.mark.parametrize("real", [3, 7, 63, 95, 300, 999, 12_345])
def test_what_is_offered_instead_is_accepted(real: int) -> None:
    [problem] = problems(ThresholdRule("fpr", 1e-6), 10, real)
    offered = float(problem.split(f"1 of {real:,}, ")[1].split(";")[0])
    assert not list(problems(ThresholdRule("fpr", offered), 10, real))
    assert not list(problems(ThresholdRule("fpr", 0.29), 10, 100))


def frames_of(labels: Any, videos: Any = None, firsts: Any = None) -> LabelledFrames:
    names = pd.Series([f"{index}.png" for index in range(len(labels))])
    of_videos = None if videos is None else pd.Series(videos, dtype="string")
    sources = pd.Series([None] * len(labels), dtype="string")
    return LabelledFrames(names, np.array(labels, np.int8), sources, pd.DataFrame(index=names.index), firsts, of_videos)


def test_copies_do_not_count() -> None:
    labels, p_fake = [0, 0, 0, 1, 1], np.array([0.1, 0.7, 0.7, 0.6, 0.9])
    frames = frames_of(labels, firsts=np.array([0, 1, 1, 3, 4]))
    run = with_threshold(run_with(ThresholdRule("fpr", 0.5)), frames, Predictions(np.zeros(0), p_fake, None), "a", "b")
    assert run.threshold_choice is not None
    assert (run.threshold_choice.real, run.threshold_choice.fp, run.threshold_choice.fn) == (2, 1, 0)
    assert (run.threshold_choice.frame_set, run.threshold_choice.basis) == ("a", "b")
    assert run.threshold == run.threshold_choice.threshold == 0.5


def test_where_videos_are_judged_it_is_found_by_video() -> None:
    labels, videos = [0, 0, 0, 0, 1, 1], ["a", "a", "b", "b", "c", "c"]
    p_fake = np.array([0.1, 0.9, 0.1, 0.2, 0.6, 0.7])
    counts = {"validation": VideoCounts(3, 1, 2)}
    rule = ThresholdRule("youden")
    frames = Predictions(np.zeros(0), p_fake, None)
    by_video = with_threshold(run_with(rule, judge="video", videos=counts), frames_of(labels, videos), frames)
    by_frame = with_threshold(run_with(rule, videos=counts), frames_of(labels, videos), frames)
    assert by_video.threshold_choice is not None
    assert by_frame.threshold_choice is not None
    assert (by_video.threshold_choice.unit, by_video.threshold_choice.real, by_video.threshold_choice.fp) == (
        "video",
        2,
        0,
    )
    assert 0.5 < by_video.threshold <= 0.65  # the means of a, b and c are .5, .15 and .65
    assert (by_frame.threshold_choice.unit, by_frame.threshold_choice.fp) == ("frame", 1)
    with pytest.raises(UserError, match="validation videos, and there are none"):
        with_threshold(run_with(rule, judge="video"), frames_of(labels), frames)
