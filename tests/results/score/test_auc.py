"""The AUC's intervals against direct loops, bootstraps, and the properties that they must have."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm, t

from bench.records import Auc
from bench.results.score.auc import estimate
from bench.results.score.clusters import Clusters, clusters
from bench.results.score.differences import difference
from bench.results.score.placements import placements, subset
from tests.support.pace import limit

Scores = NDArray[np.float64]
Labels = NDArray[np.int64]
FRAMES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=30)


def drawn(seed: int, count: int = 60, levels: int | None = None) -> tuple[Labels, Scores, Scores]:
    """Labels and the scores of a baseline and of a variant like it, on `levels` values if told."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 5 // 3
    baseline = 1.5 * labels + rng.normal(size=count)
    variant = 0.8 * baseline + 0.5 * rng.normal(size=count)
    if levels:
        baseline, variant = (np.round(levels * norm.cdf(scores)) for scores in (baseline, variant))
    return labels, baseline, variant


def with_sources(seed: int, groups: int = 15) -> tuple[Labels, Scores, Scores, NDArray[np.int64]]:
    """The same where frames of a source share some of their noise; some sources have both classes."""
    rng = np.random.default_rng(seed)
    sources = np.repeat(np.arange(groups), rng.integers(1, 7, groups))
    labels = np.where(sources % 3 == 0, np.arange(len(sources)) % 2, sources % 2)
    shared = rng.normal(size=(2, groups))[:, sources]
    noise = 0.7 * shared + 0.7 * rng.normal(size=(2, len(sources)))
    return labels, 1.2 * labels + noise[0], 1.1 * labels + 0.8 * noise[0] + 0.6 * noise[1], sources


# --------------------------------------------------------------- DeLong and Obuchowski, directly
def psi(labels: Labels, scores: Scores) -> NDArray[np.float64]:
    """Fakes by reals: 1 where the fake one scores higher, a half where they tie."""
    fakes, reals = scores[labels == 1], scores[labels == 0]
    return np.array([[1.0 if x > y else 0.5 if x == y else 0.0 for y in reals] for x in fakes])


def taking_part(deviations: NDArray[np.float64]) -> float:
    return float((deviations**2).sum() ** 2 / (deviations**4).sum())


