"""Which convolutions read what limits, as of ReLU6, leave of another's output: those two share one rounding.

Integer kernels write the bytes that the second convolution reads, and rounding to these implies the limits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from onnx import numpy_helper

from bench.artifacts.onnx_graph import limits

if TYPE_CHECKING:
    import onnx

    from bench.variants.steps.quantize.observe import Convolution


def with_limits(graph: onnx.GraphProto, layers: Sequence[Convolution]) -> list[Convolution]:
    """The same layers, with `behind` and `before_limits` of those between which limits from 0 on lie alone."""
    constants = {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer if not constant.dims}
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(value.name for value in graph.output)
    writers = {layer.output: layer.name for layer in layers if not layer.linear}
    before = {}
    for node in graph.node:
        read, written = next(iter(node.input), ""), node.output[0]
        between = limits(node, constants) if read in writers and readers[read] == 1 == readers[written] else None
        if between is not None and between.lowest == 0:
            before[written] = (read, between)
    behind = {layer.input for layer in layers if not layer.linear and layer.input in before}
    rounded_behind = {before[name][0] for name in behind}
    return [
        replace(
            layer,
            behind=before[layer.input][1] if layer.input in behind else None,
            behind_layer=writers[before[layer.input][0]] if layer.input in behind else None,
            before_limits=layer.output in rounded_behind,
        )
        for layer in layers
    ]
