"""Two of every four neighbouring weights of an output become zero: the pattern that sparse tensor cores skip.

Neighbours are four input channels in a row at the same position of the kernel, as NVIDIA's kernels group them
(Mishra et al., 2021). For 1x1 convolutions and linear layers SparseGPT (Frantar & Alistarh, ICML 2023) chooses which
two go and changes the weights after them to compensate; elsewhere the two smallest go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench import phases
from bench.artifacts.footprint import GROUP, ZEROS
from bench.errors import UserError
from bench.variants.checkpoints import each
from bench.variants.layers import compensation
from bench.variants.layers.convolutions import inputs_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector
    from bench.variants.checkpoints import State
    from bench.variants.layers.compensation import Inputs
    from bench.variants.steps import StepContext

# A layer stays dense where the zeros would change what it writes by more than this share of its variance, the
# worst first, as long as such layers hold at most this share of the weights. On a B5 they are the first blocks.
_MOST_CHANGE, _MOST_DENSE = 0.02, 0.05


def layers(model: Detector) -> dict[str, Any]:
    """By name, the layers of the backbone that have the pattern: one group, input channels in fours."""
    return {
        name: module
        for name, module in model.weighted_layers().items()
        if getattr(module, "groups", 1) == 1 and inputs_of(module) % GROUP == 0
    }


def sparsify(model: Detector, frames: int, work: StepContext) -> None:
    """Make the zeros, in place, but for the few layers that would lose most. Shapes stay as they are.

    Raises `UserError` where no layer has the pattern.
    """
    convs = layers(model)
    if not convs:
        raise UserError(
            f"prune: no convolution and no linear layer of {model.architecture} reads its channels in fours, which "
            "`structure: 2of4` needs; use `structure: unstructured`"
        )
    pointwise = [name for name, conv in convs.items() if conv.weight[0, 0].numel() == 1]
    inputs = compensation.inputs(model, pointwise, frames, work)
    sparse: dict[str, tuple[NDArray[np.float32], float]] = {}

    def sparsified(name: str) -> State:
        weight, change = _sparse(convs[name].weight.detach().numpy(), inputs.pop(name, None))
        return {"weight": torch.from_numpy(weight), "change": change}

    with compensation.one_thread():
        states = each(work.part("2 of 4"), list(convs), lambda rest: (sparsified(name) for name in rest))
        for done, (name, state) in enumerate(zip(convs, states, strict=True), start=1):
            sparse[name] = state["weight"].numpy(), state["change"]
            work.progress(done, len(convs), "layers", "2 of 4")
    phases.begin("choosing layers")
    left = _MOST_DENSE * sum(weight.size for weight, _ in sparse.values())
    for name, (weight, change) in sorted(sparse.items(), key=lambda layer: -layer[1][1]):
        if change > _MOST_CHANGE and weight.size <= left:
            left -= weight.size
        else:
            with torch.no_grad():
                convs[name].weight.copy_(torch.from_numpy(weight))


def _sparse(weight: NDArray[np.float32], inputs: Inputs | None) -> tuple[NDArray[np.float32], float]:
    """The weights with their zeros, and by what share of its variance what the layer writes changes."""
    if inputs is None:
        stays = np.moveaxis(_largest(np.abs(np.moveaxis(weight, 1, -1)).astype(np.float64)), -1, 1)
        return weight * stays + 0.0, float(np.square(weight[~stays]).sum() / max(np.square(weight).sum(), 1e-30))
    dense = weight.reshape(weight.shape[:2]).astype(np.float64)
    # Convolutions may have no bias that could take up a mean: it counts like any other direction.
    moments = inputs.covariance + np.outer(inputs.mean, inputs.mean)
    sparse = compensation.one_by_one(dense, moments, _Pattern())
    lost, whole = (np.sum((part @ inputs.covariance) * part, axis=1) for part in (sparse - dense, dense))
    change = float((lost / np.maximum(whole, 1e-30)).mean())
    # A zero with a sign would be stored and compressed as another number.
    return sparse.reshape(weight.shape).astype(np.float32) + np.float32(0), change


class _Pattern:
    """Which columns of four keep their value, decided row by row when the first of the four is reached."""

    def __call__(self, column: int, left: NDArray[np.float64], curvature: NDArray[np.float64]) -> NDArray[np.float64]:
        index = column % GROUP
        if index == 0:
            four = slice(column, column + GROUP)
            self.stays = _largest(np.square(left[:, four]) * curvature[four])
        values: NDArray[np.float64] = left[:, column] * self.stays[:, index]
        return values


def _largest(scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Of every four neighbours along the last axis, whether each is among the two with the highest scores."""
    fours = scores.reshape(-1, GROUP)
    order = np.argsort(fours, axis=1, kind="stable")
    stays = np.ones(fours.shape, dtype=bool)
    np.put_along_axis(stays, order[:, :ZEROS], False, axis=1)
    return stays.reshape(scores.shape)
