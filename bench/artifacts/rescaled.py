"""Networks whose logits are scaled, and their class-activation maps alike: what calibration writes into a file.

`logit_fake - logit_real` becomes `slope` times itself plus `shift`, and a map `slope` times itself. So
`cam.mean((1, 2)) + margin_bias` stays that difference, with `slope * margin_bias + shift` as the constant.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.artifacts import safetensors
from bench.artifacts.onnx_graph import graphs
from bench.errors import UserError

if TYPE_CHECKING:
    import onnx

    from bench.detectors.detector import Detector

_BEFORE, _AFTER = "uncalibrated/", "calibrated/"
"""Before names of tensors, and of nodes, so that none is there already."""


@dataclass(frozen=True)
class Rescaling:
    """A factor above 0 for the logit difference, and what is added to it."""

    slope: float
    shift: float = 0.0

    def margin_bias(self, before: float | None) -> float | None:
        """The constant that the scaled map's mean lacks to be the logit difference."""
        return None if before is None else self.slope * before + self.shift


def rescale_file(file: Path, rescaling: Rescaling) -> None:
    """Scale the logits and the map of an artifact of either kind, in its file."""
    if file.suffix == ".onnx":
        import onnx

        model = onnx.load(file)
        rescale_graph(model, rescaling)
        file.write_bytes(model.SerializeToString(deterministic=True))
    else:
        detector = safetensors.load_torch(file)
        rescale_detector(detector, rescaling)
        safetensors.save(detector, file.parent)


def rescale_graph(model: onnx.ModelProto, rescaling: Rescaling) -> None:
    """Scale `logits` and, where there is one, `cam` behind all else that the graph computes, in place.

    Quantised operators and what executes them stay as they are. The file's metadata say what was done.
    """
    import numpy as np
    from onnx import helper, numpy_helper

    graph, slope = model.graph, np.float32(rescaling.slope)
    factor = f"{_BEFORE}slope"
    graph.initializer.append(numpy_helper.from_array(slope.reshape(1), factor))
    for output in [value.name for value in graph.output if value.name in ("logits", "cam")]:
        _rename(model, output, f"{_BEFORE}{output}")
        scaled = f"{_BEFORE}scaled" if output == "logits" and rescaling.shift else output
        graph.node.append(helper.make_node("Mul", [f"{_BEFORE}{output}", factor], [scaled], f"{_AFTER}{output}.scaled"))
        if scaled != output:
            shift = np.array([[0, rescaling.shift]], np.float32)
            graph.initializer.append(numpy_helper.from_array(shift, f"{_BEFORE}shift"))
            graph.node.append(
                helper.make_node("Add", [scaled, f"{_BEFORE}shift"], [output], f"{_AFTER}{output}.shifted")
            )
    _describe(model, Rescaling(float(slope), rescaling.shift))


def _rename(model: onnx.ModelProto, tensor: str, name: str) -> None:
    """Give a tensor another name wherever nodes write or read it, but not at the outputs."""
    for graph in graphs(model.graph):
        for node in graph.node:
            node.input[:] = [name if each == tensor else each for each in node.input]
            node.output[:] = [name if each == tensor else each for each in node.output]


def _describe(model: onnx.ModelProto, rescaling: Rescaling) -> None:
    """Write what the logits were scaled by into the metadata, and the constant that goes with it."""
    from onnx import helper

    facts = {entry.key: entry.value for entry in model.metadata_props}
    if "margin_bias" in facts:
        facts["margin_bias"] = repr(rescaling.margin_bias(float(facts["margin_bias"])))
    facts["calibration"] = json.dumps({"slope": rescaling.slope, "shift": rescaling.shift})
    helper.set_model_props(model, facts)


def rescale_detector(detector: Detector, rescaling: Rescaling) -> None:
    """Scale the layers that write the logits, in place: maps are made of the same weights.

    The head is float32 afterwards, since a half would round each scaled weight anew; it computes in float32 anyway.
    Raises `UserError` where such a layer has no bias to shift.
    """
    import torch

    detector.widen_head()
    layers = detector.logit_layers()
    if rescaling.shift and any(getattr(layer, "bias", None) is None for layer in layers):
        raise UserError("the layer that writes the logits has no bias to shift; export ONNX, or scale by temperature")
    with torch.no_grad():
        for layer in layers:
            for tensor in layer.parameters(recurse=False):
                tensor.mul_(rescaling.slope)
    if rescaling.shift:
        detector.shift_logits(torch.tensor([0.0, rescaling.shift]))
