"""A detector as one self-contained ONNX graph, for onnxruntime and for whoever ships it."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import json
import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

    from bench.detectors.detector import Detector

# The oldest opset the exporter writes by itself; any onnxruntime since 1.14 reads it.
OPSET = 18


def to_onnx(detector: Detector) -> onnx.ModelProto:
    """The detector as a float32 graph; half weights are upcast, the detector itself is not changed.

    Input `frames`: uint8 RGB [n, 3, size, size], any n. Outputs `logits` [n, 2] and `cam`
    [n, h, w], both float32. Everything else an inference needs is in the file's metadata:
    `architecture`, `preprocessing` (JSON), `input_size` (pixels), `classes` and `margin_bias`, so
    that `cam.mean((1, 2)) + margin_bias` is `logits[:, 1] - logits[:, 0]`.

    The same weights give the same bytes: names come from the network, and nothing of the machine
    that exported them (paths, stack traces) is kept.
    """
    import torch

    from bench.detectors.preprocessing import Preprocess

    network = copy.deepcopy(detector).cpu().float().eval()
    # Its constants are exact in float32 only; a detector cast as a whole has rounded them.
    network.preprocess = Preprocess(detector.preprocessing)
    size = detector.preprocessing.size
    # Two frames, because a batch of one would be taken for a constant.
    frames = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    with _quiet(), _uninterrupted():
        program = torch.onnx.export(
            network, (frames,), dynamo=True, opset_version=OPSET, verbose=False,
            input_names=["frames"], output_names=["logits", "cam"],
            dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
        )  # fmt: skip
    assert program is not None  # only the old exporter returns nothing
    model = program.model_proto
    _strip(model)
    _rename(model.graph)
    _describe(model, detector)
    return model


def _strip(model: onnx.ModelProto) -> None:
    """Drop what only explains how the graph came about: it is bulky and holds absolute paths."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    graph.ClearField("value_info")
    graph.name = "detector"


def _rename(graph: onnx.GraphProto) -> None:
    """Name nodes after the module whose weight they use (else type and place), tensors after their node."""
    fixed = {value.name: value.name for value in (*graph.input, *graph.output)} | {"": ""}
    constants = {constant.name: constant for constant in graph.initializer}
    tensors = dict(fixed)
    for place, node in enumerate(graph.node):
        weight = next((name for name in node.input[1:] if name.endswith(".weight")), None)
        node.name = weight.removesuffix(".weight") if weight else f"{node.op_type}_{place}"
        for position, name in enumerate(node.input):
            if name in constants and name not in tensors:
                tensors[name] = name if name.endswith(".weight") else f"{node.name}.{_role(node, position)}"
        for output in node.output:
            tensors.setdefault(output, node.name)
        node.input[:] = [tensors[name] for name in node.input]
        node.output[:] = [tensors[name] for name in node.output]
    for name, constant in constants.items():
        constant.name = tensors[name]


def _role(node: onnx.NodeProto, position: int) -> str:
    return {1: "weight", 2: "bias"}[position] if node.op_type in ("Conv", "Gemm") else f"constant{position}"


def _describe(model: onnx.ModelProto, detector: Detector) -> None:
    from onnx import helper

    facts = {
        "architecture": detector.architecture,
        "classes": "real,fake",
        "input_size": str(detector.preprocessing.size),
        "margin_bias": repr(detector.margin_bias),
        "preprocessing": json.dumps(dataclasses.asdict(detector.preprocessing), sort_keys=True),
    }
    helper.set_model_props(model, facts)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's prints, log records and warnings from the terminal; exceptions still pass."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the end; who presses Ctrl-C again does not wait.

    An exception that comes up within torch's tracing can make it abort the whole process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals arrive in the main thread only
        return
    waiting: list[int] = []
    usual: dict[int, Any] = {}

    def hold(number: int, _: object) -> None:
        waiting.append(number)
        signal.signal(number, usual[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        usual[number] = signal.signal(number, hold)
    try:
        yield
    finally:
        for held, handler in usual.items():
            signal.signal(held, handler)
        if waiting:
            signal.raise_signal(waiting[0])
