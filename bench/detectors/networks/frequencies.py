"""Fixed transforms at the beginning of networks: frequency bands, edges, the spectrum.

They compute in float32 whatever type the weights around them have, and by matrix products and convolutions alone, so
that every runtime has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Transform(nn.Module):
    """A module with constants: float32 always, and in no file.

    They are made on the CPU even where a network is built without storage, since no file brings them.
    """

    def constant(self, name: str, values: Tensor) -> None:
        """Have float64 `values` as a buffer of this name, in float32."""
        self.register_buffer(name, values.float(), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Transform:
        constants = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch gives it no types
        for name, before in constants.items():
            moved = self.get_buffer(name)
            if moved.dtype != before.dtype:
                setattr(self, name, before.to(moved.device))
        return self


class FrequencyBands(Transform):
    """Frames [n, 3, size, size] in four bands of frequencies [n, 12, size, size]: low, middle, high, all.

    F3Net's frequency-aware decomposition (Qian et al., ECCV 2020): the DCT of a plane times a band's filter, back in
    pixels. A filter is 1 in its band plus a learned number between -1 and 1 at every frequency.
    """

    dct: Tensor
    bands: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.learned = nn.ParameterList(torch.zeros(size, size) for _ in range(4))
        self.constant("dct", _dct(size))
        self.constant("bands", _bands(size))

    def forward(self, frames: Tensor) -> Tensor:
        with exact_products(frames):
            spectrum = self.dct @ frames.float() @ self.dct.T
            planes = []
            for band, learned in zip(self.bands, self.learned, strict=True):
                weights = band + 2 * learned.float().sigmoid() - 1
                planes.append(self.dct.T @ (spectrum * weights) @ self.dct)
        return torch.cat(planes, dim=1).to(frames.dtype)


class Edges(Transform):
    """Frames [n, 3, h, w] with their edges [n, 12, h, w].

    R, G, B; then of each of the three in turn what Sobel's filters along x and along y make of it; then of each what
    differs from the mean of 3x3 pixels. Beyond the border there are zeros, also in that mean.
    """

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.constant("kernel", _edges())

    def forward(self, frames: Tensor) -> Tensor:
        with exact_products(frames):
            return F.conv2d(frames.float(), self.kernel, padding=1).to(frames.dtype)


class LogSpectrum(Transform):
    """Frames [n, 3, size, size] to the logarithms of their spectra's magnitudes [n, 3, size, size // 2 + 1].

    Equal to `log(|rfft2(x)| + 1e-10)`, the Fourier transform as products with its cosines and sines.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        angles = 2 * math.pi * _products(size).remainder(size) / size
        self.constant("rows", torch.cat([angles.cos(), angles.sin()]))
        half = angles[:, : size // 2 + 1]
        self.constant("columns", torch.cat([half.cos(), half.sin()], dim=1))

    def forward(self, frames: Tensor) -> Tensor:
        size, frequencies = self.rows.shape[1], self.columns.shape[1] // 2
        with exact_products(frames):
            products = self.rows @ (frames.float() @ self.columns)
        cosines, sines = products[:, :, :size], products[:, :, size:]
        real = cosines[..., :frequencies] - sines[..., frequencies:]
        imaginary = sines[..., :frequencies] + cosines[..., frequencies:]
        magnitude = (real.square() + imaginary.square()).sqrt()
        return (magnitude + 1e-10).log().to(frames.dtype)


@contextmanager
def exact_products(tensor: Tensor) -> Iterator[None]:
    """Matrix products and convolutions on the device of `tensor` are neither rounded to TF32 nor done in half."""
    with ExitStack() as settings:
        kind = tensor.device.type
        if kind != "meta" and torch.is_autocast_enabled(kind):
            settings.enter_context(torch.autocast(kind, enabled=False))
        if kind == "cuda":
            settings.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            torch.set_float32_matmul_precision("highest")
            cudnn = torch.backends.cudnn
            settings.enter_context(
                cudnn.flags(benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False)
            )
        yield


def _products(size: int) -> Tensor:
    """i * j for all i and j below `size`, float64, wherever networks are built."""
    numbers = torch.arange(size, dtype=torch.float64, device="cpu")
    return torch.outer(numbers, numbers)


def _dct(size: int) -> Tensor:
    """The orthonormal DCT-II, a frequency in each row."""
    numbers = torch.arange(size, dtype=torch.float64, device="cpu")
    matrix = (torch.outer(numbers, numbers + 0.5) * math.pi / size).cos() * math.sqrt(2 / size)
    matrix[0] = math.sqrt(1 / size)
    return matrix


def _bands(size: int) -> Tensor:
    """Which frequencies (i, j) a band holds, by i + j: [4, size, size], both ends included."""
    numbers = torch.arange(size, dtype=torch.float64, device="cpu")
    sums = numbers[:, None] + numbers
    middle, high = size // 2.82, size // 2
    return torch.stack([((first <= sums) & (sums <= last)).double() for first, last in
                        ((0, middle), (middle, high), (high, 2 * size), (0, 2 * size))])  # fmt: skip


def _edges() -> Tensor:
    """The filters of `Edges` [12, 3, 3, 3]."""
    along_x = torch.tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=torch.float64, device="cpu")
    centre = torch.zeros_like(along_x)
    centre[1, 1] = 1
    filters = torch.zeros(12, 3, 3, 3, dtype=torch.float64, device="cpu")
    for channel in range(3):
        filters[channel, channel] = centre
        filters[3 + 2 * channel, channel] = along_x
        filters[4 + 2 * channel, channel] = along_x.T
        filters[9 + channel, channel] = centre - 1 / 9
    return filters
