"""Every step and every runtime on small networks of the classes of Xception, F3Net and GANFingerprint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bench import runtimes
from bench.artifacts import footprint, safetensors
from bench.detectors.families import efficientnet
from bench.detectors.families import xception as real_xception
from bench.records import Built, silent
from bench.variants import build
from bench.variants.chain import offer_problems, parse
from bench.variants.context import BuildContext, Source
from tests.detectors.test_families import COUNTS, TEST, frame_set, read
from tests.support import b0, upstream_families
from tests.support.chains import check as check_chain
from tests.support.predictions import logits_and_cam
from tests.support.upstream_families import CHAINED, GAN, PREPROCESSING

_RECOVER: Any = {"recover": {"steps": 2, "batch_size": 8, "learning_rate": 1e-5}}
CHAINS: dict[str, list[Any]] = {
    "baseline": [],
    "fp16": [{"cast": "fp16"}],
    "bf16": [{"cast": "bf16"}],
    "int8": [{"quantize": "int8"}],
    "int8 weights": [{"quantize": {"weights": "int8"}}],
    "int4 weights": [{"quantize": {"weights": "int4"}}],
    "2of4": [{"prune": {"structure": "2of4"}}],
    "sparse, recovered": [{"prune": {"amount": 0.3, "structure": "unstructured"}}, _RECOVER],
    "pruned": [{"prune": 0.5}],
    "pruned, recovered": [{"prune": 0.5}, _RECOVER],
    "pruned, int8": [{"prune": 0.5}, {"quantize": "int8"}],
}
NEED_WIDTHS = ("pruned", "pruned, recovered", "pruned, int8")
# How much of the variance of the logit difference may be lost; zeros in a network this small cost much, and filters
# that can't be pruned are a third of one.
MOST = {"baseline": 1e-9, "fp16": 1e-4, "bf16": 1e-2, "2of4": 0.5, "sparse, recovered": 2.0, "int8 weights": 1e-3}
MOST |= dict.fromkeys(NEED_WIDTHS, 0.15)
USUALLY = 0.01
RUNTIMES = ("pytorch", "onnxruntime", "openvino")
# The rest is tried by the slow tests.
ALWAYS = {"small_xception": ("baseline", "int8", "pruned"), "small_f3net": ("int8",), GAN: ("int8",)}
CASES = [
    pytest.param(architecture, chain, marks=() if chain in ALWAYS.get(architecture, ()) else pytest.mark.slow)
    for architecture in (*CHAINED, GAN)
    for chain in CHAINS
    if architecture != GAN or chain not in NEED_WIDTHS
]


@pytest.fixture(scope="module", autouse=True)
def _known_families() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.detectors.families.modules", lambda: (*upstream_families.FAMILIES, efficientnet))
        yield


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BuildContext]:
    """One an architecture, so that what chains have in common is built once."""
    frame_sets = {split: frame_set(split) for split in COUNTS}
    return {
        architecture: BuildContext(tmp_path_factory.mktemp(architecture), frame_sets, read, {}, "cpu", 1, 0, silent)
        for architecture in (*CHAINED, GAN)
    }


def built(architecture: str, name: str, context: BuildContext) -> Built:
    weights = context.folder / "weights.pth"
    if not weights.exists():
        torch.save(upstream_families.trained(architecture).state_dict(), weights)
    chain = [parse(entry) for entry in CHAINS[name]]
    check_chain(chain, context.frames)
    return build.build(name, Source(architecture, weights, architecture, PREPROCESSING), chain, context)


def predicted(variant: Built, runtime: str) -> tuple[NDArray[np.float32], NDArray[np.float32], Any]:
    session = runtimes.find(runtime).load(variant, "cpu", 1)
    return *logits_and_cam(session.predict(TEST)), session.executed


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "chain"), CASES)
def test_every_step_in_every_runtime(architecture: str, chain: str, contexts: dict[str, BuildContext]) -> None:
    """Scores stay near the baseline's, maps are the same in all, and what is stored is what was built."""
    variant = built(architecture, chain, contexts[architecture])
    expected = b0.margin(predicted(built(architecture, "baseline", contexts[architecture]), "pytorch")[0])
    accepting = [name for name in RUNTIMES if variant.kind in runtimes.find(name).ACCEPTS]
    assert len(accepting) >= 2
    maps = []
    for runtime in accepting:
        logits, cam, executed = predicted(variant, runtime)
        logit_diff = b0.margin(logits)
        assert ((logit_diff - expected) ** 2).mean() < MOST.get(chain, USUALLY) * expected.var()
        if variant.margin_bias is None:
            assert architecture == GAN
        else:
            # OpenVINO computes in halves where the processor has them.
            rounding = 1e-4 if executed.computed in ("fp32", "int8") else 1e-2
            np.testing.assert_allclose(cam.mean((1, 2)) + variant.margin_bias, logit_diff, atol=rounding, rtol=rounding)
        maps.append((cam, executed.computed))
        if variant.stored == "int8":
            assert executed.int8_operators is not None
            assert executed.int8 == ("native" if runtime == "onnxruntime" else executed.int8)
            assert runtime != "onnxruntime" or executed.int8_operators >= 15
    # Integers are executed by other kernels in each, whose roundings differ.
    for cam, computed in maps[1:]:
        tolerance = 1e-4 if variant.kind == "torch" and computed == "fp32" else 0.05
        np.testing.assert_allclose(cam, maps[0][0], atol=tolerance * np.abs(cam).max())
    if variant.kind == "torch":
        assert footprint.footprint_of(safetensors.load_torch(variant.file)) == (variant.parameters, variant.macs)


@pytest.mark.parametrize("architecture", ["small_xception", "small_f3net"])
def test_half_is_gone_where_half_was_asked_for(architecture: str, contexts: dict[str, BuildContext]) -> None:
    """Filters that can't be narrowed count as well, and others pay for them."""
    before, after = (built(architecture, chain, contexts[architecture]) for chain in ("baseline", "pruned"))
    left = [getattr(after, count) / getattr(before, count) for count in ("parameters", "macs", "size_bytes")]
    assert 0.3 < max(left) <= 0.5


@pytest.mark.slow
def test_transforms_stay_in_float_under_int8(contexts: dict[str, BuildContext]) -> None:
    import onnx

    for architecture in ("small_f3net", "small_f3net_edges", GAN):
        graph = onnx.load(built(architecture, "int8", contexts[architecture]).file).graph
        quantised = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
        reached = {"frames"}
        first = []
        for node in graph.node:  # what depends on the frames, up to the first integers
            if reached & {*node.input} and node.op_type != "QuantizeLinear":
                reached |= {*node.output}
                first.append(node)
        assert not any(quantised & {*node.input} for node in first if node.op_type == "MatMul")
        transforms = {"MatMul"} if architecture != "small_f3net_edges" else {"Conv"}
        assert transforms <= {node.op_type for node in first}


def test_branches_are_refused_by_what_needs_widths() -> None:
    for chain in NEED_WIDTHS:
        problems = offer_problems([parse(entry) for entry in CHAINS[chain]], GAN)
        assert any("(`widths`)" in str(problem) for problem in problems)


def test_what_the_families_declare_is_what_their_networks_have() -> None:
    for family in (*upstream_families.FAMILIES, real_xception):
        detector = family.build(family.ARCHITECTURES[0], "timm", PREPROCESSING)
        with torch.inference_mode():
            prediction = detector(torch.from_numpy(b0.frames(2, seed=0)))
        assert (prediction.cam is not None) == ("cam" in family.OFFERS)
        assert (len(detector.stages()) > 1) == ("chain" in family.OFFERS)
