"""Bit allocation: which candidate each convolution gets within a budget of noise, and which ones stay in more bits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import phases
from bench.errors import UserError
from bench.records import MUCH_DP, MUCH_NOISE

if TYPE_CHECKING:
    from bench.variants.steps.quantize.rounding import Layer
    from bench.variants.steps.quantize.sensitivities import Effects, Errors


@dataclass(frozen=True)
class Budget:
    """`noise`: what all rounding together may add to the logit difference, as a share of its variance.

    `weights`, `macs`: the shares of all weights and multiply-accumulates that may stay in more bits for it.
    """

    noise: float
    weights: float
    macs: float


# Noise that moves the logit difference by as much as it varies leaves no detector.
_MOST = 1.0
# Spare candidates that do not suffice must leave no more than this share of what was foretold without them.
_WORTH_IT = 0.25
# A noise of 5e-4 moves probabilities by about .006 on average.
BUDGETS = {
    "int8": Budget(5e-4, 0.01, 0.15),
    "int8 weights": Budget(1e-4, 0.002, 1.0),
    "int4 weights": Budget(5e-4, 0.1, 1.0),
}


@dataclass(frozen=True)
class Candidate:
    """A candidate's expected noise, and how many sets of channel scales it has.

    A `spare` one computes in float, with rounded weights, where the others compute on integers.
    """

    noise: float
    extra_scales: int
    spare: bool = False


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
    """`candidate`: the index of the candidate; None where the convolution stays as it is. `noise`: its expected one."""

    candidate: int | None
    noise: float


def among_layers(
    candidates: Mapping[str, Sequence[Layer]],
    effects: Effects,
    positions: Mapping[str, int],
    budget: Budget,
) -> dict[str, Allocation]:
    """By convolution, as `allocate`, and then spare candidates where P(fake) would move far or noise be large.

    `effects` are those of the candidates, `positions` how often each convolution runs for a frame.
    """
    from bench.variants.steps.quantize.candidates import spare  # `bench plan` reads budgets without heavy libraries

    phases.begin("allocating bits")
    sizes: dict[str, Size] = {}
    for name, (layer, *_) in candidates.items():
        weights, before = layer.convolution.weight.size, layer.convolution.behind_layer
        sizes[name] = Size(weights, weights * positions[name], sizes[before].unit if before in sizes else name)
    noise = effects.noise()
    expected = {
        name: [
            Candidate(share, layer.extra_scales, spare=layer is spare(layers))
            for share, layer in zip(noise[name], layers, strict=True)
        ]
        for name, layers in candidates.items()
    }
    return with_spares(allocate(expected, sizes, budget), expected, effects, sizes)


def allocate(
    candidates: Mapping[str, Sequence[Candidate]], sizes: Mapping[str, Size], budget: Budget
) -> dict[str, Allocation]:
    """The allocation of each convolution, by name.

    It gets the candidate with the fewest channel scales whose noise is within an even share of the budget; where none
    is, the one of least noise; no spare one. If the sum is then above the budget, the noisiest units stay as they are,
    as far as the budget's weights and MACs go.
    """
    even_share = budget.noise / max(len(candidates), 1)
    allocations = {}
    for name, of_convolution in candidates.items():
        best = _best(of_convolution, even_share)
        allocations[name] = Allocation(best, of_convolution[best].noise)
    return _noisiest_left(allocations, sizes, budget)


def with_spares(
    allocations: Mapping[str, Allocation],
    candidates: Mapping[str, Sequence[Candidate]],
    effects: Effects,
    sizes: Mapping[str, Size],
) -> dict[str, Allocation]:
    """The same with spare candidates in further units, until P(fake) and noise are foretold to be as they may be.

    Each time that unit gets them with which least is left; none with which it is no less. Where they neither suffice
    nor take most of it away, they would cost speed in vain: then no unit has them.
    """
    spared = dict(allocations)

    def left(errors: Errors) -> float:
        """What errors come to, as a multiple of what they may."""
        return max(effects.mean_dp(errors) / MUCH_DP, effects.noise_of(errors) / MUCH_NOISE)

    errors = effects.of({name: of.candidate for name, of in allocations.items() if of.candidate is not None})
    before = left(errors)
    spares = {name: index for name, layers in candidates.items() for index, layer in enumerate(layers) if layer.spare}
    swaps: dict[tuple[str, ...], tuple[Errors, Errors]] = {}
    for unit in _units(sizes):
        of_unit = {name: allocations[name].candidate for name in unit if name in spares}
        rounded = {name: index for name, index in of_unit.items() if index is not None}
        if rounded:
            swaps[tuple(rounded)] = effects.of(rounded), effects.of({name: spares[name] for name in rounded})
    while swaps and left(errors) > 1:
        after = {unit: errors.with_others(*swap) for unit, swap in swaps.items()}
        best = min(after, key=lambda unit: left(after[unit]))
        if left(after[best]) >= left(errors):
            break
        errors = after[best]
        del swaps[best]
        spared |= {name: Allocation(spares[name], candidates[name][spares[name]].noise) for name in best}
    return spared if left(errors) <= max(1.0, _WORTH_IT * before) else dict(allocations)


def without(allocations: Mapping[str, Allocation], in_float: Collection[str], budget: Budget) -> dict[str, Allocation]:
    """The same with some left as they are: others keep what they have, so that less noise is left by just theirs.

    Raises `UserError` where noise would bury the logit difference all the same.
    """
    allocations = {**allocations, **{name: Allocation(None, 0.0) for name in in_float}}
    expected = _total_noise(allocations)
    if expected > _MOST:
        raise UserError(
            f"quantize: rounding would change the logit difference by {expected:.2g} times its variance on "
            f"calibration frames (at most {_MOST:g} is allowed, {budget.noise:g} usual), so nothing would be left of "
            "it; check that the detector was made for such frames, or use `quantize: {weights: int8}` or `cast: fp16`"
        )
    return allocations


def _units(sizes: Mapping[str, Size]) -> list[list[str]]:
    """The names of the convolutions of each unit."""
    units: dict[str, list[str]] = {}
    for name, size in sizes.items():
        units.setdefault(size.unit, []).append(name)
    return list(units.values())


def _noisiest_left(
    allocations: dict[str, Allocation], sizes: Mapping[str, Size], budget: Budget
) -> dict[str, Allocation]:
    """With the noisiest units left as they are until noise is within a budget, as far as its weights and MACs go."""
    whole = {of: sum(getattr(size, of) for size in sizes.values()) for of in ("weights", "macs")}
    most = {"weights": budget.weights * whole["weights"], "macs": budget.macs * whole["macs"]}
    for unit in sorted(_units(sizes), key=lambda unit: -sum(allocations[name].noise for name in unit)):
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
    usual = [index for index, candidate in enumerate(candidates) if not candidate.spare]
    fitting = [index for index in usual if candidates[index].noise <= even_share]
    if fitting:
        return min(fitting, key=lambda index: (candidates[index].extra_scales, candidates[index].noise))
    return min(usual, key=lambda index: candidates[index].noise)
