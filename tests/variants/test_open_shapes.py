"""Layers whose shapes inference leaves open, as behind a class token that comes late, are quantised all the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from timm.models.convit import ConVit
from timm.models.mobilevit import MobileVitV2Block
from timm.models.xcit import Xcit
from torch import nn

from bench.artifacts import open_shapes
from bench.artifacts.onnx_export import to_onnx
from bench.artifacts.onnx_graph import shapes
from bench.artifacts.onnx_session import session_options
from bench.detectors.detector import Detector
from bench.detectors.heads.gap_linear import GapLinear
from bench.detectors.heads.linear import Linear
from bench.records import Preprocessing
from bench.runtimes.onnxruntime import kernels, lowering
from bench.system.processor import processor
from bench.variants.steps import quantize
from bench.variants.steps.quantize import observe
from tests.support import b0
from tests.support.step_work import frames, work

SIZE, WIDTH = 32, 32


def convit() -> nn.Module:
    """Its class token comes in before the second block."""
    return ConVit(
        img_size=SIZE, patch_size=8, num_classes=2, embed_dim=WIDTH, depth=2, num_heads=4, local_up_to_layer=1
    )


def xcit() -> nn.Module:
    """A last block of class attention, in which only the class token asks."""
    return Xcit(
        img_size=SIZE,
        patch_size=8,
        num_classes=2,
        embed_dim=WIDTH,
        depth=1,
        num_heads=4,
        cls_attn_layers=1,
        eta=1.0,
        use_pos_embed=False,
    )


def lively(network: Any) -> Detector:
    """A detector of such a network, with random weights under which frames differ clearly."""
    classifier = network.head
    network.reset_classifier(0)
    detector = Detector("tests", "", Preprocessing(size=SIZE), network, Linear.of(classifier)).eval()
    with torch.no_grad():
        network.cls_token.zero_()
        for name, module in network.named_modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(std=0.1 if "mlp" in name else 0.3)
        detector.head.weight.normal_()
    return detector


def margins(graph: onnx.ModelProto, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    session: Any = onnxruntime.InferenceSession(
        graph.SerializeToString(), session_options(1), providers=["CPUExecutionProvider"]
    )
    return b0.margin(session.run(["logits"], {"frames": pictures})[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw", "late"),
    [
        (convit, ("blocks.1.attn.qkv", "blocks.1.mlp.fc1")),
        (xcit, ("cls_attn_blocks.0.attn.k", "cls_attn_blocks.0.attn.v")),
    ],
)
def test_layers_behind_a_late_class_token_are_quantised(
    draw: Callable[[], nn.Module], late: Sequence[str], tmp_path: Path
) -> None:
    """And the noise that is expected of them is what is measured."""
    torch.manual_seed(0)
    detector = lively(draw())
    quantised = quantize.apply(detector, quantize.Settings(), work(tmp_path, detector, count=16))
    layers = json.loads(b0.facts(quantised)["layers"])
    assert {name: layers[name][:2] for name in late} == {name: [8, 8] for name in late}
    pictures = frames(16, SIZE, seed=1).numpy()  # those of calibration
    of_float, of_integers = (margins(graph, pictures) for graph in (to_onnx(detector), lowering.lower(quantised)))
    measured = np.square(of_integers - of_float).mean() / of_float.var()
    expected = sum(noise for _, _, noise in layers.values())
    assert measured < 0.05
    assert expected / 4 < measured < 4 * expected


@pytest.mark.slow
def test_maps_that_were_patches_are_quantised_lowered_and_timed(tmp_path: Path) -> None:
    """What comes behind patches that became a map again has sides that inference leaves open."""
    torch.manual_seed(0)
    block = MobileVitV2Block(16, transformer_dim=32, transformer_depth=1)
    network = nn.Sequential(nn.Conv2d(3, 16, 4, stride=4), block, nn.Conv2d(16, 16, 1), nn.SiLU())
    detector = Detector("tests", "", Preprocessing(size=SIZE), network, GapLinear(16)).eval()
    with torch.no_grad():
        detector.head.weight.normal_()
    quantised = quantize.apply(detector, quantize.Settings(), work(tmp_path, detector, count=8))
    layers = json.loads(b0.facts(quantised)["layers"])
    assert layers["1.transformer.0.attn.qkv_proj"][:2] == [8, 8]
    times = kernels.measure(open_shapes.inferred(quantised, 1), processor(), 1)
    assert times.keys() >= {"backbone.1.transformer.0.attn.qkv_proj", "backbone.2"}
    pictures = frames(8, SIZE, seed=1).numpy()
    np.testing.assert_allclose(margins(lowering.lower(quantised), pictures), margins(quantised, pictures), atol=0.05)


def tokens() -> onnx.ModelProto:
    """Three linear layers: on a frame's channels as tokens, on those turned to the front, and with a class token."""
    constants = {
        "weight": np.ones((16, 8), np.float32), "token": np.ones((1, 1, 16), np.float32),
        "first": np.array([0]), "sides": np.array([1, 16]), "flat": np.array([0, 3, 16]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["frames"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["pixels", "flat"], ["tokens"]),
        helper.make_node("MatMul", ["tokens", "weight"], ["of_tokens"], "backbone.plain"),
        helper.make_node("Transpose", ["tokens"], ["turned"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["turned", "weight"], ["of_turned"], "backbone.turned"),
        helper.make_node("Shape", ["frames"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["count"]),
        helper.make_node("Concat", ["count", "sides"], ["expanded"], axis=0),
        helper.make_node("Expand", ["token", "expanded"], ["class"]),
        helper.make_node("Concat", ["class", "tokens"], ["all"], axis=1),
        helper.make_node("MatMul", ["all", "weight"], ["of_all"], "backbone.late"),
    ]
    written = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("of_turned", "of_all")]
    frames_read = helper.make_tensor_value_info("frames", TensorProto.UINT8, ["n", 3, 4, 4])
    stored = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "tests", [frames_read], written, stored)
    opset = helper.make_opsetid("", 18)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def test_shapes_that_inference_leaves_open_are_read_off_runs() -> None:
    assert shapes(onnx.shape_inference.infer_shapes(tokens()).graph).get("all") != [0, 4, 16]
    completed = open_shapes.inferred(tokens(), 1).graph
    sides = shapes(completed)
    assert (sides["all"], sides["tokens"], sides["turned"]) == ([0, 4, 16], [0, 3, 16], [3, 0, 16])
    assert len({value.name for value in completed.value_info}) == len(completed.value_info)


def test_layers_whose_frames_lie_on_another_axis_stay_in_float() -> None:
    layers = observe.convolutions(open_shapes.inferred(tokens(), 1))
    assert [layer.name for layer in layers] == ["backbone.plain", "backbone.late"]
