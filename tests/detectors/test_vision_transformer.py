"""Maps of vision transformers: on a planted artefact, whose place is known, they point at it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench import detectors
from bench.detectors.detector import Detector
from bench.detectors.families import timm_models
from bench.errors import UserError
from bench.records import Preprocessing

SIZE, PATCH = 64, 16
GRID = SIZE // PATCH
CHEQUERED = np.indices((PATCH, PATCH)).sum(0) % 2 * 80 + 90


def planted(count: int, seed: int) -> tuple[Tensor, NDArray[np.int64], NDArray[np.int64]]:
    """Coarse noise, in fakes with one chequered patch: frames, labels and the patch's index."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(60, 196, (count, 3, SIZE // 8, SIZE // 8), dtype=np.uint8).repeat(8, 2).repeat(8, 3)
    labels, patches = rng.integers(0, 2, count), rng.integers(0, GRID**2, count)
    fakes = np.flatnonzero(labels == 1)
    for index, patch in zip(fakes, patches[fakes], strict=True):
        row, column = PATCH * (patch // GRID), PATCH * (patch % GRID)
        frames[index, :, row : row + PATCH, column : column + PATCH] = CHEQUERED
    return torch.from_numpy(frames), labels, patches


def trained() -> Detector:
    """A small vision transformer that has learned in some seconds to find the patch."""
    torch.manual_seed(0)
    preprocessing = Preprocessing(size=SIZE, mean=(0.5,) * 3, std=(0.25,) * 3)
    detector = timm_models.build("timm:test_vit", "", preprocessing).train()
    optimizer = torch.optim.AdamW(detector.parameters(), 2e-3)
    steps = 90
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, (step + 1) / 20) * (1 - step / steps)
        frames, labels, _ = planted(24, 100 + step)
        loss = nn.functional.cross_entropy(detector(frames).logits, torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return detector.eval()


@pytest.mark.slow
def test_the_map_points_at_what_was_planted() -> None:
    """At the very patch in nearly all fakes, with most of what speaks for fake, and nowhere as much in real frames."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    detector = trained()
    frames, labels, patches = planted(128, 1)
    with torch.no_grad():
        logits, cam = detector(frames)
    torch.set_num_threads(before)
    assert (logits.argmax(1).numpy() == labels).mean() > 0.97
    for_fake = cam.flatten(1).clamp_min(0).numpy()[labels == 1]
    target = patches[labels == 1]
    assert (for_fake.argmax(1) == target).mean() > 0.95
    assert (for_fake[np.arange(len(target)), target] / for_fake.sum(1)).mean() > 0.5
    assert cam.flatten(1).numpy()[labels == 0].max(1).mean() < 0.3 * for_fake.max(1).mean()


def test_weights_for_another_size_say_which(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_vit", num_classes=2, img_size=96).state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"its positions are for frames of 96 px: set `size: 96`"):
        detectors.read("timm:test_vit", tmp_path / "w.pth", Preprocessing(size=SIZE))
    detectors.read("timm:test_vit", tmp_path / "w.pth", Preprocessing(size=96))


def test_maps_where_the_network_runs_in_half_as_in_recovery_on_some_processors() -> None:
    preprocessing = Preprocessing(size=32)
    torch.manual_seed(0)
    detector = timm_models.build("timm:test_vit", "", preprocessing)
    inputs = detector.preprocess(planted(4, 1)[0][:, :, :32, :32])
    exact = detector.classify(detector.features(inputs))
    with torch.autocast("cpu", torch.bfloat16):
        features = detector.features(inputs)
    _, cam = detector.classify(features)
    assert features.carried[0].dtype == torch.bfloat16
    assert cam is not None
    assert exact.cam is not None
    assert cam.dtype == torch.float32
    torch.testing.assert_close(cam, exact.cam, atol=0.05 * float(exact.cam.abs().max()), rtol=0)


def test_the_map_is_the_gradient_with_which_patches_add_to_the_logit_difference() -> None:
    """As autograd finds it: each patch makes more of what it adds to the values that the class token reads."""
    torch.manual_seed(0)
    detector = timm_models.build("timm:test_vit", "", Preprocessing(size=SIZE)).double()
    inputs = detector.preprocess(planted(1, 1)[0]).double()
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # so that no norm is the identity
        logits, cam = detector.classify(detector.features(inputs))
    assert cam is not None
    more, difference = by_hand(detector, inputs)
    assert difference.item() == pytest.approx(float(logits[0, 1] - logits[0, 0]), rel=1e-4)
    (gradient,) = torch.autograd.grad(difference, more)
    expected = gradient[-(GRID**2) :].reshape(GRID, GRID)
    torch.testing.assert_close(cam[0].double(), expected, atol=1e-5 * float(expected.abs().max()), rtol=1e-4)


def by_hand(detector: Detector, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """How much more each token of the input gives (0 here), and the logit difference of one frame by it.

    Only what the class token reads follows these; what MLPs make of it and what the last norm divides by stay.
    """
    backbone: Any = detector.backbone
    x = backbone.embed(inputs)[0].detach()
    more = torch.zeros(len(x), dtype=x.dtype, requires_grad=True)
    made_of, token = torch.eye(len(x), dtype=x.dtype), x[0]
    for block in backbone.blocks:
        query, key, values = block.attn.qkv(block.norm1(x)).reshape(len(x), 3, block.attn.num_heads, -1).unbind(1)
        attention = [
            (q @ k.T / k.shape[1] ** 0.5).softmax(1) for q, k in zip(query.unbind(1), key.unbind(1), strict=True)
        ]
        heads = [a @ v for a, v in zip(attention, values.unbind(1), strict=True)]
        moved = block.ls1(block.attn.proj(torch.cat(heads, 1)))
        scaled = values * (1 + made_of @ more)[:, None, None]
        reads = [a[0] @ v for a, v in zip(attention, scaled.unbind(1), strict=True)]
        token = token + block.ls1(block.attn.proj(torch.cat(reads)))
        made_of = (shares(x, moved, attention, values, torch.cat(heads, 1)) @ made_of).detach()
        fed = block.ls2(block.mlp(block.norm2(x + moved)))
        token = token + fed[0].detach()
        x = (x + moved + fed).detach()
    centred = token - token.mean()
    normed = centred / (x[0].var(correction=0) + backbone.norm.eps).sqrt() * backbone.norm.weight + backbone.norm.bias
    logits = detector.head.weight @ normed + detector.head.bias
    return more, logits[1] - logits[0]


def shares(x: Tensor, moved: Tensor, attention: list[Tensor], values: Tensor, heads: Tensor) -> Tensor:
    """Of how much of each token of a block's input each token of its output is made, by lengths of vectors."""
    made_of = torch.zeros(len(x), len(x), dtype=x.dtype)
    for row in range(len(x)):
        for column in range(len(x)):
            read = [a[row, column] * values[column, head].norm() for head, a in enumerate(attention)]
            made_of[row, column] = torch.stack(read).norm() * moved[row].norm() / heads[row].norm()
        made_of[row, row] += x[row].norm()
    return made_of / made_of.sum(1, keepdim=True)
