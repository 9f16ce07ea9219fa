"""What the parts of an ONNX artifact write, as further outputs of its own graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.artifacts.onnx_session import session_options
from bench.artifacts.stage_tensors import stage_tensors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.records import Built

RUNTIME = "the artifact's own graph"


class Activations:
    """An artifact's graph with what its parts write among its outputs. `stages` are those of which that is known."""

    def __init__(self, session: Any, tensors: Mapping[str, str]) -> None:
        self._session, self._tensors = session, tensors
        self.stages = tuple(tensors)

    def of(self, frame: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """By the name of the part, of a frame, uint8 RGB [3, size, size]: each [1, C, h, w]."""
        names = list(dict.fromkeys(self._tensors.values()))
        by_tensor = dict(zip(names, self._session.run(names, {"frames": frame[None]}), strict=True))
        return {stage: by_tensor[tensor] for stage, tensor in self._tensors.items()}


def load(built: Built, stages: Sequence[str], threads: int) -> Activations | None:
    """The graph of an ONNX artifact, on the CPU; None where its nodes' names tell no part of the network."""
    import onnx
    import onnxruntime

    model = onnx.load(built.file)
    tensors = stage_tensors(model.graph, stages)
    if not tensors:
        return None
    present = {output.name for output in model.graph.output}
    for tensor in dict.fromkeys(tensors.values()):
        if tensor not in present:
            model.graph.output.append(onnx.ValueInfoProto(name=tensor))
    options = session_options(threads, floats=built.weights_only)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Activations(session, tensors)
