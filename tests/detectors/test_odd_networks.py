"""Networks of timm that are made otherwise than most: steps work on them, or are refused before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from bench import runtimes
from bench.artifacts import safetensors
from bench.detectors import families
from bench.detectors.families import timm_models
from bench.records import Preprocessing
from bench.variants import build
from bench.variants.chain import offer_problems, parse
from bench.variants.context import Source
from bench.variants.steps.quantize.observe import _Sums
from tests.conftest import open_shop
from tests.support import b0

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
