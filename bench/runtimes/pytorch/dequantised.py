"""A network of layers with the weights of an ONNX artifact, turned back into floats: for what needs gradients.

Its activations are not rounded, so it is no copy of what the artifact computes: whoever shows anything of it shows how
far its answer is from the artifact's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bench.artifacts import safetensors
from bench.artifacts.onnx_graph import producers
from bench.runtimes.pytorch.batch_norms import fold

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector
    from bench.records import Built


def dequantised(built: Built, unquantised: Built) -> Detector | None:
    """The detector that `built`, an ONNX artifact, was quantised from, with the artifact's weights in float32.

    None where its weights are not those of the same layers.
    """
    import onnx

    detector = safetensors.load_torch(unquantised.file).float()
    fold(detector)
    layers: dict[str, Any] = {**detector.weighted_layers(), **detector.head_layers()}
    graph = onnx.load(built.file).graph
    weights = _Weights(graph)
    replaced = 0
    for node in graph.node:
        if node.name in layers and (pair := weights.of(node)) is not None:
            replaced += _replace(layers[node.name], *pair)
    return detector if replaced == len(layers) else None


class _Weights:
    """The constants of a graph, and what its layers multiply with, in floats."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        from onnx import numpy_helper

        self._constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        self._writers = producers(graph)

    def of(self, node: onnx.NodeProto) -> tuple[NDArray[np.float32], NDArray[np.float32] | None] | None:
        """Weight and bias of a layer, as PyTorch has them: factors of its inputs and outputs are part of both."""
        import numpy as np

        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            return None
        weight = self._values(node.input[1])
        if weight is None:
            return None
        attributes = {each.name: each.i for each in node.attribute}
        if node.op_type == "MatMul" or (node.op_type == "Gemm" and not attributes.get("transB", 0)):
            weight = weight.T
        for factors in (f"{node.name}.input.factors", f"{node.name}.gate.factors"):
            if factors in self._constants:
                weight = _scaled(weight, self._constants[factors].ravel(), attributes.get("group", 1))
        bias = self._values(node.input[2]) if len(node.input) > 2 else None
        if (inverse := self._constants.get(f"{node.name}.output.factors")) is not None:
            weight = weight * inverse.reshape(-1, *([1] * (weight.ndim - 1)))
            bias = None if bias is None else bias * inverse.ravel()
        return weight.astype(np.float32), None if bias is None else bias.astype(np.float32)

    def _values(self, name: str) -> NDArray[Any] | None:
        """A constant, or what follows from constants alone; None of anything else."""
        if name in self._constants:
            return self._constants[name]
        node = self._writers.get(name)
        if node is None or node.op_type not in _OF_CONSTANTS:
            return None
        inputs = [self._values(each) for each in node.input if each]
        if any(each is None for each in inputs):
            return None
        attributes = {each.name: list(each.ints) or each.i for each in node.attribute}
        computed: NDArray[Any] = _OF_CONSTANTS[node.op_type](attributes, *inputs)
        return computed


def _floats(
    attributes: Mapping[str, Any], integers: NDArray[Any], scale: NDArray[Any], zero_point: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """What DequantizeLinear makes of integers: with one scale, one along an axis, or one for each block along it."""
    import numpy as np

    values, axis = integers.astype(np.float64), attributes.get("axis", 1) % max(integers.ndim, 1)

    def spread(parameter: NDArray[Any]) -> NDArray[np.float64]:
        floats = parameter.astype(np.float64)
        if block := attributes.get("block_size"):
            return floats.repeat(block, axis).take(range(values.shape[axis]), axis)
        return floats.reshape([-1 if index == axis else 1 for index in range(values.ndim)]) if floats.ndim else floats

    if zero_point is not None:
        values = values - spread(zero_point)
    return values * spread(scale)


_OF_CONSTANTS: Mapping[str, Callable[..., Any]] = {
    "DequantizeLinear": _floats,
    "Cast": lambda _, values: values,
    "Mul": lambda _, first, second: first * second,
    "Reshape": lambda _, values, shape: values.reshape(shape.tolist()),
    "Transpose": lambda attributes, values: values.transpose(attributes["perm"]),
}
"""What lies between the constants of a layer's weights and its product; everything is a float of 64 bits behind it."""


def _scaled(weight: NDArray[Any], factors: NDArray[Any], groups: int) -> NDArray[Any]:
    """A weight [out, in / groups, …] whose layer reads its input channels times `factors` [in]."""
    per_group = factors.reshape(groups, -1)
    by_output = per_group.repeat(len(weight) // groups, axis=0)
    scaled: NDArray[Any] = weight * by_output.reshape(*by_output.shape, *([1] * (weight.ndim - 2)))
    return scaled


def _replace(layer: Any, weight: NDArray[np.float32], bias: NDArray[np.float32] | None) -> bool:
    """Give a layer another weight and bias of the same shapes; whether they are."""
    import torch
    from torch import nn

    shape = tuple(layer.weight.shape)
    if weight.size != layer.weight.numel() or weight.shape[:2] != shape[:2]:
        return False
    layer.weight = nn.Parameter(torch.from_numpy(weight.reshape(shape).copy()), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(torch.from_numpy(bias.copy()), requires_grad=False)
    return True
