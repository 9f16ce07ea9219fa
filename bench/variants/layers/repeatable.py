"""Equal inputs, equal weights: on a GPU too, where the fastest algorithms add up in any order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def repeatable(*, tf32: bool) -> Iterator[None]:
    """Convolutions on CUDA give the same every time; what was set before is set again after.

    Other operations may still add up in any order there, such as the backward pass of max pooling.

    `tf32`: whether convolutions may round float32 to ten bits of mantissa, which is faster.
    """
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
