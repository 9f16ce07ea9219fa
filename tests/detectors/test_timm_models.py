"""`timm:<name>`: networks compute here what they compute in timm, and steps work on them as far as offered."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench import detectors, runtimes
from bench.artifacts import safetensors
from bench.artifacts.footprint import footprint_of
from bench.artifacts.onnx_export import to_onnx
from bench.commands.list import catalogue
from bench.detectors import families
from bench.detectors.detector import Detector
from bench.detectors.families import timm_models
from bench.detectors.weights import conversion
from bench.errors import UserError
from bench.records import Conventions, Preprocessing
from bench.variants import build
from bench.variants.chain import offer_problems, parse
from bench.variants.context import Source
from tests.conftest import open_shop
from tests.support import b0

SIZE = 64
PREPROCESSING = Preprocessing(size=SIZE, mean=(0.5,) * 3, std=(0.25,) * 3)
# Networks that timm has for tests, one of each kind: parts with a mean behind them, a class token, one single part.
SMALL = (
    "test_resnet",
    "test_vit",
    "test_convnext",
    "mobilenetv3_small_050",
    "test_efficientnet",
    "test_vit2",
    "test_mambaout",
)
IN_TESTS = [SMALL[0], *(pytest.param(name, marks=pytest.mark.slow) for name in SMALL[1:])]


def drawn(name: str, size: int, classes: int = 2) -> Any:
    """timm's own network with random weights."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {"img_size": size} if "vit" in name else {}
    network: Any = timm.create_model(name, num_classes=classes, **settings).eval()
    with torch.no_grad():
        network.get_classifier().weight.normal_()
        network.get_classifier().bias.normal_()
    return network


def expected(network: Any, frames: NDArray[np.uint8], preprocessing: Preprocessing) -> Tensor:
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    with torch.no_grad():
        logits: Tensor = network((torch.from_numpy(frames) / 255 - mean) / std)
    return logits


def read(folder: Path, network: Any, name: str, preprocessing: Preprocessing = PREPROCESSING) -> Detector:
    """The detector of a checkpoint of timm's network, as a distributed training writes it."""
    file = folder / "weights.pth"
    torch.save({"state_dict": {f"module.{key}": value for key, value in network.state_dict().items()}}, file)
    return detectors.load(f"timm:{name}", file, preprocessing)


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_TESTS)
def test_logits_are_those_of_timm_in_pytorch_and_as_a_graph(name: str, tmp_path: Path) -> None:
    network, frames = drawn(name, SIZE), b0.frames(3, size=SIZE)
    detector, logits = read(tmp_path, network, name), expected(network, frames, PREPROCESSING)
    assert float(logits.std()) > 1e-3
    with torch.no_grad():
        prediction = detector(torch.from_numpy(frames))
    torch.testing.assert_close(prediction.logits, logits, atol=1e-4, rtol=1e-4)
    session = ort.InferenceSession(to_onnx(detector).SerializeToString(), providers=["CPUExecutionProvider"])
    for part in (frames, frames[:1]):
        computed, *maps = session.run(None, {"frames": part})
        np.testing.assert_allclose(computed, logits[: len(part)], atol=1e-4, rtol=1e-3)
    assert bool(maps) == (prediction.cam is not None) == ("cam" in families.offers(f"timm:{name}"))


MAPPED = (
    ("test_byobnet", SIZE), ("test_nfnet", SIZE), ("inception_resnet_v2", 96), ("xception41", SIZE),
    ("hrnet_w18_small", SIZE), ("legacy_seresnet18", SIZE), ("swin_tiny_patch4_window7_224", 224),
    ("swinv2_tiny_window8_256", 256), ("coatnet_pico_rw_224", 224),
)  # fmt: skip
"""Networks whose parts are no chain, and which end in a map, channels first or last."""


