"""The candidates of a convolution: the ways to quantise it, of which bit allocation takes one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from bench import phases
from bench.variants.steps.quantize import rounding, scales
from bench.variants.steps.quantize.layer import Layer, made_side_by_side

if TYPE_CHECKING:
    from bench.variants.steps import StepContext
    from bench.variants.steps.quantize.allocation import Allocation
    from bench.variants.steps.quantize.graph import Convolution
    from bench.variants.steps.quantize.observe import ChannelStatistics

WeightsAlone: TypeAlias = Literal["int8", "int4"] | None
"""The type of weights that are quantised alone; None where activations are quantised too."""

# The range of an activation covers the extremes of this share of the calibration frames. One frame whose activations
# are many times larger than all others would make the scale coarse for every frame; so each convolution tries both.
_COVERAGES = (0.97, 1.0)
_LARGEST_BIAS = 2.0**30


def tensors(convolutions: Sequence[Convolution], weights: WeightsAlone) -> list[str]:
    """The names of the tensors whose statistics are needed: inputs, and outputs that may be written as integers."""
    names = (name for reader in convolutions for name in (reader.input, *_integer_outputs(reader, weights)))
    return list(dict.fromkeys(names))


def for_all(
    convolutions: Sequence[Convolution],
    statistics: Mapping[str, ChannelStatistics],
    weights: WeightsAlone,
    work: StepContext,
) -> dict[str, list[Layer]]:
    """By name of each convolution its candidates. `statistics` are those of the tensors that `tensors` names."""

    def make(convolution: Convolution) -> list[Layer]:
        return for_convolution(convolution, statistics, weights)

    phases.begin("trying scales")
    candidates = made_side_by_side("candidates", convolutions, make, work)
    return {convolution.name: layers for convolution, layers in zip(convolutions, candidates, strict=True)}


def for_convolution(
    convolution: Convolution, statistics: Mapping[str, ChannelStatistics], weights: WeightsAlone
) -> list[Layer]:
    """The candidates of one convolution, those without channel scales first."""
    entering = statistics[convolution.input]
    if weights:
        four = weights == "int4" and convolution.groups == 1
        bits: rounding.Bits = 4 if four and rounding.four_bits_pay(convolution.weight[0].size) else 8
        channel_scales = scales.for_weights(convolution, entering)
        return [
            Layer(convolution, rounding.nearest(convolution.weight, bits)),
            Layer(convolution, rounding.nearest(convolution.divided_weight(channel_scales), bits), channel_scales),
        ]
    layers = []
    # Kernels that write integers add their bias as 32 bits, in units of both scales: it has to fit.
    least = None if convolution.pointwise else np.abs(convolution.bias) / _LARGEST_BIAS
    for coverage in _COVERAGES:
        outputs = _outputs(convolution, statistics, coverage)
        plain = scales.for_tensor(entering, coverage)
        activation, channel_scales = scales.for_inputs(convolution, entering, coverage)
        for stretch, read in ((None, plain), (channel_scales, activation)):
            least_scales = None if least is None else least / read.scale
            rounded = rounding.nearest(convolution.divided_weight(stretch), 8, least_scales)
            layers += [Layer(convolution, rounded, stretch, read, *output) for output in outputs]
    return layers


def allocated(
    candidates: Mapping[str, Sequence[Layer]],
    allocations: Mapping[str, Allocation],
    statistics: Mapping[str, ChannelStatistics],
    weights: WeightsAlone,
) -> list[Layer]:
    """The candidates that were allocated. A convolution without one stays in float, under `int4` in eight bits."""
    layers = []
    for name, allocation in allocations.items():
        if allocation.candidate is not None:
            layers.append(candidates[name][allocation.candidate])
        elif weights == "int4":
            layers.append(in_eight_bits(candidates[name], statistics))
    return layers


def in_eight_bits(candidates: Sequence[Layer], statistics: Mapping[str, ChannelStatistics]) -> Layer:
    """The first of a convolution's candidates, in eight bits; a later one where that at least halves the error."""
    errors, layers = [], []
    for candidate in candidates:
        convolution, channel_scales = candidate.convolution, candidate.channel_scales
        layers.append(Layer(convolution, rounding.nearest(convolution.divided_weight(channel_scales)), channel_scales))
        errors.append(layers[-1].weight_error(statistics[convolution.input].mean_square))
    halved = [layer for layer, error in zip(layers, errors, strict=True) if 2 * error < errors[0]]
    return halved[0] if halved else layers[0]


def _integer_outputs(convolution: Convolution, weights: WeightsAlone) -> list[str]:
    """The output, where integer kernels write integers. Those of 1x1 convolutions, matrix products, write floats."""
    return [] if weights or convolution.pointwise else [convolution.output]


def _outputs(convolution: Convolution, statistics: Mapping[str, ChannelStatistics], coverage: float) -> list[Any]:
    """How the output may be written: pairs of an `Activation` and channel scales; None for what is not needed."""
    if convolution.pointwise:
        return [(None, None)]
    written = statistics[convolution.output]
    return [(scales.for_tensor(written, coverage), None), scales.for_outputs(written, coverage)]
