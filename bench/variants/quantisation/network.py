"""The convolutions of a detector's exported graph, and what is fed into them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Convolution:
    """A convolution of the backbone: its `name` is its module's, `weight` is float [out, in / groups, k, k].

    `gate` is the name of the tensor [n, in, 1, 1] that scales its input channel by channel, where the
    product of the two is made for this convolution alone.
    """

    name: str
    input: str
    output: str
    weight: NDArray[np.float32]
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
    found = []
    for node in model.graph.node:
        if node.op_type != "Conv" or not node.name.startswith("backbone."):
            continue
        weight = np.array(numpy_helper.to_array(stored[node.input[1]]))
        told = {attribute.name: attribute for attribute in node.attribute}
        groups = told["group"].i if "group" in told else 1
        plain = all(
            set(told[name].ints) <= {usual} for name, usual in (("strides", 1), ("pads", 0)) if name in told
        ) and set(weight.shape[2:]) == {1}
        found.append(
            Convolution(
                node.name, node.input[0], node.output[0], weight, groups, plain and groups == 1,
                _gate(model, node.input[0]),
            )
        )  # fmt: skip
    return found


def _gate(model: onnx.ModelProto, tensor: str) -> str | None:
    """What scales `tensor` channel by channel, where `tensor` is read once."""
    shapes = {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim] for value in model.graph.value_info
    }
    readers = sum(tensor in node.input for node in model.graph.node)
    product = next((node for node in model.graph.node if tensor in node.output), None)
    if readers != 1 or product is None or product.op_type != "Mul":
        return None
    flat = [name for name in product.input if shapes.get(name, [])[2:] == [1, 1]]
    wide = [name for name in product.input if name not in flat]
    return flat[0] if len(flat) == 1 and len(wide) == 1 else None


def biases(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    """By convolution of the backbone, its bias [out], with the batch norm folded in."""
    import numpy as np
    from onnx import numpy_helper

    stored = {constant.name: constant for constant in model.graph.initializer}
    return {
        node.name: np.array(numpy_helper.to_array(stored[node.input[2]]))
        if len(node.input) > 2
        else np.zeros(stored[node.input[1]].dims[0], np.float32)
        for node in model.graph.node
        if node.op_type == "Conv" and node.name.startswith("backbone.")
    }
