"""Integers in the network's convolutions, where the calibration frames say that they do no harm.

Preprocessing, global pooling, the head and the CAM stay in float, and pool and CAM read the same
tensor, so that the margin equation holds exactly for the quantised model too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from bench import phases
from bench.errors import UserError
from bench.records import FrameSet, Split
from bench.variants.steps import Cost, Leaves

if TYPE_CHECKING:
    import onnx

    from bench.detectors.detector import Detector
    from bench.detectors.offers import Offer
    from bench.variants.checkpoints import State
    from bench.variants.layers.compensation import Inputs
    from bench.variants.steps import Kind, StepContext, Use
    from bench.variants.steps.quantize.allocation import Choice
    from bench.variants.steps.quantize.exported import Convolution
    from bench.variants.steps.quantize.observe import Channels
    from bench.variants.steps.quantize.qdq import Layer

ACCEPTS: Kind = "torch"
PRODUCES: Kind = "onnx"
NEEDS: frozenset[Offer] = frozenset({"conv"})
FRAMES: Mapping[Split, str] = {"calibration": "finds the ranges of the activations, and what rounding may cost"}
VERSION = 7
SEEDED = False
LIBRARIES = ("numpy", "onnxruntime-gpu", "onnxruntime", "onnx", "onnxscript", "scipy", "torch")
MAIN = "dtype"
SYNONYMS = "int8 int4 ptq quantization quantisation"

LEAST_FRAMES, MOST_FRAMES = 8, 1_000_000
_GRADIENT_FRAMES = 32
# The share of frames whose extremes an activation's range holds. One frame whose activations are many times
# larger than everyone's would coarsen the steps for all; so both are tried, for every convolution.
_WITHIN = (0.97, 1.0)
_LARGEST_BIAS = 2.0**30


# What `_one_of_both` says, for editors.
_BOTH: dict[str, Any] = {
    "properties": {key: {"type": "string"} for key in ("dtype", "weights")},
    "required": ["dtype", "weights"],
}


class Settings(BaseModel):
    """What becomes integers: weights and activations, or the weights alone; one of the two."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"not": _BOTH})

    dtype: Literal["int8"] | None = Field(
        default=None, description="quantises weights and activations; int8 where `weights` is not given"
    )
    weights: Literal["int8", "int4"] | None = Field(
        default=None, description="quantises the weights alone, and computes in float"
    )
    frames: Annotated[int, Field(strict=True, ge=LEAST_FRAMES, le=MOST_FRAMES)] = Field(
        default=128, description="at most so many are read, evenly spread over the calibration frames"
    )

    @model_validator(mode="before")
    @classmethod
    def _int8_unless_weights(cls, given: object) -> object:
        if not isinstance(given, dict) or given.get("weights") is not None:
            return given
        return {**given, "dtype": "int8" if given.get("dtype") is None else given["dtype"]}

    @field_validator("dtype", mode="before")
    @classmethod
    def _of_activations_too(cls, dtype: object) -> object:
        if dtype == "int4":
            raise ValueError("four bits are for weights alone: write `quantize: {weights: int4}`")
        return dtype

    @field_validator("weights")
    @classmethod
    def _one_of_both(cls, weights: str | None, info: ValidationInfo) -> str | None:
        if weights is not None and info.data.get("dtype") is not None:
            raise ValueError("`dtype` quantises weights and activations, `weights` the weights alone; give one of them")
        return weights

    @property
    def stored(self) -> str:
        return f"{self.weights} weights" if self.weights else str(self.dtype)


def frames(settings: Settings) -> Mapping[Split, str]:
    """Weights are all there; what their rounding does is to be seen on frames."""
    of_weights: Mapping[Split, str] = {
        "calibration": "tells what the rounding of weights may cost, and makes up for it"
    }
    return of_weights if settings.weights else FRAMES


def check(settings: Settings, frame_sets: Mapping[Split, FrameSet]) -> None:
    """Refuse a set too small to tell a range from an accident."""
    found = len(frame_sets["calibration"].frames)
    if found < LEAST_FRAMES:
        raise UserError(
            f"quantize: {found} calibration frames are too few to find {'errors' if settings.weights else 'ranges'}; "
            f"give at least {LEAST_FRAMES}, better {settings.frames}"
        )


def cost(settings: Settings, counts: Mapping[Split, int], earlier: Sequence[Use]) -> Cost:
    """The export, and passes over the calibration frames."""
    return Cost(45.0, min(settings.frames, counts["calibration"]), 2.0, 0.7)


