"""Preprocessing inside the graph, and the CAM contract."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import pywt
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM
from torch import nn

from bench.artifacts import safetensors
from bench.datasets.portraits import draw_portrait, to_uint8
from bench.detectors.detector import Detector
from bench.detectors.preprocessing import Preprocess, WaveletBlend
from bench.detectors.presets import PRESETS
from bench.records import Preprocessing
from bench.variants import build
from bench.variants.chain import parse
from bench.variants.context import BuildContext, Source
from tests.support import tiny


def portrait(size: int) -> NDArray[np.uint8]:
    return to_uint8(draw_portrait(np.random.default_rng(5), size)[0])


def blended(channel: NDArray[np.float64]) -> NDArray[np.float64]:
    """The wavelet blend by PyWavelets and OpenCV."""
    approximation = pywt.dwt2(channel, "sym2", mode="reflect")[0]
    resized = cv2.resize(approximation, channel.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray((resized + channel) / 2)


@pytest.mark.parametrize("size", [61, 160, 380])
def test_fsbi_preprocessing_equals_pywavelets_and_opencv(size: int) -> None:
    frame = portrait(size)
    settings = Preprocessing(size=size, channels="bgr", wavelet="sym2")
    preprocessed = Preprocess(settings)(torch.from_numpy(frame.transpose(2, 0, 1)[None].copy()))[0].numpy()
    expected = np.stack([blended(frame[..., plane] / 255.0) for plane in (2, 1, 0)])
    np.testing.assert_allclose(preprocessed, expected, atol=1e-5, rtol=0)


def test_wavelet_blend_of_rectangles() -> None:
    picture = np.random.default_rng(0).random((24, 31))
    wavelet_blend = WaveletBlend()(torch.from_numpy(picture).float().expand(1, 3, -1, -1))[0, 0].numpy()
    np.testing.assert_allclose(wavelet_blend, blended(picture), atol=1e-5, rtol=0)


def test_imagenet_preset_is_the_usual_normalisation() -> None:
    settings = PRESETS["imagenet"]
    frame = torch.from_numpy(portrait(224).transpose(2, 0, 1)[None].copy())
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (settings.mean, settings.std))
    torch.testing.assert_close(Preprocess(settings)(frame), (frame / 255 - mean) / std, atol=1e-5, rtol=0)


def test_sbi_preset_is_rgb_in_zero_to_one() -> None:
    frame = torch.from_numpy(portrait(64).transpose(2, 0, 1)[None].copy())
    torch.testing.assert_close(Preprocess(PRESETS["sbi"])(frame), frame / 255, atol=1e-6, rtol=0)


def frames(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)


def test_cam_mean_plus_bias_is_the_margin() -> None:
    detector = tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    with torch.inference_mode():
        logits, cam = detector(frames(8))
    margin = logits[:, 1] - logits[:, 0]
    assert margin.std() > 0.01, "outputs must differ, or the equation proves little"
    torch.testing.assert_close(cam.mean((1, 2)) + detector.margin_bias, margin, atol=1e-5, rtol=1e-5)


class Logits(nn.Module):
    """A detector without its CAM, as the package grad-cam wants it."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.detector(inputs)[0]
        return logits


CHAINS: dict[str, list[object]] = {
    "baseline": [],
    "fp16": [{"cast": "fp16"}],
    "bf16": [{"cast": "bf16"}],
    "pruned": [{"prune": 0.5}],
    "recovered": [{"prune": 0.5}, {"recover": {"steps": 2, "batch_size": 8, "learning_rate": 1e-5}}],
}


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())
def test_relu_of_the_cam_is_grad_cam_of_the_margin(
    chain: list[object],
    context: BuildContext,
    source: Source,
) -> None:
    built = build.build("x", source, [parse(step) for step in chain], context)
    detector = safetensors.load_torch(built.file).float()
    batch = frames(16)
    with torch.inference_mode():
        cam = detector(batch)[1].clamp(min=0).numpy()
    # Gradients reach the features through the weights of the network.
    detector.requires_grad_(True)
    with GradCAM(model=Logits(detector), target_layers=[detector.backbone]) as grad_cam:
        gradient_maps = grad_cam(
            input_tensor=batch.float().requires_grad_(), targets=[lambda logits: logits[1] - logits[0]] * len(batch)
        )
    speaking = [index for index in range(len(batch)) if cam[index].max() > 0]
    assert len(speaking) >= 2, "most maps must have something to compare"
    for index in speaking:
        # The package stretches a map to [0, 1] again once it is resized.
        resized = cv2.resize(cam[index], (32, 32))
        resized -= resized.min()
        np.testing.assert_allclose(resized / resized.max(), gradient_maps[index], atol=1e-3)
