"""Frames of several sources: which depend on each other, and the intervals of AUC that follow."""

from __future__ import annotations

from itertools import combinations
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.results.score.auc import estimate
from bench.results.score.clusters import MOST_SOURCES, Clusters, clusters
from bench.results.score.differences import difference
from bench.results.score.placements import Placements, placements

SOURCES = st.lists(st.sets(st.sampled_from("abcdef"), min_size=1, max_size=4), min_size=2, max_size=25)


def overlapping(sources: list[set[str]]) -> Clusters:
    """Every source as a cluster, whether components would do or not."""
    members = np.full((len(sources), max(map(len, sources))), -1)
    for row, names in zip(members, sources, strict=True):
        row[: len(names)] = sorted(ord(name) for name in names)
    return Clusters(members, "overlapping")


def named(sources: list[set[str]]) -> pd.Series[str]:
    return pd.Series([";".join(sorted(names)) for names in sources])


@given(SOURCES, st.integers(0, 9))
def test_sums_over_pairs_that_share_a_source_against_a_loop(sources: list[set[str]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, len(sources)))
    shares = np.array([[bool(a & b) for b in sources] for a in sources])
    judged = overlapping(sources)
    product = judged.product(judged.sums(first), judged.sums(second))
    assert product == pytest.approx(first @ shares @ second, abs=1e-9)
    rows = first > np.median(first)
    if rows.any():
        assert judged.effective(rows) == pytest.approx(rows.sum() ** 2 / shares[np.ix_(rows, rows)].sum())
    assert judged.independent == (shares.sum() == len(sources))


def test_the_variance_of_a_mean_is_that_of_two_way_clusters() -> None:
    """By statsmodels, for frames of one fake's source each and one of its target's: Cameron, Gelbach & Miller."""
    from statsmodels.api import OLS
    from statsmodels.stats.sandwich_covariance import cov_cluster_2groups

    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 9, 200), rng.integers(0, 7, 200)
    values = rng.normal(size=9)[first] + rng.normal(size=7)[second] + rng.normal(size=200)
    judged = Clusters(np.stack([first, 9 + second], 1), "overlapping")
    fitted = OLS(values, np.ones(200)).fit()
    expected = cov_cluster_2groups(fitted, first, second, use_correction=False)[0]
    sums = judged.sums(values - values.mean())
    assert judged.product(sums, sums) / 200**2 == pytest.approx(float(np.asarray(expected).item()), rel=1e-9)


@given(SOURCES)
def test_components_are_what_a_walk_reaches(sources: list[set[str]]) -> None:
    """Where one holds more than a third of a class, sources stay as they are, and overlap."""
    labels = np.arange(len(sources)) % 2
    judged = clusters(named(sources), labels)
    groups = [set(names) for names in sources]
    for group in groups:
        while grown := [names for names in sources if names & group and not names <= group]:
            group.update(*grown)
    largest = max(
        sum(labels[row] == label for row in range(len(groups)) if groups[row] == group) / max(sum(labels == label), 1)
        for group in groups
        for label in (0, 1)
    )
    shares = [a & b for a, b in combinations(sources, 2)]
    if judged is None:
        assert not any(shares)
    elif all(len(names) == 1 for names in sources):
        assert judged.kind == "sources"
    elif largest > 1 / 3:
        assert judged.kind == "overlapping"
    else:
        assert judged.kind == "components"
        codes = judged.members[:, 0]
        for one_row, other in combinations(range(len(sources)), 2):
            assert (codes[one_row] == codes[other]) == (groups[one_row] == groups[other])


def test_frames_of_many_sources_join_these() -> None:
    many = {f"s{number}" for number in range(MOST_SOURCES + 1)}
    sources = [many, {"s0"}, {"s4"}, {"x"}, {"x", "s1"}, {"y"}]
    judged = clusters(named(sources), np.array([1, 0, 0, 0, 1, 0]))
    assert judged is not None
    assert judged.members.shape[1] == 2
    merged = np.array(
        [[a is b or bool(a & b) or (bool(a & many) and bool(b & many)) for b in sources] for a in sources]
    )
    frames = np.eye(len(sources))
    products = [[judged.product(judged.sums(a), judged.sums(b)) for b in frames] for a in frames]
    assert np.array_equal(np.array(products) > 0, merged)


