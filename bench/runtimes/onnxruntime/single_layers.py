"""The quantised layers of a graph one by one, so that they can be timed: what tells them apart, and each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.artifacts.onnx_graph import LAYERS, producers
from bench.runtimes.onnxruntime.lowering import EVERYWHERE, Kernels, Lowering, as_model

if TYPE_CHECKING:
    import onnx


_LONGEST_WAY = 3
"""Limits, factors, QuantizeLinear."""


def layer_shapes(model: onnx.ModelProto) -> dict[str, tuple[object, ...]]:
    """By name of each convolution or linear layer that `lower` executes on integers: all that its time depends on.

    That is the shapes of its input and weight, its attributes, and whether it writes integers. `model` holds inferred
    shapes.
    """
    writer = Lowering(model, EVERYWHERE)
    by_name: dict[str, tuple[object, ...]] = {}
    for node in model.graph.node:
        if node.op_type in LAYERS and writer.on_integers(node):
            weight = writer.constants[writer.producer[node.input[1]].input[0]]
            attributes = tuple(sorted((field.name, field.i, tuple(field.ints)) for field in node.attribute))
            writes_integers = writer.until_integers(node) is not None
            by_name[node.name] = (tuple(writer.shapes[node.input[0]]), weight.shape, attributes, writes_integers)
    return by_name


def alone(model: onnx.ModelProto, name: str, kernels: Kernels) -> onnx.ModelProto:
    """One quantised layer of a graph by itself, channels-last, so that it can be timed.

    `model` holds inferred shapes. Input: what the layer reads, uint8 [1, h, w, in], of a linear layer in as many axes
    as that has. Output: what it writes, float or uint8, with its channels last.
    """
    from onnx import TensorProto, helper

    writer = Lowering(_part(model, name), kernels)
    layer = next(node for node in writer.graph.node if node.op_type in LAYERS)
    read, written = writer.graph.input[0].name, writer.graph.output[0].name
    _, *sides = writer.shapes[layer.input[0]]
    is_linear = layer.op_type == "MatMul"
    (writer.first if is_linear else writer.last)[read] = read
    for node in writer.graph.node:
        writer.lower(node)
    source = helper.make_tensor_value_info(
        read, TensorProto.UINT8, [1, *(sides if is_linear else (*sides[1:], sides[0]))]
    )
    kind = TensorProto.FLOAT if written == layer.output[0] else TensorProto.UINT8
    name_written = writer.channels_first(written) if is_linear else writer.channels_last(written)
    output = helper.make_tensor_value_info(name_written, kind, None)
    graph = helper.make_graph(writer.nodes, name, [source], [output], writer.initializers())
    return as_model(graph, model)


def _part(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """A layer with the DequantizeLinear of its input and weight and, where it writes integers, all up to these."""
    nodes = producers(model.graph)
    convolution = next(node for node in model.graph.node if node.name == name)
    before = [*(nodes[side] for side in convolution.input[:2]), convolution]
    # To look at a layer and what follows it takes less than to look at the whole graph for every layer.
    around = Lowering(_graph_of([*before, *_sole_readers(model.graph, convolution)], model, name), EVERYWHERE)
    layer = next(node for node in around.graph.node if node.name == name)
    way = around.until_integers(layer)
    return _graph_of([*before, *(way.nodes if way else ())], model, name)


def _sole_readers(graph: onnx.GraphProto, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The node that alone reads what a node writes, the one that alone reads that, and so on: at most three."""
    outputs = {value.name for value in graph.output}
    chain: list[onnx.NodeProto] = []
    for _ in range(_LONGEST_WAY):
        written = (chain[-1] if chain else node).output[0]
        readers = [reader for reader in graph.node if written in reader.input]
        if len(readers) != 1 or written in outputs:
            break
        chain += readers
    return chain


def _graph_of(part: Sequence[onnx.NodeProto], model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """These nodes of a graph, the first of which dequantises what they read, as a graph of its own."""
    from onnx import TensorProto, helper

    used = {constant for node in part for constant in node.input}
    value = next(info for info in model.graph.value_info if info.name == part[0].output[0])
    graph = helper.make_graph(
        part,
        name,
        [helper.make_tensor_value_info(part[0].input[0], TensorProto.UINT8, None)],
        [helper.make_tensor_value_info(part[-1].output[0], TensorProto.UNDEFINED, None)],
        [constant for constant in model.graph.initializer if constant.name in used],
        value_info=[value],
    )
    return helper.make_model(graph, opset_imports=model.opset_import)
