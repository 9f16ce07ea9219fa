"""Int8 for a detector of which there is an ONNX file alone: plain rounding, without what a network of layers allows.

Activations too: onnxruntime's static quantisation with the ranges of the calibration frames; biases take back what
rounding the weights adds on average. Weights alone: symmetric integers with one scale per output channel. No layer is
left in float but the last, and those that the settings name.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import phases
from bench.artifacts import onnx_graph, tracing
from bench.artifacts.imports import outputs
from bench.errors import UserError
from bench.variants.steps.quantize import in_float

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from bench.variants.steps import StepContext

_HEAVY = ("Conv", "MatMul", "Gemm")
# Of the weights of layers that are quantised: two products of what both depend on the frame are none.
_RANKS = {"Conv": 4, "MatMul": 2, "Gemm": 2}
# Our own input and output around the graph from elsewhere stay in float.
_OURS = ("input/", "output/", "loop/", "logits")
# DequantizeLinear has an axis, so that each channel may have its scale, since this opset.
_LEAST_OPSET = 13
_LEAST_WEIGHTS = 64
# The weight of each further batch in the average of the batches' extremes.
_AVERAGED = 0.2
# Frames whose extremes are found together, whatever their size: ranges must not depend on that.
_BATCH = 8


def quantised(model: onnx.ModelProto, settings: Any, work: StepContext) -> onnx.ModelProto:
    """The graph with integers for weights and, unless `settings.weights` says so, activations.

    Raises `UserError` where it is quantised already, or its batch is fixed.
    """
    properties = {entry.key: entry.value for entry in model.metadata_props}
    _refuse(model, properties.get("stored", ""), with_activations=settings.weights is None)
    model = _of_opset(model)
    named = _named(model, settings.float)
    if settings.weights:
        phases.begin("rounding")
        changed = _weights_alone(model, named)
    else:
        changed = _static(model, settings.frames, named, work)
    return described(changed, {**properties, "stored": settings.stored})


def described(model: onnx.ModelProto, properties: dict[str, str]) -> onnx.ModelProto:
    """The model itself, with this metadata alone."""
    from onnx import helper

    model.ClearField("metadata_props")
    helper.set_model_props(model, properties)
    return model


def layer_names(model: onnx.ModelProto) -> dict[str, str]:
    """The layers that could be quantised, by the names of their nodes in the user's file: the names of their weights.

    A node without a name has that of what it writes.
    """
    prefix = outputs.PREFIX
    names = {}
    for graph in onnx_graph.graphs(model.graph):
        axes = _axes(graph)
        for node in graph.node:
            if node.op_type in _HEAVY and not node.name.startswith(_OURS) and node.input[1] in axes:
                names[(node.name or node.output[0]).removeprefix(prefix)] = node.input[1].removeprefix(prefix)
    return names


def refuse_names(patterns: Sequence[str], model: onnx.ModelProto) -> None:
    """Raise `UserError` where a pattern of `float:` fits no layer of the graph, or all patterns every layer."""
    _named(model, patterns)


def _named(model: onnx.ModelProto, patterns: Sequence[str]) -> frozenset[str]:
    """The names in the graph of the nodes and weights that patterns of `float:` fit, by either name."""
    layers = layer_names(model)
    by_either = in_float.chosen(patterns, dict.fromkeys((*layers, *layers.values())))
    chosen = {name for pair in layers.items() if by_either & set(pair) for name in pair}
    if chosen and set(layers) <= chosen:
        raise in_float.nothing_left(len(layers))
    return frozenset(f"{outputs.PREFIX}{name}" for name in chosen)


def _refuse(model: onnx.ModelProto, stored: str, *, with_activations: bool) -> None:
    if stored.startswith("int"):
        raise UserError(f"quantize: the ONNX file is quantised already ({stored}); it is its own int8 variant")
    if with_activations and any(node.op_type == "Scan" for node in model.graph.node):
        raise UserError(
            "quantize: the ONNX file takes a fixed number of frames and runs in a loop, which onnxruntime's "
            "quantisation does not look into; export it with any batch, or use `quantize: {weights: int8}`"
        )


def _of_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph in an opset that can be quantised by channel; `UserError` where it can't be brought to it."""
    import onnx

    opset = next(entry for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset.version >= _LEAST_OPSET:
        return model
    try:
        converted: onnx.ModelProto = onnx.version_converter.convert_version(model, _LEAST_OPSET)
    except Exception as error:  # of a converter in C++
        raise UserError(
            f"quantize: the ONNX file is of opset {opset.version}; export it with {_LEAST_OPSET}"
        ) from error
    return converted


# ------------------------------------------------------------------------------- weights alone
def _weights_alone(model: onnx.ModelProto, named: Collection[str]) -> onnx.ModelProto:
    """The weights of layers as integers, read back as floats, but for the `named`; in place."""
    from onnx import helper, numpy_helper

    from bench.variants.steps.quantize import rounding

    for graph in onnx_graph.graphs(model.graph):
        constants = {tensor.name: tensor for tensor in graph.initializer}
        dequantised = []
        for name, axis in _axes(graph).items():
            weight = numpy_helper.to_array(constants[name])
            if weight.dtype != np.float32 or weight.size < _LEAST_WEIGHTS or name in named:
                continue
            # The channels along the first axis, in the shape of a convolution's weights.
            by_channel = np.moveaxis(weight, axis, 0)
            rounded = rounding.nearest(by_channel.reshape(len(by_channel), -1, 1, 1))
            integers = np.ascontiguousarray(np.moveaxis(rounded.integers.reshape(by_channel.shape), 0, axis))
            constants[name].CopyFrom(numpy_helper.from_array(integers, f"{name}/integers"))
            graph.initializer.append(numpy_helper.from_array(rounded.scales, f"{name}/scales"))
            inputs = [f"{name}/integers", f"{name}/scales"]
            dequantised.append(helper.make_node("DequantizeLinear", inputs, [name], name=f"{name}/floats", axis=axis))
        nodes = [*dequantised, *graph.node]
        graph.ClearField("node")
        graph.node.extend(nodes)
    return model


def _axes(graph: onnx.GraphProto) -> dict[str, int]:
    """The weights of layers, and along which of their axes the output channels lie."""
    ranks = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    axes: dict[str, int] = {}
    for node in graph.node:
        if node.op_type not in _HEAVY or node.name.startswith(_OURS) or ranks.get(node.input[1], 0) < 2:
            continue
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        first = node.op_type == "Conv" or transposed
        axes.setdefault(node.input[1], 0 if first else ranks[node.input[1]] - 1)
    return axes


# ------------------------------------------------------------------------------- activations too
def _static(model: onnx.ModelProto, most_frames: int, named: Collection[str], work: StepContext) -> onnx.ModelProto:
    """onnxruntime's static quantisation: uint8 activations by their ranges, symmetric int8 weights by channel.

    Layers whose node or weights are `named` stay in float.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from bench.variants.steps.quantize import graph_biases

    given, optimised, result = (work.scratch / name for name in ("given.onnx", "optimised.onnx", "quantised.onnx"))
    given.write_bytes(model.SerializeToString(deterministic=True))
    with tracing.quiet(), contextlib.redirect_stderr(io.StringIO()):
        quant_pre_process(str(given), str(optimised), skip_symbolic_shape=True)
        phases.begin("finding ranges")
        quantization.quantize_static(
            str(optimised),
            str(result),
            _Reader(most_frames, work),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(_HEAVY),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=_in_float(onnx.load(optimised).graph, named),
            calibrate_method=quantization.CalibrationMethod.MinMax,
            # Biases in float are exact, and what lowers the graph for this processor reads them so.
            extra_options={
                "QuantizeBias": False,
                "WeightSymmetric": True,
                # Extremes of single frames would make ranges too wide for all others.
                "CalibMovingAverage": True,
                "CalibMovingAverageConstant": _AVERAGED,
            },
        )
    quantised = onnx.load(result)
    if any(node.op_type == "QuantizeLinear" for node in quantised.graph.node):
        batches = work.batches("calibration", _BATCH, most_frames)
        graph_biases.correct(quantised, onnx.load(optimised), batches, work.threads)
    for part in (quantised.graph, *quantised.graph.node):
        part.ClearField("doc_string")
    quantised.graph.ClearField("value_info")
    _leave_products_in_float(quantised.graph)
    if not any(node.op_type == "QuantizeLinear" for node in quantised.graph.node):
        raise UserError("quantize: the ONNX file has no convolution or matrix product that could be quantised")
    return quantised


def _leave_products_in_float(graph: onnx.GraphProto) -> None:
    """Drop what rounds the output of 1x1 convolutions, where no other layer reads it so; in place.

    Their kernels write floats anyway, and each rounding that is not there is an error less.
    """
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    producers, readers = onnx_graph.producers(graph), onnx_graph.readers(graph)
    dropped, renamed = set[str](), dict[str, str]()
    for node in graph.node:
        if node.op_type != "Conv" or node.input[1] not in producers:
            continue
        rounded_to = readers.get(node.output[0], [])
        integers = readers.get(rounded_to[0].output[0], []) if len(rounded_to) == 1 else []
        kinds = [other.op_type for other in (*rounded_to, *integers)]
        weight = shapes.get(producers[node.input[1]].input[0], ())
        if kinds != ["QuantizeLinear", "DequantizeLinear"] or not onnx_graph.is_pointwise(node, weight):
            continue
        if any(reader.op_type in _HEAVY for reader in readers.get(integers[0].output[0], [])):
            continue
        dropped |= {rounded_to[0].name, integers[0].name}
        renamed[integers[0].output[0]] = node.output[0]
    nodes = [node for node in graph.node if node.name not in dropped]
    for node in nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    graph.ClearField("node")
    graph.node.extend(nodes)


def _in_float(graph: onnx.GraphProto, named: Collection[str]) -> list[str]:
    """The nodes that stay in float: ours, named ones, layers that write the scores, and products without weights.

    What onnxruntime fuses gets another name, and still reads the same weights.
    """
    ranks = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    without = {
        node.name for node in graph.node if node.op_type in _HEAVY and ranks.get(node.input[1]) != _RANKS[node.op_type]
    }
    producers = onnx_graph.producers(graph)
    ours = {node.name for node in graph.node if node.name.startswith(_OURS)}
    waiting, seen, last = [value.name for value in graph.output], set[str](), set[str]()
    while waiting:
        name = waiting.pop()
        node = producers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type in _HEAVY and node.name not in ours:
            last.add(node.name)
        else:
            waiting += node.input
    by_request = {node.name for node in graph.node if {node.name, *node.input, *node.output} & set(named)}
    return sorted(ours | last | without | by_request)


class _Reader:
    """Calibration frames one batch after the other, as onnxruntime asks for them."""

    def __init__(self, most: int, work: StepContext) -> None:
        self._batches = work.batches("calibration", _BATCH, most)
        self._total = len(work.sample_evenly("calibration", most))
        self._done = 0
        self._work = work

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch = next(self._batches, None)
        if batch is None:
            return None
        self._done += len(batch)
        self._work.progress(self._done, self._total, "frames", "finding ranges")
        return {"frames": batch}

    def __iter__(self) -> Iterator[dict[str, NDArray[np.uint8]]]:
        while (batch := self.get_next()) is not None:
            yield batch

    def __next__(self) -> dict[str, NDArray[np.uint8]]:
        batch = self.get_next()
        if batch is None:
            raise StopIteration
        return batch