@pytest.mark.parametrize(
    ("name", "size"), [MAPPED[0], *(pytest.param(*case, marks=pytest.mark.slow) for case in MAPPED[1:])]
)
def test_a_mean_and_a_linear_layer_at_the_end_give_a_map(name: str, size: int, tmp_path: Path) -> None:
    preprocessing = Preprocessing(size=size, mean=(0.5,) * 3, std=(0.25,) * 3)
    network, frames = drawn(name, size), b0.frames(2, size=size)
    detector, logits = read(tmp_path, network, name, preprocessing), expected(network, frames, preprocessing)
    offered = families.offers(f"timm:{name}")
    assert "cam" in offered
    assert "chain" not in offered
    stored = safetensors.load_torch(safetensors.save(copy.deepcopy(detector), tmp_path / "stored"))
    with torch.no_grad():
        prediction = stored(torch.from_numpy(frames))
    scale = float(logits.abs().max())
    torch.testing.assert_close(prediction.logits, logits, atol=1e-4 * scale, rtol=0)
    margin = detector.head.margin_bias + prediction.cam.mean((1, 2))
    torch.testing.assert_close(margin, logits[:, 1] - logits[:, 0], atol=1e-4 * scale, rtol=0)
    session = ort.InferenceSession(to_onnx(detector).SerializeToString(), providers=["CPUExecutionProvider"])
    for computed, ours in zip(session.run(["logits", "cam"], {"frames": frames}), prediction, strict=True):
        np.testing.assert_allclose(computed, ours, atol=1e-3 * float(ours.abs().max()))


@pytest.mark.parametrize("name", ["resnet50_clip", "selecsls42", "maxvit_tiny_tf_224", "mvitv2_tiny"])
def test_what_ends_otherwise_has_no_such_map(name: str) -> None:
    """Attention in place of a mean, further layers behind it, tokens."""
    assert "cam" not in families.offers(f"timm:{name}")
    with torch.device("meta"):
        detector = timm_models.build(f"timm:{name}", "", Preprocessing(size=timm_models.native_size(f"timm:{name}")))
    assert "cam" not in timm_models.offers_of(detector)


def test_networks_that_have_a_map_since_have_new_ids() -> None:
    assert {detectors.version_for(f"timm:{name}") for name, _ in MAPPED} == {2}
    others = ("efficientnet_b5", "xception", "effort", *(f"timm:{name}" for name in SMALL))
    assert {detectors.version_for(name) for name in others} == {1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "millions"),
    # As published for a thousand classes, less those of 998 of them.
    list(zip(timm_models.ARCHITECTURES, (21.29, 23.51, 22.98, 20.81, 4.20, 27.82, 3.37, 21.67), strict=True)),
)
def test_whole_networks(architecture: str, millions: float, tmp_path: Path) -> None:
    name, preprocessing = architecture.removeprefix("timm:"), Preprocessing(size=224, mean=(0.5,) * 3, std=(0.5,) * 3)
    network, frames = drawn(name, 224), b0.frames(2, size=224)
    detector = read(tmp_path, network, name, preprocessing)
    with torch.no_grad():
        logits = detector(torch.from_numpy(frames)).logits
    torch.testing.assert_close(logits, expected(network, frames, preprocessing), atol=1e-4, rtol=1e-4)
    parameters, _ = footprint_of(detector)
    assert parameters / 1e6 == pytest.approx(millions, abs=0.006)


def test_the_table_says_what_networks_are() -> None:
    for name in SMALL:
        architecture = f"timm:{name}"
        with torch.device("meta"):
            detector = timm_models.build(architecture, "", Preprocessing(size=160))
        assert families.offers(architecture) == timm_models.offers_of(detector)
        size = families.size_of(architecture)
        assert size is not None
        assert size.parameters == pytest.approx(sum(p.numel() for p in detector.parameters()) / 1e6, abs=0.051)


def test_the_catalogue_tells_what_listed_networks_offer() -> None:
    text = " ".join(catalogue("detectors").split())
    assert "timm:mobilenetv3_large_100, timm:efficientnet_lite0 (cam, chain, conv, widths, zeros)" in text
    assert "others by their names" in text


