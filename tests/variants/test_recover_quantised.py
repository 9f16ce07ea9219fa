"""Recover after quantize: training computes what the graph computes, and the graph never gets worse."""

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
from onnx import numpy_helper

from bench.detectors.detector import Detector
from bench.errors import UserError
from bench.runtimes import onnxruntime
from bench.variants import build, chain
from bench.variants.chain import parse
from bench.variants.context import BuildContext, Source
from bench.variants.steps import StepContext, quantize, recover
from bench.variants.steps.quantize import stored_layers
from bench.variants.steps.recover import distillation, rounded
from tests.support import b0, tiny
from tests.support.chains import check
from tests.support.step_work import frames, work

KINDS: dict[str, dict[str, Any]] = {
    "int8": {"dtype": "int8"},
    "int8 weights": {"weights": "int8"},
    "int4 weights": {"weights": "int4"},
}


@pytest.fixture
def detector(tiny_family: Any) -> Detector:
    torch.manual_seed(0)
    return tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))


def surroundings(folder: Path, detector: Detector, name: str) -> StepContext:
    (folder / name).mkdir()
    given = work(folder / name, detector, count=40)
    return replace(given, earlier=(parse({"quantize": "int8"}),), detector=lambda: copy.deepcopy(detector))


def graph_of(detector: Detector, settings: dict[str, Any], folder: Path) -> onnx.ModelProto:
    chosen = quantize.Settings(**settings, frames=16)
    return quantize.apply(copy.deepcopy(detector), chosen, surroundings(folder, detector, "quantize"))


def constants(graph: onnx.ModelProto) -> dict[str, Any]:
    return {constant.name: numpy_helper.to_array(constant) for constant in graph.graph.initializer}


# ---------------------------------------------------------------------------- what is trained
@pytest.mark.parametrize("kind", KINDS)
def test_training_computes_what_the_graph_computes(kind: str, detector: Detector, tmp_path: Path) -> None:
    """Far closer to the graph's answers than these are to the detector's."""
    graph = graph_of(detector, KINDS[kind], tmp_path)
    given = frames(24, 32, seed=5)
    logits, cam = b0.run(graph, given.numpy())
    student = copy.deepcopy(detector)
    made = rounded.rounded(student, stored_layers.read(graph.graph), given[:2])
    assert len(made) >= 3
    with torch.no_grad():
        plain, answers = detector(given), student(given)
    from_graph = np.abs(answers.logits.numpy() - logits).mean()
    assert from_graph < 0.1 * np.abs(plain.logits.numpy() - logits).mean()
    np.testing.assert_allclose(answers.cam.numpy(), cam, atol=0.02 * float(np.abs(cam).max()))
    assert {name for name, weight in student.named_parameters() if weight.requires_grad} == {
        f"{layer}.{part}" for layer in made for part in ("weight", "bias")
    }


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_trained_is_written_back_bit_for_bit(kind: str, detector: Detector, tmp_path: Path) -> None:
    graph = graph_of(detector, KINDS[kind], tmp_path)
    made = rounded.rounded(copy.deepcopy(detector), stored_layers.read(graph.graph), frames(2, 32))
    untouched = {name: (layer.integers(), layer.bias.detach().numpy()) for name, layer in made.items()}
    changed = stored_layers.replaced(graph, untouched)
    before, after = constants(graph), constants(changed)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_gradients_reach_weights_through_rounding(detector: Detector, tmp_path: Path) -> None:
    graph = graph_of(detector, KINDS["int8"], tmp_path)
    student = copy.deepcopy(detector)
    made = rounded.rounded(student, stored_layers.read(graph.graph), frames(2, 32))
    distillation.distillation_loss(student, detector, frames(8, 32)).backward()  # type: ignore[no-untyped-call]
    for layer in made.values():
        for weight in (layer.weight, layer.bias):
            assert weight.grad is not None
            assert float(weight.grad.abs().max()) > 0


# ---------------------------------------------------------------------------- what becomes of the graph
@pytest.mark.parametrize("kind", ["int8", "int4 weights"])
def test_the_graph_answers_more_like_the_teacher(kind: str, detector: Detector, tmp_path: Path) -> None:
    """The graph is one whose biases were disturbed, so that there is something to bring back."""
    graph = disturbed(graph_of(detector, KINDS[kind], tmp_path))
    around = surroundings(tmp_path, detector, "recover")
    settings = recover.Settings(steps=30, batch_size=8, learning_rate=1e-2)
    changed = recover.apply_quantised(graph, settings, around)
    record = json.loads((around.scratch / recover.RECORD).read_text())
    assert record["error"]["after"] < 0.9 * record["error"]["before"]
    unseen = frames(32, 32, seed=9)
    with torch.no_grad():
        expected = b0.margin(detector(unseen).logits.numpy())
    before, after = (
        np.square(b0.margin(b0.run(model, unseen.numpy())[0]) - expected).mean() for model in (graph, changed)
    )
    assert after < 0.9 * before
    same_but = {name for name in constants(graph) if name.endswith((".weight", ".bias"))}
    first, second = constants(graph), constants(changed)
    assert all(np.array_equal(first[name], second[name]) for name in first.keys() - same_but)
    onnx.checker.check_model(changed)


def disturbed(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A tenth of their deviation is added to the biases of every layer that has integers."""
    rng = np.random.default_rng(0)
    layers = stored_layers.read(graph.graph)
    return stored_layers.replaced(
        graph,
        {
            name: (
                layer.integers,
                layer.bias + 0.2 * (layer.bias.std() + 0.1) * rng.standard_normal(len(layer.bias), np.float32),
            )
            for name, layer in layers.items()
        },
    )


def test_a_graph_that_comes_no_closer_is_returned_as_it_was(detector: Detector, tmp_path: Path) -> None:
    graph = graph_of(detector, KINDS["int8"], tmp_path)
    around = surroundings(tmp_path, detector, "recover")
    settings = recover.Settings(steps=3, batch_size=8, learning_rate=0.9, enough=0.0)
    assert recover.apply_quantised(graph, settings, around) == graph
    record = json.loads((around.scratch / recover.RECORD).read_text())
    assert record["best_step"] == 0
    assert record["error"]["after"] == record["error"]["before"]


def test_the_graphs_own_answers_have_the_last_word(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the trained network came closer and its graph did not, the graph from before is the result."""
    graph = disturbed(graph_of(detector, KINDS["int8"], tmp_path))
    around = surroundings(tmp_path, detector, "recover")

    def spoilt(model: onnx.ModelProto, layers: Any) -> onnx.ModelProto:
        return replaced(model, {name: (integers, bias + 10) for name, (integers, bias) in layers.items()})

    replaced = stored_layers.replaced
    monkeypatch.setattr(stored_layers, "replaced", spoilt)
    assert recover.apply_quantised(graph, recover.Settings(steps=20, batch_size=8, learning_rate=2e-3), around) == graph
    record = json.loads((around.scratch / recover.RECORD).read_text())
    assert (record["best_step"], record["ended"]) == (0, "the quantised graph itself came no closer")


# ---------------------------------------------------------------------------------------- chains
def test_a_chain_ends_in_a_graph_with_the_facts_of_its_parent(context: BuildContext, source: Source) -> None:
    quick = {"steps": 2, "batch_size": 8, "learning_rate": 1e-5, "enough": 0.0}
    steps = [parse(entry) for entry in ({"quantize": "int8"}, {"recover": quick})]
    assert chain.kind_of(steps) == "onnx"
    check(steps, context.frames)
    parent = build.build("q8", source, steps[:1], context)
    built = build.build("q8-recovered", source, steps, context)
    assert (built.kind, built.stored, built.parameters, built.macs, built.margin_bias) == (
        "onnx", parent.stored, parent.parameters, parent.macs, parent.margin_bias,
    )  # fmt: skip
    assert built.id != parent.id
    given = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    logits, cam = onnxruntime.load(built, "cpu", 1).predict(given)
    assert cam is not None
    np.testing.assert_allclose(cam.mean((1, 2)) + built.margin_bias, logits[:, 1] - logits[:, 0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"quantize": "int8"}, {"recover": {"recalibrate": True}}], "no batch norms left to measure again"),
        ([{"quantize": "int8"}, {"recover": {"precision": "bf16"}}], "training with rounding computes in fp32"),
        ([{"quantize": "int8"}, "recover", "recover"], "a second recover right behind the first"),
        ([{"quantize": "int8"}, "recover", {"cast": "fp16"}], "works on torch models, but after recover"),
    ],
)
def test_what_training_with_rounding_cannot_do_is_refused(entries: list[object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check([parse(entry) for entry in entries])


def test_of_an_onnx_file_alone_nothing_can_be_trained() -> None:
    steps = [parse(entry) for entry in ({"quantize": "int8"}, "recover")]
    (problem,) = chain.order_problems(steps, "onnx")
    assert problem[0] == 1
    assert "of this detector there is an ONNX file alone" in problem[1]
