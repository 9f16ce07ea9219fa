"""Thresholds against exhaustive search, and whether scores moved or knowledge was lost."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import roc_curve

from bench.records import Interval, LabelledFrames, OperatingPoint, Predictions, Shift
from bench.results.score.clusters import Clusters
from bench.results.score.points import operating_point
from bench.results.score.thresholds import points, same_fpr, shift, youden

SCORE = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.floats(0, 1, width=16))
FRAMES = st.lists(st.tuples(st.integers(0, 1), SCORE, SCORE), min_size=2, max_size=30).filter(
    lambda frames: len({label for label, *_ in frames}) == 2
)


def labelled(labels: NDArray[np.integer]) -> LabelledFrames:
    names = pd.Series([f"{row}.png" for row in range(len(labels))])
    return LabelledFrames(names, labels.astype(np.int8), pd.Series([None] * len(labels), dtype=object), pd.DataFrame())


def columns(
    frames: list[tuple[int, float, float]],
) -> tuple[NDArray[np.int8], NDArray[np.float64], NDArray[np.float64]]:
    labels, first, second = zip(*frames, strict=True)
    return np.array(labels, np.int8), np.array(first), np.array(second)


@given(FRAMES, st.floats(0.01, 1))
def test_carried_calls_no_more_real_frames_fake_and_as_many_as_ties_allow(
    frames: list[tuple[int, float, float]], fixed: float
) -> None:
    labels, baseline, variant = columns(frames)
    real = variant[labels == 0]
    alarms = int((baseline[labels == 0] >= fixed).sum())
    threshold = same_fpr(labels, baseline, variant, fixed)
    possible = {int((real >= t).sum()) for t in [*real, 1.0] if t > 0} | {int((real >= 1.0).sum())}
    allowed = [count for count in possible if count <= alarms]
    if threshold is None:
        assert not allowed
    else:
        assert 0 < threshold <= 1
        assert (real >= threshold).sum() == max(allowed)


@pytest.mark.parametrize(
    ("baseline", "variant", "expected"),
    [
        pytest.param([0.1, 0.2, 0.6, 0.9], [0.1, 0.2, 0.4, 0.8], 0.3, id="half way between the second and the third"),
        pytest.param([0.1, 0.2, 0.5, 0.9], [0.1, 0.2, 0.4, 0.8], 0.3, id="at the threshold counts as fake"),
        pytest.param([0.1, 0.2, 0.3, 0.9], [0.1, 0.5, 0.5, 0.5], 0.75, id="three are equal, one is allowed"),
        pytest.param([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.4, 0.6], 0.8, id="none: half way to 1"),
        pytest.param([0.6, 0.7, 0.8, 0.9], [0.2, 0.3, 0.4, 0.6], 0.1, id="all: half way to 0"),
        pytest.param([0.6, 0.7, 0.8, 0.9], [0.0, 0.3, 0.4, 0.6], 0.15, id="no threshold reaches 0"),
        pytest.param([0.1, 0.2, 0.3, 0.4], [0.0] * 4, 0.5, id="nothing but 0"),
        pytest.param([0.1, 0.2, 0.3, 0.9], [0.1, 0.2, 0.6, 1.0], 0.8, id="as many at 1 as are allowed"),
        pytest.param([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.4, 1.0], None, id="one at 1, none is allowed"),
        pytest.param([0.1, 0.2, 0.3, 0.9], [0.1, 0.2, 1.0, 1.0], None, id="two at 1, one is allowed"),
    ],
)
def test_carried_by_example(baseline: list[float], variant: list[float], expected: float | None) -> None:
    labels = np.zeros(4, np.int8)
    assert same_fpr(labels, np.array(baseline), np.array(variant), 0.5) == pytest.approx(expected)


def test_carried_with_no_real_frame_allowed_stops_half_way_to_the_next_fake_one() -> None:
    labels = np.array([0, 0, 1, 1])
    assert same_fpr(labels, np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.2, 0.4, 0.5, 0.9]), 0.3) == 0.45


def test_carried_with_every_real_frame_allowed_stops_half_way_to_the_next_fake_one() -> None:
    labels = np.array([0, 0, 1, 1])
    threshold = same_fpr(labels, np.array([0.6, 0.7, 0.8, 0.9]), np.array([0.4, 0.6, 0.2, 0.1]), 0.5)
    assert threshold == pytest.approx(0.3)


@given(FRAMES, st.floats(0.01, 1))
def test_the_fixed_threshold_is_carried_where_it_does(frames: list[tuple[int, float, float]], fixed: float) -> None:
    labels, baseline, variant = columns(frames)
    assert same_fpr(labels, baseline, baseline, fixed) == fixed
    if (variant[labels == 0] >= fixed).sum() == (baseline[labels == 0] >= fixed).sum():
        assert same_fpr(labels, baseline, variant, fixed) == fixed


@pytest.mark.parametrize(("fixed", "expected"), [(0.3, 0.2), (0.6, 0.7)])
def test_of_two_best_thresholds_own_is_the_nearest(fixed: float, expected: float) -> None:
    assert youden(np.array([0, 1, 0, 1]), np.array([0.1, 0.3, 0.5, 0.9]), fixed) == pytest.approx(expected)


@pytest.mark.parametrize(("low", "high"), [(1 - 2**-53, 1.0), (0.5, 0.5 + 2**-53), (0.5 + 2**-53, 0.5 + 2**-52)])
def test_neighbouring_numbers_are_told_apart(low: float, high: float) -> None:
    labels = np.array([0, 0, 1])
    threshold = same_fpr(labels, np.array([0.1, 0.9, 0.9]), np.array([low, high, high]), 0.5)
    assert threshold is not None
    assert low < threshold <= high
    assert low < youden(np.array([0, 1]), np.array([low, high]), 0.5) <= high


@given(FRAMES, st.floats(0.01, 1))
def test_own_is_the_best_there_is_and_the_nearest_of_the_best(
    frames: list[tuple[int, float, float]], fixed: float
) -> None:
    labels, _, variant = columns(frames)
    threshold = youden(labels, variant, fixed)
    fpr, tpr, _ = roc_curve(labels, variant, drop_intermediate=False)
    # No threshold up to 1 calls a frame of score 1 real, or one of score 0 fake.
    reachable = (fpr >= (variant[labels == 0] == 1).mean() - 1e-9) & (tpr >= (variant[labels == 1] == 1).mean() - 1e-9)
    reachable &= (fpr <= (variant[labels == 0] > 0).mean() + 1e-9) & (tpr <= (variant[labels == 1] > 0).mean() + 1e-9)
    assert 0 < threshold <= 1
    assert _youden(labels, variant, threshold) == pytest.approx((tpr - fpr)[reachable].max())
    edges = np.unique([0.0, *variant, 1.0])
    best = [
        t
        for t in (edges[1:] + edges[:-1]) / 2
        if _youden(labels, variant, t) > _youden(labels, variant, threshold) - 1e-9
    ]
    assert abs(threshold - fixed) <= min(abs(t - fixed) for t in best) + 1e-12


def _youden(labels: NDArray[np.integer], variant: NDArray[np.float64], threshold: float) -> float:
    called = variant >= threshold
    return float(called[labels == 1].mean() - called[labels == 0].mean())


def frames_of(count: int, seed: int) -> tuple[NDArray[np.int8], NDArray[np.float64], NDArray[np.float64]]:
    """Labels, margins of a baseline with balanced accuracy .878 and of one that agrees with it closely."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], count // 2).astype(np.int8)
    margins = 2 * norm.ppf(0.878) * (labels - 0.5) + rng.normal(size=count)
    return labels, margins, margins + rng.normal(scale=0.08, size=count)


