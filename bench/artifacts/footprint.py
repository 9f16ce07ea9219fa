"""Parameters and multiply-accumulates of a detector, zero weights, and what a general compressor makes of a file.

Zeros are stored like any other number, so a pruned file is as large as before. What they would save
in a download or an archive is what zstd makes of the file.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.detectors.layer_names import is_in_backbone
from bench.detectors.weights import safetensors_header
from bench.stored import open_file

if TYPE_CHECKING:
    import onnx
    from torch import Tensor

    from bench.detectors.detector import Detector

# Level 19 took 137 s for a B5 of 109 MiB where this took 0.7 s, and saved the same share of it by pruning (41 %).
ZSTD_LEVEL = 3
# Of every `GROUP` neighbouring weights at least `ZEROS` are zero: the pattern that sparse tensor cores skip.
GROUP, ZEROS = 4, 2
# Bytes a weight, by what safetensors calls its type.
_FLOATS = {"F32": 4, "F16": 2, "BF16": 2}


def footprint_of(detector: Detector) -> tuple[int, int]:
    """Parameters, and multiply-accumulates of all convolutions and linear layers for one frame.

    Backbone and head are counted; the preprocessing and the CAM, well under one percent, are not.
    """
    positions = positions_per_frame(detector)
    macs = sum(detector.get_parameter(f"{name}.weight").numel() * count for name, count in positions.items())
    return sum(parameter.numel() for parameter in detector.parameters()), macs


def positions_per_frame(detector: Detector) -> dict[str, int]:
    """For every convolution and linear layer, by name, at how many positions of one frame it is applied."""
    return positions_in_all(detector, positions_by_call(detector))


def positions_in_all(detector: Detector, by_call: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """The same from the positions of each call."""
    positions = {name: sum(calls) for name, calls in by_call.items()}
    # A head may use the weights of its layers without calling these.
    return positions | {name: 1 for name in detector.head_layers() if name not in positions}


def positions_by_call(detector: Detector) -> dict[str, list[int]]:
    """For every convolution and linear layer that a frame calls, by name, the positions of each call."""
    import torch
    from torch import nn

    positions: dict[str, list[int]] = {}
    network = copy.deepcopy(detector).to("meta")

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            count = output.shape[2:].numel() if isinstance(module, nn.Conv2d) else output.shape[:-1].numel()
            positions.setdefault(name, []).append(count)

        return hook

    for name, module in network.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(watch(name))
    size = detector.preprocessing.size
    with torch.no_grad():
        network.classify(network.features(torch.zeros(1, 3, size, size, device="meta")))
    return positions


def zeros(model: Detector | onnx.ModelProto) -> float | None:
    """The share of exactly-zero weights, in [0, 1], or None where there are no weights to count.

    Counted are the convolutions and linear layers of the backbone; of an ONNX model the
    weights that are stored as integers, among which are those that rounding made zero.
    """
    from bench.artifacts import safetensors

    counts = _counts_onnx(model) if safetensors.kind(model) == "onnx" else _counts_torch(model)
    zero, total = (sum(column) for column in zip((0, 0), *counts, strict=True))
    return zero / total if total else None


def zstd_bytes(file: Path) -> int:
    """The bytes that zstd would store a file in, at level 3, its default."""
    import zstandard

    with file.open("rb") as stored, Path(os.devnull).open("wb") as nowhere:
        _, written = zstandard.ZstdCompressor(level=ZSTD_LEVEL).copy_stream(stored, nowhere)
    return written


def _counts_torch(model: Any) -> list[tuple[int, int]]:
    weights = [layer.weight.detach() for layer in model.weighted_layers().values()]
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


def two_of_four(file: Path) -> Iterator[bool]:
    """For every layer that reads its channels in fours, whether at least two of each four weights are zero.

    Read from the bytes of a safetensors file, since NumPy has no bf16.
    """
    import numpy as np

    with open_file(file) as stored:
        for name, tensor in safetensors_header.read(stored).tensors.items():
            shape, size = tensor.shape, _FLOATS.get(tensor.dtype)
            if size is None or not (is_in_backbone(name) and name.endswith(".weight")):
                continue
            if len(shape) not in (2, 4) or shape[1] % GROUP:
                continue
            stored.seek(tensor.begin)
            bits = np.frombuffer(stored.read(tensor.end - tensor.begin), f"<u{size}").reshape(shape)
            # Shifted out is the sign, which a zero may have.
            fours = np.moveaxis(bits << 1, 1, -1).reshape(-1, GROUP)
            yield bool(((fours == 0).sum(axis=1) >= ZEROS).all())
