"""Which channels the margin can spare: second order, from calibration frames, no labels needed.

A channel's price is what the margin loses when the channel goes *and the others take over as well as they can*:
optimal brain surgeon (Hassibi & Stork, NeurIPS 1993) on the convolution that reads the channels. With H the
second moments of what it reads and G those of the margin's gradient at what it writes, removing input c costs
(w_c' G w_c) / [H^-1]_cc. Channels go one by one, the cheapest first, and the rest is compensated each time,
so that of two channels that say the same, one goes and the other then is dear. Scales of channels cancel out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from bench import phases
from bench.errors import UserError
from bench.variants.checkpoints import each
from bench.variants.layers import compensation, convolutions
from bench.variants.layers.convolutions import Places, at
from bench.variants.steps.prune.ridge import is_constant

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector
    from bench.variants.checkpoints import State
    from bench.variants.steps import StepContext
    from bench.variants.steps.prune.channels import Group

# At most: a gradient wants three times the work of a forward pass, and four times these frames rank no better.
FRAMES = 64
# Share of a channel's variance that is added to it, so that few frames do not make it look redundant.
_RIDGE = 1e-2
# Share of the gradient's second moments that may be left out of account.
_UNFELT = 1e-4
# Removals that are applied to the inverse at once.
_LAZY = 64


@dataclass(frozen=True)
class Ranked:
    """`importance` [width]: how late a channel goes. `losses` [width + 1]: the margin's mean squared error by
    how many channels are gone, to second order."""

    importance: Tensor
    losses: NDArray[np.float64]


@dataclass
class _Seen:
    """Sums over what a convolution read and over the margin's gradients at what it wrote."""

    samples: int = 0
    frames: int = 0
    read: Tensor | float = 0.0
    squares: Tensor | float = 0.0
    gradients: Tensor | float = 0.0


def readers(model: Detector, groups: list[Group]) -> dict[str, str]:
    """By root, the convolution that reads a group's channels: for groups that begin and end inside one unit.

    Channels that pass from unit to unit, such as those of residual sums, have no single reader, and neither
    have those that are read from pooled features only.
    """
    from bench.artifacts.footprint import positions_per_frame

    positions = positions_per_frame(model)
    unit_of = {conv: unit for unit, module in model.stages() for conv in convolutions.convolutions(unit, module)}
    found = {}
    for group in groups:
        convs = [name for name in (*group.outputs, *group.inputs) if name in unit_of]
        reading = [name for name in group.inputs if name in unit_of]
        if len({unit_of[name] for name in convs}) == 1 and reading and set(group.inputs) <= set(unit_of):
            reader = max(reading, key=positions.__getitem__)
            # What reads more than these channels, behind a concatenation, does not tell of them alone.
            if positions[reader] > 1 and getattr(model.get_submodule(reader), "in_channels", 0) == group.width:
                found[group.root] = reader
    return found


def rank(model: Detector, groups: list[Group], work: StepContext, frames: int) -> dict[str, Ranked]:
    """The groups that have one reader, by root. Raises `UserError` where gradients are not finite."""
    by_root = readers(model, groups)
    convs = {name: model.get_submodule(name) for name in dict.fromkeys(by_root.values())}
    seen = _observed(model, convs, work, min(frames, FRAMES))
    roots = [group.root for group in groups if group.root in by_root]

    def ranked(root: str) -> State:
        one = _eliminated(convs[by_root[root]], *_moments(by_root[root], seen[by_root[root]]))
        return {"importance": one.importance, "losses": torch.from_numpy(one.losses)}

    phases.begin("ranking")
    # What shares a GPU takes turns on it anyway.
    threads = work.threads if work.device == "cpu" else 1
    found = {}
    every = each(work.part("ranking"), roots, lambda rest: compensation.side_by_side(ranked, rest, threads))
    for root, state in zip(roots, every, strict=True):
        found[root] = Ranked(state["importance"], state["losses"].numpy())
        work.progress(len(found), len(roots), "layers", "ranking")
    return found


