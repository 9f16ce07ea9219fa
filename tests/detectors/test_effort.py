"""Effort against what its own code gave on Hugging Face's CLIP for the same weights and frames, and written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from bench import detectors
from bench.artifacts import safetensors
from bench.artifacts.footprint import footprint_of
from bench.artifacts.onnx_export import to_onnx
from bench.detectors.families import effort
from bench.detectors.presets import PRESETS
from bench.errors import UserError
from bench.records import Preprocessing
from bench.variants.steps import prune
from tests.support import b0, plain_effort, upstream
from tests.support.step_work import work

CLIP = PRESETS["effort"]
SMALL: dict[str, Any] = {"img_size": 56, "depth": 2, "embed_dim": 64, "num_heads": 4}
# By DeepfakeBench's code at its commit 8a4a7bf on transformers 5.24, of `weights(…, seed=3, gain=1.0)` and `frames(8)`.
DIGEST = "d28b79c4458bfea7"
LOGITS = [
    [2.640214, 0.308611], [1.209963, 0.073803], [1.423072, 0.228486], [2.747781, 0.07832], [1.110117, 0.667407],
    [1.247911, 0.110662], [2.053796, 0.524669], [1.324048, 0.520017],
]  # fmt: skip
# The same of the whole network and the second of two frames of 224 px. Of the first, 24 blocks of random weights make
# a difference of .04 of what processors round otherwise; docs/log.md has both in double precision.
WHOLE = [[0.97997, 0.887224]]
LINEAR = {"q_proj": (1, 1), "k_proj": (1, 1), "v_proj": (1, 1), "out_proj": (1, 1), "fc1": (4, 1), "fc2": (1, 4)}


def shapes(width: int = 64, depth: int = 2, size: int = 56) -> dict[str, tuple[int, ...]]:
    """What a checkpoint holds, by the names of Hugging Face's CLIP with residuals on its attention."""
    held: dict[str, tuple[int, ...]] = {
        "embeddings.class_embedding": (width,),
        "embeddings.patch_embedding.weight": (width, 3, 14, 14),
        "embeddings.position_embedding.weight": ((size // 14) ** 2 + 1, width),
    }
    for norm in ("pre_layrnorm", "post_layernorm"):
        held |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    for block in range(depth):
        start = f"encoder.layers.{block}"
        for norm in ("layer_norm1", "layer_norm2"):
            held |= {f"{start}.{norm}.weight": (width,), f"{start}.{norm}.bias": (width,)}
        for name, (out, inner) in LINEAR.items():
            layer, outputs, inputs = (
                f"{start}.{'mlp' if name < 'g' else 'self_attn'}.{name}",
                out * width,
                inner * width,
            )
            held[f"{layer}.bias"] = (outputs,)
            if name < "g":
                held[f"{layer}.weight"] = (outputs, inputs)
            else:
                held |= {f"{layer}.weight_main": (outputs, inputs), f"{layer}.S_residual": (1,)}
                held |= {f"{layer}.U_residual": (outputs, 1), f"{layer}.V_residual": (1, inputs)}
    return {f"backbone.{name}": shape for name, shape in held.items()} | {"head.weight": (2, width), "head.bias": (2,)}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Preprocessing:
    """Two blocks of width 64, on 56 px."""
    create = timm.create_model

    def smaller(name: str, **settings: Any) -> Any:
        return create(name, **settings, **(SMALL if "clip" in name else {}))

    monkeypatch.setattr(timm, "create_model", smaller)
    return Preprocessing(size=56, mean=CLIP.mean, std=CLIP.std)


@pytest.mark.slow
def test_it_gives_the_logits_of_its_own_code(tmp_path: Path, small: Preprocessing) -> None:
    state = upstream.weights(shapes(), seed=3, gain=1.0)
    assert upstream.digest(state) == DIGEST, "other weights, which say nothing of the network"
    saved = {f"module.{name}": tensor for name, tensor in state.items()}
    saved["module.backbone.embeddings.position_ids"] = torch.arange(17)[None]
    torch.save(saved, tmp_path / "effort.pth")
    detector, reading = detectors.read("effort", tmp_path / "effort.pth", small)
    frames = upstream.frames(8, 56)
    with torch.no_grad():
        prediction = detector(frames)
    torch.testing.assert_close(prediction.logits, torch.tensor(LOGITS), atol=1e-4, rtol=0)
    assert (reading.names, reading.warnings) == ("names of Effort behind module", ())
    assert "position_ids" in reading.left_out
    logits, cam = b0.run(to_onnx(detector), frames.numpy())
    np.testing.assert_allclose(logits, prediction.logits, atol=1e-4)
    assert prediction.cam is not None
    np.testing.assert_allclose(cam, prediction.cam, atol=1e-5)


def test_it_gives_the_logits_of_the_papers_written_out(tmp_path: Path, small: Preprocessing) -> None:
    """On weights under which the residuals and QuickGELU count."""
    state = upstream.weights(shapes(), seed=11, gain=2.0)
    for name in state:
        if name.endswith("_residual"):
            state[name] = state[name] * 8
    torch.save(state, tmp_path / "effort.pth")
    frames = upstream.frames(8, 56, seed=1)
    in_double = {name: tensor.double().numpy() for name, tensor in state.items()}
    expected = plain_effort.logits(in_double, frames.numpy(), heads=4, blocks=2)
    with torch.no_grad():
        logits = detectors.load("effort", tmp_path / "effort.pth", small)(frames).logits
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    of_upstream = {name: tensor.double().numpy() for name, tensor in upstream.weights(shapes(), 3, 1.0).items()}
    by_plain = plain_effort.logits(of_upstream, upstream.frames(8, 56).numpy(), heads=4, blocks=2)
    np.testing.assert_allclose(by_plain, LOGITS, atol=1e-5)
    without = {name: values * (not name.endswith("S_residual")) for name, values in in_double.items()}
    assert np.abs(plain_effort.logits(without, frames.numpy(), heads=4, blocks=2) - expected).max() > 0.1
    assert expected.std(0).min() > 0.1, "a constant network proves nothing"


def test_hidden_units_and_heads_can_go(tmp_path: Path, small: Preprocessing) -> None:
    torch.save(upstream.weights(shapes(), seed=3, gain=1.0), tmp_path / "effort.pth")
    detector = detectors.load("effort", tmp_path / "effort.pth", small)
    before = footprint_of(detector)
    less = prune.apply(detector, prune.Settings(amount=0.25), work(tmp_path, detector))
    assert all(now <= 0.75 * then for now, then in zip(footprint_of(less), before, strict=True))
    reread = safetensors.load_torch(safetensors.save(less, tmp_path))
    frames = upstream.frames(4, 56)
    with torch.no_grad():
        assert torch.equal(reread(frames).logits, less(frames).logits)


def test_without_one_part_of_a_residual_it_is_refused(tmp_path: Path, small: Preprocessing) -> None:
    state = upstream.weights(shapes(), seed=3, gain=1.0)
    del state["backbone.encoder.layers.1.self_attn.out_proj.S_residual"]
    torch.save(state, tmp_path / "effort.pth")
    with pytest.raises(UserError, match=r"missing \(1\): backbone.encoder.layers.1.self_attn.out_proj.S_residual"):
        detectors.load("effort", tmp_path / "effort.pth", small)


def test_other_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="size 256 does not fit effort"):
        effort.check(None, Preprocessing(size=256))


@pytest.mark.slow
def test_the_whole_network(tmp_path: Path) -> None:
    """ViT-L/14 with two classes, of which 96 layers have a residual."""
    held = shapes(1024, 24, 224)
    assert sum(name.endswith("weight_main") for name in held) == 96
    state = upstream.weights(held, seed=3, gain=1.0)
    torch.save(state, tmp_path / "effort.pth")
    detector = detectors.load("effort", tmp_path / "effort.pth", CLIP)
    # CLIP's vision tower has 303,179,776 parameters.
    assert sum(parameter.numel() for parameter in detector.parameters()) == 303_179_776 + 2 * 1024 + 2
    with torch.no_grad():
        logits = detector(upstream.frames(2, 224)[1:]).logits
    torch.testing.assert_close(logits, torch.tensor(WHOLE), atol=1e-3, rtol=1e-3)
