"""The candidates of a convolution: the ways to quantise it, of which bit allocation takes one.

They differ in where the 256 levels of an activation go. It has one scale and one zero point: integer kernels know no
more. But every input channel may be multiplied by a channel scale first, if the weights that read it are divided by it
(SmoothQuant: Xiao et al., ICML 2023). Channel scales follow from the channel's values and weights. So a network whose
channels were rescaled, and that computes the same, is quantised to the same integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from bench import phases
from bench.variants.steps.quantize.rounding import (
    LARGEST_WEIGHT,
    LEVELS,
    Activation,
    Bits,
    Layer,
    four_bits_pay,
    made_side_by_side,
    nearest,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.variants.steps import StepContext
    from bench.variants.steps.quantize.allocation import Allocation
    from bench.variants.steps.quantize.observe import ChannelStatistics, Convolution

WeightsAlone: TypeAlias = Literal["int8", "int4"] | None
"""The type of weights that are quantised alone; None where activations are quantised too."""

# The range of an activation covers the extremes of this share of the calibration frames. One frame whose activations
# are many times larger than all others would make the scale coarse for every frame; so each convolution tries both.
_COVERAGES = (0.97, 1.0)
_LARGEST_BIAS = 2.0**30
# From channel scales that even out the weights (0) to such that even out the activations (1).
_BALANCES = (0.25, 0.5, 0.75, 1.0)
_TINY = 1e-12


def tensors(convolutions: Sequence[Convolution], weights: WeightsAlone) -> dict[str, tuple[int, ...]]:
    """The tensors whose statistics are needed: inputs, and outputs that may be written as integers.

    By name, with the axes along which their channels are repeated.
    """
    return {
        name: reader.position_axes
        for reader in convolutions
        for name in (reader.input, *_integer_outputs(reader, weights))
    }


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
    """The candidates of one convolution, those without channel scales first.

    Where activations are rounded too, the last one is the spare: rounded weights alone, computed with in float. And
    each has the bias that it will have at last: without it, candidates with coarse weights would be taken for far
    noisier than they are.
    """
    entering = statistics[convolution.input]
    if weights:
        four = weights == "int4" and convolution.groups == 1
        bits: Bits = 4 if four and four_bits_pay(convolution.weight[0].size) else 8
        channel_scales = scales_for_weights_alone(convolution, entering)
        return [
            Layer(convolution, nearest(convolution.weight, bits)),
            Layer(convolution, nearest(convolution.divided_weight(channel_scales), bits), channel_scales),
        ]
    weights_alone = Layer(convolution, nearest(convolution.weight))
    if convolution.takes_floats:
        return [weights_alone.bias_corrected(entering.mean)]
    layers = []
    # Kernels that write integers add their bias as 32 bits, in units of both scales: it has to fit.
    least = None if convolution.pointwise else np.abs(convolution.bias) / _LARGEST_BIAS
    for coverage in _COVERAGES:
        outputs = _outputs(convolution, statistics, coverage)
        plain = tensor_scale(entering, coverage)
        activation, channel_scales = input_scales(convolution, entering, coverage)
        for stretch, read in ((None, plain), (channel_scales, activation)):
            least_scales = None if least is None else least / read.scale
            is_plain = stretch is None and least_scales is None
            rounded = (
                weights_alone.weight if is_plain else nearest(convolution.divided_weight(stretch), 8, least_scales)
            )
            layers += [Layer(convolution, rounded, stretch, read, *output) for output in outputs]
    return [layer.bias_corrected(entering.mean) for layer in (*layers, weights_alone)]


def spare(candidates: Sequence[Layer]) -> Layer | None:
    """The candidate that computes in float where the others of its convolution compute on integers."""
    return candidates[-1] if candidates[0].input else None


def allocated(
    candidates: Mapping[str, Sequence[Layer]],
    allocations: Mapping[str, Allocation],
    statistics: Mapping[str, ChannelStatistics],
    weights: WeightsAlone,
) -> list[Layer]:
    """The candidates that were allocated. A convolution without one stays in float; under `int4` it gets eight bits."""
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
        layers.append(Layer(convolution, nearest(convolution.divided_weight(channel_scales)), channel_scales))
        errors.append(layers[-1].weight_error(statistics[convolution.input].mean_square))
    halved = [layer for layer, error in zip(layers, errors, strict=True) if 2 * error < errors[0]]
    return halved[0] if halved else layers[0]


def _integer_outputs(convolution: Convolution, weights: WeightsAlone) -> list[str]:
    """The output, where integer kernels write integers. Those of 1x1 convolutions, matrix products, write floats."""
    floats_alone = weights or convolution.takes_floats or convolution.writes_floats
    return [] if floats_alone else [convolution.output]


def _outputs(convolution: Convolution, statistics: Mapping[str, ChannelStatistics], coverage: float) -> list[Any]:
    """How the output may be written: pairs of an `Activation` and channel scales; None for what is not needed."""
    if convolution.writes_floats:
        return [(None, None)]
    written = statistics[convolution.output]
    return [(tensor_scale(written, coverage), None), output_scales(written, coverage)]


# ----------------- scales; `coverage` is the share of calibration frames whose extremes the 256 levels hold
def tensor_scale(statistics: ChannelStatistics, coverage: float) -> Activation:
    """One scale for all channels, from the lowest to the highest value of the covered frames."""
    lowest = min(float(np.quantile(statistics.lowest.min(1), 1 - coverage)), 0.0)
    highest = max(float(np.quantile(statistics.highest.max(1), coverage)), 0.0)
    scale = max((highest - lowest) / LEVELS, _TINY)
    return Activation(float(np.float32(scale)), round(-lowest / scale))


def output_scales(statistics: ChannelStatistics, coverage: float) -> tuple[Activation, NDArray[np.float32]]:
    """One scale, and channel scales [out] under which each written channel fills the levels as far as it can."""
    lowest, highest = _extremes(statistics, coverage)
    live = (lowest < -_TINY) | (highest > _TINY)
    channel_scales = np.ones(len(live))
    if not live.any():
        return Activation(1.0, 0), channel_scales.astype(np.float32)
    # Whatever its scale, a channel may lose the same share.
    square = np.maximum(statistics.mean_square[live], _TINY**2)
    zero_point, channel_scales[live] = _zero_point(lowest[live], highest[live], 1 / square)
    channel_scales[~live] = np.median(channel_scales[live])
    return Activation(1.0, zero_point), channel_scales.astype(np.float32)


def input_scales(
    convolution: Convolution, statistics: ChannelStatistics, coverage: float
) -> tuple[Activation, NDArray[np.float32]]:
    """One scale, and the input's channel scales [in] for which the outputs' expected error is least.

    The extremes of the covered frames are held channel by channel.
    """
    lowest, highest = _extremes(statistics, coverage)
    weights = convolution.weight_by_input().astype(np.float64)
    energy = np.square(weights).sum(1)
    live = ((lowest < -_TINY) | (highest > _TINY)) & (energy > _TINY)
    if not live.any():
        return Activation(1.0, 0), np.ones(convolution.inputs, np.float32)
    widest = np.abs(weights).max(1)
    zero_point, reach = _zero_point(lowest[live], highest[live], energy[live])
    trials = []
    # Behind ReLU6, bytes must end where its limit is: then the kernel that writes them needs no limits.
    bounded = convolution.behind is not None and math.isfinite(convolution.behind.highest)
    for balance in _BALANCES if convolution.groups == 1 and not bounded else (1.0,):
        channel_scales = np.ones(convolution.inputs)
        channel_scales[live] = reach**balance * widest[live] ** (1 - balance)
        # The largest product must still be within reach.
        scale = float((channel_scales[live] / reach).max())
        channel_scales[~live] = _for_silent(widest, channel_scales, live)[~live]
        if convolution.behind is not None and bounded:
            channel_scales[~live] = np.maximum(channel_scales[~live], scale * LEVELS / convolution.behind.highest)
        error = _expected_error(convolution, channel_scales, scale, energy, statistics.mean_square)
        trials.append((error, channel_scales / scale))
    _, best = min(trials, key=lambda trial: trial[0])
    # The scale is part of the channel scales.
    return Activation(1.0, zero_point), best.astype(np.float32)


def scales_for_weights_alone(convolution: Convolution, statistics: ChannelStatistics) -> NDArray[np.float32]:
    """The input's channel scales [in] under which the rounding of weights alone costs least.

    Inputs that carry much get finer weights (AWQ: Lin et al., MLSys 2024).
    """
    widest = np.abs(convolution.weight_by_input()).max(1).astype(np.float64)
    carried = np.sqrt(statistics.mean_square)
    live = (widest > _TINY) & (carried > _TINY)
    channel_scales = np.ones(convolution.inputs)
    if live.any():
        channel_scales[live] = np.sqrt(widest[live] / carried[live])
        channel_scales[live] /= np.median(channel_scales[live])
        channel_scales[~live] = _for_silent(widest, channel_scales, live)[~live]
    return channel_scales.astype(np.float32)


def _extremes(statistics: ChannelStatistics, coverage: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and the highest value of each channel over the covered frames [channels]; 0 lies between them."""
    lowest = np.minimum(np.quantile(statistics.lowest, 1 - coverage, axis=0), 0.0)
    highest = np.maximum(np.quantile(statistics.highest, coverage, axis=0), 0.0)
    return lowest, highest


