"""Whole runs on a tiny detector: what a user gets, what is made again, what bad input gets."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from bench import cli
from bench.commands import export
from bench.results import predict, timing
from bench.variants import build, cache
from tests.conftest import quick_folder, write_frames, write_workplace
from tests.support.command_line import bench

NAMES = ["baseline", "q16", "q8", "q32-p50", "q16-p50", "q8-p50"]


def predictions(folder: Path, variant: str) -> dict[str, dict[str, float]]:
    """What a variant said of the test frames: column, then frame."""
    table = pd.read_parquet(folder / "results/first" / variant / "predictions.parquet")
    by_column: Any = table[table["split"] == "test"].set_index("frame").to_dict()
    return dict(by_column)


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with quick_folder(tmp_path_factory, "finished") as folder:
        write_workplace(folder)
        code, output = bench("run")
        assert code == 0, output
    return folder


@pytest.fixture
def finished(workplace: Path, finished_once: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own in which the whole experiment has run."""
    shutil.copytree(finished_once, workplace, dirs_exist_ok=True)
    monkeypatch.chdir(workplace)
    return workplace


def test_run_makes_all_variants_and_the_report(finished: Path) -> None:
    scores = json.loads((finished / "reports/first/scores.json").read_text())
    assert list(scores["variants"]) == NAMES
    assert all(scored["status"] == "ok" for scored in scores["variants"].values())
    variants = scores["variants"]
    assert variants["q8"]["int8"] == "native"
    assert variants["q16"]["size_mib"] < 0.6 * variants["baseline"]["size_mib"]
    for key in ("parameters", "macs"):
        assert variants["q32-p50"][key] <= 0.5 * variants["baseline"][key]
        assert variants["q8-p50"][key] == variants["q32-p50"][key]
    assert scores["frames"]["test"] | {"digest": ""} == {"count": 32, "fake": 18, "real": 14, "copies": 0, "digest": ""}
    report = (finished / "reports/first/report.md").read_text()
    assert "stored fp16, computed fp32" in report
    for name in ("q32-p50", "q16-p50", "q8-p50"):
        (recovered,) = variants[name]["recovered"]
        assert (recovered["steps"], recovered["steps_wanted"], recovered["cut_short"]) == (2, 2, False)
        assert re.search(rf"^- .*\*\*{name}\*\*.*: recover took 2 of 2 steps", report, re.MULTILINE)
    assert variants["q16"]["recovered"] == []
    for name in NAMES:
        folder = finished / "results/first" / name
        table = pd.read_parquet(folder / "predictions.parquet")
        test = table[table["split"] == "test"]
        assert (len(table), len(test)) == (44, 32)
        assert variants[name]["auc"] == pytest.approx(roc_auc_score(test["label"], test["p_fake"]))
        cams = np.load(folder / "cam.npy")
        bias = cache.read(finished / "variants", variants[name]["id"]).margin_bias
        margin = table["logit_fake"] - table["logit_real"]
        np.testing.assert_allclose(cams.mean((1, 2)) + bias, margin, atol=1e-4)


