"""F3Net against SciPy's DCT with timm's Xception, and against what the projects' own code gave."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from scipy import fft
from torch import Tensor

from bench.detector_settings import DetectorSettings
from bench.detectors.networks.frequencies import Edges, FrequencyBands, LogSpectrum
from bench.detectors.presets import PRESETS
from bench.errors import UserError
from bench.records import Conventions, Preprocessing
from tests.detectors.test_xception import answers, shapes
from tests.support import upstream

HALF, IMAGENET = PRESETS["deepfakebench"], PRESETS["imagenet"]
EDGES = Conventions(flavour="edges")
# By DeepfakeBench's code at its commit 8a4a7bf, on `weights(…, seed=2, gain=1.1)` and `frames(8, 256)`.
DIGEST = "f1c389daaf29de86"
LOGITS = [
    [2.515031, 0.356202], [2.225887, 0.252395], [2.260091, 0.304765], [2.593793, 0.388322],
    [2.305799, 0.176599], [2.199649, 0.247232], [2.597473, 0.337025], [2.330141, 0.26244],
]  # fmt: skip
# By the code of an ensemble of four detectors (its twelve planes, at its commit 0673e84) before timm's
# legacy_xception, on `weights(…, seed=3, gain=1.05)` and `frames(8, 96)`.
DIGEST_OF_EDGES = "153bc9291713993f"
LOGITS_OF_EDGES = [
    [-3.824302, -2.673268], [-4.090805, -2.968397], [-3.976265, -2.741652], [-4.073599, -2.569455],
    [-3.974649, -2.715143], [-3.91401, -2.852016], [-3.950108, -2.464273], [-3.644248, -2.679224],
]  # fmt: skip


@cache
def checkpoint() -> dict[str, Tensor]:
    """What DeepfakeBench saves; the constants are not those that it has, and nothing may depend on them."""
    learned = {f"FAD_head.filters.{band}.learnable": (256, 256) for band in range(4)}
    with_dropout = {name.replace("last_linear.", "last_linear.1."): shape for name, shape in shapes(12).items()}
    state = upstream.weights(with_dropout | learned, seed=2, gain=1.1)
    assert upstream.digest(state) == DIGEST, "other weights, which say nothing of the network"
    constants = ["_DCT_all", "_DCT_all_T", *(f"filters.{band}.base" for band in range(4))]
    return state | {f"FAD_head.{name}": torch.zeros(256, 256) for name in constants}


@pytest.mark.slow
def test_it_gives_the_logits_of_deepfakebench(tmp_path: Path) -> None:
    torch.save(checkpoint(), tmp_path / "f3net_best.pth")
    frames = upstream.frames(8, 256)
    detector, reading, (logits, cam) = answers(tmp_path / "f3net_best.pth", HALF, frames, "f3net")
    torch.testing.assert_close(logits, torch.tensor(LOGITS), atol=1e-4, rtol=0)
    torch.testing.assert_close(cam.mean((1, 2)) + detector.margin_bias, logits[:, 1] - logits[:, 0])
    assert detector.flavour == "fad"
    assert sum(parameter.numel() for parameter in detector.parameters()) == 20_811_050 + 9 * 32 * 9 + 4 * 256 * 256
    assert reading.warnings == ()
    for name in ("FAD_head._DCT_all", "adjust_channel"):
        assert name in reading.left_out


def bands_by_scipy(frames: Tensor, learned: Tensor) -> Tensor:
    """F3Net's planes by another implementation of the DCT, from the definition of the bands."""
    size = frames.shape[-1]
    spectrum = fft.dctn(frames.double().numpy(), axes=(2, 3), norm="ortho")
    i, j = np.indices((size, size))
    planes = []
    for number, (low, high) in enumerate([(0, 90), (90, 128), (128, 512), (0, 512)]):
        sigma = 1 / (1 + np.exp(-learned[number].double().numpy()))
        weights = ((i + j >= low) & (i + j <= high)) + 2 * sigma - 1
        planes.append(fft.idctn(spectrum * weights, axes=(2, 3), norm="ortho"))
    return torch.from_numpy(np.concatenate(planes, axis=1)).float()


def test_bands_are_those_of_scipy() -> None:
    bands = FrequencyBands(256)
    learned = torch.randn(4, 256, 256, generator=torch.Generator().manual_seed(0)) / 2
    for parameter, values in zip(bands.learned, learned, strict=True):
        parameter.data.copy_(values)
    frames = upstream.frames(2, 256).float() / 127.5 - 1
    with torch.no_grad():
        torch.testing.assert_close(bands(frames), bands_by_scipy(frames, learned), atol=2e-5, rtol=0)


