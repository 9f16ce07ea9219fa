"""Layers whose rounded inputs would save nothing: they compute in float, and their weights alone are rounded.

Such are layers on integers whose nearest layers all compute in float: what they save costs more on the ways into bytes
and back, on which whole maps are rearranged too. So are depthwise convolutions that would write the bytes of a layer
which stays in float: there is no kernel for them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from bench.artifacts.onnx_graph import Nearest, nearest_layers
from bench.variants.steps.quantize.rounding import Layer, nearest

if TYPE_CHECKING:
    import onnx


def weights_alone(layers: Sequence[Layer], graph: onnx.GraphProto, named: Collection[str]) -> list[Layer]:
    """The same layers, those whose rounded inputs would save nothing with rounded weights alone.

    `graph` is the float one. Layers that the settings name count as others: what they lie beside stays what it was.
    """
    around = nearest_layers(graph)
    rounded = {layer.convolution.name: layer for layer in layers if layer.input is not None}
    while alone := {name for name, layer in rounded.items() if _saves_nothing(layer, around, {*rounded, *named})}:
        rounded = {name: layer for name, layer in rounded.items() if name not in alone}
    return [
        layer
        if layer.input is None or layer.convolution.name in rounded
        else Layer(layer.convolution, nearest(layer.convolution.weight))
        for layer in layers
    ]


def _saves_nothing(layer: Layer, around: Mapping[str, Nearest], on_integers: Collection[str]) -> bool:
    near = around[layer.convolution.name]
    behind = any(name in on_integers for name in near.behind)
    if layer.convolution.before_limits and not layer.convolution.pointwise:
        return not behind
    beside = {*near.before, *near.behind}
    return bool(beside) and not any(name in on_integers for name in beside)
