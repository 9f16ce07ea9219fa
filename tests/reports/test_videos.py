"""What reports say of videos, and the scores of flipped ones along their frames."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.records import MissingScore, RunRecord, VideoScoring
from bench.reports import html, render
from bench.reports.content import flipped_videos as content
from bench.reports.content import videos as of_variants
from bench.reports.content.flipped_videos import MOST_VIDEOS, FlippedVideo, flipped_videos, ledger
from bench.reports.html.videos import timeline
from tests.support.pages import HOSTILE
from tests.support.reports import FRAMES, Answers, judged, made_up, rendered
from tests.support.videos import EACH, STEP, of_videos

HEIGHT = re.compile(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="2.2"')


def by_hand(answers: Answers, variant: str) -> pd.DataFrame:
    """The scores of videos by both, and whether each flipped: a mean for each group."""
    columns = {name: answers.predictions[name].test for name in ("baseline", variant)}
    table = pd.DataFrame({"video": answers.test.videos, "label": answers.test.labels, **columns})
    scores = table.groupby("video").mean()
    right = {name: (scores[name] >= 0.5) == (scores["label"] == 1) for name in columns}
    scores["flip"] = np.where(right["baseline"] & ~right[variant], "worse", "")
    scores.loc[~right["baseline"] & right[variant], "flip"] = "better"
    return scores[scores["flip"] != ""]


def drawn(run: RunRecord, answers: Answers, variant: str = "q8") -> list[FlippedVideo]:
    [of_variant] = [each for each in flipped_videos(run, judged(run, answers)) if each.variant == variant]
    return list(of_variant.drawn)


@pytest.fixture(scope="module")
def made() -> tuple[RunRecord, Answers]:
    return of_videos(*made_up(FRAMES))


@pytest.fixture(scope="module")
def report(made: tuple[RunRecord, Answers], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rendered(tmp_path_factory.mktemp("videos"), *made)[1]


def test_flipped_videos_are_those_whose_mean_crosses_the_threshold(made: tuple[RunRecord, Answers]) -> None:
    run, answers = made
    expected = by_hand(answers, "q8")
    assert set(expected["flip"]) == {"worse", "better"}
    table = ledger(run, judged(run, answers))
    assert table is not None
    of_q8 = table[table["variant"] == "q8"].set_index("video")
    assert dict(of_q8["flip"]) == dict(expected["flip"])
    assert of_q8["variant_p_fake"].to_dict() == pytest.approx(expected["q8"].to_dict())
    assert of_q8["baseline_p_fake"].to_dict() == pytest.approx(expected["baseline"].to_dict())
    assert list(of_q8["flip"]) == sorted(of_q8["flip"], reverse=True)
    moved = (of_q8["variant_p_fake"] - of_q8["baseline_p_fake"]).abs()
    assert all(part.is_monotonic_decreasing for _, part in moved.groupby(of_q8["flip"]))
    assert set(of_q8["frames"]) == {EACH}


def test_the_line_of_a_video_has_a_point_for_each_frame_at_its_score(made: tuple[RunRecord, Answers]) -> None:
    run, answers = made
    video = drawn(run, answers)[0]
    rows = np.flatnonzero(answers.test.videos == video.video)
    assert [still.number for still in video.stills] == [STEP * index for index in range(EACH)]
    assert [still.p_fake for still in video.stills] == list(answers.predictions["q8"].test[rows])
    points = [(float(x), float(y)) for x, y in HEIGHT.findall(timeline(video, 0.5))]
    heights = [y for _, y in points]
    scores = [*(still.baseline for still in video.stills), *(still.p_fake for still in video.stills)]
    assert (max(heights) - np.array(heights)) / 124 == pytest.approx(np.array(scores) - min(scores), abs=1e-3)
    assert sorted({x for x, _ in points}) == [x for x, _ in points[:EACH]]
    [cut] = re.findall(r'y1="([\d.]+)"[^>]*class="limit"', timeline(video, scores[0]))
    assert float(cut) == pytest.approx(heights[0], abs=0.1)


def test_frames_stand_at_their_times_where_these_are_known(made: tuple[RunRecord, Answers]) -> None:
    """At a rate that varies, a frame's number says little of when it is seen."""
    run, answers = made
    rows = np.flatnonzero(answers.test.videos == drawn(run, answers)[0].video)
    times = np.full(len(answers.test.labels), 1.0)
    times[rows] = [0.0, 0.5, 4.0, 5.0]
    timed = dataclasses.replace(answers, test=dataclasses.replace(answers.test, times_s=times))
    video = drawn(run, timed)[0]
    assert video.across.label == "time (s)"
    assert [video.title(still) for still in video.stills] == ["0 (0.00 s)", "7 (0.50 s)", "14 (4.00 s)", "21 (5.00 s)"]
    x = np.array([float(x) for x, _ in HEIGHT.findall(timeline(video, 0.5))][:EACH])
    assert (x - x[0]) / (x[-1] - x[0]) == pytest.approx([0, 0.1, 0.8, 1], abs=1e-3)
    times[rows[1]] = np.nan
    video = drawn(run, timed)[0]
    assert video.across.label == "frame"
    assert [video.title(still) for still in video.stills] == ["0", "7", "14", "21"]


