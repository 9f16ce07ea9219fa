"""What the calibration frames put into every convolution: statistics of each channel, added up batch by batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from bench import phases
from bench.artifacts.onnx_graph import shapes
from bench.errors import UserError

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from bench.variants.checkpoints import State
    from bench.variants.steps import StepContext

_REDUCTIONS = ("ReduceMin", "ReduceMax", "ReduceMean", "ReduceL2")


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


def observe(
    model: onnx.ModelProto, tensors: Sequence[str], frames: int, work: StepContext, threads: int
) -> dict[str, ChannelStatistics]:
    """By tensor, the statistics of its channels over at most `frames` calibration frames.

    The float graph `model` runs, and the reductions run inside it, so that no activation outlives its batch.
    Raises `UserError` where values are not finite.
    """
    phases.begin("preparing calibration")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    observed = _with_reductions(model, tensors).SerializeToString()
    session = onnxruntime.InferenceSession(observed, options, providers=["CPUExecutionProvider"])
    names = [f"{tensor}/{reduction}" for reduction in _REDUCTIONS for tensor in tensors]
    total, part = len(work.sample_evenly("calibration", frames)), work.part("calibrating")
    sums = {tensor: _Sums(total, part.state[tensor] if part.done else None) for tensor in tensors}

    def run(batch: NDArray[np.uint8], first: int) -> None:
        reduced = session.run(names, {"frames": batch})
        for index, tensor in enumerate(tensors):
            sums[tensor].add(first, reduced[index :: len(tensors)])

    def state() -> State:
        return {tensor: of_tensor.state() for tensor, of_tensor in sums.items()}

    work.calibrate(part, frames, "calibrating", run, state)
    sides = shapes(model.graph)
    statistics = {tensor: of_tensor.statistics(*sides[tensor][2:]) for tensor, of_tensor in sums.items()}
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

    def add(self, first: int, reduced: Sequence[NDArray[np.float32]]) -> None:
        """Add the reductions [n, channels] of a batch that begins at frame `first`, in the order of `_REDUCTIONS`."""
        lowest, highest, mean, norm = reduced
        if self.extremes is None:
            self.extremes = np.empty((2, self.frames, lowest.shape[1]), np.float32)
            self.mean, self.square = np.zeros(lowest.shape[1]), np.zeros(lowest.shape[1])
        self.extremes[:, first : first + len(lowest)] = lowest, highest
        self.mean += mean.sum(0, dtype=np.float64) / self.frames
        self.square += np.square(norm, dtype=np.float64).sum(0) / self.frames

    def statistics(self, height: int, width: int) -> ChannelStatistics:
        """The statistics of the frames so far, of maps [height, width]."""
        assert self.extremes is not None
        return ChannelStatistics(self.extremes[0], self.extremes[1], self.mean, self.square / (height * width))


def _with_reductions(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """The graph with the reductions of every tensor as its only outputs, each [n, channels]."""
    observed = copy.deepcopy(model)
    graph = observed.graph
    del graph.output[:]
    graph.initializer.append(numpy_helper.from_array(np.array([2, 3], dtype=np.int64), "sides"))
    for tensor in tensors:
        for reduction in _REDUCTIONS:
            name = f"{tensor}/{reduction}"
            graph.node.append(helper.make_node(reduction, [tensor, "sides"], [name], name=name, keepdims=0))
            graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", None]))
    return observed
