"""The order in which a layer's inputs go, the cheapest first, while those that stay take over.

Optimal brain surgeon (Hassibi & Stork, NeurIPS 1993) on the layer that reads them; `ranking` says what it costs.

What a layer loses by how many are gone is measured on frames that this fit leaves out (`held_out`): weights that are
fitted to few frames do worse on others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

from bench.variants.layers.convolutions import is_constant
from bench.variants.steps.prune.held_out import as_stored, dense

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.variants.layers.convolutions import Layer

# Share of a channel's variance that is added to it, so that few frames do not make it look redundant.
_RIDGE = 1e-2
# Share of the gradient's second moments that may be left out of account.
_UNFELT = 1e-4
# Removals that are applied to the inverse at once: a sixteenth of all, at least and at most so many.
_STAGES, _LEAST_LAZY, _MOST_LAZY = 16, 8, 64

_Judge: TypeAlias = "Callable[[NDArray[np.intp], NDArray[np.float32]], None]"


@dataclass(frozen=True)
class Ranked:
    """`importance` [width]: how late a channel goes. `losses` [width + 1]: the logit difference's mean squared error,
    by how many channels are gone, on frames that the fit leaves out. `gradients` [outputs, outputs]: second
    moments of that difference's gradient at what the reader writes. `variance` is that of the logit difference; None
    where unknown. `held_out` is how many frames the losses are measured on.
    """

    importance: Tensor
    losses: NDArray[np.float64]
    gradients: Tensor | None = None
    variance: float | None = None
    held_out: int = 0


def eliminated(
    layer: Layer, columns: int, mean: Tensor, covariance: Tensor, gradients: Tensor, of_held_out: Tensor
) -> Ranked:
    """Remove input after input of a layer, down to none; `columns` of them, side by side, always go together.

    Of its inputs `mean` [i] and `covariance` [i, i]; `gradients` [o, o] are second moments at what it writes.
    `of_held_out` [frames, weights] are gradients of the weights, inputs about their mean, of frames that the covariance
    leaves out.
    """
    inputs = len(mean)
    variance = covariance.diagonal()
    # What is constant over the frames tells nothing, and rounding must not be blown up into something.
    alive = ~is_constant(variance, mean)
    scale = torch.where(alive, variance.clamp_min(0).sqrt(), 0.0)
    if (groups := getattr(layer, "groups", 1)) > 1:
        # Within a convolution group alone can an input take over another one.
        blocks = covariance.new_ones(inputs // groups, inputs // groups)
        covariance = covariance * torch.kron(torch.eye(groups).to(blocks), blocks)
    divisor = torch.where(alive, scale, torch.inf)
    correlation = covariance / divisor / divisor[:, None]
    correlation.diagonal().add_(_RIDGE)
    inverse = torch.linalg.inv(correlation).float()
    weights = (dense(layer, inputs) * scale).float()
    values, vectors = torch.linalg.eigh(gradients)
    # Ascending: the first directions, which the logit difference hardly feels, cost time and decide nothing.
    felt_at_all = values.clamp_min(0).cumsum(0) >= _UNFELT * values.clamp_min(0).sum()
    root = (values.clamp_min(0).sqrt()[:, None] * vectors.T)[felt_at_all].float()
    # Weights as the logit difference feels them: a row a direction of the output and a tap, a column an input channel.
    felt = (root @ weights.flatten(1)).reshape(-1, inputs)
    if len(felt) > inputs:
        # Prices need no more than the columns' products with each other.
        felt = torch.linalg.qr(felt, mode="r").R
    whole = weights.flatten(0, 1).cpu().numpy()
    unscaled = (1 / divisor).float().cpu().numpy()
    lost = {0: 0.0}

    def judge(stay: NDArray[np.intp], left: NDArray[np.float32]) -> None:
        """Note what the held-out frames lose by weights `left` [outputs * taps, stay]."""
        change = -whole
        change[:, stay] += left
        of_weights = as_stored(layer, torch.from_numpy(change * unscaled).reshape(weights.shape))
        lost[(inputs - len(stay)) // columns] = float((of_held_out @ of_weights).square().mean())

    if columns == 1:
        order, prices = _removals(felt.cpu().numpy(), inverse.cpu().numpy(), whole, judge)
    else:
        felt_and_inverse = felt.double().cpu().numpy(), inverse.double().cpu().numpy()
        order, prices = _removals_of_blocks(*felt_and_inverse, columns, whole, judge)
    importance = torch.empty(len(order))
    importance[torch.tensor(order)] = torch.arange(len(order), dtype=torch.float32)
    return Ranked(importance, _measured(np.concatenate([[0.0], np.cumsum(prices)]), lost))


def _measured(priced: NDArray[np.float64], lost: Mapping[int, float]) -> NDArray[np.float64]:
    """What is lost after each removal [n], of what was measured after some: in between it grows as prices do.

    At least the price, to second order and on the frames of the fit: that few frames lose less is chance.
    """
    gone = np.fromiter(lost, dtype=np.intp)
    at_least = np.maximum.accumulate(np.fromiter(lost.values(), dtype=np.float64))
    return np.maximum(priced, np.interp(priced, priced[gone], at_least))


def _removals_of_blocks(
    felt: NDArray[np.float64], inverse: NDArray[np.float64], columns: int, weights: NDArray[np.float32], judge: _Judge
) -> tuple[list[int], list[float]]:
    """`_removals` of blocks of so many columns, of which there are few."""
    left, order, losses = list(range(len(inverse) // columns)), list[int](), list[float]()
    stay = np.arange(len(inverse))
    while left:
        shares, prices = [], []
        for block in range(len(left)):
            rows = slice(block * columns, (block + 1) * columns)
            # How the other columns take over those of the block, each its part of each.
            shares.append(np.linalg.solve(inverse[rows, rows], inverse[rows]))
            prices.append(float(np.sum(felt[:, rows] * np.linalg.solve(inverse[rows, rows], felt[:, rows].T).T)))
        chosen = int(np.argmin(prices))
        rows = slice(chosen * columns, (chosen + 1) * columns)
        remain = np.delete(np.arange(len(inverse)), rows)
        felt = (felt - felt[:, rows] @ shares[chosen])[:, remain]
        weights = (weights - weights[:, rows] @ shares[chosen].astype(np.float32))[:, remain]
        inverse = (inverse - inverse[:, rows] @ shares[chosen])[np.ix_(remain, remain)]
        stay = stay[remain]
        order.append(left.pop(chosen))
        losses.append(max(0.0, prices[chosen]))
        judge(stay, weights)
    return order, losses


def _removals(
    felt: NDArray[np.float32], inverse: NDArray[np.float32], weights: NDArray[np.float32], judge: _Judge
) -> tuple[list[int], list[float]]:
    """The order in which columns go, and what each costs. All matrices are brought up to date now and then only.

    `judge(stay, left)` is told then which columns stay, and what is left of the `weights` in these.

    NumPy, because these are very many very small operations.
    """
    names, order, losses = np.arange(len(inverse)), list[int](), list[float]()
    lazy = min(_MOST_LAZY, max(_LEAST_LAZY, len(names) // _STAGES))
    # Weights change as felt ones do, and tell nothing of prices.
    priced, carried = len(felt), np.concatenate([felt, weights])
    while len(names):
        felt = carried[:priced]
        diagonal, alive = inverse.diagonal().copy(), np.ones(len(names), dtype=bool)
        # Afresh for every block, so that what rounding adds to the sums below does not grow.
        squares = np.einsum("rc,rc->c", felt, felt).astype(np.float64)
        pending = np.zeros((min(lazy, len(names)), len(names)), dtype=np.float32)
        shares, gone = np.zeros_like(pending), np.zeros((len(pending), len(carried)), dtype=np.float32)
        for row in range(len(pending)):
            prices = squares.clip(0) / diagonal.clip(1e-12)
            prices[~alive] = np.inf
            chosen = int(prices.argmin())
            order.append(int(names[chosen]))
            losses.append(float(prices[chosen]))
            alive[chosen] = False
            column = inverse[chosen] - pending[:row, chosen] @ pending[:row]
            pivot = max(float(column[chosen]), 1e-12)
            pending[row], shares[row] = column / pivot**0.5, column / pivot
            diagonal -= pending[row] ** 2
            # Every column takes its share of the one that goes.
            gone[row] = carried[:, chosen] - shares[:row, chosen] @ gone[:row]
            of_price = gone[:, :priced]
            products = of_price[row] @ felt - (of_price[:row] @ of_price[row]) @ shares[:row]
            squares += shares[row] * (shares[row] * float(of_price[row] @ of_price[row]) - 2 * products)
        inverse = np.ascontiguousarray((inverse - pending.T @ pending)[np.ix_(alive, alive)])
        carried = np.ascontiguousarray((carried - gone.T @ shares)[:, alive])
        names = names[alive]
        judge(names, carried[priced:])
    return order, losses
