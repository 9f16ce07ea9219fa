"""Layers on integers among layers in float: what they save by themselves, the ways into integers and out again cost.

The layouts of float and of integer kernels differ too, so that whole maps are rearranged on both ways.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bench.artifacts.onnx_graph import LAYERS, nearest_layers
from bench.runtimes.onnxruntime.lowering import Kernels, Lowering

if TYPE_CHECKING:
    import onnx


def without_islands(model: onnx.ModelProto, kernels: Kernels) -> Kernels:
    """The same kernels, with every layer in float whose nearest layers, before and behind, all compute in float.

    `model` holds inferred shapes.
    """
    graph = Lowering(model, kernels)
    layers = (node for node in graph.graph.node if node.op_type in LAYERS)
    on_integers = {node.name for node in layers if graph.on_integers(node)}
    around = nearest_layers(graph.graph)
    islands = set()
    for name in on_integers:
        nearest = around[name].before | around[name].behind
        if nearest and not nearest & on_integers:
            islands.add(name)
    return replace(kernels, floats=kernels.floats | islands)
