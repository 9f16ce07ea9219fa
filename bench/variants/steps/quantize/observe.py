"""The convolutions and linear layers of a detector's exported graph, and what calibration frames put into them.

Statistics are of channels, and added up batch by batch: no activation outlives its batch.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from bench import phases
from bench.artifacts import open_shapes
from bench.artifacts.onnx_export import to_onnx
from bench.artifacts.onnx_graph import Limits, bias_additions, groups, is_pointwise, shapes
from bench.artifacts.onnx_session import session_options
from bench.detectors.layer_names import is_in_backbone
from bench.errors import UserError
from bench.variants.steps.quantize.behind_limits import with_limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector
    from bench.variants.checkpoints import State
    from bench.variants.steps import StepContext

_AXES_OF_MAP = 4
_REDUCTIONS = ("ReduceMin", "ReduceMax", "ReduceMean", "ReduceL2")
# Tokens [n, T, C], and maps that lie channels-last.
_AXES_OF_LINEAR = (3, 4)


@dataclass(frozen=True)
class Convolution:
    """A convolution of the backbone. `name` is its module's, `weight` float [out, in / groups, k, k], `bias` [out].

    The batch norm is folded into both. `input` and `output` are the names of the tensors that it reads and writes.
    `gate` is the name of the tensor [n, in, 1, 1] that scales its input channel by channel, where the product of the
    two is made for this convolution alone. `linear`: it is a linear layer over the last axis, whose input has as many
    `axes`, and its gate is the layer norm that writes the input. `behind`: its input is what these limits, as of
    ReLU6, leave of the output of another convolution, `behind_layer`, for this one alone; that other one is
    `before_limits`, and rounding the input rounds its output.
    """

    name: str
    input: str
    output: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    groups: int
    pointwise: bool
    gate: str | None
    linear: bool = False
    axes: int = 4
    behind: Limits | None = None
    behind_layer: str | None = None
    before_limits: bool = False

    @property
    def writes_floats(self) -> bool:
        """Whether its output needs no rounding of its own: a matrix product, or what the next convolution rounds."""
        return self.pointwise or self.before_limits

    @property
    def takes_floats(self) -> bool:
        """Whether its weights alone are rounded: it is a depthwise convolution, and what it reads is no bytes yet.

        It multiplies so little for every value that the ways into bytes and back cost more than integers save.
        """
        is_depthwise = self.groups == len(self.weight) > 1 and self.weight.shape[1] == 1
        return is_depthwise and self.behind is None

    @property
    def position_axes(self) -> tuple[int, ...]:
        """The axes of its input along which it is applied again and again."""
        return tuple(range(1, self.axes - 1)) if self.linear else (2, 3)

    def along_channels(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Numbers of channels [channels], to be multiplied with the tensor that has these."""
        return values if self.linear else values.reshape(1, -1, 1, 1)

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


@dataclass(frozen=True)
class ChannelStatistics:
    """A tensor over the calibration frames: extremes [frames, channels], mean and mean square [channels]."""

    lowest: NDArray[np.float32]
    highest: NDArray[np.float32]
    mean: NDArray[np.float64]
    mean_square: NDArray[np.float64]

    def is_finite(self) -> bool:
        """Whether all of it is."""
        return all(np.isfinite(numbers).all() for numbers in (self.lowest, self.highest, self.mean, self.mean_square))


def exported(model: Detector, work: StepContext) -> onnx.ModelProto:
    """The detector as a float graph with inferred shapes. It is a checkpoint, since a large export takes long."""
    phases.begin("exporting to ONNX")
    part = work.part("exporting")
    if part.state:
        saved: onnx.ModelProto = onnx.ModelProto.FromString(part.state["graph"].numpy().tobytes())
        return saved
    graph = open_shapes.inferred(to_onnx(model), work.threads)
    text = np.frombuffer(graph.SerializeToString(), np.uint8)
    part.keep(1, 1, lambda: {"graph": torch.from_numpy(text.copy())})
    return graph


def convolutions(model: onnx.ModelProto) -> list[Convolution]:
    """The backbone's convolutions and linear layers, in the order in which they run. `model` holds inferred shapes.

    A linear layer over one vector a frame is left out: it is small, and has no positions to be observed at. So are
    convolutions along a single axis, as of channel attention (ECA): they have hardly any weights. So is what reads
    constants, or has frames on another axis than the first, since it can't be observed frame by frame.
    """
    constants = {constant.name: constant for constant in model.graph.initializer}
    gates, norms, sides = _gates(model.graph), _norms(model.graph), shapes(model.graph)
    biases = bias_additions(model.graph)

    def floats(name: str) -> NDArray[np.float32]:
        return np.array(numpy_helper.to_array(constants[name]))

    backbone = []
    for node in model.graph.node:
        if not is_in_backbone(node.name):
            continue
        read, written = node.input[0], node.output[0]
        if not _is_frame_by_frame(sides.get(read, [])):
            continue
        if node.op_type == "Conv":
            weight = floats(node.input[1])
            if weight.ndim != _AXES_OF_MAP:
                continue
            bias = floats(node.input[2]) if len(node.input) > 2 else np.zeros(len(weight), np.float32)
            pointwise, gate = is_pointwise(node, weight.shape), gates.get(read)
            backbone.append(Convolution(node.name, read, written, weight, bias, groups(node), pointwise, gate))
        elif node.op_type == "MatMul" and node.input[1] in constants and len(sides[read]) in _AXES_OF_LINEAR:
            weight = np.ascontiguousarray(floats(node.input[1]).T)[:, :, None, None]
            bias = floats(biases[written][1]) if written in biases else np.zeros(len(weight), np.float32)
            axes = len(sides[read])
            backbone.append(Convolution(node.name, read, written, weight, bias, 1, True, norms.get(read), True, axes))
    return with_limits(model.graph, backbone)


