"""A quantised artifact as it is, and without the limits of its integers, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.artifacts.onnx_files import onnx_file
from bench.artifacts.onnx_session import session_options
from bench.artifacts.unclipped import Layer, unclipped

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.records import Built


class ClippingSession:
    """An artifact's own graph, computed in floats between its integers, and the same with wide integers.

    `layers` are the names of its quantised activations.
    """

    def __init__(self, limited: Any, free: Any, layers: Mapping[str, Layer]) -> None:
        self._limited, self._free, self._layers = limited, free, dict(layers)
        self.layers = tuple(layer.name for layer in layers.values())

    def limited(self, frame: NDArray[np.uint8]) -> float:
        """The logit difference of a frame [3, H, W] as the artifact says it."""
        (logits,) = self._limited.run(["logits"], {"frames": frame[None]})
        return _logit_diff(logits)

    def free(self, frame: NDArray[np.uint8]) -> tuple[float, NDArray[np.float64]]:
        """The same, had integers no limits, and the share of values of each layer that lie outside them [layers]."""
        import numpy as np

        logits, *integers = self._free.run(["logits", *self._layers], {"frames": frame[None]})
        shares = [_share(values, layer) for values, layer in zip(integers, self._layers.values(), strict=True)]
        return _logit_diff(logits), np.array(shares)


def load_clipping(built: Built, threads: int) -> ClippingSession | None:
    """The session of an artifact; None where no activation has a fixed range.

    Raises `UnreadableRangesError` as `unclipped` does.
    """
    import onnx
    import onnxruntime

    model = onnx.load(onnx_file(built))
    wide = unclipped(model)
    if wide is None:
        return None

    def opened(graph: onnx.ModelProto) -> Any:
        content, options = graph.SerializeToString(), session_options(threads, floats=True)
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    return ClippingSession(opened(model), opened(wide.model), wide.layers)


def _logit_diff(logits: NDArray[np.float32]) -> float:
    return float(logits[0, 1]) - float(logits[0, 0])


def _share(integers: NDArray[np.int16], layer: Layer) -> float:
    """The share of wide integers that lie outside a layer's own limits."""
    import numpy as np

    # Below the lowest, the difference has become a large unsigned number.
    above = (integers - np.int16(layer.lowest)).view(np.uint16)
    return float(np.count_nonzero(above > layer.highest - layer.lowest)) / max(integers.size, 1)
