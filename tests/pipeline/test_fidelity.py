"""Whether a runtime computes what a quantised artifact says: measured once, kept, shown, marked where it does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from bench import runtimes
from bench.records import Built, Fidelity, Prediction, Preprocessing, Session
from bench.results import fidelity
from bench.runtimes import onnxruntime, openvino
from bench.runtimes.onnxruntime.lowering import Kernels
from bench.system.processor import Processor, processor
from bench.variants.steps import quantize
from tests.support import b0, tiny
from tests.support.command_line import bench
from tests.support.quantised import calibration


class Answers:
    """A session that answers every frame with the margin in its first pixel, disturbed."""

    def __init__(self, disturbance: float = 0.0) -> None:
        self.disturbance = disturbance

    def predict(self, frames: NDArray[np.uint8]) -> Prediction[NDArray[np.float32]]:
        margins = frames[:, 0, 0, 0].astype(np.float32) + self.disturbance
        logits = np.stack([np.zeros_like(margins), margins], 1)
        return Prediction(logits, np.zeros((len(frames), 1, 1), np.float32))


def batches() -> Iterator[NDArray[np.uint8]]:
    for values in ([10, 20, 30], [40]):
        yield np.tile(np.array(values, np.uint8)[:, None, None, None], (1, 3, 4, 4))


def test_differences_are_in_deviations_of_the_references_margins() -> None:
    disturbed: Any = Answers(1.0)
    undisturbed: Any = Answers()
    measured_fidelity = fidelity.measure(disturbed, undisturbed, batches(), "calibration")
    deviation = np.std([10, 20, 30, 40])
    assert (measured_fidelity.mean, measured_fidelity.largest) == pytest.approx((1 / deviation, 1 / deviation))
    assert (measured_fidelity.frames, measured_fidelity.split) == (4, "calibration")


@pytest.mark.parametrize(
    ("errors", "exact"),
    [([0] * 4, True), ([0.039] * 4, True), ([0.041] * 4, False), ([0, 0, 0, 0.15], True), ([0] * 9 + [0.21], False)],
)
def test_bounds(errors: list[float], exact: bool) -> None:
    """In standard deviations: .04 on average and .2 at most."""
    meant = np.resize([-1.0, 1.0], len(errors))
    assert fidelity.compare(meant + np.array(errors) * meant.std(), meant, "test").exact == exact


@pytest.mark.parametrize(
    ("computed", "meant", "exact"),
    [
        ([1.0, 1.0], [1.0, 1.0], None), ([1.0, 1.1], [1.0, 1.0], False), ([1.0, np.nan], [1.0, 2.0], False),
        ([1.0000001] * 4, [1.0] * 4, None), ([1.0, 1.01], [1.0, 1.0 + 1e-7], False), ([2.00001], [2.0], None),
    ],
)  # fmt: skip
def test_margins_that_are_all_equal_or_not_finite(
    computed: list[float], meant: list[float], exact: bool | None
) -> None:
    """There is no unit then: only a difference beyond rounding can be told."""
    compared = fidelity.compare(np.array(computed), np.array(meant), "test")
    assert (compared.mean, compared.largest, compared.exact) == (None, None, exact)


def test_what_was_written_is_read_and_what_was_damaged_is_not(tmp_path: Path) -> None:
    file = tmp_path / "model.fidelity-1.json"
    for stored_fidelity in (Fidelity(0.01, 0.5, 16, "calibration", False), Fidelity(None, None, 3, "test", None)):
        fidelity.write(file, stored_fidelity)
        assert fidelity.read(file) == stored_fidelity
    file.write_text(file.read_text()[:10])
    assert fidelity.read(file) is None
    assert fidelity.read(tmp_path / "absent") is None


@cache
def shallow() -> onnx.ModelProto:
    """An int8 network of few layers: a deep one with random weights amplifies any border between two integers."""
    torch.manual_seed(0)
    detector = tiny.lively(tiny.build("tiny", "tiny", Preprocessing(size=b0.SIZE)))
    return quantize.apply(detector, quantize.Settings(), calibration())


def measured(built: Built, session: Session) -> Fidelity:
    return fidelity.measure(session, onnxruntime.load_reference(built, 1), [b0.frames(16, seed=9)], "test")


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_every_runtime_is_exact_on_this_processor(name: str, tmp_path: Path) -> None:
    if trouble := runtimes.unavailable_reason(name, "cpu"):
        pytest.skip(trouble)
    built = b0.written(tmp_path, shallow(), "int8")
    fidelity_of_session = measured(built, runtimes.find(name).load(built, "cpu", 1))
    assert fidelity_of_session.exact, fidelity_of_session


@pytest.mark.skipif(processor().exact_with_signed_bytes, reason="no kernel saturates on this processor")
@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_runtime_that_saturates_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if trouble := runtimes.unavailable_reason(name, "cpu"):
        pytest.skip(trouble)
    runtime = runtimes.find(name)
    # As they would run where nobody asked the processor.
    monkeypatch.setattr(onnxruntime, "EVERYWHERE", Kernels(signed=True))
    monkeypatch.setattr(openvino, "processor", lambda: Processor("x86_64", "", frozenset({"avx_vnni"})))
    built = b0.written(tmp_path, shallow(), "int8")
    fidelity_of_session = measured(built, runtime.load(built, "cpu", 1))
    assert not fidelity_of_session.exact, fidelity_of_session


# ------------------------------------------------------------------------------------------ in a run
@pytest.fixture
def finished(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workplace)
    text = (workplace / "experiments.yaml").read_text()
    chains = "{baseline: [], q8: [quantize: int8], w8: [quantize: {weights: int8}]}\n"
    (workplace / "experiments.yaml").write_text(text[: text.index("    variants:")] + f"    variants: {chains}")
    code, output = bench("run")
    assert code == 0, output
    return workplace


def fidelity_files(folder: Path) -> dict[str, Path]:
    """The file of each quantised variant."""
    scores = json.loads((folder / "reports/first/scores.json").read_text())["variants"]
    files = {name: list((folder / "variants" / scores[name]["id"]).glob("*.fidelity-*.json")) for name in scores}
    return {
        name: first
        for name, (first, *_) in (
            (name, files_of_variant) for name, files_of_variant in files.items() if files_of_variant
        )
    }


def test_it_is_kept_beside_the_artifact_and_stands_in_scores_and_report(finished: Path) -> None:
    scores = json.loads((finished / "reports/first/scores.json").read_text())["variants"]
    assert scores["baseline"]["fidelity"] is None
    assert set(fidelity_files(finished)) == {"q8", "w8"}
    for name in ("q8", "w8"):
        of_variant = scores[name]["fidelity"]
        assert (of_variant["frames"], of_variant["split"], of_variant["exact"]) == (16, "calibration", True)
        assert 0 <= of_variant["mean"] <= of_variant["largest"]
    report = (finished / "reports/first/report.md").read_text()
    assert f"{scores['q8']['fidelity']['mean']:.3f} (at most" in report
    assert "inexact on this processor" not in report


def test_a_cached_run_measures_nothing_and_one_without_it_measures_alone(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in (finished / "results").rglob("predictions.parquet")}
    stored = fidelity_files(finished)["q8"].read_bytes()
    loads: list[str] = []
    reference = onnxruntime.load_reference

    def load_reference(built: Built, threads: int) -> Any:
        loads.append(built.stored)
        return reference(built, threads)

    monkeypatch.setattr(onnxruntime, "load_reference", load_reference)
    assert bench("run")[0] == 0
    assert loads == []
    fidelity_files(finished)["q8"].unlink()
    assert bench("run")[0] == 0
    assert loads == ["int8"]
    assert fidelity_files(finished)["q8"].read_bytes() == stored
    assert {path: path.read_bytes() for path in before} == before


def test_what_is_inexact_is_marked_beside_its_verdict(finished: Path) -> None:
    fidelity.write(fidelity_files(finished)["q8"], Fidelity(0.078, 0.345, 16, "calibration", False))
    code, output = bench("run")
    assert code == 0, "it is no failure"
    assert "inexact on this processor" in output
    report = (finished / "reports/first/report.md").read_text()
    row = next(line for line in report.splitlines() if line.startswith("| **q8** |") and "inexact" in line)
    off = "its logit difference is off by 0.078 of its deviation on average, 0.345 at most"
    assert f"**inexact on this processor**: {off}" in row
    assert "**q8** is **inexact on this processor**: onnxruntime answers otherwise" in report
    assert "q8 is inexact on this processor: onnxruntime answers otherwise" in " ".join(output.split())
    assert "**inexact**: 0.078 (at most 0.345)" in report
    scores = json.loads((finished / "reports/first/scores.json").read_text())["variants"]
    assert scores["q8"]["fidelity"]["exact"] is False
    assert bench("export", "q8", "--to", "out")[0] == 0
    assert "**inexact on that processor**" in (finished / "out/README.md").read_text()
