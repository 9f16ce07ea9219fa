"""`bench extract`: from videos of all kinds to a folder of frames that any experiment may name."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from PIL import Image

from bench import datasets
from bench.datasets import FrameSetSettings
from bench.footage import folder, lettering, pool
from bench.footage.manifest import COLUMNS
from bench.records import EXTRACTION_KEY
from tests.support import face_graphs
from tests.support.command_line import bench
from tests.support.footage import number_of, portrait, write_sound, write_video

WHOLE = ("--faces", "none", "--workers", "2")


def picture(file: Path) -> Any:
    return np.asarray(Image.open(file))


def tree(root: Path) -> dict[str, str]:
    """SHA-256 of every file that people see."""
    files = [file for file in root.rglob("*") if file.is_file() and folder.WORK not in file.parts]
    return {file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled videos, two of which give nothing."""
    root = tmp_path_factory.mktemp("videos")
    write_video(root / "real" / "a" / "one.mp4", 45)
    write_video(root / "real" / "two.mkv", 7, times=[0, 40, 300, 310, 320, 400, 900])
    write_video(root / "fake" / "swap" / "one.webm", 40, "libvpx-vp9")
    write_sound(root / "fake" / "sound.mp4")
    (root / "fake" / "text.avi").write_text("no video at all")
    (root / "notes.txt").write_text("no video")
    return root


def test_frames_are_those_that_the_manifest_says(videos: Path, tmp_path: Path) -> None:
    to = tmp_path / "frames"
    code, output = bench("extract", str(videos), "--to", str(to), "--frames", "4", *WHOLE)
    assert code == 0, output
    assert "3 of 5 videos have frames: 12 frames read, 12 written" in output
    assert "skipped, no video: fake/sound.mp4 (no video stream (audio only))" in output
    assert "skipped, unreadable: fake/text.avi" in output
    table = pd.read_parquet(to / "manifest.parquet")
    assert [name for name in COLUMNS if name != "split"] == list(table.columns)[: len(COLUMNS) - 1]
    assert [number_of(picture(to / path)) for path in table["path"]] == list(table["frame_index"])
    indices = {video: list(rows["frame_index"]) for video, rows in table.groupby("video")}
    assert indices == {
        "fake/swap/one.webm": [0, 13, 26, 39],
        "real/a/one.mp4": [0, 14, 29, 44],
        "real/two.mkv": [0, 2, 4, 6],
    }
    two = table[table["video"] == "real/two.mkv"]
    assert list(two["time_s"]) == pytest.approx([0, 0.3, 0.32, 0.9], abs=2e-3)
    assert set(two["label"]) == {"real"}
    assert set(two["source"]) == {f"{videos.name}/real/two.mkv"}
    assert list(table[table["video"].str.startswith("fake")]["folder"]) == ["swap"] * 4


def test_what_was_made_how_is_said(videos: Path, tmp_path: Path) -> None:
    to = tmp_path / "frames"
    bench("extract", str(videos), "--to", str(to), "--frames", "2", "--sampling", "first", *WHOLE)
    card = json.loads((to / "extraction.json").read_text(encoding="utf-8"))
    of_manifest = json.loads(pyarrow.parquet.read_schema(to / "manifest.parquet").metadata[EXTRACTION_KEY])
    for facts in (card, of_manifest):
        assert (facts["settings"]["sampling"], facts["settings"]["frames"]) == ("first", 2)
        assert facts["finder"] == {"name": "none", "sha256": ""}
        assert "av" in facts["libraries"]
    assert card["counts"]["statuses"] == {"ok": 3, "no video": 1, "unreadable": 1}
    listed = pd.read_csv(to / "videos.csv").set_index("video")
    assert listed.loc["fake/sound.mp4", "status"] == "no video"
    assert list(listed.loc["real/a/one.mp4", ["frames", "asked", "decoded", "crops"]]) == [45, 2, 2, 2]


def test_an_experiment_takes_the_folder_as_it_is(tmp_path: Path) -> None:
    for seed in range(12):
        draw = partial(portrait, seed=seed)
        write_video(tmp_path / "v" / ("real", "fake")[seed % 2] / f"{seed}.avi", 3, "mjpeg", draw=draw)
    bench("extract", str(tmp_path / "v"), "--to", str(tmp_path / "f"), "--frames", "3", *WHOLE)
    sets = datasets.load("mine", FrameSetSettings(path="f", split="auto"), tmp_path, tmp_path / "cache")
    frames = {split: of_split.frames for split, of_split in sets.items() if split != "calibration"}
    assert sum(map(len, frames.values())) == 36
    sources = [{frame.source for frame in of_split} for of_split in frames.values()]
    assert sum(map(len, sources)) == len(set().union(*sources)) == 12


