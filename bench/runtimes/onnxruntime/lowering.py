"""A quantised graph as onnxruntime executes it fastest on a CPU, computing the same.

Standard operators say what is computed; these say how: 1x1 convolutions become matrix products of
integers that write floats, so that nothing is rounded behind them; the other quantised convolutions
become QLinearConv; `x * sigmoid(x)` becomes one operator; and activations lie channels-last, as the
integer kernels want them, with transpositions only where the one layout meets the other.

The matrix products of x86 processors without VNNI add two products of an unsigned and a signed byte in 16 bits
and cut off what does not fit. Weights stored as unsigned bytes with a zero point of 128 take other instructions,
whose sums are exact everywhere, so that is how they are stored unless the caller knows that its processor is
exact with signed ones. Depthwise convolutions have kernels of their own, which are exact with signed weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.artifacts.onnx_export import is_pointwise

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

VERSION = 2
"""Raised whenever the same graph would be lowered to another."""

LARGEST_PAIR = 128
"""Two weights of one sign, of an output channel, whose sum is larger may overflow 16 bits: 255 times 128 just fits."""


@dataclass(frozen=True)
class Kernels:
    """How the quantised convolutions of a graph are executed.

    `signed`: weights stay signed bytes, which is exact only on processors with VNNI or on ARM. `floats`: the names
    of convolutions that compute in float, on the same rounded inputs and weights.
    """

    signed: bool = False
    floats: frozenset[str] = frozenset()


EVERYWHERE = Kernels()
"""Exact on every processor."""

_ELEMENTWISE = {
    "Add", "Sub", "Mul", "Div", "Sigmoid", "Relu", "Clip", "Tanh", "HardSigmoid", "HardSwish", "LeakyRelu", "Elu",
    "QuantizeLinear", "DequantizeLinear", "Cast",
}  # fmt: skip
_CONTRIB = "com.microsoft"
_MEAN = "mean_over_"


def is_mean(node: onnx.NodeProto) -> bool:
    """Whether a node of a lowered graph takes the mean of a map, by what looks like a layer's product."""
    return bool(node.input) and node.input[0].startswith(_MEAN)


def can_saturate(weight: NDArray[Any]) -> bool:
    """Whether sums of two products may overflow 16 bits: [out, ...] signed bytes, any two of one output channel."""
    import numpy as np

    rows = weight.reshape(len(weight), -1).astype(np.int16)
    if rows.shape[1] < 2:
        return False
    rows.sort(axis=1)
    return bool(max(rows[:, -2:].clip(min=0).sum(1).max(), -rows[:, :2].clip(max=0).sum(1).min()) > LARGEST_PAIR)


def convolution_shapes(model: onnx.ModelProto) -> dict[str, tuple[object, ...]]:
    """By name of each convolution that `lower` executes on integers, all that its time depends on.

    `model` holds inferred shapes.
    """
    writer = _Lowering(model, EVERYWHERE)
    shapes: dict[str, tuple[object, ...]] = {}
    for node in model.graph.node:
        if node.op_type == "Conv" and writer.on_integers(node):
            weight = writer.constants[writer.producer[node.input[1]].input[0]]
            attributes = tuple(sorted((field.name, field.i, tuple(field.ints)) for field in node.attribute))
            written = writer.quantised_after(node) is not None
            shapes[node.name] = (tuple(writer.shapes[node.input[0]]), weight.shape, attributes, written)
    return shapes


