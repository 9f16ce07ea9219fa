"""ONNX files as other tools write them, all of the same tiny detector: what bench is to read as that detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.utils import Extractor

from bench.artifacts.onnx_export import to_onnx
from bench.detectors.detector import Detector

SIZE = 32


def network(detector: Detector) -> onnx.ModelProto:
    """The detector without its preprocessing: input `x`, float32 [n, 3, 32, 32], output `y`, logits [n, 2]."""
    model = to_onnx(detector)
    producers = {output: node for node in model.graph.node for output in node.output}
    stem = next(node for node in model.graph.node if node.op_type == "Conv" and node.name.startswith("backbone."))
    tensor = stem.input[0]
    if producers[tensor].op_type == "Pad":  # the stem's own padding
        tensor = producers[tensor].input[0]
    shaped = onnx.shape_inference.infer_shapes(model)
    part: onnx.ModelProto = Extractor(shaped).extract_model([tensor], ["logits"])
    for node in part.graph.node:
        node.input[:] = ["x" if name == tensor else name for name in node.input]
        node.output[:] = ["y" if name == "logits" else name for name in node.output]
    graph = part.graph
    for field in ("input", "output", "value_info"):
        graph.ClearField(field)
    graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, SIZE, SIZE]))
    graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2]))
    part.ClearField("metadata_props")
    part.producer_name = "elsewhere"
    return part


def whole(detector: Detector) -> onnx.ModelProto:
    """The detector with its preprocessing: input `frames`, uint8 [n, 3, 32, 32], outputs `logits` and `cam`."""
    return to_onnx(detector)


def with_input(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], kind: int, sides: Sequence[Any]) -> None:
    """Put nodes that turn `given` into the model's input before it, in place."""
    name = model.graph.input[0].name
    nodes[-1].output[0] = name
    every = [*nodes, *model.graph.node]
    model.graph.ClearField("node")
    model.graph.node.extend(every)
    model.graph.ClearField("input")
    model.graph.input.append(helper.make_tensor_value_info("given", kind, sides))


def with_output(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], sides: Sequence[Any] | None) -> None:
    """Put nodes that turn the model's output into `scores` behind it, in place."""
    model.graph.node.extend(nodes)
    model.graph.ClearField("output")
    model.graph.output.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, sides))


def constant(model: onnx.ModelProto, name: str, values: Any) -> str:
    """Add a constant, in place; its name."""
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    return name


def channels_last(detector: Detector) -> onnx.ModelProto:
    """uint8 [n, 32, 32, 3] with the preprocessing inside, one probability [n] of fake."""
    model = whole(detector)
    transpose = helper.make_node("Transpose", ["given"], ["_"], perm=[0, 3, 1, 2])
    with_input(model, [transpose], TensorProto.UINT8, ["n", SIZE, SIZE, 3])
    fake = constant(model, "fake", np.int64(1))
    softmax = helper.make_node("Softmax", ["logits"], ["softmax"], axis=1)
    with_output(model, [softmax, helper.make_node("Gather", ["softmax", fake], ["scores"], axis=1)], ["n"])
    return model


def softmax(detector: Detector) -> onnx.ModelProto:
    """Two probabilities."""
    model = network(detector)
    with_output(model, [helper.make_node("Softmax", ["y"], ["scores"], axis=1)], ["n", 2])
    return model


def one_logit(detector: Detector) -> onnx.ModelProto:
    """logit_fake - logit_real, [n, 1], by a matrix product."""
    model = network(detector)
    difference = constant(model, "difference", np.array([[-1], [1]], np.float32))
    with_output(model, [helper.make_node("MatMul", ["y", difference], ["scores"])], ["n", 1])
    return model


def softmax_of_one(detector: Detector) -> onnx.ModelProto:
    """A Softmax over a single logit, which is 1 whatever the frame."""
    model = one_logit(detector)
    model.graph.node[-1].output[0] = "logit"
    with_output(model, [helper.make_node("Softmax", ["logit"], ["scores"], axis=1)], ["n", 1])
    return model


