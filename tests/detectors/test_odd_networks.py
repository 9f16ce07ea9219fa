"""Networks of timm that are made otherwise than most: steps work on them, or are refused before any work."""

from __future__ import annotations

import copy
import json
import re
from collections import OrderedDict
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from timm.layers.eca import EcaModule
from timm.layers.pos_embed_rel import RelPosBias
from timm.layers.std_conv import ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from timm.models.vision_transformer_relpos import RelPosAttention
from torch import Tensor

from bench import detectors, experiment, runtimes
from bench.artifacts import safetensors, tracing
from bench.artifacts.onnx_export import to_onnx
from bench.detectors import families
from bench.detectors.detector import Detector
from bench.detectors.families import timm_models
from bench.detectors.heads.gap_linear import GapLinear
from bench.detectors.layer_names import short_name
from bench.detectors.networks.standardised import is_standardised
from bench.errors import UserError
from bench.pipeline.prepare import prepare
from bench.records import Preprocessing
from bench.variants import build, steps
from bench.variants.chain import offer_problems, parse
from bench.variants.context import Source
from bench.variants.layers.convolutions import computed_weight, padded
from bench.variants.steps.quantize.observe import _Sums
from tests.conftest import open_shop
from tests.support import b0, tiny
from tests.support.step_work import work

SIZE = 64
PREPROCESSING = Preprocessing(size=SIZE)
# By what they hold: channels that are split or stacked by numbers of their own, filters for each, other norms, and
# parts that are no chain.
NOT_NARROWED = (
    "skresnet18", "resnest14d", "mixnet_s", "res2net50_14w_8s", "resnetblur18", "efficientnet_b0_gn", "selecsls42",
    "ese_vovnet19b_slim", "hrnet_w18_small", "cspresnet50", "ghostnet_050", "repvgg_a0", "efficientvit_b0",
    "mobilevit_xxs", "convmixer_768_32", "inception_resnet_v2", "nfnet_f0",
)  # fmt: skip


@pytest.mark.parametrize("name", NOT_NARROWED)
def test_narrowing_is_refused_and_rounding_is_not(name: str) -> None:
    ((_, problem),) = offer_problems([parse({"prune": 0.5})], f"timm:{name}")
    assert f"widths that may shrink (`widths`), and timm:{name} has none" in problem
    for entry in ({"quantize": "int8"}, {"cast": "fp16"}):
        assert not list(offer_problems([parse(entry)], f"timm:{name}"))


@pytest.mark.parametrize("name", ["skresnet18", "mixnet_s"])
def test_the_table_says_so_of_them(name: str) -> None:
    with torch.device("meta"):
        detector = timm_models.build(f"timm:{name}", "", PREPROCESSING)
    assert families.offers(f"timm:{name}") == timm_models.offers_of(detector)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_constants_that_no_file_holds_are_there_again(dtype: torch.dtype, tmp_path: Path) -> None:
    """The filters of blurred pooling."""
    torch.manual_seed(0)
    detector = timm_models.build("timm:resnetblur18", "", PREPROCESSING)
    detector.cast(dtype)
    stored = safetensors.load_torch(safetensors.save(detector, tmp_path / "artifact"))
    before, after = dict(detector.named_buffers()), dict(stored.named_buffers())
    assert any(name.endswith(".filt") for name in before.keys() - detector.state_dict().keys())
    assert before.keys() == after.keys()
    for name, buffer in before.items():
        assert after[name].dtype == buffer.dtype, name
        assert torch.equal(after[name], buffer), name
    frames = torch.from_numpy(b0.frames(2, size=SIZE))
    with torch.no_grad():
        assert torch.equal(stored(frames).logits, detector(frames).logits)


