"""`quantize`: integers in the network, float before and behind it, and scores close to those of the float model."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from timm.layers.conv2d_same import Conv2dSame

from bench.artifacts.onnx_export import to_onnx
from bench.detectors.detector import Detector
from bench.errors import UserError
from bench.records import Frame, InputSpec, Preprocessing
from bench.runtimes.onnxruntime import lowering
from bench.variants.steps import quantize
from bench.variants.steps.quantize import allocation, candidates, observe, qdq, rounding, sensitivities
from bench.variants.steps.quantize.observe import ChannelStatistics, Convolution
from bench.variants.steps.quantize.rounding import Layer
from tests.support import b0, tiny
from tests.support.quantised import CALIBRATION, EVENTS, calibration, quantised


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Networks are drawn at random: the same ones whichever tests run before."""
    torch.manual_seed(0)


def bits_and_noise(model: onnx.ModelProto) -> dict[str, tuple[int, int, float]]:
    """By convolution: bits of weights and inputs, and expected noise."""
    return {name: tuple(numbers) for name, numbers in json.loads(b0.facts(model)["layers"]).items()}


def shallow() -> Detector:
    return tiny.lively(tiny.build("tiny", "tiny", Preprocessing(size=b0.SIZE)))


def test_scores_stay_close_to_float() -> None:
    """On a shallow network: a deep one with random weights amplifies any rounding, trained ones do not."""
    detector = shallow()
    expected, expected_cam = b0.run(to_onnx(detector), b0.frames(32, seed=7))
    logits, cam = b0.run(quantize.apply(detector, quantize.Settings(), calibration()), b0.frames(32, seed=7))
    error = b0.margin(logits) - b0.margin(expected)
    assert np.sqrt((error**2).mean()) < 0.1 * b0.margin(expected).std()
    assert np.corrcoef(cam.ravel(), expected_cam.ravel())[0, 1] > 0.99


def test_margin_equation_holds_in_int8() -> None:
    logits, cam = b0.run(quantised(), b0.frames(8))
    margin = cam.mean((1, 2)) + float(b0.facts(quantised())["margin_bias"])
    np.testing.assert_allclose(margin, b0.margin(logits), atol=1e-4)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_any_batch_size_gives_the_same_scores(count: int) -> None:
    together, _ = b0.run(quantised(), b0.frames(8))
    np.testing.assert_allclose(b0.run(quantised(), b0.frames(8)[:count])[0], together[:count], atol=1e-4)


def test_every_convolution_of_the_network_but_the_most_sensitive_and_nothing_else_is_int8() -> None:
    """The file's metadata and its nodes agree on which those are."""
    nodes, stored = quantised().graph.node, {value.name: value for value in quantised().graph.initializer}
    producer = {output: node for node in nodes for output in node.output}
    weight_bits = {name: bits for name, (bits, _, _) in bits_and_noise(quantised()).items()}
    assert sum(bits == 32 for bits in weight_bits.values()) < len(weight_bits) / 4
    for node in nodes:
        if node.op_type in ("Conv", "Gemm"):
            weight = producer.get(node.input[1])
            rounded = weight_bits.get(node.name.removeprefix("backbone."), 32) == 8
            assert (weight is not None) == rounded, node.name
            if weight is not None:
                assert stored[weight.input[0]].data_type == TensorProto.INT8
                scales = numpy_helper.to_array(stored[weight.input[1]])
                assert scales.shape == (stored[weight.input[0]].dims[0],)
                assert len(weight.input) == 2, "symmetric weights need no zero points"


def test_lowered_graph_computes_the_same(tmp_path: Path) -> None:
    """But for values that lie on a border between two integers, which a differently ordered sum may push over."""
    detector = shallow()
    norm = detector.get_submodule("backbone.1.depthwise.1")
    assert isinstance(norm, torch.nn.BatchNorm2d)
    with torch.no_grad():
        norm.weight[0], norm.weight[1] = 0, 1e-8
    model = quantize.apply(detector, quantize.Settings(), calibration())
    # Optimised, the graph would be computed on integers as well, by kernels of onnxruntime's own choice.
    expected, expected_cam = b0.run(model, b0.frames(16, seed=7), optimised=False)
    logits, cam = b0.run(lowering.lower(model), b0.frames(16, seed=7))
    assert np.abs(b0.margin(logits) - b0.margin(expected)).max() < 0.02 * b0.margin(expected).std()
    assert np.corrcoef(cam.ravel(), expected_cam.ravel())[0, 1] > 0.999


