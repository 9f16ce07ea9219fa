"""How members' answers are joined, beside SciPy, NumPy's averages and scikit-learn's voting."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from bench.records.ensembles import Combination, Ensemble, log_odds, sigmoid

ANSWERS = np.random.default_rng(3).uniform(0.01, 0.99, (3, 200))
WEIGHTS = {"xception": 0.5, "b4": 0.2, "f3net": 0.3}


def test_the_mean_is_numpys_weighted_average() -> None:
    assert Ensemble(WEIGHTS).join(ANSWERS) == pytest.approx(np.average(ANSWERS, axis=0, weights=[0.5, 0.2, 0.3]))


def test_weights_need_not_sum_to_one() -> None:
    tenfold = Ensemble({name: 10 * weight for name, weight in WEIGHTS.items()})
    assert tenfold.join(ANSWERS) == pytest.approx(Ensemble(WEIGHTS).join(ANSWERS))


def test_logits_are_averaged_before_the_sigmoid() -> None:
    expected = expit(np.average(logit(ANSWERS), axis=0, weights=[0.5, 0.2, 0.3]))
    assert Ensemble(WEIGHTS, "logits").join(ANSWERS) == pytest.approx(expected)


def test_a_certain_member_does_not_silence_the_others_logits() -> None:
    joined = Ensemble({"a": 1, "b": 1}, "logits").join([[1.0, 0.0], [0.0, 0.4]])
    assert joined[0] == pytest.approx(0.5)
    assert 0 < joined[1] < 0.4


def test_a_vote_is_the_weighted_share_of_those_that_call_fake() -> None:
    joined = Ensemble(WEIGHTS, "vote").join([[0.5, 0.9, 0.1], [0.2, 0.51, 0.2], [0.49, 0.7, 0.3]])
    assert joined == pytest.approx([0.5, 1, 0])


def test_the_highest_wins() -> None:
    assert Ensemble(WEIGHTS, "max").join(ANSWERS) == pytest.approx(ANSWERS.max(axis=0))


@pytest.mark.parametrize("combine", ["mean", "logits", "vote", "max"])
def test_a_member_that_did_not_answer_is_as_if_it_were_none(combine: Combination) -> None:
    answers = ANSWERS.copy()
    answers[1] = np.nan
    ensemble = Ensemble(WEIGHTS, combine)
    assert ensemble.join(answers) == pytest.approx(ensemble.without("b4").join(ANSWERS[[0, 2]]))


@pytest.mark.parametrize("combine", ["mean", "logits", "vote", "max"])
def test_too_few_answers_are_none(combine: Combination) -> None:
    answers = [[0.2, np.nan, np.nan], [0.4, 0.6, np.nan], [0.3, np.nan, np.nan]]
    two = Ensemble(WEIGHTS, combine, minimum=2).join(answers)
    assert np.isnan(two).tolist() == [False, True, True]
    assert np.isnan(Ensemble(WEIGHTS, combine).join(answers)).tolist() == [False, False, True]


@pytest.mark.parametrize("combine", ["mean", "logits", "max"])
def test_equal_answers_are_the_joined_answer(combine: Combination) -> None:
    p = np.linspace(0.01, 0.99, 50)
    assert Ensemble(WEIGHTS, combine).join([p, p, p]) == pytest.approx(p)


def test_consensus_counts_the_members_that_call_as_the_ensemble_does() -> None:
    answers = [[0.9, 0.1, 0.9, np.nan], [0.8, 0.2, 0.1, np.nan], [0.1, 0.3, np.nan, 0.7]]
    agree, of = Ensemble({"a": 1, "b": 1, "c": 1}, minimum=2).consensus(answers, 0.5)
    # The mean of .9 and .1 is .5, which is fake: one of two agrees. Of one answer, the ensemble has none.
    assert (agree.tolist(), of.tolist()) == ([2, 3, 1, 0], [3, 3, 2, 1])


def test_members_vote_at_a_half_whatever_the_ensembles_threshold() -> None:
    agree, of = Ensemble({"a": 1, "b": 1, "c": 1}, "vote").consensus([[0.6], [0.6], [0.2]], 0.9)
    assert (agree.tolist(), of.tolist()) == ([1], [3])


def test_maps_are_weighted_as_the_answers_are() -> None:
    maps = [np.full((2, 2), 1.0, np.float32), np.full((2, 2), 3.0, np.float32), None]
    ensemble = Ensemble({"a": 1, "b": 3, "c": 5})
    joined = ensemble.join_maps(maps, [0.1, 0.2, 0.3])
    assert joined is not None
    assert joined == pytest.approx(np.full((2, 2), 2.5))
    without_answer = ensemble.join_maps(maps, [0.1, np.nan, 0.3])
    assert without_answer is not None
    assert without_answer == pytest.approx(np.ones((2, 2)))
    assert ensemble.join_maps([None] * 3, [0.1, 0.2, 0.3]) is None
    of_highest = Ensemble({"a": 1, "b": 3, "c": 5}, "max").join_maps(maps, [0.1, 0.4, 0.3])
    assert of_highest is not None
    assert of_highest == pytest.approx(np.full((2, 2), 3.0))


def test_log_odds_are_scipys_and_end_where_float64_does() -> None:
    p = np.linspace(1e-6, 1 - 1e-6, 1001)
    assert log_odds(p) == pytest.approx(logit(p))
    assert np.isfinite(log_odds([0.0, 1.0])).all()
    assert sigmoid([-800.0, 0.0, 800.0]).tolist() == [0, 0.5, 1]


@pytest.mark.parametrize(
    ("weights", "minimum", "problem"),
    [({}, 1, "at least one member"), ({"a": 0.0}, 1, "above 0"), ({"a": 1.0}, 2, "minimum must lie between 1 and 1")],
)
def test_what_joins_nothing_is_refused(weights: dict[str, float], minimum: int, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Ensemble(weights, minimum=minimum)


def test_answers_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected answers \[3, n\], found the shape \[2, 5\]"):
        Ensemble(WEIGHTS).join(np.zeros((2, 5)))
