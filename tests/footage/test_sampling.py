"""Which frames are taken: by hand, and as the projects take them that the names come from."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UserError
from bench.footage import sampling


@pytest.mark.parametrize(
    ("name", "count", "frames", "expected"),
    [
        ("linspace", 100, 4, [0, 33, 66, 99]),
        ("linspace", 10, 4, [0, 3, 6, 9]),
        ("linspace", 3, 32, [0, 1, 2]),
        ("linspace", 5, 1, [0]),
        ("step", 100, 4, [0, 25, 50, 75]),
        ("step", 10, 4, [0, 2, 5, 7]),
        ("step", 4, 4, [0, 1, 2, 3]),
        ("step", 3, 32, [0, 1, 2]),
        ("first", 100, 3, [0, 1, 2]),
        ("first", 2, 3, [0, 1]),
        ("all", 4, 1, [0, 1, 2, 3]),
        ("every-3", 10, 1, [0, 3, 6, 9]),
        ("every-1", 3, 1, [0, 1, 2]),
        ("every-50", 3, 1, [0]),
    ],
)
def test_numbers_by_hand(name: str, count: int, frames: int, expected: list[int]) -> None:
    sampling.check(name, frames)
    assert list(sampling.numbers(name, count, frames)) == expected


@given(st.integers(2, 3000), st.integers(2, 64))
def test_linspace_is_cut_off_and_not_rounded(count: int, frames: int) -> None:
    chosen = list(sampling.numbers("linspace", count, frames))
    exact = [Fraction(index * (count - 1), frames - 1) for index in range(frames)]
    # A float just below a whole number is cut off to the one before: that is how FSBI's are.
    floors = {number.__floor__() for number in exact} | {int(number) - 1 for number in exact if number.denominator == 1}
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= floors
    assert (chosen[0], chosen[-1]) == (0, count - 1)


@pytest.mark.parametrize("name", ["linspce", "every-0", "every-x", "every", "", "random"])
def test_unknown_samplings_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="sampling"):
        sampling.check(name, 32)


@pytest.mark.parametrize("frames", [0, -1, 100_001])
def test_absurd_numbers_of_frames_are_refused(frames: int) -> None:
    with pytest.raises(UserError, match="frames"):
        sampling.check("linspace", frames)


def test_more_frames_than_anybody_wants_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 100,000"):
        sampling.numbers("all", 5_000_000, 32)
