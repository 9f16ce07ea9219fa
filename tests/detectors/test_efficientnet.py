"""The EfficientNet family against efficientnet_pytorch, and the reading of its checkpoints."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from efficientnet_pytorch import EfficientNet
from safetensors.torch import save_file
from torch import nn

from bench import detectors
from bench.detectors import families
from bench.detectors.families import efficientnet
from bench.errors import UserError
from bench.records import Conventions, Preprocessing

PLAIN = Preprocessing(size=380)


def original(size: str) -> EfficientNet:
    """efficientnet_pytorch's network with random weights under which outputs depend on the input."""
    torch.manual_seed(0)
    network = EfficientNet.from_name(f"efficientnet-{size}", num_classes=2).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            nn.init.uniform_(module.weight, 0.5, 1.5)
    with torch.no_grad():
        # Statistics of a real pass keep every layer's output in a natural range.
        network(frames(8, 128).float() / 255)
        nn.init.normal_(network._fc.weight, std=0.03)
    return network.eval()


def frames(count: int, size: int) -> torch.Tensor:
    """Pictures that differ at every scale: blocks of colour from coarse to single pixels."""
    generator = torch.Generator().manual_seed(1)
    picture = torch.zeros(count, 3, size, size)
    for cells in (1, 4, 16, size):
        grid = torch.rand(count, 3, cells, cells, generator=generator)
        picture += nn.functional.interpolate(grid, size=(size, size), mode="nearest") / 4
    return (picture * 255).to(torch.uint8)


@pytest.mark.parametrize("size", ["b0", pytest.param("b5", marks=pytest.mark.slow)])
def test_fsbi_checkpoint_gives_the_logits_of_efficientnet_pytorch(size: str, tmp_path: Path) -> None:
    network = original(size)
    state = {f"net.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"model": state, "optimizer": {"state": {}}, "epoch": 99}, tmp_path / "best_model.tar")
    detector = detectors.load(f"efficientnet_{size}", tmp_path / "best_model.tar", PLAIN)
    batch = frames(2, 380)
    with torch.inference_mode():
        expected = network(batch.float() / 255)
        logits, _ = detector(batch)
    assert (expected[0] - expected[1]).abs().max() > 0.01, "the oracle must not be constant"
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


def test_b5_has_the_published_shapes_and_counts() -> None:
    detector = efficientnet.build("efficientnet_b5", "static", PLAIN)
    shapes: list[tuple[int, ...]] = []
    backbone: Any = detector.backbone
    for module in (backbone.conv_stem, *(block for stage in backbone.blocks for block in stage), backbone.conv_head):
        module.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape[1:])))
    with torch.inference_mode():
        logits, cam = detector(frames(1, 380))
    stages = [(3, 24, 190), (5, 40, 95), (5, 64, 47), (7, 128, 24), (7, 176, 24), (9, 304, 12), (3, 512, 12)]
    blocks = [(width, side, side) for count, width, side in stages for _ in range(count)]
    assert shapes == [(48, 190, 190), *blocks, (2048, 12, 12)]
    assert (logits.shape, cam.shape) == ((1, 2), (1, 12, 12))
    assert sum(parameter.numel() for parameter in detector.parameters()) == 28_344_882
    assert len(detector.state_dict()) == 854


@pytest.mark.slow
def test_static_padding_differs_from_dynamic(tmp_path: Path) -> None:
    """The wrong padding must be visible, or the oracle tests here could not fail of it."""
    torch.save(original("b5").state_dict(), tmp_path / "w.pth")
    outputs = []
    for flavour in ("static", "tf"):
        conventions = Conventions(flavour=flavour)
        detector = detectors.load("efficientnet_b5", tmp_path / "w.pth", Preprocessing(size=128), conventions)
        with torch.inference_mode():
            outputs.append(detector(frames(2, 128))[0])
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3


@pytest.mark.parametrize("size", list(efficientnet.NATIVE_SIZE))
def test_names_match_efficientnet_pytorch_and_torchvision_for_every_size(size: str) -> None:
    architecture = f"efficientnet_{size}"
    with torch.device("meta"):
        by_owner = {
            "efficientnet_pytorch": EfficientNet.from_name(f"efficientnet-{size}", num_classes=2).state_dict(),
            "torchvision": getattr(torchvision.models, architecture)(num_classes=2).state_dict(),
        }
        state_of_bench = efficientnet.build(architecture, "static", PLAIN).state_dict()
    schemes = {scheme.owner: scheme for scheme in efficientnet.schemes(architecture)}
    for owner, state in by_owner.items():
        scheme = schemes[owner]
        renamed = {
            name.replace("head", scheme.head, 1) if name.startswith("head.") else scheme.rename(name): tensor.shape
            for name, tensor in state_of_bench.items()
        }
        assert renamed == {name: tensor.shape for name, tensor in state.items()}
    assert set(efficientnet.to_fsbi(state_of_bench, architecture)) == {
        f"net.{name}" for name in by_owner["efficientnet_pytorch"]
    }


