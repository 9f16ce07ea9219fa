"""`bench train` from an experiment file to a checkpoint that `bench run` takes, and the frames that it then refuses."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from safetensors.torch import load_file

from bench.commands import train as command
from bench.commands.train.report import may_be_guessing
from bench.datasets.face_blends import blended_face
from bench.errors import UserError
from bench.experiment import read
from bench.pipeline.prepare import prepare
from bench.records import Event
from bench.reports.training import figures
from bench.results.score.auc import estimate
from bench.results.score.placements import placements
from bench.training import loop, samples
from bench.training.learner import Learner
from bench.training.sampling import Plan
from tests.conftest import write_frames
from tests.support.command_line import bench
from tests.support.trainings import run_of, set_up, write_file


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tiny_family: Any) -> None:
    if "figures" not in request.keywords:
        monkeypatch.setattr(figures, "write", lambda charts, folder: [(chart.title, chart.file) for chart in charts])


def trained(folder: Path, **more: Any) -> command.Trained:
    file = folder / "experiments.yaml"
    return command.train(read(file), file, **more)


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        trained(folder)
    return str(error.value)


def test_from_frames_to_a_detector_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red frames are fakes, which is quickly learned; the printed entry is one of an experiment file."""
    folder = set_up(tmp_path, "epochs: 8; keep_every: 4; select: {accuracy: 0.5, auc: 0.5}; norm_momentum: 0.5")
    monkeypatch.chdir(folder)
    code, output = bench("train")
    assert code == 0, output
    run = run_of(folder)
    entry = yaml.safe_load(output[output.index("detectors:") : output.index("\nIt is judged")])
    assert entry["detectors"]["mine"]["weights"] == (run / "best.safetensors").relative_to(folder).as_posix()
    rows = json.loads((run / "history.json").read_text())
    best = max(rows, key=lambda row: (row["score"], -row["validation_loss"]))
    assert best["metrics"]["auc"] == 1
    with (run / "history.csv").open() as file:
        assert [float(row["score"]) for row in csv.DictReader(file)] == [row["score"] for row in rows]
    assert {path.name for path in run.glob("epoch-*.safetensors")} == {
        "epoch-0004.safetensors",
        "epoch-0008.safetensors",
    }
    about = json.loads((run / "best.json").read_text())
    assert about["epoch"] == best
    assert {name: len(of["digests"]) for name, of in about["seen"]["faces"].items()} == {"train": 16, "validation": 12}
    experiment = {"detector": "mine", "frames": "faces", "device": "cpu", "variants": {"baseline": []}}
    text = yaml.safe_dump({**entry, "datasets": {"faces": {"path": "faces"}}, "experiments": {"first": experiment}})
    (folder / "experiments.yaml").write_text(text)
    prepared = prepare(read(folder / "experiments.yaml"), folder / "experiments.yaml", for_run=True)
    assert prepared.first.reading is not None
    shutil.copytree(folder / "faces/train", folder / "faces/test", dirs_exist_ok=True)
    shutil.rmtree(folder / "faces/train")
    code, output = bench("run")
    assert code == 2
    assert "the detector was trained on 16 test frames here (training mine)" in output.replace("\n", " ")
    (folder / "faces/validation").rename(folder / "faces/before")
    (folder / "faces/test").rename(folder / "faces/validation")
    (folder / "faces/before").rename(folder / "faces/test")
    code, output = bench("run")
    assert code == 2
    text = output.replace("\n", " ")
    assert "the detector was chosen by 12 test frames here" in text
    assert "the detector was trained on 16 validation frames here (training mine)" in text


