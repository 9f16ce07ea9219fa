"""Whole runs under re-compression: each level once, one decoding a frame, kills lose little, reports read it back."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch

from bench import datasets, runtimes
from bench.commands.clean import inventory, remove_unused
from bench.commands.plan import forecast
from bench.datasets import decoding
from bench.experiment import read
from bench.results import predict, store
from tests.conftest import run_quickly
from tests.support import cues, foreign
from tests.support.command_line import bench

FRAMES = 60
YAML = """
detectors:
  mine: {architecture: cues, weights: cues.pth, preprocessing: {preset: sbi, size: 32}}
datasets:
  faces: {path: faces}
experiments:
  first:
    detector: mine
    frames: faces
    device: cpu
    timing: {seconds: 0.02}
    gallery: {top: 1, occlusion: false}
    robustness: {jpeg: [95], blur: [2]}
    variants:
      baseline: []
      q16: [cast: fp16]
      fine: [import: fine.onnx]
    gates: {all: {robustness_drop: 0.02}}
"""


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which an experiment has run; `fine` sees nothing but fine structure, the baseline also colour."""
    folder = tmp_path_factory.mktemp("robust")
    with pytest.MonkeyPatch.context() as patch:
        run_quickly(patch, (cues.cues,))
        torch.save(cues.detector(30, 20).state_dict(), folder / "cues.pth")
        onnx.save(foreign.network(cues.detector(0, 20)), folder / "fine.onnx")
        rng = np.random.default_rng(0)
        for index in range(FRAMES):
            file = folder / "faces/test" / ("fake" if index % 2 else "real") / f"{index:03d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            cues.frame(fake=bool(index % 2), rng=rng).save(file)
        (folder / "experiments.yaml").write_text(YAML, encoding="utf-8")
        patch.chdir(folder)
        code, output = bench("run", "--no-timing")
        assert code == 0, output
        assert "under re-compression: loses more than the baseline: fine" in output
    return folder


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be changed."""
    run_quickly(monkeypatch, (cues.cues,))
    shutil.copytree(finished_once, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def change(folder: Path, old: str, new: str) -> None:
    path = folder / "experiments.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def scores_of(folder: Path) -> dict[str, Any]:
    variants: dict[str, Any] = json.loads((folder / "reports/first/scores.json").read_text())["variants"]
    return {name: {f"{level['kind']} {level['level']:g}": level for level in variant["robustness"]}
            for name, variant in variants.items()}  # fmt: skip


def nothing(*_: Any, **__: Any) -> None:
    raise AssertionError("called")


def test_what_hangs_on_fine_structure_alone_loses_more_under_blur(finished: Path) -> None:
    scores = scores_of(finished)
    assert list(scores) == ["baseline", "q16", "fine"]
    assert all(list(levels) == ["jpeg 95", "blur 2"] for levels in scores.values())
    blurred = scores["fine"]["blur 2"]
    assert scores["baseline"]["blur 2"]["auc"] > 0.75
    assert blurred["auc"] < scores["baseline"]["blur 2"]["auc"] - 0.1
    assert blurred["verdict"] == "degraded"
    assert blurred["p_holm"] < 0.05
    assert blurred["extra_ci"][1] < 0
    assert scores["q16"]["blur 2"]["verdict"] in ("stable", "inconclusive")
    assert abs(scores["q16"]["blur 2"]["extra"]) < 0.01
    assert scores["baseline"]["blur 2"]["extra"] is None


def test_videos_are_judged_again_too(finished: Path) -> None:
    """A manifest that names videos evaluates nothing again; gates, sentences and plots are then of videos."""
    from sklearn.metrics import roc_auc_score

    names = [f"{'fake' if index % 2 else 'real'}/{index:03d}.png" for index in range(FRAMES)]
    rows = [f"{name},{name[:4]},{name[:4]} {index // 6}" for index, name in enumerate(names)]
    (finished / "faces/test/manifest.csv").write_text("\n".join(["path,label,video", *rows]) + "\n", encoding="utf-8")
    code, output = bench("run", "--no-timing")
    assert code == 0, output
    assert "re-compressed frames:" not in output

    def area(variant: str, level: str) -> float:
        table = pd.read_parquet(finished / "results/first" / variant / level / "predictions.parquet")
        of_frames = {row.split(",")[0]: row.split(",")[2] for row in rows}
        videos = table.groupby(table["frame"].map(of_frames)).agg({"label": "max", "p_fake": "mean"})
        return float(roc_auc_score(videos["label"], videos["p_fake"]))

    variants = json.loads((finished / "reports/first/scores.json").read_text())["variants"]
    blurred = {name: variant["video"]["robustness"][1] for name, variant in variants.items()}
    for name, level in blurred.items():
        assert level["auc"] == pytest.approx(area(name, "robustness/blur-2"), abs=1e-12)
    under = blurred["fine"]["auc"] - blurred["baseline"]["auc"]
    assert blurred["fine"]["extra"] == pytest.approx(under - (area("fine", ".") - area("baseline", ".")), abs=1e-12)
    assert blurred["fine"]["extra"] != pytest.approx(variants["fine"]["robustness"][1]["extra"], abs=1e-6)
    report = (finished / "reports/first/report.md").read_text(encoding="utf-8")
    assert f"{blurred['fine']['extra']:+.3f}".replace("-", "−") in report
    assert "re-compressed test frames, and scored per video" in report
    _, output = bench("check")
    assert f"{-blurred['fine']['extra']:.4f}" in output, output


def test_the_extra_loss_is_that_of_the_stored_predictions(finished: Path) -> None:
    from sklearn.metrics import roc_auc_score

    def area(variant: str, level: str) -> float:
        table = pd.read_parquet(finished / "results/first" / variant / level / "predictions.parquet")
        return float(roc_auc_score(table["label"], table["logit_fake"] - table["logit_real"]))

    under = area("fine", "robustness/blur-2") - area("baseline", "robustness/blur-2")
    expected = under - (area("fine", ".") - area("baseline", "."))
    assert scores_of(finished)["fine"]["blur 2"]["extra"] == pytest.approx(expected, abs=1e-9)
    assert not list((finished / "results/first").glob("*/robustness/*/cam.npy"))


def test_the_report_says_it_in_words_table_and_plot(finished: Path) -> None:
    for page in ("report.md", "report.html"):
        text = (finished / "reports/first" / page).read_text(encoding="utf-8")
        assert "Under re-compression" in text
        assert "significantly more is lost than the baseline loses there" in text
        assert "fine: extra ΔAUC" in text
        assert "blur 2" in text
    assert (finished / "reports/first/robustness.png").exists()


def test_the_gate_falls_at_the_worst_level(finished: Path) -> None:
    code, output = bench("check")
    assert code == 1
    assert "robustness_drop" in output
    assert "blur 2" in output


def test_a_second_run_and_its_plan_do_nothing(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pytorch", "onnxruntime"):
        monkeypatch.setattr(runtimes.find(name), "load", nothing)
    before = (finished / "reports/first/report.html").stat().st_mtime_ns
    code, output = bench("run", "--no-timing")
    assert code == 0, output
    assert (finished / "reports/first/report.html").stat().st_mtime_ns == before
    path = finished / "experiments.yaml"
    assert not any(stage.work for stage in forecast(read(path), path, timing="none").stages)


@pytest.mark.slow
def test_a_cached_run_imports_neither_torch_nor_a_runtime(finished: Path) -> None:
    code = (
        "import sys\nfrom bench.detectors import families\nfrom types import SimpleNamespace\n"
        "families.modules = lambda: (SimpleNamespace(ARCHITECTURES=('cues',), OFFERS=frozenset({'cam'})),)\n"
        "from pathlib import Path\nfrom bench.experiment import read\nfrom bench.pipeline import render\n"
        "settings = read(Path('experiments.yaml')).experiments['first']\n"
        "render.report(Path('.'), 'first', settings, again=True)\n"
        "assert not {'torch', 'onnxruntime', 'av'} & set(sys.modules), sys.modules.keys() & {'torch', 'av'}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=finished)


def test_a_report_without_levels_that_are_no_longer_asked_for_is_due(finished: Path) -> None:
    assert bench("run", "--no-timing")[0] == 0  # the copied frames are read
    change(finished, "jpeg: [95], blur: [2]", "blur: [2]")
    path = finished / "experiments.yaml"
    due = forecast(read(path), path, timing="none")
    assert [stage.name for stage in due.stages if stage.work] == ["report"]
    assert due.report_due == ("robustness jpeg 95, blur 2 → blur 2",)
    assert bench("report")[0] == 0
    assert all(list(levels) == ["blur 2"] for levels in scores_of(finished).values())
    assert "jpeg 95" not in (finished / "reports/first/report.md").read_text(encoding="utf-8")
    assert bench("run", "--no-timing")[0] == 0
    assert not any(stage.work for stage in forecast(read(path), path, timing="none").stages)


def test_another_level_makes_that_one_alone(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench("run", "--no-timing")[0] == 0  # the copied frames are read
    change(finished, "jpeg: [95]", "jpeg: [95, 30]")
    path = finished / "experiments.yaml"
    stages = {stage.name: stage for stage in forecast(read(path), path, timing="none").stages}
    assert stages["re-compress"].work == f"3 evaluations of {FRAMES} frames"
    assert stages["re-compress"].estimate.high_s > 0
    assert not stages["evaluate"].work
    asked: list[predict.Pending] = []
    decoded: list[Path] = []
    real, real_decode = predict.predict, decoding._decoded

    def noting(pending: Any, *more: Any) -> Any:
        asked.extend(pending)
        return real(pending, *more)

    def counting(file: Any) -> Any:
        decoded.append(file)
        return real_decode(file)

    monkeypatch.setattr(predict, "predict", noting)
    monkeypatch.setattr(decoding, "_decoded", counting)
    code, output = bench("run", "--no-timing")
    assert code == 0, output
    assert [each.name for each in asked] == [f"{name} under jpeg 30" for name in ("baseline", "q16", "fine")]
    assert len([file for file in decoded if "test" in str(file)]) <= FRAMES + 4 * 3  # the galleries' frames beside
    assert list(scores_of(finished)["q16"]) == ["jpeg 95", "jpeg 30", "blur 2"]


def test_rendering_again_reads_no_pixels_for_scores(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.datasets.degradations.degraded", nothing)
    monkeypatch.setattr("bench.datasets.read_for_each", nothing)
    before = scores_of(finished)
    assert bench("report")[0] == 0
    assert scores_of(finished) == before


def test_predictions_that_are_gone_are_told_and_made_again(finished: Path) -> None:
    before = scores_of(finished)
    (finished / "results/first/q16/robustness/jpeg-95/predictions.parquet").unlink()
    code, output = bench("report", "--again") if "--again" in bench("report", "--help")[1] else bench("report")
    assert code == 2
    assert "jpeg-95: has changed since the last whole run; `bench run` completes it" in output
    assert bench("run", "--no-timing")[0] == 0
    assert scores_of(finished) == before


def test_a_killed_run_goes_on_from_whole_shards(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = scores_of(finished)
    for level in (finished / "results/first").glob("*/robustness"):
        shutil.rmtree(level)
    monkeypatch.setattr(predict, "SHARD_FRAMES", 16)
    real, read_frames = datasets.read_for_each, []

    def dying(frames: Any, specs: Any, size: int, threads: int = 2) -> Any:
        for number, batch in enumerate(real(frames, specs, size, threads=threads)):
            if number * size >= 40:
                raise KeyboardInterrupt
            yield batch

    def noting(frames: Any, specs: Any, size: int, threads: int = 2) -> Any:
        read_frames.extend(frames)
        return real(frames, specs, size, threads=threads)

    monkeypatch.setattr(datasets, "read_for_each", dying)
    assert bench("run", "--no-timing")[0] == 130
    assert len(list((finished / "results/first/fine/robustness/blur-2/.shards").glob("*/*.npz"))) == 2
    monkeypatch.setattr(datasets, "read_for_each", noting)
    assert bench("run", "--no-timing")[0] == 0
    assert len(read_frames) == FRAMES - 2 * 16
    assert scores_of(finished) == before
    assert not list((finished / "results/first").rglob(".shards"))


def test_what_fails_lacks_these_numbers_alone(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(finished / "results/first/fine/robustness/blur-2")
    real = predict.predict

    def failing(pending: Any, *more: Any) -> Any:
        return {each.name: ValueError("out of luck") for each in pending}

    monkeypatch.setattr(predict, "predict", failing)
    code, output = bench("run", "--no-timing")
    assert code == 0
    assert "Not judged under re-compression: fine (blur 2)" in output.replace("\n", " ")
    assert scores_of(finished)["fine"]["blur 2"]["auc"] is None
    assert scores_of(finished)["fine"]["jpeg 95"]["auc"] > 0.5
    log = max((finished / "results/first").glob("run-*.log")).read_text()
    assert "out of luck" in log
    monkeypatch.setattr(predict, "predict", real)
    assert bench("run", "--no-timing")[0] == 0
    assert scores_of(finished)["fine"]["blur 2"]["auc"] is not None


def test_clean_knows_levels_that_nobody_asks_for(finished: Path) -> None:
    path = finished / "experiments.yaml"
    assert not inventory(read(path), path).unused
    change(finished, "blur: [2]", "blur: [3]")
    unused = inventory(read(path), path)
    assert {item.path.relative_to(finished / "results/first").as_posix() for item in unused.unused} == {
        f"{name}/robustness/blur-2" for name in ("baseline", "q16", "fine")
    }
    remove_unused(unused)
    assert not list((finished / "results/first").glob("*/robustness/blur-2"))
    assert (finished / "results/first/q16/robustness/jpeg-95/predictions.parquet").exists()


def test_a_link_in_their_place_is_refused(finished: Path) -> None:
    level = finished / "results/first/q16/robustness/jpeg-95"
    shutil.move(level, finished / "elsewhere")
    level.symlink_to(finished / "elsewhere")
    code, output = bench("run", "--no-timing")
    assert code == 2
    assert "is a link" in output


def test_a_record_of_before_is_read(finished: Path) -> None:
    path = finished / "results/first/run.json"
    record = json.loads(path.read_text())
    del record["degradations"]
    for variant in record["variants"]:
        del variant["degraded"]
    path.write_text(json.dumps(record))
    assert store.read_run(path.parent).degradations == ()