def test_faces_of_a_frame_are_one_point_and_the_picture_is_of_the_one_that_moved(
    made: tuple[RunRecord, Answers],
) -> None:
    run, answers = made
    video = drawn(run, answers)[0].video
    rows = np.flatnonzero(answers.test.videos == video)
    numbers = np.array(answers.test.frame_indices, np.int64)
    numbers[rows] = [0, 0, 5, 5]
    of_faces = pd.Series(numbers, dtype="Int64")
    answers = dataclasses.replace(answers, test=dataclasses.replace(answers.test, frame_indices=of_faces))
    low = video.startswith("fake")
    answers = answers.answering("baseline", dict(zip(rows, [0.9, 0.8] * 2 if low else [0.1, 0.2] * 2, strict=True)))
    answers = answers.answering("q8", dict(zip(rows, [0.4, 0.1] * 2 if low else [0.6, 0.9] * 2, strict=True)))
    [changed] = [each for each in drawn(run, answers) if each.video == video]
    assert [still.number for still in changed.stills] == [0, 5]
    assert {(still.baseline, still.p_fake) for still in changed.stills} == {(0.9, 0.4) if low else (0.2, 0.9)}
    assert [still.row for still in changed.stills] == [rows[1], rows[3]]


def test_scores_that_are_close_to_the_threshold_can_be_told_apart(made: tuple[RunRecord, Answers]) -> None:
    run, answers = made
    video = drawn(run, answers)[0].video
    rows = np.flatnonzero(answers.test.videos == video)
    side = 1 if video.startswith("fake") else -1
    answers = answers.answering("baseline", dict.fromkeys(rows.tolist(), 0.5 + side * 2e-6))
    answers = answers.answering("q8", dict.fromkeys(rows.tolist(), 0.5 - side * 1e-6))
    [changed] = [each for each in drawn(run, answers) if each.video == video]
    assert {changed.written(changed.baseline), changed.written(changed.p_fake)} == (
        {"0.500002", "0.499999"} if side == 1 else {"0.499998", "0.500001"}
    )
    points = [float(y) for _, y in HEIGHT.findall(timeline(changed, 0.5))]
    assert abs(points[0] - points[-1]) > 60


def test_frames_without_numbers_stand_in_their_order(made: tuple[RunRecord, Answers]) -> None:
    run, answers = made
    answers = dataclasses.replace(answers, test=dataclasses.replace(answers.test, frame_indices=None))
    video = drawn(run, answers)[0]
    assert [still.number for still in video.stills] == [0, 1, 2, 3]
    assert video.across.label == "frames in their order"


def test_page_and_text_show_them_with_pictures(report: Path, made: tuple[RunRecord, Answers]) -> None:
    text, page = ((report / f"report.{form}").read_text(encoding="utf-8") for form in ("md", "html"))
    flips = by_hand(made[1], "q8")["flip"].value_counts()
    for shown in (text, page):
        assert f"{flips['worse']} right → wrong, {flips['better']} wrong → right" in shown
        assert "20 of 21 videos have frames" in re.sub("<[^>]+>|\\*", "", shown)
        assert "(95.2 %). Without (no face: 1): real/empty.mp4." in shown
    assert (report / "flipped_videos_2.png").is_file()
    section = text[text.index("### Flipped videos") : text.index("### Heatmaps")]
    links = re.findall(r"\]\(([^)]+result/[^)]+)\)", section)
    assert len(links) >= 4
    assert all((report / link).is_file() for link in links)
    assert page.count('class="timelines"') == section.count("![Flipped videos of")
    cards = page[page.index('class="timelines"') :]
    rows = re.findall(r'href="#f(\d+)"', cards[: cards.index("</ol>")])
    assert rows
    assert all(f'id="f{row}"' in page for row in rows)