def leaves(settings: Settings) -> Leaves:
    """Integers with their scales, and the few layers that stay in float; int8 arithmetic takes less time."""
    return Leaves(time=0.8 if settings.dtype else 1.0, stored=0.15 if settings.weights == "int4" else 0.27)


def apply(model: Detector, settings: Settings, work: StepContext) -> onnx.ModelProto:
    """The detector as a quantised graph with the inputs, outputs and metadata of `to_onnx`, `stored` and `layers`.

    Weights are symmetric integers, with one scale per output channel (and about 64 inputs, where they have
    four bits); activations are uint8 with one scale per tensor, multiplied by a factor per channel where that
    pays, and so are the outputs of convolutions other than 1x1. Convolutions that rounding would harm
    most stay in float.
    """
    from bench.system.idle_cores import Load
    from bench.variants.checkpoints import each
    from bench.variants.layers.compensation import side_by_side
    from bench.variants.steps.quantize import exported, observe, packing, qdq

    load = Load()
    phases.begin("exporting to ONNX")
    graph = _exported(model, work)
    found = exported.convolutions(graph)
    tensors = dict.fromkeys(name for one in found for name in (one.input, *_rounded_outputs(one, settings)))
    phases.begin("preparing calibration")
    channels = observe.observe(graph, list(tensors), settings.frames, work, load.threads(work.threads))
    phases.begin("trying ways to round")

    def ways_of(convolution: Convolution) -> State:
        return packing.packed(_ways(convolution, channels, settings))

    every = each(work.part("ways to round"), found, lambda rest: side_by_side(ways_of, rest, work.threads))
    ways = {one.name: packing.unpacked(state, one) for one, state in zip(found, every, strict=True)}
    chosen = _chosen(model, ways, settings, work)
    inputs = {one.name: channels[one.input] for one in found}
    picked = [_layer(ways[name], one, inputs[name], settings) for name, one in chosen.items()]
    layers = _compensated([layer for layer in picked if layer is not None], channels, model, settings, work)
    phases.begin("writing the quantised graph")
    quantised = qdq.quantised(graph, layers)
    quantised.metadata_props.add(key="stored", value=settings.stored)
    quantised.metadata_props.add(key="layers", value=_told(layers, chosen))
    return quantised


def _exported(model: Detector, work: StepContext) -> onnx.ModelProto:
    import numpy as np
    import onnx
    import torch

    from bench.artifacts.onnx_export import to_onnx

    part = work.part("exporting")
    if part.state:
        saved: onnx.ModelProto = onnx.ModelProto.FromString(part.state["graph"].numpy().tobytes())
        return saved
    graph: onnx.ModelProto = onnx.shape_inference.infer_shapes(to_onnx(model))
    text = np.frombuffer(graph.SerializeToString(), np.uint8)
    part.keep(1, 1, lambda: {"graph": torch.from_numpy(text.copy())})
    return graph


def _rounded_outputs(convolution: Convolution, settings: Settings) -> list[str]:
    """What integer kernels write as integers: 1x1 convolutions, being matrix products, can write floats."""
    return [convolution.output] if settings.dtype and not convolution.pointwise else []


def _ways(convolution: Convolution, channels: Mapping[str, Channels], settings: Settings) -> list[Layer]:
    """All ways to quantise a convolution."""
    import numpy as np

    from bench.variants.steps.quantize import rounding, scales
    from bench.variants.steps.quantize.qdq import Layer

    entering = channels[convolution.input]
    if settings.weights:
        four = settings.weights == "int4" and convolution.groups == 1
        bits: rounding.Bits = 4 if four and rounding.four_bits_pay(convolution.weight[0].size) else 8
        factors = scales.for_weights(convolution, entering)
        return [
            Layer(convolution, rounding.nearest(convolution.weight, bits)),
            Layer(convolution, rounding.nearest(convolution.by_input(1 / factors), bits), factors),
        ]
    found = []
    # Kernels that write integers add their bias as a 32-bit one, in units of both steps: it has to fit.
    reach = None if convolution.pointwise else np.abs(convolution.bias) / _LARGEST_BIAS
    for within in _WITHIN:
        outputs: list[Any] = [(None, None)]
        for name in _rounded_outputs(convolution, settings):
            outputs = [(scales.for_tensor(channels[name], within), None), scales.for_outputs(channels[name], within)]
        plain = scales.for_tensor(entering, within)
        stretched, factors = scales.for_channels(convolution, entering, within)
        for factor, activation in ((None, plain), (factors, stretched)):
            weight = convolution.weight if factor is None else convolution.by_input(1 / factor)
            least = None if reach is None else reach / activation.scale
            rounded = rounding.nearest(weight, 8, least)
            found += [Layer(convolution, rounded, factor, activation, *output) for output in outputs]
    return found


