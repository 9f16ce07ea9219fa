"""Query, key and value of attention, which are three layers in some files and one in timm's networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.detectors.weights.schemes import Shapes

if TYPE_CHECKING:
    from torch import Tensor

_JOINED = ".attn.qkv"


def parts(layer: str) -> tuple[str, ...]:
    """The layers of a file that one layer of the network is made of: of query, key and value, or the layer itself."""
    return tuple(f"{layer[:-3]}{part}" for part in "qkv") if layer.endswith(_JOINED) else (layer,)


def shapes_apart(shapes: Shapes) -> Shapes:
    """The shapes of a network's tensors, those of query, key and value each by itself."""
    apart: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        layer, _, leaf = name.rpartition(".")
        layers = parts(layer)
        for part in layers:
            apart[f"{part}.{leaf}" if part else name] = (shape[0] // len(layers), *shape[1:]) if part else shape
    return apart


def joined(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's tensors: query, key and value one after another."""
    import torch

    whole: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        layer, _, leaf = name.rpartition(".")
        if layer.endswith(".attn.q"):
            attention = layer.removesuffix(".q")
            whole[f"{attention}.qkv.{leaf}"] = torch.cat([tensors[f"{attention}.{part}.{leaf}"] for part in "qkv"])
        elif not layer.endswith((".attn.k", ".attn.v")):
            whole[name] = tensor
    return whole
