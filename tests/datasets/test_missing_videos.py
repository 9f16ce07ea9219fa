"""Videos without frames: those that lists name, those that an extraction found nothing in, those that were left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.footage import manifest
from bench.footage.outcomes import Outcome, Row, Status
from bench.records import FrameSet, Split, Video
from tests.support.frames import load_set, pictures, refused_set


def missing_of(frames: FrameSet) -> dict[str, tuple[int, str | None]]:
    return {video.name: (video.label, video.source) for video in frames.missing}


def test_videos_of_celeb_dfs_list_without_a_file(tmp_path: Path) -> None:
    tested = [f"Celeb-real/id{n}_0001" for n in range(8)] + [f"Celeb-synthesis/id{n}_id9_0001" for n in range(8)]
    lines = [f"{int('real' in name)} {name}.mp4" for name in tested]
    pictures(tmp_path, *(f"{name}/{k}.png" for name in tested if name not in {tested[3], tested[12]} for k in range(2)))
    (tmp_path / "List_of_testing_videos.txt").write_text("\n".join(lines[:3] + lines[4:]) + "\n")
    test = load_set(tmp_path, path=".")["test"]
    assert missing_of(test) == {"Celeb-synthesis/id4_id9_0001.mp4": (1, "id4;id9")}
    assert "List_of_testing_videos.txt names it" in test.missing[0].reason


def test_videos_of_dfdcs_metadata_without_a_file(tmp_path: Path) -> None:
    videos = {f"v{n:02d}.mp4": {"label": "FAKE" if n % 2 else "REAL"} for n in range(20)}
    videos["v03.mp4"]["original"] = "v02.mp4"
    (tmp_path / "metadata.json").write_text(json.dumps(videos))
    pictures(tmp_path, *(f"{name[:3]}/{k}.png" for name in videos if name != "v03.mp4" for k in range(2)))
    assert missing_of(load_set(tmp_path, path=".")["test"]) == {"v03": (1, "v02")}


def test_pairs_of_faceforensics_without_a_file(tmp_path: Path) -> None:
    (tmp_path / "test.json").write_text(json.dumps([["000", "001"], ["002", "003"]]))
    names = {"original_sequences/youtube/c23": ["000", "001", "002", "003"]}
    names["manipulated_sequences/Deepfakes/c23"] = ["000_001", "001_000", "003_002"]
    pictures(
        tmp_path, *(f"{root}/frames/{name}/{k}.png" for root, of in names.items() for name in of for k in range(2))
    )
    test = load_set(tmp_path, path=".")["test"]
    assert missing_of(test) == {"manipulated_sequences/Deepfakes/c23/002_003": (1, "002;003")}


def test_videos_of_deepfakebench_without_frames(tmp_path: Path) -> None:
    listed = {
        f"id{n}_0000": {"label": "CelebDFv2_real", "frames": [f"Celeb\\frames\\id{n}_0000\\{k}.png" for k in range(2)]}
        for n in range(30)
    }
    fake = {"id1_id2_0000": {"label": "CelebDFv2_fake", "frames": ["Celeb\\frames\\id1_id2_0000\\0.png"]}}
    fake["id3_id4_0000"] = {"label": "CelebDFv2_fake", "frames": []}
    content = {"Celeb-DF-v2": {"CelebDFv2_real": {"test": listed}, "CelebDFv2_fake": {"test": fake}}}
    (tmp_path / "dataset_json").mkdir()
    (tmp_path / "dataset_json/Celeb-DF-v2.json").write_text(json.dumps(content))
    pictures(tmp_path, *(f"Celeb/frames/{name}/{k}.png" for name in listed if name != "id7_0000" for k in range(2)))
    pictures(tmp_path, "Celeb/frames/id1_id2_0000/0.png")
    test = load_set(tmp_path, path=".")["test"]
    assert missing_of(test) == {
        "Celeb-DF-v2/CelebDFv2_fake/test/id3_id4_0000": (1, "id3;id4"),
        "Celeb/frames/id7_0000": (0, "id7"),
    }


# ------------------------------------------------------------------------------------------------ extractions
def extracted(folder: Path, split: Split | None = "test", **statuses: Status) -> None:
    """What an extraction leaves of videos r0 … (real) and f0 … (fake), each with its status."""
    videos, outcomes = [], []
    for name, status in statuses.items():
        label = int(name.startswith("f"))
        video = Video(f"{name}.mp4", f"/x/{name}.mp4", label, split, f"s{name[1:]}", 1, 1)
        rows = tuple(Row(f"{k:06d}.png", k, None) for k in range(2)) if status == "ok" else ()
        pictures(folder, *(f"frames/{name}.mp4/{row.name}" for row in rows))
        videos.append(video)
        outcomes.append((video, Outcome("key", status, "no face in 2 frames", rows=rows)))
    manifest.write(folder, videos, outcomes, {})


def test_videos_that_an_extraction_found_nothing_in(tmp_path: Path) -> None:
    extracted(tmp_path / "faces", r0="ok", f1="ok", f2="no face", r3="broken")
    test = load_set(tmp_path, path="faces")["test"]
    assert missing_of(test) == {"f2.mp4": (1, "s2"), "r3.mp4": (0, "s3")}
    assert [video.reason for video in test.missing] == ["no face", "broken"]
    assert {frame.video for frame in test.frames} == {"r0.mp4", "f1.mp4"}


def test_a_set_split_by_source_puts_them_where_their_sources_are(tmp_path: Path) -> None:
    statuses: dict[str, Status] = {f"{label}{n}": "ok" for n in range(20) for label in "rf"}
    statuses["f40"] = "no face"
    extracted(tmp_path / "faces", split=None, r07="no face", **statuses)
    sets = load_set(tmp_path, path="faces", split="auto")
    placed = {video.name: split for split, frames in sets.items() for video in frames.missing}
    assert placed["f40.mp4"] == "test", "no frame has its source"
    assert len(placed) <= 2


def test_a_damaged_list_of_videos_is_refused(tmp_path: Path) -> None:
    extracted(tmp_path / "faces", r0="ok", f1="ok")
    (tmp_path / "faces/videos.csv").write_text("video,label\na,b\n")
    assert "videos.csv: can't be read (it has no column" in refused_set(tmp_path, path="faces")


def test_the_list_beside_another_manifest_means_nothing(tmp_path: Path) -> None:
    pictures(tmp_path, "faces/a.png", "faces/b.png")
    (tmp_path / "faces/manifest.csv").write_text("path,label,split\na.png,real,test\nb.png,fake,test\n")
    (tmp_path / "faces/videos.csv").write_text("anything\n")
    assert load_set(tmp_path, path="faces")["test"].missing == ()


@pytest.mark.parametrize("mode", ["masks", "broken"])
def test_a_video_whose_frames_are_all_left_out_has_none(tmp_path: Path, mode: str) -> None:
    """A mask, or a broken file, is no frame; with `on_bad_frame: skip` the others are used."""
    import numpy as np
    from PIL import Image

    from bench.datasets import FrameSetSettings, load

    pictures(tmp_path, *(f"faces/{name}.png" for name in "abcd"))
    lines = ["path,label,video", "a.png,real,va", "b.png,fake,vb", "c.png,real,va", "d.png,fake,vb", "e.png,fake,ve"]
    (tmp_path / "faces/manifest.csv").write_text("\n".join(lines) + "\n")
    if mode == "masks":
        Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(tmp_path / "faces/e.png")
    else:
        (tmp_path / "faces/e.png").write_bytes(b"\x89PNG broken")
    chosen = FrameSetSettings.model_validate({"path": "faces"})
    test = load("mine", chosen, tmp_path, tmp_path / ".cache", on_bad_frame="skip")["test"]
    assert [(video.name, video.label, video.reason) for video in test.missing] == [
        ("ve", 1, "none of its frames can be used")
    ]