def delong(table: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean, variance and the number of frames that take part, of a table of fakes by reals."""
    fake, real = table.mean(axis=1), table.mean(axis=0)
    deviations = np.concatenate([(fake - fake.mean()) / len(fake), (real - real.mean()) / len(real)])
    variance = fake.var(ddof=1) / len(fake) + real.var(ddof=1) / len(real)
    return float(table.mean()), float(variance), taking_part(deviations)


def obuchowski(
    table: NDArray[np.float64], labels: Labels, sources: NDArray[np.int64]
) -> tuple[float, float, float, float]:
    """The same by source, source by source, and the degrees of freedom."""
    auc, m, n = table.mean(), *table.shape
    fake_sources, real_sources = sources[labels == 1], sources[labels == 0]
    s10 = s01 = s11 = 0.0
    deviations = []
    for source in set(sources.tolist()):
        of_fakes = (table.mean(axis=1)[fake_sources == source] - auc).sum()
        of_reals = (table.mean(axis=0)[real_sources == source] - auc).sum()
        s10, s01, s11 = s10 + of_fakes**2, s01 + of_reals**2, s11 + of_fakes * of_reals
        deviations.append(of_fakes / m + of_reals / n)
    i10, i01, i = (len(set(codes.tolist())) for codes in (fake_sources, real_sources, sources))
    s10, s01, s11 = s10 * i10 / ((i10 - 1) * m), s01 * i01 / ((i01 - 1) * n), s11 * i / (i - 1)
    variance = s10 / m + s01 / n + 2 * s11 / (m * n)
    return float(auc), float(variance), taking_part(np.array(deviations)), min(equal_sources(labels, sources)) - 1


def equal_sources(labels: Labels, sources: NDArray[np.int64]) -> list[float]:
    """How many sources of one size those of the fakes and of the reals are worth."""
    sizes = [pd.Series(sources[labels == label]).value_counts().to_numpy() for label in (1, 0)]
    return [float(size.sum() ** 2 / (size**2).sum()) for size in sizes]


def worth(tables: Sequence[NDArray[np.float64]], labels: Labels, sources: NDArray[np.int64]) -> list[float]:
    """As many independent frames of each class as the sources are worth."""
    shared = max(obuchowski(table, labels, sources)[1] / delong(table)[1] for table in tables)
    frames = ((labels == 1).sum(), (labels == 0).sum())
    pairs = zip(equal_sources(labels, sources), frames, strict=True)
    return [max(count, many / max(shared, 1)) for count, many in pairs]


def wider(*intervals: tuple[float, float]) -> tuple[float, float]:
    return max(min(low for low, _ in intervals), -1), min(max(high for _, high in intervals), 1)


def on_logit_scale(auc: float, variance: float, quantile: float) -> tuple[float, float]:
    middle, half = math.log(auc / (1 - auc)), quantile * math.sqrt(variance) / (auc * (1 - auc))
    return 1 / (1 + math.exp(half - middle)), 1 / (1 + math.exp(-half - middle))


def around(delta: float, variance: float, freedom: float, level: float = 0.95) -> tuple[float, float]:
    half = t.ppf((1 + level) / 2, max(freedom, 1)) * math.sqrt(variance)
    return max(delta - half, -1), min(delta + half, 1)


def ends(auc: Auc, by: str = "frame") -> tuple[float, float]:
    interval = auc.by_frame if by == "frame" else auc.by_source
    assert interval is not None
    return interval.low, interval.high


def variance_of(auc: Auc) -> float:
    assert auc.standard_error is not None
    return auc.standard_error**2


@pytest.mark.parametrize("count", [60, 800])
@pytest.mark.parametrize("levels", [None, 8])
@pytest.mark.parametrize("seed", range(4))
def test_by_frame_against_all_pairs(seed: int, levels: int | None, count: int) -> None:
    labels, first, second = drawn(seed, count, levels)
    tables = psi(labels, first), psi(labels, second)
    baseline, variant = placements(labels, first), placements(labels, second)
    auc, variance, _ = delong(tables[0])
    single = estimate(baseline, None)
    assert (single.value, variance_of(single)) == pytest.approx((auc, variance))
    assert ends(single) == pytest.approx(on_logit_scale(auc, variance, 1.959964), abs=1e-6)
    assert single.by_source is None
    change = tables[1] - tables[0]
    delta, variance, many = delong(change)
    for level in (0.95, 0.99):
        compared, p = difference(variant, baseline, None, level)
        assert (compared.value, variance_of(compared)) == pytest.approx((delta, variance))
        # DeLong's variance has what pairs have for themselves twice.
        low, high = around(delta, variance - (change**2).mean() / change.size, many - 1, level)
        students = low - compared.unresolved, high + compared.unresolved
        assert bool(compared.unresolved) == bool(levels)
        assert ends(compared) == pytest.approx(students, abs=0.12 * (students[1] - students[0]))
        assert (p < 1 - level) == (not ends(compared)[0] <= 0 <= ends(compared)[1])


@pytest.mark.parametrize("seed", range(6))
def test_by_source_against_a_loop_over_sources(seed: int) -> None:
    labels, first, second, sources = with_sources(seed)
    tables = psi(labels, first), psi(labels, second)
    baseline, variant = placements(labels, first), placements(labels, second)
    auc, variance, _, freedom = obuchowski(tables[0], labels, sources)
    quantile = t.ppf(0.975, freedom)
    single = estimate(baseline, Clusters.disjoint(sources))
    fake, real = worth(tables[:1], labels, sources)
    least = score_interval(auc, fake, real, quantile)
    assert ends(single, "source") == pytest.approx(wider(on_logit_scale(auc, variance, quantile), least), abs=1e-7)
    delta, variance, many, freedom = obuchowski(tables[1] - tables[0], labels, sources)
    compared, p = difference(variant, baseline, Clusters.disjoint(sources))
    students = around(delta, variance, min(many - 1, freedom))
    assert ends(compared, "source") == pytest.approx(students, abs=0.12 * (students[1] - students[0]))
    if not compared.clustered:
        assert p == difference(variant, baseline, None)[1]


def test_clusters_of_one_frame_are_delongs() -> None:
    labels, first, second = drawn(5, count=80)
    baseline, variant = placements(labels, first), placements(labels, second)
    alone = obuchowski(psi(labels, second) - psi(labels, first), labels, np.arange(80))
    assert variance_of(difference(variant, baseline, None)[0]) == pytest.approx(alone[1])
    # One pair of frames that share a source changes little, so that the two forms are of one size.
    nearly, _ = difference(variant, baseline, Clusters.disjoint(np.append(np.arange(79), 0)))
    assert nearly.by_source is not None
    assert nearly.by_source.width == pytest.approx(nearly.by_frame.width, rel=0.1)
    assert estimate(baseline, Clusters.disjoint(np.arange(80) * 3)).by_source is None


# ------------------------------------------------------------------------------------ bootstraps
def redrawn(labels: Labels, first: Scores, second: Scores, groups: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    """AUC and difference [500, 2] of frames drawn again, a group at a time."""
    rng, drawn = np.random.default_rng(0), []
    for _ in range(500):
        rows = np.concatenate([groups[index] for index in rng.integers(0, len(groups), len(groups))])
        before, after = placements(labels[rows], first[rows]), placements(labels[rows], second[rows])
        drawn.append([before.auc, after.auc - before.auc])
    return np.array(drawn)


def test_standard_errors_against_a_bootstrap_of_frames() -> None:
    labels, first, second = drawn(1, count=300)
    spread = redrawn(labels, first, second, list(np.arange(300)[:, None])).std(axis=0)
    baseline, variant = placements(labels, first), placements(labels, second)
    assert estimate(baseline, None).standard_error == pytest.approx(spread[0], rel=0.12)
    assert difference(variant, baseline, None)[0].standard_error == pytest.approx(spread[1], rel=0.12)


def test_intervals_by_source_against_a_bootstrap_of_sources() -> None:
    labels, first, second, sources = with_sources(3, groups=120)
    groups = [np.flatnonzero(sources == source) for source in range(120)]
    spread = redrawn(labels, first, second, groups).std(axis=0)
    compared, _ = difference(placements(labels, second), placements(labels, first), Clusters.disjoint(sources))
    assert compared.clustered
    *_, many, freedom = obuchowski(psi(labels, second) - psi(labels, first), labels, sources)
    assert compared.interval.width / 2 / t.ppf(0.975, many - 1) == pytest.approx(spread[1], rel=0.12)
    low, high = ends(estimate(placements(labels, first), Clusters.disjoint(sources)), "source")
    assert (high - low) / 2 / t.ppf(0.975, freedom) == pytest.approx(spread[0], rel=0.12)


# -------------------------------------------------------------------------- where nothing varies
def score_interval(auc: float, fake: float, real: float, quantile: float = 1.959964) -> tuple[float, float]:
    """Newcombe's method 5, its equation handed to SciPy."""

    def error(truth: float) -> float:
        others = (fake + real) / 2 - 1
        inner = 1 + others * (1 - truth) / (2 - truth) + others * truth / (1 + truth)
        return quantile * math.sqrt(truth * (1 - truth) * inner / (fake * real))

    low = brentq(lambda truth: auc - truth - error(truth), 0, auc - 1e-9) if auc > 0 else 0.0
    high = brentq(lambda truth: truth - auc - error(truth), auc + 1e-9, 1) if auc < 1 else 1.0
    return low, high


@pytest.mark.parametrize(("fake", "real"), [(1, 1), (5, 3), (40, 60)])
def test_a_perfect_auc_on_few_frames_is_not_certain(fake: int, real: int) -> None:
    labels = np.repeat([1, 0], [fake, real])
    for scores, auc in ((labels, 1.0), (-labels, 0.0), (0 * labels, 0.5)):
        single = estimate(placements(labels, scores.astype(float)), None)
        assert single.value == auc
        assert ends(single) == pytest.approx(score_interval(auc, fake, real), abs=1e-7)
        assert 0 <= single.by_frame.low < single.by_frame.high <= 1


def test_two_perfect_variants_that_rank_otherwise_are_not_certainly_alike() -> None:
    labels = np.repeat([1, 0], [30, 20])
    rng = np.random.default_rng(0)
    drawn = rng.random(50)
    scores = [labels + drawn / 2, labels + (drawn + rng.random(50)) / 4]
    compared, p = difference(placements(labels, scores[0]), placements(labels, scores[1]), None)
    assert (compared.value, p) == (0.0, 1.0)
    assert compared.interval.low < 0 < compared.interval.high


def test_a_twin_is_stable_though_frames_of_a_class_change_places() -> None:
    """As half precision does: all answers move a little, and none past one of the other class."""
    labels = np.repeat([1, 0], [250, 250])
    scores = np.linspace(0, 1, 500) + 2.0 * labels
    twin = scores.copy()
    twin[[10, 11]] = twin[[11, 10]]
    compared, p = difference(placements(labels, twin), placements(labels, scores), None)
    assert (compared.value, p) == (0.0, 1.0)
    assert -1e-4 < compared.interval.low < 0 < compared.interval.high < 1e-4


@pytest.mark.parametrize("better", [True, False])
def test_perfect_against_no_order_at_all(better: bool) -> None:
    labels = np.repeat([1, 0], [30, 20])
    perfect, none = placements(labels, labels * 1.0), placements(labels, labels * 0.0)
    compared, p = difference(perfect, none, None) if better else difference(none, perfect, None)
    assert compared.value == (0.5 if better else -0.5)
    low, high = ends(compared) if better else (-compared.by_frame.high, -compared.by_frame.low)
    assert 0.3 < low < 0.48
    assert 0.52 < high < 0.7
    assert p < 1e-6


def test_one_source_of_a_class_tells_nothing_of_others() -> None:
    labels = np.repeat([1, 0], [20, 20])
    sources = np.where(labels == 1, 0, np.arange(40))
    rng = np.random.default_rng(0)
    first, second = (placements(labels, labels + rng.normal(size=40)) for _ in range(2))
    assert ends(estimate(first, Clusters.disjoint(sources)), "source") == (0, 1)
    compared, p = difference(second, first, Clusters.disjoint(sources))
    assert (ends(compared, "source"), compared.clustered, p) == ((-1, 1), True, 1.0)


# ------------------------------------------------------------------------------------ properties
@settings(max_examples=60)
@given(FRAMES)
def test_properties(frames: list[tuple[int, int, int]]) -> None:
    labels, first, second = (np.array(column) for column in zip((0, 1, 5), (1, 4, 2), *frames, strict=True))
    sources = np.arange(len(labels)) // 2
    before, after = (placements(labels, scores.astype(float)) for scores in (first, second))
    assert before.auc == pytest.approx(psi(labels, first).mean())
    single = estimate(before, Clusters.disjoint(sources))
    compared, p = difference(after, before, Clusters.disjoint(sources))
    for auc, least, most in ((single, 0, 1), (compared, -1, 1)):
        low, high = ends(auc)
        assert least <= low <= auc.value + 1e-12
        assert auc.value - 1e-12 <= high <= most
    assert 0 <= p <= 1
    # Exactly the same, whatever the order of the frames, and mirrored when the two change places.
    order = np.random.default_rng(len(labels)).permutation(len(labels))
    again = [placements(labels[order], scores[order].astype(float)) for scores in (first, second)]
    assert again[0].auc == before.auc
    turned, turned_p = difference(again[1], again[0], Clusters.disjoint(sources[order]))
    assert (turned.value, turned_p) == pytest.approx((compared.value, p))
    assert ends(turned) == pytest.approx(ends(compared))
    mirrored, mirrored_p = difference(before, after, Clusters.disjoint(sources))
    assert (mirrored.value, mirrored_p) == pytest.approx((-compared.value, p))
    assert ends(mirrored) == pytest.approx((-compared.by_frame.high, -compared.by_frame.low), abs=1e-9)


def test_the_same_ranking_is_no_difference_that_these_frames_show() -> None:
    labels, first, _ = drawn(2)
    sources = np.arange(len(labels)) // 3
    before, after = placements(labels, first), placements(labels, first * 7 - 2)
    compared, p = difference(after, before, Clusters.disjoint(sources))
    half = 0.5 / (labels == 1).sum() / (labels == 0).sum()
    assert (compared.value, p) == (0.0, 1.0)
    assert (compared.interval.low, compared.interval.high) == pytest.approx((-half, half))


def test_a_subset_is_the_same_as_scoring_it_alone() -> None:
    labels, first, second = drawn(3, count=200, levels=30)
    rows = np.random.default_rng(0).random(200) < 0.4
    alone = [placements(labels[rows], scores[rows]) for scores in (first, second)]
    for chosen in (rows, np.flatnonzero(rows)):
        parts = [subset(placements(labels, scores), chosen) for scores in (first, second)]
        assert [part.auc for part in parts] == [placed.auc for placed in alone]
        np.testing.assert_array_equal(parts[0].real, alone[0].real)
        assert difference(parts[1], parts[0], None) == difference(alone[1], alone[0], None)


def test_sources_that_are_missing_share_nothing() -> None:
    by_source = clusters(pd.Series(["a", None, "b", "a", None, "b", "b"]), np.zeros(7, int))
    assert by_source is not None
    codes = by_source.members[:, 0]
    assert codes[[0, 2]].tolist() == codes[[3, 5]].tolist()
    assert codes[5] == codes[6]
    assert len(set(codes.tolist())) == 4
    assert clusters(pd.Series(["a", None, "b", None]), np.zeros(4, int)) is None
    assert clusters(pd.Series([None, None], dtype="object"), np.zeros(2, int)) is None


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [([1, 1], [0.1, 0.2], "no real"), ([0, 0], [0.1, 0.2], "no fake"), ([0, 1], [0.1, np.nan], "NaN")],
)
def test_what_has_no_area_is_refused(labels: list[int], scores: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        placements(np.array(labels), np.array(scores))


def test_other_labels_are_refused() -> None:
    scores = np.array([0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="same frames"):
        difference(placements(np.array([0, 1, 1]), scores), placements(np.array([1, 0, 1]), -scores), None)


@pytest.mark.slow
def test_a_million_frames_take_seconds() -> None:
    labels, first, second = drawn(0, count=1_000_000)
    sources = clusters(pd.Series(np.arange(1_000_000) // 30).astype(str), labels)
    began = time.process_time()
    before, after = placements(labels, first), placements(labels, second)
    estimate(before, sources)
    difference(after, before, sources)
    assert time.process_time() - began < limit(8)
