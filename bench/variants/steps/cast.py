"""Store the network in half the bytes: every weight and batch-norm statistic in fp16 or bf16.

fp16 keeps 11 significant bits up to 65504, bf16 8 bits with the range of fp32. Preprocessing,
pooling and the head's arithmetic stay in float32; what the rest is computed in is the runtime's choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from bench.errors import UserError
from bench.records import Split

if TYPE_CHECKING:
    from bench.detectors.detector import Detector
    from bench.variants.steps import Work

ACCEPTS: Literal["torch"] = "torch"
PRODUCES: Literal["torch"] = "torch"
FRAMES: Mapping[Split, str] = {}
VERSION = 1
SEEDED = False
LIBRARIES: tuple[str, ...] = ()
MAIN = "dtype"
ONCE = True


class Settings(BaseModel):
    """How weights are stored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dtype: Literal["fp16", "bf16"] = Field(description="what every stored number becomes")


def apply(model: Detector, settings: Settings, work: Work) -> Detector:
    """`model` itself, its backbone and head in `settings.dtype`.

    Raises `UserError` naming a tensor whose values are finite now and would become infinite.
    """
    import torch

    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[settings.dtype]
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
    model.backbone.to(dtype)
    model.head.to(dtype)
    return model
