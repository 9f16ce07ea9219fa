"""Zeros anywhere: the smallest weights of the whole backbone (global magnitude pruning: Han et al., NeurIPS 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch.nn.utils import prune

from bench import phases

if TYPE_CHECKING:
    from bench.detectors.detector import Detector
    from bench.variants.layers.convolutions import Layer


def zero(model: Detector, amount: float) -> None:
    """Make the share `amount` of the backbone's weights zero, the smallest first, whichever layer they are in.

    Layers that would lose every weight lose that share of their own. The head stays: its weights are few, and small
    beside those of convolutions, so that all would go.
    """
    phases.begin("choosing weights")
    layers = model.weighted_layers()
    alone = _losing_all(layers, amount)
    pairs = [(layer, "weight") for name, layer in layers.items() if name not in alone]
    if pairs:
        prune.global_unstructured(pairs, prune.L1Unstructured, amount=amount)
    for name in alone:
        count = layers[name].weight.numel()
        fewer = min(round(amount * count), count - 1)
        prune.l1_unstructured(layers[name], "weight", amount=fewer)  # type: ignore[no-untyped-call]
    for layer in layers.values():
        prune.remove(layer, "weight")  # type: ignore[no-untyped-call]
        with torch.no_grad():
            # The mask leaves a -0 of every negative weight, whose sign bit would be stored and compressed.
            layer.weight.add_(0.0)


def _losing_all(layers: Mapping[str, Layer], amount: float) -> set[str]:
    """The layers of which every weight is among the smallest `amount` of all, and those of which then is.

    Nothing would pass them any more: small weights mean little where a norm follows, or a bias of 1 as in gates.
    """
    magnitudes = {name: layer.weight.detach().abs().flatten() for name, layer in layers.items()}
    losing: set[str] = set()
    while others := {name: values for name, values in magnitudes.items() if name not in losing}:
        together = torch.cat(list(others.values()))
        if not (count := round(amount * together.numel())):
            break
        limit = together.kthvalue(count).values
        small = {name for name, values in others.items() if values.max() <= limit}
        if not small:
            break
        losing |= small
    return losing
