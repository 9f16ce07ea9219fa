"""int8 weights and activations: onnxruntime's static quantisation, calibrated on a few frames.

Only the network's convolutions run on integers. Preprocessing, global pooling, the head and the
CAM stay in float, and pool and CAM read the same tensor, so that the margin equation holds exactly
for the int8 model too.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from bench.errors import UserError
from bench.records import FrameSet, Split

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector
    from bench.variants.steps import Kind, Work

ACCEPTS: Kind = "torch"
PRODUCES: Kind = "onnx"
FRAMES = {"calibration": "finds the ranges of the activations"}
VERSION = 1
SEEDED = False
LIBRARIES = ("onnxruntime-gpu", "onnxruntime", "onnx", "onnxscript", "torch")
MAIN = "dtype"

LEAST_FRAMES = _BATCH_SIZE = 8
# A range holds the extremes of all but the most extreme 3 % of the frames. One frame whose
# activations are many times larger than everyone's would otherwise coarsen the steps for all.
_FRAMES_WITHIN_RANGE = 0.97


class Settings(BaseModel):
    """`dtype`: int8 is what there is. `frames`: at most so many are read, evenly spread over the calibration set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: Literal["int8"] = "int8"
    frames: Annotated[int, Field(strict=True, ge=1)] = 128


def check(settings: Settings, frames: Mapping[Split, FrameSet]) -> None:
    """Refuse a set too small to tell a range from an accident."""
    found = len(frames["calibration"].frames)
    if found < LEAST_FRAMES:
        raise UserError(
            f"quantize: {found} calibration frames are too few to find ranges; give at least {LEAST_FRAMES}, "
            f"better {settings.frames}"
        )


def apply(model: Detector, settings: Settings, work: Work) -> onnx.ModelProto:
    """The detector as a quantised graph with the inputs, outputs and metadata of `to_onnx`, and `stored`.

    Weights are int8, symmetric, with one scale per output channel; activations are uint8 with one
    scale per tensor; biases int32.
    """
    import onnx

    from bench.detectors.export import to_onnx

    graph = onnx.shape_inference.infer_shapes(to_onnx(model))
    tensors = _quantised_tensors(graph)
    ranges = _ranges(_observed(graph, tensors), tensors, settings.frames, work)
    return _quantised(graph, ranges, settings)


def _network_convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "Conv" and node.name.startswith("backbone.")]


def _quantised_tensors(model: onnx.ModelProto) -> list[str]:
    """What the network's convolutions read and write, each tensor once."""
    return list(dict.fromkeys(t for node in _network_convolutions(model) for t in (node.input[0], node.output[0])))


def _observed(model: onnx.ModelProto, tensors: list[str]) -> onnx.ModelProto:
    """The graph with the extremes of every tensor, per frame, as its outputs.

    Reducing inside the graph keeps memory constant: no activation outlives its batch.
    """
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    graph = observed.graph
    del graph.output[:]
    graph.initializer.append(numpy_helper.from_array(np.array([1, 2, 3], dtype=np.int64), "axes"))
    for tensor in tensors:
        for reduce in ("ReduceMin", "ReduceMax"):
            name = f"{tensor}/{reduce}"
            graph.node.append(helper.make_node(reduce, [tensor, "axes"], [name], name=name, keepdims=0))
            graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]))
    return observed


def _ranges(observed: onnx.ModelProto, tensors: list[str], frames: int, work: Work) -> dict[str, tuple[float, float]]:
    """Run the calibration frames and read off what values every tensor takes."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = work.threads
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(observed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    total, extremes = len(work.spread("calibration", frames)), []
    for batch in work.batches("calibration", _BATCH_SIZE, frames):
        extremes.append(np.stack(session.run(names, {"frames": batch})))
        work.progress(sum(chunk.shape[1] for chunk in extremes), total, "frames", "calibrating")
    return extremes_to_ranges(tensors, np.concatenate(extremes, axis=1))


def extremes_to_ranges(tensors: list[str], extremes: NDArray[np.floating]) -> dict[str, tuple[float, float]]:
    """Lowest and highest value to represent, per tensor.

    `extremes` holds one column a frame, and for every tensor two rows: its minima, its maxima.
    """
    import numpy as np

    lowest = np.quantile(extremes[0::2], 1 - _FRAMES_WITHIN_RANGE, axis=1)
    highest = np.quantile(extremes[1::2], _FRAMES_WITHIN_RANGE, axis=1)
    return {name: (float(low), float(high)) for name, low, high in zip(tensors, lowest, highest, strict=True)}


def _quantised(model: onnx.ModelProto, ranges: dict[str, tuple[float, float]], settings: Settings) -> onnx.ModelProto:
    import numpy as np
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    facts = list(model.metadata_props)
    data = {
        name: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
        for name, (low, high) in ranges.items()
    }
    with _quiet():
        # Unsigned activations with signed weights: int8 for both has no fast path on x86 (measured: 2x slower).
        quantizer = QDQQuantizer(
            model, per_channel=True, reduce_range=False,
            weight_qType=QuantType.QInt8, activation_qType=QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, data),
            nodes_to_quantize=[node.name for node in _network_convolutions(model)],
            nodes_to_exclude=[], op_types_to_quantize=["Conv"], extra_options={},
        )  # fmt: skip
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    quantised: onnx.ModelProto = quantizer.model.model
    _spare(quantised)
    # The library leaves a mark of its own there.
    del quantised.metadata_props[:]
    quantised.metadata_props.extend(facts)
    quantised.metadata_props.add(key="stored", value=settings.dtype)
    return quantised


def _spare(model: onnx.ModelProto) -> None:
    """Let what computes in float read the float tensor where there is one, and drop what is only bulk."""
    graph = model.graph
    producer = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type in ("Add", "Mul", "ReduceMean"):
            node.input[:] = [_float_twin(tensor, producer) for tensor in node.input]
    graph.ClearField("value_info")
    for part in (model.graph, *graph.node, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")


def _float_twin(tensor: str, producer: dict[str, onnx.NodeProto]) -> str:
    """What was quantised into `tensor`; convolutions are left alone, since theirs never exists in float."""
    dequantize = producer.get(tensor)
    if dequantize is None or dequantize.op_type != "DequantizeLinear":
        return tensor
    quantize = producer.get(dequantize.input[0])
    if quantize is None or producer[quantize.input[0]].op_type == "Conv":
        return tensor
    return str(quantize.input[0])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's advice from the terminal."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