@pytest.mark.parametrize("prefix", ["", "tf_"])
def test_timm_checkpoints_keep_timms_padding(prefix: str, tmp_path: Path) -> None:
    import timm

    network = timm.create_model(f"{prefix}efficientnet_b0", num_classes=2).eval()
    save_file(network.state_dict(), tmp_path / "timm.safetensors")
    detector = detectors.load(f"{prefix}efficientnet_b0", tmp_path / "timm.safetensors", Preprocessing(size=97))
    batch = frames(2, 97)
    with torch.inference_mode():
        torch.testing.assert_close(detector(batch)[0], network(batch.float() / 255), atol=1e-5, rtol=1e-5)


def test_wrappers_and_prefixes_are_taken_off(tmp_path: Path) -> None:
    state = efficientnet.build("efficientnet_b0", "timm", PLAIN).state_dict()
    plain = {timm_name(name): t for name, t in state.items()}
    forms: dict[str, Any] = {
        "bare.pth": plain,
        "module.pth": {"state_dict": {f"module.{name}": t for name, t in plain.items()}},
        "both.tar": {"model_state_dict": {f"module.net.{name}": t for name, t in plain.items()}, "epoch": 1},
        "half.pth": {name: t.half() if t.is_floating_point() else t for name, t in plain.items()},
    }
    for name, form in forms.items():
        torch.save(form, tmp_path / name)
        loaded = detectors.load("efficientnet_b0", tmp_path / name, PLAIN).state_dict()
        assert all(t.dtype == torch.float32 for t in loaded.values() if t.is_floating_point())
        torch.testing.assert_close(loaded["head.weight"], state["head.weight"], atol=1e-3, rtol=1e-3)


def timm_name(name: str) -> str:
    return re.sub("^head", "classifier", name.removeprefix("backbone."))


class Malicious:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (print, ("executed",))


def bad_checkpoint(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.pth"
    state = efficientnet.build("efficientnet_b0", "timm", PLAIN).state_dict()
    plain = {timm_name(name): t for name, t in state.items()}
    if kind == "folder":
        path.mkdir()
    elif kind == "code":
        torch.save({"model": Malicious()}, path)
    elif kind == "truncated":
        torch.save(plain, path)
        path.write_bytes(path.read_bytes()[:100_000])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("these are no weights")
    elif kind == "nan":
        plain["conv_stem.weight"][0, 0, 0, 0] = float("nan")
        torch.save(plain, path)
    elif kind == "no state":
        torch.save({"epoch": 3, "loss": 0.1}, path)
    elif kind == "left over":
        torch.save(plain | {"blocks.7.0.extra.weight": torch.zeros(3)}, path)
    elif kind == "missing keys":
        torch.save({name: t for name, t in plain.items() if name != "bn2.bias"}, path)
    elif kind == "one logit":
        torch.save(plain | {"classifier.weight": torch.zeros(1, 1280), "classifier.bias": torch.zeros(1)}, path)
    elif kind == "other architecture":
        torch.save(original("b1").state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("absent", "no such weights file"),
        ("folder", "is a folder"),
        ("code", "refused, because loading it would execute code"),
        ("truncated", "truncated"),
        ("empty", "is an empty file"),
        ("text", "not a PyTorch checkpoint"),
        ("nan", "infinite values in float32: conv_stem.weight"),
        ("no state", "holds no state dict (found: epoch, loss)"),
        ("left over", "left over (1): blocks.7.0.extra.weight"),
        ("missing keys", "missing (1): bn2.bias"),
        ("one logit", "gives one logit, and nothing tells what a high one speaks for: add `positive: fake`"),
        ("other architecture", "they look like efficientnet_b1"),
    ],
)
def test_bad_weights_are_refused_with_a_reason(
    kind: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bad_checkpoint(kind, tmp_path)
    with pytest.raises(UserError) as caught:
        detectors.load("efficientnet_b0", path, PLAIN)
    assert reason in str(caught.value)
    assert path.name in str(caught.value)
    assert "executed" not in capsys.readouterr().out


def test_unknown_architecture_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'efficientnet_b5'"):
        families.find("efficientnetb5")
