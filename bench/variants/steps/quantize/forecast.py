"""The forecast of a quantised network: by layer its bits, its noise, and the bytes that it would take in float."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import onnx

from bench.detectors.layer_names import short_name
from bench.provenance import write_json
from bench.records import Foretold, RoundedLayer
from bench.records.forecasts import FLOAT_BITS, shortened
from bench.variants.steps import RECORD_FILE
from bench.variants.steps.quantize import candidates, qdq, sensitivities

if TYPE_CHECKING:
    from bench.detectors.detector import Detector
    from bench.variants.steps import StepContext
    from bench.variants.steps.quantize.rounding import Layer

# Larger tensors are left out of copies of a graph.
_SMALL_BYTES = 1024
_EMPTY = [0]


@dataclass(frozen=True)
class Allocated:
    """The `layers` that are rounded at last; of every convolution, by name, its candidates, their noise, its MACs."""

    layers: Sequence[Layer]
    candidates: Mapping[str, Sequence[Layer]]
    noise: Mapping[str, Sequence[float]]
    macs: Mapping[str, int]


def write(model: Detector, exported: onnx.ModelProto, allocated: Allocated, frames: int, work: StepContext) -> None:
    """Store what is foretold of a network whose float graph is `exported`, for `variant.json`.

    The noise of a layer is that of what was made of it at last, after error compensation, over at most `frames`
    calibration frames; of a layer in float it is that of the best of its candidates.
    """
    effects = sensitivities.of_layers(model, allocated.layers, frames, work)
    of_each = {name: share for name, (share,) in effects.noise().items()}
    grown = float_bytes(exported, allocated.layers)
    by_name = {layer.convolution.name: layer for layer in allocated.layers}
    layers = []
    for name, tried in allocated.candidates.items():
        layer, spare = by_name.get(name), candidates.spare(tried)
        expected = [share for share, each in zip(allocated.noise[name], tried, strict=True) if each is not spare]
        rounded = RoundedLayer(
            short_name(name),
            layer.weight.bits if layer else FLOAT_BITS,
            8 if layer and layer.input else FLOAT_BITS,
            shortened(of_each[name] if layer else min(expected)),
            grown.get(name, 0),
            allocated.macs[name],
        )
        layers.append(rounded)
    count, deviation = len(effects.logit_diffs), shortened(math.sqrt(effects.variance))
    mean_dp = effects.mean_dp(effects.of(dict.fromkeys(effects.changes, 0)))
    # As if they were independent: that came nearer to what was measured than their sum with signs.
    together = sum(layer.noise for layer in layers if not layer.in_float)
    foretold = Foretold(shortened(together), count, deviation, tuple(layers), mean_dp=shortened(mean_dp))
    write_json(work.scratch / RECORD_FILE, {"foretold": asdict(foretold)})


def float_bytes(exported: onnx.ModelProto, layers: Sequence[Layer]) -> dict[str, int]:
    """By layer, by how many bytes the file grows if it stays in float. `exported` is the float graph.

    Each layer is written alone into a graph without large weights, and what that adds is counted.
    """
    light, saved = _without_weights(exported)
    whole = _bytes(qdq.quantised(light, []), saved)
    return {layer.convolution.name: whole - _bytes(qdq.quantised(light, [layer]), saved) for layer in layers}


def _bytes(light: onnx.ModelProto, saved: Mapping[str, int]) -> int:
    """What a graph takes with the large constants that it reads; `saved` is how much each of these was emptied by."""
    emptied = (constant.name for constant in light.graph.initializer if list(constant.dims) == _EMPTY)
    size: int = light.graph.ByteSize()
    return size + sum(saved[name] for name in emptied)


def _without_weights(exported: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, int]]:
    """The graph with its large constants emptied, and by how many bytes each of these shrank, by name.

    Those of layer norms stay: channel scales are multiplied into them.
    """
    light = onnx.ModelProto()
    light.CopyFrom(exported)
    saved = {}
    of_norms = {name for node in light.graph.node if node.op_type == "LayerNormalization" for name in node.input[1:]}
    for constant in light.graph.initializer:
        before = _entry_bytes(constant)
        if before > _SMALL_BYTES and constant.name not in of_norms:
            constant.CopyFrom(onnx.TensorProto(name=constant.name, data_type=constant.data_type, dims=_EMPTY))
            saved[constant.name] = before - _entry_bytes(constant)
    return light, saved


def _entry_bytes(constant: onnx.TensorProto) -> int:
    """What a constant takes in the list of a graph's constants: itself, and its length in seven bits a byte."""
    size: int = constant.ByteSize()
    return size + 1 + max(1, -(-size.bit_length() // 7))
