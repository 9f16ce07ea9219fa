"""The hard twin of a detector: the same function, with channels as uneven as the worst real ones.

Every channel is multiplied by its own 2^U(-4, 4) wherever what reads it can take the inverse: the batch norm
after a convolution (in its statistics), or the layers that read a linear bottleneck, a residual stream that
several blocks write and read, or anything behind ReLU. What SiLU or a sigmoid makes stays as it is, since
they let no factor through. Whatever shares one step between channels loses the small ones here.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

if TYPE_CHECKING:
    from bench.detectors.detector import Detector

OCTAVES = 4.0
"""A channel is multiplied by 2 to a power between minus this and this."""

# What lets a positive factor through: f(s x) = s f(x).
_HOMOGENEOUS = (nn.Identity, nn.ReLU, nn.LeakyReLU, nn.Dropout, nn.MaxPool2d, nn.AvgPool2d)
_HOMOGENEOUS_FUNCTIONS = {F.relu, torch.relu, "relu", "relu_", "mean"}
_SUMS = {operator.add, operator.iadd, torch.add, "add", "add_"}
_PRODUCTS = {operator.mul, torch.mul, "mul"}


@dataclass(eq=False)
class Channels:
    """Channels that can only be rescaled together: the layers that write them, and those that read them."""

    written_by: list[nn.Conv2d | nn.BatchNorm2d] = field(default_factory=list)
    read_by: list[nn.Conv2d | nn.BatchNorm2d | nn.Linear] = field(default_factory=list)
    fixed: bool = False


def twin(detector: Detector, seed: int = 0) -> Detector:
    """A rescaled copy in evaluation mode: the same logits and CAMs but for rounding. Equal seeds give equal twins.

    ValueError where no channel can be rescaled.
    """
    rescaled = copy.deepcopy(detector).eval()
    rescalable = [each for each in _channels(rescaled) if not each.fixed and each.written_by and each.read_by]
    if not rescalable:
        raise ValueError(f"{detector.architecture}: no channel can be rescaled without changing the function")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for channels in rescalable:
            octaves = torch.rand(len(channels.written_by[0].weight), generator=generator, dtype=torch.float64) * 2 - 1
            _rescale(channels, torch.exp2(octaves * OCTAVES))
    return rescaled


# --------------------------------------------------------------------------- what belongs together
class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (nn.Conv2d, nn.BatchNorm2d)) or super().is_leaf_module(m, module_qualified_name)


def _channels(detector: Detector) -> list[Channels]:
    """All channels of the backbone, in the order of the network."""
    written: dict[fx.Node, Channels] = {}
    for node in _Tracer().trace(detector.backbone).nodes:
        inputs = [written[source] for source in node.all_input_nodes]
        if node.op == "output":
            inputs[0].read_by.append(detector.head)
        elif node.target in _SUMS:
            together = _together(inputs)
            written = {other: together if channels in inputs else channels for other, channels in written.items()}
            written[node] = together
        else:
            module = detector.backbone.get_submodule(str(node.target)) if node.op == "call_module" else None
            written[node] = _after(module, node, inputs)
    return list(dict.fromkeys(written.values()))


def _together(parts: Sequence[Channels]) -> Channels:
    """What a sum adds must be rescaled alike."""
    parts = list(dict.fromkeys(parts))
    return Channels(
        [layer for part in parts for layer in part.written_by],
        [layer for part in parts for layer in part.read_by],
        any(part.fixed for part in parts),
    )


def _after(module: nn.Module | None, node: fx.Node, inputs: Sequence[Channels]) -> Channels:
    """The channels that a node gives out, having noted what it does to those that it reads."""
    if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
        inputs[0].read_by.append(module)
        activation = getattr(module, "act", None)  # timm's batch norms hold theirs
        return Channels([module], fixed=activation is not None and not isinstance(activation, _HOMOGENEOUS))
    if isinstance(module, _HOMOGENEOUS) or node.target in _HOMOGENEOUS_FUNCTIONS:
        return inputs[0]
    if node.target in _PRODUCTS and len(inputs) == 2 and any(part.fixed for part in inputs):
        # A gate multiplies what it scales, and is itself beyond a sigmoid.
        return inputs[0] if inputs[1].fixed else inputs[1]
    for part in inputs:
        part.fixed = True
    return Channels(fixed=True)


# --------------------------------------------------------------------------------------- rescaling
def _rescale(channels: Channels, factors: Tensor) -> None:
    """Multiply channels by positive `factors` [channels] where they are written, and divide where they are read."""
    for layer in channels.written_by:
        _multiply(layer.weight, factors.reshape(-1, *[1] * (layer.weight.ndim - 1)))
        if layer.bias is not None:
            _multiply(layer.bias, factors)
    for reader in channels.read_by:
        if isinstance(reader, nn.BatchNorm2d):
            _absorb(reader, factors)
        elif isinstance(reader, nn.Conv2d):
            inverse = (1 / factors).reshape(reader.groups, 1, -1).expand(-1, reader.out_channels // reader.groups, -1)
            _multiply(reader.weight, inverse.reshape(reader.out_channels, -1, 1, 1))
        else:
            _multiply(reader.weight, 1 / factors)


def _absorb(norm: nn.BatchNorm2d, factors: Tensor) -> None:
    """Statistics of inputs `factors` times as large. `eps` does not grow with them: the weight makes up for it."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    variance = norm.running_var.double()
    _multiply(norm.weight, torch.sqrt((variance * factors**2 + norm.eps) / (variance + norm.eps)) / factors)
    _multiply(norm.running_mean, factors)
    _multiply(norm.running_var, factors**2)


def _multiply(tensor: Tensor, factors: Tensor) -> None:
    tensor.copy_(tensor.double() * factors)
