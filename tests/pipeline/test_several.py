"""Whole runs of two detectors on two frame sets: each comes out as if it had been run alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.commands import plan
from bench.commands.clean import inventory
from bench.commands.plan.text import describe
from bench.commands.report import render_again
from bench.datasets import decoding
from bench.errors import UserError
from bench.experiment import read
from bench.pipeline import Finished, run
from bench.pipeline.prepare import prepare
from bench.records import Event, RunRecord
from bench.reports.scores_json import SCORES
from bench.results import predict, store, timing
from tests.conftest import run_quickly, write_frames
from tests.support import tiny

DETECTORS, FRAME_SETS = ("narrow", "wide"), ("near", "far")
PAIRS = [(detector, frame_set) for detector in DETECTORS for frame_set in FRAME_SETS]
VARIANTS = ("baseline", "q16", "q8")


def write_experiment(
    folder: Path, detectors: Sequence[str] = DETECTORS, frame_sets: Sequence[str] = FRAME_SETS
) -> Path:
    """An experiment of these detectors on these frame sets, beside others that it does not name.

    With one thread: how many are free decides the last bits of what is built.
    """
    file = folder / "experiments.yaml"
    file.write_text(
        f"""
detectors:
  narrow: {{architecture: tiny, weights: narrow.tar, preprocessing: {{preset: fsbi, size: 32}}}}
  wide: {{architecture: tiny, weights: wide.tar, preprocessing: {{preset: imagenet, size: 48}}}}
datasets:
  near: {{path: near}}
  far: {{path: far}}
experiments:
  first:
    detectors: [{", ".join(detectors)}]
    frames: [{", ".join(frame_sets)}]
    device: cpu
    threads: 1
    timing: {{seconds: 0.02}}
    gallery: {{top: 2}}
    variants:
      baseline: []
      q16: [cast: fp16]
      q8: [quantize: int8]
""",
        encoding="utf-8",
    )
    return file


def run_in(
    folder: Path,
    detectors: Sequence[str] = DETECTORS,
    frame_sets: Sequence[str] = FRAME_SETS,
    **options: Any,
) -> Finished:
    file = write_experiment(folder, detectors, frame_sets)
    return run(read(file), file, **options)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights and frames; the frames that variants are built with are the same in both sets."""
    folder = tmp_path_factory.mktemp("several")
    tiny.save_weights(folder / "narrow.tar")
    tiny.save_weights(folder / "wide.tar", seed=1)
    for seed, (split, real, fake) in enumerate([("test", 14, 18), ("validation", 6, 6), ("calibration", 8, 8)]):
        write_frames(folder / "near" / split, real, fake, seed)
        write_frames(folder / "far" / split, real, fake, seed + 10 * (split != "calibration"))
    return folder


@dataclass(frozen=True)
class Ran:
    """A run of all four: the pictures that each pass decoded, and what each session timed."""

    finished: Finished
    passes: list[list[Path]]
    sessions: list[Mapping[Any, timing.Subject]]


@pytest.fixture(scope="module")
def ran(made: Path) -> Ran:
    """All four together, in `made`."""
    passes: list[list[Path]] = []
    sessions: list[Mapping[Any, timing.Subject]] = []
    decoded, predicted, measured = decoding._decoded, predict.predict, timing.measure

    pictures: list[Path] = []

    def count_picture(file: Path) -> Any:
        pictures.append(file)
        return decoded(file)

    def count_pass(*given: Any) -> Any:
        pictures.clear()
        failed = predicted(*given)
        passes.append(sorted(pictures))
        return failed

    def count_session(subjects: Any, *further: Any) -> Any:
        sessions.append(subjects)
        return measured(subjects, *further)

    with pytest.MonkeyPatch.context() as patch:
        run_quickly(patch)
        patch.setattr(decoding, "_decoded", count_picture)
        patch.setattr(predict, "predict", count_pass)
        patch.setattr(timing, "measure", count_session)
        return Ran(run_in(made), passes, sessions)


