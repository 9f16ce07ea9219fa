"""Layers whose rounded inputs would save nothing: they compute in float, and their weights alone are rounded.

Such are layers on integers whose nearest layers all compute in float: what they save costs more on the ways into bytes
and back, on which whole maps are rearranged too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.artifacts.onnx_graph import nearest_layers
from bench.variants.steps.quantize.rounding import Layer, nearest

if TYPE_CHECKING:
    import onnx


def weights_alone(layers: Sequence[Layer], graph: onnx.GraphProto) -> list[Layer]:
    """The same layers, those whose rounded inputs would save nothing with rounded weights alone.

    `graph` is the float one.
    """
    around = nearest_layers(graph)
    rounded = {layer.convolution.name for layer in layers if layer.input is not None}
    beside = {name: around[name].before | around[name].behind for name in rounded}
    lone = {name for name, nearby in beside.items() if nearby and not nearby & rounded}
    return [
        Layer(layer.convolution, nearest(layer.convolution.weight)) if layer.convolution.name in lone else layer
        for layer in layers
    ]