def test_windows_among_the_frames_count_as_parts_of_these() -> None:
    """Each window of a frame is a row of its own where networks look at windows."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6, 4, 10, 3)).astype(np.float32)  # frames, windows, positions, channels
    sums = _Sums(6, None)
    for first in (0, 3):
        rows = values[first : first + 3].reshape(12, 10, 3)
        sums.add(first, 3, [rows.min(1), rows.max(1), rows.mean(1), np.linalg.norm(rows, axis=1)])
    statistics = sums.statistics(positions=10)
    np.testing.assert_array_equal(statistics.lowest, values.min((1, 2)))
    np.testing.assert_array_equal(statistics.highest, values.max((1, 2)))
    np.testing.assert_allclose(statistics.mean, values.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(statistics.mean_square, np.square(values).mean((0, 1, 2)), rtol=1e-5)


@pytest.mark.parametrize("kind", [StdConv2d, StdConv2dSame, ScaledStdConv2d, ScaledStdConv2dSame])
def test_the_weights_that_a_convolution_computes_with(kind: Any) -> None:
    """Those of a plain convolution that writes the same."""
    torch.manual_seed(0)
    layer, features = kind(8, 6, 3, stride=2).eval(), torch.randn(2, 8, 9, 9)
    with torch.no_grad():
        layer.weight.mul_(30)
        if hasattr(layer, "gain"):
            layer.gain.uniform_(0.5, 2)
        written = F.conv2d(padded(layer, features), computed_weight(layer), layer.bias, layer.stride)
        torch.testing.assert_close(written, layer(features), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_standardised_weights_are_rounded_as_what_they_are(tmp_path: Path) -> None:
    """Their length, of which nothing depends, changes neither which layers are rounded nor what is expected of it."""
    torch.manual_seed(0)
    detector = timm_models.build("timm:test_nfnet", "", Preprocessing(size=32))
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            if name.endswith("skipinit_gain"):
                parameter.fill_(0.5)
    longer = copy.deepcopy(detector)
    standardised = {name: part for name, part in longer.named_modules() if is_standardised(part)}
    with torch.no_grad():
        for part in standardised.values():
            part.weight.mul_(100)
    quantize: Any = steps.find("quantize")
    noise: list[float] = []
    for network in (detector, longer):
        graph = quantize.apply(network, quantize.Settings(), work(tmp_path / str(len(noise)), network, count=8))
        facts = json.loads(next(entry.value for entry in graph.metadata_props if entry.key == "layers"))
        assert {short_name(name) for name in standardised} <= facts.keys()
        assert sum(bits == 8 for bits, _, _ in facts.values()) > 0.8 * len(facts)
        noise.append(sum(of_layer for _, _, of_layer in facts.values()))
    assert noise[1] == pytest.approx(noise[0], rel=0.5)


@pytest.mark.parametrize(
    "name", ["test_nfnet", "nf_resnet50", "dm_nfnet_f0", "resnetv2_50x1_bit", "vit_tiny_r_s16_p8_224"]
)
def test_zeros_among_standardised_weights_are_refused_before_any_work(name: str) -> None:
    for settings in ({"amount": 0.5, "structure": "unstructured"}, {"structure": "2of4"}):
        ((_, problem),) = offer_problems([parse({"prune": settings})], f"timm:{name}")
        assert f"weights that may become zero (`zeros`), and timm:{name} has none" in problem
    assert not list(offer_problems([parse({"prune": {"amount": 0.5, "structure": "unstructured"}})], "timm:resnet18"))


@pytest.mark.parametrize("structure", ["unstructured", "2of4"])
def test_zeros_among_standardised_weights_are_refused(structure: Any, tmp_path: Path) -> None:
    detector = timm_models.build("timm:test_nfnet", "", Preprocessing(size=32))
    prune: Any = steps.find("prune")
    with pytest.raises(UserError, match="standardise their weights at every call"):
        prune.apply(detector, prune.Settings(amount=0.5, structure=structure), work(tmp_path, detector))


@pytest.mark.slow
def test_convolutions_along_one_axis_stay_in_float(tmp_path: Path) -> None:
    """As channel attention (ECA) has them, over the means of its channels."""
    torch.manual_seed(0)
    backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), EcaModule(16), torch.nn.Conv2d(16, 16, 3))
    detector = Detector("tests", "", Preprocessing(size=32), backbone, GapLinear(16)).eval()
    quantize: Any = steps.find("quantize")
    graph = quantize.apply(detector, quantize.Settings(), work(tmp_path, detector, count=8))
    facts = json.loads(next(entry.value for entry in graph.metadata_props if entry.key == "layers"))
    assert list(facts) == ["0", "2"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["mobilevit_xxs", "edgenext_xx_small", "skresnet18", "resnetblur18", "test_nfnet"])
def test_casting_and_rounding(name: str, tmp_path: Path) -> None:
    """Random weights: answers need not be close, but follow."""
    torch.manual_seed(0)
    network: Any = timm.create_model(name, num_classes=2)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network.train()(torch.from_numpy(b0.frames(8, size=SIZE)).float() / 255)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    source = Source(f"timm:{name}", tmp_path / "weights.pth", name, PREPROCESSING)
    context, frames, answers = open_shop(tmp_path), b0.frames(6, seed=3, size=SIZE), []
    for entries in ([], [{"cast": "fp16"}], [{"quantize": "int8"}]):
        built = build.build("variant", source, [parse(entry) for entry in entries], context)
        session = runtimes.find("pytorch" if built.kind == "torch" else "onnxruntime").load(built, "cpu", 1)
        logits = np.asarray(session.predict(frames).logits)
        answers.append(logits[:, 1] - logits[:, 0])
    assert session.executed.int8_operators
    assert np.corrcoef(answers[0], answers[1])[0, 1] > 0.999
    assert np.corrcoef(answers[0], answers[2])[0, 1] > 0.8


class Odd(torch.nn.Module):
    """One layer is called twice, under two names, of another the weights alone are used, and one is as usual."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 16, 4, stride=4)
        self.twice = self.again = torch.nn.Conv2d(16, 16, 1)
        self.unused = torch.nn.Linear(16, 16)

    def forward(self, frames: Tensor) -> Tensor:
        features = self.again(F.relu(self.twice(self.stem(frames))))
        by_position = F.linear(features.permute(0, 2, 3, 1), self.unused.weight)
        return by_position.permute(0, 3, 1, 2)


