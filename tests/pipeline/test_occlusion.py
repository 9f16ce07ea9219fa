"""Whole runs whose galleries' frames are blurred: in each variant's own runtime, once, and not in reports."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from bench import datasets, runtimes
from bench.commands.clean import inventory
from bench.commands.plan import forecast
from bench.detectors.families import efficientnet
from bench.experiment import read
from bench.pipeline import evaluate, occlusions
from bench.pipeline.prepare import prepare
from bench.records import InputSpec
from bench.results import occlusion, store
from bench.results.occlusion import judging
from bench.variants import cache
from bench.variants.chain import parse
from tests.conftest import run_quickly, write_frames
from tests.support import other_heads, tiny
from tests.support.command_line import bench

FAMILIES = (other_heads.no_map, tiny, efficientnet)
TOP = 2
YAML = """
detectors:
  with_map: {architecture: tiny, weights: tiny.pth, preprocessing: {preset: fsbi, size: 32}}
  without: {architecture: no_map, weights: no_map.pth, preprocessing: {preset: sbi, size: 32}}
datasets:
  faces: {path: faces}
experiments:
  first:
    detector: DETECTOR
    frames: faces
    device: cpu
    timing: {seconds: 0.02}
    gallery: {top: 2}
    variants:
      baseline: []
      q16: [cast: fp16]
      q8: [quantize: int8]
"""


def quick_families(patch: pytest.MonkeyPatch) -> None:
    run_quickly(patch, FAMILIES)


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By detector, a folder in which its experiment has run."""
    folders = {}
    with pytest.MonkeyPatch.context() as patch:
        quick_families(patch)
        for detector in ("with_map", "without"):
            folders[detector] = folder = tmp_path_factory.mktemp(detector)
            tiny.save_weights(folder / "tiny.pth")
            torch.save(other_heads.lively(other_heads.no_map).state_dict(), folder / "no_map.pth")
            for seed, (split, real, fake) in enumerate([("test", 14, 18), ("calibration", 8, 8)]):
                write_frames(folder / "faces" / split, real, fake, seed)
            (folder / "experiments.yaml").write_text(YAML.replace("DETECTOR", detector), encoding="utf-8")
            patch.chdir(folder)
            code, output = bench("run", "--no-timing")
            assert code == 0, output
            assert "blurring regions" in output
    return folders


