"""The convolutions of a detector's exported graph, and what is fed into them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.artifacts.onnx_export import is_pointwise
from bench.detectors.layer_names import is_in_backbone

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Convolution:
    """A convolution of the backbone. `name` is its module's, `weight` float [out, in / groups, k, k], `bias` [out].

    The batch norm is folded into both. `gate` is the name of the tensor [n, in, 1, 1] that scales its input
    channel by channel, where the product of the two is made for this convolution alone.
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
        return int(self.weight.shape[1]) * self.groups

    def columns(self) -> NDArray[np.float32]:
        """The weights by input channel: [in, weights that read it]."""
        out, per_group, *_ = self.weight.shape
        grouped = self.weight.reshape(self.groups, out // self.groups, per_group, -1)
        columns: NDArray[np.float32] = grouped.transpose(0, 2, 1, 3).reshape(self.inputs, -1)
        return columns

    def answer(self, weight: NDArray[np.float32], inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """What `weight`, in the shape of this convolution's, makes of constant inputs [in], borders aside: [out]."""
        import numpy as np

        out, per_group, *_ = self.weight.shape
        by_group = np.repeat(inputs.reshape(self.groups, per_group), out // self.groups, axis=0)
        answers: NDArray[np.float64] = (weight.sum((2, 3), dtype=np.float64) * by_group).sum(1)
        return answers

    def by_input(self, factors: NDArray[np.floating]) -> NDArray[np.float32]:
        """The weights with every input channel's multiplied by its factor [in]."""
        import numpy as np

        out, per_group, *_ = self.weight.shape
        by_group = np.repeat(factors.reshape(self.groups, per_group), out // self.groups, axis=0)
        scaled: NDArray[np.float32] = self.weight * by_group[:, :, None, None].astype(np.float32)
        return scaled


def convolutions(model: onnx.ModelProto) -> list[Convolution]:
    """Those of the backbone, in the order in which they run. `model` holds inferred shapes."""
    import numpy as np
    from onnx import numpy_helper

    stored = {constant.name: constant for constant in model.graph.initializer}
    gates = _gates(model)

    def floats(name: str) -> NDArray[np.float32]:
        return np.array(numpy_helper.to_array(stored[name]))

    found = []
    for node in model.graph.node:
        if node.op_type == "Conv" and is_in_backbone(node.name):
            weight = floats(node.input[1])
            bias = floats(node.input[2]) if len(node.input) > 2 else np.zeros(len(weight), np.float32)
            groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
            pointwise, gate = is_pointwise(node, weight.shape), gates.get(node.input[0])
            found.append(Convolution(node.name, node.input[0], node.output[0], weight, bias, groups, pointwise, gate))
    return found


def _gates(model: onnx.ModelProto) -> dict[str, str]:
    """By product that is read once, its factor [n, channels, 1, 1], where the other one is a map."""
    graph = model.graph
    readers = Counter(name for node in graph.node for name in node.input)
    shapes = {value.name: [side.dim_value for side in value.type.tensor_type.shape.dim] for value in graph.value_info}
    found = {}
    for node in graph.node:
        if node.op_type == "Mul" and readers[node.output[0]] == 1:
            flat = [name for name in node.input if shapes.get(name, [])[2:] == [1, 1]]
            if len(flat) == 1:
                found[node.output[0]] = flat[0]
    return found
