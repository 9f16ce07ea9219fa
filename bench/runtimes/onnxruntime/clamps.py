"""Limits such as those of ReLU6 in a quantised graph: mostly rounding to bytes implies them, else a table sets them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from bench.runtimes.onnxruntime.layouts import LayoutWriter

_LARGEST = 255
_CONTRIB = "com.microsoft"


@dataclass(frozen=True)
class Limits:
    """What a value is cut off at: ReLU6 has 0 and 6, ReLU 0 and infinity."""

    lowest: float
    highest: float


def limits(node: onnx.NodeProto, constants: Mapping[str, NDArray[Any]]) -> Limits | None:
    """The limits of a Relu, or of a Clip whose limits are constant; None for other nodes."""
    if node.op_type == "Relu":
        return Limits(0.0, math.inf)
    if node.op_type != "Clip" or node.attribute:
        return None
    lowest, highest = [*node.input[1:], "", ""][:2]
    if any(name and name not in constants for name in (lowest, highest)):
        return None
    return Limits(
        float(constants[lowest].item()) if lowest else -math.inf,
        float(constants[highest].item()) if highest else math.inf,
    )


def until_bytes(graph: LayoutWriter, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
    """The QuantizeLinear that alone reads what a node writes, or limits and the QuantizeLinear that implies both.

    Nothing where there is no such.
    """
    after = _sole_reader(graph, node)
    if after is None or after.op_type == "QuantizeLinear":
        return (after,) if after is not None else ()
    ends, quantised = limits(after, graph.constants), _sole_reader(graph, after)
    if ends is None or quantised is None or not _has_bytes(graph, quantised, "QuantizeLinear"):
        return ()
    implied = _rounded(ends.lowest, graph, quantised) <= 0 and _rounded(ends.highest, graph, quantised) >= _LARGEST
    return (after, quantised) if implied else ()


def between_bytes(graph: LayoutWriter, dequantised: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
    """The limits and the QuantizeLinear behind a DequantizeLinear, where a table from bytes to bytes does all three.

    That is where the lower limit is 0, and rounding implies the upper one. Nothing elsewhere.
    """
    clamp = _sole_reader(graph, dequantised)
    ends = limits(clamp, graph.constants) if clamp is not None else None
    after = _sole_reader(graph, clamp) if clamp is not None else None
    if after is None or clamp is None or ends is None or ends.lowest != 0:
        return ()
    if not _has_bytes(graph, dequantised, "DequantizeLinear") or not _has_bytes(graph, after, "QuantizeLinear"):
        return ()
    return (clamp, after) if _rounded(ends.highest, graph, after) >= _LARGEST else ()


def write(graph: LayoutWriter, dequantised: onnx.NodeProto, after: onnx.NodeProto) -> None:
    """Write the table: a leaky ReLU that leaks nothing, which onnxruntime computes of bytes by looking them up."""
    read, written = dequantised.input[0], after.output[0]
    scales = [*dequantised.input[1:3], *after.input[1:3]]
    if read in graph.last:
        name, inputs = f"{written}/last", [graph.last[read], *scales]
        graph.last[written] = graph.numbered("QLinearLeakyRelu", inputs, name, _CONTRIB, alpha=0.0)
    else:
        inputs = [graph.channels_first(read), *scales]
        graph.first[written] = graph.numbered("QLinearLeakyRelu", inputs, written, _CONTRIB, alpha=0.0)


def _sole_reader(graph: LayoutWriter, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """The node that alone reads what a node writes; None where several do, or the graph gives it out."""
    readers = graph.readers.get(node.output[0], [])
    return readers[0] if len(readers) == 1 and graph.uses[node.output[0]] == 1 else None


def _has_bytes(graph: LayoutWriter, node: onnx.NodeProto, kind: str) -> bool:
    """Whether it is a node of this kind that writes, or reads, unsigned bytes with a single constant scale."""
    import numpy as np

    if node.op_type != kind or len(node.input) < 3 or not {*node.input[1:]} <= graph.constants.keys():
        return False
    scale, zero_point = (graph.constants[name] for name in node.input[1:3])
    return scale.size == 1 and zero_point.dtype == np.uint8


def _rounded(value: float, graph: LayoutWriter, quantised: onnx.NodeProto) -> float:
    """The integer that a QuantizeLinear makes of a value, before it is cut off to a byte."""
    import numpy as np

    scale, zero_point = (graph.constants[name].item() for name in quantised.input[1:3])
    return float(np.rint(np.float32(value) / np.float32(scale))) + float(zero_point)