def test_sources_that_were_seen_are_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = set_up(tmp_path, "epochs: 1")
    made = trained(folder)
    pattern = "'(\\d+)'"
    experiment = "experiments: {first: {detector: mine, frames: faces, device: cpu, variants: {baseline: []}}}"
    for split in ("train", "validation"):
        shutil.rmtree(folder / "faces" / split)
    # Frames of another set may have such names.
    for name in ("faces", "others"):
        file = folder / "experiments.yaml"
        file.write_text(
            f"{made.entry}\ndatasets: {{{name}: {{path: faces, source_pattern: {pattern}}}}}\n"
            + experiment.replace("faces", name)
        )
        about = json.loads((made.folder / "best.json").read_text())
        about["seen"]["faces"]["train"]["sources"] = ["003"]
        (made.folder / "best.json").write_text(json.dumps(about))
        if name == "faces":
            with pytest.raises(UserError, match="was trained on 1 source of the test frames here"):
                prepare(read(file), file, for_run=True)
        else:
            remarks = prepare(read(file), file, for_run=True).first.remarks
            assert any("called like some of faces" in remark for remark in remarks)


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    folder = set_up(tmp_path, "epochs: 1")
    first = trained(folder)
    events: list[Event] = []
    assert trained(folder, on_event=events.append).folder == first.folder
    assert any("not done again" in event.work for event in events)
    again = trained(folder, again=True)
    assert again.folder != first.folder
    assert again.weights.read_bytes() == first.weights.read_bytes()
    write_file(folder, "epochs: 1; seed: 1")
    other = trained(folder)
    assert other.folder not in (first.folder, again.folder)
    assert other.weights.read_bytes() != first.weights.read_bytes()


def test_one_that_came_to_its_end_needs_no_state_and_one_under_way_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = set_up(tmp_path, "epochs: 2")
    first = trained(folder)
    shutil.rmtree(first.folder / loop.CHECKPOINTS)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_Training", None)
        assert trained(folder).folder == first.folder
    for name in ("best.json", "ended.json"):
        text = (first.folder / name).read_text()
        (first.folder / name).write_text(text[:40])
        assert f"{name}: " in refused(folder)
        (first.folder / name).write_text(text)
    # Neither a state that is damaged nor one without its tensors is begun anew.
    write_file(folder, "epochs: 3; seed: 5")
    _interrupted(folder, monkeypatch, steps=3)
    run = max((folder / "trainings/mine").glob("2*"))
    state, (tensors,) = run / "checkpoints/state.json", (run / "checkpoints").glob("*.safetensors")
    whole, before = state.read_text(), tensors.read_bytes()
    for file, content in ((state, whole[:50].encode()), (tensors, before[:100])):
        file.write_bytes(content)
        assert f"{file}: the state of this training can't be read" in refused(folder)
        assert file.read_bytes() == content
        state.write_text(whole)
        tensors.write_bytes(before)
    assert trained(folder).folder == run


def _interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch, steps: int, **more: Any) -> str:
    """Interrupt a training behind so many steps, each of which is saved; what is said."""
    step, taken = Learner.step, list[int]()

    def interrupted(self: Any, *arguments: Any) -> float:
        taken.append(1)
        if len(taken) > steps:
            raise KeyboardInterrupt
        return step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "SAVE_SECONDS", 0.0)
        patch.setattr(loop, "_SAVING_SHARE", 1e9)
        patch.setattr(Learner, "step", interrupted)
        with pytest.raises(KeyboardInterrupt) as error:
            trained(folder, **more)
    return str(error.value)


def test_tensorboard_has_each_epoch_once_however_often_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = set_up(tmp_path, "epochs: 3; tensorboard: true")
    # In the middle of the second epoch, whose first step is done again.
    _interrupted(folder, monkeypatch, steps=3)
    made = trained(folder)
    (events,) = {file.parent for file in made.folder.rglob("events.out.tfevents.*")}
    written = EventAccumulator(str(events)).Reload()
    rows = json.loads((made.folder / "history.json").read_text())
    for name, key in (("score", "score"), ("loss/validation", "validation_loss")):
        scalars = written.Scalars(name)
        assert [each.step for each in scalars] == [row["step"] for row in rows]
        assert [each.value for each in scalars] == pytest.approx([row[key] for row in rows])