def _for_silent(
    widest: NDArray[np.float64], channel_scales: NDArray[np.float64], live: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Scales [in] for channels that are zero in every frame.

    Under them their weights are as large as those of the others, and set no weight's scale.
    """
    usual = float(np.median(widest[live] / channel_scales[live]))
    return np.where(widest > _TINY, widest / max(usual, _TINY), 1.0)


def _zero_point(
    lowest: NDArray[np.float64], highest: NDArray[np.float64], energy: NDArray[np.float64]
) -> tuple[int, NDArray[np.float64]]:
    """The zero point that is best for all channels, and each one's largest scale with it, in levels a unit."""
    points = np.arange(LEVELS + 1)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        below = np.where(lowest < -_TINY, points / -lowest, np.inf)
        above = np.where(highest > _TINY, (LEVELS - points) / highest, np.inf)
    reach = np.minimum(below, above)
    with np.errstate(divide="ignore"):
        error = (energy / np.square(reach)).sum(1)
    best = int(error.argmin())
    return best, reach[best]


def _expected_error(
    convolution: Convolution,
    channel_scales: NDArray[np.float64],
    scale: float,
    energy: NDArray[np.float64],
    mean_square: NDArray[np.float64],
) -> float:
    """Expected squared error of all outputs, from rounding activations and weights, in units of 1 / 12.

    `energy` [in] is the sum of each input's squared weights, `mean_square` [in] that of its values.
    """
    by_activation = float((energy * np.square(scale / channel_scales)).sum())
    weight = convolution.divided_weight(channel_scales)
    weight_scales = np.abs(weight.reshape(len(weight), -1)).max(1) / LARGEST_WEIGHT[8]
    kernel = convolution.weight.shape[2:]
    scaled_square = np.square(channel_scales) * mean_square
    energy_in = scaled_square.reshape(convolution.groups, -1).sum(1) * np.prod(kernel)
    by_group = np.square(weight_scales).reshape(convolution.groups, -1).sum(1)
    return by_activation + float((by_group * energy_in).sum())
