"""Flips against a loop over the frames."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from bench.results.score.flips import flips

SCORE = st.integers(0, 10).map(lambda tenths: tenths / 10)


@given(st.lists(st.tuples(st.integers(0, 1), SCORE, SCORE), min_size=1, max_size=40), SCORE)
def test_flips_against_a_loop(frames: list[tuple[int, float, float]], threshold: float) -> None:
    kinds = {}
    for row, (label, before, after) in enumerate(frames):
        was, now = (before >= threshold) == bool(label), (after >= threshold) == bool(label)
        if was != now:
            kinds[row] = was
    labels, baseline, variant = (np.array(column) for column in zip(*frames, strict=True))
    counted = flips(labels, baseline, variant, threshold)
    assert dict(zip(counted.rows.tolist(), counted.is_worse.tolist(), strict=True)) == kinds
    assert (counted.worse, counted.better) == (sum(kinds.values()), len(kinds) - sum(kinds.values()))
    moved = [abs(frames[row][2] - frames[row][1]) for row in counted.rows.tolist()]
    assert moved == sorted(moved, reverse=True)
    assert abs(counted.p - (binomtest(counted.worse, len(kinds)).pvalue if kinds else 1.0)) < 1e-9


def test_the_largest_change_comes_first_and_equal_ones_in_the_order_of_the_frames() -> None:
    labels = np.array([1, 0, 1, 0, 1])
    baseline = np.array([0.75, 0.25, 0.25, 0.25, 0.875])
    variant = np.array([0.25, 0.75, 0.75, 1.0, 0.5])
    counted = flips(labels, baseline, variant, 0.5)
    assert counted.rows.tolist() == [3, 0, 1, 2]
    assert counted.is_worse.tolist() == [True, True, True, False]
    assert (counted.worse, counted.better) == (3, 1)


def test_equal_scores_do_not_flip() -> None:
    labels, scores = np.array([1, 0, 1]), np.array([0.5, 0.5, 0.4])
    counted = flips(labels, scores, scores, 0.5)
    assert (counted.worse, counted.better, counted.p, len(counted.rows), len(counted.is_worse)) == (0, 0, 1.0, 0, 0)


def test_order_of_frames_changes_no_count() -> None:
    rng = np.random.default_rng(0)
    labels, baseline, variant = rng.integers(0, 2, 200), rng.random(200), rng.random(200)
    order = rng.permutation(200)
    first, second = flips(labels, baseline, variant, 0.5), flips(labels[order], baseline[order], variant[order], 0.5)
    assert (first.worse, first.better, first.p) == (second.worse, second.better, second.p)
    assert order[second.rows].tolist() == first.rows.tolist()
