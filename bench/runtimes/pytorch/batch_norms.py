"""Batch norms folded into the convolutions before them: the same function with fewer kernels to launch."""

from __future__ import annotations

import copy
from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from bench.detectors.detector import Detector


def fold(detector: Detector) -> int:
    """Fold in place every batch norm that alone reads a convolution's output; returns how many were.

    The network must be in evaluation mode and on the CPU. Sums are worked out in float64 and rounded once to the
    type that the weights are stored in. A batch norm that does more than normalise and activate stays as it is.
    """
    pairs = _pairs(detector)
    for convolution, name in pairs:
        norm: Any = detector.get_submodule(name)
        _fold(detector.get_submodule(convolution), norm)
        activation = _activation(norm)
        assert activation is not None
        detector.set_submodule(name, activation)
    return len(pairs)


class _Readers(TorchDispatchMode):  # type: ignore[no-untyped-call]  # has no types in torch
    """Counts how many operations read each tensor, by the tensor's identity."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.counts: Counter[int] = Counter()
        self._held: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        self.counts.update(id(tensor) for tensor in tensors)
        self._held += tensors
        return func(*args, **(kwargs or {}))


def _pairs(detector: Detector) -> list[tuple[str, str]]:
    """Names of convolutions and of the batch norms that alone read them, each called once; no arithmetic is done."""
    network = copy.deepcopy(detector).to("meta")
    # Holding the tensors keeps their identities from being given to others.
    written: dict[int, tuple[str, Tensor]] = {}
    normalised: list[tuple[str, Tensor]] = []
    calls: Counter[str] = Counter()

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            calls[name] += 1
            if isinstance(module, nn.Conv2d):
                written[id(output)] = name, output
            elif _activation(module) is not None:
                normalised.append((name, inputs[0]))

        return hook

    for name, module in network.named_modules():
        module.register_forward_hook(watch(name))
    size, readers = detector.preprocessing.size, _Readers()
    with torch.no_grad(), readers:
        network.features(torch.zeros(1, 3, size, size, dtype=detector.dtype, device="meta"))
    return [
        (written[id(value)][0], name)
        for name, value in normalised
        if id(value) in written and readers.counts[id(value)] == 1 and calls[written[id(value)][0]] == calls[name] == 1
    ]


def _activation(module: nn.Module) -> nn.Module | None:
    """What is left of a batch norm whose normalising is done elsewhere; None for whatever else a module may be."""
    from timm.layers.norm_act import BatchNormAct2d

    if not isinstance(module, nn.BatchNorm2d) or module.running_mean is None:
        return None
    if type(module) is nn.BatchNorm2d:
        return nn.Identity()
    activation: nn.Module | None = module.act if type(module) is BatchNormAct2d else None
    return activation


def _fold(convolution: Any, norm: Any) -> None:
    """Let the convolution write what the norm made of it: gamma (y - mean) / sqrt(var + eps) + beta."""
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    gamma = torch.ones_like(mean) if norm.weight is None else norm.weight.double()
    beta = torch.zeros_like(mean) if norm.bias is None else norm.bias.double()
    scale = gamma / torch.sqrt(variance + norm.eps)
    bias = torch.zeros_like(mean) if convolution.bias is None else convolution.bias.double()
    weight = convolution.weight
    with torch.no_grad():
        scaled = (weight.double() * scale.reshape(-1, 1, 1, 1)).to(weight.dtype)
        shifted = (beta + scale * (bias - mean)).to(weight.dtype)
    convolution.weight = nn.Parameter(scaled, requires_grad=False)
    convolution.bias = nn.Parameter(shifted, requires_grad=False)