def paired(kind: str, sources: int, frames: int) -> tuple[list[set[str]], NDArray[np.int64]]:
    """Real frames of each source, and fakes of closed pairs or of every pair."""
    pairs = {
        "closed": [(2 * k, 2 * k + 1) for k in range(sources // 2)],
        "all": list(combinations(range(sources), 2)),
        "ring": [(k, (k + step) % sources) for k in range(sources) for step in (1, 2)],
    }[kind]
    real = [{f"{k}"} for k in range(sources) for _ in range(frames)]
    fake = [{f"{a}", f"{b}"} for a, b in pairs for _ in range(frames)]
    return [*real, *fake], np.repeat([0, 1], [len(real), len(fake)])


def two_scores(sources: list[set[str]], labels: NDArray[np.int64], rng: np.random.Generator) -> list[Placements]:
    """Of a baseline of AUC .9, and of a variant .01 below that scores much alike; half of the noise is the sources'."""
    names = sorted(set().union(*sources))
    membership = np.array([[name in of_frame for name in names] for of_frame in sources]) * 1.0
    membership /= np.sqrt(membership.sum(1, keepdims=True))
    noise = np.sqrt(0.5) * rng.normal(size=(2, len(names))) @ membership.T
    noise += np.sqrt(0.5) * rng.normal(size=(2, len(sources)))
    noise[1] = 0.9 * noise[0] + np.sqrt(1 - 0.81) * noise[1]
    apart = [2**0.5 * NormalDist().inv_cdf(auc) for auc in (0.9, 0.89)]
    return [placements(labels, distance * labels + errors) for distance, errors in zip(apart, noise, strict=True)]


def test_of_disjoint_sources_the_sum_over_pairs_is_obuchowskis() -> None:
    """The two ways differ in their factors for few sources alone."""
    rng = np.random.default_rng(0)
    sources = [{str(number)} for number in np.arange(4000) // 4]
    labels = np.arange(4000) // 4 % 2
    before, after = two_scores(sources, labels, rng)
    apart = clusters(named(sources), labels)
    assert apart is not None
    members = np.concatenate([apart.members, np.full_like(apart.members, -1)], 1)
    by_source, by_pairs = (difference(after, before, way)[0].by_source for way in (apart, Clusters(members)))
    assert by_source is not None
    assert by_pairs is not None
    assert by_pairs.width == pytest.approx(by_source.width, rel=1e-6)


def test_what_the_interval_is_made_by() -> None:
    rng = np.random.default_rng(1)
    made: dict[str, Any] = {}
    for kind in ("closed", "all", "ring"):
        sources, labels = paired(kind, 30, 4)
        judged = clusters(named(sources), labels)
        assert judged is not None
        before, after = two_scores(sources, labels, rng)
        delta = difference(after, before, judged)[0]
        assert delta.by_source is not None
        made[kind] = judged.kind
        if kind == "all":
            # Every source alone is tied to all others: as components they are one, which proves nothing.
            whole = difference(after, before, Clusters.disjoint(np.zeros(len(labels), int)))[0]
            assert whole.interval == type(whole.interval)(-1.0, 1.0)
            assert delta.interval.width < 0.5
    assert made == {"closed": "components", "all": "overlapping", "ring": "overlapping"}


def test_a_source_in_every_fake_proves_nothing() -> None:
    """All fakes are of one target: nothing shows how another would do."""
    sources = [{str(k)} for k in range(20) for _ in range(3)] + [{"0", str(k)} for k in range(1, 20) for _ in range(3)]
    labels = np.repeat([0, 1], [60, 57])
    before, after = two_scores(sources, labels, np.random.default_rng(0))
    judged = clusters(named(sources), labels)
    assert estimate(before, judged).interval == type(estimate(before, judged).interval)(0.0, 1.0)
    assert difference(after, before, judged)[0].interval.width == 2


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), [("closed", 40), ("all", 16), ("ring", 40)])
def test_intervals_hold_the_truth(kind: str, count: int) -> None:
    """In 95 %, on 300 draws; frame by frame they would in 88 at most."""
    rng = np.random.default_rng(5)
    sources, labels = paired(kind, count, 4)
    judged = clusters(named(sources), labels)
    drawn = [two_scores(sources, labels, rng) for _ in range(300)]
    truth = float(np.mean([after.auc - before.auc for before, after in drawn]))
    deltas = [difference(after, before, judged)[0] for before, after in drawn]
    covered = np.mean([delta.interval.low <= truth <= delta.interval.high for delta in deltas])
    by_frame = np.mean([delta.by_frame.low <= truth <= delta.by_frame.high for delta in deltas])
    assert covered > 0.93
    assert by_frame < covered - 0.05
