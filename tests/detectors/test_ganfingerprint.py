"""GANFingerprint against a second implementation on torchvision, and against what its own code gave."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from bench import detectors
from bench.detectors.families import ganfingerprint
from bench.detectors.presets import PRESETS
from bench.records import Preprocessing
from tests.support import upstream

PRESET = PRESETS["ganfingerprint"]
# By GANFingerprint's code at its commit 40e4ae5, on `weights(…, seed=4, gain=1.6)` and `frames(16, size)`: one logit,
# for real.
DIGEST = "0b819491f7bb7c5d"
LOGITS = {
    96: [
        -2.624044, -3.946527, -4.025487, -3.201329, -4.322506, -5.083837, -2.980335, -4.143897, -3.759566, -4.200833,
        -3.688255, -3.009141, -4.213546, -4.327852, -3.950984, -3.555966,
    ],
    256: [
        -0.341328, -0.600785, -0.570231, -0.409658, -1.428862, -1.000499, -0.320204, -1.108326, -0.494111, -1.418323,
        -1.261817, -0.488511, -1.020256, -0.495703, -0.834848, -0.601938,
    ],
}  # fmt: skip


def _norm(width: int) -> dict[str, tuple[int, ...]]:
    vectors = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (width,))
    return {**vectors, "num_batches_tracked": ()}


def shapes() -> dict[str, tuple[int, ...]]:
    """What a checkpoint holds, from its description."""
    with torch.device("meta"):
        resnet = list(torchvision.models.resnet34().children())[:8]
    held: dict[str, tuple[int, ...]] = {}
    for name, start, stop in (("low", 0, 5), ("mid", 5, 6), ("high", 6, 8)):
        state = torch.nn.Sequential(*resnet[start:stop]).state_dict()
        held |= {f"backbone_{name}.{key}": tuple(tensor.shape) for key, tensor in state.items()}

    def layer(name: str, shape: tuple[int, ...], norm: str = "") -> None:
        held[f"{name}.weight"], held[f"{name}.bias"] = shape, shape[:1]
        if norm:
            held.update({f"{norm}.{leaf}": of_leaf for leaf, of_leaf in _norm(shape[0]).items()})

    for name, width in (("low", 64), ("mid", 128), ("high", 512)):
        layer(f"{name}_adapter.0", (128, width, 1, 1), f"{name}_adapter.1")
    for number, (before, after) in enumerate([(3, 64), (64, 128), (128, 256)], start=1):
        layer(f"freq_encoder.conv{number}.0", (after, before, 3, 3), f"freq_encoder.conv{number}.1")
    layer("fusion_layer.0", (256, 640, 3, 3), "fusion_layer.1")
    for name, width in (("query", 32), ("key", 32), ("value", 256)):
        layer(f"attention.{name}", (width, 256, 1, 1))
    held["attention.gamma"] = (1,)
    for number in (1, 2):
        name = "fingerprint_block.freq_aware"
        layer(f"{name}.conv{number}", (256, 256, 3, 3), f"{name}.bn{number}")
    layer("fingerprint_block.spatial_attn.conv", (1, 256, 1, 1))
    layer("embedding.0", (512, 256), "embedding.1")
    for number, (before, after) in enumerate([(512, 512), (512, 256), (256, 128)], start=1):
        layer(f"classifier.layer{number}.0", (after, before), f"classifier.layer{number}.1")
    layer("classifier.residual_adapter", (256, 512))
    layer("classifier.classifier", (1, 128))
    return held


def plain(state: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """The network once more, from its description: normalised frames to logits for real [n], fingerprints [n, 512]."""

    def norm(name: str, y: Tensor) -> Tensor:
        mean, variance, weight, bias = (
            state[f"{name}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(y, mean, variance, weight, bias)

    def conv(name: str, y: Tensor) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(y, weight, state[f"{name}.bias"], padding=weight.shape[2] // 2)

    def linear(name: str, y: Tensor) -> Tensor:
        return F.linear(y, state[f"{name}.weight"], state[f"{name}.bias"])

    resnet = list(torchvision.models.resnet34().children())[:8]
    maps = []
    y = x
    for name, start, stop in (("low", 0, 5), ("mid", 5, 6), ("high", 6, 8)):
        part = torch.nn.Sequential(*resnet[start:stop]).eval()
        prefix = f"backbone_{name}."
        part.load_state_dict({key.removeprefix(prefix): t for key, t in state.items() if key.startswith(prefix)})
        y = part(y)
        maps.append(y)
    side = maps[-1].shape[2:]
    joined = [
        norm(f"{name}_adapter.1", conv(f"{name}_adapter.0", F.adaptive_avg_pool2d(of_name, side))).relu()
        for name, of_name in zip(("low", "mid", "high"), maps, strict=True)
    ]
    spectrum = (torch.fft.rfft2(x).abs() + 1e-10).log()
    for number in (1, 2, 3):
        spectrum = norm(f"freq_encoder.conv{number}.1", conv(f"freq_encoder.conv{number}.0", spectrum)).relu()
        if number > 1:
            spectrum = F.max_pool2d(spectrum, 2)
    joined.append(F.interpolate(spectrum, size=side, mode="bilinear", align_corners=False))
    y = norm("fusion_layer.1", conv("fusion_layer.0", torch.cat(joined, 1))).relu()
    query, key, value = (conv(f"attention.{name}", y).flatten(2) for name in ("query", "key", "value"))
    shares = torch.einsum("ncp,ncq->npq", query, key).softmax(2)
    y = y + state["attention.gamma"] * torch.einsum("ncq,npq->ncp", value, shares).reshape(y.shape)
    total = torch.zeros(())
    block = "fingerprint_block.freq_aware"
    for branch in (y, y - F.avg_pool2d(y, 3, 1, 1)):
        hidden = norm(f"{block}.bn1", conv(f"{block}.conv1", branch)).relu()
        total = total + norm(f"{block}.bn2", conv(f"{block}.conv2", hidden))
    y = total.relu()
    y = y * conv("fingerprint_block.spatial_attn.conv", y).sigmoid()
    embedding = norm("embedding.1", linear("embedding.0", y.mean((2, 3)))).relu()
    first = F.leaky_relu(norm("classifier.layer1.1", linear("classifier.layer1.0", embedding)), 0.1)
    second = F.leaky_relu(norm("classifier.layer2.1", linear("classifier.layer2.0", first)), 0.1)
    second = second + linear("classifier.residual_adapter", embedding)
    third = F.leaky_relu(norm("classifier.layer3.1", linear("classifier.layer3.0", second)), 0.1)
    return linear("classifier.classifier", third)[:, 0], embedding


def checkpoint(file: Path) -> dict[str, Tensor]:
    """Save what its training saves, with the random states and NumPy's numbers in it; its weights."""
    state = upstream.weights(shapes(), seed=4, gain=1.6)
    assert upstream.digest(state) == DIGEST, "other weights, which say nothing of the network"
    saved = {
        "epoch": 12,
        "model_state_dict": state,
        "optimizer_state_dict": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 5e-5}]},
        "scheduler_state_dict": None,
        "combined_score": np.float64(0.9),
        "val_metrics": {"auc": np.float64(0.97)},
        "random_state": {"numpy": np.random.RandomState(0).get_state(), "torch": torch.get_rng_state()},
        "config": {"INPUT_SIZE": 256},
    }
    torch.save(saved, file)
    return state


