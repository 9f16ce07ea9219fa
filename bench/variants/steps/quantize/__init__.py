"""Eight or four bits for convolutions and linear layers, where calibration frames show that scores change little.

Preprocessing, global pooling, the head and the CAM stay in float. Pooling and CAM read the same tensor, so the mean
of the CAM, plus a constant, is the difference of the logits in the quantised model too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from bench import phases
from bench.errors import UserError, counted, in_yaml
from bench.records import Built, Foretold, FrameSet, Proposal, Split
from bench.variants.steps import RECORD_FILE, Cost, Leaves, Turn

if TYPE_CHECKING:
    import onnx

    from bench.detectors.detector import Detector
    from bench.detectors.offers import Offer
    from bench.variants.steps import Kind, StepContext, Use
    from bench.variants.steps.quantize.observe import ChannelStatistics, Convolution
    from bench.variants.steps.quantize.rounding import Layer

ACCEPTS: Kind = "torch"
PRODUCES: Kind = "onnx"
NEEDS: frozenset[Offer] = frozenset()
FRAMES: Mapping[Split, str] = {"calibration": "finds the ranges of the activations, and what rounding may cost"}
RECORD = RECORD_FILE
VERSION = 11
SEEDED = False
LIBRARIES = ("numpy", "onnxruntime-gpu", "onnxruntime", "onnx", "onnxscript", "scipy", "torch")
MAIN = "dtype"
SYNONYMS = "int8 int4 ptq quantization quantisation"
TURN: Turn = "round"
TRIED = ("int8", {"weights": "int8"}, {"weights": "int4"})

LEAST_FRAMES, MOST_FRAMES = 8, 1_000_000
_GRADIENT_FRAMES = 32
_MOST_PATTERNS, _MOST_LETTERS = 200, 200


def _listed(patterns: object) -> tuple[str, ...]:
    """One pattern needs no list; their order means nothing."""
    listed = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(listed, (list, tuple)) or not all(isinstance(pattern, str) and pattern for pattern in listed):
        raise ValueError(f"names layers, as in `float: [conv_stem, blocks.0]`; found {in_yaml(patterns)}")
    if not listed:
        raise ValueError("names no layer: give some, as in `float: [conv_stem, blocks.0]`, or leave `float` out")
    if len(listed) > _MOST_PATTERNS or any(len(pattern) > _MOST_LETTERS for pattern in listed):
        raise ValueError(f"takes at most {_MOST_PATTERNS} names of at most {_MOST_LETTERS} letters")
    return tuple(sorted(set(listed)))


_Patterns = Annotated[
    tuple[str, ...],
    BeforeValidator(_listed, json_schema_input_type=str | Annotated[list[str], Field(min_length=1)]),
]
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
    float: _Patterns = Field(
        default=(),
        description="layers that stay in float beside those that rounding would harm most: names of layers, or of "
        "modules around them, and globs such as `blocks.*.se.*`; the report says what each would gain, and costs",
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

    @model_serializer(mode="wrap")
    def _without_empty(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without named layers, the id is what it was before layers could be named."""
        settings: dict[str, Any] = serialise(self)
        return {key: value for key, value in settings.items() if key != "float" or value}

    @property
    def stored(self) -> str:
        return f"{self.weights} weights" if self.weights else str(self.dtype)


@dataclass(frozen=True)
class Record:
    """What was foretold of the noise."""

    foretold: Foretold


def depends_on_network(settings: Settings, earlier: Sequence[Use]) -> bool:
    """Whether the settings name layers, which must then be looked up before work."""
    return bool(settings.float)


def refuse_unfit(settings: Settings, model: Detector | onnx.ModelProto) -> None:
    """Refuse names in `float:` that fit none of a detector's layers, or all of them."""
    from bench.artifacts import safetensors
    from bench.variants.steps.quantize import in_float, of_graphs

    if safetensors.kind(model) == "onnx":
        of_graphs.refuse_names(settings.float, cast("onnx.ModelProto", model))
    else:
        in_float.chosen(settings.float, cast("Detector", model).weighted_layers())


def frames(settings: Settings) -> Mapping[Split, str]:
    """What calibration frames are read for: weights alone need no ranges."""
    of_weights: Mapping[Split, str] = {"calibration": "sees what rounding the weights costs, and compensates for it"}
    return of_weights if settings.weights else FRAMES


def check(settings: Settings, frame_sets: Mapping[Split, FrameSet]) -> None:
    """Refuse a calibration set that is too small for ranges."""
    count = len(frame_sets["calibration"].frames)
    if count < LEAST_FRAMES:
        raise UserError(
            f"quantize: {counted(count, 'calibration frame')} {'is' if count == 1 else 'are'} too few to find "
            f"{'errors' if settings.weights else 'ranges'}; "
            f"give at least {LEAST_FRAMES}, better {settings.frames}"
        )


def cost(settings: Settings, counts: Mapping[Split, int], earlier: Sequence[Use]) -> Cost:
    """The export, and passes over the calibration frames."""
    return Cost(8.0, min(settings.frames, counts["calibration"]), 2.0, 0.6, network_s=52.0)


def leaves(settings: Settings) -> Leaves:
    """Integers with their scales, and the few layers that stay in float; int8 arithmetic takes less time.

    The noise is what bits are allocated for.
    """
    from bench.variants.steps.quantize.allocation import BUDGETS

    stored, noise = 0.15 if settings.weights == "int4" else 0.27, BUDGETS[settings.stored].noise
    return Leaves(time=0.8 if settings.dtype else 1.0, stored=stored, adds=noise)


