"""The allocator keeps large blocks while it is asked to, and gives them back."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from typing import Any

import pytest

from bench.system import allocator

_COUNT = """
import resource
import numpy as np
from bench.system.allocator import large_blocks_stay

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(6 << 20)  # 48 MiB, above the largest threshold that glibc comes to by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual = faults()
with large_blocks_stay():
    np.ones(6 << 20)
    lasting = faults()
print(usual, lasting, faults())
"""


@pytest.mark.skipif(allocator._glibc() is None, reason="no glibc, or an allocator that the environment has set")
def test_pages_are_asked_for_once() -> None:
    done = subprocess.run([sys.executable, "-c", _COUNT], check=True, capture_output=True, text=True)
    usual, lasting, afterwards = map(int, done.stdout.split())
    # Where the kernel has huge pages at hand, there are few faults either way.
    assert lasting < usual / 3 or usual < 500
    assert afterwards > 3 * lasting or usual < 500


class Library:
    """Stands in for the C library, and notes what is set."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def mallopt(self, option: int, value: int) -> int:
        self.calls.append((option, value))
        return 1

    def malloc_trim(self, pad: int) -> int:
        self.calls.append((pad,))
        return 1


def test_memory_is_given_back_after_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(allocator, "_glibc", lambda: library)

    def work() -> None:
        with allocator.large_blocks_stay():
            assert library.calls == [(-3, 1 << 30), (-1, 1 << 30)]
            raise ValueError("of a step")

    with pytest.raises(ValueError, match="of a step"):
        work()
    assert library.calls[2:] == [(-3, 32 << 20), (-1, 64 << 20), (0,)]


def test_a_glibc_that_takes_no_threshold_so_high_gets_the_highest() -> None:
    class Older(Library):
        def mallopt(self, option: int, value: int) -> int:
            super().mallopt(option, value)
            return int(option != -3 or value <= 32 << 20)

    library = Older()
    allocator._set(library, allocator._KEPT_BYTES)
    assert library.calls == [(-3, 1 << 30), (-3, 32 << 20), (-1, 1 << 30)]


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_nothing_is_set_elsewhere(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    def refuse(*arguments: Any) -> Any:
        raise AssertionError("the C library was asked for")

    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with allocator.large_blocks_stay():
        pass


@pytest.mark.parametrize("name", ["GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "LD_PRELOAD"])
def test_what_the_environment_sets_stays(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    assert allocator._glibc() is None


def test_a_library_without_these_functions_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in allocator._OWNERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert allocator._glibc() is None
