"""Bad input gets one clear message and exit code 2 before any work, and loses nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from bench import cli, provenance
from tests.conftest import write_frames

Change = Callable[[Path], object]


def bench(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def yaml(old: str, new: str) -> Change:
    """Replace a part of the experiment file that is there."""

    def change(folder: Path) -> None:
        path = folder / "experiments.yaml"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    return change


def whole(text: str) -> Change:
    return lambda folder: folder.joinpath("experiments.yaml").write_text(text, encoding="utf-8")


def remove(name: str) -> Change:
    def change(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def empty(name: str) -> Change:
    def change(folder: Path) -> None:
        for path in (folder / name).rglob("*.png"):
            path.unlink()

    return change


def weights(value: object) -> Change:
    return lambda folder: torch.save(value, folder / "best_model.tar")


def nothing(folder: Path) -> None:
    """Leave everything as it is."""


CASES: list[tuple[str, Change, list[str], list[str]]] = [
    ("no file", remove("experiments.yaml"), [], ["experiments.yaml", "bench init"]),
    ("not YAML", yaml("detectors:", "detectors: [\n"), [], ["line ", "column ", "not valid YAML"]),
    ("tabs", whole("detectors:\n\tmine: 1\n"), [], ["line 2", "not valid YAML"]),
    ("a list", whole("- a\n"), [], ["expected the keys detectors, datasets and experiments"]),
    ("empty", whole(""), [], ["is empty", "bench init"]),
    ("double quotes", yaml("faces: {path: faces}", 'faces: {path: faces, source_pattern: "(id\\d+)"}'), [],
     ["single quotes"]),
    ("variant left empty", yaml("q16: [cast: fp16]", "q16:"), [], ["variants.q16", "a list of steps"]),
    ("a number for keys", yaml("{seconds: 0.02}", "3"), [], ["timing", "{key: value}"]),
    ("--only with nothing", nothing, ["--only", ""], ["names no variant"]),
    ("same key twice", yaml("q16: [cast: fp16]", "q8: [cast: fp16]"), [], ["'q8' stands here twice", "line "]),
    ("unknown key", yaml("device: cpu", "devise: cpu"), [], ["line 10", "experiments.first.devise", "'device'"]),
    ("unknown top key", yaml("detectors:", "detector:"), [], ["detector: unknown key", "'detectors'"]),
    ("unknown nested key", yaml("{seconds:", "{second:"), [], ["timing.second", "did you mean 'seconds'"]),
    ("unknown step", yaml("[cast: fp16]", "[csat: fp16]"), [], ["line 15", "variant 'q16'", "did you mean 'cast'"]),
    ("unknown step setting", yaml("{steps: 2}", "{step: 2}"), [], ["no setting 'step'", "did you mean 'steps'"]),
    ("YAML's 2:4", yaml("[cast: fp16]", "[prune: 2:4]"), [], ["variant 'q16'", "prune", "less than 1", "124"]),
    ("YAML's no", yaml("[cast: fp16]", "[cast: no]"), [], ["cast", "'fp16' or 'bf16'", "False"]),
    ("prune too much", yaml("[cast: fp16]", "[prune: 1.0]"), [], ["prune", "less than 1"]),
    ("unknown architecture", yaml("architecture: tiny", "architecture: efficientnetb5"), [], ["'efficientnet_b5'"]),
    ("unknown preset", yaml("preset: fsbi", "preset: fbsi"), [], ["mine.preprocessing", "did you mean 'fsbi'"]),
    ("unknown preprocessing key", yaml("size: 32", "sice: 32"), [], ["'sice'", "did you mean 'size'"]),
    ("size out of range", yaml("size: 32", "size: 8"), [], ["size must lie between"]),
    ("unknown runtime", yaml("device: cpu", "runtime: onnx"), [], ["did you mean 'onnxruntime'"]),
    ("runtime that cannot", yaml("device: cpu", "device: cpu\n    runtime: pytorch"), [], ["does not execute onnx"]),
    ("unknown device", yaml("device: cpu", "device: gpu"), [], ["experiments.first.device", "'gpu'"]),
    ("threshold out of range", yaml("device: cpu", "threshold: 50"), [], ["threshold", "less than 1", "50"]),
    ("no baseline", yaml("baseline: []", "baseline: [cast: fp16]"), [], ["exactly one variant must have no steps"]),
    ("two baselines", yaml("q16: [cast: fp16]", "q16: []"), [], ["exactly one variant", "baseline, q16"]),
    ("name with a slash", yaml("q16: [", "a/b: ["), [], ["'a/b' cannot be a name"]),
    ("name too long", yaml("q16: [", "q" * 300 + ": ["), [], ["cannot be a name"]),
    ("no such detector", yaml("detector: mine", "detector: mien"), [], ["there is no 'mien'", "did you mean 'mine'"]),
    ("no such frames", yaml("frames: faces", "frames: face"), [], ["there is no 'face'", "did you mean 'faces'"]),
    ("chain that cannot work", yaml("q8: [quantize: int8]", "q8: [quantize: int8, prune: 0.5]"), [],
     ["variants.q8", "prune: 0.5 works on torch models"]),
    ("no such experiment", nothing, ["frist"], ["no experiment 'frist'", "did you mean 'first'"]),
    ("no such variant", nothing, ["--only", "q9"], ["no variant 'q9'", "did you mean"]),
    ("unknown --device", nothing, ["--device", "tpu"], ["--device", "'tpu'"]),
    ("weights missing", remove("best_model.tar"), [], ["detectors.mine.weights", "best_model.tar"]),
    ("weights of something else", weights({"a": torch.zeros(3)}), [], ["left over (1): a", "missing ("]),
    ("weights not finite", weights({"a": torch.full((3,), float("nan"))}), [], ["NaN or infinite", "a"]),
    ("weights that run code", weights({"model": Path("x")}), [], ["refused", "execute code"]),
    ("frames missing", remove("faces"), [], ["faces"]),
    ("test frames missing", remove("faces/test"), [], ["faces", "test"]),
    ("frames empty", empty("faces/test"), [], ["test"]),
    ("one class only", remove("faces/test/fake"), [], ["fake"]),
    ("no calibration frames", remove("faces/calibration"), [], ["variants.q8", "needs calibration frames"]),
    ("no train frames", remove("faces/train"), [], ["variants.q32-p50", "needs train frames"]),
    ("a broken frame", lambda f: (f / "faces/test/real/000.png").write_bytes(b"oops"), [], ["000.png"]),
    ("test frames in train", lambda f: shutil.copy(f / "faces/test/real/000.png", f / "faces/train/real"), [],
     ["000.png"]),
]  # fmt: skip


@pytest.mark.parametrize(("change", "arguments", "said"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_bad_input(
    change: Change, arguments: list[str], said: list[str], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)
    change(workplace)
    code, output = bench("run", *arguments)
    assert code == 2, output
    assert output.startswith("error: "), output
    for part in said:
        assert part in output, output
    assert "Traceback" not in output
    assert not (workplace / "results").exists(), "nothing may be evaluated"
    assert not list((workplace / "variants").glob("*/variant.json")), "nothing may be built"


def test_cuda_where_there_is_none(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setattr("bench.pipeline.plan.cuda_devices", lambda: ())
    code, output = bench("run", "--device", "cuda")
    assert code == 2
    assert "no CUDA device" in output


def test_report_and_export_without_results(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    for command in (["report"], ["export", "q8", "--to", "out"]):
        code, output = bench(*command)
        assert code == 2
        assert "`bench run` makes them" in output
    assert not (workplace / "out").exists()


def test_init_overwrites_nothing(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    before = (workplace / "experiments.yaml").read_bytes()
    code, output = bench("init")
    assert code == 2
    assert "exists already" in output
    assert (workplace / "experiments.yaml").read_bytes() == before


def test_usage_errors_have_the_code_of_bad_input() -> None:
    assert bench("run", "--no-such-option")[0] == 2
    assert bench("no-such-command")[0] == 2


def test_bug_is_told_from_bad_input(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("oops")

    monkeypatch.chdir(workplace)
    monkeypatch.setattr("bench.pipeline.run", broken)
    code, output = bench("run")
    assert code == 70
    assert "bug in bench" in output


def test_baseline_below_chance_is_warned_about(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Swapping the folders of the test set turns whatever AUC there is around 0.5."""
    monkeypatch.chdir(workplace)
    assert bench("run", "--only", "baseline")[0] == 0
    told = []
    for _ in range(2):
        told.append("swapped" in (workplace / "reports/first/report.md").read_text())
        test = workplace / "faces/test"
        (test / "real").rename(test / "tmp")
        (test / "fake").rename(test / "real")
        (test / "tmp").rename(test / "fake")
        assert bench("run", "--only", "baseline")[0] == 0
    assert sorted(told) == [False, True]


def test_driver_library_that_is_absent_means_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(name)

    provenance.cuda_devices.cache_clear()
    monkeypatch.setattr("ctypes.CDLL", absent)
    assert provenance.cuda_devices() == ()
    provenance.cuda_devices.cache_clear()


def test_odd_pictures_are_brought_to_rgb(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of other sizes and modes are evaluated like any other."""
    monkeypatch.chdir(workplace)
    rng = np.random.default_rng(9)
    grey = Image.fromarray(rng.integers(0, 255, (90, 70), dtype=np.uint8))
    grey.save(workplace / "faces/test/real/grey.png")
    grey.convert("P").save(workplace / "faces/test/real/palette.png")
    grey.convert("CMYK").save(workplace / "faces/test/fake/cmyk.jpg")
    grey.convert("RGBA").resize((64, 48)).save(workplace / "faces/test/fake/alpha.webp")
    write_frames(workplace / "faces" / "validation", 1, 1, 99, size=33)
    code, output = bench("run", "--only", "baseline")
    assert code == 0, output
