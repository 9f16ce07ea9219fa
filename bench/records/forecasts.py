"""What steps foretell of the noise that they add to the logit difference, and where in the network that comes from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Lt, MaxLen

Name = Annotated[str, MaxLen(400)]
Count = Annotated[int, Ge(0)]
Noise = Annotated[float, Ge(0), Lt(math.inf)]
FLOAT_BITS = 32
"""The bits of what stays in float."""
_DIGITS = 4


def shortened(value: float) -> float:
    """A number with as many digits as forecasts are stored with."""
    return float(f"{value:.{_DIGITS}g}")


@dataclass(frozen=True)
class RoundedLayer:
    """A convolution or linear layer after `quantize`: the bits of its weights and of its input, 32 being float.

    `noise` is the mean square of what its rounding alone adds to `logit_fake - logit_real`, as a share of the variance
    of that; of a layer in float, what rounding it would have added. `float_bytes` is by how much the file grows if it
    stays in float, 0 where it does. `macs` are its multiply-accumulates for a frame.
    """

    name: Name
    weight_bits: Count
    input_bits: Count
    noise: Noise
    float_bytes: int
    macs: Count

    @property
    def in_float(self) -> bool:
        return self.weight_bits == FLOAT_BITS


@dataclass(frozen=True)
class NarrowedChannels:
    """Channels that can only go together, after `prune`: how many of `before` are left, of heads where it says `heads`.

    `name` is that of the layer that writes them. `noise` is as in `RoundedLayer`, of their going; None where nothing
    was foretold of them.
    """

    name: Name
    before: Count
    left: Count
    noise: Noise | None
    heads: bool = False


MUCH_DP, MUCH_NOISE = 0.02, 0.01
"""Where P(fake) is foretold to move further on average, or noise to be above this, something is done about it.

Rounding usually comes to .005 and .0005. P(fake) may hardly move where logits are small or saturated, and AUC follows
the noise.
"""


@dataclass(frozen=True)
class Foretold:
    """What a step foretells of the noise that it adds, on so many calibration frames.

    `noise` is that of all together, taken as independent; None where it is not known of all. `deviation` is the
    standard deviation of `logit_fake - logit_real` over the calibration frames that were read, None where nobody
    looked. The `layers` that it could round, and the `channels` that it could narrow, are in the order in which they
    run. `mean_dp` is by how much P(fake) is foretold to move on average; None where that is not known.
    """

    noise: Noise | None
    frames: Count
    deviation: Noise | None = None
    layers: tuple[RoundedLayer, ...] = ()
    channels: tuple[NarrowedChannels, ...] = ()
    mean_dp: Noise | None = None


@dataclass(frozen=True)
class Proposal:
    """Layers that would gain most in float: the `line` of YAML that leaves them so, and what that comes to.

    `share` is how much of the foretold noise goes with them, `file_bytes` by how much the file grows.
    """

    line: str
    layers: tuple[str, ...]
    share: float
    file_bytes: int


@dataclass(frozen=True)
class Forecast:
    """What a `step` of a chain, as it is spelled, foretold, and what it proposes.

    `id` is that of the artifact that it built, `parent` of what it built on.
    """

    step: str
    id: str
    parent: str
    foretold: Foretold
    proposal: Proposal | None = None


@dataclass(frozen=True)
class MeasuredNoise:
    """The noise of a variant on test frames, beside what its steps foretold of it on calibration frames.

    Both are mean squares of the difference to `against`, the variant that those steps began with, as shares of the
    variance of that one's logit difference over the `count` test frames. `typical` is the same by the median frame, for
    errors that are spread as a normal distribution, and `noisiest` the share of `measured` that the noisiest hundredth
    of the frames makes.
    """

    against: str
    foretold: float
    measured: float
    typical: float
    noisiest: float
    count: int
