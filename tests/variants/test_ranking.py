"""What is foretold of channels that go: by frames that nothing was fitted to, all positions of a frame together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from bench.variants.layers.convolutions import as_map
from bench.variants.steps.prune import ranking
from bench.variants.steps.prune.elimination import Ranked, dense, eliminated

CONVOLUTIONS = [
    nn.Conv2d(6, 8, 1), nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False), nn.Conv2d(6, 8, 3, padding=1, groups=2),
    nn.Conv2d(6, 6, 5, padding=2, groups=6), Conv2dSame(6, 8, 3, stride=2),
]  # fmt: skip


def read_by(layer: nn.Module, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (count, 7, 6) if isinstance(layer, nn.Linear) else (count, 6, 9, 7)
    return torch.randn(shape, generator=generator) + 3


@pytest.mark.parametrize("layer", [*CONVOLUTIONS, nn.Linear(6, 8)], ids=str)
def test_derivatives_are_those_of_each_frame(layer: Any) -> None:
    read = read_by(layer, 3)
    written = layer(read)
    gradient = torch.randn(written.shape, generator=torch.Generator().manual_seed(2))
    slopes, offsets = ranking._derivatives(layer, read, gradient)
    for frame in range(3):
        (expected,) = torch.autograd.grad((layer(read) * gradient)[frame].sum(), layer.weight)
        torch.testing.assert_close(slopes[frame], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(offsets, as_map(layer, gradient).sum((2, 3)))


@pytest.mark.parametrize("layer", [*CONVOLUTIONS[:3], nn.Linear(6, 8)], ids=str)
@torch.no_grad()
def test_weights_that_change_cost_what_the_frames_feel(layer: Any) -> None:
    """All inputs gone and their mean made up for: what is left out of account is nothing but a bias."""
    read, mean = read_by(layer, 5), torch.full((6,), 3.0, dtype=torch.float64)
    gradient = torch.randn(layer(read).shape, generator=torch.Generator().manual_seed(2))
    sums = ranking._Sums()
    for batch in (slice(0, 2), slice(2, 5)):
        by_weight, by_output = ranking._derivatives(layer, read[batch], gradient[batch])
        sums.slopes.append(by_weight)
        sums.offsets.append(by_output)
    slopes = ranking._slopes(layer, sums, mean)
    constant = layer.weight.flatten(1).sum(1) * 3
    lost = as_map(layer, gradient * (layer(read) - written_of(layer, constant))).sum((1, 2, 3))
    torch.testing.assert_close(
        (slopes * dense(layer, layer.weight, 6)).sum((1, 2, 3)).float(), lost, rtol=1e-3, atol=1e-2
    )


def written_of(layer: Any, constant: Tensor) -> Tensor:
    """A constant at each output, with the layer's bias."""
    whole = constant if layer.bias is None else constant + layer.bias
    return whole if isinstance(layer, nn.Linear) else whole[:, None, None]


def population(rows: int, rng: np.random.Generator) -> torch.Tensor:
    """Rows of 60 inputs, of which any thirty tell of the others, with noise."""
    common = rng.normal(size=(rows, 20)) @ np.random.default_rng(9).normal(size=(20, 60))
    return torch.tensor(common + 2 * rng.normal(size=(rows, 60)))


def ranked_by(rows: int, unseen: int) -> tuple[Ranked, Ranked]:
    """By what so many other frames lose, and by those that the fit was made from. A frame has one position."""
    torch.manual_seed(0)
    rng, layer = np.random.default_rng(2), nn.Conv2d(60, 1, 1)
    seen = population(rows, rng)
    mean = seen.mean(0)
    covariance = (seen - mean).T @ (seen - mean) / rows
    gradients = torch.ones(1, 1, dtype=torch.float64)
    by_others, by_own = (
        eliminated(layer, 1, mean, covariance, gradients, (frames - mean)[:, None, None])
        for frames in (population(unseen, rng), seen)
    )
    return by_others, by_own


def test_what_few_frames_fit_too_well_is_foretold() -> None:
    by_few, by_own = ranked_by(70, 2000)
    by_many, _ = ranked_by(5000, 2000)
    half = 30
    assert by_few.importance.equal(by_own.importance)
    assert by_few.losses[half] > 3 * by_own.losses[half], "a fit to few frames looks good on these"
    assert by_few.losses[half] > 1.5 * by_many.losses[half], "and is worse than one to many"
    for ranked in (by_few, by_own, by_many):
        assert ranked.losses[0] == 0
        assert (np.diff(ranked.losses) >= 0).all()