def test_a_network_that_the_table_lacks_is_built_to_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm_models, "_table", dict)
    assert families.offers("timm:test_resnet") == {"chain", "widths", "conv", "cam", "zeros"}
    assert families.size_of("timm:test_resnet") is None


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet50.a1_in1k", "calls it 'timm:resnet50' .*behind a dot"),
        ("resnet5O", "did you mean 'resnet50'"),
        ("resnext50", "names that begin so: resnext50_32x4d, "),
        ("", "no such network$"),
        # Names of earlier versions, which timm still takes; the nearest spelling would be another network.
        ("xception", "calls it 'timm:legacy_xception'$"),
        ("tf_efficientnet_b7_ns", "calls it 'timm:tf_efficientnet_b7'$"),
        ("tf_efficientnet_b4_ns.jft_in1k", "calls it 'timm:tf_efficientnet_b4' .*behind a dot"),
    ],
)
def test_an_unknown_name_is_refused(name: str, hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        families.find(f"timm:{name}")


def test_a_size_that_a_network_does_not_take_is_refused() -> None:
    with pytest.raises(UserError, match=r"timm:test_coatnet takes no frames of 90 px .*set the `size`"):
        conversion.network_of(timm_models, "timm:test_coatnet", Preprocessing(size=90), must_run=True)


def test_a_network_with_two_classifiers_is_refused() -> None:
    with torch.device("meta"), pytest.raises(UserError, match=r"several layers write its logits \(head, head_dist\)"):
        timm_models.build("timm:deit_tiny_distilled_patch16_224", "", Preprocessing(size=64))


def test_one_logit_of_a_resnext_as_its_owner_says(tmp_path: Path) -> None:
    network, frames = drawn("test_resnet", SIZE, classes=1), b0.frames(3, size=SIZE)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    logit = expected(network, frames, PREPROCESSING)[:, 0]
    for positive, sign in (("fake", 1), ("real", -1)):
        conventions = Conventions(positive=positive)  # type: ignore[arg-type]
        detector = detectors.load("timm:test_resnet", tmp_path / "weights.pth", PREPROCESSING, conventions)
        with torch.no_grad():
            logits = detector(torch.from_numpy(frames)).logits
        torch.testing.assert_close(logits[:, 1] - logits[:, 0], sign * logit, atol=1e-4, rtol=1e-4)


CHAINS: dict[str, list[Any]] = {
    "cast": [{"cast": "fp16"}],
    "int8": [{"quantize": "int8"}],
    "int4": [{"quantize": {"weights": "int4"}}],
    "zeros": [{"prune": {"amount": 0.3, "structure": "unstructured"}}],
    "recover": [
        {"prune": {"amount": 0.3, "structure": "unstructured"}},
        {"recover": {"steps": 2, "batch_size": 8, "learning_rate": 1e-5}},
    ],
    "half": [{"prune": 0.5}],
    "half int8": [{"prune": 0.5}, {"quantize": "int8"}],
    "half recovered": [{"prune": 0.5}, {"recover": {"steps": 2, "batch_size": 8, "learning_rate": 1e-5}}],
}


# By default; the slow tests try every chain on the first three networks.
ALWAYS = {"test_resnet": ("int8", "half"), "test_convnext": ("cast", "half")}


@pytest.mark.parametrize(
    ("name", "titles"),
    [*ALWAYS.items(), *(pytest.param(name, tuple(CHAINS), marks=pytest.mark.slow) for name in SMALL[:3])],
)
def test_steps_as_far_as_they_are_offered(name: str, titles: tuple[str, ...], tmp_path: Path) -> None:
    """Every artifact is read back and gives nearly the network's logits; chains that can't be are refused."""
    architecture, frames = f"timm:{name}", b0.frames(8, seed=3, size=32)
    network, preprocessing = drawn(name, 32), Preprocessing(size=32, mean=(0.5,) * 3, std=(0.25,) * 3)
    read(tmp_path, network, name, preprocessing)
    context = open_shop(tmp_path)
    source = Source(architecture, tmp_path / "weights.pth", name, preprocessing)
    float_difference = _logit_diff(np.asarray(expected(network, frames, preprocessing)))
    for title in titles:
        chain = [parse(entry) for entry in CHAINS[title]]
        if problems := list(offer_problems(chain, architecture)):
            assert title.startswith("half")
            assert name == "test_convnext"
            assert "widths that may shrink (`widths`)" in problems[0][1]
            continue
        built = build.build(title, source, chain, context)
        if built.kind == "torch":
            assert footprint_of(safetensors.load_torch(built.file)) == (built.parameters, built.macs)
        runtime = runtimes.find("pytorch" if built.kind == "torch" else "onnxruntime")
        session = runtime.load(built, "cpu", 1)
        computed = _logit_diff(np.asarray(session.predict(frames).logits))
        if title in ("cast", "int8"):
            assert np.corrcoef(computed, float_difference)[0, 1] > 0.97, title
        if title == "int8":
            integer, heavy = session.executed.int8_operators, session.executed.heavy_operators
            assert integer is not None
            assert heavy is not None
            # Some of so small a network stay in float, since they would add the most noise.
            assert integer > 0.5 * heavy
            assert built.size_bytes < 0.45 * source.weights.stat().st_size


def _logit_diff(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return logits[:, 1] - logits[:, 0]
