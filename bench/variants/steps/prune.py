"""Take away whole channels, until the wanted share of parameters, of MACs and of the file is gone.

Channels that must go together (an expansion with its depthwise convolution, squeeze-excitation and
projection; all that a residual sum adds) are found by torch-pruning's dependency graph (Fang et
al., DepGraph, CVPR 2023). Every group loses the same share of its channels, the weakest first. The
share is bisected by arithmetic over the groups, so that the network is cut only once.

With `structure: unstructured`, the smallest weights become zero instead: global magnitude pruning (Han
et al., NeurIPS 2015) over the convolutions and linear layers of backbone and head. Such zeros are
stored and multiplied like any other number: parameters, MACs, file size and speed stay as they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from bench.errors import UserError
from bench.records import Split

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.detectors.detector import Detector
    from bench.variants.steps import Work

ACCEPTS: Literal["torch"] = "torch"
PRODUCES: Literal["torch"] = "torch"
FRAMES: Mapping[Split, str] = {}
VERSION = 2
SEEDED = False
LIBRARIES: tuple[str, ...] = ("torch", "torch-pruning", "timm")
MAIN = "amount"

# What a tensor's name, shape and place take in a file's header, in numbers of four bytes.
_HEADER_NUMBERS = 40
# Vector units and int8 kernels work on this many channels at a time; a ragged rest costs as much.
_LANES = 8


class Settings(BaseModel):
    """`amount`: the share that must go; .5 leaves at most half.

    `structure`: `structured` takes whole channels, so that parameters, MACs and file shrink by
    `amount`; `unstructured` makes that share of the weights zero, and nothing shrinks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    amount: Annotated[float, Field(strict=True, gt=0, lt=1)]
    structure: Literal["structured", "unstructured"] = "structured"

    @model_serializer(mode="wrap")
    def _without_default(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Artifacts from before there was a choice keep their ids."""
        found: dict[str, Any] = serialise(self)
        return {key: value for key, value in found.items() if (key, value) != ("structure", "structured")}


@dataclass(frozen=True)
class Group:
    """Channels that can only be removed together.

    `root` is the layer whose output channels give the group its `width`. `outputs` and `inputs`
    name the modules that lose output or input channels with it, with how many for each of the root's.
    """

    root: str
    width: int
    outputs: Mapping[str, float]
    inputs: Mapping[str, float]


def apply(model: Detector, settings: Settings, work: Work) -> Detector:
    """`model` itself, with narrower layers or with zeros. Its two logits and its preprocessing are as they were."""
    dtype = model.head.weight.dtype
    model.float().eval().requires_grad_(True)
    if settings.structure == "unstructured":
        _zero(model, settings.amount)
    else:
        _narrow(model, settings.amount, work)
    model.backbone.to(dtype)
    model.head.to(dtype)
    return model


def _zero(model: Detector, amount: float) -> None:
    """Make the share `amount` of all weights zero, the smallest first, whichever layer they are in."""
    import torch
    from torch.nn.utils import prune

    layers = weighted_layers(model)
    prune.global_unstructured([(layer, "weight") for layer in layers], prune.L1Unstructured, amount=amount)
    for layer in layers:
        prune.remove(layer, "weight")  # type: ignore[no-untyped-call]
        with torch.no_grad():
            # The mask leaves a -0 of every negative weight, whose sign bit would be stored and compressed.
            layer.weight.add_(0.0)


def weighted_layers(model: Detector) -> list[nn.Conv2d | nn.Linear]:
    """The convolutions and linear layers of backbone and head, whose weights can be pruned."""
    from torch import nn

    inside = [*model.backbone.modules(), model.head]
    return [module for module in inside if isinstance(module, (nn.Conv2d, nn.Linear))]


def _narrow(model: Detector, amount: float, work: Work) -> None:
    """Cut whole channels until at most `1 - amount` of parameters, MACs and file is left."""
    graph = _graph(model)
    names = {module: name for name, module in model.named_modules()}
    found = [(_describe(group, names), group) for group in graph.get_all_groups(ignored_layers=[model.head])]
    widths = _widths(model, [group for group, _ in found], 1 - amount)
    for step, (group, members) in enumerate(found):
        surplus = group.width - widths[group.root]
        if surplus > 0:
            weakest = _importance(members, group.width).argsort(stable=True)[:surplus]
            _cut(graph, members, sorted(weakest.tolist()))
        work.progress(step + 1, len(found), "layers")


# ------------------------------------------------------------------------------ what goes together
def _graph(model: Detector) -> Any:
    """torch-pruning's dependency graph over backbone and head.

    The head is called as a module here, because `Detector.classify` uses its weights directly.
    """
    import torch
    import torch_pruning
    from torch import nn

    network = nn.Sequential(model.backbone, nn.AdaptiveAvgPool2d(1), nn.Flatten(), model.head)
    parameter = next(model.parameters())
    example = torch.zeros(1, 3, model.preprocessing.size, model.preprocessing.size, device=parameter.device)
    return torch_pruning.DependencyGraph().build_dependency(network, example)


def _describe(members: Any, names: Mapping[nn.Module, str]) -> Group:
    root = members[0].dep.target.module
    width = len(members[0].idxs)
    outputs: dict[str, float] = {}
    inputs: dict[str, float] = {}
    for dependency, indices in members:
        module = dependency.target.module
        if module in names:
            side = inputs if _prunes_inputs(dependency) else outputs
            side[names[module]] = len(indices) / width
    return Group(names[root], width, outputs, inputs)


def _prunes_inputs(dependency: Any) -> bool:
    return bool(dependency.handler.__name__ == "prune_in_channels")


# --------------------------------------------------------------------------------- how much to cut
def _widths(model: Detector, groups: list[Group], kept: float) -> dict[str, int]:
    """The widest uniform widths, by root, with at most `kept` of parameters, MACs and file size left."""
    from bench.detectors.artifact import positions_per_frame

    positions = positions_per_frame(model)
    # The whole is counted without its header, of which pruning takes nothing away.
    full = _cost(model, groups, {group.root: group.width for group in groups}, positions, header=0)
    narrow, wide = 0.0, 1.0
    best = {group.root: _rounded(group.width, 0.0) for group in groups}
    smallest = max(now / before for now, before in zip(_cost(model, groups, best, positions), full, strict=True))
    if smallest > kept:
        raise UserError(
            f"prune: {1 - kept:.3g} of {model.architecture} cannot be taken away; "
            f"expected at most {1 - smallest:.3g}, where every layer is down to {_LANES} channels"
        )
    for _ in range(24):
        share = (narrow + wide) / 2
        widths = {group.root: _rounded(group.width, share) for group in groups}
        cost = _cost(model, groups, widths, positions)
        if all(now <= kept * before for now, before in zip(cost, full, strict=True)):
            narrow, best = share, widths
        else:
            wide = share
    return best


def _rounded(width: int, share: float) -> int:
    return min(width, max(_LANES, round(width * share / _LANES) * _LANES))


def _cost(
    model: Detector,
    groups: list[Group],
    widths: Mapping[str, int],
    positions: Mapping[str, int],
    header: int = _HEADER_NUMBERS,
) -> tuple[float, float, float]:
    """Parameters, MACs and stored numbers if every group had its width in `widths`.

    Stored are the parameters, the statistics of the batch norms, and `header` numbers for each tensor.
    """
    from torch import nn

    lost_outputs: dict[str, float] = {}
    lost_inputs: dict[str, float] = {}
    for group in groups:
        surplus = group.width - widths[group.root]
        for name, share in group.outputs.items():
            lost_outputs[name] = lost_outputs.get(name, 0) + surplus * share
        for name, share in group.inputs.items():
            lost_inputs[name] = lost_inputs.get(name, 0) + surplus * share
    parameters = macs = stored = 0.0
    for name, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        if "weight" not in own:
            continue
        weight = own["weight"]
        left = 1 - lost_outputs.get(name, 0) / weight.shape[0]
        bias = own["bias"].numel() * left if "bias" in own else 0
        if isinstance(module, (nn.Conv2d, nn.Linear)) and getattr(module, "groups", 1) == 1:
            left *= 1 - lost_inputs.get(name, 0) / weight.shape[1]
        parameters += weight.numel() * left + bias
        macs += weight.numel() * left * positions.get(name, 0)
        statistics = [buffer.numel() for buffer in module.buffers(recurse=False) if buffer.ndim]
        stored += weight.numel() * left + bias + sum(statistics) * left + header * (len(own) + len(statistics))
    return parameters, macs, stored


# ------------------------------------------------------------------------------ which channels go
def _importance(members: Any, width: int) -> Tensor:
    """Group L2 norm: per channel, over all weights that would go with it, each layer on its own scale."""
    import torch
    from torch import nn

    total = torch.zeros(width)
    for dependency, indices in members:
        module = dependency.target.module
        if not isinstance(module, (nn.Conv2d, nn.Linear)):
            continue
        weight = module.weight.detach().float().cpu()
        if _prunes_inputs(dependency):
            weight = weight.transpose(0, 1)
        norms = weight.flatten(1).square().sum(1)[indices]
        norms = norms.reshape(width, -1).sum(1) if len(indices) % width == 0 else norms[:width]
        total += norms / norms.mean().clamp_min(1e-12)
    return total


def _cut(graph: Any, members: Any, channels: list[int]) -> None:
    dependency = members[0].dep
    group = graph.get_pruning_group(dependency.target.module, dependency.handler, channels)
    group.prune()