def _chosen(
    model: Detector, ways: Mapping[str, list[Layer]], settings: Settings, work: StepContext
) -> dict[str, Choice]:
    from bench.artifacts.footprint import positions_per_frame
    from bench.variants.steps.quantize import allocation, sensitivity

    phases.begin("preparing sensitivities")
    harm = sensitivity.sensitivities(model, ways, min(_GRADIENT_FRAMES, settings.frames), work)
    phases.begin("choosing")
    weights = {name: layers[0].convolution.weight.size for name, layers in ways.items()}
    positions = positions_per_frame(model)
    macs = {name: size * positions[name] for name, size in weights.items()}
    known = {
        name: [allocation.Way(one, layer.extras) for one, layer in zip(harm[name], layers, strict=True)]
        for name, layers in ways.items()
    }
    return allocation.choose(known, weights, macs, allocation.BUDGETS[settings.stored])


def _layer(ways: Sequence[Layer], one: Choice, entering: Channels, settings: Settings) -> Layer | None:
    """What was chosen; where four bits harm too much, it is eight."""
    if one.way is not None:
        return ways[one.way]
    return _in_eight_bits(ways, entering) if settings.weights == "int4" else None


def _in_eight_bits(ways: Sequence[Layer], entering: Channels) -> Layer:
    """The first of these ways, in eight bits, or a later one where that at least halves the outputs' error."""
    from bench.variants.steps.quantize import rounding
    from bench.variants.steps.quantize.qdq import Layer

    found: list[tuple[float, Layer]] = []
    for way in ways:
        convolution, factors = way.convolution, way.factors
        weight = convolution.weight if factors is None else convolution.by_input(1 / factors)
        layer = Layer(convolution, rounding.nearest(weight), factors)
        found.append((layer.error(entering.mean_square), layer))
    exact = [layer for error, layer in found if 2 * error < found[0][0]]
    return exact[0] if exact else found[0][1]


def _compensated(
    layers: Sequence[Layer], channels: Mapping[str, Channels], model: Detector, settings: Settings, work: StepContext
) -> list[Layer]:
    """The same layers, where weights of 1x1 convolutions are rounded so that they make good for each other, and biases
    make good for what is still lost on average.
    """
    import torch

    from bench.variants.checkpoints import each
    from bench.variants.layers import compensation

    names = [layer.convolution.name for layer in layers if layer.convolution.pointwise]
    seen = compensation.inputs(model, names, settings.frames, work)
    phases.begin("rounding")

    def made_good(layer: Layer) -> State:
        one = _made_good(layer, channels[layer.convolution.input], seen.pop(layer.convolution.name, None))
        arrays = {"integers": one.weight.integers, "steps": one.weight.steps, "shift": one.shift}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    every = each(work.part("rounding"), layers, lambda rest: compensation.side_by_side(made_good, rest, work.threads))
    return [_with(layer, state) for layer, state in zip(layers, every, strict=True)]


def _with(layer: Layer, state: State) -> Layer:
    """The layer with weights and shift of a state."""
    import dataclasses

    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    weight = dataclasses.replace(layer.weight, integers=arrays["integers"], steps=arrays["steps"])
    return dataclasses.replace(layer, weight=weight, shift=arrays["shift"])


def _made_good(layer: Layer, entering: Channels, seen: Inputs | None) -> Layer:
    import dataclasses

    import numpy as np

    from bench.variants.steps.quantize import rounding

    if seen is not None:
        scale = np.ones(layer.convolution.inputs, np.float32) if layer.factors is None else layer.factors
        scaled = seen.covariance * np.outer(scale, scale)
        weight = rounding.compensated(layer.convolution.by_input(1 / scale), scaled, layer.weight.bits)
        layer = dataclasses.replace(layer, weight=weight)
    shift = -layer.convolution.answer(layer.change(), entering.mean)
    return dataclasses.replace(layer, shift=shift.astype(np.float32))


def _told(layers: Sequence[Layer], chosen: Mapping[str, Choice]) -> str:
    """By convolution: bits of weights and of inputs (32 is float), and its share of the margin's variance."""
    from bench.detectors.layer_names import short_name

    by_name = {layer.convolution.name: layer for layer in layers}
    told = {}
    for name, one in chosen.items():
        layer = by_name.get(name)
        bits = (layer.weight.bits if layer else 32, 8 if layer and layer.input else 32)
        told[short_name(name)] = [*bits, float(f"{one.harm:.1e}")]
    return json.dumps(told, separators=(",", ":"), allow_nan=False)
