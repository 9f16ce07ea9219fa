"""A graph that was traced for another detector of the same structure, filled, is the graph of this detector."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from bench.artifacts import tracing
from bench.artifacts.onnx_export import to_onnx
from bench.detectors.detector import Detector
from bench.detectors.heads.gap_linear import GapLinear
from tests.support import b0, families, tiny


@pytest.fixture(autouse=True)
def no_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_templates", type(tracing._templates)())


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by an architecture whenever torch traces a network."""
    traced: list[str] = []
    trace = tracing._traced

    def count(network: Detector) -> onnx.ModelProto:
        traced.append(network.architecture)
        return trace(network)

    monkeypatch.setattr(tracing, "_traced", count)
    return traced


def _tiny() -> Detector:
    torch.manual_seed(0)
    return tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))


def _family(architecture: str) -> Detector:
    torch.manual_seed(0)
    return families.build(architecture, "timm", families.PREPROCESSING)


def _pruned() -> Detector:
    """Half of the channels between the first block's expansion and its projection."""
    detector = _tiny()
    block = detector.get_submodule("backbone.1")
    with torch.no_grad():
        for convolution in ("expand.0", "depthwise.0", "gate.expand"):
            module: Any = block.get_submodule(convolution)
            module.weight = nn.Parameter(module.weight[:32])
            if module.bias is not None:
                module.bias = nn.Parameter(module.bias[:32])
        for convolution in ("gate.reduce", "project.0"):
            module = block.get_submodule(convolution)
            module.weight = nn.Parameter(module.weight[:, :32])
        for norm in ("expand.1", "depthwise.1"):
            whole = block.get_submodule(norm)
            half = nn.BatchNorm2d(32).eval()
            for name, tensor in half.state_dict().items():
                if tensor.ndim:
                    tensor.copy_(whole.state_dict()[name][:32])
            block.set_submodule(norm, half)
        depthwise: Any = block.get_submodule("depthwise.0")
        depthwise.groups = 32
    return detector


def _zeros_and_twins() -> Detector:
    """What a fold by value could confuse: weights that are zero, one, and equal to each other."""
    detector = _tiny()
    with torch.no_grad():
        detector.get_parameter("backbone.1.project.0.weight").zero_()
        detector.get_parameter("backbone.1.depthwise.0.weight").fill_(1)
        for norm in ("backbone.1.expand.1", "backbone.1.depthwise.1"):
            for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
                detector.get_submodule(norm).state_dict()[name].fill_(value)
    return detector


DETECTORS: dict[str, Callable[[], Detector]] = {
    "tiny": _tiny,
    "pruned": _pruned,
    "zeros": _zeros_and_twins,
    "half": lambda: _tiny().half(),
    "bfloat16": lambda: _tiny().bfloat16(),
    **{architecture: partial(_family, architecture) for architecture in families.ARCHITECTURES},
    "efficientnet_b0": b0.detector,
}


def _other(detector: Detector) -> Detector:
    """The same structure with other weights."""
    other = copy.deepcopy(detector)
    generator = torch.Generator().manual_seed(9)
    for tensor in (*other.parameters(), *(buffer for buffer in other.buffers() if buffer.is_floating_point())):
        tensor.data = (torch.rand(tensor.shape, generator=generator) + 0.1).to(tensor)
    return other


def _by_torch(detector: Detector) -> onnx.ModelProto:
    """What torch's exporter and its optimiser make of the network with its weights."""
    network = copy.deepcopy(detector).float()
    network.preprocess = type(network.preprocess)(detector.preprocessing)
    size = detector.preprocessing.size
    with tracing.quiet():
        program = torch.onnx.export(
            network, (torch.zeros(2, 3, size, size, dtype=torch.uint8),), dynamo=True, opset_version=tracing.OPSET,
            input_names=["frames"], output_names=["logits", "cam"], dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
        )  # fmt: skip
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


def _read(model: onnx.ModelProto) -> Iterator[tuple[str, list[str], list[NDArray[Any]]]]:
    """Node by node: what it computes, how, and the constants that it reads."""
    constants = {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}
    for node in model.graph.node:
        how = sorted(str(attribute) for attribute in node.attribute)
        yield node.op_type, how, [constants[name] for name in node.input if name in constants]


@pytest.mark.parametrize(
    "name",
    [
        "tiny",
        "pruned",
        *(pytest.param(name, marks=pytest.mark.slow) for name in DETECTORS if name not in ("tiny", "pruned")),
    ],
)
def test_filled_equals_what_torch_exports(name: str, traces: list[str]) -> None:
    detector = DETECTORS[name]()
    to_onnx(_other(detector))
    filled = list(_read(to_onnx(detector)))
    assert len(traces) == 1
    fresh = list(_read(_by_torch(detector)))
    assert [(kind, how) for kind, how, _ in filled] == [(kind, how) for kind, how, _ in fresh]
    for (kind, _, weights), (_, _, torch_weights) in zip(filled, fresh, strict=True):
        # Torch's optimiser drops a bias of zeros, so that there the graph hangs on the weights' values.
        assert not any(bias.any() for bias in weights[len(torch_weights) :]), kind
        assert len(weights) - len(torch_weights) in ((0, 1) if kind == "Conv" else (0,)), kind
        for array, torch_array in zip(weights, torch_weights, strict=False):
            assert array.dtype == torch_array.dtype
            np.testing.assert_allclose(
                array, torch_array, rtol=2e-5, atol=1e-6 * max(1e-3, float(np.abs(torch_array).max()))
            )


