"""A quantised graph, rewritten so that onnxruntime executes it fastest on a CPU. It computes the same.

Standard operators say what is computed, these say how. 1x1 convolutions and linear layers become matrix products of
integers that write floats, so their outputs are not rounded. The other quantised convolutions become QLinearConv.
`x * sigmoid(x)` becomes one operator. What convolutions read lies channels-last, as the integer kernels read it, and is
transposed only where the two layouts meet.

On x86 processors without VNNI, matrix products add two products of an unsigned and a signed byte in 16 bits, and cut
off what does not fit. Weights that are unsigned bytes with a zero point of 128 take other instructions, whose sums are
exact on every processor. So they are stored like this, unless the caller knows that its processor is exact with signed
bytes. Depthwise convolutions have kernels of their own, which are exact with signed weights.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.artifacts.onnx_graph import GraphWriter, bias_additions, groups, is_pointwise, shapes

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

VERSION = 2
"""Raised whenever the same graph would be lowered to another."""

LARGEST_PAIR = 128
"""Two weights of one sign, of an output channel, whose sum is larger may overflow 16 bits: 255 times 128 just fits."""


@dataclass(frozen=True)
class Kernels:
    """How the quantised convolutions and linear layers of a graph are executed.

    `signed`: weights stay signed bytes, which is exact only on processors with VNNI or on ARM. `floats`: the names
    of those that compute in float, on the same rounded inputs and weights.
    """

    signed: bool = False
    floats: frozenset[str] = frozenset()


EVERYWHERE = Kernels()
"""Exact on every processor."""

_ELEMENTWISE = {
    "Add", "Sub", "Mul", "Div", "Sigmoid", "Relu", "Clip", "Tanh", "HardSigmoid", "HardSwish", "LeakyRelu", "Elu",
    "QuantizeLinear", "DequantizeLinear", "Cast",
}  # fmt: skip
_LAYERS = ("Conv", "MatMul")
_CONTRIB = "com.microsoft"
_MEAN = "mean_over_"


def is_mean(node: onnx.NodeProto) -> bool:
    """Whether a node of a lowered graph is the mean of a map, which is written as a matrix product like a layer."""
    return bool(node.input) and node.input[0].startswith(_MEAN)


def can_saturate(weight: NDArray[Any]) -> bool:
    """Whether two weights of an output channel may overflow 16 bits together. `weight` is signed bytes [out, ...]."""
    import numpy as np

    rows = weight.reshape(len(weight), -1).astype(np.int16)
    if rows.shape[1] < 2:
        return False
    rows.sort(axis=1)
    return bool(max(rows[:, -2:].clip(min=0).sum(1).max(), -rows[:, :2].clip(max=0).sum(1).min()) > LARGEST_PAIR)


def layer_shapes(model: onnx.ModelProto) -> dict[str, tuple[object, ...]]:
    """By name of each convolution or linear layer that `lower` executes on integers: all that its time depends on.

    That is the shapes of its input and weight, its attributes, and whether it writes integers. `model` holds inferred
    shapes.
    """
    writer = _Lowering(model, EVERYWHERE)
    by_name: dict[str, tuple[object, ...]] = {}
    for node in model.graph.node:
        if node.op_type in _LAYERS and writer.on_integers(node):
            weight = writer.constants[writer.producer[node.input[1]].input[0]]
            attributes = tuple(sorted((field.name, field.i, tuple(field.ints)) for field in node.attribute))
            writes_integers = writer.quantised_after(node) is not None
            by_name[node.name] = (tuple(writer.shapes[node.input[0]]), weight.shape, attributes, writes_integers)
    return by_name


def alone(model: onnx.ModelProto, name: str, kernels: Kernels) -> onnx.ModelProto:
    """One quantised layer of a graph by itself, channels-last, so that it can be timed.

    `model` holds inferred shapes. Input: what the layer reads, uint8 [1, h, w, in], of a linear layer in as many axes
    as that has. Output: what it writes, float or uint8, with its channels last.
    """
    from onnx import TensorProto, helper

    writer = _Lowering(_part(model, name), kernels)
    layer = next(node for node in writer.graph.node if node.op_type in _LAYERS)
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
    return _model(graph, model)


def _part(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """A layer with the DequantizeLinear of its input and weight and, where it writes integers, QuantizeLinear."""
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
    """A graph as a model with the operator sets of `like` and onnxruntime's own."""
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
        writer.lower(node)
    for output in shaped.graph.output:
        writer.channels_first(output.name)
    graph = helper.make_graph(
        writer.nodes, shaped.graph.name, list(shaped.graph.input), list(shaped.graph.output), writer.initializers()
    )
    lowered = _model(graph, model)
    lowered.metadata_props.extend(model.metadata_props)
    return lowered


