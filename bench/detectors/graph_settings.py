"""What the owner of an ONNX file may say of it in `experiments.yaml`: of its input, and of its output."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from bench.errors import in_yaml
from bench.records import ClassName, GraphInput, OutputKind


def _of_each_channel(value: object) -> object:
    """One number stands for all three channels."""
    return (value,) * 3 if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def both_classes(classes: object) -> object:
    """The two classes in an order; `ValueError` for anything else."""
    if classes is None or (isinstance(classes, (list, tuple)) and sorted(map(str, classes)) == ["fake", "real"]):
        return tuple(classes) if classes else None
    raise ValueError(f"expected [fake, real] or [real, fake], found {in_yaml(classes)}")


Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Channels = Annotated[
    tuple[Finite, Finite, Finite],
    BeforeValidator(_of_each_channel, json_schema_input_type=float | tuple[float, float, float]),
]


class InputSettings(BaseModel):
    """How the input of an ONNX file is made of a frame, where it is not by the detector's preset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scale: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = Field(
        default=None,
        description="what the values of a frame, 0 to 255, are multiplied by, and with mean 0 and std 1 unless these "
        "are given; else 1/255 and the preset's",
    )
    mean: Channels | None = Field(
        default=None, description="then taken from each RGB channel: three numbers, or one for all; else the preset's"
    )
    std: Channels | None = Field(
        default=None, description="what each RGB channel is then divided by, above 0; else the preset's"
    )
    channels: Literal["rgb", "bgr"] | None = Field(
        default=None, description="the order of the channels; else the preset's, and rgb for an input of bytes"
    )
    wavelet: Literal["none", "sym2"] | None = Field(
        default=None, description="sym2: blended with the approximation band of that wavelet; else as in the preset"
    )
    layout: Literal["nchw", "nhwc"] | None = Field(
        default=None, description="the order of the axes; if not given, by the side that has three channels"
    )

    @field_validator("std")
    @classmethod
    def _divides(cls, std: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
        if std is not None and not all(0 < channel < math.inf for channel in std):
            raise ValueError(f"every std must be above 0, found {in_yaml(list(std))}")
        return std

    @property
    def record(self) -> GraphInput:
        return GraphInput(**dict[str, Any](self))


# What is said of an ONNX file both where it is a detector and where it is imported as a variant of one.
OUTPUT: Any = Field(
    default=None,
    description="of an ONNX file: what its output is; needed where its last operator does not tell (Softmax and "
    "Sigmoid do, and so do Gemm, MatMul and Conv)",
)
OUTPUT_NAME: Any = Field(
    default=None, min_length=1, description="of an ONNX file: the output with scores, where several could hold them"
)
INPUT: Any = Field(
    default=None,
    description="of an ONNX file: how its input is made of a frame; if not given, floats are scaled and normalised by "
    "the detector's preset, and bytes are the frame itself",
)

__all__ = ["INPUT", "OUTPUT", "OUTPUT_NAME", "ClassName", "InputSettings", "OutputKind", "both_classes"]
