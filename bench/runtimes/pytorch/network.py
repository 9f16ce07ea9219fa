"""A detector as a function on its device, in the types and the memory layout that are fastest there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from bench.detectors.detector import Detector
from bench.records import Prediction
from bench.runtimes.pytorch.batch_norms import fold

AUTOTUNED = False
"""Whether cuDNN times its algorithms for every new shape, and takes the fastest, which need not be the same twice.

Off: equal runs give equal scores. tools/gpu_check.py measures what that costs.
"""


class Network:
    """uint8 RGB frames [n, 3, H, W] on the device to their prediction, float32, on the device too.

    `computed` names the arithmetic of the backbone. Preprocessing, pooling, head and CAM are strictly float32
    whatever the backbone is in: the CAM's mean and the logits agree, and no frame is rounded before it is seen.
    """

    def __init__(self, detector: Detector, device: Literal["cpu", "cuda"], stored: str, *, tf32: bool) -> None:
        # CPUs have no fp16 convolution worth the name, and emulating one would time the emulation.
        if device == "cpu":
            detector = detector.float()
        fold(detector)
        dtype = detector.dtype
        self._format = memory_format(device, dtype)
        self._detector = detector.to(device).to(memory_format=self._format)
        self._dtype, self._tf32 = dtype, uses_tf32(device, dtype, asked=tf32)
        self.size = detector.preprocessing.size
        self.computed = computed(device, stored, tf32=self._tf32)

    def __call__(self, frames: Tensor) -> Prediction[Tensor]:
        with torch.inference_mode():
            with float32(tf32=False):
                inputs = self._detector.preprocess(frames)
            with float32(tf32=self._tf32):
                features = self._detector.features(inputs.to(self._dtype, memory_format=self._format))
            with float32(tf32=False):
                return self._detector.classify(features)


def uses_tf32(device: str, dtype: torch.dtype, *, asked: bool) -> bool:
    """Whether float32 is rounded to TF32: where it may be, on CUDA devices since Ampere."""
    return asked and dtype == torch.float32 and device == "cuda" and torch.cuda.get_device_capability() >= (8, 0)


def memory_format(device: str, dtype: torch.dtype) -> torch.memory_format:
    """channels_last won on CPUs (256 against 365 ms a frame on a B5 at 380 px) and is what tensor cores want in half
    precision. In fp32 on CUDA it lost for others: 575 against 640 frames a second, timm's B5 at 448 px on an RTX 4090.
    """
    last = device == "cpu" or dtype != torch.float32
    return torch.channels_last if last else torch.contiguous_format


@contextmanager
def float32(*, tf32: bool) -> Iterator[None]:
    """Convolutions and matrix products on CUDA round float32 inputs to ten bits of mantissa, or do not."""
    cudnn = torch.backends.cudnn
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        with cudnn.flags(enabled=True, benchmark=AUTOTUNED, deterministic=cudnn.deterministic, allow_tf32=tf32):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def computed(device: str, stored: str, *, tf32: bool) -> str:
    """The arithmetic of a backbone by name; on a CPU half precision computes in float32."""
    if device == "cpu":
        return "fp32"
    return f"{stored} (TF32)" if tf32 else stored
