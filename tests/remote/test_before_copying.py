"""What can be said in a moment is said before anything is copied, which may take hours."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.remote import Store
from tests.support.bad_input_cases import yaml
from tests.support.command_line import bench

FRAMES = ("{path: faces}", '{path: "s3://bucket/faces"}')
WEIGHTS = ("weights: best_model.tar", 'weights: "s3://bucket/best.tar"')
TRAINING = """
trainings:
  b0: {architecture: tiny, frames: [faces], preprocessing: {preset: fsbi, size: 32}, tensorboard: true,
       weights: "s3://bucket/best.tar"}
"""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that are asked for."""
    names: list[str] = []

    def noted(self: Store, address: str) -> None:
        names.append(address)
        raise AssertionError("a store is asked")

    monkeypatch.setattr(Store, "__init__", noted)
    return names


@pytest.mark.parametrize("address", [FRAMES, WEIGHTS], ids=["frames", "weights"])
@pytest.mark.parametrize(
    ("change", "arguments", "words"),
    [
        (("baseline: []", "baseline: []\n      q: [quantize: int8, prune: 0.5]"), (), "first.variants.q"),
        (("baseline: []", "baseline: []\n      p: [{import: {file: gone.onnx}}]"), (), "gone.onnx"),
        (("device: cpu", "device: cpu"), ("--device", "cuda"), "no CUDA device"),
        (("datasets:", "datasets:\n  other: {path: nowhere}"), (), "nowhere"),
    ],
    ids=["step", "file of a step", "device", "frames here"],
)
def test_nothing_is_copied_where_a_run_would_be_refused(
    address: tuple[str, str], change: tuple[str, str], arguments: tuple[str, ...], words: str,
    workplace: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(workplace)
    monkeypatch.setattr("bench.pipeline.device.cuda_devices", lambda: ())
    yaml(*address)(workplace)
    yaml(*change)(workplace)
    if words == "nowhere":
        yaml("frames: faces", "frames: [faces, other]")(workplace)
    code, output = bench("run", *arguments)
    assert code == 2, output
    assert words in output
    assert not asked


def test_nothing_is_copied_where_a_training_would_be_refused(
    workplace: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)
    yaml(*FRAMES)(workplace)
    file = workplace / "experiments.yaml"
    file.write_text(file.read_text() + TRAINING)
    monkeypatch.setitem(__import__("sys").modules, "tensorboard", None)
    code, output = bench("train", "b0")
    assert code == 2, output
    assert "bench[tensorboard]" in output
    assert not asked
