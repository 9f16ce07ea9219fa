"""Which tensors of an ONNX graph hold what the parts of its network write, as far as the names of its nodes tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bench.artifacts.onnx_graph import HEAVY, producers

if TYPE_CHECKING:
    import onnx

_ROUNDING = ("QuantizeLinear", "DequantizeLinear")
_SCALED = ".scaled"


def stage_tensors(graph: onnx.GraphProto, stages: Sequence[str]) -> dict[str, str]:
    """The tensor that each part of a chain writes, by the part's name; without those that can't be told.

    `stages` are the names of successive parts, as `Detector.stages` has them. Nodes with weights are called after the
    layer that they are. So a part writes what the first layer behind it reads; where that is another layer's part
    without weights (an activation, a folded batch norm), a part that is one layer writes that layer's output.
    """
    writers = producers(graph)
    first: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        if (stage := next((name for name in stages if _is_below(node.name, name)), None)) and node.op_type in HEAVY:
            first.setdefault(stage, node)
    if not first:
        return {}
    tensors = {}
    features = _features(graph, writers)
    for index, stage in enumerate(stages):
        behind = next((first[name] for name in stages[index + 1 :] if name in first), None)
        is_followed = index + 1 < len(stages) and stages[index + 1] not in first
        if stage in first and is_followed and first[stage].name == stage:
            # Where its output is scaled back, that is what is called after the layer.
            tensors[stage] = stage if stage in writers else first[stage].output[0]
        elif is_followed:
            continue  # its own end and that of the part behind it can't be told apart
        elif behind is not None:
            tensors[stage] = _before_rounding(behind.input[0], writers)
        elif features:
            tensors[stage] = features
    return tensors


def _is_below(node: str, stage: str) -> bool:
    return node == stage or node.startswith(f"{stage}.")


def _before_rounding(tensor: str, writers: dict[str, onnx.NodeProto]) -> str:
    """The tensor that was rounded to integers, and scaled before that, to give this one."""
    while (node := writers.get(tensor)) is not None and (node.op_type in _ROUNDING or node.name.endswith(_SCALED)):
        tensor = node.input[0]
    return tensor


def _features(graph: onnx.GraphProto, writers: dict[str, onnx.NodeProto]) -> str:
    """The map that the head averages over positions; empty where there is none, or it can't be told."""
    for node in _upstream("logits", writers):
        if node.op_type in ("ReduceMean", "GlobalAveragePool"):
            return _before_rounding(node.input[0], writers)
    return ""


def _upstream(tensor: str, writers: dict[str, onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The node that writes a tensor, the one that writes the first input of that, and so on."""
    while (node := writers.get(tensor)) is not None:
        yield node
        tensor = node.input[0] if node.input else ""
