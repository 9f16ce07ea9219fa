"""The order in which a layer's inputs go, the cheapest first, while those that stay take over.

Optimal brain surgeon (Hassibi & Stork, NeurIPS 1993) on the layer that reads them; `ranking` says what it costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from bench.variants.layers.convolutions import is_constant

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.variants.layers.convolutions import Layer

# Share of a channel's variance that is added to it, so that few frames do not make it look redundant.
_RIDGE = 1e-2
# Share of the gradient's second moments that may be left out of account.
_UNFELT = 1e-4
# Removals that are applied to the inverse at once.
_LAZY = 64


@dataclass(frozen=True)
class Ranked:
    """`importance` [width]: how late a channel goes. `losses` [width + 1]: the logit difference's mean squared error,
    by how many channels are gone, to second order. `gradients` [outputs, outputs]: second moments of that difference's
    gradient at what the reader writes. `variance` is that of the logit difference; None where unknown.
    """

    importance: Tensor
    losses: NDArray[np.float64]
    gradients: Tensor | None = None
    variance: float | None = None


def eliminated(layer: Layer, columns: int, mean: Tensor, covariance: Tensor, gradients: Tensor) -> Ranked:
    """Remove input after input of a layer, down to none; `columns` of them, side by side, always go together.

    Of its inputs `mean` [i] and `covariance` [i, i]; `gradients` [o, o] are second moments at what it writes.
    """
    inputs = len(mean)
    variance = covariance.diagonal()
    # What is constant over the frames tells nothing, and rounding must not be blown up into something.
    alive = ~is_constant(variance, mean)
    scale = torch.where(alive, variance.clamp_min(0).sqrt(), 0.0)
    correlation = covariance / torch.where(alive, scale, torch.inf) / torch.where(alive, scale, torch.inf)[:, None]
    correlation.diagonal().add_(_RIDGE)
    inverse = torch.linalg.inv(correlation).float()
    weights = (_weights(layer, inputs) * scale).float()
    values, vectors = torch.linalg.eigh(gradients)
    # Ascending: the first directions, which the logit difference hardly feels, cost time and decide nothing.
    felt_at_all = values.clamp_min(0).cumsum(0) >= _UNFELT * values.clamp_min(0).sum()
    root = (values.clamp_min(0).sqrt()[:, None] * vectors.T)[felt_at_all].float()
    # Weights as the logit difference feels them: a row a direction of the output and a tap, a column an input channel.
    felt = (root @ weights.flatten(1)).reshape(-1, inputs)
    if len(felt) > inputs:
        # Prices need no more than the columns' products with each other.
        felt = torch.linalg.qr(felt, mode="r").R
    if columns == 1:
        order, losses = _removals(felt.cpu().numpy(), inverse.cpu().numpy())
    else:
        order, losses = _removals_of_blocks(felt.double().cpu().numpy(), inverse.double().cpu().numpy(), columns)
    importance = torch.empty(len(order))
    importance[torch.tensor(order)] = torch.arange(len(order), dtype=torch.float32)
    return Ranked(importance, np.concatenate([[0.0], np.cumsum(losses)]))


def _weights(layer: Layer, inputs: int) -> Tensor:
    """Weights [outputs, taps, inputs] in float64, zero between convolution groups."""
    if isinstance(layer, nn.Linear):
        return layer.weight.detach()[:, None].double()
    outputs, each = layer.weight.shape[:2]
    dense = layer.weight.new_zeros(outputs, layer.weight[0, 0].numel(), inputs, dtype=torch.float64)
    for part, rows in enumerate(torch.arange(outputs).chunk(layer.groups)):
        of_part = layer.weight[rows].detach().flatten(2).transpose(1, 2).double()
        dense[rows, :, part * each : (part + 1) * each] = of_part
    return dense


def _removals_of_blocks(
    felt: NDArray[np.float64], inverse: NDArray[np.float64], columns: int
) -> tuple[list[int], list[float]]:
    """`_removals` of blocks of so many columns, of which there are few."""
    left, order, losses = list(range(len(inverse) // columns)), list[int](), list[float]()
    while left:
        shares, prices = [], []
        for block in range(len(left)):
            rows = slice(block * columns, (block + 1) * columns)
            # How the other columns take over those of the block, each its part of each.
            shares.append(np.linalg.solve(inverse[rows, rows], inverse[rows]))
            prices.append(float(np.sum(felt[:, rows] * np.linalg.solve(inverse[rows, rows], felt[:, rows].T).T)))
        chosen = int(np.argmin(prices))
        rows = slice(chosen * columns, (chosen + 1) * columns)
        stays = np.delete(np.arange(len(inverse)), rows)
        felt = (felt - felt[:, rows] @ shares[chosen])[:, stays]
        inverse = (inverse - inverse[:, rows] @ shares[chosen])[np.ix_(stays, stays)]
        order.append(left.pop(chosen))
        losses.append(max(0.0, prices[chosen]))
    return order, losses


def _removals(felt: NDArray[np.float32], inverse: NDArray[np.float32]) -> tuple[list[int], list[float]]:
    """The order in which columns go, and what each costs. Both matrices are brought up to date now and then only.

    NumPy, because these are very many very small operations.
    """
    names, order, losses = np.arange(len(inverse)), list[int](), list[float]()
    while len(names):
        diagonal, alive = inverse.diagonal().copy(), np.ones(len(names), dtype=bool)
        # Afresh for every block, so that what rounding adds to the sums below does not grow.
        squares = np.einsum("rc,rc->c", felt, felt).astype(np.float64)
        pending = np.zeros((min(_LAZY, len(names)), len(names)), dtype=np.float32)
        shares, gone = np.zeros_like(pending), np.zeros((len(pending), len(felt)), dtype=np.float32)
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
            gone[row] = felt[:, chosen] - shares[:row, chosen] @ gone[:row]
            products = gone[row] @ felt - (gone[:row] @ gone[row]) @ shares[:row]
            squares += shares[row] * (shares[row] * float(gone[row] @ gone[row]) - 2 * products)
        inverse = np.ascontiguousarray((inverse - pending.T @ pending)[np.ix_(alive, alive)])
        felt = np.ascontiguousarray((felt - gone.T @ shares)[:, alive])
        names = names[alive]
    return order, losses