def test_second_run_recomputes_nothing(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(build, "_build", fail)
    monkeypatch.setattr(predict, "predict", fail)
    monkeypatch.setattr(timing, "measure", fail)
    before = (finished / "reports/first/report.md").stat().st_mtime_ns
    code, output = bench("run")
    assert code == 0
    assert (finished / "reports/first/report.md").stat().st_mtime_ns == before
    assert "baseline" in output
    assert "report.md" in output


def test_only_and_changed_threshold(finished: Path) -> None:
    path = finished / "experiments.yaml"
    path.write_text(path.read_text().replace("device: cpu", "device: cpu\n    threshold: 0.9"))
    assert bench("run", "first", "--only", "q8", "--device", "cpu")[0] == 0
    scores = json.loads((finished / "reports/first/scores.json").read_text())
    assert list(scores["variants"]) == NAMES, "what has results stays in the report"
    assert scores["variants"]["q8"]["threshold"] == 0.9
    overlays = list((finished / "results/first/q8/result").rglob("*.jpg"))
    assert overlays
    predicted = predictions(finished, "q8")
    for overlay in overlays:
        frame = (
            str(overlay.relative_to(finished / "results/first/q8/result")).split("/heatmap/")[1].removesuffix(".jpg")
        )
        assert ("positives" in str(overlay)) == (predicted["p_fake"][frame] >= 0.9)


@pytest.mark.parametrize("command", [["run"], ["report", "--bundle"]])
def test_programs_get_json_and_nothing_else(finished: Path, command: list[str]) -> None:
    result = CliRunner().invoke(cli.app, [*command, "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json.loads((finished / "reports/first/scores.json").read_text())
    assert "report: reports" in result.stderr
    assert ("bundle: " in result.stderr) == ("--bundle" in command)


def test_report_tells_of_steps_that_were_changed_since(finished: Path) -> None:
    path = finished / "experiments.yaml"
    path.write_text(re.sub(r"q8: .*", "q8: [cast: bf16]", path.read_text()))
    code, output = bench("report")
    assert code == 0
    text = " ".join(output.split())
    assert "q8 was run as quantize: int8, and the experiment file now says cast: bf16: `bench run` makes it." in text
    assert "q16 was run" not in text


def test_report_refuses_results_that_changed_since(finished: Path) -> None:
    """Predictions of other frames than run.json speaks of must not be mixed into one table."""
    mark = finished / "results/first/q8" / predict.MARK
    mark.write_text(json.dumps({"key": "of other frames"}))
    code, output = bench("report")
    assert code == 2
    assert "q8" in output
    assert bench("run")[0] == 0


@pytest.mark.parametrize(
    "gone",
    [
        "reports/first/scores.json", pytest.param("reports/first/roc.png", marks=pytest.mark.figures),
        "results/first/q8/result",
    ],
)  # fmt: skip
def test_what_is_deleted_is_made_again(gone: str, finished: Path) -> None:
    path = finished / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert bench("run")[0] == 0
    assert path.exists()


@pytest.mark.parametrize("name", ["results/first/run.json", "results/first/q8/measurements.json"])
def test_damaged_records_are_made_again(name: str, finished: Path) -> None:
    (finished / name).write_text('{"half": ')
    assert bench("run")[0] == 0
    assert json.loads((finished / name).read_text())


@pytest.mark.parametrize("name", ["model.onnx", "variant.json"])
def test_a_damaged_artifact_is_built_again(name: str, finished: Path) -> None:
    identity = json.loads((finished / "reports/first/scores.json").read_text())["variants"]["q8"]["id"]
    file = finished / "variants" / identity / name
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    assert bench("run")[0] == 0
    if name == "model.onnx":
        assert file.read_bytes() == whole
    assert cache.is_built(finished / "variants", identity)


def test_an_artifact_that_changed_is_neither_handed_over_nor_measured(finished: Path, tmp_path: Path) -> None:
    """As long as it was, so that only its digest tells."""
    identity = json.loads((finished / "reports/first/scores.json").read_text())["variants"]["q8"]["id"]
    file = finished / "variants" / identity / "model.onnx"
    whole = file.read_bytes()
    for command in (("export", "q8", "--to", str(tmp_path / "out")), ("run", "--only", "q8")):
        file.write_bytes(whole[:2000] + bytes(100) + whole[2100:])
        shutil.rmtree(finished / "results/first/q8", ignore_errors=command[0] == "export")
        if command[0] == "export":
            shutil.copytree(finished / "results/first/q16", finished / "results/first/q8")
        code, output = bench(*command)
        assert code == (2 if command[0] == "export" else 3), output
        assert "has changed since it was built" in output
        assert bench("run", "--only", "q8")[0] == 0
        assert file.read_bytes() == whole
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [predict.PREDICTIONS, predict.CAMS])
@pytest.mark.parametrize("how", ["gone", "cut"])
def test_damaged_predictions_are_told_and_made_again(name: str, how: str, finished: Path) -> None:
    file = finished / "results/first/q8" / name
    whole = file.read_bytes()
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(whole[:50])
    code, output = bench("report")
    assert code == 2, output
    assert "`bench run` completes it" in output
    assert bench("run")[0] == 0
    assert file.read_bytes() == whole


def test_a_file_where_a_room_should_be_is_told_before_any_work(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)
    (workplace / "reports").write_text("not a folder")
    code, output = bench("run")
    assert code == 2
    assert "reports: is a file, and bench keeps a folder there" in output
    assert not (workplace / "variants").exists()


def test_warnings_of_the_report_are_on_the_terminal_too(finished: Path) -> None:
    report = (finished / "reports/first/report.md").read_text()
    output = bench("run")[1]
    assert "cannot distinguish from chance" in report or "below 0.5" in report, "weights are random"
    assert "note: The baseline's AUC is 0." in output


def test_baseline_that_could_not_be_timed_is_timed_again(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A speed-up is against the baseline of the same session; without one there is none."""
    monkeypatch.chdir(workplace)
    measured = timing.measure

    def lose_one(subjects: Any, *rest: Any) -> Any:
        session = measured(subjects, *rest)
        first = next(iter(subjects))
        session.times.pop(first)
        session.failed[first] = RuntimeError("fell over")
        return session

    monkeypatch.setattr(timing, "measure", lose_one)
    assert bench("run", "--only", "q16")[0] == 3
    variants = json.loads((workplace / "reports/first/scores.json").read_text())["variants"]
    assert variants["baseline"]["status"] == "failed"
    assert variants["q16"]["latency_ms"]["p50"] is not None
    assert variants["q16"]["speedup"] is None
    monkeypatch.setattr(timing, "measure", measured)
    assert bench("run", "--only", "q16")[0] == 0
    assert json.loads((workplace / "reports/first/scores.json").read_text())["variants"]["q16"]["speedup"] is not None


def test_report_and_bundle_need_no_torch(finished: Path) -> None:
    program = (
        "import sys; from bench import cli; sys.argv = ['bench', 'report', '--bundle']\n"
        "try: cli.main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "loaded = {'torch', 'onnxruntime', 'timm', 'onnx'} & set(sys.modules); assert not loaded, loaded"
    )
    # A family that only tests know would be refused on reading the file.
    path = finished / "experiments.yaml"
    path.write_text(path.read_text().replace("architecture: tiny", "architecture: efficientnet_b0"))
    done = subprocess.run([sys.executable, "-c", program], cwd=finished, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (finished / "reports/first.zip").stat().st_size > 10_000


def test_artifacts_give_the_stored_scores_again(finished: Path) -> None:
    from bench import datasets, runtimes
    from bench.records import InputSpec

    scores = json.loads((finished / "reports/first/scores.json").read_text())["variants"]
    frames = sorted((finished / "faces/test").rglob("*.png"))
    batch = np.stack([datasets.decode(file, InputSpec(32)).transpose(2, 0, 1) for file in frames])
    for name in NAMES:
        built = cache.read(finished / "variants", scores[name]["id"])
        stored_logits = predictions(finished, name)["logit_fake"]
        expected = np.array([stored_logits[f.relative_to(finished / "faces/test").as_posix()] for f in frames])
        # What the compiler makes of each would take a quarter of a minute.
        for runtime in set(runtimes.names()) - {"inductor"}:
            if built.kind in runtimes.find(runtime).ACCEPTS and "cpu" in runtimes.devices(runtime):
                session = runtimes.find(runtime).load(built, "cpu", 1)
                logits, _ = session.predict(batch)
                # Integers are rounded by every runtime in its own order, and OpenVINO has halves where the CPU does.
                in_float = built.stored != "int8" and session.executed.computed == "fp32"
                same = runtime == "onnxruntime" or in_float
                np.testing.assert_allclose(
                    logits[:, 1], expected, atol=1e-4 if same else 5e-3, err_msg=f"{name} in {runtime}"
                )


def test_failing_variant_does_not_stop_the_others(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.variants.steps import quantize

    def fail(*_: Any) -> None:
        raise RuntimeError("calibration fell into a volcano")

    monkeypatch.setattr(quantize, "apply", fail)
    monkeypatch.chdir(workplace)
    code, output = bench("run", "--only", "q8,q16")
    assert code == 3
    assert "volcano" in output
    assert re.search(r"^building q8: .*: failed after \d+ s$", output, re.MULTILINE)
    scores = json.loads((workplace / "reports/first/scores.json").read_text())["variants"]
    assert (scores["q8"]["status"], scores["q16"]["status"]) == ("failed", "ok")
    assert "volcano" in scores["q8"]["reason"]
    assert scores["q8"]["auc"] is None
    log = next((workplace / "results/first").glob("run-*.log"))
    assert "Traceback" in log.read_text()
    assert str(log.name) in output
    assert "Traceback" not in output


def test_killed_evaluation_goes_on_from_its_shards(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(predict, "SHARD_FRAMES", 16)
    write = predict._write_shard
    written: list[int] = []

    def stop_at_fifth(path: Path, parts: Any) -> None:
        written.append(int(path.stem))
        if len(written) == 5:
            raise KeyboardInterrupt
        write(path, parts)

    monkeypatch.setattr(predict, "_write_shard", stop_at_fifth)
    assert bench("run", "--only", "q16")[0] == 130
    assert bench("run", "--only", "q16")[0] == 0
    assert written == [0, 0, 16, 16, 32, 32, 32], "of two variants, the baseline and the one that was asked for"
    report = (workplace / "reports/first/report.md").read_text()
    assert "Evaluating 12 frames with 2 variants, decoding included, took" in report, "what the second run computed"


def test_export_says_where_all_scores_are_equal(finished: Path) -> None:
    path = finished / "results/first/q16/predictions.parquet"
    table = pd.read_parquet(path)
    table.assign(logit_real=np.float32(0), logit_fake=np.float32(0), p_fake=0.5).to_parquet(path)
    for name, is_said in (("q16", True), ("q8", False)):
        assert bench("export", name, "--to", str(finished / "out" / name))[0] == 0
        assert ("**All its scores are equal**" in (finished / "out" / name / "README.md").read_text()) == is_said


def test_export_replaces_nothing_but_what_a_killed_one_left(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to, dead = finished / "out", 2**22 + 1
    (to / f".bench-{dead}-0123456789ab.tmp").mkdir(parents=True)
    (to / "README.md").write_text("mine")
    code, output = bench("export", "q16", "--to", str(to))
    assert code == 2, output
    assert "not an empty folder" in output
    assert (to / "README.md").read_text() == "mine"
    (to / "README.md").unlink()

    replace, moved = Path.replace, list[Path]()

    def die(path: Path, target: Path) -> Path:
        if target.parent == to and moved:
            raise KeyboardInterrupt
        moved.extend([path] if target.parent == to else [])
        return replace(path, target)

    with monkeypatch.context() as killed:
        killed.setattr(Path, "replace", die)
        killed.setattr(export, "sweep", lambda *_, **__: None)
        killed.setattr(export, "temporary_name", lambda: f".bench-{dead}-abcdefabcdef.tmp")
        assert bench("export", "q16", "--to", str(to))[0] == 130
    assert len(list(to.iterdir())) == 3
    left = (to / "model.onnx").read_bytes()
    (to / "model.onnx").write_bytes(left + b"mine")
    assert bench("export", "q16", "--to", str(to))[0] == 2
    (to / "model.onnx").write_bytes(left)
    code, output = bench("export", "q16", "--to", str(to))
    assert code == 0, output
    files = ["README.md", "evidence.json", "model.json", "model.onnx", "predict.py"]
    assert sorted(path.name for path in to.iterdir()) == files


@pytest.mark.slow
def test_cached_run_in_a_fresh_process_needs_no_torch(tmp_path: Path) -> None:
    """The whole way with a real architecture and the real program, then again from what is stored."""
    write_frames(tmp_path / "faces", 6, 6, 0, size=48)
    torch.manual_seed(0)
    state = timm.create_model("efficientnet_b0", num_classes=2).state_dict()
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "b0.pth")
    (tmp_path / "experiments.yaml").write_text(
        """
detectors: {b0: {architecture: efficientnet_b0, weights: b0.pth, preprocessing: {preset: imagenet, size: 48}}}
datasets: {faces: {path: faces}}
experiments:
  e: {detector: b0, frames: faces, device: cpu, timing: {seconds: 0.02}, variants: {baseline: [], q16: [cast: fp16]}}
"""
    )
    program = (
        "import sys; from bench import cli; sys.argv = ['bench', 'run']\n"
        "try: cli.main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print('loaded', *sorted({'torch', 'onnxruntime', 'timm', 'onnx', 'sklearn'} & set(sys.modules)))"
    )
    seconds, printed = [], []
    for _ in range(2):
        before = os.times().children_user
        done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
        seconds.append(os.times().children_user - before)
        printed.append(done.stdout.splitlines())
    assert "torch" in printed[0][-1]
    assert printed[1][-1] == "loaded"
    assert printed[0][:-1] == printed[1][:-1], "the summary is the same"
    assert seconds[1] < seconds[0] / 4, "of processor time"
