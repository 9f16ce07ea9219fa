"""What holds for every test of variants."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: sums over another number of threads differ in their last bits, and small ones only wait.

    Until a program sets the number itself, the libraries below PyTorch may change it from call to call.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