@pytest.mark.slow
@pytest.mark.parametrize("size", [96, pytest.param(256, marks=pytest.mark.slow)])
def test_it_gives_the_logits_of_its_own_code_and_of_a_second_one(size: int, tmp_path: Path) -> None:
    state = checkpoint(tmp_path / "best.pth")
    preprocessing = Preprocessing(size=size, mean=PRESET.mean, std=PRESET.std)
    detector, reading = detectors.read("ganfingerprint", tmp_path / "best.pth", preprocessing)
    frames = upstream.frames(16, size)
    with torch.inference_mode():
        logits, cam = detector(frames)
        expected, fingerprints = plain(state, detector.preprocess(frames))
        vectors = detector.embed(frames)
    for_real = torch.tensor(LOGITS[size])
    torch.testing.assert_close(logits, torch.stack([expected, torch.zeros(16)], 1), atol=1e-4, rtol=0)
    # Another processor rounds the smallest amplitudes of a larger frame otherwise, and their logarithms are far apart.
    tolerance = 1e-4 if size < 256 else 1e-3
    torch.testing.assert_close(expected, for_real, atol=tolerance, rtol=0)
    torch.testing.assert_close(vectors, fingerprints, atol=1e-4, rtol=1e-4)
    assert vectors.shape == (16, 512)
    assert cam.shape == (16, size // 32, size // 32)
    assert "for real, as in the code of GANFingerprint" in reading.logits
    assert reading.warnings == ()
    assert len(state) == 320
    assert sum(tensor.numel() for name, tensor in state.items() if "running" not in name and "num_b" not in name) == (
        25_179_395
    )
    # The second logit, which is always 0, has a row of the last layer.
    assert sum(parameter.numel() for parameter in detector.parameters()) == 25_179_395 + 129


def test_the_estimate_of_its_work_is_what_is_counted() -> None:
    from bench.artifacts.footprint import footprint_of
    from bench.detectors.families import efficientnet

    size = Preprocessing(size=256)
    parameters, macs = footprint_of(ganfingerprint.build("ganfingerprint", "upstream", size))
    _, macs_of_b5 = footprint_of(efficientnet.build("efficientnet_b5", "static", size))
    expected = ganfingerprint.SIZES["ganfingerprint"]
    assert expected == pytest.approx((macs / macs_of_b5, parameters / 1e6), abs=0.05)
