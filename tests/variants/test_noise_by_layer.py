"""Where the noise of a step sits, as it foretells it: beside what rounding layers one by one really does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import timm
import torch
import yaml
from numpy.typing import NDArray

from bench import stored
from bench.artifacts.imports import outputs
from bench.artifacts.onnx_export import to_onnx
from bench.detectors.detector import Detector
from bench.detectors.heads.class_token import ClassToken
from bench.detectors.layer_names import short_name
from bench.detectors.networks.vision_transformer import TokenNetwork
from bench.errors import UserError
from bench.records import Foretold, Preprocessing, RoundedLayer
from bench.records.forecasts import shortened
from bench.variants import chain
from bench.variants.steps import StepContext, prune, quantize
from bench.variants.steps.quantize import allocation, in_float, of_graphs, proposals
from bench.variants.steps.quantize import forecast as writing
from tests.support import b0, step_work, tiny
from tests.support.quantised import CALIBRATION, calibration

LAYERS = ("0.0", "1.expand.0", "1.depthwise.0", "1.gate.reduce", "1.gate.expand", "1.project.0", "2.0")


@cache
def shallow() -> Detector:
    torch.manual_seed(0)  # whichever tests run before
    return tiny.lively(tiny.build("tiny", "tiny", Preprocessing(size=b0.SIZE)))


@cache
def built(settings: quantize.Settings) -> tuple[onnx.ModelProto, Foretold]:
    """A shallow network, quantised, and what was foretold of it."""
    work = calibration()
    model = quantize.apply(shallow(), settings, work)
    return model, foretold(quantize, work)


def foretold(step: Any, work: StepContext) -> Foretold:
    """What a step left for `variant.json`, as that is read."""
    record = stored.typed(step.Record, json.loads((work.scratch / step.RECORD).read_text()))
    assert isinstance(record.foretold, Foretold)
    return record.foretold


def logit_diffs(model: onnx.ModelProto) -> NDArray[np.float64]:
    return b0.margin(b0.run(model, b0.frames(CALIBRATION, seed=100))[0]).astype(np.float64)


def measured(model: onnx.ModelProto) -> float:
    """The noise on the frames that it was foretold on."""
    before = logit_diffs(to_onnx(shallow()))
    return float(((logit_diffs(model) - before) ** 2).mean() / before.var(ddof=1))


def rounded(foretold: Foretold) -> dict[str, RoundedLayer]:
    return {layer.name: layer for layer in foretold.layers if not layer.in_float}


def noises(foretold: Foretold) -> Mapping[str, float]:
    return {name: layer.noise for name, layer in rounded(foretold).items()}


@pytest.mark.parametrize("name", ["0.0", "1.depthwise.0", "2.0"])
def test_a_layer_that_is_rounded_alone_moves_the_logit_difference_as_foretold(name: str) -> None:
    others = tuple(other for other in LAYERS if other != name)
    model, of_one = built(quantize.Settings(weights="int8", float=others))
    assert list(rounded(of_one)) == [name]
    assert of_one.noise == pytest.approx(noises(of_one)[name])
    assert measured(model) == pytest.approx(noises(of_one)[name], rel=0.3)
    _, of_all = built(quantize.Settings(weights="int8"))
    if name in rounded(of_all):
        assert noises(of_all)[name] == pytest.approx(noises(of_one)[name], rel=1e-3)


def test_all_together_is_what_is_measured() -> None:
    model, of_all = built(quantize.Settings())
    assert of_all.noise == pytest.approx(sum(noises(of_all).values()), rel=1e-3)
    assert 0.5 < measured(model) / sum(noises(of_all).values()) < 2
    before, after = (1 / (1 + np.exp(-logit_diffs(each))) for each in (to_onnx(shallow()), model))
    assert of_all.mean_dp == pytest.approx(np.abs(after - before).mean(), rel=0.4)
    assert of_all.frames == CALIBRATION
    assert of_all.deviation == pytest.approx(logit_diffs(to_onnx(shallow())).std(ddof=1), rel=1e-3)


def test_layers_that_would_move_p_fake_far_compute_in_float_with_rounded_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual, before = built(quantize.Settings())
    assert before.mean_dp is not None
    monkeypatch.setattr(allocation, "MUCH_DP", before.mean_dp / 2)

    seen, write = list[Any](), writing.write

    def noted(*given: Any) -> None:
        seen.append(given[2])
        write(*given)

    monkeypatch.setattr(writing, "write", noted)

    def forecast(**named: tuple[str, ...]) -> tuple[onnx.ModelProto, Foretold]:
        work = calibration()
        return quantize.apply(shallow(), quantize.Settings.model_validate(named), work), foretold(quantize, work)

    model, after = forecast()
    candidates_noise = {short_name(name): list(map(shortened, of)) for name, of in seen[-1].noise.items()}
    assert after.mean_dp is not None
    assert after.mean_dp < 0.7 * before.mean_dp
    on_integers = [{layer.name for layer in of.layers if layer.input_bits == 8} for of in (before, after)]
    assert on_integers[1] < on_integers[0]
    assert all(layer.weight_bits == 8 for layer in after.layers if layer.name in on_integers[0])
    assert measured(model) < measured(usual)
    # What others have does not hang on those that are named.
    gone = sorted(on_integers[0] - on_integers[1])[0]
    _, without = forecast(float=(gone,))
    assert {layer.name: layer.input_bits for layer in without.layers if layer.name != gone} == {
        layer.name: layer.input_bits for layer in after.layers if layer.name != gone
    }
    # Rounding it on integers is what would have been added, not rounding its weights alone.
    quieter = next(
        name for name in sorted(on_integers[0]) if candidates_noise[name][-1] < min(candidates_noise[name][:-1])
    )
    _, without = forecast(float=(quieter,))
    unrounded = next(layer.noise for layer in without.layers if layer.name == quieter)
    assert unrounded == min(candidates_noise[quieter][:-1])


@pytest.mark.parametrize("settings", [{}, {"weights": "int8"}, {"weights": "int4"}])
def test_the_noisiest_layer_in_float_takes_away_its_noise_and_costs_its_bytes(settings: dict[str, Any]) -> None:
    model, before = built(quantize.Settings(**settings))
    noisiest = max(rounded(before).values(), key=lambda layer: layer.noise)
    less, after = built(quantize.Settings(**settings, float=(noisiest.name,)))
    assert sum(noises(after).values()) == pytest.approx(sum(noises(before).values()) - noisiest.noise, rel=1e-3)
    assert noises(before) == pytest.approx({**noises(after), noisiest.name: noisiest.noise}, rel=1e-3)
    assert measured(less) < measured(model)
    # What the files tell of themselves differs by a few letters.
    letters = sum(len(entry.value) for entry in less.metadata_props) - sum(len(e.value) for e in model.metadata_props)
    grown = len(less.SerializeToString()) - len(model.SerializeToString()) - letters
    assert grown == pytest.approx(noisiest.float_bytes, abs=8)


def test_under_four_bits_a_named_layer_stays_in_float_and_not_in_eight_bits() -> None:
    _, before = built(quantize.Settings(weights="int4"))
    in_eight = [layer.name for layer in before.layers if layer.weight_bits == 8]
    assert in_eight
    _, after = built(quantize.Settings(weights="int4", float=(in_eight[0],)))
    assert {layer.name for layer in after.layers if layer.in_float} == {in_eight[0]}


def test_named_layers_and_such_as_stay_in_float_anyway_may_not_be_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(allocation.BUDGETS, "int8", allocation.Budget(noise=1e-5, weights=0.5, macs=1.0))
    work = calibration()
    quantize.apply(shallow(), quantize.Settings(), work)
    layers = foretold(quantize, work)
    rounded_now = tuple(rounded(layers))
    assert len(rounded_now) < len(layers.layers), "bit allocation leaves one in float"
    with pytest.raises(UserError, match="nothing would be quantised"):
        quantize.apply(shallow(), quantize.Settings(float=rounded_now), calibration())


def test_settings_without_named_layers_are_stored_as_before_there_were_any() -> None:
    """So that ids stay."""
    assert quantize.Settings().model_dump(mode="json") == {"dtype": "int8", "weights": None, "frames": 128}
    listed = quantize.Settings.model_validate({"float": ["b", "a", "b"]})
    assert listed == quantize.Settings(float=("a", "b"))
    assert quantize.Settings.model_validate({"float": "a"}).model_dump(mode="json")["float"] == ["a"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("0", ["0.0"]),
        ("1.gate", ["1.gate.reduce", "1.gate.expand"]),
        ("*.gate.*", ["1.gate.reduce", "1.gate.expand"]),
        ("1.gate.red*", ["1.gate.reduce"]),
        ("backbone.2.0", ["2.0"]),
        ("[02]", ["0.0", "2.0"]),
    ],
)
def test_a_pattern_fits_layers_and_what_they_lie_in(pattern: str, names: list[str]) -> None:
    assert in_float.chosen([pattern], [f"backbone.{name}" for name in LAYERS]) == {f"backbone.{name}" for name in names}


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["1.gate.reduced"], r"'1\.gate\.reduced' fits none \(near to it: 1\.gate\.reduce"),
        (["0.0", "stem", "xyz"], r"'stem' fits none .*; 'xyz' fits none"),
        (["*"], "all 7 layers"),
    ],
)
def test_names_that_fit_no_layer_or_all_are_refused(patterns: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        in_float.chosen(patterns, LAYERS)
    with pytest.raises(UserError, match=message):
        quantize.refuse_unfit(quantize.Settings.model_validate({"float": patterns}), shallow())


def test_a_name_of_a_layer_that_stays_in_float_anyway_is_none_too_many() -> None:
    layers = [name for name in LAYERS if name != "0.0"]
    assert in_float.among(layers, ["0.0", "2.0"], LAYERS) == {"2.0"}
    with pytest.raises(UserError, match="all 6 layers"):
        in_float.among(layers, ["1", "2"], LAYERS)


def test_the_proposed_line_can_be_pasted_and_takes_away_what_it_says() -> None:
    settings = quantize.Settings(weights="int8", frames=16, float=("1.gate.*",))
    model, before = built(settings)
    size = len(model.SerializeToString())
    proposal = quantize.proposal(settings, before, 100 * size)
    assert proposal is not None
    pasted = chain.parse(yaml.safe_load(proposal.line)).settings
    assert isinstance(pasted, quantize.Settings)
    assert pasted == settings.model_copy(update={"float": tuple(sorted({"1.gate.*", *proposal.layers}))})
    less, after = built(pasted)
    total = sum(noises(before).values())
    assert sum(noises(after).values()) == pytest.approx((1 - proposal.share) * total, rel=1e-3)
    assert len(less.SerializeToString()) - size == pytest.approx(proposal.file_bytes, abs=100)


def test_few_layers_are_proposed_for_few_bytes() -> None:
    layers = [RoundedLayer(f"layer.{i}", 8, 8, noise, 100, 1) for i, noise in enumerate([1, 6, 2, 1])]
    large = RoundedLayer("large", 8, 8, 30.0, 10_000, 1)
    in_float_now = RoundedLayer("first", 32, 32, 50.0, 0, 1)

    def proposed(*layers: RoundedLayer, mean_dp: float = 0.01, scale: float = 1e-4) -> tuple[str, ...] | None:
        scaled = tuple(dataclasses.replace(layer, noise=scale * layer.noise) for layer in layers)
        proposal = proposals.proposal({}, Foretold(1.0, 8, 1.0, scaled, mean_dp=mean_dp), 2000)
        return None if proposal is None else proposal.layers

    assert proposed(in_float_now, *layers) == ("layer.1",)
    assert proposed(*layers, large) == ("layer.1", "layer.2"), "a tenth of the file is 200 bytes"
    costly = dataclasses.replace(large, float_bytes=400)
    assert proposed(*layers, costly) == ("layer.1", "layer.2")
    assert proposed(*layers, costly, mean_dp=0.03) == ("large",), "a quarter of it, where P(fake) moves far"
    assert proposed(*layers, costly, scale=1.0) == ("large",), "or the noise is loud"
    even = [dataclasses.replace(layer, name=str(i), noise=1.0) for i, layer in enumerate(50 * layers)]
    assert proposed(*even) is None, "no few layers make the noise"
    assert proposed(in_float_now) is None


# ------------------------------------------------------------------------------------ an ONNX file alone
@pytest.mark.parametrize("settings", [{}, {"weights": "int8"}])
def test_nodes_of_a_graph_alone_stay_in_float_by_their_names_or_those_of_their_weights(
    settings: dict[str, Any],
) -> None:
    graph = to_onnx(shallow())
    weights = {constant.name for constant in graph.graph.initializer}
    for part in (*graph.graph.node, *graph.graph.initializer):
        part.name = f"{outputs.PREFIX}{part.name}"
    for node in graph.graph.node:
        node.input[:] = [f"{outputs.PREFIX}{name}" if name in weights else name for name in node.input]
    by_weight = of_graphs.layer_names(graph)
    name, other = list(by_weight)[:2]
    patterns = (name, by_weight[other])
    model = quantize.apply_onnx(graph, quantize.Settings(**settings, float=patterns), calibration())
    written_by = {output: node.op_type for node in model.graph.node for output in node.output}
    read = {node.name: written_by.get(node.input[1]) for node in model.graph.node if node.op_type == "Conv"}
    assert {read[f"{outputs.PREFIX}{layer}"] for layer in (name, other)} == {None}
    assert "DequantizeLinear" in read.values()
    with pytest.raises(UserError, match="'conv99' fits none"):
        quantize.refuse_unfit(quantize.Settings(float=("conv99",)), to_onnx(shallow()))


# ------------------------------------------------------------------------------------ prune
@pytest.mark.parametrize("settings", [{}, {"repair": False}, {"ranking": "magnitude"}])
def test_prune_records_how_many_channels_are_left(settings: dict[str, Any], tmp_path: Path) -> None:
    parent = tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    before = {name: len(layer.weight) for name, layer in parent.weighted_layers().items()}
    work = step_work.work(tmp_path, parent)
    model = prune.apply(parent, prune.Settings(amount=0.4, **settings), work)
    after = {name: len(layer.weight) for name, layer in model.weighted_layers().items()}
    of_step = foretold(prune, work)
    assert of_step.channels
    assert any(group.left < group.before for group in of_step.channels)
    for group in of_step.channels:
        assert (before[f"backbone.{group.name}"], after[f"backbone.{group.name}"]) == (group.before, group.left)
    if settings:
        assert of_step.noise is None, "what is not repaired was not foretold"
    else:
        ranked = [group.noise for group in of_step.channels if group.noise is not None]
        assert of_step.noise is None or of_step.noise == pytest.approx(sum(ranked), rel=1e-3)


def wide_transformer() -> Detector:
    """A block of a vision transformer whose norms have more numbers than fit into a small constant, some outliers."""
    torch.manual_seed(0)
    network: Any = timm.create_model(
        "vit_tiny_patch16_224", embed_dim=320, depth=1, num_heads=4, img_size=b0.SIZE, num_classes=2
    )
    head = ClassToken.of(network.head)
    torch.nn.init.normal_(head.weight)
    block = network.blocks[0]
    outliers = torch.where(torch.arange(320) % 40 == 0, 50.0, 1.0)
    with torch.no_grad():
        for norm, layer in ((block.norm1, block.attn.qkv), (block.norm2, block.mlp.fc1)):
            norm.weight.mul_(outliers)
            layer.weight.div_(outliers)
    return Detector("tests", "", Preprocessing(size=b0.SIZE), TokenNetwork.of(network), head).eval()


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"weights": "int8"}])
def test_channel_scales_in_wide_layer_norms(settings: dict[str, Any]) -> None:
    """Their weights are multiplied by these, also where bytes are counted in a graph without large constants."""
    detector, work = wide_transformer(), calibration()
    model = quantize.apply(detector, quantize.Settings(**settings), work)
    norms = [node.input[1] for node in model.graph.node if node.op_type == "LayerNormalization"]
    assert any(name.endswith(".norm1") for name in norms), "none has channel scales"
    layers = rounded(foretold(quantize, work))
    by_name = {short_name(name): layer for name, layer in detector.weighted_layers().items()}
    for name in (name for name in layers if name.endswith(("qkv", "fc1"))):
        assert layers[name].float_bytes == pytest.approx(3 * by_name[name].weight.numel(), rel=0.02)
