"""A whole run with `regions: true`: faces are found once, told where there are none, and in scores and report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.footage.faces import yunet
from bench.pipeline import face_points
from bench.records import POINT_COLUMNS
from bench.results import regions
from bench.results.regions.measuring import parts_of
from tests.conftest import quick_folder, run_quickly
from tests.support import tiny
from tests.support.command_line import bench
from tests.support.portraits import picture

YAML = """
detectors:
  mine: {architecture: tiny, weights: best_model.tar, preprocessing: {preset: fsbi, size: 32}}
datasets:
  faces: {path: faces}
experiments:
  first:
    detector: mine
    frames: faces
    device: cpu
    gallery: {top: 2, occlusion: false}
    regions: true
    variants:
      baseline: []
      q16: [cast: fp16]
"""
PORTRAITS = 6


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with quick_folder(tmp_path_factory, "faces") as folder:
        tiny.save_weights(folder / "best_model.tar")
        for index in range(PORTRAITS):
            label = ("real", "fake")[index % 2]
            file = folder / f"faces/test/{label}/{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(index, 160)).save(file)
        Image.new("RGB", (40, 40), "green").save(folder / "faces/test/real/none.png")
        (folder / "experiments.yaml").write_text(YAML, encoding="utf-8")
        code, output = bench("run", "--no-timing")
        assert code == 0, output
        assert "No face was found (by YuNet) in 1 of 7 test frames" in " ".join(output.split())
        yield folder


def scores(folder: Path) -> Any:
    return json.loads((folder / "reports/first/scores.json").read_text(encoding="utf-8"))


def test_faces_and_parts_are_in_scores_and_report(finished: Path) -> None:
    faces = scores(finished)["faces"]
    assert {key: faces[key] for key in ("finder", "frames", "faces", "compared")} == {
        "finder": "yunet", "frames": PORTRAITS + 1, "faces": PORTRAITS, "compared": PORTRAITS,
    }  # fmt: skip
    of_q16 = scores(finished)["variants"]["q16"]["regions"]
    frames = sum(outcome["frames"] for outcome in of_q16["outcomes"])
    assert 0 < frames <= PORTRAITS
    for outcome in of_q16["outcomes"]:
        assert sum(part["share"] for part in outcome["parts"]) == pytest.approx(1)
        assert all(abs(part["delta"]) < 0.05 for part in outcome["parts"]), "fp16 changes little"
    text = (finished / "reports/first/report.md").read_text(encoding="utf-8")
    assert "### Parts of the face" in text
    assert "over the 6 of 7 test frames that have a face" in text
    page = (finished / "reports/first/report.html").read_text(encoding="utf-8")
    assert "Parts of the face: " in page


def test_stored_points_lie_on_the_drawn_faces(finished: Path) -> None:
    """What is drawn is with_face: the eyes are above the middle, beside each other, and darker parts are theirs."""
    key = json.loads((finished / "results/first/run.json").read_text())["faces"]["key"]
    with_face = [points for points in regions.stored_faces(finished / "results/first", key).points.values() if points]
    assert len(with_face) == PORTRAITS
    for points in with_face:
        (left, right, nose, *mouth) = np.array(points).reshape(5, 2)
        assert 0 < left[0] < nose[0] < right[0] < 1
        assert max(left[1], right[1]) < nose[1] < min(corner[1] for corner in mouth)
        assert len(np.unique(parts_of(np.array(points).reshape(5, 2)))) == 8


def test_a_second_run_finds_nothing_anew(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yunet, "load", lambda *sizes: pytest.fail("looked for faces again"))
    code, output = bench("run", "--no-timing")
    assert code == 0, output
    assert face_points.WORK not in output


def test_points_of_a_manifest_are_taken_and_no_face_is_sought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pixels of files of another size and proportion than the network sees; frames without points are looked at."""
    run_quickly(monkeypatch)
    monkeypatch.chdir(tmp_path)
    tiny.save_weights(tmp_path / "best_model.tar")
    points, rows = [(30, 40), (70, 40), (50, 60), (36, 80), (64, 80)], []
    for index in range(4):
        Image.fromarray(picture(index, 160)).resize((100, 120)).save(tmp_path / f"{index}.png")
        cells = [str(part) for point in points for part in point] if index else [""] * 10
        rows.append(",".join([f"{index}.png", ("real", "fake")[index % 2], "test", *cells]))
    header = ",".join(["path", "label", "split", *POINT_COLUMNS])
    (tmp_path / "manifest.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    (tmp_path / "experiments.yaml").write_text(YAML.replace("path: faces", "path: ."), encoding="utf-8")
    sought: list[int] = []
    load = yunet.load

    def counted(min_face_px: int, min_score: float) -> yunet.YuNet:
        sought.append(1)
        return load(min_face_px, min_score)

    monkeypatch.setattr(yunet, "load", counted)
    code, output = bench("run", "--no-timing")
    assert code == 0, output
    assert len(sought) == 1, "for the one frame without points"
    assert scores(tmp_path)["faces"]["finder"] == "manifest and yunet"
    key = json.loads((tmp_path / "results/first/run.json").read_text())["faces"]["key"]
    table = regions.stored_faces(tmp_path / "results/first", key).points
    expected = [share for x, y in points for share in (x / 100, y / 120)]
    assert sum(each is not None and np.allclose(each, expected, atol=1e-6) for each in table.values()) == 3
    assert "that the manifest tells, or else YuNet finds" in (tmp_path / "reports/first/report.md").read_text("utf-8")


def test_a_report_without_regions(finished: Path) -> None:
    path = finished / "experiments.yaml"
    path.write_text(YAML.replace("regions: true", "regions: false"), encoding="utf-8")
    try:
        code, output = bench("report", "first")
        assert code == 0, output
        assert scores(finished)["faces"] is None
        assert "Parts of the face" not in (finished / "reports/first/report.md").read_text(encoding="utf-8")
    finally:
        path.write_text(YAML, encoding="utf-8")