def test_an_interrupted_again_goes_on_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = set_up(tmp_path, "epochs: 2")
    first = trained(folder)
    assert "goes on with `bench train mine`, without --again" in _interrupted(folder, monkeypatch, steps=3, again=True)
    events: list[Event] = []
    second = trained(folder, on_event=events.append)
    assert second.folder != first.folder
    assert any("behind step 3" in event.work for event in events)
    assert second.weights.read_bytes() == first.weights.read_bytes()


def test_frames_that_would_judge_it_in_vain_are_refused_before(tmp_path: Path) -> None:
    """The weights to begin with were trained on what are test frames now."""
    folder = set_up(tmp_path, "epochs: 1")
    made = trained(folder)
    for ending in (".safetensors", ".json"):
        shutil.copy(made.weights.with_suffix(ending), folder / f"start{ending}")
    frames = folder / "faces"
    for split, other in (("test", "old"), ("train", "test"), ("old", "train")):
        (frames / split).rename(frames / other)
    write_file(folder, "epochs: 1; weights: start.safetensors")
    assert "`bench run` would refuse to test what is trained here: the detector was trained on 16 test" in refused(
        folder
    )
    whole = (folder / "start.json").read_text()
    for damaged in (whole[:300], "", "\0" * 40):
        (folder / "start.json").write_text(damaged)
        assert "start.json: is damaged" in refused(folder)
    (folder / "start.json").write_text('{"another": "program"}')
    assert trained(folder).weights.is_file()


def test_validation_frames_that_the_weights_learned_from_are_told(tmp_path: Path) -> None:
    folder = set_up(tmp_path, "epochs: 1; held_out: 0.3", splits=(("test", 6), ("train", 14)))
    made = trained(folder)
    for ending in (".safetensors", ".json"):
        shutil.copy(made.weights.with_suffix(ending), folder / f"start{ending}")
    again = "epochs: 1; held_out: 0.3; weights: start.safetensors"
    write_file(folder, again)
    assert not [remark for remark in trained(folder).report.remarks if "weights to begin with" in remark]
    write_file(folder, f"{again}; seed: 1")
    (remark,) = [remark for remark in trained(folder).report.remarks if "weights to begin with" in remark]
    assert "by which the best epoch is chosen" in remark


def test_a_data_set_whose_splits_share_persons_may_be_tested_on(tmp_path: Path) -> None:
    """As Celeb-DF's do: its list names the test videos, and their persons are in train too."""
    folder = set_up(tmp_path, "epochs: 1; held_out: 0.3", splits=())
    listed = []
    for kind, label in (("Celeb-real", "real"), ("Celeb-synthesis", "fake")):
        for person in range(8):
            name = f"id{person}_id{person ^ 1}_000" if label == "fake" else f"id{person}_000"
            for video in range(2):
                write_frames(tmp_path / "drawn", 1, 1, 100 * person + 10 * video + len(kind))
                home = folder / "faces" / kind / f"{name}{video}"
                home.mkdir(parents=True)
                shutil.move(tmp_path / f"drawn/{label}/000.png", home / "000.png")
                if not video:
                    listed.append(f"{int(label == 'real')} {kind}/{name}{video}.mp4")
    (folder / "faces/List_of_testing_videos.txt").write_text("\n".join(listed) + "\n")
    made = trained(folder)
    file = folder / "experiments.yaml"
    experiment = "experiments: {first: {detector: mine, frames: faces, device: cpu, variants: {baseline: []}}}"
    file.write_text(f"{made.entry}\ndatasets: {{faces: {{path: faces}}}}\n{experiment}")
    remarks = prepare(read(file), file, for_run=True).first.remarks
    assert any("The detector was trained on" in remark and "same persons are in both" in remark for remark in remarks)


def test_workers_change_nothing(tmp_path: Path) -> None:
    folder = set_up(tmp_path, "epochs: 2; pairs: false")
    first = load_file(trained(folder).weights)
    write_file(folder, "epochs: 2; pairs: false; workers: 2")
    second = load_file(trained(folder, again=True).weights)
    assert all(bool((first[name] == second[name]).all()) for name in first)


