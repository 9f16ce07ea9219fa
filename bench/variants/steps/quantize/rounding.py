"""Weights as integers: each to the nearest, or with error compensation.

With error compensation weights are rounded input by input, and the inputs that follow take up the error of those
before (GPTQ: Frantar et al., ICLR 2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from bench.variants.layers import compensation

if TYPE_CHECKING:
    from numpy.typing import NDArray

Bits = Literal[4, 8]
BLOCK = 64
"""About so many neighbouring weights of an output share a scale where they have four bits."""
_SMALLEST_BLOCK, _LARGEST_BLOCK = 8, 256

_LARGEST = {8: 127, 4: 7}
_TINY = 1e-12


@dataclass(frozen=True)
class Rounded:
    """`integers` [out, in / groups, k, k], symmetric, times `scales` [out], or [out, blocks], all of one size."""

    integers: NDArray[np.int8]
    scales: NDArray[np.float32]
    bits: Bits

    @property
    def block(self) -> int:
        """How many neighbouring weights of an output share a scale."""
        return math.prod(self.integers.shape[1:]) // math.prod(self.scales.shape[1:])

    def floats(self) -> NDArray[np.float32]:
        """What the integers stand for, in the shape of the weights."""
        floats: NDArray[np.float32] = self.integers * _by_weight(self.scales, self.integers.shape)
        return floats


def block_size(inputs: int) -> int:
    """The divisor of `inputs` that is nearest to `BLOCK`, as a ratio: OpenVINO reads no block that is cut off."""
    divisors = (size for size in range(1, inputs + 1) if inputs % size == 0)
    return min(divisors, key=lambda size: abs(math.log(size / BLOCK)))


def four_bits_pay(inputs: int) -> bool:
    """Whether `inputs` weights of an output make blocks that neither take too many scales nor are too coarse."""
    return _SMALLEST_BLOCK <= block_size(inputs) <= _LARGEST_BLOCK


def nearest(weight: NDArray[np.float32], bits: Bits = 8, least_scales: NDArray[np.floating] | None = None) -> Rounded:
    """Every weight [out, in / groups, k, k] to the nearest integer.

    `least_scales` [out]: no output's scale is smaller. For eight bits only.
    """
    if least_scales is None:
        return compensated(weight, None, bits)
    scales = np.maximum(_scales(weight, bits), least_scales).astype(np.float32)
    integers = np.rint(weight / _by_weight(scales, weight.shape)).astype(np.int8)
    return Rounded(integers, scales, bits)


def compensated(weight: NDArray[np.float32], covariance: NDArray[np.float32] | None, bits: Bits = 8) -> Rounded:
    """Weights [out, in, 1, 1] rounded input by input. `covariance` [in, in] is that of the inputs.

    Without it, or for other shapes, every weight goes to the nearest integer.
    """
    scales = _scales(weight, bits)
    by_weight = _by_weight(scales, weight.shape)
    largest = _LARGEST[bits]
    if covariance is None:
        integers = np.clip(np.rint(weight / by_weight), -largest, largest)
        return Rounded(integers.astype(np.int8), scales, bits)
    columns = weight[:, :, 0, 0].astype(np.float64)
    column_scales = np.broadcast_to(by_weight[:, :, 0, 0], columns.shape).astype(np.float64)

    def rounded(column: int, left: NDArray[np.float64], curvature: NDArray[np.float64]) -> NDArray[np.float64]:
        scale = column_scales[:, column]
        values: NDArray[np.float64] = np.clip(np.rint(left[:, column] / scale), -largest, largest) * scale
        return values

    integers = np.rint(compensation.one_by_one(columns, covariance, rounded) / column_scales)
    return Rounded(integers[:, :, None, None].astype(np.int8), scales, bits)


def _scales(weight: NDArray[np.float32], bits: Bits) -> NDArray[np.float32]:
    """The scales [out] that just reach each output's largest weight; for four bits [out, blocks]."""
    flat = np.abs(weight.reshape(len(weight), -1))
    widest = flat.max(1) if bits == 8 else flat.reshape(len(flat), -1, block_size(flat.shape[1])).max(2)
    scales: NDArray[np.floating] = np.maximum(widest / _LARGEST[bits], _TINY)
    if bits == 4:
        # The file stores halves, as shares of their row's largest: weights are rounded with just these.
        rows = scales.max(1, keepdims=True)
        scales = np.maximum((scales / rows).astype(np.float16), np.finfo(np.float16).tiny) * rows
    return scales.astype(np.float32)


def _by_weight(scales: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Scales [out] or [out, blocks], to be multiplied with weights of this shape."""
    if scales.ndim == 1:
        return scales.reshape(-1, 1, 1, 1)
    repeated: NDArray[np.float32] = np.repeat(scales, math.prod(shape[1:]) // scales.shape[1], axis=1).reshape(shape)
    return repeated
