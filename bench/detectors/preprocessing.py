"""What happens to a frame between the host's uint8 RGB and the network: modules inside the graph.

Everything here is made of fixed operations without stored weights, so it travels with every
artifact, runs on the accelerator and cannot differ between evaluation and production.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.detectors.wavelet import SYM2_LOW_PASS
from bench.records import Preprocessing


class WaveletBlend(nn.Module):
    """`(x + resize(cA)) / 2`, where cA is the approximation band of a single-level 2-D DWT.

    Equal to `pywt.dwt2(x, "sym2", mode="reflect")[0]` resized back with bilinear interpolation
    (half-pixel centres, as `cv2.INTER_LINEAR`). Nothing is clipped: cA has a gain of about 2.

    Shapes: float [N, 3, H, W] to float [N, 3, H, W]; H and W at least 4.
    """

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor(SYM2_LOW_PASS[::-1], dtype=torch.float64)
        kernel = torch.outer(taps, taps).float().expand(3, 1, 4, 4).contiguous()
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = int(x.shape[2]), int(x.shape[3])
        resized = F.interpolate(self.approximation(x), size=(height, width), mode="bilinear", align_corners=False)
        return (x + resized) * 0.5

    def approximation(self, x: Tensor) -> Tensor:
        """cA of frames [N, 3, H, W]: about half as high and wide."""
        height, width = int(x.shape[2]), int(x.shape[3])
        # Output sample k takes inputs 2k-2 .. 2k+1, and there are floor((n + 3) / 2) of them.
        extended = F.pad(x, (2, 2 + width % 2, 2, 2 + height % 2), mode="reflect")
        return F.conv2d(extended, self.kernel, stride=2, groups=3)


class Preprocess(nn.Module):
    """uint8 RGB frames [N, 3, H, W] to the network's float input [N, 3, H, W].

    Scaling to [0, 1], channel order, mean and standard deviation are one fixed 1x1 convolution;
    the wavelet blend follows it (it is linear, so for FSBI the order of the two does not matter).
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, settings: Preprocessing) -> None:
        super().__init__()
        scale = 1.0 / (255.0 * torch.tensor(settings.std, dtype=torch.float64))
        shift = -torch.tensor(settings.mean, dtype=torch.float64) / torch.tensor(settings.std, dtype=torch.float64)
        weight, order = torch.diag(scale), [2, 1, 0] if settings.channels == "bgr" else [0, 1, 2]
        self.register_buffer("weight", weight[order].float().reshape(3, 3, 1, 1), persistent=False)
        self.register_buffer("bias", shift[order].float(), persistent=False)
        self.blend = WaveletBlend() if settings.wavelet == "sym2" else nn.Identity()

    def forward(self, frames: Tensor) -> Tensor:
        blended: Tensor = self.blend(self.scaled(frames))
        return blended

    def scaled(self, frames: Tensor) -> Tensor:
        """The same before the wavelet blend."""
        return F.conv2d(frames.to(self.weight.dtype), self.weight, self.bias)