def test_the_slider_counts_videos_and_galleries_frames(made: tuple[RunRecord, Answers]) -> None:
    evaluation, labels = judged(*made), made[1].test.labels
    counted = html._data(made[0], evaluation, evaluation.by("video"), "q8")
    videos = pd.DataFrame({"video": made[1].test.videos, "label": labels, "p": made[1].predictions["q8"].test})
    scores = videos.groupby("video").mean()
    at = round(0.4 * counted["steps"])
    [q8] = [each for each in counted["variants"] if each["name"] == "q8"]
    assert counted["fakes"] == (scores["label"] == 1).sum()
    assert q8["fake"][at] == ((scores["label"] == 1) & (scores["p"] >= 0.4)).sum()
    assert counted["galleries"]["fakes"] == (labels == 1).sum()
    [q8] = [each for each in counted["galleries"]["variants"] if each["name"] == "q8"]
    assert q8["fake"][at] == ((labels == 1) & (videos["p"] >= 0.4)).sum()
    assert len(q8["fake"]) == counted["steps"] + 1 + len(counted["extra"])


def test_few_of_many_are_drawn_and_all_are_counted(
    made: tuple[RunRecord, Answers], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, answers = made
    count = len(by_hand(answers, "q8"))
    assert 2 < count <= MOST_VIDEOS
    monkeypatch.setattr(content, "MOST_VIDEOS", 2)
    [of_q8] = [each for each in flipped_videos(run, judged(run, answers)) if each.variant == "q8"]
    assert (len(of_q8.drawn), of_q8.count) == (2, count)
    assert [video.worse for video in of_q8.drawn] == [True, False]


def test_without_pictures_there_are_plots_alone(made: tuple[RunRecord, Answers], tmp_path: Path) -> None:
    run, answers = made
    render(run, judged(run, answers), None, None, tmp_path)
    text, page = ((tmp_path / f"report.{form}").read_text(encoding="utf-8") for form in ("md", "html"))
    assert "| Video | Class | Change | Baseline | q8 |\n" in text
    assert 'class="timelines"' in page
    assert 'class="stills"' not in page


def test_without_videos_nothing_is_said_of_them_and_old_figures_go(report: Path, tmp_path: Path) -> None:
    tmp_path.joinpath("reports/demo").mkdir(parents=True)
    for name in ("flipped_videos_2.png", "flipped_videos.csv"):
        (tmp_path / "reports/demo" / name).write_bytes((report / name).read_bytes())
    _, without = rendered(tmp_path, *made_up(FRAMES))
    assert not list(without.glob("flipped_videos*"))
    for form in ("md", "html"):
        assert "ideo" not in re.sub(r"video-\d+|<style>.*?</style>", "", read(without / f"report.{form}"), flags=re.S)


def read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def test_names_of_videos_are_data(tmp_path: Path) -> None:
    run, answers = of_videos(*made_up(FRAMES), name=HOSTILE[0].replace("/", "_") + "={label}/{number}")
    names = answers.test.videos
    assert names is not None
    formulas = dataclasses.replace(answers.test, videos="=1+" + names)
    _, report = rendered(tmp_path, run, dataclasses.replace(answers, test=formulas))
    assert "<script>alert" not in read(report / "report.html").replace("<script type", "")
    table = pd.read_csv(report / "flipped_videos.csv")
    assert all(table["video"].str.startswith("'=1+"))


@pytest.mark.parametrize(
    ("missing", "expected"),
    [("exclude", "They count in no number"), ("real", "They count as called real"), ("0.5", "count as P(fake) 0.5")],
)
def test_what_videos_without_frames_count_as_is_said(
    made: tuple[RunRecord, Answers], missing: MissingScore, expected: str
) -> None:
    run = dataclasses.replace(made[0], video_scoring=VideoScoring(missing=missing))
    assert expected in str(of_variants.coverage(run))


@pytest.mark.figures
def test_a_figure_has_a_plot_for_each_video(made: tuple[RunRecord, Answers], tmp_path: Path) -> None:
    run, answers = made
    render(run, judged(run, answers), None, None, tmp_path)
    with Image.open(tmp_path / "flipped_videos_2.png") as picture:
        rows = -(-len(drawn(run, answers)) // 2)
        assert picture.width == pytest.approx(936, abs=2)
        assert picture.height > 200 * rows