def test_edges_are_those_of_plain_loops_and_of_the_ensemble(tmp_path: Path) -> None:
    frames = torch.rand(2, 3, 12, 10, generator=torch.Generator().manual_seed(0))
    framed = F.pad(frames, (1, 1, 1, 1))
    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    expected = torch.zeros(2, 12, 12, 10)
    for y, x in np.ndindex(12, 10):
        patch = framed[:, :, y : y + 3, x : x + 3]
        expected[:, :3, y, x] = frames[:, :, y, x]
        expected[:, 3:9:2, y, x] = (patch * torch.from_numpy(sobel)).sum((2, 3)).float()
        expected[:, 4:9:2, y, x] = (patch * torch.from_numpy(sobel.T.copy())).sum((2, 3)).float()
        expected[:, 9:, y, x] = frames[:, :, y, x] - patch.mean((2, 3))
    torch.testing.assert_close(Edges()(frames), expected, atol=1e-5, rtol=0)

    network: Any = timm.create_model("legacy_xception", num_classes=2, in_chans=12)
    state = upstream.weights({n: tuple(t.shape) for n, t in network.state_dict().items()}, seed=3, gain=1.05)
    assert upstream.digest(state) == DIGEST_OF_EDGES, "other weights, which say nothing of the network"
    torch.save(state, tmp_path / "edges.pth")
    preprocessing = Preprocessing(size=96, mean=IMAGENET.mean, std=IMAGENET.std)
    _, _, (logits, _) = answers(
        tmp_path / "edges.pth", preprocessing, upstream.frames(8, 96), "f3net", conventions=EDGES
    )
    torch.testing.assert_close(logits, torch.tensor(LOGITS_OF_EDGES), atol=1e-4, rtol=0)


def test_edges_of_a_file_with_filters_leave_these_out_and_say_so(tmp_path: Path) -> None:
    """As the ensemble does: it reads DeepfakeBench's file and computes other planes."""
    torch.save(checkpoint(), tmp_path / "f3net_best.pth")
    detector, reading, _ = answers(
        tmp_path / "f3net_best.pth", Preprocessing(size=64), upstream.frames(2, 64), "f3net", conventions=EDGES
    )
    assert detector.flavour == "edges"
    (warning,) = reading.warnings
    assert "FAD_head.filters.0.learnable" in warning


def test_a_file_without_filters_is_refused_with_the_flavour_that_fits(tmp_path: Path) -> None:
    network: Any = timm.create_model("legacy_xception", num_classes=2, in_chans=12)
    torch.save(network.state_dict(), tmp_path / "edges.pth")
    with pytest.raises(UserError, match=r"architecture: f3net, flavour: edges"):
        answers(tmp_path / "edges.pth", HALF, upstream.frames(1, 256), "f3net")


def test_frames_of_another_size_than_the_filters_are_refused_by_the_settings_alone() -> None:
    settings = {"architecture": "f3net", "weights": "f3net.pth", "preprocessing": {"preset": "imagenet"}}
    with pytest.raises(ValueError, match=r"size 224 does not fit f3net.*`size: 256`, or `flavour: edges`"):
        DetectorSettings.model_validate(settings)
    DetectorSettings.model_validate({**settings, "flavour": "edges"})
    DetectorSettings.model_validate({**settings, "preprocessing": "deepfakebench"})


@pytest.mark.parametrize("size", [64, 75, 256])
def test_the_spectrum_is_that_of_torch(size: int) -> None:
    frames = upstream.frames(2, size).float() / 127.5 - 1
    expected = (torch.fft.rfft2(frames.double()).abs() + 1e-10).log().float()
    torch.testing.assert_close(LogSpectrum(size)(frames), expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("transform", [FrequencyBands(32), LogSpectrum(32), Edges()])
def test_constants_stay_float32_and_in_no_file(transform: torch.nn.Module) -> None:
    before = {name: buffer.clone() for name, buffer in transform.named_buffers()}
    transform.half()
    for name, buffer in transform.named_buffers():
        assert torch.equal(buffer, before[name])
        assert buffer.dtype == torch.float32
    assert not before.keys() & transform.state_dict().keys()
    frames = torch.rand(1, 3, 32, 32)
    halved = transform(frames.half())
    assert halved.dtype == torch.float16
    torch.testing.assert_close(halved.float(), transform(frames).float(), atol=5e-2, rtol=1e-2)
    with torch.device("meta"):
        blank = type(transform)(32) if not isinstance(transform, Edges) else Edges()
    for name, buffer in blank.named_buffers():
        assert torch.equal(buffer, before[name])
