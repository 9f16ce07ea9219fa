"""Whole runs with masks: fitted once, told what became of them, in scores and report, and no result made again."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.commands.inspect import looking
from bench.datasets import mask_fitting
from bench.inference.subjects import Frame, FramesOfSet
from bench.records import GRID
from bench.records.inspection import PARTS
from bench.reports import inspection
from bench.results import localisation, store
from tests.conftest import run_quickly, write_workplace
from tests.support.command_line import bench

FAKES = 18


def write_masks(folder: Path) -> None:
    """Squares in the fakes but the last two, one of them black; and one of a real frame."""
    for index in range(FAKES - 2):
        pixels = np.zeros((40, 40), np.uint8)
        pixels[8:28, 10 : 20 + index] = 0 if index == 3 else 255
        file = folder / f"masks/test/fake/{index:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    (folder / "masks/test/real").mkdir()
    Image.new("L", (40, 40), 255).save(folder / "masks/test/real/000.png")
    (folder / "masks/test/fake/005.png").write_bytes(b"no picture")


def with_masks(folder: Path, settings: str = "{path: faces, masks: masks}") -> None:
    path = folder / "experiments.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("{path: faces}", settings), encoding="utf-8")


def shorter(folder: Path) -> None:
    """Two variants are enough: one of them has other maps than the baseline."""
    path = folder / "experiments.yaml"
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "p50" not in line and "q16" not in line]
    path.write_text("\n".join(lines).replace("q8: [quantize: int8]", "half: [prune: 0.5]") + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that was run without masks, then with some."""
    folder = tmp_path_factory.mktemp("masked")
    with pytest.MonkeyPatch.context() as patch:
        run_quickly(patch)
        patch.chdir(folder)
        write_workplace(folder)
        shorter(folder)
        code, output = bench("run", "--no-timing")
        assert code == 0, output
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}
        assert 'localisation": null' in scores_text(folder)
        write_masks(folder)
        with_masks(folder)
        code, output = bench("run", "--no-timing")
        assert code == 0, output
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")} == before, "predicted again"
    return folder


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path, monkeypatch: Any) -> Path:
    """A copy of it, to be changed."""
    run_quickly(monkeypatch)
    shutil.copytree(finished_once, tmp_path / "copy", copy_function=shutil.copy2)
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def scores_text(folder: Path) -> str:
    return (folder / "reports/first/scores.json").read_text(encoding="utf-8")


def scores(folder: Path) -> Any:
    return json.loads(scores_text(folder))


def test_what_became_of_every_mask_is_told(finished: Path) -> None:
    counts = scores(finished)["masks"]
    assert {key: counts[key] for key in ("fakes", "used", "missing", "unreadable", "black", "marked_real")} == {
        "fakes": FAKES, "used": FAKES - 4, "missing": 2, "unreadable": 1, "black": 1, "marked_real": 1,
    }  # fmt: skip
    text = (finished / "reports/first/report.md").read_text(encoding="utf-8")
    assert "2 of 18 test fakes have no mask" in text
    assert "1 test masks can't be read" in text
    assert "are not used: 1 black (nothing is forged)." in text
    assert "1 real test frames have a mask that is not black" in text
    assert "Does it still look at the forgery?" in text
    assert "over the 14 of 18 test fakes that have one" in text


