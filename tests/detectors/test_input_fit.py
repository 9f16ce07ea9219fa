"""Which preprocessing fits the weights, by what batch norms remember."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import detectors
from bench.detectors.detector import Detector
from bench.detectors.families import efficientnet
from bench.detectors.input_fit import alternatives, flavour_fit, input_fit
from bench.detectors.preprocessing import Preprocess
from bench.detectors.presets import PRESETS
from bench.records import Conventions, InputFit, Preprocessing
from tests.support.step_work import frames

SIZE = 64


def coloured(count: int, seed: int) -> Tensor:
    """Reddish frames: of grey ones, nothing tells the order of channels."""
    return (frames(count, SIZE, seed) * torch.tensor([1.0, 0.7, 0.4])[:, None, None]).to(torch.uint8)


def trained_under(preprocessing: Preprocessing) -> Detector:
    """Random weights whose batch norms remember frames under this preprocessing."""
    torch.manual_seed(0)
    detector = efficientnet.build("efficientnet_b0", "static", preprocessing)
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        detector.train()(coloured(64, seed=3))
    return detector.eval()


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["fsbi", "sbi", "imagenet", "deepfakebench"])
def test_the_preprocessing_of_training_ranks_first(preset: str) -> None:
    """And it does not warn of itself; under any other statistics a warning names it."""
    right = replace(PRESETS[preset], size=SIZE, fit="stretch")
    detector, pixels = trained_under(right), coloured(32, seed=4).numpy()
    fit = InputFit(input_fit(detector, pixels))
    assert fit.inputs[0].is_given
    assert fit.warning is None
    for wrong in ("sbi", "imagenet", "deepfakebench"):
        if PRESETS[wrong].mean != right.mean:
            detector.preprocessing = replace(PRESETS[wrong], size=SIZE)
            detector.preprocess = Preprocess(detector.preprocessing)
            warning = InputFit(input_fit(detector, pixels)).warning
            assert warning is not None
            assert fit.inputs[0].title in warning


def test_every_alternative_is_there_once() -> None:
    given = Preprocessing(size=SIZE, mean=(0.1, 0.2, 0.3))
    settings = [preprocessing for _, preprocessing in alternatives(given, "static")]
    assert given in settings
    assert len(set(settings)) == len(settings)
    statistics = {(preset.mean, preset.std) for preset in PRESETS.values()}
    assert statistics < {(preprocessing.mean, preprocessing.std) for preprocessing in settings}


def test_the_wavelet_is_plausible_for_weights_like_fsbis_alone() -> None:
    def wavelets(given: Preprocessing, flavour: str) -> set[str]:
        return {preprocessing.wavelet for _, preprocessing in alternatives(given, flavour)}

    assert wavelets(Preprocessing(size=SIZE), "torchvision") == {"none"}
    assert wavelets(Preprocessing(size=SIZE), "static") == {"none", "sym2"}
    assert wavelets(Preprocessing(size=SIZE, wavelet="sym2"), "timm") == {"none", "sym2"}


@pytest.mark.slow
def test_flavours_are_compared_under_the_given_preprocessing(tmp_path: Path) -> None:
    detector = trained_under(Preprocessing(size=SIZE))
    torch.save(efficientnet.to_fsbi(detector.state_dict(), "efficientnet_b0"), tmp_path / "w.pth")
    loaded = detectors.load("efficientnet_b0", tmp_path / "w.pth", detector.preprocessing)
    fits = flavour_fit(loaded, tmp_path / "w.pth", Conventions(), coloured(32, seed=4).numpy())
    assert {fit.title for fit in fits} == {"timm", "tf", "torchvision", "static", "deepfakebench"}
    assert [fit.title for fit in fits if fit.is_given] == ["static"]
    assert fits[0].misfit < fits[-1].misfit


class NeverRun(nn.Module):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        raise AssertionError("a pass of the network, though it has no batch norms")


def test_a_network_without_batch_norms_cannot_tell_and_is_not_run() -> None:
    """Of a large transformer every pass takes minutes, and there are a dozen preprocessings."""
    detector = trained_under(Preprocessing(size=SIZE))
    detector.backbone = nn.Sequential(NeverRun())
    assert input_fit(detector, np.zeros((4, 3, SIZE, SIZE), np.uint8)) == ()
    assert InputFit(()).warning is None
