"""Frames that most variants lose: against counting one by one, and their number by chance against permutations."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.results.score.exemplars import exemplars, expected

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1])
RIGHT = np.array([0.1, 0.2, 0.3, 0.8, 0.9, 0.8, 0.7, 0.3])  # rows 3 and 7 are wrong


def scores(*flipped: int) -> Any:
    """The baseline's scores with other sides for some rows."""
    moved = RIGHT.copy()
    moved[list(flipped)] = 1 - moved[list(flipped)]
    return moved


def test_frames_that_more_than_half_of_the_variants_lose() -> None:
    record = exemplars(LABELS, RIGHT, {"a": scores(0, 4), "b": scores(0, 5), "c": scores(0, 4, 6), "d": scores(3)}, 0.5)
    assert record is not None
    assert (record.variants, record.same, record.needed) == (("a", "b", "c", "d"), {}, 3)
    assert (record.count, record.right, record.rows.tolist()) == (8, 6, [0])
    assert record.lost_by.tolist() == [[True, True, True, False]]
    # Of 3 real frames that are right, a, b and c lose one each; of 3 fakes two, of which b and c the same one or not.
    assert record.expected == pytest.approx(3 * (1 / 3) ** 3 + 3 * (1 / 3) * (1 / 3) * (2 / 3))


def test_the_most_lost_come_first_then_those_that_moved_furthest() -> None:
    record = exemplars(LABELS, RIGHT, {"a": scores(0, 1, 4), "b": scores(1, 4), "c": scores(0, 1)}, 0.5)
    assert record is not None
    assert record.needed == 2
    assert record.rows.tolist() == [1, 0, 4]  # three lose 1; 0 and 4, which two lose, moved alike
    assert record.lost_by.sum(axis=1).tolist() == [3, 2, 2]


def test_what_the_baseline_has_wrong_is_lost_by_nobody() -> None:
    record = exemplars(LABELS, RIGHT, {"a": scores(7), "b": scores(0, 3), "c": scores(1, 3, 7)}, 0.5)
    assert record is not None
    assert record.rows.tolist() == []


def test_variants_that_decide_as_the_baseline_do_not_count() -> None:
    by_name = {"a": scores(0), "b": scores(0, 1), "as it": scores() + 1e-3}
    assert exemplars(LABELS, RIGHT, by_name, 0.5) is None
    record = exemplars(LABELS, RIGHT, by_name | {"c": scores(4)}, 0.5)
    assert record is not None
    assert (record.variants, record.as_baseline, record.needed) == (("a", "b", "c"), ("as it",), 2)


def test_variants_that_decide_alike_count_once() -> None:
    by_name = {"a": scores(0), "a-fp16": scores(0) + 1e-4, "b": scores(0, 1), "again": scores(0)}
    assert exemplars(LABELS, RIGHT, by_name, 0.5) is None
    record = exemplars(LABELS, RIGHT, by_name | {"c": scores(4)}, 0.5)
    assert record is not None
    assert (record.variants, record.same) == (("a", "b", "c"), {"a": ("a-fp16", "again")})


def test_the_threshold_decides_what_is_lost() -> None:
    by_name = {"a": scores(0), "b": scores(0, 1), "c": scores(4)}
    assert exemplars(LABELS, RIGHT, by_name, 0.5) is not None
    assert exemplars(LABELS, RIGHT, by_name, 0.85) is None  # from .85 on, .8 is real: a and b decide alike


@given(st.integers(1, 12), st.lists(st.integers(0, 12), min_size=3, max_size=5))
@settings(max_examples=40, deadline=None)
def test_the_number_by_chance_is_that_of_all_outcomes(right: int, losses: list[int]) -> None:
    losses, needed = [min(loss, right) for loss in losses], len(losses) // 2 + 1
    total = 0.0
    for outcome in product((0, 1), repeat=len(losses)):
        chances = (loss / right if lost else 1 - loss / right for lost, loss in zip(outcome, losses, strict=True))
        total += math.prod(chances) if sum(outcome) >= needed else 0.0
    assert expected(right, losses, needed) == pytest.approx(right * total, abs=1e-9)


def test_the_number_by_chance_is_that_of_permuted_losses() -> None:
    rng = np.random.default_rng(0)
    right, losses, draws = 200, [40, 60, 30, 50, 45], 3_000
    counts = []
    for _ in range(draws):
        lost = np.zeros((right, len(losses)), bool)
        for variant, loss in enumerate(losses):
            lost[rng.choice(right, loss, replace=False), variant] = True
        counts.append(int((lost.sum(axis=1) >= 3).sum()))
    error = np.std(counts) / np.sqrt(draws)
    assert expected(right, losses, 3) == pytest.approx(np.mean(counts), abs=4 * error)


def test_no_frame_that_is_right_is_lost_by_chance() -> None:
    assert expected(0, [0, 0, 0], 2) == 0.0
    assert expected(5, [5, 5, 5], 2) == pytest.approx(5.0)
