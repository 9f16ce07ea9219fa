"""Store the network in half the bytes: every weight and batch-norm statistic in fp16 or bf16.

fp16 keeps 11 significant bits up to 65504, bf16 8 bits with the range of fp32. Preprocessing,
pooling and the head's arithmetic stay in float32; what the rest is computed in is the runtime's choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bench.errors import UserError, shown
from bench.records import Split
from bench.variants.steps import Cost, Leaves, Turn

if TYPE_CHECKING:
    import onnx
    from torch import Tensor

    from bench.detectors.detector import Detector
    from bench.detectors.offers import Offer
    from bench.variants.steps import StepContext, Use

ACCEPTS: Literal["torch"] = "torch"
PRODUCES: Literal["torch"] = "torch"
NEEDS: frozenset[Offer] = frozenset()
FRAMES: Mapping[Split, str] = {}
VERSION = 1
SEEDED = False
LIBRARIES: tuple[str, ...] = ()
MAIN = "dtype"
EXAMPLE = "fp16"
ONCE = True
SYNONYMS = "fp16 bf16 half float16 bfloat16 precision"
TURN: Turn = "round"
TRIED = ("fp16",)


class Settings(BaseModel):
    """How weights are stored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dtype: Literal["fp16", "bf16"] = Field(description="what every stored number becomes")


def cost(settings: Settings, counts: Mapping[Split, int], earlier: Sequence[Use]) -> Cost:
    """A pass over the weights."""
    return Cost(1.8)


def leaves(settings: Settings) -> Leaves:
    """Half of each float32 number's bytes, and next to no noise."""
    return Leaves(stored=0.5, adds=1e-6 if settings.dtype == "fp16" else 1e-4)


def apply(model: Detector, settings: Settings, work: StepContext) -> Detector:
    """`model` itself, its backbone and head in `settings.dtype`.

    A batch norm's variance that is too large for it is made smaller first, together with what it is the variance of.
    Raises `UserError` naming a tensor whose values are finite now and would become infinite.
    """
    import torch

    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[settings.dtype]
    _shrink_variances(model, torch.finfo(dtype).max)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        overflowing = tensor.isfinite() & ~tensor.to(dtype).isfinite()
        if overflowing.any():
            largest = float(tensor[overflowing].abs().max())
            raise UserError(
                f"cast: {name} holds {int(overflowing.sum())} values that {settings.dtype} cannot hold "
                f"(the largest is {largest:.4g}, its limit {torch.finfo(dtype).max:.4g}); use cast: bf16 or no cast"
            )
    model.cast(dtype)
    return model


ONNX_VERSION = 1
_OPSET_OF_BF16 = 13
ONNX_LIBRARIES = ("numpy", "onnx")


def apply_onnx(model: onnx.ModelProto, settings: Settings, work: StepContext) -> onnx.ModelProto:
    """The graph of a detector of which there is an ONNX file alone, its weights stored in `settings.dtype`.

    They are read back as float32, in which the graph computes as before. Raises `UserError` for weights that are no
    float32, or beyond the type's range.
    """
    import ml_dtypes
    import numpy as np
    from onnx import helper, numpy_helper

    from bench.artifacts.imports import counts
    from bench.artifacts.onnx_graph import graphs

    if (stored := counts.stored(model)) != "fp32":
        raise UserError(f"cast: the ONNX file stores {stored} weights already; leave the step out")
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if settings.dtype == "bf16" and opset < _OPSET_OF_BF16:
        raise UserError(f"cast: bf16 needs opset {_OPSET_OF_BF16}, the ONNX file has {opset}; use cast: fp16")
    half: Any = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}[settings.dtype]
    for graph in graphs(model.graph):
        read_back = []
        for tensor in counts.weights(graph):
            name, weight = tensor.name, numpy_helper.to_array(tensor)
            with np.errstate(over="ignore"):
                smaller = weight.astype(half)
            if not np.isfinite(smaller.astype(np.float32)).all():
                raise UserError(
                    f"cast: {shown(name)} holds values that {settings.dtype} cannot hold (the largest is "
                    f"{float(np.abs(weight).max()):.4g}); use cast: bf16 or no cast"
                )
            tensor.CopyFrom(numpy_helper.from_array(smaller, f"{name}/half"))
            read_back.append(helper.make_node("Cast", [f"{name}/half"], [name], name=f"{name}/float", to=1))
        nodes = [*read_back, *graph.node]
        graph.ClearField("node")
        graph.node.extend(nodes)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    model.ClearField("metadata_props")
    helper.set_model_props(model, {**properties, "stored": settings.dtype})
    return model


def _shrink_variances(model: Detector, limit: float) -> None:
    """Divide channels by powers of two whose variances are beyond `limit`: the batch norm takes them back."""
    import torch
    from torch import nn

    from bench.variants.layers.convolutions import norms_after

    def divisors_of(norm: nn.Module) -> Tensor | None:
        if not isinstance(norm, nn.BatchNorm2d) or norm.running_var is None or not norm.running_var.max() > limit:
            return None
        return torch.exp2((norm.running_var / limit).log2().div(2).ceil().clamp_min(0))

    parts: dict[str, Any] = dict(model.named_modules())
    large = {name: divisors for name, part in parts.items() if (divisors := divisors_of(part)) is not None}
    if not large:
        return
    size = model.preprocessing.size
    with torch.no_grad():
        for name, after in norms_after(model.eval(), torch.zeros(1, 3, size, size)).items():
            if after not in large:
                continue
            convolution, norm, by = parts[name], parts[after], large[after]
            for tensor in (convolution.bias, norm.running_mean):
                if tensor is not None:
                    tensor.div_(by)
            convolution.weight.div_(by.reshape(-1, 1, 1, 1))
            norm.running_var.div_(by.square())
