"""The quantised layers of a graph that `qdq` wrote: what they read and write, and the same with other weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
from onnx import numpy_helper

from bench.variants.steps.quantize.rounding import LARGEST_WEIGHT, Activation

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

_WEIGHT, _SCALE, _ROWS = ".weight", ".weight.scale", ".weight.rows"
_LINEAR_AXES = 2


@dataclass(frozen=True)
class StoredLayer:
    """A convolution or linear layer as the graph has it, batch norm folded in.

    `integers` [out, in / groups, k, k], of a linear layer [out, in], times `scales` [out, blocks] are its weights; they
    lie in -`largest` to `largest`. `bias` [out]. `factors` [in] multiply its input, `inverse` [out] its output, each
    before and behind what turns them into integers (`input`, `output`); None where nothing does.
    """

    integers: NDArray[np.int8]
    scales: NDArray[np.float32]
    largest: int
    bias: NDArray[np.float32]
    factors: NDArray[np.float32] | None = None
    input: Activation | None = None
    output: Activation | None = None
    inverse: NDArray[np.float32] | None = None


def read(graph: onnx.GraphProto) -> dict[str, StoredLayer]:
    """The layers of a graph, by the names of their modules.

    Left out are those whose channel scales a layer norm has taken in, and those without a bias in the graph.
    """
    constants = {constant.name: constant for constant in graph.initializer}
    names = [name.removesuffix(_WEIGHT) for name in constants if name.endswith(_WEIGHT)]
    return {
        name: _layer(name, constants)
        for name in names
        if f"{name}{_SCALE}" in constants and f"{name}.bias" in constants and f"{name}.norm1" not in constants
    }


def _layer(name: str, constants: Mapping[str, onnx.TensorProto]) -> StoredLayer:
    """The layer of this name, by the constants that `qdq` wrote for it."""

    def array(suffix: str) -> NDArray[np.float32]:
        return np.array(numpy_helper.to_array(constants[name + suffix]))

    def flat(*suffixes: str) -> NDArray[np.float32] | None:
        present = [suffix for suffix in suffixes if name + suffix in constants]
        return array(present[0]).reshape(-1) if present else None

    def activation(side: str) -> Activation | None:
        if f"{name}.{side}.scale" not in constants:
            return None
        return Activation(float(array(f".{side}.scale")), int(array(f".{side}.zero_point")))

    integers, scales, largest = array(_WEIGHT), array(_SCALE), LARGEST_WEIGHT[8]
    if name + _ROWS in constants:
        largest, scales = LARGEST_WEIGHT[4], scales.astype(np.float32) * array(_ROWS)
        shape = f"{name}.weight.shape"
        integers = integers.astype(np.int8)
        if shape in constants:
            integers = integers.reshape(tuple(numpy_helper.to_array(constants[shape])))
    else:
        integers = integers.T if integers.ndim == _LINEAR_AXES else integers
        scales = scales.reshape(-1, 1)
    return StoredLayer(
        np.ascontiguousarray(integers.astype(np.int8)),
        scales,
        largest,
        array(".bias").reshape(-1),
        flat(".input.factors", ".gate.factors"),
        activation("input"),
        activation("output"),
        flat(".output.factors"),
    )


def replaced(
    model: onnx.ModelProto, layers: Mapping[str, tuple[NDArray[np.int8], NDArray[np.float32]]]
) -> onnx.ModelProto:
    """A copy of the model with other integers, in the shape of `StoredLayer.integers`, and biases for these layers."""
    changed = copy.deepcopy(model)
    constants = {constant.name: constant for constant in changed.graph.initializer}
    for name, (integers, bias) in layers.items():
        weight, stored_bias = constants[name + _WEIGHT], constants[f"{name}.bias"]
        if name + _ROWS in constants:
            stored = integers.reshape(len(integers), -1).astype(ml_dtypes.int4)
        else:
            stored = np.ascontiguousarray(integers.T if integers.ndim == _LINEAR_AXES else integers)
        weight.CopyFrom(numpy_helper.from_array(stored, weight.name))
        shape = tuple(stored_bias.dims)
        stored_bias.CopyFrom(numpy_helper.from_array(bias.astype(np.float32).reshape(shape), stored_bias.name))
    return changed
