"""What is judged, frames or videos: by default, as it is set, refused, and in a whole run."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UserError
from bench.experiment import ExperimentSettings
from bench.pipeline import judging, render, report_reasons
from bench.records import Frame, FrameSet, MissingVideo, Split, VideoCounts
from tests.results.score.test_evaluate import run
from tests.support.command_line import bench


def frame(path: str, label: int, video: str | None) -> Frame:
    return Frame(path, Path(path), label, None, path, video=video)


def frame_set(split: Split, *frames: Frame, missing: tuple[MissingVideo, ...] = ()) -> FrameSet:
    return FrameSet("faces", split, frames, "", "", missing=missing)


def settings(**others: Any) -> ExperimentSettings:
    content = {"detector": "mine", "frames": "faces", "variants": {"baseline": []}}
    return ExperimentSettings.model_validate(content | others)


NAMED = (frame("a/0.png", 0, "a"), frame("a/1.png", 0, "a"), frame("b/0.png", 1, "b"))
NAMELESS = tuple(replace(each, video=None) for each in NAMED)
MIXED = (*NAMED, frame("b/1.png", 0, "b"))


@pytest.mark.parametrize(
    ("judge", "frames", "expected"),
    [
        (None, NAMED, "video"),
        (None, NAMELESS, "frame"),
        (None, (*NAMED, frame("c.png", 1, None)), "frame"),
        ("frame", NAMED, "frame"),
        ("video", NAMED, "video"),
    ],
)
def test_videos_are_judged_where_all_test_frames_name_theirs(
    judge: str | None, frames: tuple[Frame, ...], expected: str
) -> None:
    asked = settings(judge=judge) if judge else settings()
    assert judging.judge(asked, frames) == expected
    assert not list(judging.problems(asked, frames))


def test_sources_alone_make_no_videos() -> None:
    frames = tuple(replace(each, source=each.path[0]) for each in NAMELESS)
    assert judging.judge(settings(), frames) == "frame"
    assert judging.videos_of({"test": frame_set("test", *frames)}) == {}


@pytest.mark.parametrize(
    ("judge", "frames", "message"),
    [
        ("video", NAMELESS, "no test frame names its video"),
        ("video", (*NAMED, frame("c.png", 1, None)), "1 of 4 test frames name none: c.png"),
        (None, MIXED, "1 video has real and fake frames, such as 'b', of which 'b/1.png' is real and 'b/0.png' fake"),
    ],
)
def test_what_cannot_be_judged_by_video_is_a_problem(
    judge: str | None, frames: tuple[Frame, ...], message: str
) -> None:
    (problem,) = judging.problems(settings(judge=judge) if judge else settings(), frames)
    assert message in problem.text
    assert problem.of_setting == (judge == "video")


def test_mixed_videos_stay_where_frames_are_judged() -> None:
    assert not list(judging.problems(settings(judge="frame"), MIXED))
    assert judging.videos_of({"test": frame_set("test", *MIXED)}) == {}


def test_missing_videos_are_counted_by_class_and_reason() -> None:
    missing = (MissingVideo("c", 1, None, "no face"), MissingVideo("d", 1, None, "broken"))
    sets: dict[Split, FrameSet] = {"test": frame_set("test", *NAMED, missing=missing)}
    counts = judging.videos_of(sets)["test"]
    assert (counts.count, counts.fake, counts.real, counts.coverage) == (2, 1, 1, 0.5)
    (remark,) = judging.remarks(settings(), sets)
    assert remark == "2 of 4 test videos have no frame (2 fake, 0 real; 1 no face, 1 broken): c, d."
    assert "1 fake; 2 more have no frame, and count in no number)" in judging.in_words(settings(), sets)
    assert "frame, and count as 0.5)" in judging.in_words(settings(videos={"missing": 0.5}), sets)
    assert not list(judging.remarks(settings(judge="frame"), sets))


def test_a_plan_says_that_the_report_is_due_where_something_else_is_judged() -> None:
    judged_by_video = replace(run("baseline"), judge="video", videos={"test": VideoCounts(2, 1, 1)})
    cases: tuple[tuple[dict[str, Any], list[str]], ...] = (
        ({}, []),
        ({"judge": "frame"}, ["judge video → frame"]),
        ({"videos": {"score": "max", "missing": 0.5}}, ["videos score mean → max", "videos missing exclude → 0.5"]),
    )
    for others, expected in cases:
        now = render.as_set(judged_by_video, settings(**others))
        changed = report_reasons._changed_settings(judged_by_video, now)
        assert [text for text in changed if text.startswith(("judge", "videos"))] == expected


def test_results_that_know_no_videos_are_not_judged_by_them() -> None:
    assert render.as_set(run("baseline"), settings()).judge == "frame"
    with pytest.raises(UserError, match="its results know no videos of its test frames"):
        render.as_set(run("baseline"), settings(judge="video"))


def test_validation_frames_without_videos_are_told() -> None:
    sets: dict[Split, FrameSet] = {"test": frame_set("test", *NAMED), "validation": frame_set("validation", *NAMELESS)}
    assert list(judging.remarks(settings(), sets)) == [
        "No validation frame names its video, so no threshold of videos is set on them."
    ]


def test_a_test_frame_without_a_video_is_told_where_it_keeps_videos_from_being_judged() -> None:
    partly_named = (*NAMED, frame("c.png", 1, None))
    sets: dict[Split, FrameSet] = {"test": frame_set("test", *partly_named)}
    (remark,) = judging.remarks_on_test(settings(), sets)
    assert remark == "1 of 4 test frames names no video, so frames are judged, and not videos: c.png."
    assert list(judging.remarks(settings(), sets)) == [remark]
    assert not list(judging.remarks(settings(judge="frame"), sets))
    assert not list(judging.remarks(settings(), {"test": frame_set("test", *NAMELESS)}))
    validation: dict[Split, FrameSet] = {
        "test": frame_set("test", *NAMED),
        "validation": frame_set("validation", *partly_named),
    }
    assert list(judging.remarks(settings(), validation)) == [
        "1 of 4 validation frames names no video, so no threshold of videos is set on them: c.png."
    ]


def test_a_plan_tells_of_test_frames_without_a_video(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    write_manifest(workplace)
    manifest = workplace / "faces/manifest.csv"
    named = manifest.read_text(encoding="utf-8")
    manifest.write_text(named.replace(",test/fake/0,0", ",,"), encoding="utf-8")
    words = "1 of 32 test frames names no video, so frames are judged, and not videos: test/fake/000.png."
    assert words in " ".join(bench("plan", "--only", "baseline")[1].split())


# --------------------------------------------------------------------------------------------------- a whole run
def write_manifest(folder: Path, *, with_videos: bool = True) -> None:
    """The test and validation frames of a workplace, four and four of one video."""
    with (folder / "faces/manifest.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "split", *(["video", "frame_index"] if with_videos else [])])
        for path in sorted((folder / "faces").glob("*/*/*.png")):
            split, label, name = path.relative_to(folder / "faces").parts
            number = int(Path(name).stem)
            of_video = [f"{split}/{label}/{number // 4}", number % 4] if with_videos else []
            rows.writerow([f"{split}/{label}/{name}", label, split, *of_video])


def write_settings(folder: Path, lines: str) -> None:
    """Set keys of the experiment."""
    file = folder / "experiments.yaml"
    text = file.read_text(encoding="utf-8")
    before, mark, _ = text.partition("    # judged\n")
    file.write_text(f"{before if mark else text.rstrip() + chr(10)}    # judged\n{lines}", encoding="utf-8")


def scores(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "reports/first/scores.json").read_text(encoding="utf-8"))
    return content


def test_a_run_is_judged_by_video_and_rendered_anew_by_frame(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    write_manifest(workplace)
    code, output = bench("run", "--only", "q16", "--no-timing")
    assert code == 0, output
    by_video = scores(workplace)
    count = by_video["videos"]["splits"]["test"]["count"]
    assert (by_video["judge"], by_video["videos"]["score"], by_video["videos"]["missing"]) == (
        "video",
        "mean",
        "exclude",
    )
    frames = by_video["frames"]["test"]["count"]
    assert frames // 4 <= count < frames // 2
    assert f"{count} test videos" in " ".join(output.split())
    judged, of_frames = by_video["variants"]["q16"]["video"], by_video["variants"]["q16"]
    assert sum(judged["confusion"].values()) == count
    assert sum(of_frames["confusion"].values()) == frames
    assert judged.keys() <= of_frames.keys()
    report = (workplace / "reports/first/report.md").read_text(encoding="utf-8")
    assert f"evaluated on {count} test videos" in report
    assert "the score of a video is the mean of its frames' P(fake)" in report
    assert f"videos: {count} test" in " ".join(bench("plan", "--only", "q16")[1].split())
    predictions = workplace / "results/first/q16/predictions.parquet"
    before = predictions.stat().st_mtime_ns

    write_settings(workplace, "    judge: frame\n    videos: {score: top, top: 2}\n")
    assert bench("report")[0] == 0
    by_frame = scores(workplace)
    assert (by_frame["judge"], by_frame["videos"]["score"], by_frame["videos"]["top"]) == ("frame", "top", 2)
    assert by_frame["variants"]["q16"]["auc"] == of_frames["auc"]
    assert f"evaluated on {frames} test frames" in (workplace / "reports/first/report.md").read_text("utf-8")
    assert predictions.stat().st_mtime_ns == before

    write_settings(workplace, "    judge: video\n")
    write_manifest(workplace, with_videos=False)
    code, output = bench("run", "--only", "q16", "--no-timing")
    assert code == 2
    assert "no test frame names its video. Write the video of each frame in a column `video`" in " ".join(
        output.split()
    )


@pytest.mark.slow
def test_accepted_scores_are_compared_by_video(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    write_manifest(workplace)
    write_settings(workplace, "    gates: {all: {min_coverage: 0.95}}\n")
    assert bench("run", "--only", "q16", "--no-timing")[0] == 0
    assert bench("accept", "--anyway", "--to", "accepted.json")[0] == 0
    assert json.loads((workplace / "accepted.json").read_text(encoding="utf-8"))["judge"] == "video"
    options = ("check", "--only", "q16", "--no-timing", "--against", "accepted.json", "--anyway")
    output = " ".join(bench(*options)[1].split())
    assert output.count("min_coverage") == 1
    count = scores(workplace)["videos"]["splits"]["test"]["count"]
    assert f"Compared on {count} test videos" in output
    write_settings(workplace, "    judge: frame\n")
    output = " ".join(bench(*options)[1].split())
    assert f"Compared on {scores(workplace)['frames']['test']['count']} test frames" in output
    assert "By videos it was judged when the scores were accepted, by frames now" in output
