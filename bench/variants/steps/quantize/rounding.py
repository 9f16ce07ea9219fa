"""Integers: how weights and activations are rounded, and `Layer`, a convolution of which both are.

Weights go to the nearest integer each, or are rounded with error compensation: input by input, and the inputs that
follow take up the error of those before (GPTQ: Frantar et al., ICLR 2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from bench.variants.checkpoints import each
from bench.variants.layers import compensation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.variants.checkpoints import State
    from bench.variants.steps import StepContext
    from bench.variants.steps.quantize.observe import Convolution

Bits = Literal[4, 8]
LEVELS = 255
"""The largest integer of an activation, an unsigned byte."""
LARGEST_WEIGHT = {8: 127, 4: 7}
"""The largest integer of a weight, by its bits."""
BLOCK = 64
"""About so many neighbouring weights of an output share a scale where they have four bits."""
_SMALLEST_BLOCK, _LARGEST_BLOCK = 8, 256
_TINY, _TINIEST = 1e-12, 1e-30


@dataclass(frozen=True)
class Activation:
    """How a tensor is written in eight bits: `round(x / scale) + zero_point`, in [0, 255]."""

    scale: float
    zero_point: int


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


@dataclass(frozen=True)
class Layer:
    """How one convolution is quantised. `input` and `output` None: that side stays in float.

    `weight` are the convolution's, divided by the `channel_scales` [in] that its input is multiplied with first; its
    output is multiplied with `output_channel_scales` [out] while it is in eight bits. `shift` [out] is added to its
    bias: what rounding the weights takes away on average.
    """

    convolution: Convolution
    weight: Rounded
    channel_scales: NDArray[np.float32] | None = None
    input: Activation | None = None
    output: Activation | None = None
    output_channel_scales: NDArray[np.float32] | None = None
    shift: NDArray[np.float32] | None = None

    @property
    def extra_scales(self) -> int:
        """How many sets of channel scales it has. Each costs a product, or at least its bytes where a gate takes it.

        Those of an input behind limits cost nothing: the convolution before takes them into its weights.
        """
        costs_input = self.channel_scales is not None and self.convolution.behind is None
        return costs_input + (self.output_channel_scales is not None)

    def weight_change(self) -> NDArray[np.float32]:
        """What rounding adds to the convolution's weights, in their shape."""
        stored = self.weight.floats()
        if self.channel_scales is not None:
            stored = replace(self.convolution, weight=stored).scaled_weight(self.channel_scales)
        change: NDArray[np.float32] = stored - self.convolution.weight
        return change

    def weight_error(self, mean_square: NDArray[np.float64]) -> float:
        """What rounding the weights adds to outputs, as a share of their power.

        `mean_square` [in] is that of the inputs, which are taken as independent.
        """
        changed, exact = (
            self.convolution.response(np.square(weight.astype(np.float64)), mean_square)
            for weight in (self.weight_change(), self.convolution.weight)
        )
        return float((changed / np.maximum(exact, _TINIEST)).mean())

    def compensated(self, covariance: NDArray[np.float32]) -> Layer:
        """The same, its weights rounded with error compensation for inputs of this covariance [in, in]."""
        if self.channel_scales is not None:
            covariance = covariance * np.outer(self.channel_scales, self.channel_scales)
        weight = self.convolution.divided_weight(self.channel_scales)
        return replace(self, weight=compensated(weight, covariance, self.weight.bits))

    def bias_corrected(self, mean: NDArray[np.float64]) -> Layer:
        """The same with a `shift` that takes back what rounding the weights changes for inputs of this mean [in]."""
        shift = -self.convolution.response(self.weight_change(), mean)
        return replace(self, shift=shift.astype(np.float32))


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
    largest = LARGEST_WEIGHT[bits]
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
    scales: NDArray[np.floating] = np.maximum(widest / LARGEST_WEIGHT[bits], _TINY)
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


def made_side_by_side(
    part: str, convolutions: Sequence[Convolution], make: Callable[[Convolution], Sequence[Layer]], work: StepContext
) -> list[list[Layer]]:
    """`make(convolution)` for every convolution, in their order, on `work.threads` cores.

    The layers that are done are a checkpoint, called `part`.
    """

    def packed_layers(convolution: Convolution) -> State:
        return packed(make(convolution))

    def run(rest: Sequence[Convolution]) -> Iterable[State]:
        return compensation.side_by_side(packed_layers, rest, work.threads)

    states = each(work.part(part), convolutions, run)
    return [unpacked(state, convolution) for state, convolution in zip(states, convolutions, strict=True)]


_KINDS: dict[str, Callable[..., Any]] = {kind.__name__: kind for kind in (Layer, Rounded, Activation)}


def packed(layers: Sequence[Layer]) -> State:
    """Layers of one convolution as tensors and numbers, without that convolution; shared parts are stored once."""
    tensors: dict[int, Any] = {}

    def pack(part: Any) -> Any:
        """A part of a layer in types that `torch.save` writes and a safe `torch.load` reads."""
        if id(part) in tensors:
            return tensors[id(part)]
        if isinstance(part, np.generic):  # not a Python number: arithmetic with it has other types
            return {"kind": "number", "value": torch.from_numpy(np.array(part))}
        if isinstance(part, np.ndarray):
            tensors[id(part)] = torch.from_numpy(part)
        elif is_dataclass(part):
            names = [field.name for field in fields(part) if field.name != "convolution"]
            parts = {name: pack(getattr(part, name)) for name in names}
            tensors[id(part)] = {"kind": type(part).__name__, "parts": parts}
        return tensors.get(id(part), part)

    return {"layers": [pack(layer) for layer in layers]}


def unpacked(state: State, convolution: Convolution) -> list[Layer]:
    """The layers of `convolution` that `packed` stored, bit for bit; what was shared is shared again."""
    parts_made: dict[int, Any] = {}

    def unpack(stored: Any) -> Any:
        if isinstance(stored, dict) and stored["kind"] == "number":
            return stored["value"].numpy()[()]
        if isinstance(stored, (dict, torch.Tensor)) and id(stored) not in parts_made:
            parts_made[id(stored)] = stored.numpy() if isinstance(stored, torch.Tensor) else make(**stored)
        return parts_made.get(id(stored), stored)

    def make(kind: str, parts: dict[str, Any]) -> Any:
        fixed = {"convolution": convolution} if kind == Layer.__name__ else {}
        return _KINDS[kind](**fixed, **{name: unpack(part) for name, part in parts.items()})

    return [unpack(layer) for layer in state["layers"]]
