"""`bench score` as a person types it: names of files, sources from frames' names, a ledger for spreadsheets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bench as bench_package
from tests.support.command_line import bench

VIDEOS = {"id0_0001": 0, "id1_0002": 0, "00170": 0, "id0_id1_0001": 1, "id1_id0_0002": 1, "id2_id0_0003": 1}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(file: Path, turned: bool = False, names: tuple[str, ...] = ()) -> None:
    file.parent.mkdir(exist_ok=True)
    rows = [
        {"frame": f"{name}.jpg", "label": label, "p_fake": 0.1 + 0.8 * (label != turned) + index / 1000}
        for index, (name, label) in enumerate([*VIDEOS.items(), *((name, 1) for name in names)])
    ]
    pd.DataFrame(rows).to_csv(file, index=False)


def test_two_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write(tmp_path / folder / "scores.csv")
    code, output = bench("score", "--name", "s", "a/scores.csv", "b/scores.csv")
    assert code == 2
    assert "both would be the variant 'scores'" in output
    assert "NAME=FILE, such as 'other=b/scores.csv'" in output
    assert bench("score", "--name", "s", "fp32=a/scores.csv", "q8=b/scores.csv")[0] == 0
    assert list(json.loads(Path("reports/s/scores.json").read_text())["variants"]) == ["fp32", "q8"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (("=a.csv",), "expected NAME=FILE"),
        (("x=",), "expected NAME=FILE"),
        (("x y=a.csv",), "'x y' cannot be a name"),
        (("x=nothing.csv",), "nothing.csv: no such file"),
        (("x=a.csv", "X=a.csv"), "both would be the variant 'X'"),
    ],
)
def test_what_is_wrong_with_a_name_is_said(files: tuple[str, ...], words: str, tmp_path: Path) -> None:
    write(tmp_path / "a.csv")
    code, output = bench("score", "--name", "s", *files)
    assert code == 2
    assert words in output


def test_a_file_with_an_equals_sign_is_a_file(tmp_path: Path) -> None:
    write(tmp_path / "a=b.csv")
    assert "'a=b' cannot be a name" in bench("score", "--name", "s", "a=b.csv")[1]
    assert bench("score", "--name", "s", "c=a=b.csv")[0] == 0


def test_sources_are_found_in_names(tmp_path: Path) -> None:
    write(tmp_path / "a.csv")
    assert bench("score", "--name", "s", "a.csv", "--source-pattern", r"(id\d+|\d{5})")[0] == 0
    scores = json.loads(Path("reports/s/scores.json").read_text())
    assert scores["frames"]["test"]["digest"]
    assert "no source" not in Path("reports/s/report.md").read_text()
    code, output = bench("score", "--name", "s", "a.csv", "--source-pattern", r"(id\d+)_")
    assert code == 0
    words = "1 of 3 real and 0 of 3 fake test frames have no source: 00170.jpg."
    assert words in " ".join(output.split())
    assert words in " ".join(Path("reports/s/report.md").read_text().replace("\\", "").split())


def test_fakes_of_two_sources_belong_to_both(tmp_path: Path) -> None:
    """Named in a column in any order, or by a pattern; what a pattern gives is told where it can be no video."""
    pairs = [(a, b) for a in range(8) for b in range(8) if a != b]
    names = [*(f"{k}.jpg" for k in range(8)), *(f"{a}_{b}.jpg" for a, b in pairs)]
    sources = [*(f"{k}" for k in range(8)), *(f"{b} ;{a}" for a, b in pairs)]
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"frame": names, "label": [0] * 8 + [1] * 56, "p_fake": rng.random(64)})
    table.assign(source=sources).to_csv("named.csv", index=False)
    table.to_csv("bare.csv", index=False)
    assert bench("score", "--name", "a", "named.csv")[0] == 0
    assert bench("score", "--name", "b", "bare.csv", "--source-pattern", r"(\d)(?:_(\d))?")[0] == 0
    code, output = bench("score", "--name", "c", "bare.csv", "--source-pattern", r"^(\d)")
    assert code == 0
    assert "56 fakes are named after two sources that real frames have" in " ".join(output.split())
    first, *others = (json.loads(Path(f"reports/{name}/scores.json").read_text()) for name in "abc")
    for other in others:
        assert other["frames"] == first["frames"], "paths, labels and sources are the same"
        assert other["variants"]["bare"]["auc_ci"] == first["variants"]["named"]["auc_ci"]
    code, output = bench("score", "--name", "d", "bare.csv", "--source-pattern", "(jpg)")
    assert "gives are one for all frames: 'jpg' (64 of 64 frames)" in " ".join(output.split())


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(x", "is not a regular expression"),
        ("id", "has no group"),
        ("(zzz)", "--source-pattern '(zzz)' matches no frame, for example"),
        ("(" * 600, "expected a regular expression of at most"),
    ],
)
def test_a_bad_pattern_is_refused(pattern: str, words: str, tmp_path: Path) -> None:
    write(tmp_path / "a.csv")
    code, output = bench("score", "--name", "s", "a.csv", "--source-pattern", pattern)
    assert code == 2
    assert words in output
    assert not Path("reports").exists()


def test_no_cell_of_the_ledger_is_a_formula(tmp_path: Path) -> None:
    odd = ("=1+2", "@SUM(1)", "+cmd", "-2+3", "\t=1", "＝1", " =1", "plain")
    write(tmp_path / "a.csv", names=odd)
    write(tmp_path / "b.csv", turned=True, names=odd)
    code, output = bench("score", "--name", "s", "a.csv", "b.csv")
    assert code == 0, output
    names = set(pd.read_csv("reports/s/flips.csv")["frame"])
    assert {f"'{name}.jpg" for name in odd[:-1]} | {"plain.jpg"} <= names


# ------------------------------------------------------------------------------------------------------ by video
def write_videos(file: Path, *, flipped: int = 0, frames: int = 4, **others: Any) -> pd.DataFrame:
    """Frames of ten real and ten fake videos; of the first ones, `flipped` are called the other way round."""
    rows = []
    for video in range(20):
        label = video % 2
        p_fake = 0.2 + 0.6 * (label != (video < flipped)) + video / 1000
        rows += [
            {"frame": f"v{video}/{k}.png", "label": label, "video": f"v{video}", "frame_index": k, "p_fake": p_fake}
            for k in range(frames)
        ]
    table = pd.DataFrame(rows).assign(**others)
    table.to_csv(file, index=False)
    return table


def numbers(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(f"reports/{name}/scores.json").read_text(encoding="utf-8"))
    return content


def test_scores_with_videos_are_judged_by_video() -> None:
    write_videos(Path("a.csv"))
    write_videos(Path("b.csv"), flipped=3)
    code, output = bench("score", "--name", "s", "a.csv", "b.csv")
    assert code == 0, output
    assert "judged by video: 20 test videos, mean P(fake) of its frames" in " ".join(output.split())
    scores = numbers("s")
    assert (scores["judge"], scores["videos"]["splits"]["test"]["count"]) == ("video", 20)
    assert scores["variants"]["b"]["video"]["flips"]["worse"] == 3
    assert scores["variants"]["b"]["flips"]["worse"] == 12
    assert bench("score", "--name", "f", "a.csv", "b.csv", "--judge", "frame")[0] == 0
    by_frame = numbers("f")
    assert by_frame["judge"] == "frame"
    assert by_frame["variants"]["b"]["video"] == scores["variants"]["b"]["video"]
    table = pd.read_csv("b.csv").rename(columns={"video": "clip"})
    table.to_csv("c.csv", index=False)
    assert (
        bench("score", "--name", "c", "c.csv", "--video-column", "clip", "--video-score", "top", "--video-top", "2")[0]
        == 0
    )
    assert (numbers("c")["judge"], numbers("c")["videos"]["score"], numbers("c")["videos"]["top"]) == (
        "video",
        "top",
        2,
    )


def test_videos_of_labels_without_scores_are_missing() -> None:
    table = write_videos(Path("a.csv"))
    more = pd.DataFrame(
        [{"frame": "gone/0.png", "label": 1, "video": "gone"}, {"frame": "v1/9.png", "label": 1, "video": "v1"}]
    )
    pd.concat([table[["frame", "label", "video"]], more]).to_csv("labels.csv", index=False)
    table[["frame", "p_fake"]].to_csv("b.csv", index=False)
    for missing, positives in (("exclude", 10), ("real", 10), ("fake", 11)):
        assert bench("score", "--name", missing, "b.csv", "--labels", "labels.csv", "--missing-videos", missing)[0] == 0
        scores = numbers(missing)
        assert scores["videos"]["splits"]["test"]["missing"] == scores["videos"]["splits"]["test"]["missing_fake"] == 1
        confusion = scores["variants"]["b"]["video"]["confusion"]
        assert (confusion["tp"], sum(confusion.values())) == (positives, 20 + (missing != "exclude"))


@pytest.mark.parametrize(
    ("options", "change", "words"),
    [
        (("--judge", "clip"), {}, "--judge: expected frame or video, found 'clip'"),
        (("--judge", "video"), {"video": None}, "--judge: 80 of 80 test frames name no video: v0/0.png, v0/1.png"),
        (("--video-score", "median"), {}, "--video-score: expected 'mean', 'max' or 'top', found 'median'"),
        (("--video-top", "0"), {}, "--video-top: expected a number of at least 1, found 0"),
        (("--video-top", "5"), {}, "--video-top: is used with `score: top` alone, and the score is mean"),
        (("--missing-videos", "none"), {}, "--missing-videos: must be exclude, real, fake or 0.5"),
        ((), {"label": [0, 1] * 40}, "20 videos have real and fake frames: v0, v1, v2, v3, v4"),
        ((), {"frame_index": 0.5}, "frame_index is no whole number from 0 in 80 of 80 rows"),
        (("--video-column", "clip"), {}, "the video is column 'clip', but there is 'video' too; rename it"),
    ],
)
def test_what_cannot_be_judged_by_video_is_refused(
    options: tuple[str, ...], change: dict[str, Any], words: str
) -> None:
    write_videos(Path("a.csv"), **change)
    code, output = bench("score", "--name", "s", "a.csv", *options)
    assert (code, words in " ".join(output.split())) == (2, True), output


def test_a_part_of_the_frames_without_videos_is_told() -> None:
    table = write_videos(Path("a.csv"))
    table["video"] = table["video"].where(table.index > 2)
    table.to_csv("a.csv", index=False)
    code, output = bench("score", "--name", "s", "a.csv")
    assert (code, numbers("s")["judge"], numbers("s")["videos"]) == (0, "frame", None)
    assert "3 of 80 test frames name no video, so nothing is said of test videos" in " ".join(output.split())


def test_arrays_are_judged_by_video() -> None:
    table = write_videos(Path("a.csv"))
    of: dict[str, Any] = {"videos": table["video"], "frame_indices": table["frame_index"]}
    p_fake = table["p_fake"].to_numpy()
    judged = bench_package.score(table["label"], {"baseline": p_fake, "q8": p_fake**2}, **of)
    assert judged.scores["judge"] == "video"
    assert (judged.variants["q8"].tp or 0) + (judged.variants["q8"].fn or 0) == 10
    assert bench_package.score(table["label"], {"baseline": p_fake}, **of, judge="frame").variants["baseline"].tp == 40
    faults: tuple[dict[str, Any], ...] = ({"judge": "clip"}, {"video_score": "median"}, {"video_top": 0})
    for wrong in faults:
        with pytest.raises(bench_package.UserError, match=next(iter(wrong))):
            bench_package.score(table["label"], {"baseline": p_fake}, **of, **wrong)