@pytest.fixture
def finished(request: pytest.FixtureRequest, finished_once: dict[str, Path], tmp_path: Path, monkeypatch: Any) -> Path:
    """A copy of such a folder, to be changed."""
    quick_families(monkeypatch)
    shutil.copytree(finished_once[getattr(request, "param", "with_map")], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scores_of(folder: Path) -> dict[str, Any]:
    variants: dict[str, Any] = json.loads((folder / "reports/first/scores.json").read_text())["variants"]
    return variants


def stored(folder: Path, variant: str) -> occlusion.Blurred:
    run = store.read_run(folder / "results/first")
    key = next(each.predictions_key for each in run.variants if each.name == variant)
    return occlusion.read(folder / "results/first" / variant, key)


def change(folder: Path, old: str, new: str) -> None:
    path = folder / "experiments.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def answered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many blurred frames each call answers to, from now on."""
    sizes: list[int] = []
    real = judging._answers

    def counting(session: Any, frames: Any, batch: int) -> Any:
        sizes.append(len(frames))
        return real(session, frames, batch)

    monkeypatch.setattr(judging, "_answers", counting)
    return sizes


def no_session(*_: Any, **__: Any) -> None:
    raise AssertionError("loaded")


def test_every_variant_is_judged_beside_the_baseline(finished: Path) -> None:
    variants = scores_of(finished)
    for name, variant in variants.items():
        judged = [each for each in variant["faithfulness"].values() if each]
        assert judged, name
        assert sum(each["frames"] for each in judged) <= 6 * TOP
        assert all(0 <= each["right"] <= each["frames"] for each in judged)
        assert all((each["baseline_right"] is None) == (name == "baseline") for each in judged)
    equal = variants["q16"]["faithfulness"]["fake"]
    assert equal["fall"] == pytest.approx(equal["baseline_fall"], abs=5e-3)
    for page in ("report.md", "report.html"):
        text = (finished / "reports/first" / page).read_text(encoding="utf-8")
        assert "points at what matters" in text
        assert text.count("blurred 0.") + text.count("blurred 1.") >= 6
    assert len(stored(finished, "baseline").judged) >= len(stored(finished, "q8").judged)


@pytest.mark.parametrize("variant", ["baseline", "q8"])
def test_the_answers_are_those_of_the_variant_in_its_own_runtime(finished: Path, variant: str) -> None:
    row = scores_of(finished)[variant]
    built = cache.read(finished / "variants", row["id"])
    assert row["runtime"] == "onnxruntime"
    assert (row["int8"] == "native") == (variant == "q8")
    session = runtimes.find(row["runtime"]).load(built, "cpu", 1, tf32=True)
    table = pd.read_parquet(finished / "results/first" / variant / "predictions.parquet")
    cams = np.load(finished / "results/first" / variant / "cam.npy")
    for number, frame in stored(finished, variant).judged.items():
        assert frame.logit_diff == pytest.approx(table.logit_fake[number] - table.logit_real[number], abs=1e-5)
        pixels = datasets.decode(finished / "faces/test" / table.frame[number], InputSpec(32))
        again = occlusion.judged(session, pixels, cams[number], frame, 1)
        assert again.window == frame.window
        assert again.falls == pytest.approx(frame.falls, abs=1e-3 if variant == "baseline" else 0.05)


@pytest.mark.parametrize("finished", ["without"], indirect=True)
def test_without_a_map_the_galleries_show_occlusion_maps_that_are_named_so(finished: Path) -> None:
    variants = scores_of(finished)
    assert [variant["faithfulness"] for variant in variants.values()] == [{"fake": None, "real": None}] * 3
    assert not list(finished.rglob("cam.npy"))
    for name in variants:
        maps = stored(finished, name).maps
        assert maps
        assert not stored(finished, name).judged
        assert all(cells.shape == (judging.CELLS, judging.CELLS) for cells in maps.values())
        assert max(float(np.abs(cells).max()) for cells in maps.values()) > 0
    report = (finished / "reports/first/report.md").read_text(encoding="utf-8")
    page = (finished / "reports/first/report.html").read_text(encoding="utf-8")
    for text in (report, page):
        assert "since this detector has no class-activation map" in text
        assert "points at what matters" not in text
    assert report.count("<br>occlusion map<br>") >= 6
    assert page.count("<small>occlusion map</small>") >= 6
    assert "heatmap_colours.png" in report
    assert 'class="heat' in page
    assert bench("run", "--no-timing")[0] == 0


@pytest.mark.parametrize("finished", ["without"], indirect=True)
def test_switched_off_nothing_of_it_is_left_in_the_report(finished: Path) -> None:
    change(finished, "gallery: {top: 2}", "gallery: {top: 2, occlusion: false}")
    shutil.rmtree(finished / "results/first/q8")
    code, output = bench("run", "--no-timing")
    assert code == 0, output
    assert "blurring" not in output
    assert not (finished / "results/first/q8" / occlusion.OCCLUSION).exists()
    report = (finished / "reports/first/report.md").read_text(encoding="utf-8")
    assert "nothing is wrong" in report
    assert "occlusion map" not in report
    assert "heatmap_colours.png" not in report


def test_a_second_run_blurs_nothing_and_loads_no_variant(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "_load", no_session)
    before = {path: path.stat().st_mtime_ns for path in finished.rglob(occlusion.OCCLUSION)}
    assert len(before) == 3
    assert bench("run", "--no-timing")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_another_threshold_blurs_only_frames_that_were_never_shown(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = {name: set(stored(finished, name).judged) for name in ("baseline", "q16", "q8")}
    change(finished, "gallery: {top: 2}", "gallery: {top: 3}")
    sizes = answered(monkeypatch)
    assert bench("run", "--no-timing")[0] == 0
    second = {name: set(stored(finished, name).judged) for name in first}
    assert all(first[name] < second[name] for name in first)
    assert len(sizes) <= sum(len(second[name] - first[name]) for name in first)
    sizes.clear()
    monkeypatch.setattr(evaluate, "_load", no_session)
    change(finished, "gallery: {top: 3}", "gallery: {top: 2}")
    assert bench("run", "--no-timing")[0] == 0
    assert sizes == []


@pytest.mark.slow
def test_an_interrupted_run_loses_one_frame(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {name: stored(finished, name) for name in ("baseline", "q16", "q8")}
    for path in finished.rglob(occlusion.OCCLUSION):
        path.unlink()
    sizes = answered(monkeypatch)
    counting = judging._answers

    def interrupted(session: Any, frames: Any, batch: int) -> Any:
        if len(sizes) == 3:
            raise KeyboardInterrupt
        return counting(session, frames, batch)

    monkeypatch.setattr(judging, "_answers", interrupted)
    assert bench("run", "--no-timing")[0] == 130
    assert sum(frame.window is not None for frame in stored(finished, "baseline").judged.values()) == 3
    monkeypatch.setattr(judging, "_answers", counting)
    sizes.clear()
    assert bench("run", "--no-timing")[0] == 0
    blurred = [frame for each in whole.values() for frame in each.judged.values() if frame.window is not None]
    assert len(sizes) == len(blurred) - 3
    assert {name: stored(finished, name).judged for name in whole} == {
        name: each.judged for name, each in whole.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_a_report_without_these_files_is_a_report_without_these_numbers(finished: Path, damage: str) -> None:
    for path in finished.rglob(occlusion.OCCLUSION):
        path.unlink() if damage == "gone" else path.write_text("{}")
    code, output = bench("report")
    assert code == 0, output
    assert scores_of(finished)["q8"]["faithfulness"] == {"fake": None, "real": None}
    assert "points at what matters" not in (finished / "reports/first/report.md").read_text(encoding="utf-8")
    assert bench("run", "--no-timing")[0] == 0
    assert scores_of(finished)["q8"]["faithfulness"]["fake"]
    assert "points at what matters" in (finished / "reports/first/report.md").read_text(encoding="utf-8")


def test_a_variant_that_cannot_answer_to_blurred_frames_lacks_nothing_else(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in finished.rglob(occlusion.OCCLUSION):
        path.unlink()
    real = judging._answers

    def failing(session: Any, frames: Any, batch: int) -> Any:
        if session.executed.int8:
            raise RuntimeError("out of luck")
        return real(session, frames, batch)

    monkeypatch.setattr(judging, "_answers", failing)
    assert bench("run", "--no-timing")[0] == 0
    variants = scores_of(finished)
    assert variants["q8"]["status"] == "ok"
    assert variants["q8"]["faithfulness"] == {"fake": None, "real": None}
    assert variants["q16"]["faithfulness"]["fake"]
    log = max((finished / "results/first").glob("run-*.log"), key=lambda path: path.stat().st_mtime_ns).read_text()
    assert "blurring regions of the galleries' frames with q8 failed" in log
    assert "out of luck" in log


def test_plan_says_what_is_to_be_blurred_and_clean_knows_the_file(finished: Path) -> None:
    path = finished / "experiments.yaml"

    def due() -> dict[str, str]:
        foreseen = forecast(read(path), path, timing="none")
        return {stage.name: stage.work for stage in foreseen.stages if stage.work}

    prepare(read(path), path)  # a copy of a folder is read anew
    assert due() == {}
    items = inventory(read(path), path).items
    assert next(item.in_use for item in items if item.path.name == "q8").startswith("used by")
    (finished / "results/first/q8" / occlusion.OCCLUSION).unlink()
    works = due()
    assert works.pop("report") == "due"
    assert works == {"load": "1 variant, 0 exported first", "blur": "frames of the galleries of 1 variant"}


def test_an_import_is_foreseen_with_maps_of_its_own() -> None:
    """It has no map, whatever the detector has: every cell is blurred."""
    cast, imported = parse({"cast": "fp16"}), parse({"import": "x.onnx"})
    setup: Any = SimpleNamespace(
        baseline="baseline",
        selected=("baseline", "q16", "theirs"),
        frames={"test": SimpleNamespace(frames=range(100))},
        settings=SimpleNamespace(gallery=SimpleNamespace(top=1)),
        source=SimpleNamespace(architecture="efficientnet_b0"),
        chains={"baseline": (), "q16": (cast,), "theirs": (imported,)},
    )
    answers = {name: occlusions.answers(setup, name) for name in setup.chains}
    # Four outcomes; the baseline's frames are those of all galleries, about twice as many.
    assert answers == {"baseline": 8 * 4, "q16": 4 * 4, "theirs": 4 * 49}
