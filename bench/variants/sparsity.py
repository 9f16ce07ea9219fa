"""How many weights of an artifact are zero, and what a general compressor would make of its file.

Zeros are stored like any other number, so a pruned file is as large as before. What they would save
in a download or an archive is told by zstd.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

    from bench.detectors.detector import Detector

# Level 19 took 137 s for a B5 of 109 MiB where this took 0.7 s, and saved the same share of it by pruning (41 %).
ZSTD_LEVEL = 3


def zeros(model: Detector | onnx.ModelProto) -> float | None:
    """The share of exactly-zero weights, in [0, 1], or None where there are no weights to count.

    Counted are the convolutions and linear layers of the backbone; of an ONNX model the
    weights that are stored as integers, among which are those that rounding made zero.
    """
    from bench.detectors import artifact

    counts = _counts_onnx(model) if artifact.kind(model) == "onnx" else _counts_torch(model)
    zero, total = (sum(column) for column in zip((0, 0), *counts, strict=True))
    return zero / total if total else None


def zstd_bytes(file: Path) -> int:
    """The bytes that zstd would store a file in, at level 3, its default."""
    import zstandard

    with file.open("rb") as stored, Path(os.devnull).open("wb") as nowhere:
        _, written = zstandard.ZstdCompressor(level=ZSTD_LEVEL).copy_stream(stored, nowhere)
    return written


def _counts_torch(model: Any) -> list[tuple[int, int]]:
    from bench.variants.steps.prune import weighted_layers

    weights = [layer.weight.detach() for layer in weighted_layers(model).values()]
    return [(weight.numel() - int(weight.count_nonzero()), weight.numel()) for weight in weights]


def _counts_onnx(model: Any) -> list[tuple[int, int]]:
    import numpy as np
    from onnx import TensorProto, numpy_helper

    # Biases and zero points have one dimension or none; weights are symmetric, so that zero is stored as 0.
    weights = [
        numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.data_type in (TensorProto.INT8, TensorProto.INT4) and len(tensor.dims) > 1
    ]
    return [(weight.size - int(np.count_nonzero(weight)), weight.size) for weight in weights]
