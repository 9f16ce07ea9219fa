"""What the calibration frames put into every convolution: statistics by channel, streamed batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.artifacts.onnx_session import session_options
from bench.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from bench.variants.steps import StepContext


@dataclass(frozen=True)
class Channels:
    """A tensor's values over the calibration frames: extremes [frames, channels], mean and mean square [channels]."""

    lowest: NDArray[np.float32]
    highest: NDArray[np.float32]
    mean: NDArray[np.float64]
    mean_square: NDArray[np.float64]


def observe(
    model: onnx.ModelProto, tensors: Sequence[str], frames: int, work: StepContext, threads: int
) -> dict[str, Channels]:
    """Run at most `frames` calibration frames through the float graph, and keep what each tensor held.

    The extremes are taken inside the graph, so that no activation outlives its batch.
    """
    import onnxruntime

    options = session_options(threads)
    told = _telling(model, tensors).SerializeToString()
    session = onnxruntime.InferenceSession(told, options, providers=["CPUExecutionProvider"])
    names = [f"{tensor}/{reduce}" for reduce in _REDUCE for tensor in tensors]
    total, part = len(work.sample_evenly("calibration", frames)), work.part("calibrating")
    seen = {tensor: _Seen(total, part.state[tensor] if part.done else None) for tensor in tensors}

    def run(batch: NDArray[np.uint8], first: int) -> None:
        values = session.run(names, {"frames": batch})
        for place, tensor in enumerate(tensors):
            seen[tensor].add(first, values[place :: len(tensors)])

    work.calibrate(part, frames, "calibrating", run, lambda: {name: one.state() for name, one in seen.items()})
    places = _places(model)
    found = {tensor: one.channels(places[tensor]) for tensor, one in seen.items()}
    broken = next((tensor for tensor, one in found.items() if not _is_finite(one)), None)
    if broken:
        raise UserError(
            f"quantize: on calibration frames the network computes values in {broken} that are not finite, so there "
            "is no range to find; check the weights, and the frames that the detector was made for"
        )
    return found


class _Seen:
    """What one tensor held so far. Made once for all frames: many small arrays would tear the memory to pieces."""

    def __init__(self, frames: int, state: list[Any] | None) -> None:
        self.frames = frames
        self.extremes: NDArray[np.float32] | None = None
        if state:
            self.extremes, self.mean, self.square = (tensor.numpy() for tensor in state)

    def state(self) -> list[Any]:
        import torch

        return [torch.from_numpy(values) for values in (self.extremes, self.mean, self.square)]

    def add(self, first: int, values: Sequence[NDArray[np.float32]]) -> None:
        """The reductions [n, channels] of a batch that begins at frame `first`, in the order of `_REDUCE`."""
        import numpy as np

        lowest, highest, mean, norm = values
        if self.extremes is None:
            self.extremes = np.empty((2, self.frames, lowest.shape[1]), np.float32)
            self.mean, self.square = np.zeros(lowest.shape[1]), np.zeros(lowest.shape[1])
        self.extremes[:, first : first + len(lowest)] = lowest, highest
        self.mean += mean.sum(0, dtype=np.float64) / self.frames
        self.square += np.square(norm, dtype=np.float64).sum(0) / self.frames

    def channels(self, places: int) -> Channels:
        assert self.extremes is not None
        return Channels(self.extremes[0], self.extremes[1], self.mean, self.square / places)


def _is_finite(channels: Channels) -> bool:
    import numpy as np

    kept = (channels.lowest, channels.highest, channels.mean, channels.mean_square)
    return all(np.isfinite(values).all() for values in kept)


_REDUCE = ("ReduceMin", "ReduceMax", "ReduceMean", "ReduceL2")


def _places(model: onnx.ModelProto) -> dict[str, int]:
    """Height times width of every map, from the inferred shapes."""
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*model.graph.value_info, *model.graph.input)}
    return {name: sides[2].dim_value * sides[3].dim_value for name, sides in shapes.items() if len(sides) == 4}


def _telling(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """The graph with the statistics of every tensor as its only outputs."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    told = onnx.ModelProto()
    told.CopyFrom(model)
    graph = told.graph
    del graph.output[:]
    graph.initializer.append(numpy_helper.from_array(np.array([2, 3], dtype=np.int64), "sides"))
    for tensor in tensors:
        for reduce in _REDUCE:
            name = f"{tensor}/{reduce}"
            graph.node.append(helper.make_node(reduce, [tensor, "sides"], [name], name=name, keepdims=0))
            graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", None]))
    return told