def sigmoid(margin: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-1.76 * margin)))


def shifted(
    offset: float, noise: float = 0.0, fixed: float = 0.5, count: int = 4000
) -> tuple[Shift | None, OperatingPoint, OperatingPoint]:
    """The verdict on scores that rose by `offset` and blurred by `noise`, at the fixed and at their own threshold."""
    labels, baseline, variant = frames_of(count, 0)
    validation_labels, validation, own_validation = frames_of(2000, 1)
    spread = np.random.default_rng(2).normal(scale=noise, size=count + 2000)
    before = Predictions(sigmoid(baseline), sigmoid(validation), None)
    after = Predictions(
        sigmoid(variant + offset + spread[:count]), sigmoid(own_validation + offset + spread[count:]), None
    )
    test, further = labelled(labels), labelled(validation_labels)
    at, baseline_at = points(fixed, test, further, after, before), points(fixed, test, further, before, before)
    assert at["own"] is not None
    assert at["fixed"] is not None
    return shift(labels, after, before, at, baseline_at), at["fixed"], at["own"]


def shift_of(
    baseline: NDArray[np.float64],
    variant: NDArray[np.float64],
    clusters: NDArray[np.int64] | None = None,
    baseline_own: float = 0.5,
) -> Shift:
    """Of frames whose first half is fake, at 0.5; the variant's own threshold is 0.3."""
    labels = np.repeat([1, 0], len(variant) // 2)
    baseline_fixed, baseline_best, fixed, best = (
        operating_point(labels, *at)
        for at in ((baseline, 0.5), (baseline, baseline_own), (variant, 0.5), (variant, 0.3))
    )
    result = shift(
        labels,
        Predictions(variant, None, None),
        Predictions(baseline, None, None),
        {"fixed": fixed, "carried": None, "own": best},
        {"fixed": baseline_fixed, "carried": None, "own": baseline_best},
        None if clusters is None else Clusters.disjoint(clusters),
    )
    assert result is not None
    return result


def found_by(count: int, *, wrong: slice = slice(0), shifted: slice = slice(0)) -> NDArray[np.float64]:
    """P(fake) of `count` fakes and as many reals: all right but the fakes `wrong`, and at 0.5 those `shifted`."""
    scores = np.repeat([0.9, 0.0], count)
    scores[shifted], scores[wrong] = 0.4, 0.1
    return scores


@pytest.mark.parametrize("count", [518, 4000])
def test_scores_that_all_rose_are_shifted_not_lost(count: int) -> None:
    """Pruning without recovery: accuracy .75 at 0.5, .875 at .88, the baseline's .878."""
    result, fixed, best = shifted(1.13, count=count)
    assert fixed.accuracy == pytest.approx(0.751, abs=0.02)
    assert best.accuracy == pytest.approx(0.875, abs=0.02)
    assert best.threshold == pytest.approx(0.88, abs=0.05)
    assert result is not None
    assert result.verdict == "shifted, not lost"
    assert result.gained == pytest.approx((best.balanced_accuracy or 0) - (fixed.balanced_accuracy or 0), abs=1e-12)


def test_scores_that_rose_and_blurred_are_shifted_and_some_lost() -> None:
    result, _, _ = shifted(1.5, noise=0.8)
    assert result is not None
    assert result.verdict == "shifted, and some lost"
    assert result.left_ci.low > 0


def test_a_few_frames_leave_open_whether_anything_is_lost() -> None:
    """The scores of the test above."""
    result, _, _ = shifted(1.5, noise=0.8, count=120)
    assert result is not None
    assert result.left_ci.low <= 0
    assert result.verdict == "shifted"


@pytest.mark.parametrize(
    ("lost", "verdict"),
    [(0, None), (50, "shifted"), (56, "shifted"), (59, "shifted, not lost"), (300, "shifted, not lost")],
)
def test_at_least_half_of_the_loss_must_be_proven_to_come_back(lost: int, verdict: str | None) -> None:
    """Of 1,000 fakes the baseline finds 960, the variant `lost` fewer, and 950 at its own threshold."""
    variant = found_by(1000, wrong=slice(40, 90), shifted=slice(90, 80 + lost))
    result = shift_of(found_by(1000, wrong=slice(40)), variant)
    assert result.left == pytest.approx(0.005)
    assert result.left_ci.low < 0
    assert 56 < 2 * 2000 * result.left_ci.high < 59
    assert result.verdict == verdict


def test_frames_of_which_none_differs_do_not_prove_that_none_would() -> None:
    result = shift_of(found_by(10), found_by(10, shifted=slice(4)))
    assert result.gained_ci.low > 0
    assert result.left == 0 < result.left_ci.high
    assert result.verdict == "shifted"


@pytest.mark.parametrize(("offset", "noise"), [(-0.1, 0.0), (-0.5, 0.8)])
def test_a_threshold_that_is_as_bad_for_the_baseline_is_no_shift(offset: float, noise: float) -> None:
    """Neither where all of it comes back nor where the variant at its own is proven to be worse."""
    result, fixed, best = shifted(offset, noise, fixed=0.1)
    assert result is not None
    assert (best.balanced_accuracy or 0) > (fixed.balanced_accuracy or 0) + 0.02
    assert result.gained_ci.low > 0
    assert (result.left_ci.low > 0) is (noise > 0)
    assert result.verdict is None


def test_what_both_lose_at_the_fixed_threshold_is_no_shift() -> None:
    """As many frames, some of them others."""
    result = shift_of(found_by(100, wrong=slice(10, 40)), found_by(100, shifted=slice(30)))
    assert result.gained_ci.low > 0
    assert result.verdict is None


def test_what_the_baseline_gains_too_is_not_brought_back() -> None:
    """A threshold for few false alarms is nobody's best: the variant loses a frame there, and both gain by Youden's."""
    baseline, variant = found_by(200, shifted=slice(80)), found_by(200, shifted=slice(81))
    result = shift_of(baseline, variant, baseline_own=0.3)
    assert result.gained_ci.low > 0.1
    assert result.left == 0
    assert result.verdict is None
    assert shift_of(found_by(200), variant).verdict == "shifted, not lost"


def test_an_equal_variant_is_not_shifted() -> None:
    result, _, _ = shifted(0.0)
    assert result is not None
    assert result.verdict is None


def test_intervals_of_a_shift_are_those_of_a_paired_bootstrap() -> None:
    labels, baseline, variant = frames_of(600, 3)
    before, after = (
        Predictions(sigmoid(baseline), sigmoid(baseline), None),
        Predictions(sigmoid(variant + 0.6), sigmoid(variant), None),
    )
    test = labelled(labels)
    at, baseline_at = points(0.5, test, test, after, before), points(0.5, test, test, before, before)
    result = shift(labels, after, before, at, baseline_at)
    assert result is not None
    assert at["own"] is not None
    assert baseline_at["own"] is not None
    called_after, called_before = after.test >= at["own"].threshold, before.test >= baseline_at["own"].threshold
    rng = np.random.default_rng(4)
    drawn = []  # with as many frames of either class, accuracy is balanced
    for _ in range(1500):
        rows = np.concatenate(
            [rng.choice(np.flatnonzero(labels == label), (labels == label).sum()) for label in (0, 1)]
        )
        fixed, own_score, other = (
            np.mean((called == labels)[rows]) for called in (after.test >= 0.5, called_after, called_before)
        )
        drawn.append((own_score - fixed, other - own_score))
    for interval, values in zip((result.gained_ci, result.left_ci), np.array(drawn).T, strict=True):
        np.testing.assert_allclose((interval.low, interval.high), np.percentile(values, (2.5, 97.5)), atol=0.008)


def test_frames_of_one_source_count_once() -> None:
    """Copies of frames say no more than one of them."""
    baseline, variant = found_by(200, wrong=slice(20)), found_by(200, wrong=slice(10, 40), shifted=slice(40, 60))
    single, alike = shift_of(baseline, variant), shift_of(np.repeat(baseline, 9), np.repeat(variant, 9))
    copies = shift_of(np.repeat(baseline, 9), np.repeat(variant, 9), np.repeat(np.arange(400), 9))
    for name in ("gained_ci", "left_ci"):
        assert getattr(copies, name).width == pytest.approx(getattr(single, name).width, rel=0.04)
        assert getattr(alike, name).width == pytest.approx(getattr(single, name).width / 3, rel=0.05)
    assert (alike.verdict, copies.verdict) == ("shifted, and some lost", "shifted")


def test_sources_in_which_all_cancels_prove_no_more_than_frames() -> None:
    """Every source with a loss has a gain."""
    baseline, variant = found_by(200, wrong=slice(20)), found_by(200, wrong=slice(20, 40), shifted=slice(40, 80))
    clusters = np.concatenate([np.tile(np.arange(20), 2), np.arange(20, 380)])
    assert shift_of(baseline, variant, clusters).left_ci == shift_of(baseline, variant).left_ci


def test_a_source_with_both_classes_is_one() -> None:
    """What it says of the one it says of the other, so that the two errors add up."""
    baseline = np.repeat([0.9, 0.0], 200)
    variant = baseline.copy()
    variant[:20], variant[200:220] = 0.1, 0.9
    apart = shift_of(baseline, variant, np.repeat(np.arange(200), 2))
    paired = shift_of(baseline, variant, np.tile(np.arange(200), 2))
    single = shift_of(baseline, variant)
    assert paired.left_ci.width == pytest.approx(single.left_ci.width * 2**0.5, rel=0.05)
    assert apart.left_ci.width == pytest.approx(single.left_ci.width * 2**0.5, rel=0.05)


def test_few_sources_prove_little_and_one_nothing() -> None:
    baseline, variant = found_by(200, wrong=slice(20)), found_by(200, wrong=slice(10, 40), shifted=slice(40, 80))
    reals = 200 + np.arange(200) % 20
    of_four = shift_of(baseline, variant, np.concatenate([np.arange(200) // 50, reals]))
    # The sources' shares deviate by 7.5 and thrice -2.5 of 200 frames; Student's t with 3 degrees of freedom is 3.182.
    assert of_four.left_ci.width == pytest.approx(3.182 * np.sqrt(4 / 3 * (7.5**2 + 3 * 2.5**2)) / 200, rel=1e-3)
    of_one = shift_of(baseline, variant, np.concatenate([np.zeros(200, np.int64), reals]))
    assert (of_one.left_ci, of_one.verdict) == (Interval(-1.0, 1.0), None)


def test_where_no_threshold_keeps_the_false_positives_nothing_is_carried() -> None:
    labels = np.array([0, 0, 1, 1])
    before = Predictions(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.1, 0.2, 0.8, 0.9]), None)
    saturated = Predictions(before.test, np.array([0.1, 1.0, 1.0, 1.0]), None)
    at = points(0.5, labelled(labels), labelled(labels), saturated, before)
    assert at["carried"] is None
    assert at["own"] is not None


def test_the_baseline_carries_its_fixed_threshold_to_itself() -> None:
    labels, baseline, _ = frames_of(200, 5)
    variant = Predictions(sigmoid(baseline), sigmoid(baseline), None)
    at = points(0.4, labelled(labels), labelled(labels), variant, variant)
    assert at["carried"] == at["fixed"]
    assert at["fixed"] is not None
    assert at["fixed"].threshold == 0.4


def test_without_a_baseline_nothing_is_carried() -> None:
    labels, baseline, _ = frames_of(200, 5)
    at = points(0.5, labelled(labels), labelled(labels), Predictions(sigmoid(baseline), sigmoid(baseline), None), None)
    assert at["carried"] is None
    assert at["own"] is not None


@pytest.mark.parametrize("validation", [None, 0, 1])
def test_without_validation_frames_of_both_classes_only_the_fixed_threshold_stands(validation: int | None) -> None:
    labels, baseline, variant = frames_of(200, 5)
    only = None if validation is None else labelled(np.full(50, validation))
    scores = None if validation is None else sigmoid(baseline[:50])
    before, after = Predictions(sigmoid(baseline), scores, None), Predictions(sigmoid(variant), scores, None)
    at, baseline_at = (points(0.5, labelled(labels), only, scores, before) for scores in (after, before))
    for by_kind in (at, baseline_at):
        assert by_kind["fixed"] is not None
        assert by_kind["carried"] is by_kind["own"] is None
    assert shift(labels, after, before, at, baseline_at) is None


def test_confusion_is_that_of_the_test_frames() -> None:
    labels = np.array([1, 1, 1, 0, 0])
    variant = Predictions(np.array([0.9, 0.45, 0.1, 0.45, 0.1]), np.array([0.1, 0.3, 0.5, 0.9]), None)
    at = points(0.5, labelled(labels), labelled(np.array([0, 0, 1, 1])), variant, variant)["own"]
    assert at is not None
    assert at.threshold == 0.4
    assert (at.tp, at.fn, at.fp, at.tn) == (2, 1, 1, 1)


def test_a_shift_of_a_class_of_one_frame_is_unknown() -> None:
    labels = np.array([0, 0, 0, 1])
    variant = Predictions(np.array([0.1, 0.2, 0.6, 0.9]), np.array([0.1, 0.2, 0.6, 0.9]), None)
    at = points(0.5, labelled(labels), labelled(labels), variant, variant)
    assert shift(labels, variant, variant, at, at) is None
