"""Small work on one thread each, and all threads again afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from bench.variants.layers.compensation import side_by_side


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def threads_of(item: int) -> tuple[int, int]:
    return item, torch.get_num_threads()


@pytest.mark.usefixtures("three_threads")
def test_each_has_one_thread_and_what_follows_has_all() -> None:
    assert list(side_by_side(threads_of, range(4), 2)) == [(0, 1), (1, 1), (2, 1), (3, 1)]
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_what_follows_an_early_end_has_all_threads() -> None:
    results = side_by_side(threads_of, range(4), 2)
    assert next(results) == (0, 1)
    del results
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_a_number_that_follows_the_load_meanwhile_stays() -> None:
    for _ in side_by_side(threads_of, range(2), 2):
        torch.set_num_threads(2)
    assert torch.get_num_threads() == 2
