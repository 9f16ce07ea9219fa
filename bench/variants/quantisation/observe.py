"""What the calibration frames put into every convolution: statistics by channel, streamed in constant memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import UserError
from bench.variants.compensation import batch_size

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from bench.variants.steps import Work


@dataclass(frozen=True)
class Channels:
    """A tensor's statistics over the calibration frames: each [frames, channels]. `norm` is that of `places` values."""

    places: int
    lowest: NDArray[np.float32]
    highest: NDArray[np.float32]
    mean: NDArray[np.float32]
    norm: NDArray[np.float32]

    @property
    def mean_square(self) -> NDArray[np.float64]:
        """By channel, over all frames and places: [channels]."""
        import numpy as np

        squares: NDArray[np.float64] = np.square(self.norm, dtype=np.float64).mean(0) / self.places
        return squares


def observe(model: onnx.ModelProto, tensors: Sequence[str], frames: int, work: Work) -> dict[str, Channels]:
    """Run at most `frames` calibration frames through the float graph, and keep what each tensor held.

    The extremes are taken inside the graph, so that no activation outlives its batch.
    """
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = work.threads
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    told = _telling(model, tensors).SerializeToString()
    session = onnxruntime.InferenceSession(told, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    total, done = len(work.spread("calibration", frames)), 0
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    for batch in work.batches("calibration", batch_size(work.spec.size), frames):
        for name, value in zip(names, session.run(names, {"frames": batch}), strict=True):
            found[name].append(value)
        done += len(batch)
        work.progress(done, total, "frames", "calibrating")
    whole = {name: np.concatenate(parts) for name, parts in found.items()}
    broken = next((name for name, values in whole.items() if not np.isfinite(values).all()), None)
    if broken:
        raise UserError(
            f"quantize: on calibration frames the network computes values in {broken.rpartition('/')[0]} that are not "
            "finite, so there is no range to find; check the weights, and the frames that the detector was made for"
        )
    places = _places(model)
    return {
        tensor: Channels(places[tensor], *(whole[f"{tensor}/{reduce}"] for reduce in _REDUCE)) for tensor in tensors
    }


# In the order of the fields of `Channels`, after the first.
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
