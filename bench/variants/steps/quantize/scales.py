"""Where the 256 levels of a tensor go, so that the convolution that reads it loses least.

An activation has one scale and one zero point: that is all that integer kernels know. But every
input channel may be multiplied by a factor first, if its weights are divided by it (as SmoothQuant does:
Xiao et al., ICML 2023). Factors follow from what the channel holds and from its weights, so a
network whose channels were rescaled, and that computes the same thing, is quantised to the same integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.variants.steps.quantize.exported import Convolution
from bench.variants.steps.quantize.observe import Channels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEVELS = 255
LARGEST_WEIGHT = 127
# From factors that even out the weights (0) to factors that even out the activations (1).
_BALANCES = (0.25, 0.5, 0.75, 1.0)
_TINY = 1e-12


@dataclass(frozen=True)
class Activation:
    """How a tensor is written in eight bits: `round(x / scale) + zero_point`, in [0, 255]."""

    scale: float
    zero_point: int


def for_tensor(channels: Channels, within: float) -> Activation:
    """One scale for all channels: from the lowest to the highest value of all but the most extreme frames."""
    import numpy as np

    lowest = min(float(np.quantile(channels.lowest.min(1), 1 - within)), 0.0)
    highest = max(float(np.quantile(channels.highest.max(1), within)), 0.0)
    scale = max((highest - lowest) / LEVELS, _TINY)
    return Activation(float(np.float32(scale)), round(-lowest / scale))


def for_outputs(channels: Channels, within: float) -> tuple[Activation, NDArray[np.float32]]:
    """One scale, and a factor for every channel that is written [out]: each then fills the levels as far as it can."""
    import numpy as np

    lowest, highest = _extremes(channels, within)
    live = (lowest < -_TINY) | (highest > _TINY)
    factors = np.ones(len(live))
    if not live.any():
        return Activation(1.0, 0), factors.astype(np.float32)
    # Whatever its scale, a channel may lose the same share.
    square = np.maximum(channels.mean_square[live], _TINY**2)
    zero_point, factors[live] = _zero_point(lowest[live], highest[live], 1 / square)
    factors[~live] = np.median(factors[live])
    return Activation(1.0, zero_point), factors.astype(np.float32)


def for_channels(convolution: Convolution, channels: Channels, within: float) -> tuple[Activation, NDArray[np.float32]]:
    """One scale, and a factor for every input channel [in]: those by which the outputs' expected error is least.

    `within`: the share of frames whose extremes are to be represented, channel by channel.
    """
    import numpy as np

    lowest, highest = _extremes(channels, within)
    columns = convolution.columns().astype(np.float64)
    energy = np.square(columns).sum(1)
    live = ((lowest < -_TINY) | (highest > _TINY)) & (energy > _TINY)
    if not live.any():
        return Activation(1.0, 0), np.ones(convolution.inputs, np.float32)
    widest = np.abs(columns).max(1)
    square = channels.mean_square
    zero_point, reach = _zero_point(lowest[live], highest[live], energy[live])
    found = []
    for balance in _BALANCES if convolution.groups == 1 else (1.0,):
        factors = np.ones(convolution.inputs)
        factors[live] = reach**balance * widest[live] ** (1 - balance)
        # The largest product must still be within reach.
        scale = float((factors[live] / reach).max())
        factors[~live] = _for_silent(widest, factors, live)[~live]
        found.append((_error(convolution, factors, scale, energy, square), factors / scale))
    best = min(found, key=lambda one: one[0])[1]
    # The scale is part of the factors.
    return Activation(1.0, zero_point), best.astype(np.float32)


def for_weights(convolution: Convolution, channels: Channels) -> NDArray[np.float32]:
    """A factor for every input channel [in] that lets the rounding of weights alone cost least.

    Inputs that carry much get finer weights (as AWQ does: Lin et al., MLSys 2024).
    """
    import numpy as np

    widest = np.abs(convolution.columns()).max(1).astype(np.float64)
    carried = np.sqrt(channels.mean_square)
    live = (widest > _TINY) & (carried > _TINY)
    factors = np.ones(convolution.inputs)
    if live.any():
        factors[live] = np.sqrt(widest[live] / carried[live])
        factors[live] /= np.median(factors[live])
        factors[~live] = _for_silent(widest, factors, live)[~live]
    return factors.astype(np.float32)


def _extremes(channels: Channels, within: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """By channel, from where to where the values of all but the most extreme frames reach; 0 is among them."""
    import numpy as np

    lowest = np.minimum(np.quantile(channels.lowest, 1 - within, axis=0), 0.0)
    highest = np.maximum(np.quantile(channels.highest, within, axis=0), 0.0)
    return lowest, highest


def _for_silent(
    widest: NDArray[np.float64], factors: NDArray[np.float64], live: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Factors for channels that no frame showed: their weights come to be as large as the others', and set no steps."""
    import numpy as np

    usual = float(np.median(widest[live] / factors[live]))
    return np.where(widest > _TINY, widest / max(usual, _TINY), 1.0)


def _zero_point(
    lowest: NDArray[np.float64], highest: NDArray[np.float64], energy: NDArray[np.float64]
) -> tuple[int, NDArray[np.float64]]:
    """The zero point that serves all channels best, and how far each may be stretched with it, in levels a unit."""
    import numpy as np

    points = np.arange(LEVELS + 1)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        below = np.where(lowest < -_TINY, points / -lowest, np.inf)
        above = np.where(highest > _TINY, (LEVELS - points) / highest, np.inf)
    reach = np.minimum(below, above)
    with np.errstate(divide="ignore"):
        error = (energy / np.square(reach)).sum(1)
    best = int(error.argmin())
    return best, reach[best]


def _error(
    convolution: Convolution,
    factors: NDArray[np.float64],
    scale: float,
    energy: NDArray[np.float64],
    square: NDArray[np.float64],
) -> float:
    """Expected squared error of all outputs, from rounding activations and weights, in units of 1 / 12."""
    import numpy as np

    by_activation = float((energy * np.square(scale / factors)).sum())
    weight = convolution.by_input((1 / factors).astype(np.float32))
    steps = np.abs(weight.reshape(len(weight), -1)).max(1) / LARGEST_WEIGHT
    per_output = convolution.weight.shape[1:]
    groups = np.square(factors) * square
    energy_in = groups.reshape(convolution.groups, -1).sum(1) * np.prod(per_output[1:])
    by_group = np.square(steps).reshape(convolution.groups, -1).sum(1)
    return by_activation + float((by_group * energy_in).sum())
