"""Which channels of a sum, read by many, the margin can spare: first order, from calibration frames, no labels.

A channel's worth is what the margin would change if all that writes the channel wrote its mean instead, which a
bias can make up for: the mean over frames of (sum over writers and places of (y - mean y) dM/dy)^2 (Molchanov et
al., Importance Estimation for Neural Network Pruning, CVPR 2019). Scales of channels cancel out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bench.variants.layers import convolutions
from bench.variants.steps.prune.ranking import not_finite

if TYPE_CHECKING:
    from bench.detectors.detector import Detector
    from bench.variants.checkpoints import State
    from bench.variants.steps import StepContext
    from bench.variants.steps.prune.channels import Group


@dataclass
class _Written:
    """Of one convolution: frame by frame [n, C], sums over places of outputs, of gradients, of their products."""

    outputs: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)
    products: list[Tensor] = field(default_factory=list)
    places: int = 0

    def changes(self) -> Tensor:
        """By frame and channel [n, C], what the margin changes to first order where the mean is written."""
        outputs = torch.cat(self.outputs)
        mean = outputs.sum(0) / (len(outputs) * self.places)
        return torch.cat(self.products) - mean * torch.cat(self.gradients)


def importances(model: Detector, groups: Sequence[Group], work: StepContext, frames: int) -> dict[str, Tensor]:
    """[width] of each of these groups, by root. Raises `UserError` where gradients are not finite."""
    writers = {group.root: _writers(model, group) for group in groups}
    convs = {name: model.get_submodule(name) for names in writers.values() for name in names}
    written = _observed(model, convs, work, frames)
    found = {}
    for root, names in writers.items():
        if names:
            found[root] = torch.stack([written[name].changes() for name in names]).sum(0).square().mean(0).cpu()
            if not found[root].isfinite().all():
                raise not_finite(names[0])
    return found


def _writers(model: Detector, group: Group) -> list[str]:
    """The convolutions whose outputs are the group's channels, one for one; depthwise ones only pass them on."""
    found = []
    for name in group.outputs:
        module = model.get_submodule(name)
        if isinstance(module, nn.Conv2d) and module.out_channels == group.width and module.groups < group.width:
            found.append(name)
    return found


def _observed(model: Detector, convs: Mapping[str, nn.Module], work: StepContext, frames: int) -> dict[str, _Written]:
    part = work.part("ranking of sums")
    seen = {name: _Written() for name in convs}
    for name, (places, *sums) in part.state.get("seen", {}).items():
        outputs, gradients, products = ([one.to(model.device) for one in by_batch] for by_batch in sums)
        seen[name] = _Written(outputs, gradients, products, places)

    def note(name: str, _: nn.Module, __: Tensor, written: Tensor) -> None:
        one, outputs = seen[name], written.detach().double()
        one.places = outputs[0, 0].numel()
        one.outputs.append(outputs.sum((2, 3)))

        def note_gradient(gradient: Tensor) -> None:
            one.gradients.append(gradient.double().sum((2, 3)))
            one.products.append((gradient * outputs).sum((2, 3)))

        convolutions.on_gradient(written, note_gradient)

    def state() -> State:
        return {name: [one.places, one.outputs, one.gradients, one.products] for name, one in seen.items()}

    with convolutions.watched(convs, note):
        convolutions.backward(model, work, frames, part, state)
    return seen
