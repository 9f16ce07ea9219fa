"""The quantised graph: integers between QuantizeLinear and DequantizeLinear, in standard ONNX operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench.artifacts.onnx_export import least_ir_version
from bench.variants.steps.quantize.exported import Convolution
from bench.variants.steps.quantize.rounding import Rounded
from bench.variants.steps.quantize.scales import Activation

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray


_OPSET_OF_FOUR_BITS = 21
_TINY = 1e-30


@dataclass(frozen=True)
class Layer:
    """How one convolution is quantised. `input` and `output` None: that side stays in float.

    `weight` are the convolution's, divided by the `factors` [in] that its input is multiplied with first; its
    output is multiplied with `output_factors` [out] while it is in eight bits. `shift` [out] is added to its bias,
    for what rounding the weights takes away on average.
    """

    convolution: Convolution
    weight: Rounded
    factors: NDArray[np.float32] | None = None
    input: Activation | None = None
    output: Activation | None = None
    output_factors: NDArray[np.float32] | None = None
    shift: NDArray[np.float32] | None = None

    @property
    def extras(self) -> int:
        """How many sets of factors it takes: a product each, or, where a gate takes them in, at least their bytes."""
        return (self.factors is not None) + (self.output_factors is not None)

    def change(self) -> NDArray[np.float32]:
        """What rounding adds to the convolution's weights, of the same shape."""
        stored = self.weight.floats()
        if self.factors is not None:
            stored = replace(self.convolution, weight=stored).by_input(self.factors)
        change: NDArray[np.float32] = stored - self.convolution.weight
        return change

    def error(self, mean_square: NDArray[np.float64]) -> float:
        """What rounding the weights adds to outputs, as a share of their power, for independent inputs [in]."""
        import numpy as np

        powers = [
            self.convolution.answer(np.square(weight.astype(np.float64)), mean_square)
            for weight in (self.change(), self.convolution.weight)
        ]
        return float((powers[0] / np.maximum(powers[1], _TINY)).mean())


def quantised(model: onnx.ModelProto, layers: Sequence[Layer]) -> onnx.ModelProto:
    """`model` with these convolutions' weights, inputs and, where asked, outputs in eight bits."""
    import onnx

    found = onnx.ModelProto()
    found.CopyFrom(model)
    graph = found.graph
    graph.ClearField("value_info")
    by_name = {layer.convolution.name: layer for layer in layers}
    writer = _Writer({constant.name: constant for constant in graph.initializer})
    gated = {layer.convolution.input: layer for layer in layers if layer.convolution.gate and layer.factors is not None}
    for node in list(graph.node):
        layer = by_name.get(node.name)
        if layer is not None:
            writer.convolution(node, layer)
            continue
        if node.output[0] in gated:
            writer.gate(node, gated[node.output[0]])
        writer.nodes.append(node)
    del graph.node[:]
    graph.node.extend(writer.nodes)
    used = {name for node in graph.node for name in node.input}
    kept = [constant for name, constant in writer.constants.items() if name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    if any(layer.weight.bits == 4 for layer in layers):
        # Four bits, and scales for blocks of inputs, came with opset 21; nothing else in these graphs changed by then.
        next(one for one in found.opset_import if not one.domain).version = _OPSET_OF_FOUR_BITS
        found.ir_version = least_ir_version(found)
    return found


class _Writer:
    """The nodes and constants of the graph that is being written."""

    def __init__(self, constants: Mapping[str, onnx.TensorProto]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants = dict(constants)

    def constant(self, name: str, value: Any) -> str:
        from onnx import numpy_helper

        self.constants[name] = numpy_helper.from_array(value, name)
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, name: str = "", **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=name or output, **attributes))
        return output

    def scaled(self, tensor: str, factors: NDArray[np.float32], name: str) -> str:
        stored = self.constant(f"{name}.factors", factors.reshape(1, -1, 1, 1))
        return self.node("Mul", [tensor, stored], f"{name}.scaled")

    def gate(self, product: onnx.NodeProto, layer: Layer) -> None:
        """Scale what scales a convolution's input anyway: a vector in place of a map."""
        assert layer.factors is not None
        place = list(product.input).index(str(layer.convolution.gate))
        product.input[place] = self.scaled(product.input[place], layer.factors, f"{layer.convolution.name}.gate")

    def through_integers(self, tensor: str, activation: Activation, name: str, output: str) -> None:
        import numpy as np

        scale = self.constant(f"{name}.scale", np.float32(activation.scale))
        zero_point = self.constant(f"{name}.zero_point", np.uint8(activation.zero_point))
        self.node("QuantizeLinear", [tensor, scale, zero_point], f"{name}.quantised")
        self.node("DequantizeLinear", [f"{name}.quantised", scale, zero_point], output, f"{name}.dequantised")

    def weight(self, name: str, rounded: Rounded, factors: NDArray[np.float32] | None = None) -> str:
        """Symmetric integers need no zero point. Factors [out] of eight-bit weights go into their steps."""
        result = f"{name}.weight.dequantised"
        if rounded.bits == 8:
            stored = self.constant(f"{name}.weight", rounded.integers)
            steps = self.constant(f"{name}.weight.scale", rounded.steps if factors is None else rounded.steps * factors)
            return self.node("DequantizeLinear", [stored, steps], result, axis=0)
        import numpy as np
        from onnx import TensorProto

        shape = rounded.integers.shape
        rows = rounded.steps.max(1, keepdims=True)
        stored = self.constant(f"{name}.weight", rounded.integers.reshape(len(rounded.integers), -1).astype(_int4()))
        steps = self.constant(f"{name}.weight.scale", (rounded.steps / rows).astype(np.float16))
        half = self.node("DequantizeLinear", [stored, steps], f"{result}.half", axis=1, block_size=rounded.block)
        share = self.node("Cast", [half], f"{result}.share", to=TensorProto.FLOAT)
        flat = self.node("Mul", [share, self.constant(f"{name}.weight.rows", rows)], f"{result}.flat")
        return self.node("Reshape", [flat, self.constant(f"{name}.weight.shape", np.array(shape, np.int64))], result)

    def convolution(self, node: onnx.NodeProto, layer: Layer) -> None:
        name, source = node.name, node.input[0]
        if layer.factors is not None and layer.convolution.gate is None:
            source = self.scaled(source, layer.factors, f"{name}.input")
        if layer.input is not None:
            self.through_integers(source, layer.input, f"{name}.input", f"{name}.input.dequantised")
            source = f"{name}.input.dequantised"
        node.input[0] = source
        node.input[1] = self.weight(name, layer.weight, layer.output_factors)
        if layer.shift is not None or layer.output_factors is not None:
            bias = layer.convolution.bias + (0 if layer.shift is None else layer.shift)
            factors = 1 if layer.output_factors is None else layer.output_factors
            node.input[2:] = [self.constant(f"{name}.bias", bias * factors)]
        self.nodes.append(node)
        if layer.output is not None:
            written = node.output[0]
            node.output[0] = f"{written}.float"
            even = written if layer.output_factors is None else f"{name}.output.dequantised"
            self.through_integers(node.output[0], layer.output, f"{name}.output", even)
            if layer.output_factors is not None:
                back = self.constant(f"{name}.output.factors", 1 / layer.output_factors.reshape(1, -1, 1, 1))
                self.node("Mul", [even, back], written, f"{name}.output.evened")


def _int4() -> Any:
    """NumPy's type for signed four-bit integers."""
    import ml_dtypes

    return ml_dtypes.int4
