"""The stack that a thread handles signals on, kept from libraries that lay another one over it."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class SignalStack(ctypes.Structure):
    """`stack_t` of Linux: where the stack begins, whether it is in use or absent, and its size in bytes."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def current() -> SignalStack:
    """The calling thread's stack for signals, as sigaltstack(2) tells it; Linux alone."""
    stack = SignalStack()
    if ctypes.CDLL(None, use_errno=True).sigaltstack(None, ctypes.byref(stack)) != 0:
        raise OSError(ctypes.get_errno(), "sigaltstack")
    return stack


@contextmanager
def preserved() -> Iterator[None]:
    """Whatever is done inside, the calling thread has its stack for signals again afterwards; does nothing elsewhere.

    A library that lays its own and frees it while it is the thread's leaves none at all: the next signal that has a
    handler then ends the process without a word.
    """
    if sys.platform != "linux":
        yield
        return
    before = current()
    try:
        yield
    finally:
        ctypes.CDLL(None).sigaltstack(ctypes.byref(before), None)
