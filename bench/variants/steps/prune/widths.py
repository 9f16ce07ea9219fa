"""How wide each group of channels may stay under one budget for the whole network.

The budget counts parameters, MACs, the numbers in the file, and an estimate of time: MACs and the values that
convolutions write, on whose reading and writing an EfficientNet spends much of its time, whatever its MACs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from bench.artifacts.footprint import positions_per_frame
from bench.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector
    from bench.variants.steps.prune.channels import Group
    from bench.variants.steps.prune.elimination import Ranked

# What a tensor's name, shape and offsets take in a file's header, in numbers of four bytes.
_HEADER_NUMBERS = 40
# Writing one value, and what is done to it before the next convolution, takes as long as so many MACs: over four
# ways to halve a B5 in onnxruntime, time went with .6 of the share of MACs and .4 of that of values.
_MACS_A_VALUE = 67
# Time is to go down nearly as far as the rest.
_TIME = 1.1
# How finely prices are searched, how coarsely the mixture of what is priced.
_HALVINGS = 24
_PARTS = 4
# Groups that have no curve of losses are left whole where that leaves the others at least this much.
_FLOOR = 1 / 16


@dataclass(frozen=True)
class _Layer:
    """What a module with weights costs: its numbers, and at how many positions of a frame it computes."""

    name: str
    rows: int
    columns: int
    weights: int
    bias: int
    statistics: int
    tensors: int
    positions: int
    macs_a_value: int


class Budget:
    """The cost of any choice of widths, and the choices that leave at most the share `remaining` of everything."""

    def __init__(self, model: Detector, groups: list[Group], remaining: float) -> None:
        self._architecture, self._groups, self._remaining = model.architecture, groups, remaining
        self._layers = _layers(model)
        # The whole is counted without its header, of which pruning takes nothing away.
        self._full = self._cost({group.root: group.width for group in groups}, header=0)
        self._most = np.array([remaining, remaining, remaining, min(1.0, _TIME * remaining)])

    def shares(self, widths: Mapping[str, int]) -> NDArray[np.float64]:
        """What is left of parameters, MACs, stored numbers and time [4], each as a share of the whole."""
        shares: NDArray[np.float64] = self._cost(widths, _HEADER_NUMBERS) / self._full
        return shares

    def fits(self, widths: Mapping[str, int]) -> bool:
        """Whether these widths leave no more than is allowed."""
        return bool((self.shares(widths) <= self._most).all())

    def uniform(self) -> dict[str, int]:
        """Every group narrowed by the same share, by bisection. Raises `UserError` where no share is enough.

        Of heads there are few: channels then make up for what rounding these took too much of.
        """
        best = {group.root: group.rounded(0.0) for group in self._groups}
        if not self.fits(best):
            least = (self.shares(best) / (1, 1, 1, _TIME)).max()
            most = math.floor(1000 * (1 - least)) / 1000  # rounded up it would be refused again
            raise UserError(
                f"prune: {1 - self._remaining:.3g} of {self._architecture} cannot be taken away; "
                f"expected at most {most:g}, where every layer is as narrow as it can be"
            )
        best = self._widest(best, {})
        heads = {group.root: best[group.root] for group in self._groups if group.columns > 1}
        return self._widest(best, heads) if heads else best

    def _widest(self, best: dict[str, int], fixed: Mapping[str, int]) -> dict[str, int]:
        """`best`, which fits, or what fits with more of all groups that have no `fixed` width."""
        narrow, wide = 0.0, 1.0
        for _ in range(_HALVINGS):
            share = (narrow + wide) / 2
            widths = {group.root: fixed.get(group.root, group.rounded(share)) for group in self._groups}
            if self.fits(widths):
                narrow, best = share, widths
            else:
                wide = share
        return best

    def cheapest(self, ranked: Mapping[str, Ranked]) -> dict[str, int]:
        """The widths that lose least of the logit difference, to second order and layers taken as independent.

        Groups that were not ranked stay whole, or, where the others can't pay for all, lose as little as possible.
        """
        uniform = self.uniform()
        for share in np.linspace(1, 0, 21):
            start = {g.root: g.width if share == 1 else g.rounded(float(share)) for g in self._groups}
            floors = {g.root: g.rounded(_FLOOR) for g in self._groups if g.root in ranked}
            if ranked and self.fits({**start, **floors}):
                return self._under_prices(ranked, start)
            if all(start[root] <= width for root, width in uniform.items() if root not in ranked):
                break
        return uniform

    def _under_prices(self, ranked: Mapping[str, Ranked], start: Mapping[str, int]) -> dict[str, int]:
        """The least loss; where heads go, of which there are few, channels then fill what the budget has left."""
        choices = [_choice(group, ranked[group.root], self, start) for group in self._groups if group.root in ranked]
        widths = self._least_loss(choices, start)
        if widths is None:
            return self.uniform()
        heads = {group.root: widths[group.root] for group in self._groups if group.columns > 1}
        others = [choice for choice in choices if choice.root not in heads]
        return (self._least_loss(others, {**start, **heads}) if heads else None) or widths

    def _least_loss(self, choices: list[_Choice], start: Mapping[str, int]) -> dict[str, int] | None:
        """The least loss over all mixtures of the costs that a price can be put on; None where nothing fits."""
        priced = [self._at_price(choices, mixture, start) for mixture in _mixtures(len(self._most))]
        fitting = [loss_and_widths for loss_and_widths in priced if loss_and_widths is not None]
        return min(fitting, key=lambda loss_and_widths: loss_and_widths[0])[1] if fitting else None

    def _at_price(
        self, choices: list[_Choice], mixture: NDArray[np.float64], start: Mapping[str, int]
    ) -> tuple[float, dict[str, int]] | None:
        """Lagrange: each group takes the width where loss and price together are least; the lowest price that fits."""
        low, high = -40.0, 40.0
        best = None
        for _ in range(_HALVINGS):
            price = (low + high) / 2
            taken = [(c, int((c.losses + np.exp(price) * (c.costs @ mixture)).argmin())) for c in choices]
            widths = {**start, **{choice.root: choice.widths[index] for choice, index in taken}}
            if self.fits(widths):
                best, high = (sum(float(choice.losses[index]) for choice, index in taken), widths), price
            else:
                low = price
        return best

    def _cost(self, widths: Mapping[str, int], header: int) -> NDArray[np.float64]:
        """Parameters, MACs, stored numbers, time in MACs, if groups had these widths.

        Stored are the parameters, the statistics of the batch norms, and `header` numbers for each tensor.
        """
        lost_outputs: dict[str, float] = {}
        lost_inputs: dict[str, float] = {}
        for group in self._groups:
            surplus = group.width - widths[group.root]
            for name, share in group.outputs.items():
                lost_outputs[name] = lost_outputs.get(name, 0) + surplus * share
            for name, share in group.inputs.items():
                lost_inputs[name] = lost_inputs.get(name, 0) + surplus * share
        costs = np.zeros(4)
        for layer in self._layers:
            rows = 1 - lost_outputs.get(layer.name, 0) / layer.rows
            weights = layer.weights * rows
            if layer.columns:
                weights *= 1 - lost_inputs.get(layer.name, 0) / layer.columns
            numbers = weights + layer.bias * rows
            stored = numbers + layer.statistics * rows + header * layer.tensors
            macs = weights * layer.positions
            costs += (numbers, macs, stored, macs + layer.macs_a_value * layer.rows * rows * layer.positions)
        return costs


@dataclass(frozen=True)
class _Choice:
    """A group's widths [n], the loss at each [n], and what each costs [n, 4] as shares of the whole."""

    root: str
    widths: list[int]
    losses: NDArray[np.float64]
    costs: NDArray[np.float64]


