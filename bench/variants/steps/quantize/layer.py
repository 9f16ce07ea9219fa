"""One convolution as it is quantised; many of them made side by side, each a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench.variants.checkpoints import each
from bench.variants.layers.compensation import side_by_side
from bench.variants.steps.quantize import rounding
from bench.variants.steps.quantize.graph import Convolution
from bench.variants.steps.quantize.rounding import Rounded
from bench.variants.steps.quantize.scales import Activation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.variants.checkpoints import State
    from bench.variants.steps import StepContext

_TINY = 1e-30


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
        """How many sets of channel scales it has. Each costs a product, or at least its bytes where a gate takes it."""
        return (self.channel_scales is not None) + (self.output_channel_scales is not None)

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
        return float((changed / np.maximum(exact, _TINY)).mean())

    def compensated(self, covariance: NDArray[np.float32]) -> Layer:
        """The same, its weights rounded with error compensation for inputs of this covariance [in, in]."""
        if self.channel_scales is not None:
            covariance = covariance * np.outer(self.channel_scales, self.channel_scales)
        weight = self.convolution.divided_weight(self.channel_scales)
        return replace(self, weight=rounding.compensated(weight, covariance, self.weight.bits))

    def bias_corrected(self, mean: NDArray[np.float64]) -> Layer:
        """The same with a `shift` that takes back what rounding the weights changes for inputs of this mean [in]."""
        shift = -self.convolution.response(self.weight_change(), mean)
        return replace(self, shift=shift.astype(np.float32))


def made_side_by_side(
    part: str, convolutions: Sequence[Convolution], make: Callable[[Convolution], Sequence[Layer]], work: StepContext
) -> list[list[Layer]]:
    """`make(convolution)` for every convolution, in their order, on `work.threads` cores.

    The layers that are done are a checkpoint, called `part`.
    """

    def packed_layers(convolution: Convolution) -> State:
        return packed(make(convolution))

    def run(rest: Sequence[Convolution]) -> Any:
        return side_by_side(packed_layers, rest, work.threads)

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
