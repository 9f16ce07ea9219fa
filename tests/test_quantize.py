"""`quantize`: integers in the network, float at both its ends, and scores close to the float model's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from bench.detectors.export import to_onnx
from bench.records import Event, Frame, FrameSet, InputSpec, Preprocessing
from bench.variants.steps import Work, quantize
from tests import b0, tiny

CALIBRATION = 24
EVENTS: list[Event] = []


def work() -> Work:
    """Calibration on frames that no test scores."""
    held = b0.frames(CALIBRATION, seed=100)

    def read(frames: Sequence[Frame], spec: InputSpec, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        yield from (held[start : start + batch_size] for start in range(0, len(frames), batch_size))

    def teacher() -> Any:
        raise AssertionError("quantize has no use for a teacher")

    listed = tuple(Frame(f"{i}.png", Path(f"{i}.png"), None, None, str(i)) for i in range(len(held)))
    return Work(
        title="quantize", spec=InputSpec(b0.SIZE), read=read, teacher=teacher, device="cpu", threads=2, seed=0,
        frames={"calibration": FrameSet("calibration", "calibration", listed, "", "")}, scratch=Path(),
        on_event=EVENTS.append,
    )  # fmt: skip


@cache
def quantised() -> onnx.ModelProto:
    return quantize.apply(b0.detector(), quantize.Settings(), work())


def test_scores_stay_close_to_float() -> None:
    """On a shallow network: a deep one with random weights amplifies any rounding, trained ones do not."""
    detector = tiny.lively(tiny.build("tiny", "tiny", Preprocessing(size=b0.SIZE)))
    expected, expected_cam = b0.run(to_onnx(detector), b0.frames(32, seed=7))
    logits, cam = b0.run(quantize.apply(detector, quantize.Settings(), work()), b0.frames(32, seed=7))
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


def test_every_convolution_of_the_network_and_nothing_else_is_int8() -> None:
    graph = quantised().graph
    stored = {value.name: value for value in graph.initializer}
    producer = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            weight = producer.get(node.input[1])
            assert (weight is not None) == node.name.startswith("backbone."), node.name
            if weight is not None:
                assert stored[weight.input[0]].data_type == TensorProto.INT8
                scales = numpy_helper.to_array(stored[weight.input[1]])
                assert scales.shape == (stored[weight.input[0]].dims[0],)


def test_pool_and_cam_read_the_same_float_tensor() -> None:
    graph = quantised().graph
    producer = {output: node for node in graph.node for output in node.output}
    pooled = producer[producer["logits"].input[0]]
    cam = producer[producer["cam"].input[0]]
    assert pooled.op_type == "ReduceMean"
    assert pooled.input[0] == cam.input[0]
    assert producer[cam.input[0]].op_type == "Mul"


def test_same_interface_and_facts_as_the_float_file() -> None:
    for part in ("input", "output"):
        assert list(getattr(quantised().graph, part)) == list(getattr(b0.model().graph, part))
    assert b0.facts(quantised()) == b0.facts(b0.model()) | {"stored": "int8"}
    onnx.checker.check_model(quantised(), full_check=True)


def test_small_deterministic_and_silent(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    first = quantised().SerializeToString(deterministic=True)
    capfd.readouterr()
    again = quantize.apply(b0.detector(), quantize.Settings(), work()).SerializeToString(deterministic=True)
    assert again == first
    assert capfd.readouterr() == ("", "")
    parameters = sum(parameter.numel() for parameter in b0.detector().parameters())
    assert len(first) < 1.2 * parameters


def test_progress_ends_at_the_last_frame() -> None:
    quantised()
    assert [event.done for event in EVENTS[:3]] == [8, 16, 24]
    assert {event.total for event in EVENTS} == {CALIBRATION}


def test_one_extreme_frame_does_not_coarsen_the_ranges() -> None:
    tensors = ["a"]
    ordinary = np.stack([np.full(64, -1.0), np.full(64, 2.0)])
    ordinary[:, 5] = (-300.0, 500.0)
    (low, high), *_ = quantize.extremes_to_ranges(tensors, ordinary).values()
    assert low > -20
    assert high < 30


def test_settings_know_int8_only() -> None:
    with pytest.raises(ValueError, match="int8"):
        quantize.Settings.model_validate({"dtype": "int4"})
