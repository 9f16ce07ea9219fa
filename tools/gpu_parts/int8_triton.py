"""A Triton kernel for what a 1x1 convolution would be on integers: product, scale, bias, SiLU and rounding in one."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

# Rows, columns and depth of a tile, warps, stages of the pipeline.
TILES = ((128, 128, 64, 8, 3), (128, 64, 64, 4, 4), (128, 256, 64, 8, 3))


@triton.jit  # type: ignore[untyped-decorator]
def _product(  # noqa: PLR0913, PLR0917 - a kernel's pointers and sizes
    a: Any, b: Any, out: Any, scale: Any, bias: Any, step: Any, rows: Any, columns: Any, depth: Any,
    silu: tl.constexpr, tile_m: tl.constexpr, tile_n: tl.constexpr, tile_k: tl.constexpr,
) -> None:  # fmt: skip
    """a [rows, depth] int8 times b [columns, depth] int8, to out [rows, columns] int8."""
    program = tl.program_id(0)
    across = tl.cdiv(columns, tile_n)
    m = (program // across) * tile_m + tl.arange(0, tile_m)
    n = (program % across) * tile_n + tl.arange(0, tile_n)
    k = tl.arange(0, tile_k)
    a_at = a + m[:, None].to(tl.int64) * depth + k[None, :]
    b_at = b + n[None, :] * depth + k[:, None]
    total = tl.zeros((tile_m, tile_n), dtype=tl.int32)
    for begin in range(0, depth, tile_k):
        inside = k + begin < depth
        left = tl.load(a_at, mask=(m < rows)[:, None] & inside[None, :], other=0)
        right = tl.load(b_at, mask=(n < columns)[None, :] & inside[:, None], other=0)
        total += tl.dot(left, right, out_dtype=tl.int32)
        a_at += tile_k
        b_at += tile_k
    inside_n = n < columns
    value = total.to(tl.float32) * tl.load(scale + n, mask=inside_n, other=0.0)[None, :]
    value += tl.load(bias + n, mask=inside_n, other=0.0)[None, :]
    if silu:
        value = value / (1.0 + tl.exp(-value))
    value = value / step
    value = tl.where(value >= 0, value + 0.5, value - 0.5)
    value = tl.minimum(tl.maximum(value, -127.0), 127.0)
    out_at = out + m[:, None].to(tl.int64) * columns + n[None, :]
    tl.store(out_at, value.to(tl.int8), mask=(m < rows)[:, None] & inside_n[None, :])


def product(
    a: Tensor, b: Tensor, scale: Tensor, bias: Tensor, step: float, silu: bool, tile: tuple[int, ...]
) -> Tensor:
    """int8 [rows, columns] of a [rows, depth] and b [columns, depth]: rounded half away from zero."""
    (rows, depth), columns = a.shape, b.shape[0]
    out = torch.empty(rows, columns, dtype=torch.int8, device=a.device)
    tile_m, tile_n, tile_k, warps, stages = tile
    grid = (triton.cdiv(rows, tile_m) * triton.cdiv(columns, tile_n),)
    kernel: Any = _product
    kernel[grid](
        a, b, out, scale, bias, step, rows, columns, depth, silu, tile_m, tile_n, tile_k, num_warps=warps,
        num_stages=stages,
    )  # fmt: skip
    return out
