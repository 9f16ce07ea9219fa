"""Weights as integers: to the nearest, or so that the weights rounded later make good for those before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bench.variants.layers import compensation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Bits = Literal[4, 8]
BLOCK = 64
"""About so many neighbouring weights of an output share a scale where they have four bits."""
_SMALLEST_BLOCK, _LARGEST_BLOCK = 8, 256

_LARGEST = {8: 127, 4: 7}
_TINY = 1e-12


@dataclass(frozen=True)
class Rounded:
    """`integers` [out, in / groups, k, k], symmetric, times `steps` [out], or [out, blocks], all of one size."""

    integers: NDArray[np.int8]
    steps: NDArray[np.float32]
    bits: Bits

    @property
    def block(self) -> int:
        """How many neighbouring weights of an output share a scale."""
        return math.prod(self.integers.shape[1:]) // math.prod(self.steps.shape[1:])

    def floats(self) -> NDArray[np.float32]:
        """What the integers stand for."""
        floats: NDArray[np.float32] = self.integers * _by_weight(self.steps, self.integers.shape)
        return floats


def block_size(inputs: int) -> int:
    """The divisor of `inputs` that is nearest to `BLOCK`, as a ratio: OpenVINO reads no block that is cut off."""
    divisors = (size for size in range(1, inputs + 1) if inputs % size == 0)
    return min(divisors, key=lambda size: abs(math.log(size / BLOCK)))


def four_bits_pay(inputs: int) -> bool:
    """Whether so many weights of an output fall into blocks that are neither too dear in scales nor too coarse."""
    return _SMALLEST_BLOCK <= block_size(inputs) <= _LARGEST_BLOCK


def nearest(weight: NDArray[np.float32], bits: Bits = 8, least_steps: NDArray[np.floating] | None = None) -> Rounded:
    """Every weight to the nearest integer. `least_steps` [out]: no output's step is smaller, for eight bits."""
    import numpy as np

    if least_steps is None:
        return compensated(weight, None, bits)
    steps = np.maximum(_steps(weight, bits), least_steps).astype(np.float32)
    integers = np.rint(weight / _by_weight(steps, weight.shape)).astype(np.int8)
    return Rounded(integers, steps, bits)


def compensated(weight: NDArray[np.float32], covariance: NDArray[np.float32] | None, bits: Bits = 8) -> Rounded:
    """Weights [out, in, 1, 1] rounded input by input. `covariance` [in, in] is that of what they are multiplied with.

    Without it, or for other shapes, every weight goes to the nearest integer.
    """
    import numpy as np

    steps = _steps(weight, bits)
    by_weight = _by_weight(steps, weight.shape)
    largest = _LARGEST[bits]
    if covariance is None:
        integers = np.clip(np.rint(weight / by_weight), -largest, largest)
        return Rounded(integers.astype(np.int8), steps, bits)
    columns = weight[:, :, 0, 0].astype(np.float64)
    scales = np.broadcast_to(by_weight[:, :, 0, 0], columns.shape).astype(np.float64)

    def rounded(column: int, left: NDArray[np.float64], curvature: NDArray[np.float64]) -> NDArray[np.float64]:
        scale = scales[:, column]
        values: NDArray[np.float64] = np.clip(np.rint(left[:, column] / scale), -largest, largest) * scale
        return values

    integers = np.rint(compensation.one_by_one(columns, covariance, rounded) / scales)
    return Rounded(integers[:, :, None, None].astype(np.int8), steps, bits)


def _steps(weight: NDArray[np.float32], bits: Bits) -> NDArray[np.float32]:
    import numpy as np

    flat = np.abs(weight.reshape(len(weight), -1))
    widest = flat.max(1) if bits == 8 else flat.reshape(len(flat), -1, block_size(flat.shape[1])).max(2)
    steps: NDArray[np.floating] = np.maximum(widest / _LARGEST[bits], _TINY)
    if bits == 4:
        # What is rounded must be rounded with what will be stored: halves, as shares of their row's largest.
        rows = steps.max(1, keepdims=True)
        steps = np.maximum((steps / rows).astype(np.float16), np.finfo(np.float16).tiny) * rows
    return steps.astype(np.float32)


def _by_weight(steps: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    import numpy as np

    if steps.ndim == 1:
        return steps.reshape(-1, 1, 1, 1)
    repeated: NDArray[np.float32] = np.repeat(steps, math.prod(shape[1:]) // steps.shape[1], axis=1).reshape(shape)
    return repeated
