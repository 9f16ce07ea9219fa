"""The backbone of GANFingerprint: three depths of a ResNet and the frame's spectrum, joined and attended to."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.detectors.networks.frequencies import LogSpectrum


class Widths(NamedTuple):
    """Channels: behind the ResNet's first, second and last layer; of each where they meet; of the spectrum's three
    convolutions; of all joined, which are the features'; then of the head's embedding and hidden layers.
    """

    resnet: tuple[int, int, int] = (64, 128, 512)
    adapted: int = 128
    spectrum: tuple[int, int, int] = (64, 128, 256)
    joined: int = 256
    embedding: int = 512
    hidden: tuple[int, int, int] = (512, 256, 128)


class Branches(nn.Module):
    """Frames [n, 3, size, size] to features [n, joined, size / 32, size / 32].

    `stages` are those of a ResNet, by name: its stem and four layers.
    """

    WITHOUT_PLACES = ("spectrum", "spectrum_encoder")
    """Parts whose positions are frequencies, and no places of the frame."""

    def __init__(self, stages: dict[str, nn.Module], widths: Widths, size: int) -> None:
        super().__init__()
        self.low = nn.Sequential(*(stages[name] for name in ("conv1", "bn1", "act1", "maxpool", "layer1")))
        self.middle = nn.Sequential(stages["layer2"])
        self.high = nn.Sequential(stages["layer3"], stages["layer4"])
        self.low_adapter, self.middle_adapter, self.high_adapter = (
            _block(width, widths.adapted, 1) for width in widths.resnet
        )
        first, second, third = widths.spectrum
        self.spectrum = LogSpectrum(size)
        self.spectrum_encoder = nn.Sequential(
            _block(3, first, 3),
            _block(first, second, 3).append(nn.MaxPool2d(2)),
            _block(second, third, 3).append(nn.MaxPool2d(2)),
        )
        self.fusion = _block(3 * widths.adapted + third, widths.joined, 3)
        self.attention = Attention(widths.joined)
        self.fingerprint = Fingerprint(widths.joined)

    def forward(self, frames: Tensor) -> Tensor:
        low = self.low(frames)
        middle = self.middle(low)
        high = self.high(middle)
        side = high.shape[2:]
        branches = [
            self.low_adapter(F.adaptive_avg_pool2d(low, side)),
            self.middle_adapter(F.adaptive_avg_pool2d(middle, side)),
            self.high_adapter(high),
            F.interpolate(self.spectrum_encoder(self.spectrum(frames)), size=side, mode="bilinear"),
        ]
        features: Tensor = self.fingerprint(self.attention(self.fusion(torch.cat(branches, dim=1))))
        return features


class Attention(nn.Module):
    """Every position of a map [n, width, h, w] plus `gamma` times what it takes from all of them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key = nn.Conv2d(width, width // 8, 1), nn.Conv2d(width, width // 8, 1)
        self.value = nn.Conv2d(width, width, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        value = self.value(x).flatten(2)
        attended: Tensor = self.gamma * (value @ self._weights(x).transpose(1, 2)).reshape(x.shape)
        return attended + x

    def attention_map(self, x: Tensor) -> Tensor:
        """How much of a position the others take on average, [n, h, w]: all positions together are 1."""
        return self._weights(x).mean(1).reshape(len(x), *x.shape[2:])

    def _weights(self, x: Tensor) -> Tensor:
        """What each position takes from each: [n, h * w, h * w], rows add up to 1."""
        query, key = (layer(x).flatten(2) for layer in (self.query, self.key))
        weights: Tensor = (query.transpose(1, 2) @ key).softmax(dim=-1)
        return weights


class Fingerprint(nn.Module):
    """Two convolutions of a map [n, width, h, w], and the same two of its edges, added up and gated by position."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.gate = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = self._features(x)
        gated: Tensor = features * self._gates(features)
        return gated

    def attention_map(self, x: Tensor) -> Tensor:
        """How far each position's gate is open, 0 to 1, [n, h, w]."""
        return self._gates(self._features(x))[:, 0]

    def _gates(self, features: Tensor) -> Tensor:
        gates: Tensor = self.gate(features).sigmoid()
        return gates

    def _features(self, x: Tensor) -> Tensor:
        edges = x - F.avg_pool2d(x, 3, stride=1, padding=1)
        # One below the other, with a row of zeros between as beyond any border: every convolution runs once a frame.
        both = self.bn1(self.conv1(_stacked(x, edges))).relu()
        both = self.bn2(self.conv2(_stacked(*_apart(both))))
        upper, lower = _apart(both)
        return (upper + lower).relu()


def _stacked(upper: Tensor, lower: Tensor) -> Tensor:
    """[n, c, 2 h + 1, w] of two maps [n, c, h, w]."""
    return torch.cat([F.pad(upper, (0, 0, 0, 1)), lower], dim=2)


def _apart(both: Tensor) -> tuple[Tensor, Tensor]:
    height = (both.shape[2] - 1) // 2
    return both[:, :, :height], both[:, :, height + 1 :]


def _block(inputs: int, outputs: int, side: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, padding=side // 2), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )
