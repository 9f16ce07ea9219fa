"""Videos are scored from their frames as the field does it, and judged by the code that judges frames."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from bench.errors import UserError
from bench.records import LabelledFrames, MissingVideo, Predictions, VideoCounts, Videos, VideoScore, VideoScoring
from bench.results.score import evaluate, videos
from bench.results.score.differences import difference
from bench.results.score.placements import of_predictions, subset
from tests.results.score.test_evaluate import run


def labelled(
    names: list[str | None], labels: list[int], indices: list[int | None] | None = None, **others: Any
) -> LabelledFrames:
    """Frames of these videos, each a source of its own."""
    paths = pd.Series([f"{name}/{row}.png" for row, name in enumerate(names)])
    sources = others.pop("sources", pd.Series(names, dtype="object"))
    attributes = others.pop("attributes", pd.DataFrame(index=range(len(names))))
    numbers = None if indices is None else pd.Series(pd.array(indices, dtype="Int64"))
    of_videos = pd.Series(pd.array(names, dtype="string"))
    return LabelledFrames(
        paths, np.array(labels, np.int8), sources, attributes, videos=of_videos, frame_indices=numbers, **others
    )


def grouped(frames: LabelledFrames, missing: tuple[MissingVideo, ...] = ()) -> Videos:
    of_split = videos.group(frames, missing)
    assert of_split is not None
    return of_split


@pytest.mark.parametrize(
    ("scoring", "expected"),
    [
        (VideoScoring("mean"), [(0.9 + 0.4 + 0.2) / 3, 0.3]),
        (VideoScoring("max"), [0.9, 0.3]),
        (VideoScoring("top", top=2), [(0.9 + 0.4) / 2, 0.3]),
        (VideoScoring("top", top=9), [(0.9 + 0.4 + 0.2) / 3, 0.3]),
    ],
)
def test_a_frames_faces_count_by_their_maximum_before_its_video_is_scored(
    scoring: VideoScoring, expected: list[float]
) -> None:
    # Video a: frame 0 with faces .1 and .9, frame 4 with .4, frame 9 with .2 and .05. Its rows lie anywhere.
    frames = labelled(["a", "b", "a", "a", "a", "a"], [1, 0, 1, 1, 1, 1], [9, 0, 0, 4, 0, 9])
    p_fake = np.array([0.2, 0.3, 0.9, 0.4, 0.1, 0.05])
    assert videos.scores(grouped(frames), p_fake, scoring) == pytest.approx(expected, abs=1e-15)


def test_rows_of_a_video_are_in_the_order_of_its_frames() -> None:
    of_split = grouped(labelled(["b", "a", "b", "a", "b"], [0, 1, 0, 1, 0], [7, None, 3, 2, 5]))
    assert of_split.names.tolist() == ["b", "a"]
    assert [of_split.rows_of(video).tolist() for video in range(2)] == [[2, 4, 0], [3, 1]]


def test_frames_of_unknown_number_are_frames_of_their_own() -> None:
    p_fake = np.array([0.2, 0.6, 0.5])
    for indices in (None, [None, None, 0]):
        of_split = grouped(labelled(["a", "a", "b"], [1, 1, 0], indices))
        assert videos.scores(of_split, p_fake, VideoScoring()) == pytest.approx([0.4, 0.5])


@pytest.mark.parametrize("score", ["mean", "max", "top"])
def test_scores_are_those_of_a_plain_loop(score: VideoScore) -> None:
    rng = np.random.default_rng(1)
    names = [f"v{number}" for number in rng.integers(0, 30, 600)]
    labels = [int(name[1:]) % 2 for name in names]
    indices = rng.integers(0, 12, 600).tolist()
    p_fake = rng.random(600)
    of_split = grouped(labelled(list(names), labels, indices))
    expected = []
    for name in of_split.names:
        stills: dict[int, float] = {}
        for row, other in enumerate(names):
            if other == name:
                stills[indices[row]] = max(stills.get(indices[row], 0.0), float(p_fake[row]))
        highest = sorted(stills.values(), reverse=True)
        expected.append({"mean": np.mean(highest), "max": highest[0], "top": np.mean(highest[:3])}[score])
    assert videos.scores(of_split, p_fake, VideoScoring(score, top=3)) == pytest.approx(expected, abs=1e-12)


def test_videos_of_equal_frames_tie_to_the_last_bit() -> None:
    names = [name for name, count in (("a", 3), ("b", 32), ("c", 7)) for _ in range(count)]
    of_split = grouped(labelled(list(names), [int(name == "a") for name in names], list(range(len(names)))))
    assert len(set(videos.scores(of_split, np.full(len(names), 0.1), VideoScoring()))) == 1


def test_identical_frames_of_a_video_weigh_as_one() -> None:
    # Frames 0 and 2 of video a are the same file; that of video b counts there too.
    frames = labelled(["a", "a", "a", "b"], [1, 1, 1, 0], [0, 1, 2, 0], firsts=np.array([0, 1, 0, 0]))
    scores = videos.scores(grouped(frames), np.array([0.2, 0.6, 0.2, 0.2]), VideoScoring())
    assert scores == pytest.approx([0.4, 0.2])


def test_a_copied_face_takes_no_other_face_from_its_frame() -> None:
    # The face of frame 0 is in frame 1 again, beside another one: frames 0 and 1 differ.
    frames = labelled(["a", "a", "a", "b"], [1, 1, 1, 0], [0, 1, 1, 0], firsts=np.array([0, 0, 2, 3]))
    scores = videos.scores(grouped(frames), np.array([0.9, 0.9, 0.1, 0.0]), VideoScoring())
    assert scores == pytest.approx([0.9, 0.0])


def test_copied_videos_weigh_as_one() -> None:
    frames = labelled(["a", "a", "b", "b", "c"], [1, 1, 1, 1, 0], [0, 1, 0, 1, 0], firsts=np.array([0, 1, 1, 0, 4]))
    of_split = grouped(frames, (MissingVideo("d", 0, None, "no face"),))
    assert of_split.firsts is not None
    assert of_split.firsts.tolist() == [0, 0, 2, 3]
    distinct = videos.labelled(of_split).without_copies()
    assert distinct.frames.tolist() == ["a", "c", "d"]
    assert distinct.sources.tolist()[0] == "a;b"


@pytest.mark.parametrize(("missing", "expected"), [("real", 0.0), ("fake", 1.0), ("0.5", 0.5)])
def test_missing_videos_count_as_is_set(missing: Any, expected: float) -> None:
    frames = labelled(["a", "b"], [1, 0], [0, 0], attributes=pd.DataFrame({"method": ["x", "y"]}))
    of_split = grouped(frames, (MissingVideo("c", 1, "s", "no face was found"),))
    scores = videos.scores(of_split, np.array([0.7, 0.2]), VideoScoring(missing=missing))
    assert scores.tolist() == [0.7, 0.2, expected]
    assert of_split.labels.tolist() == [1, 0, 1]
    assert of_split.sources.tolist() == ["a", "b", "s"]
    assert of_split.rows_of(2).tolist() == []
    assert of_split.attributes["method"].isna().tolist() == [False, False, True]


def test_a_column_that_no_video_agrees_on_is_not_called_empty() -> None:
    attributes = pd.DataFrame({"face_px": [80, 90, 70, 75], "method": [None] * 4})
    frames = labelled(["a", "a", "b", "b"], [1, 1, 0, 0], attributes=attributes)
    reasons = ("`face_px` has no values", "`method` has no values")
    expected = ("`face_px` differs within every video", "`method` has no values")
    assert videos.not_sliced(reasons, frames, videos.labelled(grouped(frames))) == expected


def test_attributes_are_those_that_all_frames_agree_on() -> None:
    attributes = pd.DataFrame({"method": ["x", "x", "y"], "light": ["day", "night", "day"]})
    of_split = grouped(labelled(["a", "a", "b"], [1, 1, 0], attributes=attributes))
    assert of_split.attributes["method"].tolist() == ["x", "y"]
    assert of_split.attributes["light"].isna().tolist() == [True, False]


def test_a_video_has_the_value_of_most_of_its_frames() -> None:
    names = ["b", "a", "b", "a", "b", "c", "a", "a"]
    of_split = grouped(
        labelled(list[str | None](names), [1, 0, 1, 0, 1, 1, 0, 0]), (MissingVideo("gone", 1, None, "no face"),)
    )
    parts = pd.Series(["mouth", "eyes", "nose", "nose", "mouth", None, "nose", "eyes"], dtype="object")
    by_name = dict(zip(of_split.names, videos.most_frequent(of_split, parts), strict=True))
    assert by_name == {"b": "mouth", "a": "eyes", "c": None, "gone": None}


def test_a_video_of_both_classes_is_refused() -> None:
    with pytest.raises(UserError, match=r"1 video has real and fake frames: a; of the first, 'a/1\.png' is real"):
        videos.group(labelled(["a", "a", "b"], [1, 0, 0]))


def test_no_videos_where_a_frame_names_none() -> None:
    assert videos.group(labelled(["a", None], [1, 0])) is None
    assert videos.group(replace(labelled(["a", "b"], [1, 0]), videos=None)) is None


# ------------------------------------------------------------------------------------------------- judged
def drawn(seed: int, count: int = 60, per_video: int = 8) -> tuple[LabelledFrames, NDArray[np.float64]]:
    """Frames of videos, of which two and two are of one source, and logit differences that agree within a video."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    of_video = 1.5 * (2 * labels - 1) + rng.normal(0, 1.6, count)
    names = [f"v{video}" for video in range(count) for _ in range(per_video)]
    sources = pd.Series([f"s{video // 4}" for video in range(count) for _ in range(per_video)], dtype="object")
    indices = [number for _ in range(count) for number in range(per_video)]
    logits = np.repeat(of_video, per_video) + rng.normal(0, 0.7, count * per_video)
    return labelled(list(names), np.repeat(labels, per_video).tolist(), list(indices), sources=sources), logits


