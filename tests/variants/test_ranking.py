"""What is foretold of channels that go: by frames that nothing was fitted to, all positions of a frame together."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from bench.variants.layers.convolutions import as_map
from bench.variants.steps.prune import elimination
from bench.variants.steps.prune.elimination import Ranked, eliminated
from bench.variants.steps.prune.held_out import HeldOut, as_stored, dense, gradients, held_out

INPUTS, FRAMES = 12, 6
LAYERS = [
    nn.Conv2d(INPUTS, 8, 1), nn.Conv2d(INPUTS, 8, 3, stride=2, padding=1, bias=False),
    nn.Conv2d(INPUTS, 8, 3, padding=1, groups=2), Conv2dSame(INPUTS, 8, 3, stride=2), nn.Linear(INPUTS, 8),
]  # fmt: skip


def read_by(layer: nn.Module, count: int, mean: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (count, 7, INPUTS) if isinstance(layer, nn.Linear) else (count, INPUTS, 9, 7)
    return torch.randn(shape, generator=generator) + mean


def gradient_at(written: Tensor) -> Tensor:
    """Of one sign wherever it is felt, as behind pooling."""
    return torch.rand(written.shape, generator=torch.Generator().manual_seed(2))


def of_held_out(layer: Any, read: Tensor, mean: Tensor) -> Tensor:
    """Gradients about `mean`, in two batches."""
    frames, gradient = HeldOut(), gradient_at(layer(read))
    for batch in (slice(0, 2), slice(2, None)):
        frames.add(layer, read[batch], gradient[batch])
    return frames.centred(layer, mean)


# ------------------------------------------------------------------------------------ which frames
@pytest.mark.parametrize(
    ("sizes", "held"),
    [
        ([1] * 64, 16), ([1] * 8, 2), ([64], 16), ([8], 2), ([1, 1, 1, 61], 16), ([2, 1, 1, 4], 2),
        ([4] * 16, 16), ([3] * 5, 3), ([30, 2, 2, 2, 4], 10),
    ],
)  # fmt: skip
def test_a_quarter_is_held_out_by_source_where_sources_allow(sizes: list[int], held: int) -> None:
    sources = [f"video {number}" for number, size in enumerate(sizes) for _ in range(size)]
    chosen = held_out(sources, 1)
    assert int(chosen.sum()) == held
    by_source = [
        {bool(value) for value, name in zip(chosen, sources, strict=True) if name == source} for source in sources
    ]
    assert all(len(values) == 1 for values in by_source) or max(sizes) > len(sources) // 2


def test_of_huge_networks_fewer_are_held_out() -> None:
    assert [int(held_out([None] * 64, weights).sum()) for weights in (10**6, 4 * 10**7, 10**9)] == [16, 13, 8]


# --------------------------------------------------------------------------------------- gradients
@pytest.mark.parametrize("layer", [*LAYERS, nn.Conv2d(INPUTS, INPUTS, 5, padding=2, groups=INPUTS)], ids=str)
def test_gradients_are_those_of_each_frame(layer: Any) -> None:
    read = read_by(layer, 3)
    gradient = gradient_at(layer(read))
    of_weights, of_bias = gradients(layer, read, gradient)
    for frame in range(3):
        (expected,) = torch.autograd.grad((layer(read) * gradient)[frame].sum(), layer.weight)
        torch.testing.assert_close(of_weights[frame], expected, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(of_bias, as_map(layer, gradient).sum((2, 3)))


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_dense_weights_lie_as_the_layers_do_again(layer: Any) -> None:
    assert torch.equal(as_stored(layer, dense(layer, INPUTS)).float(), layer.weight.flatten())


@pytest.mark.parametrize("mean", [0.0, 3.0, 30.0])
def test_a_large_mean_takes_no_precision(mean: float) -> None:
    """Two bytes hold what is left when the mean is gone, and not the mean."""
    layer = LAYERS[0]
    read = read_by(layer, FRAMES, mean)
    means = torch.full((INPUTS,), mean, dtype=torch.float64)
    exact, _ = gradients(layer, (read - mean), gradient_at(layer(read)))
    by_frame = of_held_out(layer, read, means)
    assert float((by_frame - exact.flatten(1)).square().mean().sqrt()) < 0.01 * float(exact.square().mean().sqrt())


# ------------------------------------------------------------------------------------ what is lost
def lost_without(layer: Any, gone: Tensor, stay: Tensor, covariance: Tensor, mean: Tensor, read: Tensor) -> float:
    """Written out by the layer itself, with the weights of those that `stay` and a bias for what is gone on average."""
    takes_over = torch.zeros_like(covariance)
    takes_over[stay, stay] = 1.0
    takes_over[gone[:, None], stay] = covariance[gone][:, stay] @ torch.linalg.inv(covariance[stay][:, stay])
    change = dense(layer, INPUTS) @ takes_over - dense(layer, INPUTS)
    constant = -(change.sum(1) @ mean).float()
    changed = copy.deepcopy(layer)
    changed.weight.add_(as_stored(layer, change).reshape(layer.weight.shape))
    after = changed(read) + (constant if isinstance(layer, nn.Linear) else constant[:, None, None])
    before = layer(read)
    return float((gradient_at(before) * (after - before)).flatten(1).sum(1).square().mean())


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@torch.no_grad()
def test_losses_are_those_of_the_layer_with_fewer_inputs(layer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two, four and six inputs gone; where more that go lose less, what fewer have lost."""
    monkeypatch.setattr(elimination, "_RIDGE", 1e-9)
    monkeypatch.setattr(elimination, "_LEAST_LAZY", 2)
    groups = getattr(layer, "groups", 1)
    mixed = torch.randn(INPUTS, INPUTS, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    within = torch.kron(torch.eye(groups), torch.ones(INPUTS // groups, INPUTS // groups))
    covariance = mixed @ mixed.T / INPUTS + torch.eye(INPUTS)
    read, mean = read_by(layer, FRAMES), torch.full((INPUTS,), 3.0, dtype=torch.float64)
    felt = torch.eye(8, dtype=torch.float64) * 1e-6
    ranked = eliminated(layer, 1, mean, covariance, felt, of_held_out(layer, read, mean))
    order, lost = ranked.importance.argsort(), 0.0
    for count in (2, 4, 6):
        lost = max(lost, lost_without(layer, order[:count], order[count:], covariance * within, mean, read))
        assert ranked.losses[count] == pytest.approx(lost, rel=0.02)


def population(rows: int, rng: np.random.Generator) -> Tensor:
    """Rows of 60 inputs, of which any thirty tell of the others, with noise."""
    common = rng.normal(size=(rows, 20)) @ np.random.default_rng(9).normal(size=(20, 60))
    return torch.tensor(common + 2 * rng.normal(size=(rows, 60)))


def ranked_by(rows: int, frames: int) -> tuple[Ranked, Ranked]:
    """By what so many other frames lose, and by those that the fit was made from. A frame has one position."""
    torch.manual_seed(0)
    rng, layer = np.random.default_rng(2), nn.Conv2d(60, 1, 1)
    fitted = population(rows, rng)
    mean = fitted.mean(0)
    covariance = (fitted - mean).T @ (fitted - mean) / rows
    by_others, by_own = (
        eliminated(layer, 1, mean, covariance, torch.ones(1, 1, dtype=torch.float64), (read - mean).float())
        for read in (population(frames, rng), fitted)
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


def test_few_frames_that_lose_nothing_by_chance_are_not_believed() -> None:
    """The price on the frames of the fit is the least."""
    torch.manual_seed(0)
    layer, mean, covariance = nn.Conv2d(4, 1, 1), torch.zeros(4).double(), torch.eye(4).double()
    silent = eliminated(layer, 1, mean, covariance, torch.ones(1, 1).double(), torch.zeros(2, 4))
    assert silent.losses[-1] == pytest.approx(float(layer.weight.detach().square().sum()), rel=0.05)
