"""What a graph from elsewhere holds: parameters, multiply-accumulates, and the type of its weights."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from bench.artifacts.onnx_graph import graphs, shapes

if TYPE_CHECKING:
    import onnx

    Tensors: TypeAlias = dict[str, onnx.TensorProto]

# At which input an operator has its weights; a matrix product may have them on either side.
_WEIGHTS = {
    "Conv": 1, "ConvTranspose": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3,
    "Gemm": 1, "MatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3, "QGemm": 3,
    "DynamicQuantizeMatMul": 1, "MatMulIntegerToFloat": 1,
}  # fmt: skip
_OF_MAPS = ("Conv", "ConvTranspose", "FusedConv", "ConvInteger", "QLinearConv")
# Between a weight as it is stored and the operator that uses it.
_ON_THE_WAY = {"DequantizeLinear", "QuantizeLinear", "Cast", "Transpose", "Reshape", "Identity", "Unsqueeze"}
_QUANTISED_ACTIVATIONS = {
    "QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "QGemm",
    "DynamicQuantizeMatMul", "MatMulIntegerToFloat",
}  # fmt: skip


def parameters(model: onnx.ModelProto) -> int:
    """Numbers among the weights, biases included; scales, zero points and shapes are none of them."""
    total = 0
    for graph in graphs(model.graph):
        about = {name for node in graph.node for name in _describing(node)}
        for tensor in graph.initializer:
            if tensor.name not in about and _is_number(tensor):
                total += math.prod(tensor.dims)
        for node in graph.node:
            if size := _packed(node):
                total += size
    return total


def weights(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """The float32 weights and biases of a graph from elsewhere, those of our own input and output left aside."""
    about = {name for node in graph.node for name in _describing(node)}
    for tensor in graph.initializer:
        is_ours = tensor.name.startswith(("input/", "output/", "loop/"))
        if tensor.data_type == 1 and math.prod(tensor.dims) > 1 and tensor.name not in about and not is_ours:
            yield tensor


def macs(model: onnx.ModelProto, batch: int) -> int | None:
    """Multiply-accumulates of layers with weights for one frame, of a graph with `batch` frames; None if unknown."""
    import onnx

    try:
        graph = onnx.shape_inference.infer_shapes(_folded(model), data_prop=True).graph
    except Exception:  # of whatever the graph holds that onnx does not know
        return None
    by_name, total = shapes(graph), 0
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if any(list(graphs(attribute.g)) for attribute in node.attribute if attribute.HasField("g")):
            return None
        numbers = _packed(node)
        if not numbers:
            weight = next(_weights(node, tensors, producers), None)
            if weight is None:
                continue
            numbers = math.prod(weight.dims)
        positions = _positions(node, by_name)
        if not positions or positions % batch:
            return None
        total += numbers * positions // batch
    return total


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without the arithmetic of shapes that exporters leave in it, behind which nothing is inferred.

    As it is, where onnx has no arithmetic of its own for it, as for integers in old opsets.
    """
    from bench.artifacts import graph_folding

    try:
        return graph_folding.filled(model, {})
    except Exception:  # of onnx's reference implementation, of many kinds
        return model


def _positions(node: onnx.NodeProto, by_name: dict[str, list[int]]) -> int | None:
    """At how many positions of all frames a layer is applied; None where no shape says it."""
    written = by_name.get(node.input[0] if node.op_type == "ConvTranspose" else node.output[0])
    if not written or 0 in written:
        return None
    if node.op_type in _OF_MAPS:
        return math.prod(written[2:]) * written[0]
    return math.prod(written[:-1])


def stored(model: onnx.ModelProto) -> str:
    """The type of the weights, as `Built.stored` has it: "int8" only where activations are integers too."""
    kinds: Counter[str] = Counter()
    quantises = False
    for graph in graphs(model.graph):
        constants = {tensor.name for tensor in graph.initializer}
        quantises |= any(
            node.op_type in _QUANTISED_ACTIVATIONS and node.input[0] not in constants for node in graph.node
        )
        about = {name for node in graph.node for name in _describing(node)}
        for tensor in graph.initializer:
            if tensor.name not in about and len(tensor.dims) > 1 and (kind := _KINDS.get(tensor.data_type)):
                kinds[kind] += math.prod(tensor.dims)
        for node in graph.node:
            if size := _packed(node):
                kinds["int4" if _attribute(node, "bits", 4) == 4 else "int8"] += size
    most = max(kinds, key=lambda kind: kinds[kind], default="fp32")
    if not most.startswith("int"):
        # Few layers may be on integers, and most weights floats: what computes with integers is int8 all the same.
        return "int8" if quantises else most
    return "int8" if quantises else f"{most} weights"


# Values of TensorProto.DataType.
_KINDS = {
    1: "fp32", 2: "int8", 3: "int8", 10: "fp16", 11: "fp64", 16: "bf16", 21: "int4", 22: "int4",
}  # fmt: skip
_INT32, _INT64 = 6, 7


def _is_number(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type in _KINDS or (tensor.data_type == _INT32 and len(tensor.dims) > 0)


def _describing(node: onnx.NodeProto) -> Iterator[str]:
    """The inputs of a node that say how others are meant: scales, zero points, shapes and limits."""
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        yield from node.input[1:3]
    elif node.op_type in ("QLinearConv", "QLinearMatMul", "QGemm"):
        yield from (name for index, name in enumerate(node.input) if index not in (0, 3, 8))
    elif node.op_type in ("ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"):
        yield from node.input[2:]
    elif node.op_type == "MatMulNBits":
        yield from node.input[1:5]
    elif node.op_type in ("Clip", "Reshape", "Resize", "Pad", "Slice", "Expand", "Tile"):
        yield from node.input[1:]


def _weights(
    node: onnx.NodeProto, tensors: Tensors, producers: dict[str, onnx.NodeProto]
) -> Iterator[onnx.TensorProto]:
    """The constant that a layer multiplies with; none where both sides depend on the frame."""
    if node.op_type not in _WEIGHTS:
        return
    sides = (1, 0) if node.op_type in ("MatMul", "Gemm") else (_WEIGHTS[node.op_type],)
    for side in sides:
        name = node.input[side] if side < len(node.input) else ""
        while name not in tensors and name in producers and producers[name].op_type in _ON_THE_WAY:
            name = producers[name].input[0]
        if name in tensors:
            yield tensors[name]


def _packed(node: onnx.NodeProto) -> int:
    """Weights of an operator that packs several in a byte; 0 of all others."""
    if node.op_type != "MatMulNBits":
        return 0
    return _attribute(node, "K", 0) * _attribute(node, "N", 0)


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), default)