def test_scores_are_those_of_stored_maps_and_masks(finished: Path) -> None:
    """By the definition, from cam.npy and the files of masks, at the places that are compared."""
    cams = np.load(finished / "results/first/half/cam.npy")
    run = store.read_run(finished / "results/first")
    table = store.read_predictions_table(finished / "results/first/half", run.frames)
    shares = []
    for row, frame in enumerate(table["frame"]):
        file = finished / "masks/test" / frame
        if not frame.startswith("fake/") or table["split"][row] != "test" or not file.exists():
            continue
        if file.read_bytes()[:1] != b"\x89" or not np.asarray(Image.open(file)).any():
            continue
        large = np.asarray(Image.fromarray(cams[row]).resize((320, 320), Image.Resampling.BICUBIC))
        inside = np.asarray(Image.open(file).resize((320, 320), Image.Resampling.NEAREST)) > 127
        evidence = np.maximum(large, 0)
        shares.append(evidence[inside].sum() / evidence.sum() if evidence.any() else 0.0)
    located = scores(finished)["variants"]["half"]["localisation"]
    assert located["frames"] == len(shares) == 14
    assert located["evidence_inside"] == pytest.approx(np.mean(shares), abs=0.01)
    low, high = located["evidence_inside_ci"]
    assert low <= located["evidence_inside"] <= high
    baseline = scores(finished)["variants"]["baseline"]["localisation"]
    assert baseline["evidence_inside_delta"] is None
    assert located["evidence_inside_delta"] == pytest.approx(
        located["evidence_inside"] - baseline["evidence_inside"], abs=1e-9
    )


def test_a_second_run_fits_nothing(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mask_fitting, "picture", lambda file: pytest.fail("fitted again"))
    monkeypatch.setattr(mask_fitting, "shown_size", lambda file: pytest.fail("looked at again"))
    code, output = bench("run", "--no-timing")
    assert code == 0, output
    assert "rendering" not in output


def test_another_mask_is_fitted_and_rendered_and_nothing_else(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("predictions.parquet")}
    old = scores(finished)["variants"]["baseline"]["localisation"]["evidence_inside"]
    assert "masks changed" not in bench("plan")[1]
    Image.new("L", (80, 80), 0).save(finished / "masks/test/fake/000.png")
    code, output = bench("run", "--no-timing")
    assert code == 0, output
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("predictions.parquet")} == before
    assert scores(finished)["variants"]["baseline"]["localisation"]["evidence_inside"] != old
    assert scores(finished)["masks"]["black"] == 2


@pytest.mark.slow
def test_masks_that_go_away_leave_nothing_behind(finished: Path) -> None:
    with_masks(finished)
    path = finished / "experiments.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace(", masks: masks", ""), encoding="utf-8")
    code, output = bench("run", "--no-timing")
    assert code == 0, output
    assert scores(finished)["masks"] is None
    assert "Does it still look at the forgery?" not in (finished / "reports/first/report.md").read_text()


def test_damaged_masks_in_results_are_made_again(finished: Path) -> None:
    expected = scores_text(finished)
    (finished / "results/first" / localisation.RECORD).write_text("{}")
    shutil.rmtree(finished / "reports")
    code, output = bench("run", "--no-timing")
    assert code == 0, output
    assert scores_text(finished) == expected


def test_bench_report_says_what_is_gone(finished: Path) -> None:
    (finished / "results/first" / localisation.MASKS).unlink()
    code, output = bench("report", "first")
    assert code == 2, output
    assert "masks.npy: is gone; `bench run` makes it again" in output


def test_the_outline_stands_on_the_page_and_can_be_hidden(finished: Path) -> None:
    page = (finished / "reports/first/report.html").read_text(encoding="utf-8")
    assert 'id="outline"' in page
    rows = {part.split('"')[0] for part in page.split('<path id="m')[1:]}
    assert rows
    for row in rows:
        assert f'href="#m{row}" class="forged"' in page


def test_outlines_are_drawn_into_overlays(finished_once: Path, finished: Path) -> None:
    """A picture of a fake with a mask changes where the outline is, and that of a real one not at all."""
    path = finished / "experiments.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace(", masks: masks", ""), encoding="utf-8")
    assert bench("run", "--no-timing")[0] == 0
    changed = []
    for file in sorted((finished_once / "results/first/baseline/result").rglob("*.jpg")):
        other = finished / file.relative_to(finished_once)
        changed.append((file.parent.name, file.name, other.read_bytes() != file.read_bytes()))
    fakes = [
        is_other
        for folder, name, is_other in changed
        if folder == "fake" and name[:3] not in ("003", "005", "016", "017")
    ]
    assert fakes
    assert all(fakes)
    assert not any(is_other for folder, _, is_other in changed if folder == "real")