def test_lowered_graph_runs_on_integers() -> None:
    kinds = Counter(node.op_type for node in lowering.lower(quantised()).graph.node)
    rounded = {name: (weight, read) for name, (weight, read, _) in bits_and_noise(quantised()).items()}
    on_integers = sum(bits == (8, 8) for bits in rounded.values())
    assert kinds["QLinearConv"] + kinds["MatMulIntegerToFloat"] == on_integers > len(rounded) / 2
    assert {bits for name, bits in rounded.items() if name.endswith("conv_dw")} <= {(8, 32), (32, 32)}
    assert kinds["Sigmoid"] < kinds["QuickGelu"], "x * sigmoid(x) is one operator"
    assert kinds["Transpose"] <= 2 * kinds["QLinearConv"] + 2 * kinds["Conv"]
    for part in ("input", "output"):
        assert list(getattr(lowering.lower(quantised()).graph, part)) == list(getattr(quantised().graph, part))


@pytest.mark.parametrize(("weights", "share"), [("int8", 0.30), ("int4", 0.20)])
def test_weights_alone(weights: str, share: float) -> None:
    """Activations stay in float, and nothing but weights is rounded."""
    detector = shallow()
    model = quantize.apply(detector, quantize.Settings.model_validate({"weights": weights}), calibration())
    assert not [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert b0.facts(model)["stored"] == f"{weights} weights"
    expected, _ = b0.run(to_onnx(detector), b0.frames(32, seed=7))
    logits, _ = b0.run(model, b0.frames(32, seed=7))
    error = b0.margin(logits) - b0.margin(expected)
    assert np.sqrt((error**2).mean()) < {"int8": 0.02, "int4": 0.3}[weights] * b0.margin(expected).std()
    stored = sum(len(value.raw_data) for value in model.graph.initializer if value.name.startswith("backbone."))
    assert stored < share * sum(4 * weight.numel() for weight in detector.backbone.parameters())


@pytest.mark.parametrize("bits", [4, 8])
def test_compensated_rounding_loses_less_on_inputs_that_move_together(bits: Any) -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(96, 2000)) * rng.uniform(0.1, 3, (96, 1))
    inputs[1:] += 0.8 * inputs[:-1]
    weight = rng.normal(size=(16, 96, 1, 1)).astype(np.float32)
    covariance = (inputs @ inputs.T / inputs.shape[1]).astype(np.float32)

    def error(rounded: rounding.Rounded) -> float:
        return float(np.square((rounded.floats() - weight)[:, :, 0, 0] @ inputs).mean())

    assert error(rounding.compensated(weight, covariance, bits)) < 0.7 * error(rounding.nearest(weight, bits))


def test_expected_noise_agrees_with_measured_noise() -> None:
    """The first-order estimate, and what rounding one convolution really does to the logit difference."""
    detector = shallow()
    model = onnx.shape_inference.infer_shapes(to_onnx(detector))
    convolutions = observe.convolutions(model)
    tensors = {name: (2, 3) for convolution in convolutions for name in (convolution.input, convolution.output)}
    statistics = observe.observe(model, tensors, CALIBRATION, calibration(), threads=1)
    tried = {
        convolution.name: [
            Layer(convolution, rounding.nearest(convolution.weight, 4 if convolution.groups == 1 else 8)),
            *candidates.for_convolution(convolution, statistics, None),
        ]
        for convolution in convolutions
    }
    noise = sensitivities.sensitivities(detector, tried, CALIBRATION, calibration()).noise()
    frames = b0.frames(CALIBRATION, seed=100)
    expected = b0.margin(b0.run(model, frames, optimised=False)[0])
    for name, layers in tried.items():
        for estimate, layer in zip(noise[name], layers, strict=True):
            change = b0.margin(b0.run(qdq.quantised(model, [layer]), frames, optimised=False)[0]) - expected
            measured = np.square(change).mean() / expected.var(ddof=1)
            assert 0.4 < estimate / measured < 2, (name, layer.extra_scales)


