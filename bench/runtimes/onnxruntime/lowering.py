"""A quantised graph, rewritten so that onnxruntime executes it fastest on a CPU. It computes the same.

Standard operators say what is computed, these say how. 1x1 convolutions and linear layers become matrix products of
integers that write floats, so their outputs are not rounded. The other quantised convolutions become QLinearConv, and
so do 1x1 ones whose outputs are rounded anyway, with at most limits such as those of ReLU6 in between. `x * sigmoid(x)`
becomes one operator, limits between integers a table. What convolutions read lies channels-last, as the integer kernels
read it, and is transposed only where the two layouts meet.

On x86 processors without VNNI, matrix products add two products of an unsigned and a signed byte in 16 bits, and cut
off what does not fit. Weights that are unsigned bytes with a zero point of 128 take other instructions, whose sums are
exact on every processor. So they are stored like this, unless the caller knows that its processor is exact with signed
bytes. Depthwise convolutions have kernels of their own, which are exact with signed weights.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.artifacts.onnx_graph import LAYERS, bias_additions, groups, is_pointwise
from bench.runtimes.onnxruntime import clamps
from bench.runtimes.onnxruntime.clamps import WayToBytes
from bench.runtimes.onnxruntime.layouts import LayoutWriter

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

VERSION = 3
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
_CONTRIB = "com.microsoft"
_MEAN = "mean_over_"
_LARGEST_BIAS = 2.0**30
# Of a step of the output: what an output may be moved by so that a bias fits.
_MOST_LOST = 0.02


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


def as_model(graph: onnx.GraphProto, like: onnx.ModelProto) -> onnx.ModelProto:
    """A graph as a model with the operator sets of `like` and onnxruntime's own."""
    from onnx import helper

    opsets = [*like.opset_import, helper.make_opsetid(_CONTRIB, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=like.ir_version)


def lower(model: onnx.ModelProto, kernels: Kernels = EVERYWHERE) -> onnx.ModelProto:
    """`model` with the same inputs, outputs and metadata; onnxruntime alone reads it."""
    import onnx
    from onnx import helper

    shaped = onnx.shape_inference.infer_shapes(model)
    writer = Lowering(shaped, kernels)
    for node in shaped.graph.node:
        writer.lower(node)
    for output in shaped.graph.output:
        writer.channels_first(output.name)
    graph = helper.make_graph(
        writer.nodes, shaped.graph.name, list(shaped.graph.input), list(shaped.graph.output), writer.initializers()
    )
    lowered = as_model(graph, model)
    lowered.metadata_props.extend(model.metadata_props)
    return lowered


class Lowering(LayoutWriter):
    """Writes the lowered graph of a quantised one."""

    def __init__(self, model: onnx.ModelProto, kernels: Kernels) -> None:
        super().__init__(model)
        self.kernels = kernels
        self.skipped: set[int] = set()
        self.additions = bias_additions(self.graph)

    # -------------------------------------------------------------------------------------- nodes
    def lower(self, node: onnx.NodeProto) -> None:
        """Write what executes a node of the quantised graph; nothing where another node does it as well."""
        if id(node) in self.skipped or self._belongs_to_a_layer(node):
            return
        if node.op_type in LAYERS and node.name in self.kernels.floats:
            self._float_layer(node)
        elif node.op_type == "MatMul" and self.on_integers(node):
            self._integer_linear(node)
        elif node.op_type == "Conv" and self.on_integers(node):
            self._integer_convolution(node)
        elif node.op_type == "Transpose" and self.is_turned_already(node):
            pass
        elif node.op_type == "DequantizeLinear" and (clamp := clamps.between_bytes(self, node)):
            self.skipped.update(map(id, clamp))
            clamps.write(self, node, clamp[-1])
        elif self._is_swish(node):
            self._swish(node)
        elif node.op_type in ("ReduceMean", "GlobalAveragePool") and self._pools(node):
            self._pool(node)
        elif node.op_type in _ELEMENTWISE and any(name in self.last for name in node.input):
            self.elementwise(node)
        else:
            self.unchanged(node)

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
            self.last[result] = self.numbered("QuickGelu", [self.last[source]], f"{result}/last", _CONTRIB, alpha=1.0)
        else:
            source = self.channels_first(source)
            self.first[result] = self.numbered("QuickGelu", [source], result, _CONTRIB, alpha=1.0)

    # ----------------------------------------------------------------------------- global pooling
    def _pools(self, node: onnx.NodeProto) -> bool:
        """Whether it averages over height and width of what lies channels-last, if inference tells both."""
        sides = self.shapes.get(node.input[0], [])
        if node.input[0] not in self.last or len(sides) != 4 or not all(sides[1:]) or node.output[0] not in self.shapes:
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
        mean = self.numbered("MatMul", [share, flat], f"{result}/mean")
        if len(self.shapes[result]) == 4:
            self.last[result] = self._reshaped(mean, f"{result}/last", (0, 1, 1, channels))
        else:
            self.first[result] = self._reshaped(mean, result, (0, channels))

    def _reshaped(self, tensor: str, output: str, shape: tuple[int, ...]) -> str:
        import numpy as np

        sides = self.constant("shape_" + "_".join(map(str, shape)), np.array(shape, np.int64))
        return self.numbered("Reshape", [tensor, sides], output)

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
        return node.op_type == "MatMul" or self.is_pointwise(node) or self.until_integers(node) is not None

    def is_pointwise(self, node: onnx.NodeProto) -> bool:
        return is_pointwise(node, self.constants[self.producer[node.input[1]].input[0]].shape)

    def until_integers(self, node: onnx.NodeProto) -> WayToBytes | None:
        """The way of a layer's output to bytes, which a kernel that writes bytes goes itself; None where there is none.

        Nor is there one where a bias does not fit into the 32 bits of such a kernel.
        """
        way = clamps.until_bytes(self, node)
        if way is None or not self.is_pointwise(node) or len(node.input) < len(("x", "weight", "bias")):
            return way
        *_, lost = self._with_fitting_bias(node)
        steps = self.constants[way.nodes[-1].input[1]]
        return way if (lost * way.factors <= _MOST_LOST * steps).all() else None

    def _with_fitting_bias(self, node: onnx.NodeProto) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """A convolution's weights and their scales [out], larger where the bias else needs more than 32 bits.

        And what rounding to these may change of each output [out]. Channels that training has switched off are such:
        their weights are next to nothing, their bias is not.
        """
        import numpy as np

        read, weight = (self.producer[name] for name in node.input[:2])
        integers, scales = (self.constants[name] for name in weight.input[:2])
        step = float(self.constants[read.input[1]])
        bias = np.abs(self.constants[node.input[2]]) if len(node.input) > 2 else np.zeros(len(integers))
        fitting = np.maximum(scales, bias / (_LARGEST_BIAS * step)).astype(np.float32)
        by_weight = (scales / fitting).reshape(-1, *[1] * (integers.ndim - 1))
        terms = np.where(fitting > scales, integers[0].size, 0)
        return np.rint(integers * by_weight).astype(np.int8), fitting, terms * fitting * step * 255 / 2

    def _belongs_to_a_layer(self, node: onnx.NodeProto) -> bool:
        """Whether it turns a layer's integers into floats, which a layer on integers reads as they are."""
        if node.op_type != "DequantizeLinear":
            return False
        readers = self.readers.get(node.output[0], [])
        return bool(readers) and all(
            reader.op_type in LAYERS and node.output[0] in reader.input[:2] and self._takes_integers(node, reader)
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
        self.unchanged(copied)

    def _integer_convolution(self, node: onnx.NodeProto) -> None:
        """A convolution on integers: as QLinearConv where it writes integers, as a matrix product otherwise."""
        import numpy as np

        way = self.until_integers(node)
        integers, scales = (self.constants[name] for name in self.producer[node.input[1]].input[:2])
        if way is not None and self.is_pointwise(node):
            integers, scales, _ = self._with_fitting_bias(node)
        bias = self.constants[node.input[2]] if len(node.input) > 2 else np.zeros(len(integers), np.float32)
        depthwise = groups(node) == len(integers) and integers.shape[1] == 1
        weight, zero_point = self._stored(integers, depthwise=depthwise)
        if way is not None:
            self._qlinear_convolution(node, way, (weight, zero_point, scales), bias)
        else:
            self._matrix_product(node, weight, zero_point, scales, bias)

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
        self.first[output] = self.numbered("MatMulIntegerToFloat", [source, *inputs], output, _CONTRIB)

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
        self.last[output] = self.numbered("MatMulIntegerToFloat", [source, *inputs], f"{output}/last", _CONTRIB)

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
        self, node: onnx.NodeProto, way: WayToBytes, stored_weight: tuple[NDArray[Any], Any, NDArray[Any]], bias: Any
    ) -> None:
        """A convolution that reads and writes integers, channels-first.

        `stored_weight` is the weight, its zero point and its scales [out], `bias` is [out].
        """
        import numpy as np
        from onnx import helper

        weight, zero_point, scales = stored_weight
        name, (read, read_scale, read_zero) = node.name, self.producer[node.input[0]].input[:3]
        source = self.channels_last(read)
        after = way.nodes[-1]
        self.skipped.update(map(id, way.nodes))
        scales, bias = (scales * way.factors).astype(np.float32), (bias * way.factors).astype(np.float32)
        integer_bias = np.rint(bias / (scales * self.constants[read_scale])).astype(np.int64)
        limits = np.iinfo(np.int32)
        stored = [
            self.constant(f"{name}/weight", weight),
            self.constant(f"{name}/steps", scales),
            self.constant(f"{name}/zeros", np.full(len(weight), zero_point)),
        ]
        added = self.constant(f"{name}/bias", np.clip(integer_bias, limits.min, limits.max).astype(np.int32))
        first = self.numbered("Transpose", [source], f"{name}/first", perm=[0, 3, 1, 2])
        attributes: dict[str, Any] = {
            attribute.name: helper.get_attribute_value(attribute)
            for attribute in node.attribute
            if attribute.name in ("group", "pads", "auto_pad", "strides", "dilations", "kernel_shape")
        }
        written, written_scale, written_zero = after.output[0], after.input[1], after.input[2]
        inputs = [first, read_scale, read_zero, *stored, written_scale, written_zero, added]
        integers = self.numbered("QLinearConv", inputs, f"{name}/integers", **attributes)
        self.last[written] = self.numbered("Transpose", [integers], f"{written}/last", perm=[0, 2, 3, 1])