def test_faces_are_cut_out_and_lie_where_the_manifest_says(tmp_path: Path) -> None:
    for seed in range(2):
        write_video(tmp_path / "v" / f"{seed}.mp4", 30, draw=partial(portrait, seed=seed))
    write_video(tmp_path / "v" / "nobody.mp4", 20)
    code, output = bench("extract", str(tmp_path / "v"), "--to", str(tmp_path / "f"), "--frames", "3", "--workers", "2")
    assert code == 0, output
    assert "skipped, no face: nobody.mp4 (no face in 3 frames)" in output
    table = pd.read_parquet(tmp_path / "f" / "manifest.parquet")
    assert len(table) == 6
    for row in table.to_dict("records"):
        height, width, _ = picture(tmp_path / "f" / row["path"]).shape
        # FSBI's crop has an eighth of the face around it.
        assert 0 < row["box_x0"] < 0.25 * width
        assert 0.75 * width < row["box_x1"] < width
        assert row["box_x0"] < row["eye_l_x"] < row["nose_x"] < row["eye_r_x"] < row["box_x1"]
        assert row["eye_l_y"] < row["nose_y"] < row["mouth_l_y"] < height
        assert row["face_px"] == pytest.approx(
            min(row["box_x1"] - row["box_x0"], row["box_y1"] - row["box_y0"]), abs=0.1
        )
        assert 0.85 <= row["face_score"] <= 1
    facts = json.loads(pyarrow.parquet.read_schema(tmp_path / "f" / "manifest.parquet").metadata[EXTRACTION_KEY])
    assert len(facts["finder"]["sha256"]) == 64
    assert "RetinaFace" in facts["remark"]


def test_jpegs_are_a_choice(videos: Path, tmp_path: Path) -> None:
    to = tmp_path / "frames"
    bench("extract", str(videos), "--to", str(to), "--frames", "2", "--format", "jpg", *WHOLE)
    paths = list(pd.read_parquet(to / "manifest.parquet")["path"])
    assert {Path(path).suffix for path in paths} == {".jpg"}
    with Image.open(to / paths[0]) as file:
        assert file.format == "JPEG"
        assert file.layer[0][1:3] == (1, 1)  # type: ignore[attr-defined]  # colour at full size


def test_again_makes_nothing_twice_and_only_what_is_new(videos: Path, tmp_path: Path) -> None:
    root, to = tmp_path / "v", tmp_path / "f"
    shutil.copytree(videos, root)
    arguments = ("extract", str(root), "--to", str(to), "--frames", "3", *WHOLE)
    bench(*arguments)
    before = {path: (to / path).stat().st_mtime_ns for path in tree(to) if path.startswith("frames/")}
    first = tree(to)
    code, output = bench(*arguments)
    assert code == 0
    assert "(5 videos were there already)" in output
    assert tree(to) == first
    write_video(root / "fake" / "new.mp4", 12)
    code, output = bench(*arguments)
    assert "4 of 6 videos have frames: 12 frames read, 12 written (5 videos were there already)" in output
    assert {path: (to / path).stat().st_mtime_ns for path in before} == before
    # Another file under the same name is read again, and so is the first one where that is put back.
    shutil.copy2(root / "fake" / "new.mp4", tmp_path / "first.mp4")
    write_video(root / "fake" / "new.mp4", 30)
    code, output = bench(*arguments)
    assert "(5 videos were there already)" in output
    assert sorted(pd.read_parquet(to / "manifest.parquet").query("video == 'fake/new.mp4'")["frame_index"]) == [
        0,
        14,
        29,
    ]
    assert len(list((to / "frames" / "fake" / "new.mp4").iterdir())) == 3
    shutil.copy2(tmp_path / "first.mp4", root / "fake" / "new.mp4")
    code, output = bench(*arguments)
    assert "(5 videos were there already)" in output
    numbers = sorted(pd.read_parquet(to / "manifest.parquet").query("video == 'fake/new.mp4'")["frame_index"])
    assert numbers == [0, 5, 11]
    assert "(6 videos were there already)" in bench(*arguments)[1]


def test_frames_of_another_version_need_another_folder(videos: Path, tmp_path: Path) -> None:
    to = tmp_path / "frames"
    arguments = ("extract", str(videos), "--to", str(to), "--frames", "3", *WHOLE)
    assert bench(*arguments)[0] == 0
    card = to / folder.CARD
    content = json.loads(card.read_text())
    for version in (content.pop("version") - 1, None):
        card.write_text(json.dumps(content if version is None else {**content, "version": version}))
        code, output = bench(*arguments)
        assert code == 2
        assert "holds frames that another version of bench extracted" in output


