"""Xception against timm, and against what DeepfakeBench's own code gave for the same weights and frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from bench import detectors
from bench.detectors.families import xception
from bench.detectors.presets import PRESETS
from bench.errors import UserError
from bench.records import Preprocessing
from tests.support import upstream

HALF = PRESETS["deepfakebench"]
# By DeepfakeBench's code at its commit 8a4a7bf, on `weights(…, seed=1, gain=1.25)` and `frames(8, 96)`.
DIGEST = "8fd5732a4034944d"
LOGITS = [
    [-2.885276, -4.587258], [-3.915772, -5.396116], [-2.881691, -5.351087], [-3.208913, -5.605848],
    [-2.724499, -4.248654], [-3.376434, -5.065821], [-2.501336, -4.560892], [-2.980491, -5.461403],
]  # fmt: skip


def shapes(channels: int = 3) -> dict[str, tuple[int, ...]]:
    """What a checkpoint of DeepfakeBench holds: timm's network under its names, and a layer that nothing uses."""
    with torch.device("meta"):
        network = timm.create_model("legacy_xception", num_classes=2, in_chans=channels)
    state = {name.replace("fc.", "last_linear."): tuple(t.shape) for name, t in network.state_dict().items()}
    norm = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (512,))
    unused = {"0.weight": (512, 2048, 1, 1), "0.bias": (512,), "1.num_batches_tracked": ()}
    unused |= {f"1.{leaf}": shape for leaf, shape in norm.items()}
    return {f"backbone.{name}": shape for name, shape in state.items()} | {
        f"backbone.adjust_channel.{name}": shape for name, shape in unused.items()
    }


def answers(
    file: Path, preprocessing: Preprocessing, frames: Tensor, architecture: str = "xception", **given: Any
) -> Any:
    """The detector of a checkpoint, how it was read, and what it says of frames."""
    detector, reading = detectors.read(architecture, file, preprocessing, **given)
    with torch.inference_mode():
        return detector, reading, detector(frames)


def test_it_gives_the_logits_of_deepfakebench(tmp_path: Path) -> None:
    state = upstream.weights(shapes(), seed=1, gain=1.25)
    assert upstream.digest(state) == DIGEST, "other weights, which say nothing of the network"
    torch.save(state, tmp_path / "xception_best.pth")
    preprocessing = Preprocessing(size=96, mean=HALF.mean, std=HALF.std)
    detector, reading, (logits, cam) = answers(tmp_path / "xception_best.pth", preprocessing, upstream.frames(8, 96))
    torch.testing.assert_close(logits, torch.tensor(LOGITS), atol=1e-4, rtol=0)
    torch.testing.assert_close(cam.mean((1, 2)) + detector.margin_bias, logits[:, 1] - logits[:, 0])
    assert sum(parameter.numel() for parameter in detector.parameters()) == 20_811_050
    assert len(detector.stages()) == 24
    assert (reading.names, reading.warnings) == ("names of DeepfakeBench behind backbone", ())
    assert "adjust_channel" in reading.left_out


@pytest.mark.parametrize("size", [75, pytest.param(299, marks=pytest.mark.slow)])
def test_timms_checkpoints_give_timms_logits(size: int, tmp_path: Path) -> None:
    network: Any = timm.create_model("legacy_xception", num_classes=2).eval()
    network.load_state_dict(upstream.weights({n: tuple(t.shape) for n, t in network.state_dict().items()}, 5, 1.25))
    torch.save({"state_dict": network.state_dict()}, tmp_path / "timm.pth")
    frames = upstream.frames(2, size)
    _, reading, (logits, _) = answers(tmp_path / "timm.pth", Preprocessing(size=size), frames)
    with torch.inference_mode():
        torch.testing.assert_close(logits, network(frames.float() / 255), atol=1e-4, rtol=0)
    assert reading.names.startswith("names of timm")


def test_other_names_of_it_are_known(tmp_path: Path) -> None:
    """ICPR 2020's has one logit, for fake; FaceForensics++'s has dropout before its head."""
    state = {
        name.removeprefix("backbone."): tensor
        for name, tensor in upstream.weights(shapes(), seed=1, gain=1.25).items()
        if "adjust_channel" not in name
    }
    icpr = {f"xception.{name}": tensor[1:] if "last_linear" in name else tensor for name, tensor in state.items()}
    torch.save({"net": icpr, "epoch": 3}, tmp_path / "icpr.pth")
    faces = {f"model.{name.replace('last_linear.', 'last_linear.1.')}": tensor for name, tensor in state.items()}
    torch.save(faces, tmp_path / "faceforensics.pth")
    preprocessing = Preprocessing(size=96, mean=HALF.mean, std=HALF.std)
    frames, expected = upstream.frames(8, 96), torch.tensor(LOGITS)
    _, reading, (logits, _) = answers(tmp_path / "icpr.pth", preprocessing, frames)
    torch.testing.assert_close(logits, torch.stack([torch.zeros(8), expected[:, 1]], 1), atol=1e-4, rtol=0)
    assert "one logit, for fake" in reading.logits
    _, reading, (logits, _) = answers(tmp_path / "faceforensics.pth", preprocessing, frames)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
    assert reading.names == "names of DeepfakeBench behind model"


@pytest.mark.parametrize("head", ["last_linear", "fc"])
def test_pointwise_convolutions_may_be_matrices(head: str, tmp_path: Path) -> None:
    """As in Cadene's files, from before PyTorch wrote such weights with the sides of their kernels."""
    state = {
        name.replace("last_linear", head): tensor.flatten(1) if "pointwise" in name else tensor
        for name, tensor in upstream.weights(shapes(), seed=1, gain=1.25).items()
        if "adjust_channel" not in name
    }
    torch.save(state, tmp_path / "xception.pth")
    preprocessing = Preprocessing(size=96, mean=HALF.mean, std=HALF.std)
    _, reading, (logits, _) = answers(tmp_path / "xception.pth", preprocessing, upstream.frames(8, 96))
    torch.testing.assert_close(logits, torch.tensor(LOGITS), atol=1e-4, rtol=0)
    matrices = sum("pointwise" in name for name in state)
    assert f"{matrices} matrices [out, in] read as weights [out, in, 1, 1] of pointwise convolutions" in reading.names


@pytest.mark.slow
def test_matrices_of_another_shape_are_refused(tmp_path: Path) -> None:
    state = upstream.weights(shapes(), seed=1, gain=1.25)
    name = "backbone.block2.rep.1.pointwise.weight"
    torch.save(state | {name: state[name].flatten(1).T.contiguous()}, tmp_path / "transposed.pth")
    with pytest.raises(UserError, match=r"of another shape \(1\).*pointwise"):
        detectors.read("xception", tmp_path / "transposed.pth", Preprocessing(size=96))


@pytest.mark.slow
def test_the_estimate_of_its_work_is_what_is_counted() -> None:
    from bench.artifacts.footprint import footprint_of
    from bench.detectors.families import efficientnet

    size = Preprocessing(size=256)
    parameters, macs = footprint_of(xception.build("xception", "timm", size))
    _, macs_of_b5 = footprint_of(efficientnet.build("efficientnet_b5", "static", size))
    assert xception.SIZES["xception"] == pytest.approx((macs / macs_of_b5, parameters / 1e6), abs=0.05)