def test_start_from_weights_with_another_head(tmp_path: Path) -> None:
    folder = set_up(tmp_path, "epochs: 1")
    first = trained(folder)
    shutil.copy(first.weights, folder / "start.safetensors")
    shutil.copy(first.folder / "best.json", folder / "start.json")
    write_file(folder, "epochs: 1; weights: start.safetensors; new_head: true; seed: 3")
    second = trained(folder)
    about = json.loads((second.folder / "best.json").read_text())
    assert len(about["seen"]["faces"]["train"]["digests"]) == 16
    write_file(folder, "epochs: 1; weights: start.safetensors; optimizer: {name: sgd, learning_rate: 1e-9}")
    third = load_file(trained(folder).weights)
    start = load_file(folder / "start.safetensors")
    name = next(name for name in start if name.endswith("weight"))
    np.testing.assert_allclose(third[name].numpy(), start[name].numpy(), atol=1e-6)


def test_real_faces_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Self-blends of real frames, with the points of their manifest; the best epoch is chosen by blends too."""
    folder = tmp_path
    write_frames(folder / "faces" / "test", 4, 4, 9)
    write_frames(folder / "faces" / "train", 12, 0, 1)
    points = {"eye_l": (14, 16), "eye_r": (26, 16), "nose": (20, 23), "mouth_l": (15, 29), "mouth_r": (25, 29)}
    head = ["path", "label", *(f"{name}_{axis}" for name in points for axis in "xy")]
    cells = [str(value) for point in points.values() for value in point]
    rows = [head, *([f"real/{index:03d}.png", "real", *cells] for index in range(12))]
    with (folder / "faces/train/manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    write_file(folder, "epochs: 2; self_blend: true; maps: true; held_out: 0.3; frames: faces")
    made = trained(folder)
    labels = [row["label"] for row in csv.DictReader((made.folder / "validation.csv").open())]
    assert labels.count("1") == labels.count("0") > 0
    assert len(list((made.folder / "self-blends").glob("*.png"))) == labels.count("1")


def test_pairs_stand_side_by_side_and_move_alike(tmp_path: Path) -> None:
    from bench import datasets
    from bench.datasets import FrameSetSettings
    from bench.training.augment_settings import AugmentSettings
    from bench.training.sampling import pairs

    write_frames(tmp_path / "faces/train", 6, 6, 1)
    write_frames(tmp_path / "faces/test", 6, 6, 2)
    settings = FrameSetSettings.model_validate({
        "test": {"path": "faces/test"}, "train": {"path": "faces/train", "source_pattern": "(\\d+)"}})  # fmt: skip
    frames = datasets.load("faces", settings, tmp_path, tmp_path / ".cache")["train"].frames
    pictures = samples.Pictures(datasets.picture, datasets.fit, datasets.fitted_points, datasets.mask_of, blended_face)
    flip = AugmentSettings.model_validate({**dict.fromkeys(AugmentSettings.model_fields, 0.0), "flip": 0.5})
    units = pairs(frames, 0)
    spec = datasets_spec()
    plan = Plan(units, (None,) * len(units), 6, None, "sampling", 0, 2)
    both = samples.Samples(frames, pictures, spec, flip, 0, {})
    flipped = set()
    for batch, keys in zip(samples.batches(both, plan, 1, 0, 0), plan.batches(1), strict=True):
        assert batch.labels.tolist() == [0, 1] * 3
        for position, (_, _, unit) in enumerate(keys):
            plainly = []
            for offset, index in enumerate(unit):
                plain = datasets.decode(frames[index].file, spec).transpose(2, 0, 1)
                pixels = batch.frames[2 * position + offset].numpy()
                assert (pixels == plain).all() or (pixels == plain[..., ::-1]).all()
                plainly.append(bool((pixels == plain).all()))
            assert plainly[0] == plainly[1]
            flipped.add(plainly[0])
    assert flipped == {True, False}


def datasets_spec() -> Any:
    from bench.records import InputSpec

    return InputSpec(32)


def test_frames_that_teach_nothing_are_refused(tmp_path: Path) -> None:
    folder = set_up(tmp_path, splits=(("test", 4), ("train", 3)))
    # One of each class is held out for validation.
    assert "4 train frames are less than one batch of 8" in refused(folder)
    write_file(folder, "batch_size: 4; maps: true")
    assert "no train fake has a mask" in refused(folder)
    write_file(folder, "batch_size: 4; pairs: true")
    assert "0 fakes have a real frame of the same source" in refused(folder)
    shutil.rmtree(folder / "faces/train/fake")
    write_file(folder, "batch_size: 2")
    assert "no fake train frames" in refused(folder)
    write_file(folder, "batch_size: 2; self_blend: true")
    assert "no face was found" in refused(folder)
    shutil.rmtree(folder / "faces/train")
    write_file(folder)
    assert "no train frames; add a split train/" in refused(folder)


def test_what_is_held_out_of_one_set_is_not_learned_from_another(tmp_path: Path) -> None:
    """The second set has half of the first one's frames again."""
    folder = set_up(tmp_path, splits=(("test", 4), ("train", 14)))
    write_frames(folder / "others/test", 4, 4, 7)
    for label in ("real", "fake"):
        (folder / f"others/train/{label}").mkdir(parents=True)
        for file in sorted((folder / f"faces/train/{label}").iterdir())[::2]:
            shutil.copy(file, folder / f"others/train/{label}/copy-{file.name}")
    file = write_file(folder, "epochs: 1; held_out: 0.3; frames: [faces, others]")
    both = "{faces: {path: faces}, others: {path: others}}"
    file.write_text(file.read_text().replace("{faces: {path: faces}}", both))
    seen = json.loads((trained(folder).folder / "best.json").read_text())["seen"]
    train, validation = (
        {digest for of_set in seen.values() for digest in of_set[split]["digests"]} for split in ("train", "validation")
    )
    assert len(train) + len(validation) == 28
    assert len(validation) >= 6


