"""Every step on networks that are no EfficientNet: what it promises there holds here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from twin import twin

from bench import runtimes
from bench.artifacts import footprint, safetensors
from bench.detectors.families import efficientnet
from bench.records import Built, Frame, FrameSet, InputSpec, Split, silent
from bench.variants import build
from bench.variants.chain import parse
from bench.variants.context import BuildContext, Source
from tests.support import b0, families
from tests.support.chains import check as check_chain
from tests.support.predictions import logits_and_cam

COUNTS: dict[Split, int] = {"calibration": 32, "train": 48}
TEST = b0.frames(32, seed=7)
CHAINS: dict[str, list[Any]] = {
    "cast fp16": [{"cast": "fp16"}],
    "prune": [{"prune": 0.5}],
    "prune, not repaired": [{"prune": {"amount": 0.5, "repair": False}}],
    "prune, recover": [{"prune": 0.5}, {"recover": {"steps": 3, "batch_size": 8, "learning_rate": 1e-5}}],
    "quantize": [{"quantize": "int8"}],
}


@pytest.fixture(scope="module", params=families.IN_TESTS)
def architecture(request: pytest.FixtureRequest) -> Iterator[str]:
    """A family of its own, known beside the real ones."""
    name: str = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.detectors.families.modules", lambda: (families, efficientnet))
        yield name


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory, architecture: str) -> BuildContext:
    """One a family, so that what chains have in common is built once."""
    return BuildContext(
        tmp_path_factory.mktemp(architecture), {split: frame_set(split) for split in COUNTS}, read, {}, "cpu", 1, 0,
        silent,
    )  # fmt: skip


def frame_set(split: Split) -> FrameSet:
    names = [f"{split}/{index}" for index in range(COUNTS[split])]
    frames = tuple(Frame(name, Path(name), index % 2, name, name) for index, name in enumerate(names))
    return FrameSet("drawn", split, frames, split, split)


def read(frames: Sequence[Frame], spec: InputSpec, batch_size: int) -> Iterator[NDArray[np.uint8]]:
    pictures = {split: b0.frames(count, seed=100 + count) for split, count in COUNTS.items()}
    for start in range(0, len(frames), batch_size):
        named = [frame.path.split("/") for frame in frames[start : start + batch_size]]
        yield np.stack([pictures[split][int(index)] for split, index in named])  # type: ignore[index]  # splits as text


def built(name: str, architecture: str, context: BuildContext, uneven: bool = False) -> Built:
    weights_name = f"{architecture}{'-twin' * uneven}"
    weights = context.folder / f"{weights_name}.pth"
    if not weights.exists():
        detector = families.trained(architecture)
        torch.save({"model": (twin(detector) if uneven else detector).state_dict()}, weights)
    source = Source(architecture, weights, weights_name, families.PREPROCESSING)
    chain = [parse(entry) for entry in CHAINS.get(name, [])]
    check_chain(chain, context.frames)
    return build.build(name, source, chain, context)


def predicted(variant: Built) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    runtime = "pytorch" if variant.kind == "torch" else "onnxruntime"
    return logits_and_cam(runtimes.find(runtime).load(variant, "cpu", 1).predict(TEST))


@pytest.mark.parametrize("chain", ["baseline", *CHAINS])
def test_margin_equation_and_reading_back(chain: str, architecture: str, context: BuildContext) -> None:
    variant = built(chain, architecture, context)
    logits, cam = predicted(variant)
    margin = b0.margin(logits)
    assert np.ptp(margin) > 1e-2, "a constant network proves nothing"
    np.testing.assert_allclose(cam.mean((1, 2)) + variant.margin_bias, margin, atol=2e-4, rtol=1e-4)
    assert variant.size_bytes == variant.file.stat().st_size
    if variant.kind == "torch":
        assert footprint.footprint_of(safetensors.load_torch(variant.file)) == (variant.parameters, variant.macs)


def test_export_of_half_the_network_computes_the_same(architecture: str, context: BuildContext) -> None:
    variant = built("prune", architecture, context)
    exported = logits_and_cam(runtimes.find("onnxruntime").load(variant, "cpu", 1).predict(TEST))
    for expected, computed in zip(predicted(variant), exported, strict=True):
        np.testing.assert_allclose(expected, computed, atol=1e-4 * expected.std(), rtol=1e-3)


@pytest.mark.parametrize("chain", ["prune", "prune, recover"])
def test_half_of_parameters_macs_and_file_is_gone(chain: str, architecture: str, context: BuildContext) -> None:
    before, after = built("baseline", architecture, context), built(chain, architecture, context)
    left = [getattr(after, count) / getattr(before, count) for count in ("parameters", "macs", "size_bytes")]
    assert 0.35 < max(left) <= 0.5, "half was asked for, not much more"


def test_half_the_network_says_nearly_the_same_after_repair(architecture: str, context: BuildContext) -> None:
    """On frames that repair did not see. The MobileNet, small already, loses much; less than without repair."""
    expected = b0.margin(predicted(built("baseline", architecture, context))[0])
    pruned = [chain for chain in CHAINS if "prune" in chain]
    logit_diffs = {chain: b0.margin(predicted(built(chain, architecture, context))[0]) for chain in pruned}
    error = {
        chain: float(((logit_diff - expected) ** 2).mean() / expected.var())
        for chain, logit_diff in logit_diffs.items()
    }
    assert error["prune"] < 0.6 * error["prune, not repaired"]
    assert error["prune"] < (0.6 if architecture.startswith("mobilenet") else 0.01)


def test_uneven_channels_lose_no_more_in_int8(architecture: str, context: BuildContext) -> None:
    expected = b0.margin(predicted(built("baseline", architecture, context))[0])
    logit_diff = b0.margin(predicted(built("quantize", architecture, context, uneven=True))[0])
    most = 0.3 if architecture.startswith("mobilenet") else 0.01
    assert float(((logit_diff - expected) ** 2).mean() / expected.var()) < most


@pytest.mark.parametrize(("chain", "most"), [("cast fp16", 0.01), ("quantize", 0.1)])
def test_scores_stay_close_to_float(chain: str, most: float, architecture: str, context: BuildContext) -> None:
    """By the median and by ranks: what an outlying frame takes a small network beyond is clipped, and may be."""
    expected = b0.margin(predicted(built("baseline", architecture, context))[0])
    logit_diff = b0.margin(predicted(built(chain, architecture, context))[0])
    assert np.median(np.abs(logit_diff - expected)) < most * expected.std()
    assert spearmanr(logit_diff, expected).statistic > 1 - most


def test_quantised_file_is_about_a_quarter(architecture: str, context: BuildContext) -> None:
    before, after = built("baseline", architecture, context), built("quantize", architecture, context)
    assert after.stored == "int8"
    # The small MobileNet's graph, scales and float biases weigh more beside its weights.
    assert after.size_bytes < (0.4 if architecture.startswith("mobilenet") else 0.27) * before.size_bytes