def test_other_settings_need_another_folder(videos: Path, tmp_path: Path) -> None:
    to = tmp_path / "frames"
    bench("extract", str(videos), "--to", str(to), "--frames", "3", *WHOLE)
    before = tree(to)
    code, output = bench("extract", str(videos), "--to", str(to), "--frames", "4", *WHOLE)
    assert code == 2
    assert "extracted otherwise (frames 3 → 4)" in output
    assert tree(to) == before


def test_a_crop_that_needs_points_is_refused_before_anything_is_read(videos: Path, tmp_path: Path) -> None:
    outputs = face_graphs.scrfd([face_graphs.target(40, 60, 60, 72, 0.97)], 640, points=False)
    network = face_graphs.write(tmp_path / "scrfd.onnx", outputs, [1, 3, 640, 640])
    to = tmp_path / "frames"
    code, output = bench("extract", str(videos), "--to", str(to), "--faces", str(network), "--crop", "deepfakebench")
    assert code == 2
    assert "needs the five points of a face, which this scrfd does not give" in " ".join(output.split())
    assert not to.exists()


def test_somebodys_folder_is_left_alone(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    code, output = bench("extract", str(videos), "--to", str(tmp_path), *WHOLE)
    assert code == 2
    assert "holds other files, such as 'thesis.txt'" in output
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_splits_and_several_sources(tmp_path: Path) -> None:
    for name in ("x/test/real/a.mp4", "x/test/fake/b.mp4", "x/train/real/c.mp4", "y/test/real/a.mp4"):
        write_video(tmp_path / name, 5)
    to = tmp_path / "f"
    sources = (str(tmp_path / "x"), str(tmp_path / "y"))
    code, output = bench("extract", *sources, "--to", str(to), "--frames", "2", *WHOLE)
    assert code == 0, output
    table = pd.read_parquet(to / "manifest.parquet")
    videos = dict(zip(table["video"], table["split"], strict=True))
    assert videos == {
        "x/test/real/a.mp4": "test", "x/test/fake/b.mp4": "test", "x/train/real/c.mp4": "train",
        "y/test/real/a.mp4": "test",
    }  # fmt: skip
    assert table["source"].nunique() == 4


def test_manifest_of_videos_keeps_what_it_says(tmp_path: Path) -> None:
    write_video(tmp_path / "v" / "a.mp4", 5)
    write_video(tmp_path / "v" / "b.mp4", 5)
    (tmp_path / "v" / "list.csv").write_text(
        "path,label,source,method,compression,camera\na.mp4,real,id1,,c23,phone\nb.mp4,fake,id1;id2,swap,c23,\n"
    )
    to = tmp_path / "f"
    code, output = bench("extract", str(tmp_path / "v" / "list.csv"), "--to", str(to), "--frames", "1", *WHOLE)
    assert code == 0, output
    table = pd.read_parquet(to / "manifest.parquet").set_index("video")
    assert list(table.loc["b.mp4", ["label", "source", "method", "compression"]]) == [
        "fake",
        "id1;id2",
        "swap",
        "c23",
    ]
    assert table.loc["a.mp4", "camera"] == "phone"


def test_source_pattern_names_persons(videos: Path, tmp_path: Path) -> None:
    to = tmp_path / "f"
    bench("extract", str(videos), "--to", str(to), "--frames", "1", "--source-pattern", "(one|two)", *WHOLE)
    assert set(pd.read_parquet(to / "manifest.parquet")["source"]) == {"one", "two"}


def test_strange_names_stay_inside(tmp_path: Path) -> None:
    names = ["con.mp4", "a:b?.mp4", "-rf.mp4", "ü 漢字.mp4", "..x.mp4", "a;b.mp4", "\u202egpm.mp4", f"{'n' * 200}.mp4"]
    for number, name in enumerate(names):
        write_video(tmp_path / "v" / f"v{number}.mp4", 3).rename(tmp_path / "v" / name)
    to = tmp_path / "f"
    code, output = bench("extract", str(tmp_path / "v"), "--to", str(to), "--frames", "1", *WHOLE)
    assert code == 0, output
    table = pd.read_parquet(to / "manifest.parquet")
    assert set(table["video"]) == set(names) - {"..x.mp4"}  # hidden files are nobody's frames
    assert all((to / path).is_file() for path in table["path"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "v"]


def test_links_in_the_folder_lead_nowhere(tmp_path: Path) -> None:
    write_video(tmp_path / "v" / "real" / "a.mp4", 3)
    to, elsewhere = tmp_path / "f", tmp_path / "elsewhere"
    elsewhere.mkdir()
    arguments = ("extract", str(tmp_path / "v"), "--to", str(to), "--frames", "1", *WHOLE)
    bench(*arguments)
    shutil.rmtree(to / "frames" / "real")
    (to / "frames" / "real").symlink_to(elsewhere)
    code, output = bench(*arguments)
    assert code == 2
    assert "leads outside" in output
    assert not list(elsewhere.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("made", ["hang", "end"])
def test_a_video_that_takes_its_process_along_is_skipped_and_tried_again(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str
) -> None:
    real = pool.run_all

    def lose_one(load: Any, tasks: Any, workers: int) -> Any:
        for task, result in real(load, tasks, workers):
            lost = pool.LostError("no sign of life for 120 s", stuck=made == "hang")
            yield task, lost if task.file.name == "two.mkv" else result

    to = tmp_path / "f"
    arguments = ("extract", str(videos), "--to", str(to), "--frames", "2", *WHOLE)
    with monkeypatch.context() as patch:
        patch.setattr(pool, "run_all", lose_one)
        code, output = bench(*arguments)
    assert code == 0
    assert "no sign of life" in output
    assert not (to / "frames" / "real" / "two.mkv").exists()
    code, output = bench(*arguments)
    assert "3 of 5 videos have frames" in output
    assert "(4 videos were there already)" in output
    assert (to / "frames" / "real" / "two.mkv").is_dir()


def test_contact_sheet_has_a_page_for_forty_videos(tmp_path: Path) -> None:
    source = write_video(tmp_path / "v" / "000.mp4", 2)
    for number in range(1, 45):
        os.link(source, source.with_name(f"{number:03d}.mp4"))
    to = tmp_path / "f"
    bench("extract", str(tmp_path / "v"), "--to", str(to), "--frames", "2", *WHOLE)
    pages = sorted(path.name for path in (to / "contact-sheet").iterdir())
    assert pages == ["001.jpg", "002.jpg"]
    with Image.open(to / "contact-sheet" / "002.jpg") as page:
        assert np.asarray(page.convert("L")).min() < 100


def test_letters_of_names_are_drawn_or_escaped() -> None:
    """No two of these look alike, as boxes for letters without a glyph would."""
    font = lettering.font(11)
    drawn = [bytes(font.getmask(letter)) for letter in "ДжλΩëłş…"]
    assert len(set(drawn)) == len(drawn)
    assert lettering.drawable("Ёлка/λ_é.mp4") == "Ёлка/λ_é.mp4"
    assert lettering.drawable("北🙂\u202e\n") == "\\u5317\\U0001f642\\u202e\\n"
    whole = "real/" + 80 * "W"
    cut = lettering.fitted(whole, font, 288)
    assert cut.startswith("…W")
    assert whole.endswith(cut[1:])
    assert 270 < font.getlength(cut) <= 288
    assert lettering.fitted("short.mp4", font, 288) == "short.mp4"


def test_celeb_df_keeps_its_splits_and_what_they_share(tmp_path: Path) -> None:
    """Its lists say that persons of test videos are in the others too: the frames say so as well, and can be used."""
    root = tmp_path / "Celeb-DF-v2"
    listed = []
    for seed, name in enumerate(("Celeb-real/id0_0000", "Celeb-real/id1_0000", "YouTube-real/00000")):
        write_video(root / f"{name}.mp4", 3, draw=partial(portrait, seed=seed))
        listed.append(f"1 {name}.mp4")
    for seed, name in enumerate(("Celeb-synthesis/id0_id1_0000", "Celeb-synthesis/id1_id0_0000"), 5):
        write_video(root / f"{name}.mp4", 3, draw=partial(portrait, seed=seed))
    listed.append("0 Celeb-synthesis/id0_id1_0000.mp4")
    (root / "List_of_testing_videos.txt").write_text("".join(f"{line}\n" for line in (listed[0], *listed[2:])))
    code, output = bench("extract", str(root), "--to", str(tmp_path / "f"), "--frames", "2", *WHOLE)
    assert code == 0, output
    table = pd.read_parquet(tmp_path / "f" / "manifest.parquet")
    videos = dict(zip(table["video"], zip(table["split"], table["label"], strict=True), strict=True))
    assert videos["test/Celeb-synthesis/id0_id1_0000.mp4"] == ("test", "fake")
    assert videos["test/Celeb-real/id0_0000.mp4"] == ("test", "real")
    assert videos["train/Celeb-real/id1_0000.mp4"] == ("train", "real")
    sources = dict(zip(table["video"], table["source"], strict=True))
    assert sources["test/Celeb-synthesis/id0_id1_0000.mp4"].count(";") == 1
    sets = datasets.load("celeb", FrameSetSettings(path="f"), tmp_path, tmp_path / "cache")
    assert [len(sets[split].frames) for split in ("test", "train")] == [6, 4]
