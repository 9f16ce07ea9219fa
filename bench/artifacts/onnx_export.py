"""A detector as one self-contained ONNX graph, for onnxruntime and for whoever ships it."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from bench.records import as_inputs

if TYPE_CHECKING:
    import onnx

    from bench.detectors.detector import Detector
    from bench.records import Preprocessing


def to_onnx(detector: Detector) -> onnx.ModelProto:
    """The detector as a float32 graph; half weights are upcast, the detector itself is not changed.

    Input `frames`: uint8 RGB [n, 3, size, size], any n. Outputs `logits` [n, 2] and, where the detector has one, `cam`
    [n, h, w], both float32. Everything else an inference needs is in the file's metadata:
    `architecture`, `preprocessing` (JSON), `input_size` (pixels), `classes` and `margin_bias`, so
    that `cam.mean((1, 2)) + margin_bias` is `logits[:, 1] - logits[:, 0]`; the latter is left out where that is no
    constant.

    The same weights give the same bytes: names come from the network, and nothing of the machine
    that exported them (paths, stack traces) is kept.
    """
    from bench.artifacts import graph_folding, tracing
    from bench.detectors.preprocessing import Preprocess

    network = copy.deepcopy(detector).cpu().float().eval()
    # Its constants are exact in float32 only; a detector cast as a whole has rounded them.
    network.preprocess = Preprocess(detector.preprocessing)
    weights = {name: tensor.numpy() for name, tensor in tracing.tensors(network).items()}
    model = graph_folding.filled(tracing.template(network), weights)
    _strip(model)
    _rename(model.graph)
    describe(model, detector.architecture, detector.preprocessing, detector.margin_bias)
    return model


def least_ir_version(model: onnx.ModelProto) -> int:
    """The oldest format that knows the graph's operators: 8 for opset 18, 10 for 21. Old libraries read no newer one.

    It changes nothing that is computed, so graphs that were exported with another one need not be exported again.
    """
    from onnx import helper

    # Operators of onnxruntime's own came with no version of the format.
    version: int = helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
    return version


def copy_for_old_readers(source: Path, target: Path) -> None:
    """Copy an ONNX file in the oldest format that its operators allow, with nothing in it that OpenCV 4 cannot read.

    A file that is so already keeps its bytes.
    """
    import onnx

    model = onnx.load(source)
    least = least_ir_version(model)
    if not _slice_partial_shapes(model.graph) and model.ir_version == least:
        shutil.copy2(source, target)
        return
    model.ir_version = least
    target.write_bytes(model.SerializeToString(deterministic=True))


def _slice_partial_shapes(graph: onnx.GraphProto) -> bool:
    """Write the shape of some axes as a slice of the whole shape, and tell whether there was one.

    OpenCV up to 4.14 takes it for the whole shape, and then refuses the graph.
    """
    import numpy as np
    from onnx import helper, numpy_helper

    nodes = []
    for node in graph.node:
        ends = {each.name: each.i for each in node.attribute}
        if node.op_type != "Shape" or not ends:
            nodes.append(node)
            continue
        name = node.output[0]
        bounds = {"start": ends.get("start", 0), "end": ends.get("end", np.iinfo(np.int64).max)}
        graph.initializer.extend(
            numpy_helper.from_array(np.array([value], np.int64), f"{name}.{bound}") for bound, value in bounds.items()
        )
        nodes.append(helper.make_node("Shape", node.input, [f"{name}.whole"], f"{name}.whole"))
        nodes.append(helper.make_node("Slice", [f"{name}.{part}" for part in ("whole", *bounds)], [name], name))
    changed = len(nodes) != len(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)
    return changed


def _strip(model: onnx.ModelProto) -> None:
    """Drop what only explains how the graph came about, bulky and with absolute paths; write the oldest format."""
    model.ir_version = least_ir_version(model)
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    graph.ClearField("value_info")
    graph.name = "detector"


def _rename(graph: onnx.GraphProto) -> None:
    """Name nodes after the module whose weight they use (else type and index), tensors after their node.

    Of several that use one weight the first is called after its module.
    """
    fixed = {value.name: value.name for value in (*graph.input, *graph.output)} | {"": ""}
    constants = {constant.name: constant for constant in graph.initializer}
    tensors, modules = dict(fixed), set[str]()
    for index, node in enumerate(graph.node):
        weight = next((name for name in node.input[1:] if name.endswith(".weight")), "")
        module = weight.removesuffix(".weight")
        node.name = module if module and module not in modules else f"{node.op_type}_{index}"
        modules.add(module)
        for position, name in enumerate(node.input):
            if name in constants and name not in tensors:
                tensors[name] = name if name.endswith(".weight") else f"{node.name}.{_role(node, position)}"
        for position, output in enumerate(node.output):
            tensors.setdefault(output, f"{node.name}.output{position}" if position else node.name)
        node.input[:] = [tensors[name] for name in node.input]
        node.output[:] = [tensors[name] for name in node.output]
    for name, constant in constants.items():
        constant.name = tensors[name]


def _role(node: onnx.NodeProto, position: int) -> str:
    return {1: "weight", 2: "bias"}[position] if node.op_type in ("Conv", "Gemm") else f"constant{position}"


def describe(
    model: onnx.ModelProto, architecture: str, preprocessing: Preprocessing, margin_bias: float | None
) -> None:
    """Write what an inference needs beside the graph into its metadata."""
    from onnx import helper

    facts = {
        "architecture": architecture,
        "classes": "real,fake",
        "input_size": str(preprocessing.size),
        "margin_bias": None if margin_bias is None else repr(margin_bias),
        "preprocessing": json.dumps(as_inputs(preprocessing), sort_keys=True),
    }
    helper.set_model_props(model, {key: fact for key, fact in facts.items() if fact is not None})
