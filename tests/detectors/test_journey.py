"""A frame's way through a network: its stages, and heat that is Grad-CAM by another implementation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import pywt
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM
from torch import Tensor, nn

from bench.detectors import families
from bench.detectors.detector import Detector
from bench.detectors.journey import in_rows, journey, network_input, ready
from bench.detectors.presets import PRESETS
from bench.records import ClassName, Preprocessing
from tests.support import tiny, tokens

SEED_000 = (
    ("conv_stem", 48, 190), ("bn0", 48, 190), *((f"block_{i:02d}", 24, 190) for i in range(3)),
    *((f"block_{i:02d}", 40, 95) for i in range(3, 8)), *((f"block_{i:02d}", 64, 47) for i in range(8, 13)),
    *((f"block_{i:02d}", 128, 24) for i in range(13, 20)), *((f"block_{i:02d}", 176, 24) for i in range(20, 27)),
    *((f"block_{i:02d}", 304, 12) for i in range(27, 36)), *((f"block_{i:02d}", 512, 12) for i in range(36, 39)),
    ("conv_head", 2048, 12), ("bn1", 2048, 12),
)  # fmt: skip
"""Name, channels and side of the rows of an EfficientNet-B5 at 380 px, as FSBI's inference reports have them."""


class Logits(nn.Module):
    """What the package `grad-cam` asks for: preprocessed frames in, logits out."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.detector.classify(self.detector.features(inputs)).logits
        return logits


def frame(size: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (3, size, size), dtype=np.uint8)


def tiny_detector() -> Detector:
    torch.manual_seed(0)
    return ready(tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING)))


def scaled(heat: NDArray[Any], size: int) -> NDArray[Any]:
    """As the package gives maps: stretched to [0, 1], resized, and stretched again."""
    stretched = heat - heat.min()
    resized = cv2.resize(stretched / (1e-7 + stretched.max()), (size, size))
    resized -= resized.min()
    scaled_map: NDArray[Any] = resized / (1e-7 + resized.max())
    return scaled_map


@pytest.mark.parametrize("target", ["fake", "real"])
def test_heat_is_grad_cam_of_every_part(target: ClassName, tiny_family: Any) -> None:
    detector, picture = tiny_detector(), frame(32)
    way = journey(detector, picture, target)
    sign = 1 if target == "fake" else -1
    inputs = detector.preprocess(torch.from_numpy(picture)[None])
    heated = 0
    for (_, part), stage in zip(detector.parts(), way.stages, strict=False):
        detector.requires_grad_(True)
        with GradCAM(Logits(detector), [part]) as grad_cam:
            (expected,) = grad_cam(inputs, [lambda logits: sign * (logits[1] - logits[0])])
        assert stage.heat is not None
        np.testing.assert_allclose(scaled(stage.heat, 32), expected, atol=1e-4)
        heated += bool(stage.heat.any())
    assert heated >= {"fake": 3, "real": 1}[target]


def test_the_last_heat_is_the_map_that_speaks_for_the_class(tiny_family: Any) -> None:
    detector, picture = tiny_detector(), frame(32)
    with torch.inference_mode():
        prediction = detector(torch.from_numpy(picture)[None])
    cam = prediction.cam[0].numpy()
    for target, speaking in (("fake", np.maximum(cam, 0)), ("real", np.maximum(-cam, 0))):
        way = journey(detector, picture, target)  # type: ignore[arg-type]
        # Grad-CAM averages gradients over positions, of which there are so many.
        np.testing.assert_allclose(way.levels[0] * cam.size, speaking, rtol=1e-4, atol=1e-5)
        assert way.logits == pytest.approx(prediction.logits[0].tolist(), abs=1e-5)


def test_stages_have_names_and_shapes_and_levels_rise_in_resolution(tiny_family: Any) -> None:
    way = journey(tiny_detector(), frame(32), "fake")
    shapes = {stage.name: stage.shape for stage in way.stages}
    assert shapes["0.0"] == (1, 32, 16, 16)
    assert shapes["2.2"] == (1, 64, 8, 8)
    assert list(shapes)[-3:] == ["avg_pool", "flatten", "logits"]
    assert (shapes["avg_pool"], shapes["flatten"], shapes["logits"]) == ((1, 64, 1, 1), (1, 64), (1, 2))
    assert [level.shape for level in way.levels] == [(8, 8), (16, 16)]
    assert all(stage.activation is not None and stage.activation.min() >= 0 for stage in way.stages)


def test_an_activation_is_the_mean_of_absolute_values_before_others_overwrite_it(tiny_family: Any) -> None:
    detector, picture = tiny_detector(), frame(32)
    way = {stage.name: stage for stage in journey(detector, picture, "fake").stages}
    with torch.inference_mode():
        value = detector.preprocess(torch.from_numpy(picture)[None])
        for name, part in detector.stages():
            value = part(value.clone())
            expected = value.abs().mean(1)[0].numpy()
            activation = way[name.removeprefix("backbone.")].activation
            assert activation is not None
            np.testing.assert_allclose(activation, expected, atol=1e-5)


def b_detector(name: str, preset: Preprocessing) -> Detector:
    torch.manual_seed(0)
    return ready(families.find(name).build(name, "static", preset))


def test_an_efficientnet_has_the_names_of_efficientnet_pytorch() -> None:
    way = journey(b_detector("efficientnet_b0", Preprocessing(64, channels="bgr", wavelet="sym2")), frame(64), "fake")
    names = [stage.name for stage in way.stages]
    expected = ["conv_stem", "bn0", *(f"block_{i:02d}" for i in range(16)), "conv_head", "bn1"]
    assert names == [*expected, "avg_pool", "dropout", "fc"]


@pytest.mark.slow
def test_the_46_rows_of_a_b5_at_380_px() -> None:
    way = journey(b_detector("efficientnet_b5", PRESETS["fsbi"]), frame(380), "fake")
    shapes: list[tuple[str, tuple[int, ...]]] = [(name, (1, channels, side, side)) for name, channels, side in SEED_000]
    shapes += [("avg_pool", (1, 2048, 1, 1)), ("dropout", (1, 2048)), ("fc", (1, 2))]
    assert [(stage.name, stage.shape) for stage in way.stages] == shapes
    assert len(way.stages) == 46
    assert [level.shape[0] for level in way.levels] == [12, 24, 47, 95, 190]


def test_the_maps_of_a_transformers_blocks_add_up_to_its_map() -> None:
    detector = ready(tokens.lively())
    size = detector.preprocessing.size
    picture = frame(size)
    with torch.inference_mode():
        prediction = detector(torch.from_numpy(picture)[None])
        maps = detector.head.maps_by_block(detector.features(detector.preprocess(torch.from_numpy(picture)[None])))
    assert prediction.cam is not None
    np.testing.assert_allclose(sum(maps)[0].numpy(), prediction.cam[0].numpy(), atol=1e-5)
    way = journey(detector, picture, "real")
    np.testing.assert_allclose(way.levels[0], np.maximum(-prediction.cam[0].numpy(), 0), atol=1e-5)
    np.testing.assert_allclose(way.levels[1], np.maximum(-sum(maps[: len(maps) // 2])[0].numpy(), 0), atol=1e-5)
    named = {stage.name: stage for stage in way.stages}
    assert named["blocks.0.attention"].heat is not None
    assert named["blocks.0.mlp"].heat is None
    assert way.logits == pytest.approx(prediction.logits[0].tolist(), abs=1e-4)


def test_places_of_a_spectrum_are_no_places_of_the_frame() -> None:
    torch.manual_seed(0)
    preset = replace(PRESETS["ganfingerprint"], size=64)
    detector = ready(families.find("ganfingerprint").build("ganfingerprint", "upstream", preset))
    named = {stage.name: stage for stage in journey(detector, frame(preset.size), "fake").stages}
    assert named["spectrum"].activation is not None
    assert named["spectrum"].heat is None
    assert named["spectrum_encoder.0.0"].heat is None
    assert named["fingerprint"].heat is not None
    assert named["middle.0.0"].heat is not None


def test_attention_maps_of_ganfingerprint() -> None:
    """Worked out here position by position, from what goes into the two parts."""
    torch.manual_seed(0)
    preset = replace(PRESETS["ganfingerprint"], size=96)
    detector = ready(families.find("ganfingerprint").build("ganfingerprint", "upstream", preset))
    picture = frame(preset.size)
    named = {stage.name: stage for stage in journey(detector, picture, "fake").stages}
    backbone: Any = detector.backbone
    inputs: dict[str, Tensor] = {}
    for name in ("attention", "fingerprint"):
        backbone.get_submodule(name).register_forward_pre_hook(
            lambda _, given, name=name: inputs.update({name: given[0]})
        )
    gates: list[Tensor] = []
    backbone.fingerprint.gate.register_forward_hook(lambda _, __, output: gates.append(output.sigmoid()))
    with torch.no_grad():
        detector.features(detector.preprocess(torch.from_numpy(picture)[None]))
        layers = (backbone.attention.query, backbone.attention.key)
        query, key = (layer(inputs["attention"])[0].numpy() for layer in layers)
    height, width = query.shape[1:]
    positions = [(row, column) for row in range(height) for column in range(width)]
    taken = np.zeros((height, width))
    for taker in positions:
        exponentials = np.exp([query[:, *taker] @ key[:, *giver] for giver in positions])
        for giver, share in zip(positions, exponentials / exponentials.sum(), strict=True):
            taken[giver] += share / len(positions)
    attention, gate = named["attention: attention map"], named["fingerprint: attention map"]
    assert attention.shape == gate.shape == (1, height, width)
    assert attention.activation is not None
    assert gate.activation is not None
    np.testing.assert_allclose(attention.activation, taken, rtol=1e-4)
    np.testing.assert_allclose(gate.activation, gates[0][0, 0], rtol=1e-5)


def test_a_vector_is_drawn_row_by_row() -> None:
    np.testing.assert_array_equal(in_rows(np.arange(1, 6, dtype=np.float32)[None]), [[1, 2, 3], [4, 5, 0]])


def test_statistics_of_the_wavelet_blend_are_those_of_pywavelets_by_colour() -> None:
    picture = frame(48, 3)
    picture[0] //= 2  # so that red differs from blue
    prepared = network_input(Preprocessing(48, channels="bgr", wavelet="sym2"), picture)
    blended = []
    for index, colour in enumerate(("red", "green", "blue")):
        plane = picture[index].astype(np.float64) / 255
        approximation = pywt.dwt2(plane, "sym2", mode="reflect")[0]
        numbers = prepared.by_colour[colour]
        assert numbers.mean == pytest.approx(approximation.mean(), abs=1e-5)
        assert numbers.std == pytest.approx(approximation.std(), abs=1e-5)
        blended.append((plane + cv2.resize(approximation, (48, 48), interpolation=cv2.INTER_LINEAR)) / 2)
    assert prepared.colours == ("blue", "green", "red")
    np.testing.assert_allclose(prepared.after, blended[::-1], atol=1e-5)
    whole = np.stack(blended)
    of_all = prepared.whole
    expected = (whole.mean(), whole.std(), whole.min(), whole.max())
    assert (of_all.mean, of_all.std, of_all.min, of_all.max) == pytest.approx(expected, abs=1e-5)


def test_without_a_blend_the_statistics_are_those_of_the_planes() -> None:
    picture = frame(16, 5)
    prepared = network_input(Preprocessing(16, mean=(0.5, 0.4, 0.3), std=(0.5, 0.6, 0.7)), picture)
    assert prepared.approximation is None
    blue = (picture[2] / 255 - 0.3) / 0.7
    assert prepared.by_colour["blue"].mean == pytest.approx(blue.mean(), abs=1e-5)
