"""Which channels of a network can only be removed together, and removing them.

Found by torch-pruning's dependency graph (Fang et al., DepGraph, CVPR 2023): an expansion with its depthwise
convolution, squeeze-excitation and projection; all that a residual sum adds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from bench.detectors.detector import Detector

# Vector units and int8 kernels work on this many channels at a time; a ragged rest costs as much.
LANES = 8


@dataclass(frozen=True)
class Group:
    """Channels that can only be removed together.

    `root` is the layer whose output channels give the group its `width`. `outputs` and `inputs`
    name the modules that lose output or input channels with it, with how many for each of the root's.
    `parts` is in how many equal parts the channels lie of which each must lose the same ones (grouped
    convolutions); widths are multiples of `step`.
    """

    root: str
    width: int
    outputs: Mapping[str, float]
    inputs: Mapping[str, float]
    parts: int

    @property
    def step(self) -> int:
        return math.lcm(LANES, self.parts)

    def rounded(self, share: float) -> int:
        """The width nearest to this share of the channels."""
        return min(self.width, max(self.step, round(self.width * share / self.step) * self.step))

    def widths(self) -> list[int]:
        """All widths there are to choose from."""
        return sorted({*range(self.step, self.width + 1, self.step), self.width})


class Channels:
    """All groups of a detector, with the means to cut them. Each group can be cut once."""

    def __init__(self, model: Detector) -> None:
        self._model = model
        self._names = {module: name for name, module in model.named_modules()}
        self._graph = _graph(model)
        found = self._graph.get_all_groups(ignored_layers=model.logit_layers())
        members = [(_described(group, self._names), group) for group in found]
        self._members = {group.root: group_members for group, group_members in members}
        self.groups = [group for group, _ in members]

    def magnitudes(self, group: Group) -> Tensor:
        """Group L2 norm [width]: over all weights that would go with a channel, each layer on its own scale."""
        total = torch.zeros(group.width)
        for dependency, indices in self._members[group.root]:
            module = dependency.target.module
            if not isinstance(module, (nn.Conv2d, nn.Linear)):
                continue
            weight = module.weight.detach().float().cpu()
            if _prunes_inputs(dependency):
                weight = weight.transpose(0, 1)
            norms = weight.flatten(1).square().sum(1)
            norms = norms.repeat(-(-(max(indices) + 1) // len(norms)))[indices]
            norms = norms.reshape(group.width, -1).sum(1) if len(norms) % group.width == 0 else norms[: group.width]
            total += norms / norms.mean().clamp_min(1e-12)
        return total

    def cut(self, group: Group, importance: Tensor, width: int) -> dict[str, Tensor]:
        """Leave the `width` most important channels; per convolution that lost outputs, which of them stayed."""
        by_part = importance.reshape(group.parts, -1)
        if group.parts > 1:
            by_part = by_part.mean(0, keepdim=True).expand(group.parts, -1)
        weakest = by_part.argsort(dim=1, stable=True)[:, : (group.width - width) // group.parts]
        lost = (weakest + torch.arange(group.parts)[:, None] * by_part.shape[1]).flatten()
        first = self._members[group.root][0].dep
        members = self._graph.get_pruning_group(first.target.module, first.handler, sorted(lost.tolist()))
        left: dict[str, Tensor] = {}
        for dependency, indices in members:
            module = dependency.target.module
            if isinstance(module, nn.Conv2d) and not _prunes_inputs(dependency):
                stays = torch.ones(module.out_channels, dtype=torch.bool)
                stays[indices] = False
                left[self._names[module]] = stays.nonzero()[:, 0]
        members.prune()
        return left


def _graph(model: Detector) -> Any:
    """torch-pruning's dependency graph over backbone and head."""
    import torch_pruning

    example = torch.zeros(1, 3, model.preprocessing.size, model.preprocessing.size, device=model.device)
    return torch_pruning.DependencyGraph().build_dependency(model.logit_network(), example)


def _described(members: Any, names: Mapping[nn.Module, str]) -> Group:
    root = members[0].dep.target.module
    width = len(members[0].idxs)
    outputs: dict[str, float] = {}
    inputs: dict[str, float] = {}
    for dependency, indices in members:
        module = dependency.target.module
        if module in names:
            side = inputs if _prunes_inputs(dependency) else outputs
            side[names[module]] = len(indices) / width
    parts = _parts(dependency.target.module for dependency, _ in members)
    return Group(names[root], width, outputs, inputs, parts if width % parts == 0 else 1)


def _parts(modules: Iterable[nn.Module]) -> int:
    grouped = (module for module in modules if isinstance(module, nn.Conv2d) and module.groups < module.out_channels)
    return math.lcm(*(module.groups for module in grouped))


def _prunes_inputs(dependency: Any) -> bool:
    return bool(dependency.handler.__name__ == "prune_in_channels")
