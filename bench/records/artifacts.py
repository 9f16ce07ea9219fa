"""What a built variant is on disk: its file, size and cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Built:
    """An artifact on disk: one self-contained file, and its properties.

    `stored` is the type of the stored weights: "fp32", "fp16", "bf16", "int8" (activations are too), "int8
    weights" or "int4 weights" (activations are not). `margin_bias` is the constant that the CAM's mean lacks to be
    `logit_fake - logit_real`; None without a CAM, or where that is not constant. `seconds` is how long the last step
    took. `zeros` is the share of exactly-zero weights, in [0, 1]; `zstd_bytes` is the size of the file compressed by
    zstd; None where they were not counted. `imported` is whether it is a graph from elsewhere, which runtimes
    execute as it stands. `digest` is the file's SHA-256, empty where an earlier version built it.
    """

    id: str
    file: Path
    kind: Literal["torch", "onnx"]
    stored: str
    size_bytes: int
    parameters: int | None
    macs: int | None
    margin_bias: float | None
    seconds: float
    zeros: float | None = None
    zstd_bytes: int | None = None
    digest: str = ""
    imported: bool = False

    @property
    def quantised(self) -> bool:
        """Whether weights are stored as integers."""
        return self.stored.startswith("int")

    @property
    def arranged(self) -> bool:
        """Whether bench says itself which kernels of a CPU execute it; a graph from elsewhere is executed as it is."""
        return self.stored == "int8" and not self.imported

    @property
    def weights_only(self) -> bool:
        """Whether weights are stored as integers, and nothing computes with those."""
        return self.stored.endswith(" weights")


@dataclass(frozen=True)
class Footprint:
    """Size of the shipped file, parameters, and multiply-accumulates for one frame, zeros included.

    `zeros` is the share of exactly-zero weights, in [0, 1], `zstd_bytes` what zstd makes of the file.
    """

    size_bytes: int
    parameters: int | None
    macs: int | None
    zeros: float | None = None
    zstd_bytes: int | None = None
