"""Where the 256 levels of a tensor go, so that the convolution that reads it loses least.

An activation has one scale and one zero point: integer kernels know no more. But every input channel may be
multiplied by a channel scale first, if the weights that read it are divided by it (SmoothQuant: Xiao et al., ICML
2023). Channel scales follow from the channel's values and weights. So a network whose channels were rescaled, and
that computes the same, is quantised to the same integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.variants.steps.quantize.graph import Convolution
from bench.variants.steps.quantize.observe import ChannelStatistics

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVELS = 255
LARGEST_WEIGHT = 127
# From channel scales that even out the weights (0) to such that even out the activations (1).
_BALANCES = (0.25, 0.5, 0.75, 1.0)
_TINY = 1e-12


@dataclass(frozen=True)
class Activation:
    """How a tensor is written in eight bits: `round(x / scale) + zero_point`, in [0, 255]."""

    scale: float
    zero_point: int


# Below, `coverage` is the share of calibration frames whose extremes the 256 levels hold.
def for_tensor(statistics: ChannelStatistics, coverage: float) -> Activation:
    """One scale for all channels, from the lowest to the highest value of the covered frames."""
    lowest = min(float(np.quantile(statistics.lowest.min(1), 1 - coverage)), 0.0)
    highest = max(float(np.quantile(statistics.highest.max(1), coverage)), 0.0)
    scale = max((highest - lowest) / LEVELS, _TINY)
    return Activation(float(np.float32(scale)), round(-lowest / scale))


def for_outputs(statistics: ChannelStatistics, coverage: float) -> tuple[Activation, NDArray[np.float32]]:
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


def for_inputs(
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
    for balance in _BALANCES if convolution.groups == 1 else (1.0,):
        channel_scales = np.ones(convolution.inputs)
        channel_scales[live] = reach**balance * widest[live] ** (1 - balance)
        # The largest product must still be within reach.
        scale = float((channel_scales[live] / reach).max())
        channel_scales[~live] = _for_silent(widest, channel_scales, live)[~live]
        error = _expected_error(convolution, channel_scales, scale, energy, statistics.mean_square)
        trials.append((error, channel_scales / scale))
    _, best = min(trials, key=lambda trial: trial[0])
    # The scale is part of the channel scales.
    return Activation(1.0, zero_point), best.astype(np.float32)


def for_weights(convolution: Convolution, statistics: ChannelStatistics) -> NDArray[np.float32]:
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
    weight_scales = np.abs(weight.reshape(len(weight), -1)).max(1) / LARGEST_WEIGHT
    kernel = convolution.weight.shape[2:]
    scaled_square = np.square(channel_scales) * mean_square
    energy_in = scaled_square.reshape(convolution.groups, -1).sum(1) * np.prod(kernel)
    by_group = np.square(weight_scales).reshape(convolution.groups, -1).sum(1)
    return by_activation + float((by_group * energy_in).sum())
