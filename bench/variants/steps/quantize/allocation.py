"""Bit allocation: which candidate each convolution gets within a budget of noise, and which ones stay in more bits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import phases
from bench.errors import UserError
from bench.records import LOUD_NOISE

if TYPE_CHECKING:
    from bench.variants.steps.quantize.rounding import Layer


@dataclass(frozen=True)
class Budget:
    """`noise`: what all rounding together may add to the logit difference, as a share of its variance.

    `weights`, `macs`: the shares of all weights and multiply-accumulates that may stay in more bits for it.
    `weights_if_loud`: the share of all weights that may where more than `LOUD_NOISE` would be left otherwise, and no
    more than that is left with it.
    """

    noise: float
    weights: float
    macs: float
    weights_if_loud: float = 0.0


# Noise that moves the logit difference by as much as it varies leaves no detector.
_MOST = 1.0
# A noise of 5e-4 moves probabilities by about .006 on average.
BUDGETS = {
    "int8": Budget(5e-4, 0.01, 0.15, weights_if_loud=0.2),
    "int8 weights": Budget(1e-4, 0.002, 1.0),
    "int4 weights": Budget(5e-4, 0.1, 1.0),
}


@dataclass(frozen=True)
class Candidate:
    """A candidate's expected noise, and how many sets of channel scales it has."""

    noise: float
    extra_scales: int


@dataclass(frozen=True)
class Size:
    """Of a layer: its weights, its multiply-accumulates for a frame, and the `unit` that stays in float as a whole.

    Layers between which limits alone lie, as of ReLU6, are a unit: one writes the bytes that the next one reads. In
    the middle of such a chain maps are widest, and the way from float to bytes would cost most.
    """

    weights: int
    macs: int
    unit: str


@dataclass(frozen=True)
class Allocation:
    """`candidate`: the index of the candidate; None where the convolution stays as it is. `noise`: its expected one.

    `in_float`: the settings name it, so that it stays as it is even where others would take eight bits.
    """

    candidate: int | None
    noise: float
    in_float: bool = False


def among_layers(
    candidates: Mapping[str, Sequence[Layer]],
    noise: Mapping[str, Sequence[float]],
    positions: Mapping[str, int],
    budget: Budget,
    in_float: Collection[str] = (),
) -> dict[str, Allocation]:
    """By convolution, as `allocate`: `noise` is that of its candidates, `positions` how often it runs for a frame."""
    phases.begin("allocating bits")
    sizes: dict[str, Size] = {}
    for name, (layer, *_) in candidates.items():
        weights, before = layer.convolution.weight.size, layer.convolution.behind_layer
        sizes[name] = Size(weights, weights * positions[name], sizes[before].unit if before in sizes else name)
    expected = {
        name: [Candidate(share, layer.extra_scales) for share, layer in zip(noise[name], layers, strict=True)]
        for name, layers in candidates.items()
    }
    return allocate(expected, sizes, budget, in_float)


def allocate(
    candidates: Mapping[str, Sequence[Candidate]],
    sizes: Mapping[str, Size],
    budget: Budget,
    in_float: Collection[str] = (),
) -> dict[str, Allocation]:
    """The allocation of each convolution, by name.

    It gets the candidate with the fewest channel scales whose noise is within an even share of the budget; where none
    is, the one of least noise. If the sum is then above the budget, the noisiest units stay as they are, as far as the
    budget's weights and MACs go; and further where it is loud for all that, and quiet then. Those of `in_float` stay
    so on top of that, whatever it is. Raises `UserError` where noise would bury the logit difference.
    """
    even_share = budget.noise / max(len(candidates), 1)
    allocations = {}
    for name, of_convolution in candidates.items():
        best = _best(of_convolution, even_share)
        allocations[name] = Allocation(best, of_convolution[best].noise)
    units: dict[str, list[str]] = {}
    for name in candidates:
        units.setdefault(sizes[name].unit, []).append(name)
    allocations = _noisiest_left(allocations, list(units.values()), sizes, budget)
    if _total_noise(allocations) > LOUD_NOISE:
        if_loud = Budget(LOUD_NOISE, budget.weights_if_loud, 1.0)
        quiet = _noisiest_left(allocations, list(units.values()), sizes, if_loud)
        # More bytes that leave it loud would be spent in vain.
        allocations = quiet if _total_noise(quiet) <= LOUD_NOISE else allocations
    # The others keep what they have without these, so that less noise is left by just theirs.
    allocations |= {name: Allocation(None, 0.0, in_float=True) for name in in_float}
    expected = _total_noise(allocations)
    if expected > _MOST:
        raise UserError(
            f"quantize: rounding would change the logit difference by {expected:.2g} times its variance on "
            f"calibration frames (at most {_MOST:g} is allowed, {budget.noise:g} usual), so nothing would be left of "
            "it; check that the detector was made for such frames, or use `quantize: {weights: int8}` or `cast: fp16`"
        )
    return allocations


def _noisiest_left(
    allocations: Mapping[str, Allocation], units: Sequence[Sequence[str]], sizes: Mapping[str, Size], budget: Budget
) -> dict[str, Allocation]:
    """With the noisiest units left as they are until noise is within a budget, as far as its weights and MACs go."""
    allocations = dict(allocations)
    whole = {of: sum(getattr(size, of) for size in sizes.values()) for of in ("weights", "macs")}
    most = {"weights": budget.weights * whole["weights"], "macs": budget.macs * whole["macs"]}
    for unit in sorted(units, key=lambda unit: -sum(allocations[name].noise for name in unit)):
        if _total_noise(allocations) <= budget.noise:
            break
        left = {*unit, *(name for name, of in allocations.items() if of.candidate is None)}
        if all(sum(getattr(sizes[name], of) for name in left) <= most[of] for of in whole):
            allocations.update({name: Allocation(None, 0.0) for name in unit})
    return allocations


def _total_noise(allocations: Mapping[str, Allocation]) -> float:
    return sum(allocation.noise for allocation in allocations.values())


def _best(candidates: Sequence[Candidate], even_share: float) -> int:
    """The index of the candidate to take."""
    fitting = [index for index, candidate in enumerate(candidates) if candidate.noise <= even_share]
    if fitting:
        return min(fitting, key=lambda index: (candidates[index].extra_scales, candidates[index].noise))
    return min(range(len(candidates)), key=lambda index: candidates[index].noise)