class _Lowering(GraphWriter):
    """Writes the lowered graph of a quantised one.

    Tensors lie channels-first, channels-last or in both layouts: `first` and `last` hold the names that a tensor of
    the quantised graph has in each of them.
    """

    def __init__(self, model: onnx.ModelProto, kernels: Kernels) -> None:
        """Take in the quantised graph: its constants, shapes, and which node writes and which nodes read a tensor."""
        super().__init__(model.graph.initializer)
        self.graph = graph = model.graph
        self.kernels = kernels
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        self.uses = Counter(output.name for output in graph.output)
        for node in graph.node:
            self.uses.update(node.input)
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.names = {node.name for node in graph.node}
        self.producer = {output: node for node in graph.node for output in node.output}
        self.shapes = shapes(graph)
        self.first: dict[str, str] = {value.name: value.name for value in graph.input}
        self.last: dict[str, str] = {}
        self.skipped: set[int] = set()
        self.additions = bias_additions(graph)
        self.names = {node.name for node in graph.node}

    def _numbered(self, kind: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any) -> str:
        """Append a node that is called after its kind and its position; by more where the graph has that name."""
        name = f"{kind}_{len(self.nodes)}"
        return self.node(kind, inputs, output, f"{name}/{output}" if name in self.names else name, domain, **attributes)

    # ------------------------------------------------------------------------------------- layout
    def channels_first(self, name: str) -> str:
        """The name of a tensor channels-first, transposed if it is not so yet; constants stay as they are."""
        if name in self.constants or not name:
            return name
        if name not in self.first:
            # Outputs of the graph keep their names.
            self.first[name] = self._numbered("Transpose", [self.last[name]], name, perm=[0, 3, 1, 2])
        return self.first[name]

    def channels_last(self, name: str) -> str:
        """The name of a tensor or constant channels-last, transposed if it is not so yet."""
        if not name:
            return name
        if name in self.constants:
            return self._constant_last(name)
        if name not in self.last:
            self.last[name] = self._numbered("Transpose", [self.first[name]], f"{name}/last", perm=[0, 2, 3, 1])
        return self.last[name]

    def _constant_last(self, name: str) -> str:
        array = self.constants[name]
        if array.ndim < 2:
            return name
        axes = (1, 2, 0) if array.ndim == 3 else (0, 2, 3, 1)
        return self.constant(f"{name}/last", array.transpose(axes))

    def _is_turned_already(self, transpose: onnx.NodeProto) -> bool:
        """Whether a transposition is one between both layouts, of which no copy is needed: then names are enough."""
        read, written = transpose.input[0], transpose.output[0]
        perm = next((list(attribute.ints) for attribute in transpose.attribute if attribute.name == "perm"), [])
        if perm == [0, 2, 3, 1] and read in self.last:
            self.first[written] = self.last[read]
        elif perm == [0, 3, 1, 2] and read in self.first:
            self.last[written] = self.first[read]
        else:
            return False
        return True

    # -------------------------------------------------------------------------------------- nodes
    def lower(self, node: onnx.NodeProto) -> None:
        """Write what executes a node of the quantised graph; nothing where another node does it as well."""
        if id(node) in self.skipped or self._belongs_to_a_layer(node):
            return
        if node.op_type in _LAYERS and node.name in self.kernels.floats:
            self._float_layer(node)
        elif node.op_type == "MatMul" and self.on_integers(node):
            self._integer_linear(node)
        elif node.op_type == "Conv" and self.on_integers(node):
            self._integer_convolution(node)
        elif node.op_type == "Transpose" and self._is_turned_already(node):
            pass
        elif self._is_swish(node):
            self._swish(node)
        elif node.op_type in ("ReduceMean", "GlobalAveragePool") and self._pools(node):
            self._pool(node)
        elif node.op_type in _ELEMENTWISE and any(name in self.last for name in node.input):
            self._elementwise(node)
        else:
            self._unchanged(node)

    def _unchanged(self, node: onnx.NodeProto) -> None:
        """Write a copy that reads and writes channels-first."""
        copied = copy.deepcopy(node)
        copied.input[:] = [self.channels_first(name) for name in node.input]
        self.nodes.append(copied)
        self.first.update((name, name) for name in node.output)

    def _elementwise(self, node: onnx.NodeProto) -> None:
        """Write a copy that reads and writes channels-last."""
        copied = copy.deepcopy(node)
        copied.input[:] = [self.channels_last(name) for name in node.input]
        copied.output[:] = [f"{name}/last" for name in node.output]
        self.nodes.append(copied)
        self.last[node.output[0]] = copied.output[0]

    # ----------------------------------------------------------------------------- x * sigmoid(x)
    def _is_swish(self, node: onnx.NodeProto) -> bool:
        """Whether a node is the sigmoid of such a product, and read by that alone."""
        if node.op_type != "Sigmoid" or self.uses[node.output[0]] != 1:
            return False
        readers = self.readers.get(node.output[0], [])
        return any(reader.op_type == "Mul" and set(reader.input) == {*node.input, *node.output} for reader in readers)

    def _swish(self, sigmoid: onnx.NodeProto) -> None:
        product = self.readers[sigmoid.output[0]][0]
        self.skipped.add(id(product))
        source, result = sigmoid.input[0], product.output[0]
        if source in self.last:
            self.last[result] = self._numbered("QuickGelu", [self.last[source]], f"{result}/last", _CONTRIB, alpha=1.0)
        else:
            source = self.channels_first(source)
            self.first[result] = self._numbered("QuickGelu", [source], result, _CONTRIB, alpha=1.0)

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
        mean = self._numbered("MatMul", [share, flat], f"{result}/mean")
        if len(self.shapes[result]) == 4:
            self.last[result] = self._reshaped(mean, f"{result}/last", (0, 1, 1, channels))
        else:
            self.first[result] = self._reshaped(mean, result, (0, channels))

    def _reshaped(self, tensor: str, output: str, shape: tuple[int, ...]) -> str:
        import numpy as np

        sides = self.constant("shape_" + "_".join(map(str, shape)), np.array(shape, np.int64))
        return self._numbered("Reshape", [tensor, sides], output)

    # ------------------------------------------------------------------ convolutions and linear layers
    def on_integers(self, node: onnx.NodeProto) -> bool:
        """Whether a layer runs on integers: input and weight are integers, and a kernel writes what it has to."""
        if node.name in self.kernels.floats:
            return False
        sides = [self.producer.get(name) for name in node.input[:2]]
        if any(name not in self.constants for name in node.input[2:]):
            return False
        if not all(side is not None and side.op_type == "DequantizeLinear" for side in sides):
            return False
        return node.op_type == "MatMul" or self.is_pointwise(node) or self.quantised_after(node) is not None

    def is_pointwise(self, node: onnx.NodeProto) -> bool:
        return is_pointwise(node, self.constants[self.producer[node.input[1]].input[0]].shape)

    def quantised_after(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """The QuantizeLinear that alone reads what a node writes; None where none does."""
        readers = self.readers.get(node.output[0], [])
        return readers[0] if len(readers) == 1 and readers[0].op_type == "QuantizeLinear" else None

    def _belongs_to_a_layer(self, node: onnx.NodeProto) -> bool:
        """Whether it turns a layer's integers into floats, which a layer on integers reads as they are."""
        if node.op_type != "DequantizeLinear":
            return False
        readers = self.readers.get(node.output[0], [])
        return bool(readers) and all(
            reader.op_type in _LAYERS and node.output[0] in reader.input[:2] and self._takes_integers(node, reader)
            for reader in readers
        )

    def _takes_integers(self, dequantised: onnx.NodeProto, layer: onnx.NodeProto) -> bool:
        """Whether a layer needs no floats from this node: one in float gets its weights as floats anyway."""
        is_weight = dequantised.output[0] == layer.input[1]
        return self.on_integers(layer) or (is_weight and layer.name in self.kernels.floats)

    def _float_layer(self, node: onnx.NodeProto) -> None:
        """The same in float: rounded weights as floats, inputs out of a DequantizeLinear."""
        import numpy as np

        integers, scales = (self.constants[name] for name in self.producer[node.input[1]].input[:2])
        by_output = scales if node.op_type == "MatMul" else scales.reshape(-1, 1, 1, 1)
        floats = (integers * by_output).astype(np.float32)
        copied = copy.deepcopy(node)
        copied.input[1] = self.constant(f"{node.name}/floats", floats)
        self._unchanged(copied)

    def _integer_convolution(self, node: onnx.NodeProto) -> None:
        """A convolution on integers: as a matrix product where it is 1x1, as QLinearConv otherwise."""
        import numpy as np

        dequantised = self.producer[node.input[1]]
        integers, scales = (self.constants[name] for name in dequantised.input[:2])
        bias = self.constants[node.input[2]] if len(node.input) > 2 else np.zeros(len(integers), np.float32)
        depthwise = groups(node) == len(integers) and integers.shape[1] == 1
        weight, zero_point = self._stored(integers, depthwise=depthwise)
        if self.is_pointwise(node):
            self._matrix_product(node, weight, zero_point, scales, bias)
        else:
            self._qlinear_convolution(node, weight, zero_point, scales, bias)

    def _integer_linear(self, node: onnx.NodeProto) -> None:
        """A linear layer on integers: a product that writes floats, with the bias that alone is added to it."""
        import numpy as np

        integers, scales = (self.constants[name] for name in self.producer[node.input[1]].input[:2])
        weight, zero_point = self._stored(integers.T)
        output, bias = node.output[0], np.zeros(len(weight), np.float32)
        if output in self.additions:
            addition, constant = self.additions[output]
            self.skipped.add(id(addition))
            output, bias = addition.output[0], self.constants[constant]
        inputs = self._product_inputs(node, np.ascontiguousarray(weight.T), zero_point, scales, bias)
        source = self.channels_first(self.producer[node.input[0]].input[0])
        self.first[output] = self._numbered("MatMulIntegerToFloat", [source, *inputs], output, _CONTRIB)

    def _stored(self, integers: NDArray[Any], *, depthwise: bool = False) -> tuple[NDArray[Any], Any]:
        """A layer's weights [out, …] as they are stored, and their zero point."""
        import numpy as np

        if self.kernels.signed or depthwise or not can_saturate(integers):
            return integers, np.int8(0)
        return (integers.astype(np.int16) + 128).astype(np.uint8), np.uint8(128)

    def _matrix_product(
        self, node: onnx.NodeProto, weight: NDArray[Any], zero_point: Any, scales: NDArray[Any], bias: NDArray[Any]
    ) -> None:
        """A 1x1 convolution as a product of integers that writes floats. `scales` and `bias` are [out]."""
        import numpy as np

        source = self.channels_last(self.producer[node.input[0]].input[0])
        inputs = self._product_inputs(node, np.ascontiguousarray(weight[:, :, 0, 0].T), zero_point, scales, bias)
        output = node.output[0]
        self.last[output] = self._numbered("MatMulIntegerToFloat", [source, *inputs], f"{output}/last", _CONTRIB)

    def _product_inputs(
        self, node: onnx.NodeProto, matrix: NDArray[Any], zero_point: Any, scales: NDArray[Any], bias: NDArray[Any]
    ) -> list[str]:
        """What MatMulIntegerToFloat reads beside its source: `matrix` [in, out], `scales` and `bias` [out]."""
        name, (read_scale, read_zero) = node.name, self.producer[node.input[0]].input[1:3]
        weight = self.constant(f"{name}/matrix", matrix)
        scale = self.constant(f"{name}/steps", scales)
        zero = self.constant(f"{name}/zero", zero_point) if zero_point else ""
        return [weight, read_scale, scale, read_zero, zero, self.constant(f"{name}/bias", bias)]

    def _qlinear_convolution(
        self, node: onnx.NodeProto, weight: NDArray[Any], zero_point: Any, scales: NDArray[Any], bias: NDArray[Any]
    ) -> None:
        """A convolution that reads and writes integers, channels-first. `scales` and `bias` are [out]."""
        import numpy as np

        name, (read, read_scale, read_zero) = node.name, self.producer[node.input[0]].input[:3]
        source = self.channels_last(read)
        after = self.quantised_after(node)
        assert after is not None
        self.skipped.add(id(after))
        integer_bias = np.rint(bias / (scales * self.constants[read_scale])).astype(np.int64)
        limits = np.iinfo(np.int32)
        stored = [
            self.constant(f"{name}/weight", weight),
            self.constant(f"{name}/steps", scales),
            self.constant(f"{name}/zeros", np.full(len(weight), zero_point)),
        ]
        added = self.constant(f"{name}/bias", np.clip(integer_bias, limits.min, limits.max).astype(np.int32))
        first = self._numbered("Transpose", [source], f"{name}/first", perm=[0, 3, 1, 2])
        attributes: dict[str, Any] = {
            attribute.name: list(attribute.ints) if attribute.ints else attribute.i
            for attribute in node.attribute
            if attribute.name in ("group", "pads", "strides", "dilations", "kernel_shape")
        }
        written, written_scale, written_zero = after.output[0], after.input[1], after.input[2]
        inputs = [first, read_scale, read_zero, *stored, written_scale, written_zero, added]
        integers = self._numbered("QLinearConv", inputs, f"{name}/integers", **attributes)
        self.last[written] = self._numbered("Transpose", [integers], f"{written}/last", perm=[0, 2, 3, 1])
