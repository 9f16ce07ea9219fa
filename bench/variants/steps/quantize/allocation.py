"""Which way to quantise every convolution, and which to leave in float: the least harm within a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.errors import UserError


@dataclass(frozen=True)
class Budget:
    """`harm`: what all rounding together may add to the margin's variance, as a share of it.

    `weights`, `macs`: the shares of all weights and multiply-accumulates that may be kept in more bits for it.
    """

    harm: float
    weights: float
    macs: float


# What is expected to move the margin by as much as it varies is no detector any more.
_MOST = 1.0
# A harm of 5e-4 moves probabilities by about .006 on average.
BUDGETS = {
    "int8": Budget(5e-4, 0.01, 0.15),
    "int8 weights": Budget(1e-4, 0.002, 1.0),
    "int4 weights": Budget(5e-4, 0.1, 1.0),
}


@dataclass(frozen=True)
class Choice:
    """`way`: the place of the chosen one; None where the convolution stays as it is. `harm`: its expected share."""

    way: int | None
    harm: float


@dataclass(frozen=True)
class Way:
    """`harm`: the expected share of the margin's variance. `extras`: sets of factors that it needs."""

    harm: float
    extras: int


def choose(
    ways: Mapping[str, Sequence[Way]], weights: Mapping[str, int], macs: Mapping[str, int], budget: Budget
) -> dict[str, Choice]:
    """By convolution.

    The simplest way is taken whose harm is within the convolution's fair share; where none is, the least harmful.
    Where the sum is still above the budget, the most harmful convolutions stay as they are, as far as it goes.
    Raises `UserError` where nothing would be left of the margin.
    """
    fair = budget.harm / max(len(ways), 1)
    found = {}
    for name, known in ways.items():
        way = _best(known, fair)
        found[name] = Choice(way, known[way].harm)
    left_weights, left_macs = budget.weights * sum(weights.values()), budget.macs * sum(macs.values())
    for name in sorted(found, key=lambda name: -found[name].harm):
        if sum(choice.harm for choice in found.values()) <= budget.harm:
            break
        if weights[name] <= left_weights and macs[name] <= left_macs:
            left_weights, left_macs = left_weights - weights[name], left_macs - macs[name]
            found[name] = Choice(None, 0.0)
    expected = sum(choice.harm for choice in found.values())
    if expected > _MOST:
        raise UserError(
            f"quantize: rounding would change the margin by {expected:.2g} times what it varies by on calibration "
            f"frames (at most {_MOST:g} is allowed, {budget.harm:g} usual), so nothing would be left of it; check that "
            "the detector was made for such frames, or use `quantize: {weights: int8}` or `cast: fp16`"
        )
    return found


def _best(ways: Sequence[Way], fair: float) -> int:
    fitting = [place for place, way in enumerate(ways) if way.harm <= fair]
    if fitting:
        return min(fitting, key=lambda place: (ways[place].extras, ways[place].harm))
    return min(range(len(ways)), key=lambda place: ways[place].harm)