def answered(logits: NDArray[np.float64]) -> Predictions:
    return Predictions(1 / (1 + np.exp(-logits)), None, None, logits)


def test_auc_per_video_is_that_of_the_means_of_p_fake() -> None:
    frames, logits = drawn(0)
    noisy = logits + np.random.default_rng(9).normal(0, 2, len(logits))
    of_run = replace(run("baseline", "noisy"), videos={"test": VideoCounts(60, 30, 30)})
    evaluation = evaluate(of_run, frames, None, {"baseline": answered(logits), "noisy": answered(noisy)})
    assert evaluation.video is not None
    for name, values in (("baseline", logits), ("noisy", noisy)):
        table = pd.DataFrame({"video": frames.videos, "label": frames.labels, "p_fake": 1 / (1 + np.exp(-values))})
        of_videos = table.groupby("video").mean()
        variant = evaluation.video.variants[name]
        assert variant.auc is not None
        assert variant.auc.value == pytest.approx(roc_auc_score(of_videos["label"], of_videos["p_fake"]), abs=1e-12)
        right = (of_videos["p_fake"] >= 0.5) == (of_videos["label"] == 1)
        assert variant.fixed.accuracy == pytest.approx(right.mean())
        assert variant.score.count == 60


def test_videos_are_searched_by_where_their_heatmaps_are_hottest() -> None:
    frames, logits = drawn(0, count=200, per_video=2)
    cam = np.zeros((len(logits), 3, 3), np.float32)
    columns = np.arange(len(logits)) // 4 % 2 * 2
    cam[np.arange(len(logits)), 1, columns] = np.where(logits >= 0, 1, -1)
    on = pd.Series(np.where(np.arange(len(logits)) // 12 % 2, "mouth", "eyes"), dtype="object")
    of_run = replace(run("baseline", "other"), videos={"test": VideoCounts(200, 100, 100)})
    predictions = {"baseline": replace(answered(logits), cam=cam), "other": answered(logits - 0.1)}
    evaluation = evaluate(of_run, frames, None, predictions, further={"heatmap hottest on": on})
    assert evaluation.video is not None
    for each in (evaluation, evaluation.video):
        assert each.slice_search is not None
        assert {"heatmap hottest on", "heatmap hottest"} <= set(each.slice_search.columns)


def test_missing_videos_of_the_run_are_scored_in_every_variant() -> None:
    frames, logits = drawn(0)
    missing = (MissingVideo("gone", 1, "s1", "no face was found"), MissingVideo("lost", 0, None, "no face was found"))
    of_run = replace(run("baseline", "other"), videos={"test": VideoCounts(60, 30, 30, missing)})
    predictions = {"baseline": answered(logits), "other": answered(logits - 0.1)}
    plain = evaluate(of_run, frames, None, predictions)
    counted = evaluate(replace(of_run, video_scoring=VideoScoring(missing="real")), frames, None, predictions)
    assert plain.video is not None
    assert counted.video is not None
    for name in predictions:
        before, after = plain.video.variants[name].fixed, counted.video.variants[name].fixed
        assert (after.fn, after.tn) == (before.fn + 1, before.tn + 1)
        assert (after.tp, after.fp) == (before.tp, before.fp)
    assert plain.variants["baseline"].auc == counted.variants["baseline"].auc, "frames stay as they are"


@pytest.mark.parametrize("missing", ["exclude", "fake"])
def test_the_calibration_error_of_videos_is_that_of_means_of_calibrated_frames(missing: Any) -> None:
    """Against a plain loop over videos and over bins."""
    frames, logits = drawn(0)
    gone = (MissingVideo("gone", 1, None, "no face was found"),)
    of_run = replace(run("baseline"), videos={"test": VideoCounts(60, 30, 30, gone)},
                     video_scoring=VideoScoring(missing=missing))  # fmt: skip
    held_out, held_out_logits = drawn(1)
    scored = replace(answered(2 * logits), validation=1 / (1 + np.exp(-2 * held_out_logits)),
                     held_out_logit_diff=2 * held_out_logits)  # fmt: skip
    calibration = evaluate(of_run, frames, held_out, {"baseline": scored}).variants["baseline"].calibration
    assert calibration is not None
    assert set(calibration.scalings) == {"temperature", "platt"}
    for scaling in calibration.scalings.values():
        table = pd.DataFrame({"video": frames.videos, "label": frames.labels})
        table["p"] = 1 / (1 + np.exp(-(scaling.slope.value * 2 * logits + scaling.added)))
        of_videos = table.groupby("video").mean()
        if missing == "fake":
            of_videos.loc["gone"] = (1.0, 1.0)
        bins = np.ceil(of_videos["p"] * 15).clip(1, 15)
        gaps = [len(each) * abs(each["p"].mean() - each["label"].mean()) for _, each in of_videos.groupby(bins)]
        assert scaling.video_ece == pytest.approx(sum(gaps) / len(of_videos))
        assert scaling.video_brier == pytest.approx(((of_videos["p"] - of_videos["label"]) ** 2).mean())
        assert scaling.video_ece != pytest.approx(scaling.ece), "frames have another one"


@pytest.mark.parametrize("score", ["fake", "0.5"])
def test_scores_of_missing_videos_are_not_taken_for_those_of_a_detector_that_rounds(score: Any) -> None:
    """They are all the same because they are assumed: no scores of the detector are equal here."""
    frames, logits = drawn(0)
    missing = tuple(MissingVideo(f"gone{number}", number % 2, None, "no face was found") for number in range(20))
    counts = VideoCounts(60, 30, 30, missing)
    of_run = replace(run("baseline"), videos={"test": counts}, video_scoring=VideoScoring(missing=score))
    scored = evaluate(of_run, frames, None, {"baseline": answered(logits)}).video
    assert scored is not None
    assert scored.variants["baseline"].score.count == 80
    assert scored.variants["baseline"].resolution is None
    rounded = evaluate(of_run, frames, None, {"baseline": answered(np.where(logits > 0, 2.0, -2.0))}).video
    assert rounded is not None
    assert rounded.variants["baseline"].resolution is not None


# --------------------------------------------------------------------------------------- intervals by bootstrap
def auc_of(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> float:
    """The share of pairs in the right order, ties as halves, counted pair by pair."""
    fake, real = scores[labels == 1][:, None], scores[labels == 0][None]
    return float(((fake > real) + 0.5 * (fake == real)).mean())


def means_of(frames: LabelledFrames, logits: NDArray[np.float64]) -> pd.DataFrame:
    """P(fake) of each video and its source, by pandas alone."""
    table = pd.DataFrame({"video": frames.videos, "label": frames.labels, "p_fake": 1 / (1 + np.exp(-logits))})
    return (
        table.assign(source=frames.sources)
        .groupby("video", sort=False)
        .agg({"label": "first", "p_fake": "mean", "source": "first"})
    )


@pytest.mark.parametrize("unit", ["video", "source"])
def test_the_interval_of_a_difference_is_that_of_a_bootstrap_over_videos(unit: str) -> None:
    """With so many sources that the interval rests on their variance alone: few of them widen it."""
    rng, count, per_video = np.random.default_rng(3), 320, 6
    frames, logits = drawn(3, count, per_video)
    # What a variant changes is the same in all frames of a video, and where sources are drawn, of the two of a source.
    numbers = np.arange(count) // 4 * 2 + np.arange(count) % 2 if unit == "source" else np.arange(count)
    noisy = logits + np.repeat(rng.normal(0, 1.2, count)[numbers], per_video)
    named = [f"s{number}" if unit == "source" else None for number in numbers for _ in range(per_video)]
    frames = replace(frames, sources=pd.Series(named, dtype="object"))
    of_run = replace(run("baseline", "noisy"), videos={"test": VideoCounts(count, count // 2, count // 2)})
    evaluation = evaluate(of_run, frames, None, {"baseline": answered(logits), "noisy": answered(noisy)})
    assert evaluation.video is not None
    comparison, per_frame = (each.variants["noisy"].comparison for each in (evaluation.video, evaluation))
    assert comparison is not None
    assert per_frame is not None
    interval = comparison.delta.by_source if unit == "source" else comparison.delta.by_frame
    assert interval is not None
    before, after = means_of(frames, logits), means_of(frames, noisy)
    assert comparison.delta.value == pytest.approx(difference_of(before, after, np.arange(count)), abs=1e-12)
    low, high = bootstrap(before, after, numbers, rng)
    assert interval.width == pytest.approx(high - low, rel=0.2)
    assert interval.low == pytest.approx(low, abs=0.2 * (high - low))
    assert per_frame.delta.by_frame.width < 0.75 * interval.width, "frames of a video are no witnesses of their own"


def difference_of(before: pd.DataFrame, after: pd.DataFrame, rows: NDArray[np.int64]) -> float:
    labels = before["label"].to_numpy()[rows]
    areas = [auc_of(labels, table["p_fake"].to_numpy()[rows]) for table in (after, before)]
    return areas[0] - areas[1]


def bootstrap(
    before: pd.DataFrame, after: pd.DataFrame, units: NDArray[np.int64], rng: np.random.Generator
) -> tuple[float, float]:
    """The 95 % interval of the difference over whole units, videos or sources, drawn with replacement."""
    rows = [np.flatnonzero(units == code) for code in np.unique(units)]
    differences = [
        difference_of(before, after, np.concatenate([rows[code] for code in rng.integers(0, len(rows), len(rows))]))
        for _ in range(1000)
    ]
    low, high = np.percentile(differences, (2.5, 97.5))
    return float(low), float(high)


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_assumed_scores_hide_no_change(score: float) -> None:
    """Those of videos without frames are the same before and after, and tie for that reason alone."""
    rng = np.random.default_rng(0)
    labels = np.array([1] * 8 + [0] * 8 + [1, 0], np.int8)
    given = rng.uniform(0.4, 0.6, 16)
    is_assumed = np.arange(18) >= 16
    before, after = (
        Predictions(np.append(scores, [score, score]), None, None, assumed=is_assumed)
        for scores in (given, given + 1e-6 * rng.normal(size=16))
    )
    delta, _ = difference(of_predictions(labels, after), of_predictions(labels, before), None)
    assert delta.interval.width < 0.02
    as_scored = [of_predictions(labels, replace(each, assumed=None)) for each in (after, before)]
    assert difference(as_scored[0], as_scored[1], None)[0].interval.width > 0.02, "as if rounded"
    rows = np.array([0, 8, 16, 17])
    assert before.of(rows, slice(None)).assumed is not None
    assert subset(of_predictions(labels, before), rows).assumed is not None