def test_pool_and_cam_read_the_same_float_tensor() -> None:
    producer = {output: node for node in quantised().graph.node for output in node.output}
    pooled = producer[producer["logits"].input[0]]
    cam = producer[producer["cam"].input[0]]
    assert pooled.op_type == "ReduceMean"
    assert pooled.input[0] == cam.input[0]
    assert producer[cam.input[0]].op_type == "Mul"


def test_same_interface_and_facts_as_the_float_file() -> None:
    for part in ("input", "output"):
        assert list(getattr(quantised().graph, part)) == list(getattr(b0.model().graph, part))
    facts = b0.facts(quantised())
    assert facts == b0.facts(b0.model()) | {"stored": "int8", "layers": facts["layers"]}
    onnx.checker.check_model(quantised(), full_check=True)


def test_it_is_small() -> None:
    """A byte for each parameter, four for the hundredth that stays in float."""
    parameters = sum(parameter.numel() for parameter in b0.detector().parameters())
    assert quantised().ByteSize() < (1.2 + 3 * 0.01) * parameters


def test_deterministic_silent_and_its_progress_ends_at_the_last_frame(capfd: pytest.CaptureFixture[str]) -> None:
    detector = shallow()
    first = quantize.apply(copy.deepcopy(detector), quantize.Settings(), calibration())
    capfd.readouterr()
    EVENTS.clear()
    again = quantize.apply(detector, quantize.Settings(), calibration())
    assert capfd.readouterr() == ("", "")
    assert again.SerializeToString(deterministic=True) == first.SerializeToString(deterministic=True)
    for note in ("calibrating", "sensitivity", "covariances"):
        events = [event for event in EVENTS if event.note == note]
        assert events, note
        assert events[-1].done == events[-1].total == CALIBRATION


def test_one_extreme_frame_does_not_coarsen_the_range_of_a_tensor() -> None:
    lowest, highest = np.full((64, 3), -1.0, np.float32), np.full((64, 3), 2.0, np.float32)
    lowest[5], highest[5] = -300, 500
    activation = candidates.tensor_scale(ChannelStatistics(lowest, highest, highest[0], highest[0]), 0.97)
    assert activation.scale == pytest.approx(3 / 255)
    assert activation.zero_point == 85