def version_for(settings: Settings, architecture: str) -> int:
    """The version of what is made of a network.

    11 brought layers that compute in float to `dtype` where P(fake) would move far, 9 depthwise convolutions in float.
    8 brought limits, as of ReLU6, which EfficientNets do not have.
    """
    from bench.detectors.families import efficientnet

    if settings.dtype:
        return VERSION
    return 7 if architecture in efficientnet.ARCHITECTURES else 8


def apply(model: Detector, settings: Settings, work: StepContext) -> onnx.ModelProto:
    """The detector as a quantised graph with the inputs, outputs and metadata of `to_onnx`, `stored` and `layers`.

    Weights are symmetric integers with one scale per output channel, and per about 64 inputs where they have four
    bits. Activations are uint8 with one scale per tensor, and multiplied by channel scales where that pays; so are the
    outputs of convolutions other than 1x1. Depthwise convolutions, and layers that would be alone on integers, have
    integer weights and compute in float; only behind limits as of ReLU6 are depthwise ones on integers: there they read
    bytes anyway. Layers whose rounding would add the most noise stay in float; where P(fake) would still move far,
    further ones compute in float, with integer weights. Products of two activations, as in attention, stay in float
    too, and layers that a frame does not call exactly once: what they read can't be watched.
    """
    from bench.artifacts.footprint import positions_by_call, positions_in_all
    from bench.system.idle_cores import Load
    from bench.variants.steps.quantize import allocation, candidates, forecast, in_float, lone_layers, observe, qdq
    from bench.variants.steps.quantize.sensitivities import sensitivities

    load = Load()
    exported = observe.exported(model, work)
    positions = positions_by_call(model)
    convolutions = [layer for layer in observe.convolutions(exported) if len(positions.get(layer.name, ())) == 1]
    named = in_float.among([layer.name for layer in convolutions], settings.float, model.weighted_layers())
    tensors = candidates.tensors(convolutions, settings.weights)
    statistics = observe.observe(exported, tensors, settings.frames, work, load.threads(work.threads))
    tried = candidates.for_all(convolutions, statistics, settings.weights, work)
    watched = min(_GRADIENT_FRAMES, settings.frames)
    effects = sensitivities(model, tried, watched, work)
    budget, calls = allocation.BUDGETS[settings.stored], positions_in_all(model, positions)
    allocations = allocation.among_layers(tried, effects, calls, budget)
    layers = candidates.allocated(tried, allocations, statistics, settings.weights)
    layers = lone_layers.weights_alone(layers, exported.graph)
    allocations = allocation.without(allocations, named, budget)
    layers = [layer for layer in layers if layer.convolution.name not in named]
    if convolutions and not layers:
        raise in_float.nothing_left(len(convolutions))
    layers = _compensated(layers, statistics, model, settings.frames, work)
    macs = {layer.name: layer.weight.size * calls[layer.name] for layer in convolutions}
    forecast.write(model, exported, forecast.Allocated(layers, tried, effects.noise(), macs), watched, work)
    phases.begin("writing the quantised graph")
    quantised = qdq.quantised(exported, layers)
    quantised.metadata_props.add(key="stored", value=settings.stored)
    quantised.metadata_props.add(key="layers", value=qdq.layer_facts(allocations, layers))
    return quantised


def remarks(uses: Sequence[Settings], baseline: Built, built: Built) -> Iterator[str]:
    """Of a graph alone, by which means."""
    if baseline.imported and not built.imported:
        how = (
            "its weights alone, each rounded for itself" if uses[0].weights else "by onnxruntime's static quantisation"
        )
        yield f"quantised as far as an ONNX file alone allows: {how}; the checkpoint would allow more"


def proposal(settings: Settings, foretold: Foretold, size_bytes: int) -> Proposal | None:
    """Which few layers would gain most in float, with the line to write; None where no few layers make the noise."""
    from bench.variants.steps.quantize import proposals

    return proposals.proposal(settings.model_dump(mode="json", exclude_defaults=True), foretold, size_bytes)


ONNX_VERSION = 2
ONNX_LIBRARIES = ("numpy", "onnx", "onnxruntime-gpu", "onnxruntime")


def onnx_frames(settings: Settings) -> Mapping[Split, str]:
    """On a graph alone: ranges of activations. What rounding weights costs is not looked at there."""
    return {} if settings.weights else FRAMES


def why_not_onnx(settings: Settings) -> str | None:
    """What a graph alone does not allow."""
    if settings.weights == "int4":
        return (
            "needs the network's layers, whose errors it compensates, and of this detector there is an ONNX file "
            "alone; write `quantize: {weights: int8}`"
        )
    return None


def apply_onnx(model: onnx.ModelProto, settings: Settings, work: StepContext) -> onnx.ModelProto:
    """The graph of a detector of which there is an ONNX file alone, quantised plainly."""
    from bench.variants.steps.quantize import of_graphs

    return of_graphs.quantised(model, settings, work)


def _compensated(
    layers: Sequence[Layer],
    statistics: Mapping[str, ChannelStatistics],
    model: Detector,
    frames: int,
    work: StepContext,
) -> list[Layer]:
    """The layers after error compensation: among weights of matrix products, and in every bias on average."""
    from bench.variants.layers import compensation
    from bench.variants.steps.quantize.rounding import made_side_by_side

    by_name = {layer.convolution.name: layer for layer in layers}
    pointwise = [name for name, layer in by_name.items() if layer.convolution.pointwise]
    inputs = compensation.inputs(model, pointwise, frames, work)
    phases.begin("rounding")

    def make(convolution: Convolution) -> list[Layer]:
        layer = by_name[convolution.name]
        if convolution.name in inputs:
            layer = layer.compensated(inputs.pop(convolution.name).covariance)
        return [layer.bias_corrected(statistics[convolution.input].mean)]

    convolutions = [layer.convolution for layer in layers]
    return [layer for (layer,) in made_side_by_side("error compensation", convolutions, make, work)]