def _is_frame_by_frame(sides: Sequence[int]) -> bool:
    """Whether a tensor's first axis follows the number of frames, and no other; `sides` are as `shapes` gives them."""
    return bool(sides) and sides[0] == 0 and all(sides[1:])


def _norms(graph: onnx.GraphProto) -> dict[str, str]:
    """For each output of a layer norm that is read once: the name of that norm's node."""
    readers = Counter(name for node in graph.node for name in node.input)
    written = {node.output[0]: node.name for node in graph.node if node.op_type == "LayerNormalization"}
    return {output: name for output, name in written.items() if readers[output] == 1}


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


def observe(
    model: onnx.ModelProto, tensors: Mapping[str, tuple[int, ...]], frames: int, work: StepContext, threads: int
) -> dict[str, ChannelStatistics]:
    """By tensor, the statistics of its channels over at most `frames` calibration frames.

    `tensors` has the axes of each tensor along which channels are repeated. The float graph `model` runs, and the
    reductions run inside it. Raises `UserError` where values are not finite.
    """
    phases.begin("preparing calibration")
    observed = _with_reductions(model, tensors).SerializeToString()
    session = onnxruntime.InferenceSession(observed, session_options(threads), providers=["CPUExecutionProvider"])
    names = [f"{tensor}/{reduction}" for reduction in _REDUCTIONS for tensor in tensors]
    total, part = len(work.sample_evenly("calibration", frames)), work.part("calibrating")
    sums = {tensor: _Sums(total, part.state[tensor] if part.done else None) for tensor in tensors}

    def run(batch: NDArray[np.uint8], first: int) -> None:
        reduced = session.run(names, {"frames": batch})
        for index, tensor in enumerate(tensors):
            sums[tensor].add(first, len(batch), reduced[index :: len(tensors)])

    def state() -> State:
        return {tensor: of_tensor.state() for tensor, of_tensor in sums.items()}

    work.calibrate(part, frames, "calibrating", run, state)
    sides = shapes(model.graph)
    positions = {tensor: math.prod(sides[tensor][axis] for axis in axes) for tensor, axes in tensors.items()}
    statistics = {tensor: of_tensor.statistics(positions[tensor]) for tensor, of_tensor in sums.items()}
    broken = next((tensor for tensor, of_tensor in statistics.items() if not of_tensor.is_finite()), None)
    if broken:
        raise UserError(
            f"quantize: on calibration frames the network computes values in {broken} that are not finite, so there "
            "is no range to find; check the weights, and the frames that the detector was made for"
        )
    return statistics


class _Sums:
    """The statistics of one tensor so far. The arrays are made once, for all frames: many small ones would fragment
    the memory.
    """

    def __init__(self, frames: int, state: list[Any] | None) -> None:
        self.frames = frames
        self.extremes: NDArray[np.float32] | None = None
        if state:
            self.extremes, self.mean, self.square = (tensor.numpy() for tensor in state)

    def state(self) -> list[Any]:
        """What a checkpoint stores; `__init__` takes it back."""
        return [torch.from_numpy(numbers) for numbers in (self.extremes, self.mean, self.square)]

    def add(self, first: int, count: int, reduced: Sequence[NDArray[np.float32]]) -> None:
        """Add the reductions of a batch of `count` frames that begins at `first`, in the order of `_REDUCTIONS`.

        Each is [count, channels], or [parts * count, channels] where the network puts windows or patches of a frame
        among the frames.
        """
        lowest, highest, mean, norm = reduced
        if (parts := len(lowest) // count) > 1:
            lowest, highest, mean, norm = (values.reshape(count, parts, -1) for values in reduced)
            lowest, highest, mean, norm = lowest.min(1), highest.max(1), mean.mean(1), (norm**2).mean(1) ** 0.5
        if self.extremes is None:
            self.extremes = np.empty((2, self.frames, lowest.shape[1]), np.float32)
            self.mean, self.square = np.zeros(lowest.shape[1]), np.zeros(lowest.shape[1])
        self.extremes[:, first : first + len(lowest)] = lowest, highest
        self.mean += mean.sum(0, dtype=np.float64) / self.frames
        self.square += np.square(norm, dtype=np.float64).sum(0) / self.frames

    def statistics(self, positions: int) -> ChannelStatistics:
        """The statistics of the frames so far, each with so many positions."""
        assert self.extremes is not None
        return ChannelStatistics(self.extremes[0], self.extremes[1], self.mean, self.square / positions)


def _with_reductions(model: onnx.ModelProto, tensors: Mapping[str, tuple[int, ...]]) -> onnx.ModelProto:
    """The graph with the reductions of every tensor as its only outputs, each [n, channels]."""
    observed = copy.deepcopy(model)
    graph = observed.graph
    del graph.output[:]
    sides = {axes: f"sides_{'_'.join(map(str, axes))}" for axes in dict.fromkeys(tensors.values())}
    for axes, name in sides.items():
        graph.initializer.append(numpy_helper.from_array(np.array(axes, dtype=np.int64), name))
    for tensor, axes in tensors.items():
        for reduction in _REDUCTIONS:
            name = f"{tensor}/{reduction}"
            graph.node.append(helper.make_node(reduction, [tensor, sides[axes]], [name], name=name, keepdims=0))
            graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", None]))
    return observed
