"""Layers on integers among layers in float: what they save by themselves, the ways into integers and out again cost.

The layouts of float and of integer kernels differ too, so that whole maps are rearranged on both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.runtimes.onnxruntime.lowering import LAYERS, Kernels, Lowering

if TYPE_CHECKING:
    import onnx


def without_islands(model: onnx.ModelProto, kernels: Kernels) -> Kernels:
    """The same kernels, with every layer in float whose nearest layers, before and behind, all compute in float.

    `model` holds inferred shapes.
    """
    graph = Lowering(model, kernels)

    def before(node: onnx.NodeProto) -> Iterable[onnx.NodeProto]:
        return (graph.producer[name] for name in node.input if name in graph.producer)

    def behind(node: onnx.NodeProto) -> Iterable[onnx.NodeProto]:
        return (reader for name in node.output for reader in graph.readers.get(name, ()))

    islands = set()
    for node in graph.graph.node:
        if node.op_type in LAYERS and graph.on_integers(node):
            nearest = [*_nearest(node, before), *_nearest(node, behind)]
            if nearest and not any(graph.on_integers(layer) for layer in nearest):
                islands.add(node.name)
    return replace(kernels, floats=kernels.floats | islands)


def _nearest(
    node: onnx.NodeProto, onward: Callable[[onnx.NodeProto], Iterable[onnx.NodeProto]]
) -> list[onnx.NodeProto]:
    """The layers that are reached from a node in one direction without passing another layer."""
    waiting, seen, layers = list(onward(node)), set[int](), []
    while waiting:
        other = waiting.pop()
        if id(other) in seen:
            continue
        seen.add(id(other))
        if other.op_type in LAYERS:
            layers.append(other)
        else:
            waiting += onward(other)
    return layers
