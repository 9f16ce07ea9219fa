"""Channels, and heads of attention, that can only go together: what groups there are, and cutting the rest away.

They come from torch-pruning's dependency graph (Fang et al., DepGraph, CVPR 2023): an expansion with its depthwise
convolution, squeeze-excitation and projection; all that a residual sum adds; a vision transformer's hidden units. Of
its attention whole heads go: rows of queries, keys and values together, with the columns that read them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch_pruning
from torch import Tensor, nn

from bench.detectors.networks.attention import set_heads

if TYPE_CHECKING:
    from bench.detectors.detector import Detector

# Vector units and int8 kernels work on this many channels at a time; a ragged rest costs as much.
LANES = 8


@dataclass(frozen=True)
class Group:
    """Channels that can only be removed together.

    `root` is the layer whose output channels give the group its `width`: their number, or that of the heads where it
    writes an attention's. `outputs` and `inputs` name the modules that lose output or input channels with it, with how
    many for each of the root's. `parts` is in how many equal parts the channels lie of which each must lose the same
    ones (grouped convolutions); widths are multiples of `step`. Who reads a head reads `columns` channels side by side.
    """

    root: str
    width: int
    outputs: Mapping[str, float]
    inputs: Mapping[str, float]
    parts: int
    columns: int = 1

    @property
    def step(self) -> int:
        return math.lcm(LANES if self.columns == 1 else 1, self.parts)

    def rounded(self, share: float) -> int:
        """The width nearest to this share of the channels."""
        return min(self.width, max(self.step, round(self.width * share / self.step) * self.step))

    def widths(self) -> list[int]:
        """All widths there are to choose from."""
        return sorted({*range(self.step, self.width + 1, self.step), self.width})


class Channels:
    """All groups of a detector, with the means to cut them. Each group can be cut once."""

    def __init__(self, model: Detector) -> None:
        self._names = {module: name for name, module in model.named_modules()}
        self._weighted = model.weighted_layers()
        self._attentions = model.attentions()
        self._graph = _graph(model)
        dependencies = self._graph.get_all_groups(ignored_layers=model.fixed_layers())
        members = [(self._described(group), group) for group in dependencies]
        self._members = {group.root: group_members for group, group_members in members}
        self.groups = [group for group, _ in members]

    def first_layer(self, group: Group) -> tuple[int, str]:
        """The first layer that writes a group's channels, one for one, in the order of the network: its index and name.

        Of heads, and where no other does, it is the root.
        """
        order = list(self._names.values())
        writers = [name for name, share in group.outputs.items() if share == 1 and name in self._weighted]
        first = min(writers, key=order.index) if writers and group.columns == 1 else group.root
        return order.index(first), first

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
            by_head = group.root in self._attentions and not _prunes_inputs(dependency)
            rows = self._rows(group, range(group.width)) if by_head else indices
            norms = norms.repeat(-(-(max(rows) + 1) // len(norms)))[rows]
            norms = norms.reshape(group.width, -1).sum(1) if len(norms) % group.width == 0 else norms[: group.width]
            total += norms / norms.mean().clamp_min(1e-12)
        return total

    def cut(self, group: Group, importance: Tensor, width: int) -> dict[str, Tensor]:
        """Leave the `width` most important channels; per layer that lost outputs, which of them stayed."""
        by_part = importance.reshape(group.parts, -1)
        if group.parts > 1:
            by_part = by_part.mean(0, keepdim=True).expand(group.parts, -1)
        weakest = by_part.argsort(dim=1, stable=True)[:, : (group.width - width) // group.parts]
        lost = (weakest + torch.arange(group.parts)[:, None] * by_part.shape[1]).flatten()
        first = self._members[group.root][0].dep
        rows = sorted(self._rows(group, lost.tolist()))
        members = self._graph.get_pruning_group(first.target.module, first.handler, rows)
        left: dict[str, Tensor] = {}
        for dependency, indices in members:
            module = dependency.target.module
            if isinstance(module, (nn.Conv2d, nn.Linear)) and not _prunes_inputs(dependency):
                stays = torch.ones(len(module.weight), dtype=torch.bool)
                stays[indices] = False
                left[self._names[module]] = stays.nonzero()[:, 0]
        members.prune()
        if group.root in self._attentions:
            set_heads(self._attentions[group.root], width)
        return left

    def _rows(self, group: Group, channels: Iterable[int]) -> list[int]:
        """The root's outputs that these channels of its group are; of a head those of its query, key and value."""
        if group.root not in self._attentions:
            return list(channels)
        rows = torch.arange(3 * group.width * group.columns).reshape(3, group.width, group.columns)
        return [row for head in channels for row in rows[:, head].flatten().tolist()]

    def _described(self, members: Any) -> Group:
        """One of torch-pruning's groups by the names of its modules."""
        root = self._names[members[0].dep.target.module]
        attention = self._attentions.get(root)
        width = len(members[0].idxs) if attention is None else attention.num_heads
        outputs: dict[str, float] = {}
        inputs: dict[str, float] = {}
        for dependency, indices in members:
            module = dependency.target.module
            if module in self._names:
                side = inputs if _prunes_inputs(dependency) else outputs
                side[self._names[module]] = len(indices) / width
        if attention is not None:
            return Group(root, width, outputs, inputs, 1, attention.head_dim)
        parts = _parts(dependency.target.module for dependency, _ in members)
        return Group(root, width, outputs, inputs, parts if width % parts == 0 else 1)


def _graph(model: Detector) -> Any:
    """torch-pruning's dependency graph over backbone and head."""
    example = torch.zeros(1, 3, model.preprocessing.size, model.preprocessing.size, device=model.device)
    # Its remarks are on parameters beside layers, which stay as they are.
    return torch_pruning.DependencyGraph().build_dependency(model.logit_network(), example, verbose=False)


def _parts(modules: Iterable[nn.Module]) -> int:
    grouped = (module for module in modules if isinstance(module, nn.Conv2d) and module.groups < module.out_channels)
    return math.lcm(*(module.groups for module in grouped))


def _prunes_inputs(dependency: Any) -> bool:
    return bool(dependency.handler.__name__ == "prune_in_channels")
