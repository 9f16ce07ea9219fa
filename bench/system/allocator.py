"""glibc's memory allocator: while a process trains or calibrates, large blocks that it frees stay with it.

By its defaults glibc gives large blocks back to the kernel when they are freed. So each step of training asks for the
same pages again, and the kernel fills them with zeros again.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

# Of mallopt(3). Where the environment sets the allocator, or takes another one, that is its owner's wish.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_OWNERS = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "LD_PRELOAD")
_KEPT_BYTES = {_MMAP_THRESHOLD: 1 << 30, _TRIM_THRESHOLD: 1 << 30}
# Where glibc's thresholds, which follow what is freed, end by themselves.
_USUAL_BYTES = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}


@contextmanager
def large_blocks_stay() -> Iterator[None]:
    """Inside, this process keeps the memory that it frees; afterwards it gives back what it does not use.

    Nothing happens on other systems than Linux with glibc, nor where the environment sets the allocator.
    """
    library = _glibc()
    if library is None:
        yield
        return
    try:
        _set(library, _KEPT_BYTES)
        yield
    finally:
        _set(library, _USUAL_BYTES)
        library.malloc_trim(0)


def _set(library: Any, bytes_by_option: dict[int, int]) -> None:
    """Set the options. Older versions of glibc refuse a threshold of mmap above where it ends by itself.

    That is taken then: once the trim threshold is set, no threshold follows what is freed any more, and the one of mmap
    would stay where it happened to be.
    """
    for option, value in bytes_by_option.items():
        if not library.mallopt(option, value):
            library.mallopt(option, _USUAL_BYTES[option])


def _glibc() -> Any:
    """The C library of this process, if it is glibc and nobody else has set its allocator."""
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _OWNERS):
        return None
    with suppress(OSError, AttributeError):
        library: Any = ctypes.CDLL(None)
        if library.gnu_get_libc_version and library.mallopt and library.malloc_trim:
            return library
    return None
