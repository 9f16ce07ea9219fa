"""ONNX files that can't be judged, each written by a function of the folder it lies in: for bad_input_cases.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from bench.detectors.detector import Detector
from tests.support import foreign, tiny

FILE = "x.onnx"


@cache
def _detector() -> Detector:
    torch.manual_seed(0)
    return tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))


def written(change: Callable[[onnx.ModelProto], object] = lambda model: None) -> Callable[[Path], None]:
    """Float frames in, two logits out, and then something changed."""

    def write(folder: Path) -> None:
        model = foreign.network(_detector())
        change(model)
        onnx.save(model, folder / FILE)

    return write


def sound(folder: Path) -> None:
    """Nothing is wrong with it."""
    onnx.save(foreign.network(_detector()), folder / FILE)


def made(make: Callable[[Detector], onnx.ModelProto]) -> Callable[[Path], None]:
    """One of the kinds of `foreign`."""
    return lambda folder: onnx.save(make(_detector()), folder / FILE)


def cut(folder: Path) -> None:
    written()(folder)
    (folder / FILE).write_bytes((folder / FILE).read_bytes()[:-999])


def with_input(*sides: object) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, sides))  # type: ignore[arg-type]

    return change


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["n", 1]))


def second_output(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Identity", ["y"], ["again"]))
    model.graph.output.append(helper.make_tensor_value_info("again", TensorProto.FLOAT, ["n", 2]))


def labels(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("ArgMax", ["y"], ["label"], axis=1, keepdims=0))
    model.graph.ClearField("output")
    model.graph.output.append(helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]))


def with_temperature(model: onnx.ModelProto) -> None:
    factor = foreign.constant(model, "t", np.float32(2))
    foreign.with_output(model, [helper.make_node("Mul", ["y", factor], ["scores"])], ["n", 2])


def custom_operator(model: onnx.ModelProto) -> None:
    model.graph.node[-1].domain = "ai.vendor"
    model.opset_import.append(helper.make_opsetid("ai.vendor", 1))


def new_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 99


def not_a_number(model: onnx.ModelProto) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "head.weight")
    array = numpy_helper.to_array(tensor).copy()
    array.flat[0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def weights_apart(location: str) -> Callable[[Path], None]:
    """Weights in a file of this name, which is not there."""

    def write(folder: Path) -> None:
        model = foreign.network(_detector())
        onnx.external_data_helper.convert_model_to_external_data(model, location="x.data", size_threshold=0)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
        (folder / FILE).write_bytes(model.SerializeToString())

    return write
