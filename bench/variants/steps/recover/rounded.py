"""A detector that computes as its quantised graph does, and can be trained: rounding in the forward pass.

Each quantised layer is replaced by one that multiplies, rounds and clips at the very places, with the very scales of
the graph. Gradients pass rounding as if it were not there, and stop where values are clipped (the straight-through
estimator: Bengio et al., 2013). What is trained is the weights that are rounded, and the biases; scales, ranges and
all that is in float stay as they are, so that the graph needs other integers and other biases alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.variants.layers.convolutions import computed_weight, norms_after, padded
from bench.variants.steps.quantize.rounding import LEVELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector
    from bench.variants.steps.quantize.rounding import Activation
    from bench.variants.steps.quantize.stored_layers import StoredLayer

# How far from its integer a weight may begin, in steps: the graph's is the result of error compensation.
_MOST = 0.45


class QuantisedLayer(nn.Module):
    """Stands in for a convolution or linear layer, whose input it reads and whose output it writes.

    `weight` is in the shape of `StoredLayer.integers`; `bias` has the batch norm folded in.
    """

    gain: Tensor
    offset: Tensor
    scales: Tensor
    factors: Tensor | None
    inverse: Tensor | None

    def __init__(self, stored: StoredLayer, layer: nn.Module, norm: nn.BatchNorm2d | None) -> None:
        """`norm` is the batch norm that reads what `layer` writes; None where there is none."""
        super().__init__()
        self.stored = stored
        # Not a submodule: its own weights are not trained.
        self.layer = (layer,)
        gain, offset = unfolded(layer, norm)
        floats = torch.from_numpy(stored.integers).float()
        steps = self._blocks(torch.ones_like(floats)) * torch.from_numpy(stored.scales)[..., None]
        steps = steps.reshape(floats.shape)
        away = self._folded(layer, gain) / steps - floats
        self.weight = nn.Parameter((floats + away.clamp(-_MOST, _MOST)) * steps)
        self.bias = nn.Parameter(torch.from_numpy(stored.bias.copy()))
        self.register_buffer("gain", gain, persistent=False)
        self.register_buffer("offset", offset, persistent=False)
        self.register_buffer("scales", torch.from_numpy(stored.scales.copy()).flatten(), persistent=False)
        for name, values in (("factors", stored.factors), ("inverse", stored.inverse)):
            self.register_buffer(name, None if values is None else torch.from_numpy(values.copy()), persistent=False)

    def _folded(self, layer: nn.Module, gain: Tensor) -> Tensor:
        """The float weights in the units of the graph's."""
        weight = computed_weight(layer)
        shape = [-1] + [1] * (weight.ndim - 1)
        folded = weight / gain.reshape(shape)
        if self.stored.factors is not None:
            groups = getattr(layer, "groups", 1)
            factors = torch.from_numpy(self.stored.factors).reshape(groups, -1)
            by_output = factors.repeat_interleave(len(weight) // groups, 0)
            folded = folded / by_output.reshape(*by_output.shape, *[1] * (weight.ndim - 2))
        if self.stored.inverse is not None:
            folded = folded / torch.from_numpy(self.stored.inverse).reshape(shape)
        return folded

    def _blocks(self, weight: Tensor) -> Tensor:
        """The weights [out, blocks, weights of a block]."""
        return weight.reshape(*self.stored.scales.shape, -1)

    def forward(self, inputs: Tensor) -> Tensor:
        """What the module writes: the graph's layer, and what turns its output back into that without batch norm."""
        (layer,) = self.layer
        linear = isinstance(layer, nn.Linear)
        read = inputs if self.factors is None else inputs * along(self.factors, linear=linear)
        read = _through_integers(read, self.stored.input)
        weight = self._rounded()
        if linear:
            written = F.linear(read, weight, self.bias)
        else:
            convolution: Any = layer
            strides = convolution.stride, 0, convolution.dilation, convolution.groups
            written = F.conv2d(padded(convolution, read), weight, self.bias, *strides)
        written = _through_integers(written, self.stored.output)
        if self.inverse is not None:
            written = written * along(self.inverse, linear=linear)
        return written * along(self.gain, linear=linear) + along(self.offset, linear=linear)

    def _rounded(self) -> Tensor:
        blocks = self._blocks(self.weight).flatten(0, 1)
        largest, zeros = self.stored.largest, torch.zeros_like(self.scales)
        rounded = torch.fake_quantize_per_channel_affine(blocks, self.scales, zeros, 0, -largest, largest)
        return rounded.reshape(self.weight.shape)

    def integers(self) -> NDArray[np.int8]:
        """The weights as the graph stores them."""
        largest = self.stored.largest
        with torch.no_grad():
            steps = self._blocks(self.weight) / self.scales.reshape(self.stored.scales.shape)[..., None]
            integers = steps.round().clamp(-largest, largest).reshape(self.weight.shape)
        rounded: NDArray[np.int8] = integers.to(torch.int8).cpu().numpy()
        return rounded


def along(channels: Tensor, *, linear: bool) -> Tensor:
    """Numbers of channels, to be multiplied with what a layer reads or writes."""
    return channels if linear else channels.reshape(1, -1, 1, 1)


def unfolded(layer: Any, norm: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor]:
    """What turns the output of the graph's layer, batch norm folded in, into the output of the module alone.

    A gain and an offset by channel; where the norm lets nothing through, a gain of 1.
    """
    if norm is None:
        outputs = len(layer.weight)
        return torch.ones(outputs), torch.zeros(outputs)
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    deviation = (variance + norm.eps).sqrt()
    scale = torch.ones_like(deviation) if norm.weight is None else norm.weight.detach()
    shift = torch.zeros_like(deviation) if norm.bias is None else norm.bias.detach()
    gain = torch.where(scale.abs() > 1e-12, deviation / scale, torch.ones_like(deviation))
    return gain, mean - shift * gain


def _through_integers(values: Tensor, activation: Activation | None) -> Tensor:
    if activation is None:
        return values
    return torch.fake_quantize_per_tensor_affine(values, activation.scale, activation.zero_point, 0, LEVELS)


def rounded(model: Detector, layers: Mapping[str, StoredLayer], frames: Tensor) -> dict[str, QuantisedLayer]:
    """Replace the layers of `model` in place. Their weights and biases are all that can be trained of it.

    `frames`, a few of uint8 RGB, tell which batch norm follows which convolution.
    """
    model.eval().requires_grad_(False)
    with torch.no_grad():
        norms = norms_after(model, model.preprocess(frames))
    made: dict[str, QuantisedLayer] = {}
    for name, stored in layers.items():
        layer = model.get_submodule(name)
        norm = model.get_submodule(norms[name]) if name in norms else None
        if not isinstance(norm, nn.BatchNorm2d | None) or not isinstance(layer, (nn.Conv2d, nn.Linear)):
            continue
        made[name] = QuantisedLayer(stored, layer, norm)
    for name, layer in made.items():
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, layer)
    return made