def alone(model: onnx.ModelProto, name: str, kernels: Kernels) -> onnx.ModelProto:
    """One quantised convolution of a graph by itself, channels-last, for whoever wants to time it.

    `model` holds inferred shapes. Input: what it reads, uint8 [1, h, w, in]. Output: what it writes, float or
    uint8 [1, h, w, out].
    """
    from onnx import TensorProto, helper

    writer = _Lowering(_part(model, name), kernels)
    convolution = next(node for node in writer.graph.node if node.op_type == "Conv")
    source, result = writer.graph.input[0].name, writer.graph.output[0].name
    _, channels, height, width = writer.shapes[convolution.input[0]]
    writer.last[source] = source
    for node in writer.graph.node:
        writer.take(node)
    read = helper.make_tensor_value_info(source, TensorProto.UINT8, [1, height, width, channels])
    last = writer.channels_last(result)
    kind = TensorProto.FLOAT if result == convolution.output[0] else TensorProto.UINT8
    written = helper.make_tensor_value_info(last, kind, None)
    graph = helper.make_graph(writer.nodes, name, [read], [written], writer.used_constants())
    return _model(graph, model)


def _part(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """A convolution with what turns its inputs into floats and, where it writes integers, its output into those."""
    from onnx import TensorProto, helper

    nodes = {output: node for node in model.graph.node for output in node.output}
    convolution = next(node for node in model.graph.node if node.name == name)
    inputs = [nodes[side] for side in convolution.input[:2]]
    readers = [node for node in model.graph.node if convolution.output[0] in node.input]
    after = readers if len(readers) == 1 and readers[0].op_type == "QuantizeLinear" else []
    part = [*inputs, convolution, *after]
    used = {constant for node in part for constant in node.input}
    value = next(info for info in model.graph.value_info if info.name == convolution.input[0])
    graph = helper.make_graph(
        part,
        name,
        [helper.make_tensor_value_info(inputs[0].input[0], TensorProto.UINT8, None)],
        [helper.make_tensor_value_info(part[-1].output[0], TensorProto.UNDEFINED, None)],
        [constant for constant in model.graph.initializer if constant.name in used],
        value_info=[value],
    )
    return helper.make_model(graph, opset_imports=model.opset_import)


def _model(graph: onnx.GraphProto, like: onnx.ModelProto) -> onnx.ModelProto:
    """A graph as a model of the same operator sets, onnxruntime's own besides."""
    from onnx import helper

    opsets = [*like.opset_import, helper.make_opsetid(_CONTRIB, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=like.ir_version)


def lower(model: onnx.ModelProto, kernels: Kernels = EVERYWHERE) -> onnx.ModelProto:
    """`model` with the same inputs, outputs and metadata; onnxruntime alone reads it."""
    import onnx
    from onnx import helper

    shaped = onnx.shape_inference.infer_shapes(model)
    writer = _Lowering(shaped, kernels)
    for node in shaped.graph.node:
        writer.take(node)
    for output in shaped.graph.output:
        writer.keep(output.name)
    graph = helper.make_graph(
        writer.nodes, shaped.graph.name, list(shaped.graph.input), list(shaped.graph.output), writer.used_constants()
    )
    lowered = _model(graph, model)
    lowered.metadata_props.extend(model.metadata_props)
    return lowered


class _Lowering:
    """The graph that is being written. `last` holds, for a tensor, the name of its channels-last twin."""

    def __init__(self, model: onnx.ModelProto, kernels: Kernels) -> None:
        """`model` holds inferred shapes. `first` is what `last` is, for channels-first tensors."""
        from onnx import numpy_helper

        self.graph = graph = model.graph
        self.kernels = kernels
        self.nodes: list[onnx.NodeProto] = []
        self.constants = {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}
        self.readers = Counter(name for node in graph.node for name in node.input)
        self.readers.update(output.name for output in graph.output)
        self.reading: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.reading.setdefault(name, []).append(node)
        self.producer = {output: node for node in graph.node for output in node.output}
        values = (*graph.value_info, *graph.input, *graph.output)
        self.shapes = {v.name: [side.dim_value for side in v.type.tensor_type.shape.dim] for v in values}
        self.first: dict[str, str] = {value.name: value.name for value in graph.input}
        self.last: dict[str, str] = {}
        self.skipped: set[int] = set()

    # ------------------------------------------------------------------------------------ writing
    def node(self, kind: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(
            helper.make_node(kind, inputs, [output], name=f"{kind}_{len(self.nodes)}", domain=domain, **attributes)
        )
        return output

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants[name] = value
        return name

    def used_constants(self) -> list[onnx.TensorProto]:
        from onnx import numpy_helper

        used = dict.fromkeys(name for node in self.nodes for name in node.input if name in self.constants)
        return [numpy_helper.from_array(self.constants[name], name) for name in used]

    # ------------------------------------------------------------------------------------- layout
    def channels_first(self, name: str) -> str:
        if name in self.constants or not name:
            return name
        if name not in self.first:
            # Outputs of the graph keep their names.
            self.first[name] = self.node("Transpose", [self.last[name]], name, perm=[0, 3, 1, 2])
        return self.first[name]

    def channels_last(self, name: str) -> str:
        if not name:
            return name
        if name in self.constants:
            return self._constant_last(name)
        if name not in self.last:
            self.last[name] = self.node("Transpose", [self.first[name]], f"{name}/last", perm=[0, 2, 3, 1])
        return self.last[name]

    def _constant_last(self, name: str) -> str:
        value: NDArray[Any] = self.constants[name]
        if value.ndim < 2:
            return name
        if value.ndim == 3:
            return self.constant(f"{name}/last", value.transpose(1, 2, 0))
        return self.constant(f"{name}/last", value.transpose(0, 2, 3, 1))

    def keep(self, output: str) -> None:
        self.channels_first(output)

    # -------------------------------------------------------------------------------------- nodes
    def take(self, node: onnx.NodeProto) -> None:
        """Write a node of the standard graph, in the way that onnxruntime executes fastest."""
        if id(node) in self.skipped or self._belongs_to_a_convolution(node):
            return
        if node.op_type == "Conv" and node.name in self.kernels.floats:
            self._float_convolution(node)
        elif node.op_type == "Conv" and self.on_integers(node):
            self._convolution(node)
        elif self._is_swish(node):
            self._swish(node)
        elif node.op_type in ("ReduceMean", "GlobalAveragePool") and self._pools(node):
            self._pool(node)
        elif node.op_type in _ELEMENTWISE and any(name in self.last for name in node.input):
            self._elementwise(node)
        else:
            self._as_it_is(node)

    def _as_it_is(self, node: onnx.NodeProto) -> None:
        import onnx

        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        copied.input[:] = [self.channels_first(name) for name in node.input]
        self.nodes.append(copied)
        self.first.update((name, name) for name in node.output)

    def _elementwise(self, node: onnx.NodeProto) -> None:
        import onnx

        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        copied.input[:] = [self.channels_last(name) for name in node.input]
        copied.output[:] = [f"{name}/last" for name in node.output]
        self.nodes.append(copied)
        self.last[node.output[0]] = copied.output[0]

    # ----------------------------------------------------------------------------- x * sigmoid(x)
    def _is_swish(self, node: onnx.NodeProto) -> bool:
        if node.op_type == "Sigmoid":
            return self.readers[node.output[0]] == 1 and self._multiplies(
                self.reading[node.output[0]][0], node.input[0], node.output[0]
            )
        return False

    def _multiplies(self, node: onnx.NodeProto, left: str, right: str) -> bool:
        return node.op_type == "Mul" and set(node.input) == {left, right}

    def _swish(self, sigmoid: onnx.NodeProto) -> None:
        product = self.reading[sigmoid.output[0]][0]
        self.skipped.add(id(product))
        source, result = sigmoid.input[0], product.output[0]
        if source in self.last:
            self.last[result] = self.node("QuickGelu", [self.last[source]], f"{result}/last", _CONTRIB, alpha=1.0)
        else:
            source = self.channels_first(source)
            self.first[result] = self.node("QuickGelu", [source], result, _CONTRIB, alpha=1.0)

    # ----------------------------------------------------------------------------- global pooling
    def _pools(self, node: onnx.NodeProto) -> bool:
        """Whether it averages over height and width of what lies channels-last."""
        if node.input[0] not in self.last or len(self.shapes.get(node.input[0], [])) != 4:
            return False
        if node.op_type == "GlobalAveragePool":
            return True
        axes = self.constants.get(node.input[1]) if len(node.input) > 1 else None
        return axes is not None and sorted(int(axis) % 4 for axis in axes) == [2, 3]

    def _pool(self, node: onnx.NodeProto) -> None:
        """A product with ones: reducing the middle axes takes onnxruntime eight times as long."""
        import numpy as np

        _, channels, height, width = self.shapes[node.input[0]]
        result, positions = node.output[0], height * width
        flat = self._reshaped(self.last[node.input[0]], f"{result}/flat", (0, positions, channels))
        share = self.constant(f"{_MEAN}{positions}", np.full((1, 1, positions), 1 / positions, np.float32))
        mean = self.node("MatMul", [share, flat], f"{result}/mean")
        if len(self.shapes[result]) == 4:
            self.last[result] = self._reshaped(mean, f"{result}/last", (0, 1, 1, channels))
        else:
            self.first[result] = self._reshaped(mean, result, (0, channels))

    def _reshaped(self, tensor: str, output: str, shape: tuple[int, ...]) -> str:
        import numpy as np

        constant = self.constant("shape_" + "_".join(map(str, shape)), np.array(shape, np.int64))
        return self.node("Reshape", [tensor, constant], output)

    # ------------------------------------------------------------------------------- convolutions
    def on_integers(self, node: onnx.NodeProto) -> bool:
        """Whether a convolution's input and weight come out of integers, and what it writes goes where it can."""
        if node.name in self.kernels.floats:
            return False
        sides = [self.producer.get(name) for name in node.input[:2]]
        if any(name not in self.constants for name in node.input[2:]):
            return False
        if not all(side is not None and side.op_type == "DequantizeLinear" for side in sides):
            return False
        return self.is_pointwise(node) or self.quantised_after(node) is not None

    def is_pointwise(self, node: onnx.NodeProto) -> bool:
        return is_pointwise(node, self.constants[self.producer[node.input[1]].input[0]].shape)

    def quantised_after(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        readers = self.reading.get(node.output[0], [])
        return readers[0] if len(readers) == 1 and readers[0].op_type == "QuantizeLinear" else None

    def _belongs_to_a_convolution(self, node: onnx.NodeProto) -> bool:
        """Whether it turns a convolution's integers into floats, which an integer convolution reads as they are."""
        if node.op_type != "DequantizeLinear":
            return False
        readers = self.reading.get(node.output[0], [])
        return bool(readers) and all(
            reader.op_type == "Conv" and node.output[0] in reader.input[:2] and self._takes_integers(node, reader)
            for reader in readers
        )

    def _takes_integers(self, dequantised: onnx.NodeProto, convolution: onnx.NodeProto) -> bool:
        """Whether a convolution needs no floats from this node: one in float gets its weights as floats anyway."""
        is_weight = dequantised.output[0] == convolution.input[1]
        return self.on_integers(convolution) or (is_weight and convolution.name in self.kernels.floats)

    def _float_convolution(self, node: onnx.NodeProto) -> None:
        """The same in float: rounded weights as floats, inputs out of a DequantizeLinear."""
        import numpy as np
        import onnx

        integers, scales = (self.constants[name] for name in self.producer[node.input[1]].input[:2])
        floats = (integers * scales.reshape(-1, 1, 1, 1)).astype(np.float32)
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        copied.input[1] = self.constant(f"{node.name}/floats", floats)
        self._as_it_is(copied)

    def _weight(self, node: onnx.NodeProto, integers: NDArray[Any]) -> tuple[NDArray[Any], Any]:
        """A convolution's weights [out, in / groups, k, k] as they are stored, and their zero point."""
        import numpy as np

        if self.kernels.signed or self._is_depthwise(node, integers) or not can_saturate(integers):
            return integers, np.int8(0)
        return (integers.astype(np.int16) + 128).astype(np.uint8), np.uint8(128)

    def _is_depthwise(self, node: onnx.NodeProto, integers: NDArray[Any]) -> bool:
        groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        return groups == len(integers) and integers.shape[1] == 1

    def _convolution(self, node: onnx.NodeProto) -> None:
        """A convolution on integers: a matrix product that writes floats where it is 1x1, else a QLinearConv."""
        import numpy as np

        weight = self.producer[node.input[1]]
        integers, scales = (self.constants[name] for name in weight.input[:2])
        bias = self.constants[node.input[2]] if len(node.input) > 2 else np.zeros(len(integers), np.float32)
        if self.is_pointwise(node):
            self._matrix_product(node, integers, scales, bias)
        else:
            self._integer_convolution(node, integers, scales, bias)

    def _matrix_product(
        self, node: onnx.NodeProto, integers: NDArray[Any], scales: NDArray[Any], bias: NDArray[Any]
    ) -> None:
        """Of a 1x1 convolution: weights [out, in, 1, 1] with one scale [out] each, added bias [out]."""
        import numpy as np

        source, scale, zero_point = self._activation(node)
        weights, weight_zero = self._weight(node, integers)
        matrix = self.constant(f"{node.name}/matrix", np.ascontiguousarray(weights[:, :, 0, 0].T))
        scales_name = self.constant(f"{node.name}/steps", scales)
        bias_name = self.constant(f"{node.name}/bias", bias)
        zero_name = self.constant(f"{node.name}/zero", weight_zero) if weight_zero else ""
        inputs = [source, matrix, scale, scales_name, zero_point, zero_name, bias_name]
        self.last[node.output[0]] = self.node("MatMulIntegerToFloat", inputs, f"{node.output[0]}/last", _CONTRIB)

    def _integer_convolution(
        self, node: onnx.NodeProto, integers: NDArray[Any], scales: NDArray[Any], bias: NDArray[Any]
    ) -> None:
        """A QLinearConv that reads and writes integers; the QuantizeLinear after it goes into it."""
        import numpy as np

        after = self.quantised_after(node)
        assert after is not None
        self.skipped.add(id(after))
        source, scale, zero_point = self._activation(node)
        weights, weight_zero = self._weight(node, integers)
        whole = np.rint(bias / (scales * self.constants[scale])).astype(np.int64)
        limits = np.iinfo(np.int32)
        stored = [
            self.constant(f"{node.name}/weight", weights), self.constant(f"{node.name}/steps", scales),
            self.constant(f"{node.name}/zeros", np.full(len(weights), weight_zero)),
            self.constant(f"{node.name}/bias", np.clip(whole, limits.min, limits.max).astype(np.int32)),
        ]  # fmt: skip
        first = self.node("Transpose", [source], f"{node.name}/first", perm=[0, 3, 1, 2])
        written, read_scale, read_zero = after.output[0], after.input[1], after.input[2]
        result = self.node(
            "QLinearConv",
            [first, scale, zero_point, stored[0], stored[1], stored[2], read_scale, read_zero, stored[3]],
            f"{node.name}/integers",
            **_geometry(node),
        )
        self.last[written] = self.node("Transpose", [result], f"{written}/last", perm=[0, 2, 3, 1])

    def _activation(self, node: onnx.NodeProto) -> tuple[str, str, str]:
        """What a quantised convolution reads, channels-last, and the names of its scale and zero point."""
        activation = self.producer[node.input[0]]
        return self.channels_last(activation.input[0]), activation.input[1], activation.input[2]


def _geometry(node: onnx.NodeProto) -> dict[str, Any]:
    """A convolution's attributes: groups, padding, strides, dilations and the kernel's sides."""
    return {
        attribute.name: list(attribute.ints) if attribute.ints else attribute.i
        for attribute in node.attribute
        if attribute.name in ("group", "pads", "strides", "dilations", "kernel_shape")
    }
