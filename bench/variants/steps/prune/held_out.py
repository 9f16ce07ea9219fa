"""Calibration frames that the ranking's fit leaves out, and how their logit differences depend on a layer's weights.

To first order a frame's logit difference changes by the sum, over weights, of its gradient times their change: one
number for all positions of a feature map together, so that errors which neighbouring positions share count in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bench.variants.layers.convolutions import as_map, patches

if TYPE_CHECKING:
    from bench.variants.layers.convolutions import Layer

_SHARE = 4
"""One frame in so many is held out."""
_MOST_BYTES, _LEAST = 2**30, 8
"""Of a network so large that gradients of a quarter take more than this, fewer frames are held out, but so many."""
_BYTES_A_WEIGHT = 2


def held_out(sources: Sequence[str | None], weights: int) -> Tensor:
    """By frame [n], whether it is held out: a quarter of them, whole sources, so that no video is on both sides.

    Where no sources make up at least half of that, every fourth frame. A frame without a source is its own. `weights`
    is how many a frame's gradients are kept of.
    """
    affordable = max(_LEAST, _MOST_BYTES // (_BYTES_A_WEIGHT * max(1, weights)))
    most = max(1, min(len(sources) // _SHARE, affordable))
    named = [source or f"/{index}" for index, source in enumerate(sources)]
    by_source: dict[str, list[int]] = {}
    for index, source in enumerate(named):
        by_source.setdefault(source, []).append(index)
    every = max(_SHARE, len(sources) // most)
    chosen: list[int] = []
    groups = list(by_source.values())
    # Every fourth source first, from all over the set; then the others where these are small.
    for start in reversed(range(every)):
        for group in groups[start::every]:
            if len(chosen) + len(group) <= most:
                chosen += group
    if len(chosen) < most / 2:
        chosen = list(range(every - 1, len(sources), every))[:most]
    held = torch.zeros(len(sources), dtype=torch.bool)
    held[chosen] = True
    return held


def gradients(layer: Any, read: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Of frames whose `gradient` came back to what a layer wrote for what it `read`: those of its weights
    [n, *weight.shape], and of a bias [n, outputs], frame by frame.
    """
    written = as_map(layer, gradient)
    count, outputs, tall, wide = written.shape
    groups = getattr(layer, "groups", 1)
    positions = torch.arange(tall * wide, device=read.device).expand(count, -1)
    inputs = patches(layer, read, positions).reshape(count, tall * wide, groups, -1)
    by_group = written.reshape(count, groups, outputs // groups, -1)
    of_weights = torch.einsum("ngop,npgd->ngod", by_group, inputs)
    return of_weights.reshape(count, *layer.weight.shape), written.sum((2, 3))


@dataclass
class HeldOut:
    """A layer's gradients over the held-out frames, by batch: `of_weights` [n, *weight.shape] of inputs about a `shift`
    [inputs], `of_bias` [n, outputs].
    """

    shift: Tensor | None = None
    of_weights: list[Tensor] = field(default_factory=list)
    of_bias: list[Tensor] = field(default_factory=list)

    def add(self, layer: Any, read: Tensor, gradient: Tensor) -> None:
        """Add frames. The shift is the mean of what the layer reads of the first ones."""
        if self.shift is None:
            self.shift = as_map(layer, read).mean((0, 2, 3)).float().cpu()
        of_weights, of_bias = gradients(layer, read, gradient)
        of_weights = of_weights - _of_constant(layer, of_bias, self.shift.to(of_bias))
        # Two bytes are enough once the mean is gone, which would be all that they hold.
        self.of_weights.append(of_weights.to(torch.bfloat16).cpu())
        self.of_bias.append(of_bias.cpu())

    def centred(self, layer: Any, mean: Tensor) -> Tensor:
        """Gradients [n, weights] where every input is taken about its `mean` [inputs], which a bias makes up for."""
        assert self.shift is not None
        count, rest = sum(map(len, self.of_bias)), mean.float().cpu() - self.shift
        whole = torch.empty(count, layer.weight.numel())
        begin = 0
        for of_weights, of_bias in zip(self.of_weights, self.of_bias, strict=True):
            for by_weight, by_output in zip(of_weights, of_bias, strict=True):
                whole[begin] = by_weight.float().flatten() - _of_constant(layer, by_output[None], rest).flatten()
                begin += 1
        return whole


def _of_constant(layer: Any, of_bias: Tensor, constant: Tensor) -> Tensor:
    """The weights' gradients [n, *weight.shape] were `constant` [inputs] what each input reads everywhere."""
    groups = getattr(layer, "groups", 1)
    by_output = constant.reshape(groups, -1).repeat_interleave(len(layer.weight) // groups, 0)
    products = of_bias[:, :, None] * by_output
    taps = (1,) * (layer.weight.ndim - 2)
    return products.reshape(*products.shape, *taps).expand(len(products), *layer.weight.shape)


def dense(layer: Layer, inputs: int) -> Tensor:
    """Weights [outputs, taps, inputs] in float64, zero between convolution groups."""
    if isinstance(layer, nn.Linear):
        return layer.weight.detach()[:, None].double()
    outputs, each = layer.weight.shape[:2]
    whole = layer.weight.new_zeros(outputs, layer.weight[0, 0].numel(), inputs, dtype=torch.float64)
    for part, rows in enumerate(torch.arange(outputs).chunk(layer.groups)):
        of_part = layer.weight[rows].detach().flatten(2).transpose(1, 2).double()
        whole[rows, :, part * each : (part + 1) * each] = of_part
    return whole


def as_stored(layer: Any, whole: Tensor) -> Tensor:
    """`dense` weights [outputs, taps, inputs] as the layer's lie, flat; what is between convolution groups is left."""
    groups = getattr(layer, "groups", 1)
    outputs, taps, inputs = whole.shape
    by_group = whole.reshape(groups, outputs // groups, taps, groups, inputs // groups)
    return torch.stack([by_group[group, :, :, group] for group in range(groups)]).transpose(2, 3).flatten()
