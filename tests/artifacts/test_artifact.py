"""Artifacts on disk: what is saved comes back, and what was not saved by us is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import load_file, save_file

from bench.artifacts import footprint, safetensors
from bench.detectors.detector import Detector, StaticPadConv2d
from bench.detectors.families import efficientnet
from bench.errors import UserError
from bench.records import Preprocessing
from bench.variants.steps import prune
from tests.support import tiny
from tests.support.step_work import frames, work

MIB = 2**20


@pytest.fixture
def detector(tiny_family: Any) -> Detector:
    torch.manual_seed(0)
    return tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))


def outputs(detector: Detector, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.inference_mode():
        logits, cam = detector(frames(4, size))
    return logits, cam


def compute_the_same(before: Detector, after: Detector, size: int) -> None:
    """The same weights to the bit, outputs but for their last bits: a file's tensors lie at other addresses, and
    which kernel a product takes hangs on that.
    """
    weights = after.state_dict()
    for name, tensor in before.state_dict().items():
        assert name.endswith("num_batches_tracked") or torch.equal(weights[name], tensor), name
    for expected, computed in zip(outputs(before, size), outputs(after, size), strict=True):
        torch.testing.assert_close(computed, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize(
    "flavour", ["static", *(pytest.param(name, marks=pytest.mark.slow) for name in ("timm", "tf"))]
)
def test_a_pruned_efficientnet_comes_back_the_same(flavour: str, tmp_path: Path) -> None:
    preprocessing = Preprocessing(size=64, channels="bgr", mean=(0.4, 0.5, 0.6), wavelet="sym2")
    before = efficientnet.build("efficientnet_b0", flavour, preprocessing)
    prune.apply(before, prune.Settings(amount=0.5), work(tmp_path))
    after = safetensors.load_torch(safetensors.save(before, tmp_path))
    compute_the_same(before, after, 64)
    assert after.preprocessing == preprocessing
    assert not after.training
    pads = [[m.pad for m in d.modules() if isinstance(m, StaticPadConv2d)] for d in (before, after)]
    assert pads[0] == pads[1]
    assert bool(pads[0]) == (flavour == "static")


@pytest.mark.parametrize(
    ("dtype", "name"), [(torch.float32, "fp32"), (torch.float16, "fp16"), (torch.bfloat16, "bf16")]
)
def test_the_dtype_is_kept(detector: Detector, tmp_path: Path, dtype: torch.dtype, name: str) -> None:
    detector.backbone.to(dtype)
    detector.head.to(dtype)
    after = safetensors.load(safetensors.save(detector, tmp_path))
    assert isinstance(after, Detector)
    assert safetensors.stored_dtype(after) == name
    assert after.preprocess.weight.dtype == torch.float32
    compute_the_same(detector, after, 32)


def test_equal_models_give_equal_bytes_without_counters(detector: Detector, tmp_path: Path) -> None:
    first = safetensors.save(detector, tmp_path / "a")
    second = safetensors.save(safetensors.load_torch(first), tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["model.safetensors"]
    tensors = load_file(first)
    assert all(tensor.is_floating_point() for tensor in tensors.values())
    assert tensors.keys() == {name for name in detector.state_dict() if not name.endswith("num_batches_tracked")}


def test_changing_a_loaded_model_leaves_its_file_alone(detector: Detector, tmp_path: Path) -> None:
    path = safetensors.save(detector, tmp_path)
    before = path.read_bytes()
    with torch.no_grad():
        for parameter in safetensors.load_torch(path).parameters():
            parameter.zero_()
    assert path.read_bytes() == before


@pytest.mark.parametrize("architecture", ["efficientnet_b0", "tiny"])
def test_macs_agree_with_torchs_own_counter(architecture: str, tiny_family: Any) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    if architecture == "tiny":
        detector = tiny.build("tiny", "tiny", tiny.PREPROCESSING)
    else:
        detector = efficientnet.build(architecture, "static", Preprocessing(size=64))
    size = detector.preprocessing.size
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        detector.head(detector.backbone(torch.zeros(1, 3, size, size)).mean((2, 3)))
    parameters, macs = footprint.footprint_of(detector)
    assert macs == counter.get_total_flops() / 2
    assert parameters == sum(p.numel() for p in detector.parameters())


def test_an_onnx_model_comes_back(tmp_path: Path) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    model = helper.make_model(graph)
    path = safetensors.save(model, tmp_path)
    assert path.name == "model.onnx"
    assert safetensors.kind(model) == "onnx"
    assert isinstance(safetensors.load(path), onnx.ModelProto)
    assert safetensors.load(path) == model


def _foreign_files(folder: Path, good: Path) -> dict[str, bytes]:
    save_file({"x": torch.zeros(2)}, folder / "foreign.safetensors")
    data = good.read_bytes()
    length = int.from_bytes(data[:8], "little")

    def with_metadata(**changes: str) -> bytes:
        header = json.loads(data[8 : 8 + length])
        header["__metadata__"] |= changes
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + data[8 + length :]

    return {
        "no metadata": (folder / "foreign.safetensors").read_bytes(),
        "empty": b"",
        "text": b"this is a text and not a model at all",
        "pickle": b"\x80\x04\x95 not a model",
        "cut short": data[:-100],
        "header cut short": data[: length // 2],
        "another format": with_metadata(format="bench-0"),
        "unknown architecture": with_metadata(architecture="efficientnet_b9"),
        "another architecture": with_metadata(architecture="efficientnet_b0"),
        "resized elsewhere": with_metadata(resized='{"backbone.nowhere": [1, 2, 1]}'),
        "wrong widths": with_metadata(resized='{"head": [3, 2, 1]}'),
        "bad preprocessing": with_metadata(preprocessing='{"size": "big"}'),
    }


def test_damaged_and_foreign_files_are_refused_by_name(detector: Detector, tmp_path: Path) -> None:
    good = safetensors.save(detector, tmp_path)
    for what, data in _foreign_files(tmp_path, good).items():
        bad = tmp_path / "bad.safetensors"
        bad.write_bytes(data)
        with pytest.raises(UserError) as error:
            safetensors.load(bad)
        assert str(bad) in str(error.value), what
        assert "build the variant again" in str(error.value), what
    with pytest.raises(UserError, match="no such file"):
        safetensors.load(tmp_path / "nothing.safetensors")
    with pytest.raises(UserError, match="no such file"):
        safetensors.load(tmp_path / "nothing.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"this is a text and not a model at all")
    with pytest.raises(UserError, match="not a usable variant"):
        safetensors.load(tmp_path / "bad.onnx")
