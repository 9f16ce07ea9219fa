"""Reading and writing ONNX graphs: what a step and a runtime share that both write a graph anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

LAYERS = ("Conv", "MatMul")
"""The operators of layers with weights in graphs that bench writes; products of two activations are MatMul too."""

HEAVY = (*LAYERS, "Gemm")
"""The same in graphs from anywhere."""

INTEGER_LAYERS = frozenset({
    "QLinearConv", "ConvInteger", "QGemm", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
})  # fmt: skip
"""Operators of layers that compute on integers, in files and in graphs that onnxruntime has optimised."""


class GraphWriter:
    """The nodes and constants of a graph that is being written."""

    def __init__(self, constants: Iterable[onnx.TensorProto] = ()) -> None:
        from onnx import numpy_helper

        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {
            constant.name: numpy_helper.to_array(constant) for constant in constants
        }

    def constant(self, name: str, values: Any) -> str:
        """Define a constant, an array or a NumPy number, or replace the one of this name. Returns the name."""
        self.constants[name] = values
        return name

    def node(
        self,
        kind: str,
        inputs: Sequence[str],
        output: str,
        name: str = "",
        domain: str | None = None,
        **attributes: Any,
    ) -> str:
        """Append a node, which without a name is called as its output. Returns `output`, the tensor that it writes.

        `domain` "" is ONNX's own as None is, but takes two bytes in the file.
        """
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=name or output, domain=domain, **attributes))
        return output

    def initializers(self) -> list[onnx.TensorProto]:
        """The constants that nodes read, in the order in which nodes read them first."""
        from onnx import numpy_helper

        read = dict.fromkeys(name for node in self.nodes for name in node.input if name in self.constants)
        return [numpy_helper.from_array(self.constants[name], name) for name in read]


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph, and those that its nodes hold: the bodies of loops and branches."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from graphs(inner)


def shapes(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """The shape of every tensor that has one, by name; 0 where a side is not fixed. Inner ones have to be inferred."""
    values = (*graph.value_info, *graph.input, *graph.output)
    return {value.name: [side.dim_value for side in value.type.tensor_type.shape.dim] for value in values}


def producers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """The node that writes each tensor, by the tensor's name; without inputs and constants."""
    return {output: node for node in graph.node for output in node.output}


def readers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """The nodes that read each tensor, by the tensor's name; one that reads it twice stands there twice."""
    nodes: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            nodes.setdefault(name, []).append(node)
    return nodes


def integer_layers(file: Path) -> int:
    """How many layers an ONNX file means to be computed on integers: inputs and weights of such are both rounded."""
    import onnx

    graph = onnx.load(file, load_external_data=False).graph
    constants = {constant.name for constant in graph.initializer}
    rounded = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}

    def is_between_roundings(node: onnx.NodeProto) -> bool:
        return node.op_type in HEAVY and node.input[0] in rounded and rounded.get(node.input[1]) in constants

    return sum(node.op_type in INTEGER_LAYERS or is_between_roundings(node) for node in graph.node)


def bias_additions(graph: onnx.GraphProto) -> dict[str, tuple[onnx.NodeProto, str]]:
    """For each tensor to which a constant vector alone is added: that node, and the name of the constant."""
    vectors = {constant.name for constant in graph.initializer if len(constant.dims) == 1}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    additions = {}
    for name, nodes in readers.items():
        if len(nodes) == 1 and nodes[0].op_type == "Add":
            for other in vectors.intersection(nodes[0].input):
                additions[name] = (nodes[0], other)
    return additions


@dataclass(frozen=True)
class Nearest:
    """The names of the layers that a layer is nearest to: no other lies between."""

    before: frozenset[str]
    behind: frozenset[str]


def nearest_layers(graph: onnx.GraphProto) -> dict[str, Nearest]:
    """By name of each layer of a graph, those nearest to it."""
    written_by, read_by = producers(graph), readers(graph)

    def before(node: onnx.NodeProto) -> Iterable[onnx.NodeProto]:
        return (written_by[name] for name in node.input if name in written_by)

    def behind(node: onnx.NodeProto) -> Iterable[onnx.NodeProto]:
        return (reader for name in node.output for reader in read_by.get(name, ()))

    return {
        node.name: Nearest(_reached(node, before), _reached(node, behind))
        for node in graph.node
        if node.op_type in LAYERS
    }


def _reached(node: onnx.NodeProto, onward: Callable[[onnx.NodeProto], Iterable[onnx.NodeProto]]) -> frozenset[str]:
    """The names of the layers that are reached from a node in one direction without passing another layer."""
    waiting, seen, layers = list(onward(node)), set[int](), set[str]()
    while waiting:
        other = waiting.pop()
        if id(other) in seen:
            continue
        seen.add(id(other))
        if other.op_type in LAYERS:
            layers.add(other.name)
        else:
            waiting += onward(other)
    return frozenset(layers)


@dataclass(frozen=True)
class Limits:
    """What a value is cut off at: ReLU6 has 0 and 6, ReLU 0 and infinity."""

    lowest: float
    highest: float


def limits(node: onnx.NodeProto, constants: Mapping[str, NDArray[Any]]) -> Limits | None:
    """The limits of a Relu, or of a Clip whose limits are constant; None for other nodes."""
    if node.op_type == "Relu":
        return Limits(0.0, math.inf)
    if node.op_type != "Clip" or node.attribute:
        return None
    lowest, highest = [*node.input[1:], "", ""][:2]
    if any(name and name not in constants for name in (lowest, highest)):
        return None
    return Limits(
        float(constants[lowest].item()) if lowest else -math.inf,
        float(constants[highest].item()) if highest else math.inf,
    )


def groups(convolution: onnx.NodeProto) -> int:
    """How many groups a convolution's channels fall into."""
    return next((attribute.i for attribute in convolution.attribute if attribute.name == "group"), 1)


def is_pointwise(convolution: onnx.NodeProto, shape: Sequence[int]) -> bool:
    """Whether a convolution with a weight of this shape is one matrix product at every position: 1x1 and plain."""
    attributes = {attribute.name: attribute for attribute in convolution.attribute}
    usual = {"strides": 1, "pads": 0}
    plain = all(set(attributes[name].ints) <= {number} for name, number in usual.items() if name in attributes)
    return plain and tuple(shape[2:]) == (1, 1) and groups(convolution) == 1
