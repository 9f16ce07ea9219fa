"""Biases of a quantised graph that take back what rounding the weights adds to a convolution's output on average.

As Nagel et al. (Data-free quantization, ICCV 2019), with the means of the calibration frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.artifacts.onnx_graph import producers

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

# Axes of a reduction are an input from this opset on.
_AXES_ARE_INPUT = 18


def correct(
    quantised: onnx.ModelProto, original: onnx.ModelProto, batches: Iterable[NDArray[np.uint8]], threads: int
) -> None:
    """Change the biases of `quantised`, whose convolutions have the names of those in `original`; in place.

    `batches` are calibration frames, uint8 [n, 3, h, w].
    """
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in original.graph.initializer}
    before = {node.name: node for node in original.graph.node if node.op_type == "Conv" and node.input[1] in weights}
    means = _means(original, sorted({node.input[0] for node in before.values()}), batches, threads)
    graph = quantised.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    written_by = producers(graph)
    for node in graph.node:
        read = written_by.get(node.input[1]) if node.name in before and node.op_type == "Conv" else None
        if read is None or read.op_type != "DequantizeLinear":
            continue
        integers, scales = (numpy_helper.to_array(constants[name]).astype(np.float64) for name in read.input[:2])
        weight = numpy_helper.to_array(weights[before[node.name].input[1]])
        change = (integers * scales.reshape(-1, 1, 1, 1) - weight).sum((2, 3))
        shift = _response(change, means[before[node.name].input[0]])
        bias = numpy_helper.to_array(constants[node.input[2]]) if len(node.input) > 2 else np.zeros(len(shift))
        name = f"{node.name}/corrected bias"
        graph.initializer.append(numpy_helper.from_array((bias - shift).astype(np.float32), name))
        node.input[:] = [*node.input[:2], name]


def _response(taps: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """What weights [out, in / groups], summed over their positions, make of a constant input [in]: [out]."""
    groups = len(mean) // taps.shape[1]
    by_output = np.repeat(mean.reshape(groups, -1), len(taps) // groups, axis=0)
    response: NDArray[np.float64] = (taps * by_output).sum(1)
    return response


def _means(
    model: onnx.ModelProto, tensors: list[str], batches: Iterable[NDArray[np.uint8]], threads: int
) -> Mapping[str, NDArray[np.float64]]:
    """The mean [channels] of each feature map [n, channels, h, w] over all frames and positions."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    from bench.artifacts.onnx_session import session_options

    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    graph = observed.graph
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    graph.initializer.append(numpy_helper.from_array(np.array([2, 3]), "mean/axes"))
    graph.ClearField("output")
    for index, tensor in enumerate(tensors):
        given: dict[str, Any] = {} if opset >= _AXES_ARE_INPUT else {"axes": [2, 3]}
        inputs = [tensor] if given else [tensor, "mean/axes"]
        graph.node.append(helper.make_node("ReduceMean", inputs, [f"mean/{index}"], keepdims=0, **given))
        graph.output.append(helper.make_tensor_value_info(f"mean/{index}", TensorProto.FLOAT, None))
    settings = session_options(threads)
    session = onnxruntime.InferenceSession(observed.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    sums, count = [np.zeros(1) for _ in tensors], 0
    for batch in batches:
        means = session.run(None, {"frames": batch})
        sums = [total + mean.sum(0, dtype=np.float64) for total, mean in zip(sums, means, strict=True)]
        count += len(batch)
    return {tensor: total / count for tensor, total in zip(tensors, sums, strict=True)}
