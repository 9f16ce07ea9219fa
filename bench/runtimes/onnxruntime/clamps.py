"""Limits such as those of ReLU6 in a quantised graph: mostly rounding to bytes implies them, else a table sets them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.artifacts.onnx_graph import Limits, limits

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from bench.runtimes.onnxruntime.layouts import LayoutWriter

_LARGEST = 255
_CONTRIB = "com.microsoft"


@dataclass(frozen=True)
class WayToBytes:
    """What alone reads a layer's output until that is bytes: `nodes`, the last of which is QuantizeLinear.

    `factors` [out] or [1] is what the output is multiplied with before.
    """

    nodes: Sequence[onnx.NodeProto]
    factors: NDArray[np.floating]


def until_bytes(graph: LayoutWriter, node: onnx.NodeProto) -> WayToBytes | None:
    """The way of a layer's output to bytes, through positive factors, and limits that rounding to bytes implies."""
    nodes: list[onnx.NodeProto] = []
    factors: NDArray[np.floating] = np.ones(1)
    ends = Limits(-math.inf, math.inf)
    after = _sole_reader(graph, node)
    if after is not None and (limited := limits(after, graph.constants)) is not None:
        nodes, ends, after = [after], limited, _sole_reader(graph, after)
    if after is not None and (scaled := _factors(graph, after)) is not None:
        nodes, factors, after = [*nodes, after], scaled, _sole_reader(graph, after)
    if after is None or after.op_type != "QuantizeLinear":
        return None
    if nodes and not _has_bytes(graph, after, "QuantizeLinear"):
        return None
    below = _rounded(ends.lowest * factors, graph, after) <= 0 if ends.lowest > -math.inf else np.ones(1)
    above = _rounded(ends.highest * factors, graph, after) >= _LARGEST if ends.highest < math.inf else np.ones(1)
    return WayToBytes((*nodes, after), factors) if below.all() and above.all() else None


def _factors(graph: LayoutWriter, product: onnx.NodeProto) -> NDArray[np.floating] | None:
    """The constants, all positive, that a node multiplies the channels of a map with [channels]."""
    constants = [graph.constants[name] for name in product.input if name in graph.constants]
    if product.op_type != "Mul" or len(constants) != 1:
        return None
    values = constants[0]
    of_channels = values.ndim == len(("n", "channels", "h", "w")) and values.size == values.shape[1]
    return values.reshape(-1).astype(np.float64) if of_channels and (values > 0).all() else None


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
    implied = ends.highest == math.inf or _rounded(ends.highest * np.ones(1), graph, after) >= _LARGEST
    return (clamp, after) if implied else ()


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
    if node.op_type != kind or len(node.input) < 3 or not {*node.input[1:]} <= graph.constants.keys():
        return False
    scale, zero_point = (graph.constants[name] for name in node.input[1:3])
    return scale.size == 1 and zero_point.dtype == np.uint8


def _rounded(values: NDArray[np.floating], graph: LayoutWriter, quantised: onnx.NodeProto) -> NDArray[np.floating]:
    """The integers that a QuantizeLinear makes of values, before they are cut off to bytes."""
    scale, zero_point = (graph.constants[name].item() for name in quantised.input[1:3])
    rounded: NDArray[np.floating] = np.rint(values.astype(np.float32) / np.float32(scale)) + float(zero_point)
    return rounded
