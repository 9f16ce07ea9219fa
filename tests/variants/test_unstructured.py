"""Unstructured pruning: which weights become zero, that they stay zero, and what the report says they are worth."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from bench import experiment, pipeline, runtimes
from bench.artifacts import footprint, safetensors
from bench.detectors.detector import Detector
from bench.records import Built
from bench.variants import build, cache
from bench.variants.chain import parse
from bench.variants.context import BuildContext, Source
from bench.variants.layers.compensation import Inputs
from bench.variants.steps import prune, recover
from bench.variants.steps.prune import two_of_four
from tests.support import tiny
from tests.support.chains import check as check_chain
from tests.support.step_work import work

HALF = {"prune": {"amount": 0.5, "structure": "unstructured"}}


def weights(model: Detector) -> NDArray[np.float32]:
    """All weights that can be pruned, in one row."""
    layers = [module for module in model.backbone.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    return np.concatenate([layer.weight.detach().float().numpy().ravel() for layer in layers])


@pytest.fixture
def parent(tiny_family: Any) -> Detector:
    torch.manual_seed(0)
    return tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))


def pruned(parent: Detector, folder: Path, amount: float = 0.5) -> Detector:
    settings = prune.Settings(amount=amount, structure="unstructured")
    return prune.apply(copy.deepcopy(parent), settings, work(folder))


@pytest.mark.parametrize("amount", [0.5, 0.7])
def test_the_smallest_weights_of_the_whole_network_become_zero(parent: Detector, tmp_path: Path, amount: float) -> None:
    before, after = weights(parent), weights(pruned(parent, tmp_path, amount))
    assert abs(np.count_nonzero(after == 0) - amount * before.size) <= 1
    smallest_first = np.argsort(np.abs(before), kind="stable")
    gone = round(amount * before.size)
    assert not after[smallest_first[:gone]].any()
    np.testing.assert_array_equal(after[smallest_first[gone:]], before[smallest_first[gone:]])
    assert not np.signbit(after[after == 0]).any(), "a sign is a bit that no archive can leave out"


def test_nothing_but_weights_changes(parent: Detector, tmp_path: Path) -> None:
    built = pruned(parent, tmp_path)
    for name, tensor in parent.state_dict().items():
        if tensor.ndim < 2 or name.startswith("head."):
            assert torch.equal(tensor, built.state_dict()[name]), name
    assert footprint.footprint_of(built) == footprint.footprint_of(parent)


def test_a_head_of_small_weights_stays(parent: Detector, tmp_path: Path) -> None:
    with torch.no_grad():
        parent.head.weight.mul_(1e-6)
    assert pruned(parent, tmp_path).head.weight.count_nonzero() == parent.head.weight.numel()


@pytest.mark.parametrize("amount", [0.5, 0.7])
def test_layers_that_would_lose_all_lose_the_share_of_their_own(
    parent: Detector, tmp_path: Path, amount: float
) -> None:
    """As many weights go in all, and in either part they are the smallest."""
    convolutions = [name for name, module in parent.backbone.named_modules() if isinstance(module, nn.Conv2d)]
    small = {f"backbone.{name}" for name in convolutions[:2]}
    with torch.no_grad():
        for factor, name in zip((1e-6, 1e-12), small, strict=True):
            parent.get_parameter(f"{name}.weight").mul_(factor)
    built = pruned(parent, tmp_path, amount)
    after = {name: layer.weight.detach() for name, layer in built.weighted_layers().items()}
    before = {name: layer.weight.detach() for name, layer in parent.weighted_layers().items()}
    others = [name for name in before if name not in small]
    for part in *([name] for name in small), others:
        zeros, magnitudes = (torch.cat([of_layer[name].flatten() for name in part]) for of_layer in (after, before))
        zero, magnitudes = zeros == 0, magnitudes.abs()
        assert abs(int(zero.sum()) - amount * len(zero)) <= 1
        assert magnitudes[zero].max() <= magnitudes[~zero].min()


def test_the_file_is_as_large_and_its_archive_smaller(parent: Detector, tmp_path: Path) -> None:
    dense, sparse = (safetensors.save(m, tmp_path / n) for n, m in (("d", parent), ("s", pruned(parent, tmp_path))))
    assert dense.stat().st_size == sparse.stat().st_size
    assert footprint.zstd_bytes(sparse) < 0.75 * footprint.zstd_bytes(dense)
    import zstandard

    packed = zstandard.ZstdCompressor(level=footprint.ZSTD_LEVEL).compress(sparse.read_bytes())
    assert footprint.zstd_bytes(sparse) == pytest.approx(len(packed), rel=0.01)


def test_recover_trains_the_rest_and_leaves_the_zeros(parent: Detector, tmp_path: Path) -> None:
    built = pruned(parent, tmp_path)
    before = weights(built)
    settings = recover.Settings(steps=4, batch_size=4, learning_rate=1e-3)
    surroundings = replace(work(tmp_path, parent), earlier=(parse(HALF),))
    after = weights(recover.apply(built, settings, surroundings))
    np.testing.assert_array_equal(after == 0, before == 0)
    assert not np.allclose(after, before)


def test_recover_after_structured_pruning_trains_what_happens_to_be_zero(parent: Detector, tmp_path: Path) -> None:
    student = copy.deepcopy(parent)
    with torch.no_grad():
        student.head.weight.zero_()
    settings = recover.Settings(steps=2, batch_size=4, learning_rate=1e-3)
    surroundings = replace(work(tmp_path, parent), earlier=(parse({"prune": 0.5}),))
    assert recover.apply(student, settings, surroundings).head.weight.all()


def test_a_chain_tells_recover_what_came_before(context: BuildContext, source: Source) -> None:
    chain = [parse(entry) for entry in (HALF, {"recover": {"steps": 2, "batch_size": 2}})]
    assert build.build("x", source, chain, context).zeros == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize(
    ("last", "stored"), [({"cast": "fp16"}, "fp16"), ({"cast": "bf16"}, "bf16"), ({"quantize": "int8"}, "int8")]
)
def test_steps_after_it_keep_the_zeros(
    last: dict[str, Any],
    stored: str,
    context: BuildContext,
    source: Source,
) -> None:
    """Stored as floats, all of them; as integers, with those that rounding adds."""
    chain = [parse(entry) for entry in (HALF, last)]
    check_chain(chain, context.frames)
    built = build.build("x", source, chain, context)
    parent = build.build("parent", source, chain[:1], context)
    zero = np.concatenate([weight.ravel() == 0 for weight in _stored_weights(built)])
    assert built.stored == stored
    # Rounding makes zeros of its own, of the int8 weights many.
    assert built.zeros == pytest.approx(zero.mean(), abs=5e-3)
    assert built.zeros
    assert built.zeros >= 0.5 - 5e-3
    assert parent.zeros == pytest.approx(0.5, abs=1e-4)
    assert (built.parameters, built.macs) == (parent.parameters, parent.macs)


def _stored_weights(built: Built) -> list[NDArray[Any]]:
    if built.kind == "onnx":
        tensors = [numpy_helper.to_array(tensor) for tensor in onnx.load(built.file).graph.initializer]
        return [tensor for tensor in tensors if tensor.dtype == np.int8 and tensor.ndim == 4]
    model = safetensors.load_torch(built.file)
    return [weights(model)]


def test_structured_pruning_is_the_default_and_keeps_its_ids() -> None:
    spelled_out = parse({"prune": {"amount": 0.5, "structure": "structured"}})
    assert spelled_out.settings.model_dump(mode="json") == {"amount": 0.5}
    assert parse(HALF).settings.model_dump(mode="json") == {"amount": 0.5, "structure": "unstructured"}


def test_artifacts_of_earlier_versions_are_read(context: BuildContext, source: Source) -> None:
    built = build.build("baseline", source, [], context)
    described = built.file.with_name("variant.json")
    fields = json.loads(described.read_text(encoding="utf-8"))
    for key in ("zeros", "zstd_bytes"):
        del fields[key]
    described.write_text(json.dumps(fields), encoding="utf-8")
    old = cache.read(context.folder, built.id)
    assert (old.zeros, old.zstd_bytes) == (None, None)
    assert old.size_bytes == built.size_bytes


def test_a_whole_run_says_what_the_zeros_are_worth_and_what_bf16_computed_in(workplace: Path) -> None:
    """In the scores and in the report."""
    file = workplace / "experiments.yaml"
    head = file.read_text(encoding="utf-8").partition("    variants:")[0]
    chosen = "{baseline: [], half: [prune: {amount: 0.5, structure: unstructured}], bf16: [cast: bf16]}"
    file.write_text(f"{head}    variants: {chosen}\n", encoding="utf-8")
    finished = pipeline.run(experiment.read(file), file)
    scores = json.loads((finished.report.parent / "scores.json").read_text(encoding="utf-8"))["variants"]
    assert [variant["status"] for variant in scores.values()] == ["ok"] * 3
    assert scores["half"]["zeros"] == pytest.approx(0.5, abs=1e-4)
    assert scores["baseline"]["zeros"] < 0.01
    assert scores["half"]["zstd_mib"] < 0.75 * scores["baseline"]["zstd_mib"]
    assert scores["half"]["size_mib"] == scores["baseline"]["size_mib"]
    assert (scores["bf16"]["stored"], scores["bf16"]["computed"]) == ("bf16", "fp32")
    assert scores["bf16"]["size_mib"] < 0.6 * scores["baseline"]["size_mib"]
    report = finished.report.read_text(encoding="utf-8")
    for words in ("50.0 % of the weights are zero", "zstd would make it", "computes faster for zeros", "bf16"):
        assert words in report, words


def test_every_runtime_computes_with_the_zeros(parent: Detector, tmp_path: Path) -> None:
    """The artifact is an ordinary one: what executes it gives what the pruned network gives."""
    model = pruned(parent, tmp_path)
    file = safetensors.save(model, tmp_path)
    frames = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    with torch.inference_mode():
        expected = model(torch.from_numpy(frames))[0].numpy()
    built = Built("id", file, "torch", "fp32", file.stat().st_size, None, None, model.margin_bias, 0.0)
    np.testing.assert_allclose(runtimes.find("onnxruntime").load(built, "cpu", 1).predict(frames)[0], expected, 1e-4)


# ------------------------------------------------------------------------------------- two of every four
def test_two_of_four_neighbours_are_zero(parent: Detector, tmp_path: Path) -> None:
    """In every convolution of one group, but for the few weights of those that would lose most."""
    before = copy.deepcopy(parent).state_dict()
    sparse = {f"{name}.weight" for name in two_of_four.layers(parent)}
    prune.apply(parent, prune.Settings.model_validate({"structure": "2of4"}), work(tmp_path, parent))
    dense = total = 0
    for name, weight in parent.state_dict().items():
        assert weight.shape == before[name].shape
        if name not in sparse:
            assert torch.equal(weight, before[name]), name
            continue
        total += weight.numel()
        if torch.equal(weight, before[name]):
            dense += weight.numel()
        else:
            assert ((weight.movedim(1, -1).reshape(-1, 4) == 0).sum(1) == 2).all(), name
    assert dense <= 0.05 * total


def test_weights_that_stay_compensate_for_those_that_go() -> None:
    """The error is the one that is reported, and much less than without compensation."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(64, 24)) @ rng.normal(size=(24, 1000)) + 0.3 * rng.normal(size=(64, 1000))
    weight = rng.normal(size=(16, 64, 1, 1)).astype(np.float32)
    statistics = Inputs(inputs.mean(1).astype(np.float32), np.cov(inputs, bias=True).astype(np.float32))
    compensated, change = two_of_four._sparse(weight, statistics)
    plain, _ = two_of_four._sparse(weight, None)

    def lost(changed: NDArray[np.float32]) -> float:
        written = ((changed - weight)[:, :, 0, 0] @ inputs).var(1) / (weight[:, :, 0, 0] @ inputs).var(1)
        return float(written.mean())

    assert change == pytest.approx(lost(compensated), rel=1e-3)
    assert lost(compensated) < 0.7 * lost(plain)
    for pattern in (compensated, plain):
        assert ((pattern.reshape(-1, 4) == 0).sum(1) == 2).all()


def test_recover_keeps_the_pattern(parent: Detector, tmp_path: Path) -> None:
    prune.apply(parent, prune.Settings.model_validate({"structure": "2of4"}), work(tmp_path, parent))
    zero = weights(parent) == 0
    surroundings = replace(work(tmp_path, parent), earlier=(parse({"prune": {"structure": "2of4"}}),))
    trained = recover.apply(parent, recover.Settings(steps=2, batch_size=4), surroundings)
    assert (weights(trained)[zero] == 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"structure": "2of4", "amount": 0.7}, "takes half of the weights"),
        ({"structure": "2of4", "repair": True}, "has no repair"),
        ({"structure": "2:4"}, "2of4"),
    ],
)
def test_settings_of_two_of_four(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prune.Settings.model_validate(settings)