@pytest.mark.parametrize(
    "name", ["tiny", *(pytest.param(name, marks=pytest.mark.slow) for name in ("pruned", "zeros", "half"))]
)
def test_same_bytes_whoever_was_traced_first(name: str) -> None:
    detector = DETECTORS[name]()
    to_onnx(_other(detector))
    filled = to_onnx(detector).SerializeToString(deterministic=True)
    tracing._templates.clear()
    assert to_onnx(detector).SerializeToString(deterministic=True) == filled


@pytest.mark.slow
def test_templates_hold_no_weights() -> None:
    to_onnx(_zeros_and_twins())
    first = next(iter(tracing._templates.values())).SerializeToString(deterministic=True)
    tracing._templates.clear()
    to_onnx(_tiny())
    assert next(iter(tracing._templates.values())).SerializeToString(deterministic=True) == first
    assert len(first) < 100_000


class _Scaled(nn.Module):
    """Arithmetic on weights: standardised ones, a tensor that is no parameter, and two norms on tied weights."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, bias=False)
        self.again = nn.Conv2d(3, 8, 3, bias=False)
        self.again.weight = self.first.weight
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2))
        self.factor = torch.tensor(factor)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.first.weight - self.first.weight.mean((1, 2, 3), keepdim=True)
        standardised = nn.functional.conv2d(x, weight * self.factor)
        twice: Tensor = standardised + self.norms[0](self.first(x)) + self.norms[1](self.again(x / 2))
        read_twice = self.first(x / 3)
        total: Tensor = twice + read_twice + self.norms[0](read_twice)
        return total


def _scaled(factor: float = 2.0) -> Detector:
    torch.manual_seed(1)
    detector = tiny.lively(Detector("scaled", "tiny", tiny.PREPROCESSING, _Scaled(factor), GapLinear(8)).eval())
    with torch.no_grad():
        detector.get_parameter("backbone.norms.1.weight").mul_(3)
    return detector


def test_arithmetic_on_weights_is_worked_out_for_every_detector(traces: list[str]) -> None:
    to_onnx(_other(_scaled()))
    model = to_onnx(_scaled())
    assert len(traces) == 1
    operators = [node.op_type for node in model.graph.node]
    # The norm of a convolution that others read too stays.
    assert operators.count("BatchNormalization") == 1
    # Of the weights' own mean nothing is left but that over places, before the head.
    assert operators.count("ReduceMean") == 1
    batch = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    with torch.inference_mode():
        expected = _scaled()(torch.from_numpy(batch))
    for onnx_output, torch_output in zip(b0.run(model, batch), expected, strict=True):
        np.testing.assert_allclose(onnx_output, torch_output.numpy(), rtol=1e-4, atol=1e-4)


def _changed(change: Callable[[Detector], object]) -> Detector:
    detector = _scaled()
    change(detector)
    return detector


@pytest.mark.parametrize(
    "other",
    [
        lambda: _scaled(3.0),
        lambda: _changed(lambda d: setattr(d.get_submodule("backbone.norms.0"), "eps", 1e-3)),
        lambda: _changed(lambda d: setattr(d.get_submodule("backbone.first"), "stride", (2, 2))),
        lambda: _changed(
            lambda d: d.backbone.register_module("again", copy.deepcopy(d.get_submodule("backbone.again")))
        ),
    ],
    ids=["tensor", "eps", "stride", "untied"],
)
def test_other_structures_are_told_apart(other: Callable[[], Detector]) -> None:
    assert tracing.structure(_scaled()) == tracing.structure(_scaled())
    assert tracing.structure(other()) != tracing.structure(_scaled())


def test_padding_and_pruning_are_structure() -> None:
    keys = [tracing.structure(detector) for detector in (_tiny(), _pruned(), _zeros_and_twins())]
    assert keys[0] == keys[2] != keys[1]
    padded = _tiny()
    stem: Any = padded.get_submodule("backbone.0.0")
    stem.pad = (1, 0, 1, 0)
    assert tracing.structure(padded) != keys[0]


@pytest.mark.slow
def test_what_cannot_be_compared_is_traced_anew(traces: list[str]) -> None:
    detector = _tiny()
    detector.backbone.register_forward_hook(lambda module, read, written: written * 2)
    assert tracing.structure(detector) is None
    doubled = b0.run(to_onnx(detector), np.zeros((1, 3, 32, 32), np.uint8))[1]
    single = b0.run(to_onnx(_tiny()), np.zeros((1, 3, 32, 32), np.uint8))[1]
    np.testing.assert_allclose(doubled, 2 * single, rtol=1e-4)
    assert len(traces) == 2


@pytest.mark.slow
def test_few_templates_are_kept(monkeypatch: pytest.MonkeyPatch, traces: list[str]) -> None:
    monkeypatch.setattr(tracing, "_MOST_TEMPLATES", 1)
    for detector in (_tiny(), _pruned(), _tiny()):
        to_onnx(detector)
    assert len(tracing._templates) == 1
    assert len(traces) == 3