def test_a_picture_that_one_set_calls_real_and_another_fake_is_refused(tmp_path: Path) -> None:
    folder = set_up(tmp_path)
    shutil.copytree(folder / "faces", folder / "others")
    (folder / "others/train/real/000.png").rename(folder / "others/train/fake/of-faces.png")
    file = write_file(folder, "epochs: 1; frames: [faces, others]")
    both = "{faces: {path: faces}, others: {path: others}}"
    file.write_text(file.read_text().replace("{faces: {path: faces}}", both))
    expected = "identical files, one real and one fake: faces/real/000.png and others/fake/of-faces.png"
    assert expected in " ".join(refused(folder).split())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_frame_that_is_gone_in_mid_training_is_one_sentence(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = set_up(tmp_path, f"epochs: 2; workers: {workers}")
    begin = loop.train

    def without_a_frame(job: Any, on_event: Any) -> Any:
        job.samples.frames[0].file.unlink()
        return begin(job, on_event)

    monkeypatch.setattr(loop, "train", without_a_frame)
    with pytest.raises((UserError, OSError)) as error:
        trained(folder)
    assert "Traceback" not in str(error.value)
    assert "000.png" in str(error.value)
    assert "DataLoader" not in str(error.value)


def test_a_process_that_reads_and_is_killed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = set_up(tmp_path, "epochs: 1; workers: 1")
    with monkeypatch.context() as patch:
        patch.setattr(samples.Samples, "_made", lambda self, key: os.kill(os.getpid(), signal.SIGKILL))
        assert "perhaps for want of memory" in refused(folder)
    # While this process computes, PyTorch tells it of the end in the middle of that.
    step = Learner.step

    def killing(self: Any, *arguments: Any) -> float:
        for child in psutil.Process().children():
            child.kill()
        time.sleep(0.3)
        return step(self, *arguments)

    monkeypatch.setattr(Learner, "step", killing)
    assert "perhaps for want of memory" in refused(folder)


def test_each_split_needs_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames without a face that are few of all may be all that would be learned from, or chosen by."""
    folder = set_up(tmp_path, splits=(("test", 4), ("train", 30)))
    shutil.rmtree(folder / "faces/train/fake")
    faceless = {"train": 0, "held out": 0}

    def by_finder(frames: Any, *_: Any) -> dict[str, Any]:
        missing = faceless["train" if len(frames) > 10 else "held out"]
        points = ((10, 14), (26, 14), (18, 20), (12, 28), (25, 28))
        return {frame.digest: points for frame in frames[missing:]}

    monkeypatch.setattr("bench.commands.train.faces._by_finder", by_finder)
    write_file(folder, "epochs: 1; batch_size: 4; self_blend: true; held_out: 0.2")
    faceless["held out"] = 6
    assert "no face was found in 6 of 6 real validation frames" in refused(folder)
    faceless.update({"train": 12, "held out": 0})
    write_file(folder, "epochs: 1; batch_size: 26; self_blend: true; held_out: 0.2")
    assert "12 train frames are less than one batch of 26" in refused(folder)
    # Where there are fakes to choose the best epoch by, no faces are looked for in validation frames.
    write_frames(folder / "faces/validation", 6, 6, 5)
    faceless.update({"train": 0, "held out": 6})
    write_file(folder, "epochs: 1; batch_size: 4; self_blend: true")
    assert trained(folder).weights.is_file()


def test_what_it_ran_on_is_written_beside_the_weights(tmp_path: Path) -> None:
    folder = set_up(tmp_path, "epochs: 1")
    made = trained(folder)
    about = json.loads((made.folder / "best.json").read_text())
    assert (about["device"], about["threads"]) == ("cpu", 1)
    assert about["precision"] in {"fp32", "bf16"}  # what `auto` is on this processor
    # The report is of the training, wherever it is written.
    about |= {"computed_on": "a GPU of long ago", "threads": 7, "command": "bench train elsewhere"}
    (made.folder / "best.json").write_text(json.dumps(about))
    facts = dict(trained(folder).report.facts)
    assert facts["precision"] == about["precision"]
    assert (facts["device"], facts["command"]) == ("a GPU of long ago, 7 threads", "bench train elsewhere")
    assert (loop.steps_done(made.folder), loop.steps_done(tmp_path)) == (about["epoch"]["step"], 0)


@pytest.mark.figures
def test_the_report_has_its_figures(tmp_path: Path) -> None:
    made = trained(set_up(tmp_path, "epochs: 2"))
    page, text = made.pages["report"].read_text(), made.pages["text"].read_text()
    for title in ("Losses", "Metrics", "ROC curve", "Precision and recall", "Sample predictions", "Confusion matrix"):
        assert title in page
    for file in ("losses.png", "metrics.png", "roc.png", "precision_recall.png", "samples.png"):
        assert (made.folder / file).stat().st_size > 1000
        assert f"({file})" in text
    assert made.entry in text
    area = made.report.auc
    assert area is not None
    sentence = f"(95 % interval {area.interval.low:.3f}–{area.interval.high:.3f})"
    assert sentence in page
    assert sentence in text


def test_an_area_that_may_be_that_of_guessing_is_told() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    for shift, expected in ((0.0, ["includes 0.5"]), (4.0, []), (-4.0, ["swapped"])):
        area = estimate(placements(labels, rng.normal(size=40) + shift * labels), None)
        warnings = may_be_guessing(area)
        assert len(warnings) == len(expected)
        assert all(words in warning for words, warning in zip(expected, warnings, strict=True))
    assert may_be_guessing(None) == []


def test_one_that_diverges_after_an_epoch_has_that_ones_weights_and_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Learner.step
    monkeypatch.setattr(
        Learner, "step", lambda self, batch, rate, number: math.nan if number >= 4 else step(self, batch, rate, number)
    )
    made = trained(set_up(tmp_path, "epochs: 3; batch_size: 8"))
    assert len(made.report.rows) == 2
    assert made.weights.is_file()
    (warning,) = (each for each in made.report.warnings if "before its time" in each)
    assert warning.startswith("It ended before its time: the loss became nan at step 5; use a learning_rate below")