def test_masks_are_found_by_the_rows_of_all_frames(finished: Path) -> None:
    """Copies count in no number of the run, and have rows all the same."""
    results = finished / "results/first"
    run = store.read_run(results)
    test = replace(run.frames["test"], copies=24, fake_copies=12)
    frames = FramesOfSet(finished, replace(run, frames={**run.frames, "test": test}), results)
    mask = frames.mask_of(Frame(1, "", 15))
    assert mask is not None
    assert mask.max() == 255
    assert frames.mask_of(Frame(1, "", 17)) is None


@pytest.mark.slow
def test_inspect_says_how_maps_lie_on_the_masks_of_the_set(finished: Path) -> None:
    """The means over the fakes that count are those of the run; a frame without a mask has no numbers."""
    code, output = bench("inspect", "faces/test/fake", "--variant", "half", "--to", "seen")
    assert code == 0, output
    table = pd.read_parquet(finished / "seen/explanations.parquet")
    of_half = table[table["variant"] == "half"]
    assert len(of_half) == FAKES
    beside = of_half.dropna(subset=["mask_auc"])
    located = scores(finished)["variants"]["half"]["localisation"]
    assert len(beside) == located["frames"]
    for column, key in (("mask_hit", "pointing_game"), ("mask_inside", "evidence_inside"), ("mask_auc", "mask_auc")):
        assert beside[column].astype(float).mean() == pytest.approx(located[key], abs=1e-4)
    assert beside["mask_blank"].sum() == located["blank"]
    assert "Heatmaps beside masks of what was forged" in (finished / "seen/gallery.md").read_text(encoding="utf-8")
    predictions = pd.read_parquet(finished / "results/first/half/predictions.parquet")
    joined = of_half.merge(predictions, left_on=["set_frame", "set_split"], right_on=["frame", "split"])
    assert len(joined) == FAKES
    assert joined["p_fake_x"].to_numpy(float) == pytest.approx(joined["p_fake_y"].to_numpy(float), abs=1e-5)


def test_a_map_in_which_nothing_speaks_for_fake_is_said_to_be_blank() -> None:
    cam, mask = np.full((5, 5), -1.0, np.float32), np.zeros((GRID, GRID), np.uint8)
    mask[20:40, 20:40] = 255
    blank = looking._beside_mask(cam, mask)
    assert blank is not None
    assert (blank.blank, blank.hit, blank.inside) == (True, False, 0)
    cam[2, 2] = 1.0
    hot = looking._beside_mask(cam, mask)
    assert hot is not None
    assert not hot.blank
    assert hot.hit


def test_methods_have_the_parts_that_speak_for_fake_alone() -> None:
    """A fake that is missed has what speaks for real: another question."""
    row = {"frame": "a", "variant": "q8", "label": 1, "method": "nose", "explained": True, "target": "fake"}
    shares = {f"share_{part.replace(' ', '_')}": 0.0 for part in PARTS}
    nose = row | shares | {"leading": "nose", "share_nose": 1.0}
    missed = nose | {"target": "real", "leading": "background", "share_nose": 0.0, "share_background": 1.0}
    both, alone = (dict(inspection.parts_tables(inspection.frame_of(rows))) for rows in ([nose, missed], [missed]))
    (of_method,) = both["The same by how frames were forged, where they are called fake"].rows
    shown = {part: cell.value for part, cell in zip(PARTS, of_method[3:], strict=False)}
    assert shown == dict.fromkeys(PARTS, 0.0) | {"nose": 1.0}
    assert list(alone) == ["Mean share of the evidence, by part of the face"]