def _choice(group: Group, ranked: Ranked, budget: Budget, start: Mapping[str, int]) -> _Choice:
    widths = [width for width in group.widths() if width >= group.rounded(_FLOOR)]
    # Costs are straight lines in the width of one group.
    whole, least = (budget.shares({**start, group.root: width}) for width in (group.width, widths[0]))
    each = (whole - least) / max(1, group.width - widths[0])
    return _Choice(group.root, widths, ranked.losses[[group.width - width for width in widths]], np.outer(widths, each))


def _layers(model: Detector) -> list[_Layer]:
    """Every module of a detector that has weights."""
    positions = positions_per_frame(model)
    layers = []
    for name, module in model.named_modules():
        parameters = dict(module.named_parameters(recurse=False))
        if not parameters:
            continue
        if "weight" not in parameters:  # no channels: it stays as it is
            size = sum(parameter.numel() for parameter in parameters.values())
            layers.append(_Layer(name, 1, 0, size, 0, 0, len(parameters), 0, 0))
            continue
        weight = parameters["weight"]
        groups = module.groups if isinstance(module, nn.Conv2d) else 1
        # A depthwise convolution has no inputs of its own to lose: it loses them with its outputs.
        reads = isinstance(module, (nn.Conv2d, nn.Linear)) and (groups == 1 or groups < len(weight))
        statistics = [buffer.numel() for buffer in module.buffers(recurse=False) if buffer.ndim]
        columns = weight.shape[1] * groups if reads else 0
        bias = parameters["bias"].numel() if "bias" in parameters else 0
        sizes = len(weight), columns, weight.numel(), bias, sum(statistics), len(parameters) + len(statistics)
        count = positions.get(name, 0)
        # Over tokens a linear layer is one product of matrices, beside which writing takes no time.
        over_tokens = isinstance(module, nn.Linear) and count > 1
        layers.append(_Layer(name, *sizes, count, 0 if over_tokens else _MACS_A_VALUE))
    return layers


def _mixtures(parts: int) -> list[NDArray[np.float64]]:
    """All ways to share out one price among so many costs, in quarters."""
    counts = itertools.product(range(_PARTS + 1), repeat=parts)
    return [np.array(count) / _PARTS for count in counts if sum(count) == _PARTS]
