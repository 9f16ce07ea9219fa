"""`bench export --triton`: config.pbtxt as Triton reads it, the ONNX file that it describes, and what is refused."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from google.protobuf import text_format  # type: ignore[import-untyped]
from onnx import TensorProto, helper

from bench import datasets
from bench.commands.export import triton
from bench.errors import UserError
from bench.records import Measurement, VariantResult
from bench.results.store import read_run
from tests.conftest import quick_folder, write_workplace
from tests.support.command_line import bench

ONNX_TYPES = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32"}


def protobuf() -> Any:
    """Triton's own messages; the package around them wants gRPC, which they do not."""
    spec = importlib.util.find_spec("tritonclient")
    assert spec is not None
    assert spec.submodule_search_locations
    file = Path(next(iter(spec.submodule_search_locations))) / "grpc" / "model_config_pb2.py"
    module_spec = importlib.util.spec_from_file_location("model_config_pb2", file)
    assert module_spec is not None
    assert module_spec.loader is not None
    if "model_config_pb2" not in sys.modules:
        module = importlib.util.module_from_spec(module_spec)
        module_spec.loader.exec_module(module)
        sys.modules["model_config_pb2"] = module
    return sys.modules["model_config_pb2"]


def parsed(file: Path) -> Any:
    return text_format.Parse(file.read_text(encoding="utf-8"), protobuf().ModelConfig())


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of a baseline, an fp16 and an int8 variant."""
    with quick_folder(tmp_path_factory, "triton") as folder:
        write_workplace(folder)
        text = (folder / "experiments.yaml").read_text(encoding="utf-8").partition("    variants:")[0]
        variants = "{baseline: [], q16: [cast: fp16], q8: [quantize: int8]}"
        (folder / "experiments.yaml").write_text(f"{text}    variants: {variants}\n", encoding="utf-8")
        code, output = bench("run")
        assert code == 0, output
        yield folder


@pytest.mark.parametrize("variant", ["q16", "q8"])
def test_config_is_what_the_file_takes_and_gives(variant: str, ran: Path) -> None:
    code, output = bench("export", variant, "--triton", f"models-{variant}")
    assert code == 0, output
    folder = ran / f"models-{variant}" / variant
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) == [
        "1", "1/model.onnx", "config.pbtxt",
    ]  # fmt: skip
    config, types = parsed(folder / "config.pbtxt"), protobuf().DataType
    session = onnxruntime.InferenceSession(folder / "1/model.onnx", providers=["CPUExecutionProvider"])
    assert (config.name, config.platform) == (variant, "onnxruntime_onnx")
    for described, real in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        assert [each.name for each in described] == [each.name for each in real]
        assert [types.Name(each.data_type) for each in described] == [ONNX_TYPES[each.type] for each in real]
        assert [list(each.dims) for each in described] == [each.shape[1:] for each in real]
    assert config.input[0].name == "frames"
    assert list(config.input[0].dims) == [3, 32, 32]
    assert [each.name for each in config.output] == ["logits", "cam"]
    assert config.HasField("dynamic_batching")
    largest = max([config.max_batch_size, *config.dynamic_batching.preferred_batch_size])
    assert largest == config.max_batch_size
    assert config.instance_group[0].kind == protobuf().ModelInstanceGroup.KIND_CPU


def test_the_file_gives_the_scores_of_the_run(ran: Path) -> None:
    bench("export", "q8", "--triton", "scored")
    predictions = pd.read_parquet(ran / "results/first/q8/predictions.parquet")
    test = predictions[predictions["split"] == "test"].head(8)
    preprocessing = read_run(ran / "results/first").preprocessing
    assert preprocessing is not None
    frames = [datasets.decode(ran / "faces/test" / path, preprocessing.input_spec) for path in test["frame"]]
    session = onnxruntime.InferenceSession(ran / "scored/q8/1/model.onnx", providers=["CPUExecutionProvider"])
    batch = np.ascontiguousarray(np.stack(frames).transpose(0, 3, 1, 2))
    logits = session.run(["logits"], {"frames": batch})[0]
    p_fake = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    np.testing.assert_allclose(p_fake, test["p_fake"], atol=1e-3)


def test_a_model_that_is_there_stays(ran: Path) -> None:
    assert bench("export", "baseline", "--triton", "taken")[0] == 0
    before = (ran / "taken/baseline/config.pbtxt").stat()
    code, output = bench("export", "baseline", "--triton", "taken")
    assert code == 2
    assert "is there already" in output
    assert (ran / "taken/baseline/config.pbtxt").stat() == before
    assert bench("export", "q8", "--triton", "taken")[0] == 0
    assert sorted(path.name for path in (ran / "taken").iterdir()) == ["baseline", "q8"]


def variant(*curve: tuple[int, float]) -> VariantResult:
    """A variant that was timed: milliseconds a call by batch size."""
    times = tuple(Measurement("onnxruntime", "cpu", size, ((ms, ms, ms),)) for size, ms in curve)
    return VariantResult("q8", "0" * 16, (), "ok", None, measurements=times)


@pytest.mark.parametrize(
    ("curve", "preferred", "most", "delay_us"),
    [
        ([(1, 10.0), (8, 40.0)], (8,), 32, 10_000),
        ([(1, 10.0), (64, 320.0)], (64,), 64, 10_000),
        ([(1, 10.0), (4, 30.0), (16, 100.0)], (4, 16), 32, 10_000),
        # Twice the frames in twice the time: joining requests wins nothing, so none waits.
        ([(1, 10.0), (2, 20.0)], (), 32, 0),
        ([], (), 32, 0),
    ],
)
def test_batches_follow_the_measured_curve(
    curve: list[tuple[int, float]], preferred: tuple[int, ...], most: int, delay_us: int
) -> None:
    assert triton.batching(variant(*curve)) == triton.Batching(most, preferred, delay_us)


@pytest.mark.parametrize(
    ("kind", "sides", "part"),
    [(TensorProto.BFLOAT16, ["n", 2], "is of type bfloat16"), (TensorProto.FLOAT, [1, 2], "the first is not open")],
)
def test_what_triton_cannot_serve(kind: int, sides: list[Any], part: str, tmp_path: Path) -> None:
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, ["n", 3, 8, 8])
    logits = helper.make_tensor_value_info("logits", kind, sides)
    node = helper.make_node("Cast", ["frames"], ["logits"], to=kind)
    onnx.save(helper.make_model(helper.make_graph([node], "g", [frames], [logits])), tmp_path / "model.onnx")
    facts = {"what": "a", "name": "a", "device": "KIND_CPU", "id": "0", "threshold": "0.5"}
    with pytest.raises(UserError, match=part):
        triton.config(tmp_path / "model.onnx", triton.Batching(1, (), 0), facts)
