"""A quantised graph without the limits of its integers: what the artifact would say if no value were outside its range.

Activations become 16-bit integers with the scales and zero points that they have, 128 times as far to either side. So
the difference to the artifact's own graph is what clipping does, and nothing else.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.detectors.layer_names import short_name

if TYPE_CHECKING:
    import onnx

# Operators that move integers and compute nothing with them.
_MOVING = frozenset(
    {"Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose",
     "Unsqueeze"}
)  # fmt: skip
# onnxruntime's own operators of these names take 16 bits in every opset.
_DOMAIN = "com.microsoft"
# How bench, and onnxruntime's quantisation, end the name of a node that quantises what the rest of the name says.
_ENDINGS = (".quantised", "_QuantizeLinear")


class UnreadableRangesError(ValueError):
    """Activations are integers whose ranges are not all those of a QuantizeLinear of at most eight bits."""


@dataclass(frozen=True)
class Layer:
    """A quantised activation: its name, and the lowest and the highest integer that the artifact has for it."""

    name: str
    lowest: int
    highest: int


@dataclass(frozen=True)
class Unclipped:
    """The graph, and for each of its further outputs, int16, the layer whose integers it gives out."""

    model: onnx.ModelProto
    layers: Mapping[str, Layer]


def unclipped(model: onnx.ModelProto) -> Unclipped | None:
    """A copy of the graph with wide integers, which it also gives out; None where no activation has a fixed range.

    Raises `UnreadableRangesError` where integers are computed with in another way than between QuantizeLinear and
    DequantizeLinear: then nothing tells what they clip.
    """
    from onnx import helper

    changed = copy.deepcopy(model)
    layers = _widen(changed.graph, {}, frozenset())
    if not layers:
        return None
    if not any(entry.domain == _DOMAIN for entry in changed.opset_import):
        changed.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    return Unclipped(changed, layers)


def _widen(
    graph: onnx.GraphProto, outer: Mapping[str, onnx.TensorProto], outer_integers: frozenset[str]
) -> dict[str, Layer]:
    """Change a graph in place, and give out its integers. Returns the layer of each new output.

    `outer` are the constants around it, `outer_integers` the activations around it that are wide by now.
    """
    constants = {**outer, **_constants(graph)}
    fixed, integers, layers = set(constants), set(outer_integers), dict[str, Layer]()
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] not in fixed:
            if (limits := _limits(node, constants)) is not None:
                layers[node.output[0]] = Layer(_name(node), *limits)
                integers.update(node.output)
                _widen_zero_point(graph, node, constants)
        elif node.op_type == "DequantizeLinear" and node.input[0] in integers:
            _widen_zero_point(graph, node, constants)
        elif integers.intersection(node.input):
            if node.op_type not in _MOVING:
                raise UnreadableRangesError(f"{node.op_type} computes with integers")
            integers.update(node.output)
        elif node.input and fixed.issuperset(filter(None, node.input)) and not any(_bodies(node)):
            fixed.update(node.output)
        for body in _bodies(node):
            layers |= _widen_body(node, body, constants, frozenset(integers))
    if integers.intersection(value.name for value in graph.output):
        raise UnreadableRangesError("it gives out integers")
    graph.output.extend(_value(name) for name in layers)
    graph.ClearField("value_info")
    return layers


def _widen_body(
    node: onnx.NodeProto, body: onnx.GraphProto, constants: Mapping[str, onnx.TensorProto], integers: frozenset[str]
) -> dict[str, Layer]:
    """Change the graph that a node holds. What a Scan's body gives out, the node gives out run by run."""
    layers = _widen(body, constants, integers)
    if layers and (node.op_type != "Scan" or any(entry.name.startswith("scan_output") for entry in node.attribute)):
        raise UnreadableRangesError(f"activations are quantised inside of {node.op_type}")
    by_run = {f"{output}/runs": layer for output, layer in layers.items()}
    node.output.extend(by_run)
    return by_run


def _limits(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> tuple[int, int] | None:
    """The lowest and the highest integer of a QuantizeLinear; None where its scale is not fixed, or it gives floats."""
    from onnx import TensorProto

    zero_point = constants.get(node.input[2]) if len(node.input) > 2 else None
    if node.input[1] not in constants or (len(node.input) > 2 and node.input[2] and zero_point is None):
        return None
    given = {attribute.name: attribute.i for attribute in node.attribute}
    kind = zero_point.data_type if zero_point is not None else given.get("output_dtype", 0) or TensorProto.UINT8
    if given.get("block_size") or kind in (TensorProto.UINT16, TensorProto.INT16):
        raise UnreadableRangesError("activations have 16 bits, or a scale for each block")
    limits: dict[int, tuple[int, int]] = {
        TensorProto.UINT4: (0, 15), TensorProto.INT4: (-8, 7),
        TensorProto.UINT8: (0, 255), TensorProto.INT8: (-128, 127),
    }  # fmt: skip
    return limits.get(kind)


def _widen_zero_point(graph: onnx.GraphProto, node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> None:
    """Let a node write, or read, 16 bits: it takes the type of its zero point."""
    import numpy as np
    from onnx import numpy_helper

    scale = constants.get(node.input[1])
    given = node.input[2] if len(node.input) > 2 else ""
    if scale is None or (given and given not in constants):
        raise UnreadableRangesError("integers are read back by a scale that is not constant")
    values = numpy_helper.to_array(constants[given]) if given else np.zeros(tuple(scale.dims))
    name = f"unclipped/{node.output[0]}/zero_point"
    graph.initializer.append(numpy_helper.from_array(np.asarray(values).astype(np.int16), name))
    node.input[2:] = [name]
    node.domain = _DOMAIN
    axis = [attribute for attribute in node.attribute if attribute.name == "axis"]
    node.ClearField("attribute")
    node.attribute.extend(axis)


def _constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """The constants of a graph, those of Constant nodes among them, by name."""
    of_nodes = {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    return {**of_nodes, **{tensor.name: tensor for tensor in graph.initializer}}


def _bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that a node holds."""
    for attribute in node.attribute:
        yield from (attribute.g,) if attribute.HasField("g") else ()
        yield from attribute.graphs


def _name(node: onnx.NodeProto) -> str:
    """What a node quantises, by its name."""
    name = str(node.name or node.output[0])
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return short_name(name)


def _value(name: str) -> onnx.ValueInfoProto:
    """What a graph says of an output of 16-bit integers."""
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.INT16, None)