@pytest.fixture
def odd() -> Detector:
    torch.manual_seed(0)
    return Detector("tests", "", Preprocessing(size=32), torch.nn.Sequential(Odd()), GapLinear(16)).eval()


def test_layers_that_are_not_called_once_stay_in_float(odd: Detector, tmp_path: Path) -> None:
    quantize: Any = steps.find("quantize")
    graph = quantize.apply(odd, quantize.Settings(), work(tmp_path, odd, count=8))
    facts = json.loads(next(entry.value for entry in graph.metadata_props if entry.key == "layers"))
    assert list(facts) == ["0.stem"]


def test_shared_layers_are_stored_once(odd: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(architecture: str, flavour: str, preprocessing: Preprocessing) -> Detector:
        return Detector(architecture, flavour, preprocessing, torch.nn.Sequential(Odd()), GapLinear(16))

    monkeypatch.setattr(families, "find", lambda architecture: SimpleNamespace(build=build))
    file = safetensors.save(odd, tmp_path)
    stored = safetensors.load_torch(file)
    assert not [name for name in load_file(file) if "again" in name]
    assert stored.get_submodule("backbone.0.again") is stored.get_submodule("backbone.0.twice")
    frames = torch.from_numpy(b0.frames(2, size=32))
    with torch.no_grad():
        assert torch.equal(stored(frames).logits, odd(frames).logits)


def test_a_narrowed_batch_norm_keeps_its_mean_and_variance(tmp_path: Path, tiny_family: Any) -> None:
    """Both are made anew from one tensor when the file is read."""
    torch.manual_seed(0)
    detector = tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    prune: Any = steps.find("prune")
    narrowed = prune.apply(detector, prune.Settings(amount=0.5), work(tmp_path, detector, count=16))
    stored = safetensors.load_torch(safetensors.save(narrowed, tmp_path / "artifact")).state_dict()
    for name, tensor in narrowed.state_dict().items():
        assert torch.equal(stored[name], tensor) or name.endswith("num_batches_tracked"), name


class Attending(torch.nn.Module):
    """One attention of timm's, of positions relative to each other, over the patches of a frame."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 16, 8, stride=8)
        bias: Any = partial(RelPosBias, window_size=(4, 4))
        self.attention = RelPosAttention(16, num_heads=2, rel_pos_cls=bias)

    def forward(self, frames: Tensor) -> Tensor:
        patches: Tensor = self.attention(self.stem(frames).flatten(2).transpose(1, 2))
        return patches.transpose(1, 2).reshape(-1, 16, 4, 4)


@pytest.mark.slow
def test_attention_that_cannot_be_exported_fused_is_written_out() -> None:
    """The exporter takes no fused attention with a bias of positions; the detector itself stays fused."""
    torch.manual_seed(0)
    detector = Detector("tests", "", Preprocessing(size=32), torch.nn.Sequential(Attending()), GapLinear(16)).eval()
    torch.nn.init.normal_(detector.get_parameter("backbone.0.attention.rel_pos.relative_position_bias_table"))
    torch.nn.init.normal_(detector.head.weight)
    frames = b0.frames(3, size=32)
    session = ort.InferenceSession(to_onnx(detector).SerializeToString(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        logits = detector(torch.from_numpy(frames)).logits
    np.testing.assert_allclose(session.run(["logits"], {"frames": frames})[0], logits, atol=1e-5)
    assert detector.get_submodule("backbone.0.attention").fused_attn


@pytest.mark.parametrize(("name", "size"), [("efficientvit_m0", 224), ("cpubone_nano", 64), ("levit_256d", 224)])
def test_layers_before_that_of_the_logits_stay_where_timm_calls_all_of_them_the_classifier(
    name: str, size: int
) -> None:
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=2).eval()
    for name_of_buffer, buffer in network.named_buffers():
        if name_of_buffer.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    preprocessing = Preprocessing(size=size, mean=(0.0,) * 3, std=(1.0,) * 3)
    detector = timm_models.build(f"timm:{name}", "", preprocessing)
    (scheme, *_) = timm_models.schemes(f"timm:{name}")
    tensors = network.state_dict()
    heads = {f"head.{leaf}": tensors.pop(f"{scheme.head}.{leaf}") for leaf in ("weight", "bias")}
    detector.load_state_dict({f"backbone.{key}": tensor for key, tensor in tensors.items()} | heads)
    frames = torch.from_numpy(b0.frames(2, size=size))
    with torch.no_grad():
        torch.testing.assert_close(detector(frames).logits, network(frames / 255), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("levit_128s", "several layers write its logits (head.linear, head_dist.linear)"),
        ("levit_384_s8", "several layers write its logits,"),
        ("volo_d1_224", "several layers write its logits (head, aux_head)"),
        ("qwen3_vit_88m_enc", "its logits do not come from one linear layer"),
    ],
)
def test_logits_of_several_layers_are_refused_before_any_work(name: str, why: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"timm:{name}: {why}")):
        families.offers(f"timm:{name}")


def test_a_network_that_cannot_be_exported_is_named(odd: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(network: Detector) -> None:
        raise torch.onnx.OnnxExporterError("Failed to export.\nNext steps: …") from ValueError("an axis of 5\n…")

    monkeypatch.setattr(tracing, "_exported", fail)
    monkeypatch.setattr(tracing, "_templates", OrderedDict())
    with pytest.raises(UserError, match=r"PyTorch cannot export tests to ONNX, which .* need: an axis of 5$"):
        to_onnx(odd)


def test_the_line_of_a_network_that_is_refused_is_named(tmp_path: Path) -> None:
    frames = tmp_path / "set"
    for label in ("real", "fake"):
        (frames / label).mkdir(parents=True)
        (frames / label / "a.png").write_bytes(b"")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "w.pth")
    file = tmp_path / "experiments.yaml"
    file.write_text(
        "detectors:\n  mine:\n    architecture: timm:levit_128s\n    weights: w.pth\n    preprocessing: imagenet\n"
        "datasets:\n  set: {path: set}\n"
        "experiments:\n  first: {detector: mine, frames: set, variants: {baseline: [], q16: [cast: fp16]}}\n",
        encoding="utf-8",
    )
    with pytest.raises(UserError, match=r"line 3: detectors\.mine\.architecture: timm:levit_128s: several layers"):
        prepare(experiment.read(file), file)


@pytest.mark.slow
def test_names_within_a_network_may_be_those_of_wrappers(tmp_path: Path) -> None:
    """iFormer calls a part of its blocks `module`, as DataParallel does what it wraps."""
    torch.manual_seed(0)
    network = timm.create_model("iformer_t", num_classes=2).eval()
    assert any(".module." in name for name in network.state_dict())
    for prefix in ("", "module."):
        file = tmp_path / f"{prefix}weights.pth"
        torch.save({f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}, file)
        detector = detectors.load("timm:iformer_t", file, Preprocessing(size=64, mean=(0.0,) * 3, std=(1.0,) * 3))
        frames = torch.from_numpy(b0.frames(2, size=64))
        with torch.no_grad():
            torch.testing.assert_close(detector(frames).logits, network(frames / 255), atol=1e-5, rtol=1e-4)