def test_channels_of_any_scale_are_quantised_to_the_same_integers() -> None:
    """What one layer's channel is multiplied with, the next layer's weights are divided by: the same network."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(8, 12, 1, 1)).astype(np.float32)
    highest = rng.uniform(1, 4, (30, 12)).astype(np.float32)
    uneven = np.exp2(rng.integers(-4, 5, 12)).astype(np.float32)
    integers = []
    for factor in (np.ones(12, np.float32), uneven):
        high = highest * factor
        bias = np.zeros(8, np.float32)
        convolution = Convolution("one", "x", "y", weight / factor[:, None, None], bias, 1, True, None)
        statistics = ChannelStatistics(-0.3 * high, high, high[0], high[0] ** 2)
        activation, channel_scales = candidates.input_scales(convolution, statistics, 1.0)
        inputs = np.rint(high * channel_scales) + activation.zero_point
        assert inputs.min() >= 0
        assert inputs.max() <= 255
        integers.append((inputs, rounding.nearest(convolution.divided_weight(channel_scales)).integers))
    np.testing.assert_array_equal(integers[0][0], integers[1][0])
    np.testing.assert_array_equal(integers[0][1], integers[1][1])


def test_uneven_channels_lose_no_more_where_four_bits_become_eight() -> None:
    """Even channels need no channel scales there, uneven ones get them."""
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(24, 64, 1, 1)).astype(np.float32)
    uneven = np.exp2(rng.uniform(-4, 4, 64)).astype(np.float32)
    errors, channel_scales = [], []
    for factor in (np.ones(64, np.float32), uneven):
        bias = np.zeros(24, np.float32)
        convolution = Convolution("one", "in", "out", weight / factor[:, None, None], bias, 1, True, None)
        wide = np.tile(3 * factor, (8, 1))
        entering = ChannelStatistics(-wide, wide, np.zeros(64), np.square(factor, dtype=np.float64))
        tried = candidates.for_convolution(convolution, {"in": entering}, "int4")
        layer = candidates.in_eight_bits(tried, {"in": entering})
        assert layer.weight.bits == 8
        errors.append(layer.weight_error(entering.mean_square))
        channel_scales.append(layer.channel_scales)
    assert channel_scales[0] is None
    assert channel_scales[1] is not None
    assert errors[1] < 1.2 * errors[0]


def test_the_noisiest_convolutions_stay_as_they_are_within_the_budget() -> None:
    """Two fit into the budget of weights. Each other gets the simplest candidate quiet enough, or the quietest."""
    noise = {
        "a": [0.5, 0.4, 0.45], "b": [0.3, 0.2, 0.2], "c": [1e-9, 1e-12, 1e-13], "d": [0.1, 0.1, 0.1],
        "e": [0.1, 0.009, 0.002],
    }  # fmt: skip
    weights = {"a": 50, "b": 5, "c": 35, "d": 5, "e": 5}
    tried = {
        name: [allocation.Candidate(share, extra_scales) for extra_scales, share in enumerate(shares)]
        for name, shares in noise.items()
    }
    budget = allocation.Budget(noise=0.05, weights=0.12, macs=1.0)
    sizes = {name: allocation.Size(count, 1, name) for name, count in weights.items()}
    allocations = allocation.allocate(tried, sizes, budget)
    indices = {name: allocated.candidate for name, allocated in allocations.items()}
    assert indices == {"a": 1, "b": None, "c": 0, "d": None, "e": 1}


def effects_of(changes: dict[str, list[list[float]]], logit_diffs: list[float]) -> sensitivities.Effects:
    """`changes` has by convolution what each of its candidates adds to each of the logit differences."""
    tensors = {name: torch.tensor(each) for name, each in changes.items()}
    return sensitivities.Effects(torch.tensor(logit_diffs), float(torch.tensor(logit_diffs).var()), tensors)


def spared(
    changes: dict[str, list[list[float]]],
    logit_diffs: list[float],
    unit_of: dict[str, str] | None = None,
    noise: float = 0.001,
) -> set[str]:
    """The layers that get their second candidate, the spare, where each would otherwise get its first one."""
    tried = {
        name: [allocation.Candidate(noise / (1 + 9 * index), 0, spare=index == 1) for index in range(len(of_layer))]
        for name, of_layer in changes.items()
    }
    sizes = {name: allocation.Size(1, 1, (unit_of or {}).get(name, name)) for name in changes}
    before = allocation.allocate(tried, sizes, allocation.Budget(noise=1.0, weights=0.0, macs=0.0))
    assert {of.candidate for of in before.values()} == {0}, "whatever its noise"
    after = allocation.with_spares(before, tried, effects_of(changes, logit_diffs), sizes)
    assert all(of.noise == pytest.approx(noise / 10 if of.candidate else noise) for of in after.values())
    return {name for name, of in after.items() if of.candidate == 1}


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_layers_that_move_p_fake_together_compute_in_float_until_it_stays(sign: float) -> None:
    """Two layers draw answers to the middle, a third one back out; a fourth has no spare."""
    inwards, outwards, none = [-0.1 * sign, 0.1 * sign], [0.02 * sign, -0.02 * sign], [0.0, 0.0]
    changes = {"a": [inwards, none], "c": [outwards, none], "d": [[0.001, 0.001]]}
    answers = [2.0, -2.0]
    assert spared(changes, answers) == set(), "it moves by less than .02"
    changes |= {"b": [inwards, none], "e": [inwards, none]}
    few = spared(changes, answers)
    assert few < {"a", "b", "e"}, "not all of them, and not the one that draws back"
    assert few
    assert spared(changes, answers, {"a": "a", "b": "a", "e": "a"}) == {"a", "b", "e"}, "a unit goes together"


def test_independent_errors_count_though_they_cancel_out_by_chance() -> None:
    """As they may on few frames, and will not on others."""
    cancelling = {"a": [[-0.5, 0.5], [0.0, 0.0]], "b": [[0.5, -0.5], [0.0, 0.0]]}
    effects = effects_of(cancelling, [1.0, -1.0])
    assert effects.mean_dp(effects.of({"a": 0, "b": 0})) > 0.1
    assert spared(cancelling, [1.0, -1.0]) == {"a", "b"}


def test_noise_counts_where_probabilities_hardly_move() -> None:
    """Logits may be small, or frames saturated: AUC follows the noise all the same."""
    small = {"a": [[0.003, -0.003], [0.0, 0.0]], "b": [[0.0001, 0.0001], [0.0, 0.0]]}
    assert spared(small, [0.01, -0.01]) == {"a"}
    saturated = {"a": [[0.0, 12.0, 0.0], [0.0] * 3], "b": [[0.001] * 3, [0.0] * 3]}
    assert spared(saturated, [-6.0, 20.0, 6.0]) == {"a"}


def test_spares_that_leave_more_are_not_taken_nor_such_as_do_not_suffice() -> None:
    assert spared({"a": [[0.3, -0.3], [0.4, -0.4]]}, [1.0, -1.0]) == set()
    half = {"a": [[0.5, -0.5], [0.3, -0.3]]}
    assert spared(half, [1.0, -1.0]) == set(), "it would cost speed, and P(fake) is another one all the same"
    most = {"a": [[2.0, -2.0], [0.2, -0.2]]}
    assert spared(most, [1.0, -1.0]) == {"a"}


def test_errors_add_up_with_their_signs() -> None:
    changes = {name: [[-0.1, 0.1]] for name in "abcd"}
    effects = effects_of(changes, [1.0, -1.0])
    of_all = effects.of(dict.fromkeys(changes, 0))
    expected = 1 / (1 + np.exp(-1.0)) - 1 / (1 + np.exp(-0.6))
    assert effects.mean_dp(of_all) == pytest.approx(expected, rel=1e-4)
    assert effects.noise_of(of_all) == pytest.approx(4 * 0.01 / 2)
    assert effects.mean_dp(effects.of({})) == 0


@pytest.mark.parametrize(
    ("macs", "in_float"), [({"a": 1, "b": 1, "c": 1, "d": 7}, {"a", "b"}), ({"a": 1, "b": 4, "c": 1, "d": 7}, {"c"})]
)
def test_layers_that_share_bytes_stay_in_float_together(macs: dict[str, int], in_float: set[str]) -> None:
    """Or, where all of them are too many, not at all."""
    noise = {"a": 0.01, "b": 0.4, "c": 0.2, "d": 0.01}
    tried = {name: [allocation.Candidate(share, 0)] for name, share in noise.items()}
    sizes = {name: allocation.Size(1, macs[name], "a" if name in "ab" else name) for name in noise}
    allocations = allocation.allocate(tried, sizes, allocation.Budget(noise=0.25, weights=1.0, macs=0.2))
    assert {name for name, allocated in allocations.items() if allocated.candidate is None} == in_float


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "int4"}, "weights: int4"),
        ({"dtype": "int2"}, "int8"),
        ({"weights": "int2"}, "int4"),
        ({"dtype": "int8", "weights": "int8"}, "one of them"),
    ],
)
def test_settings_that_do_not_exist(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quantize.Settings.model_validate(settings)


def test_a_network_that_overflows_is_refused() -> None:
    detector = shallow()
    with torch.no_grad():
        next(iter(detector.backbone.parameters())).fill_(1e38)
    with pytest.raises(UserError, match="not finite"):
        quantize.apply(detector, quantize.Settings(), calibration())


def test_outputs_that_are_dead_or_nearly_keep_their_bias() -> None:
    """Integer kernels add 32-bit biases in units of the scales: scales of tiny weights must not be tiny too."""
    detector = shallow()
    norm = detector.get_submodule("backbone.1.depthwise.1")
    assert isinstance(norm, torch.nn.BatchNorm2d)
    with torch.no_grad():
        for channel, gamma in enumerate((0.0, 1e-10, 1e-8, 1e-6)):
            norm.weight[channel] = gamma
            norm.bias[channel] = 3.0
    expected = b0.margin(b0.run(to_onnx(detector), b0.frames(16, seed=7))[0])
    model = quantize.apply(detector, quantize.Settings(), calibration())
    logit_diff = b0.margin(b0.run(lowering.lower(model), b0.frames(16, seed=7))[0])
    assert np.sqrt(np.square(logit_diff - expected).mean()) < 0.1 * expected.std()


@pytest.mark.parametrize(
    ("inputs", "block"), [(64, 64), (192, 64), (144, 72), (27, 27), (240, 60), (304, 76), (536, 67), (8, 8), (521, 521)]
)
def test_blocks_of_four_bits_are_never_cut_off(inputs: int, block: int) -> None:
    assert rounding.block_size(inputs) == block
    weight = np.random.default_rng(0).normal(size=(4, inputs, 1, 1)).astype(np.float32)
    rounded = rounding.nearest(weight, 4)
    assert (rounded.scales.shape, rounded.block) == ((4, inputs // block), block)
    assert np.abs(rounded.floats() - weight).max() <= 0.51 * rounded.scales.max()


def test_blocks_of_the_file_divide_its_weights() -> None:
    detector = shallow()
    model = quantize.apply(detector, quantize.Settings(weights="int4"), calibration())
    stored = {value.name: value for value in model.graph.initializer}
    blocks = 0
    for node in model.graph.node:
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        if "block_size" in attributes:
            blocks += 1
            assert stored[node.input[0]].dims[1] == attributes["block_size"] * stored[node.input[1]].dims[1]
    assert blocks


@pytest.mark.parametrize("frames", [8, 24])
def test_as_many_frames_are_read_as_were_asked_for(frames: int) -> None:
    paths: list[str] = []
    work = calibration()

    def read(listed: Sequence[Frame], spec: InputSpec, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        paths.extend(frame.path for frame in listed)
        return work.read(listed, spec, batch_size)

    detector = shallow()
    quantize.apply(detector, quantize.Settings(frames=frames), replace(work, read=read))
    assert len(set(paths)) == frames


def test_four_bits_survive_a_block_of_zeros() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 192, 1, 1)).astype(np.float32)
    weight[1, :64] = 0
    floats = rounding.compensated(weight, np.eye(192, dtype=np.float32), 4).floats()
    assert np.isfinite(floats).all()
    assert np.abs(floats - weight).max() < 0.5


@pytest.mark.slow
def test_every_flavour_of_padding_is_quantised() -> None:
    detector = shallow()
    stem: Any = detector.get_submodule("backbone.0")
    stem[0] = Conv2dSame(3, 32, 3, stride=2, bias=False)
    model = quantize.apply(detector, quantize.Settings(), calibration())
    assert b0.facts(model)["stored"] == "int8"


def test_few_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 8"):
        quantize.Settings.model_validate({"frames": 7})


@pytest.mark.slow
def test_frames_that_look_all_the_same_are_refused() -> None:
    same = replace(calibration(), read=lambda frames, spec, size: iter([np.repeat(b0.frames(1), len(frames), 0)]))
    with pytest.raises(UserError, match="says the same of all"):
        quantize.apply(b0.detector(), quantize.Settings(), same)


def test_a_network_that_rounding_would_destroy_is_refused() -> None:
    convolution = observe.convolutions(onnx.shape_inference.infer_shapes(to_onnx(shallow())))[0]
    layer = Layer(convolution, rounding.nearest(convolution.weight))
    effects = effects_of({"a": [[3.0, -3.0]], "b": [[0.1, -0.1]]}, [1.0, -1.0])
    budget = allocation.Budget(noise=0.05, weights=0.12, macs=1.0)
    allocations = allocation.among_layers({"a": [layer], "b": [layer]}, effects, {"a": 1, "b": 1}, budget)
    with pytest.raises(UserError, match=r"change the logit difference by 4\.5 times.*weights: int8"):
        allocation.without(allocations, (), budget)
    assert allocation.without(allocations, ["a"], budget)["a"] == allocation.Allocation(None, 0.0)


@pytest.mark.slow
def test_every_library_of_linear_algebra_is_kept_to_one_thread() -> None:
    """SciPy's is another than NumPy's, and a fresh process has not loaded it yet."""
    program = """if True:
        import threadpoolctl
        from bench.variants.layers.compensation import one_thread
        with one_thread():
            from scipy import linalg
            pools = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
        print(len(pools), {pool["num_threads"] for pool in pools})
    """
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    count, threads = printed.split(maxsplit=1)
    assert int(count) > 0
    assert threads.strip() == "{1}"
