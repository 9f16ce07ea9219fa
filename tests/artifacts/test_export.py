"""The ONNX file of a detector computes what the detector computes, and says all that an inference needs."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from bench.artifacts.onnx_export import to_onnx
from bench.records import as_inputs
from tests.support import b0


@pytest.mark.parametrize("count", [1, 3, 8])
def test_equals_torch_at_any_batch_size(count: int) -> None:
    batch = b0.frames(count, seed=count)
    with torch.inference_mode():
        expected_logits, expected_cam = b0.detector()(torch.from_numpy(batch))
    logits, cam = b0.run(b0.model(), batch)
    assert logits.shape == (count, 2)
    assert logits.dtype == cam.dtype == np.float32
    np.testing.assert_allclose(logits, expected_logits.numpy(), atol=1e-4)
    np.testing.assert_allclose(cam, expected_cam.numpy(), atol=1e-4)


def test_outputs_vary() -> None:
    assert b0.run(b0.model(), b0.frames(8))[0].std(axis=0).min() > 0.1


def test_margin_equation() -> None:
    logits, cam = b0.run(b0.model(), b0.frames(8))
    margin = cam.mean((1, 2)) + float(b0.facts(b0.model())["margin_bias"])
    np.testing.assert_allclose(margin, b0.margin(logits), atol=1e-4)


def test_says_all_that_an_inference_needs() -> None:
    metadata = b0.facts(b0.model())
    assert metadata["architecture"] == "efficientnet_b0"
    assert metadata["classes"] == "real,fake"
    assert metadata["input_size"] == str(b0.SIZE)
    assert float(metadata["margin_bias"]) == pytest.approx(-0.7)
    fields = as_inputs(b0.detector().preprocessing)
    assert json.loads(metadata["preprocessing"]) == json.loads(json.dumps(fields))


def test_same_bytes_twice_in_silence_and_detector_untouched(capfd: pytest.CaptureFixture[str]) -> None:
    first = b0.model().SerializeToString()
    before = {name: tensor.clone() for name, tensor in b0.detector().state_dict().items()}
    capfd.readouterr()
    assert to_onnx(b0.detector()).SerializeToString() == first
    assert capfd.readouterr() == ("", "")
    assert all(torch.equal(before[name], tensor) for name, tensor in b0.detector().state_dict().items())


def test_half_weights_are_upcast() -> None:
    half = copy.deepcopy(b0.detector()).half()
    upcast = copy.deepcopy(half).float()
    upcast.preprocess = b0.detector().preprocess
    exported = to_onnx(half)
    with torch.inference_mode():
        expected, _ = upcast(torch.from_numpy(b0.frames(3)))
    np.testing.assert_allclose(b0.run(exported, b0.frames(3))[0], expected.numpy(), atol=1e-4)
    assert {value.data_type for value in exported.graph.initializer} <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}


def test_tells_nothing_of_the_machine_and_is_folded() -> None:
    data = b0.model().SerializeToString()
    for trace in (str(Path.cwd()), str(Path.home()) + os.sep, "site-packages", "detector.py", "stack_trace"):
        assert trace.encode() not in data
    operators = [node.op_type for node in b0.model().graph.node]
    assert "BatchNormalization" not in operators
    assert operators.count("Pad") == 1  # the wavelet's reflection; the convolutions' own are attributes
    weights = sum(4 * int(np.prod(value.dims)) for value in b0.model().graph.initializer)
    assert len(data) < weights + 100_000


def test_names_come_from_the_network() -> None:
    names = [node.name for node in b0.model().graph.node]
    assert len(set(names)) == len(names)
    assert {"backbone.conv_stem", "backbone.blocks.3.1.conv_dw", "backbone.blocks.3.1.se.conv_reduce", "head"} <= {
        *names
    }
    onnx.checker.check_model(b0.model(), full_check=True)
