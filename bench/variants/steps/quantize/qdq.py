"""The quantised graph: integers between QuantizeLinear and DequantizeLinear, in standard ONNX operators."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
from onnx import TensorProto

from bench.artifacts.onnx_export import least_ir_version
from bench.artifacts.onnx_graph import GraphWriter, bias_additions
from bench.detectors.layer_names import short_name

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from bench.variants.steps.quantize.allocation import Allocation
    from bench.variants.steps.quantize.rounding import Activation, Layer, Rounded

_OPSET_OF_FOUR_BITS = 21


def quantised(model: onnx.ModelProto, layers: Sequence[Layer]) -> onnx.ModelProto:
    """A copy of the float graph `model` in which the layers of `layers` are quantised as these say."""
    changed = copy.deepcopy(model)
    graph = changed.graph
    graph.ClearField("value_info")
    by_name = {layer.convolution.name: layer for layer in layers}
    gated = {
        layer.convolution.input: layer
        for layer in layers
        if layer.convolution.gate and layer.channel_scales is not None
    }
    writer = _Writer(graph)
    for node in list(graph.node):
        layer = by_name.get(node.name)
        if layer is not None:
            (writer.linear if layer.convolution.linear else writer.convolution)(node, layer)
            continue
        if node.output[0] in gated:
            writer.gate(node, gated[node.output[0]])
        writer.nodes.append(node)
    # In the order in which they were defined, which is part of an artifact's bytes.
    order = {name: index for index, name in enumerate(writer.constants)}
    constants = sorted(writer.initializers(), key=lambda constant: order[constant.name])
    del graph.node[:], graph.initializer[:]
    graph.node.extend(writer.nodes)
    graph.initializer.extend(constants)
    if any(layer.weight.bits == 4 for layer in layers):
        # Four bits, and scales for blocks of inputs, came with opset 21; nothing else in these graphs changed by then.
        next(opset for opset in changed.opset_import if not opset.domain).version = _OPSET_OF_FOUR_BITS
        changed.ir_version = least_ir_version(changed)
    return changed


def layer_facts(allocations: Mapping[str, Allocation], layers: Sequence[Layer]) -> str:
    """What the file tells of its layers, as JSON.

    By module below the backbone: the bits of its weights and of its input (32 is float), and its expected noise.
    """
    by_name = {layer.convolution.name: layer for layer in layers}
    modules = {}
    for name, allocation in allocations.items():
        layer = by_name.get(name)
        bits = (layer.weight.bits if layer else 32, 8 if layer and layer.input else 32)
        modules[short_name(name)] = [*bits, float(f"{allocation.noise:.1e}")]
    return json.dumps(modules, separators=(",", ":"), allow_nan=False)


class _Writer(GraphWriter):
    """Writes the nodes of quantised convolutions and linear layers."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        super().__init__(graph.initializer)
        self.additions = bias_additions(graph)

    def convolution(self, node: onnx.NodeProto, layer: Layer) -> None:
        """Append a convolution's node, with what quantises its input, weight and output around it."""
        name = node.name
        node.input[0] = self._input(node, layer)
        node.input[1] = self._weight(name, layer.weight, layer.output_channel_scales)
        if layer.shift is not None or layer.output_channel_scales is not None:
            bias = layer.convolution.bias + (0 if layer.shift is None else layer.shift)
            scales = 1 if layer.output_channel_scales is None else layer.output_channel_scales
            node.input[2:] = [self.constant(f"{name}.bias", bias * scales)]
        self.nodes.append(node)
        if layer.output is not None:
            self._output(node, layer.output, layer.output_channel_scales)

    def linear(self, node: onnx.NodeProto, layer: Layer) -> None:
        """Append a linear layer's product, with what quantises its input and weight before it, and its shift behind."""
        name = node.name
        node.input[0] = self._input(node, layer)
        node.input[1] = self._turned_weight(name, layer.weight)
        self.nodes.append(node)
        if layer.shift is None:
            return
        bias = self.constant(f"{name}.bias", layer.convolution.bias + layer.shift)
        if node.output[0] in self.additions:
            addition, constant = self.additions[node.output[0]]
            addition.input[list(addition.input).index(constant)] = bias
        else:
            written = node.output[0]
            node.output[0] = f"{name}.product"
            self.node("Add", [node.output[0], bias], written, f"{name}.shifted")

    def _input(self, node: onnx.NodeProto, layer: Layer) -> str:
        """The name of what a layer reads, after its channel scales and its way through integers."""
        name, source = node.name, str(node.input[0])
        if layer.channel_scales is not None and layer.convolution.gate is None:
            scales = layer.convolution.along_channels(layer.channel_scales)
            factors = self.constant(f"{name}.input.factors", scales)
            source = self.node("Mul", [source, factors], f"{name}.input.scaled")
        if layer.input is not None:
            self._through_integers(source, layer.input, f"{name}.input", f"{name}.input.dequantised")
            source = f"{name}.input.dequantised"
        return source

    def gate(self, product: onnx.NodeProto, layer: Layer) -> None:
        """Multiply the gate by the channel scales, a vector, in place of the map that it scales anyway."""
        assert layer.channel_scales is not None
        if product.op_type == "LayerNormalization":
            for position, constant in enumerate(product.input[1:], 1):
                scaled = self.constants[constant] * layer.channel_scales
                product.input[position] = self.constant(f"{layer.convolution.name}.norm{position}", scaled)
            return
        side = list(product.input).index(str(layer.convolution.gate))
        product.input[side] = self._scaled(product.input[side], layer.channel_scales, f"{layer.convolution.name}.gate")

    def _output(self, node: onnx.NodeProto, activation: Activation, channel_scales: NDArray[np.float32] | None) -> None:
        """Let what a convolution writes pass through integers, and divide it by its channel scales behind them."""
        name, written = node.name, node.output[0]
        node.output[0] = f"{written}.float"
        if channel_scales is None:
            self._through_integers(node.output[0], activation, f"{name}.output", written)
            return
        self._through_integers(node.output[0], activation, f"{name}.output", f"{name}.output.dequantised")
        inverse = self.constant(f"{name}.output.factors", 1 / channel_scales.reshape(1, -1, 1, 1))
        self.node("Mul", [f"{name}.output.dequantised", inverse], written, f"{name}.output.evened")

    def _scaled(self, tensor: str, channel_scales: NDArray[np.float32], name: str) -> str:
        factors = self.constant(f"{name}.factors", channel_scales.reshape(1, -1, 1, 1))
        return self.node("Mul", [tensor, factors], f"{name}.scaled")

    def _through_integers(self, tensor: str, activation: Activation, name: str, output: str) -> None:
        """Write a tensor in eight bits, and read it back as floats, called `output`."""
        scale = self.constant(f"{name}.scale", np.float32(activation.scale))
        zero_point = self.constant(f"{name}.zero_point", np.uint8(activation.zero_point))
        integers = self.node("QuantizeLinear", [tensor, scale, zero_point], f"{name}.quantised")
        self.node("DequantizeLinear", [integers, scale, zero_point], output, f"{name}.dequantised")

    def _weight(self, name: str, rounded: Rounded, output_scales: NDArray[np.float32] | None) -> str:
        """The name of a convolution's weights as floats, read from symmetric integers, which need no zero point.

        `output_scales` [out] go into the scales of eight-bit weights; four-bit ones have none.
        """
        if rounded.bits == 4:
            return self._four_bit_weight(name, rounded)
        integers = self.constant(f"{name}.weight", rounded.integers)
        scales = rounded.scales if output_scales is None else rounded.scales * output_scales
        scale = self.constant(f"{name}.weight.scale", scales)
        return self.node("DequantizeLinear", [integers, scale], f"{name}.weight.dequantised", axis=0)

    def _turned_weight(self, name: str, rounded: Rounded) -> str:
        """The name of a linear layer's weights as floats [in, out], as its product reads them."""
        if rounded.bits == 4:
            return self.node("Transpose", [self._four_bit_rows(name, rounded)], f"{name}.weight.turned", perm=[1, 0])
        turned = np.ascontiguousarray(rounded.integers[:, :, 0, 0].T)
        inputs = [self.constant(f"{name}.weight", turned), self.constant(f"{name}.weight.scale", rounded.scales)]
        return self.node("DequantizeLinear", inputs, f"{name}.weight.dequantised", axis=1)

    def _four_bit_weight(self, name: str, rounded: Rounded) -> str:
        """The same for four bits, in the shape of a convolution's weights."""
        rows = self._four_bit_rows(name, rounded)
        shape = self.constant(f"{name}.weight.shape", np.array(rounded.integers.shape, np.int64))
        return self.node("Reshape", [rows, shape], f"{name}.weight.dequantised")

    def _four_bit_rows(self, name: str, rounded: Rounded) -> str:
        """Four-bit weights as floats, a row for each output. Scales are halves: shares of the largest in their row."""
        floats = f"{name}.weight.dequantised"
        rows = rounded.scales.max(1, keepdims=True)
        flat_integers = rounded.integers.reshape(len(rounded.integers), -1)
        integers = self.constant(f"{name}.weight", flat_integers.astype(ml_dtypes.int4))
        scale = self.constant(f"{name}.weight.scale", (rounded.scales / rows).astype(np.float16))
        half = self.node("DequantizeLinear", [integers, scale], f"{floats}.half", axis=1, block_size=rounded.block)
        share = self.node("Cast", [half], f"{floats}.share", to=TensorProto.FLOAT)
        return self.node("Mul", [share, self.constant(f"{name}.weight.rows", rows)], f"{floats}.flat")