@pytest.fixture
def together(made: Path, ran: Ran, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which all four have run; they can run again."""
    run_quickly(monkeypatch)
    return made


def without_times(scores: Path) -> Any:
    """scores.json but for what a stopwatch measured, and what hangs on it."""
    content = json.loads(scores.read_text())
    for variant in content["variants"].values():
        for name in list(variant):
            if name.startswith(("latency", "throughput", "speedup", "measurements", "peak_memory", "int8_size_only")):
                del variant[name]
    return {name: content[name] for name in ("frames", "detector", "architecture", "threshold", "variants")}


@pytest.mark.slow
@pytest.mark.parametrize(("detector", "frame_set"), PAIRS)
def test_each_pair_comes_out_as_if_run_alone(
    detector: str, frame_set: str, together: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same artifacts, predictions and scores, in the pair's own folder."""
    for name in ("narrow.tar", "wide.tar"):
        shutil.copy(together / name, tmp_path)
    for name in FRAME_SETS:
        shutil.copytree(together / name, tmp_path / name)
    monkeypatch.undo()
    run_quickly(monkeypatch)
    run_in(tmp_path, [detector], [frame_set])
    results, reports = (Path(room, "first") for room in ("results", "reports"))
    for variant in VARIANTS:
        alone, beside = tmp_path / results / variant, together / results / detector / frame_set / variant
        expected = pd.read_parquet(alone / predict.PREDICTIONS)
        pd.testing.assert_frame_equal(pd.read_parquet(beside / predict.PREDICTIONS), expected)
        np.testing.assert_array_equal(np.load(alone / predict.CAMS), np.load(beside / predict.CAMS))
    scores = [tmp_path / reports / SCORES, together / reports / detector / frame_set / SCORES]
    assert without_times(scores[0]) == without_times(scores[1])


def record_of(folder: Path, detector: str, frame_set: str) -> RunRecord:
    return store.read_run(folder / "results/first" / detector / frame_set)


def test_a_frame_is_decoded_once_for_all_detectors(ran: Ran, made: Path) -> None:
    """One pass over each frame set, for the variants of both detectors."""
    for name, decoded in zip(FRAME_SETS, ran.passes, strict=True):
        judged = [path for split in ("test", "validation") for path in (made / name / split).rglob("*.png")]
        assert decoded == sorted(judged)
    passes = [result.evaluation for pair in PAIRS for result in record_of(made, *pair).variants]
    assert {(each.frames, each.variants) for each in passes if each} == {(44, 6)}


def test_everything_is_timed_once_side_by_side_as_each_detector_takes_frames(ran: Ran, made: Path) -> None:
    """In one session; a variant's times are the same on every frame set, and beside them its own baseline's."""
    [subjects] = ran.sessions
    assert {subject.name: subject.frames.shape[-1] for subject in subjects.values()} == {
        f"{detector}/{variant}": size for detector, size in (("narrow", 32), ("wide", 48)) for variant in VARIANTS
    }
    times = sorted(path.relative_to(made / "results/first") for path in (made / "results").rglob(store.MEASUREMENTS))
    assert times == sorted(
        Path(detector, "near", name, store.MEASUREMENTS) for detector in DETECTORS for name in VARIANTS
    )
    for detector in DETECTORS:
        near, far = (record_of(made, detector, name) for name in FRAME_SETS)
        for result, elsewhere in zip(near.variants, far.variants, strict=True):
            assert result.measurements == elsewhere.measurements
        baseline, half, _ = near.variants
        assert half.baseline == baseline.measurements


def test_records_say_whose_they_are(ran: Ran, made: Path) -> None:
    for detector, frame_set in PAIRS:
        record = record_of(made, detector, frame_set)
        assert record.preprocessing is not None
        assert (record.detector, record.preprocessing.size) == (detector, 32 if detector == "narrow" else 48)
        assert (record.frame_set, record.frames["test"].root) == (frame_set, f"{frame_set}/test")
    finished = ran.finished
    reports = [each.report.relative_to(made).parts for each in (finished, *finished.further)]
    assert reports == [("reports", "first", *pair, "report.md") for pair in PAIRS]


def test_nothing_is_made_again_and_plan_and_clean_know_it(together: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_experiment(together)
    text = describe(plan.forecast(read(file), file))
    assert "nothing to do" in text
    assert "6 variants of narrow (tiny at 32 px) and wide (tiny at 48 px)" in text
    assert "32 test, 12 validation of far" in " ".join(text.split())
    assert "wide/q8 on far" in text
    assert inventory(read(file), file).unused == ()
    monkeypatch.setattr(predict, "predict", None)
    monkeypatch.setattr(timing, "measure", None)
    events: list[Event] = []
    run(read(file), file, on_event=events.append)
    assert [event.work for event in events if event.work.startswith(("building", "evaluating", "rendering"))] == []
    assert len(render_again(together, "first", read(file).experiments["first"]).further) == 3


def test_what_is_lost_is_due_again_there_alone(together: Path) -> None:
    """Of one detector on one frame set; a lost artifact of one detector is built once for both."""
    file = write_experiment(together)
    mark = together / "results/first/wide/far/q8" / predict.MARK
    mark.unlink()
    due = [group.text for group in plan.forecast(read(file), file).due]
    assert due == ["wide/q8 on far (evaluate): what was made is gone, damaged or not whole"]
    events: list[Event] = []
    run(read(file), file, on_event=events.append)
    evaluated = {event.work for event in events if event.work.startswith("evaluating")}
    assert evaluated == {"evaluating on far: 1 variant"}
    assert mark.exists()


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """Weights and frames in a folder of the test's own."""
    ignored = shutil.ignore_patterns("results", "reports", "variants", ".cache")
    return Path(shutil.copytree(made, tmp_path / "copy", ignore=ignored))


def test_a_set_of_which_frames_were_learned_from_is_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A calibration frame of the first set among the test frames of the second would flatter it."""
    run_quickly(monkeypatch)
    shutil.copy(copy / "near/calibration/real/000.png", copy / "far/test/real/900.png")
    file = write_experiment(copy)
    with pytest.raises(UserError) as refused:
        prepare(read(file), file)
    text = str(refused.value)
    assert "experiments.yaml" in text.splitlines()[0]
    assert "far" in text.splitlines()[0]
    assert "identical files on both sides" in text


def test_what_is_wrong_with_each_is_said_at_once(together: Path, tmp_path: Path) -> None:
    """Two detectors without weights and two sets without frames are four problems, each with its line."""
    file = write_experiment(tmp_path)
    with pytest.raises(UserError) as refused:
        prepare(read(file), file)
    text = str(refused.value)
    for name in ("narrow.tar", "wide.tar", "near", "far"):
        assert str(tmp_path / name) in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("detectors", "frame_sets", "folders"),
    [
        (DETECTORS, FRAME_SETS[:1], {"narrow", "wide"}),
        (DETECTORS[:1], FRAME_SETS, {"near", "far"}),
        (DETECTORS[:1], FRAME_SETS[:1], {"."}),
    ],
)
def test_a_level_with_one_entry_is_left_out(
    detectors: Sequence[str], frame_sets: Sequence[str], folders: set[str], monkeypatch: pytest.MonkeyPatch, copy: Path
) -> None:
    run_quickly(monkeypatch)
    finished = run_in(copy, detectors, frame_sets, timing="none")
    records = {path.parent.relative_to(copy / "results/first").as_posix() for path in copy.rglob("run.json")}
    assert records == folders
    assert len(finished.further) == len(folders) - 1
    content = json.loads((copy / "results/first" / sorted(records)[0] / store.RUN).read_text())
    assert ("frame_set" in content) == (len(folders) > 1), "a run.json of one each is as it always was"


@pytest.mark.slow
def test_a_variant_that_fails_on_one_set_stops_no_other(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timed with frames of the first set, q16 of one detector fails; its rows say so, and the reports are there."""
    run_quickly(monkeypatch)
    measured = timing.measure

    def lose(subjects: Mapping[Any, timing.Subject], *further: Any) -> Any:
        times = measured(subjects, *further)
        [lost] = [key for key, subject in subjects.items() if subject.name == "wide/q16"]
        return replace(
            times,
            times={key: value for key, value in times.times.items() if key != lost},
            failed={lost: RuntimeError("lost")},
        )

    monkeypatch.setattr(timing, "measure", lose)
    finished = run_in(copy)
    assert finished.failed == {"wide/q16 on near": "RuntimeError: lost"}
    ended = [line for line in finished.ending.splitlines() if "ended" in line]
    assert ended == [
        "narrow on near: ended: 3 variants, failed: none",
        "narrow on far: ended: 3 variants, failed: none",
        "wide on near: ended: 3 variants, failed: q16",
        "wide on far: ended: 3 variants, failed: none",
    ]


def test_clean_leaves_copies_and_links_alone(together: Path, tmp_path: Path) -> None:
    """A copy of older results below an experiment's is nobody's, whatever lies in it."""
    file, results = write_experiment(together), together / "results/first"
    shutil.copytree(results / "narrow/near", results / "before")
    (results / "linked").symlink_to(results / "before", target_is_directory=True)
    try:
        paths = [item.path for item in inventory(read(file), file).items]
        assert results / "narrow/near/q8" in paths
        assert not [path for path in paths if {"before", "linked"} & set(path.parts)]
    finally:
        (results / "linked").unlink()
        shutil.rmtree(results / "before")