def channels_last_of_open_sides(detector: Detector) -> onnx.ModelProto:
    """Floats with their channels last, of which the file gives no side."""
    model = network(detector)
    transpose = helper.make_node("Transpose", ["given"], ["_"], perm=[0, 3, 1, 2])
    with_input(model, [transpose], TensorProto.FLOAT, ["n", "h", "w", "c"])
    return model


def swapped(detector: Detector) -> onnx.ModelProto:
    """Logits of fake and real, in this order."""
    model = network(detector)
    order = constant(model, "swapped", np.array([1, 0], np.int64))
    with_output(model, [helper.make_node("Gather", ["y", order], ["scores"], axis=1)], ["n", 2])
    return model


def in_rgb_of_bytes(detector: Detector) -> onnx.ModelProto:
    """Floats from 0 to 255 in RGB, all of the preprocessing inside."""
    model = whole(detector)
    with_input(model, [helper.make_node("Cast", ["given"], ["_"], to=TensorProto.UINT8)], TensorProto.FLOAT,
               ["n", 3, SIZE, SIZE])  # fmt: skip
    del model.graph.output[1:]
    return model


def in_statistics(detector: Detector, mean: Sequence[float], std: Sequence[float]) -> onnx.ModelProto:
    """Floats in RGB, less a mean and divided by a standard deviation, the detector's preprocessing inside."""
    model = whole(detector)
    sides = (1, 3, 1, 1)
    std_name = constant(model, "their_std", 255 * np.array(std, np.float32).reshape(sides))
    mean_name = constant(model, "their_mean", 255 * np.array(mean, np.float32).reshape(sides))
    nodes = [
        helper.make_node("Mul", ["given", std_name], ["scaled"]),
        helper.make_node("Add", ["scaled", mean_name], ["bytes"]),
        helper.make_node("Round", ["bytes"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["_"], to=TensorProto.UINT8),
    ]
    with_input(model, nodes, TensorProto.FLOAT, ["n", 3, SIZE, SIZE])
    del model.graph.output[1:]
    return model


def of_batch(detector: Detector, batch: int) -> onnx.ModelProto:
    """A fixed batch, which a Reshape has in its constant too."""
    model = network(detector)
    shape = constant(model, "batch_shape", np.array([batch, 2], np.int64))
    with_output(model, [helper.make_node("Reshape", ["y", shape], ["scores"])], [batch, 2])
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    return model


def of_batch_for_good(detector: Detector, batch: int) -> onnx.ModelProto:
    """A fixed batch that no change of a Reshape sets free, as of networks that add a class token."""
    model = network(detector)
    zeros = constant(model, "zeros", np.zeros((batch, 2), np.float32))
    nodes = [
        helper.make_node("Concat", ["y", zeros], ["longer"], axis=1),
        helper.make_node("Slice", ["longer", constant(model, "from", np.array([0], np.int64)),
                                   constant(model, "to", np.array([2], np.int64)),
                                   constant(model, "axis", np.array([1], np.int64))], ["scores"]),
    ]  # fmt: skip
    with_output(model, nodes, [batch, 2])
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    return model


def static_int8(detector: Detector, folder: Path, inputs: NDArray[np.float32]) -> Path:
    """QDQ by onnxruntime's quantisation, with ranges of `inputs`."""
    from onnxruntime import quantization

    float_file, quantised = folder / "float.onnx", folder / "static.onnx"
    onnx.save(network(detector), float_file)
    batches = iter([{"x": inputs}])

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Any:
            return next(batches, None)

    quantization.quantize_static(
        str(float_file), str(quantised), Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
    )  # fmt: skip
    return quantised


def dynamic_int8(detector: Detector, folder: Path) -> Path:
    """Dynamic quantisation by onnxruntime: the ranges are those of a batch."""
    from onnxruntime import quantization

    float_file, quantised = folder / "float.onnx", folder / "dynamic.onnx"
    onnx.save(network(detector), float_file)
    quantization.quantize_dynamic(str(float_file), str(quantised))
    return quantised


def half(detector: Detector) -> onnx.ModelProto:
    """fp16 throughout, its input and output too, by onnxruntime's converter."""
    from onnxruntime.transformers import float16

    converted: onnx.ModelProto = float16.convert_float_to_float16(network(detector), keep_io_types=False)
    return converted