def _observed(model: Detector, convs: Mapping[str, nn.Module], work: StepContext, frames: int) -> dict[str, _Seen]:
    """One forward and one backward pass of the margin over the frames."""
    part = work.part("ranking, observed")
    places = Places(len(work.spread("calibration", frames)), seed=1)
    seen = {name: _Seen() for name in convs}
    if part.state:
        places.generator.set_state(part.state["seen"]["generator"])
        device = model.device
        for name, (samples, count, *sums) in part.state["seen"]["sums"].items():
            seen[name] = _Seen(samples, count, *(one.to(device) for one in sums))

    def note(name: str, conv: nn.Module, read: Tensor, written: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        one = seen[name]
        # By channel, not by tap: of a 3 x 3 convolution's reads only the middles are looked at.
        chosen = places.draw(conv, read)
        vectors = at(read.detach(), chosen).double()
        one.samples += len(vectors)
        one.read = one.read + vectors.sum(0)
        one.squares = one.squares + vectors.T @ vectors

        def note_gradient(gradient: Tensor) -> None:
            rows = gradient.permute(0, 2, 3, 1).flatten(0, 2)
            one.gradients = one.gradients + rows.T @ rows
            one.frames += len(gradient)

        convolutions.on_gradient(written, note_gradient)

    def state() -> State:
        sums = {name: [one.samples, one.frames, one.read, one.squares, one.gradients] for name, one in seen.items()}
        return {"generator": places.generator.get_state(), "sums": sums}

    with convolutions.watched(convs, note):
        convolutions.backward(model, work, frames, part, state)
    return seen


def _moments(name: str, seen: _Seen) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [d] and covariance [d, d] of what was read, second moments of the margin's gradient per frame [o, o]."""
    assert isinstance(seen.read, Tensor)
    assert isinstance(seen.squares, Tensor)
    assert isinstance(seen.gradients, Tensor)
    mean = seen.read / seen.samples
    covariance = seen.squares / seen.samples - mean[:, None] * mean
    gradients = seen.gradients.double() / seen.frames
    if not (covariance.isfinite().all() and gradients.isfinite().all()):
        raise not_finite(name)
    return mean, covariance, gradients


def not_finite(name: str) -> UserError:
    """What to say where there is no telling channels apart."""
    return UserError(
        f"prune: activations or gradients at {name} are not finite on the calibration frames; expected finite "
        "numbers; look at these frames and at the detector's weights, or set `ranking: magnitude`"
    )


def _eliminated(conv: nn.Module, mean: Tensor, covariance: Tensor, gradients: Tensor) -> Ranked:
    """Remove input channel after input channel, down to none."""
    assert isinstance(conv, nn.Conv2d)
    inputs = conv.in_channels
    variance = covariance.diagonal()
    # What is constant over the frames tells nothing, and rounding must not be blown up into something.
    alive = ~is_constant(variance, mean)
    scale = torch.where(alive, variance.clamp_min(0).sqrt(), 0.0)
    correlation = covariance / torch.where(alive, scale, torch.inf) / torch.where(alive, scale, torch.inf)[:, None]
    correlation.diagonal().add_(_RIDGE)
    inverse = torch.linalg.inv(correlation).float()
    weights = (_weights(conv) * scale).float()
    values, vectors = torch.linalg.eigh(gradients)
    # Ascending: directions at the beginning, which the margin hardly feels, cost time and decide nothing.
    felt_at_all = values.clamp_min(0).cumsum(0) >= _UNFELT * values.clamp_min(0).sum()
    root = (values.clamp_min(0).sqrt()[:, None] * vectors.T)[felt_at_all].float()
    # Weights as the margin feels them: a row a direction of the output (and a tap), a column an input channel.
    felt = (root @ weights.flatten(1)).reshape(-1, inputs)
    if len(felt) > inputs:
        # Prices need no more than the columns' products with each other.
        felt = torch.linalg.qr(felt, mode="r").R
    order, losses = _removals(felt.cpu().numpy(), inverse.cpu().numpy())
    importance = torch.empty(inputs)
    importance[torch.tensor(order)] = torch.arange(inputs, dtype=torch.float32)
    return Ranked(importance, np.concatenate([[0.0], np.cumsum(losses)]))


def _weights(conv: nn.Conv2d) -> Tensor:
    """Weights [outputs, taps, inputs] in float64, zero between convolution groups."""
    outputs, each = conv.weight.shape[:2]
    dense = conv.weight.new_zeros(outputs, conv.weight[0, 0].numel(), conv.in_channels, dtype=torch.float64)
    for part, rows in enumerate(torch.arange(outputs).chunk(conv.groups)):
        dense[rows, :, part * each : (part + 1) * each] = conv.weight[rows].detach().flatten(2).transpose(1, 2).double()
    return dense


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
            own = max(float(column[chosen]), 1e-12)
            pending[row], shares[row] = column / own**0.5, column / own
            diagonal -= pending[row] ** 2
            # Every column takes its share of the one that goes.
            gone[row] = felt[:, chosen] - shares[:row, chosen] @ gone[:row]
            products = gone[row] @ felt - (gone[:row] @ gone[row]) @ shares[:row]
            squares += shares[row] * (shares[row] * float(gone[row] @ gone[row]) - 2 * products)
        inverse = np.ascontiguousarray((inverse - pending.T @ pending)[np.ix_(alive, alive)])
        felt = np.ascontiguousarray((felt - gone.T @ shares)[:, alive])
        names = names[alive]
    return order, losses
