"""Ways to quantise a convolution as tensors and numbers, and back: bit for bit, parts that are shared still shared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from bench.variants.steps.quantize.qdq import Layer
from bench.variants.steps.quantize.rounding import Rounded
from bench.variants.steps.quantize.scales import Activation

if TYPE_CHECKING:
    from bench.variants.checkpoints import State
    from bench.variants.steps.quantize.exported import Convolution

_KINDS: dict[str, Callable[..., Any]] = {kind.__name__: kind for kind in (Layer, Rounded, Activation)}


def packed(layers: Sequence[Layer]) -> State:
    """All but the convolution itself."""
    import numpy as np
    import torch

    known: dict[int, Any] = {}

    def pack(value: Any) -> Any:
        if id(value) in known:
            return known[id(value)]
        if isinstance(value, np.generic):  # not a Python number: arithmetic with it has other types
            return {"kind": "number", "value": torch.from_numpy(np.array(value))}
        if isinstance(value, np.ndarray):
            known[id(value)] = torch.from_numpy(value)
        elif is_dataclass(value):
            parts = {one.name: pack(getattr(value, one.name)) for one in fields(value) if one.name != "convolution"}
            known[id(value)] = {"kind": type(value).__name__, "parts": parts}
        return known.get(id(value), value)

    return {"layers": [pack(layer) for layer in layers]}


def unpacked(state: State, convolution: Convolution) -> list[Layer]:
    import torch

    known: dict[int, Any] = {}

    def unpack(value: Any) -> Any:
        if isinstance(value, dict) and value["kind"] == "number":
            return value["value"].numpy()[()]
        if isinstance(value, (dict, torch.Tensor)) and id(value) not in known:
            known[id(value)] = value.numpy() if isinstance(value, torch.Tensor) else make(**value)
        return known.get(id(value), value)

    def make(kind: str, parts: dict[str, Any]) -> Any:
        whole = {"convolution": convolution} if kind == Layer.__name__ else {}
        return _KINDS[kind](**whole, **{name: unpack(part) for name, part in parts.items()})

    return [unpack(layer) for layer in state["layers"]]
