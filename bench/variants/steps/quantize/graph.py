"""The exported ONNX graph of a detector, and the convolutions of its backbone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from bench import phases
from bench.artifacts.onnx_export import to_onnx
from bench.artifacts.onnx_graph import groups, is_pointwise, shapes
from bench.detectors.layer_names import is_in_backbone

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector
    from bench.variants.steps import StepContext


@dataclass(frozen=True)
class Convolution:
    """A convolution of the backbone. `name` is its module's, `weight` float [out, in / groups, k, k], `bias` [out].

    The batch norm is folded into both. `input` and `output` are the names of the tensors that it reads and writes.
    `gate` is the name of the tensor [n, in, 1, 1] that scales its input channel by channel, where the product of the
    two is made for this convolution alone.
    """

    name: str
    input: str
    output: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    groups: int
    pointwise: bool
    gate: str | None

    @property
    def inputs(self) -> int:
        """How many input channels it has."""
        return int(self.weight.shape[1]) * self.groups

    def weight_by_input(self) -> NDArray[np.float32]:
        """The weights by input channel: [in, weights that read it]."""
        out, per_group, *_ = self.weight.shape
        grouped = self.weight.reshape(self.groups, out // self.groups, per_group, -1)
        by_input: NDArray[np.float32] = grouped.transpose(0, 2, 1, 3).reshape(self.inputs, -1)
        return by_input

    def scaled_weight(self, channel_scales: NDArray[np.floating]) -> NDArray[np.float32]:
        """The weights, those that read an input channel multiplied by its scale [in]."""
        by_output = self._per_output(channel_scales)
        scaled: NDArray[np.float32] = self.weight * by_output[:, :, None, None].astype(np.float32)
        return scaled

    def divided_weight(self, channel_scales: NDArray[np.floating] | None) -> NDArray[np.float32]:
        """The weights for an input that was multiplied by its channel scales [in]; None leaves them as they are."""
        return self.weight if channel_scales is None else self.scaled_weight(1 / channel_scales)

    def response(self, weight: NDArray[np.floating], inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """The outputs [out] for inputs [in] that are constant over the map, with `weight` in place of its weights."""
        outputs: NDArray[np.float64] = (weight.sum((2, 3), dtype=np.float64) * self._per_output(inputs)).sum(1)
        return outputs

    def _per_output(self, channels: NDArray[np.floating]) -> NDArray[np.floating]:
        """Numbers of input channels [in], as each output reads them: [out, in / groups]."""
        out, per_group, *_ = self.weight.shape
        return np.repeat(channels.reshape(self.groups, per_group), out // self.groups, axis=0)


def exported(model: Detector, work: StepContext) -> onnx.ModelProto:
    """The detector as a float graph with inferred shapes. It is a checkpoint, since a large export takes long."""
    phases.begin("exporting to ONNX")
    part = work.part("exporting")
    if part.state:
        saved: onnx.ModelProto = onnx.ModelProto.FromString(part.state["graph"].numpy().tobytes())
        return saved
    graph: onnx.ModelProto = onnx.shape_inference.infer_shapes(to_onnx(model))
    text = np.frombuffer(graph.SerializeToString(), np.uint8)
    part.keep(1, 1, lambda: {"graph": torch.from_numpy(text.copy())})
    return graph


def convolutions(model: onnx.ModelProto) -> list[Convolution]:
    """The convolutions of the backbone, in the order in which they run. `model` holds inferred shapes."""
    constants = {constant.name: constant for constant in model.graph.initializer}
    gates = _gates(model.graph)

    def floats(name: str) -> NDArray[np.float32]:
        return np.array(numpy_helper.to_array(constants[name]))

    backbone = []
    for node in model.graph.node:
        if node.op_type == "Conv" and is_in_backbone(node.name):
            read, written, weight = node.input[0], node.output[0], floats(node.input[1])
            bias = floats(node.input[2]) if len(node.input) > 2 else np.zeros(len(weight), np.float32)
            pointwise, gate = is_pointwise(node, weight.shape), gates.get(read)
            backbone.append(Convolution(node.name, read, written, weight, bias, groups(node), pointwise, gate))
    return backbone


def _gates(graph: onnx.GraphProto) -> dict[str, str]:
    """For each product that is read once, of a map and a tensor [n, channels, 1, 1]: the name of that tensor."""
    readers = Counter(name for node in graph.node for name in node.input)
    sides = shapes(graph)
    gates = {}
    for node in graph.node:
        if node.op_type == "Mul" and readers[node.output[0]] == 1:
            flat = [name for name in node.input if sides.get(name, [])[2:] == [1, 1]]
            if len(flat) == 1:
                gates[node.output[0]] = flat[0]
    return gates
