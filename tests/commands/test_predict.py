"""`bench predict` on folders, manifests and videos, with the tiny family."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn import metrics

from bench import datasets
from bench.artifacts import safetensors
from bench.commands.predict import scoring
from bench.commands.predict import shards as pieces
from bench.commands.predict.shards import COLUMNS
from bench.records import Prediction, VideoScoring
from bench.results.answers import Answers
from tests.conftest import quick_folder, write_workplace
from tests.support.command_line import bench
from tests.support.footage import portrait, write_video
from tests.support.portraits import picture

TEST = "faces/test"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run's folder with two variants."""
    with quick_folder(tmp_path_factory, "predicted") as path:
        write_workplace(path)
        text = (path / "experiments.yaml").read_text()
        (path / "experiments.yaml").write_text(
            text.partition("      q32-p50")[0].replace("      q16: [cast: fp16]\n", "")
        )
        code, output = bench("run", "--no-timing")
        assert code == 0, output
        yield path


@pytest.fixture
def quick(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, with shards of few pictures."""
    monkeypatch.setattr(pieces, "SHARD_SIGHTS", 5)
    return folder


def predict(*arguments: str, code: int = 0) -> str:
    ended, output = bench("predict", *arguments)
    assert ended == code, output
    return output


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbers(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    return content


def stored(folder: Path, variant: str) -> dict[str, float]:
    table = pd.read_parquet(folder / f"results/first/{variant}/predictions.parquet")
    table = table[table["split"] == "test"]
    return {f"{TEST}/{frame}": p for frame, p in zip(table["frame"], table["p_fake"], strict=True)}


# ------------------------------------------------------------------------------------- numbers
@pytest.mark.parametrize("variant", ["baseline", "q8"])
def test_scores_are_those_of_the_run(variant: str, quick: Path) -> None:
    predict(TEST, "--variant", variant, "--to", f"same/{variant}.csv")
    rows = rows_of(quick / f"same/{variant}.csv")
    expected = stored(quick, variant)
    assert [row["path"] for row in rows] == sorted(expected)
    for row in rows:
        assert float(row["p_fake"]) == pytest.approx(expected[row["path"]], abs=1e-5)
        assert row["label"] == Path(row["path"]).parent.name
        called = "fake" if float(row["p_fake"]) >= 0.5 else "real"
        assert row["label_predicted"] == called
        sure = float(row["p_fake"]) if called == "fake" else 1 - float(row["p_fake"])
        assert float(row["confidence"]) == sure
        assert (row["error"], row["video"], row["frame_index"], row["face"]) == ("", "", "", "")
    assert tuple(rows[0]) == COLUMNS


def test_metrics_are_those_of_scikit_learn(quick: Path) -> None:
    threshold = float(np.median(list(stored(quick, "baseline").values())))
    predict(TEST, "--threshold", str(threshold), "--to", "scored/all.csv")
    table = pd.read_csv(quick / "scored/all.csv")
    labels, p = (table["label"] == "fake").astype(int), table["p_fake"]
    called = (p >= threshold).astype(int)
    content = numbers(quick / "scored/all.csv")
    scored = content["metrics"]
    tn, fp, fn, tp = metrics.confusion_matrix(labels, called).ravel().tolist()
    assert scored["confusion"] == {"tp": tp, "tn": tn, "fp": fp, "fn": fn}
    assert (scored["count"], scored["fake"], scored["real"]) == (32, 18, 14)
    expected = {
        "auc": metrics.roc_auc_score(labels, p), "average_precision": metrics.average_precision_score(labels, p),
        "accuracy": metrics.accuracy_score(labels, called), "f1": metrics.f1_score(labels, called),
        "precision": metrics.precision_score(labels, called), "recall": metrics.recall_score(labels, called),
        "mcc": metrics.matthews_corrcoef(labels, called), "brier": metrics.brier_score_loss(labels, p),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, called),
    }  # fmt: skip
    assert {name: scored[name] for name in expected} == pytest.approx(expected)
    for name in ("auc", "accuracy", "recall", "precision"):
        low, high = scored[f"{name}_ci"]
        assert low <= scored[name] <= high
    assert content["counts"]["fake"] == called.sum()
    page, text = (quick / "scored/all.html").read_text(), (quick / "scored/all.md").read_text()
    for part in ("Confusion matrix", "ROC", "Precision over recall", "Reliability", "18 fakes"):
        assert part in page
    assert f"{scored['auc']:.4f}" in page
    assert f"{scored['auc']:.4f}" in text
    for figure in ("roc", "precision_recall", "confusion", "reliability"):
        assert f"all.pictures/{figure}.png" in text
        assert (quick / f"scored/all.pictures/{figure}.png").exists()
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")


# ------------------------------------------------------------------------------------- labels
def test_labels_come_from_names(quick: Path) -> None:
    flat = quick / "flat"
    flat.mkdir()
    for label in ("real", "fake"):
        for index in range(3):
            shutil.copy(quick / f"{TEST}/{label}/00{index}.png", flat / f"{index}_{label}.png")
    shutil.copy(quick / f"{TEST}/real/000.png", flat / "other.png")
    predict("flat", "--to", "names/none.csv")
    assert {row["label"] for row in rows_of(quick / "names/none.csv")} == {""}
    assert numbers(quick / "names/none.csv")["metrics"] is None
    assert "No true label is known" in (quick / "names/none.html").read_text()
    predict("flat", "--label-pattern", r"_(real|fake)\.", "--to", "names/word.csv")
    labels = {Path(row["path"]).stem: row["label"] for row in rows_of(quick / "names/word.csv")}
    assert labels == {**{f"{index}_{word}": word for word in ("real", "fake") for index in range(3)}, "other": ""}
    predict("flat", "--label-pattern", r"(?P<fake>_fake)|(?P<real>_real|other)", "--to", "names/groups.csv")
    assert sorted(row["label"] for row in rows_of(quick / "names/groups.csv")) == ["fake"] * 3 + ["real"] * 4


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "is not a regular expression"),
        ("real", "has no group; put the part that names the label"),
        ("(xyz)", "matches no name, for example"),
        ("([a-z0-9]{3})", "is neither real, 0 nor fake, 1"),
    ],
)
def test_patterns_that_find_no_label(pattern: str, message: str, quick: Path) -> None:
    assert message in predict(TEST, "--label-pattern", pattern, "--to", "no.csv", code=2)
    assert not (quick / "no.csv").exists()


# ------------------------------------------------------------------------------------- inputs
def test_several_inputs_manifests_and_faults(quick: Path) -> None:
    source = quick / "mixed"
    (source / "real").mkdir(parents=True)
    shutil.copy(quick / f"{TEST}/real/000.png", source / "real/a.png")
    (source / "real/broken.jpg").write_bytes(b"no picture")
    (source / "real/gone.png").symlink_to("nowhere.png")
    (source / ".hidden.png").write_bytes(b"not seen")
    listed = quick / "listed"
    listed.mkdir()
    shutil.copy(quick / f"{TEST}/fake/000.png", listed / "x.png")
    (listed / "manifest.csv").write_text(
        "path,label,video,frame_index\nx.png,fake,clips/v.mp4,7\nmissing.png,1,,\n../real/a.png,0,,\n"
    )
    output = predict("mixed", "listed", f"{TEST}/fake/001.png", "mixed/real/a.png", "--to", "mixed/out.csv")
    rows = {row["path"]: row for row in rows_of(quick / "mixed/out.csv")}
    assert [*rows] == [
        "mixed/real/a.png", "mixed/real/broken.jpg", "mixed/real/gone.png", "listed/x.png", "listed/missing.png",
        "listed/../real/a.png", f"{TEST}/fake/001.png",
    ]  # fmt: skip
    assert "no picture, or its header is broken" in rows["mixed/real/broken.jpg"]["error"]
    assert "link to what is not there" in rows["mixed/real/gone.png"]["error"]
    assert "line 3 of manifest.csv: no such frame" in rows["listed/missing.png"]["error"]
    assert "must stay inside listed" in rows["listed/../real/a.png"]["error"]
    assert rows["mixed/real/broken.jpg"]["p_fake"] == rows["mixed/real/broken.jpg"]["label_predicted"] == ""
    assert (rows["listed/x.png"]["video"], rows["listed/x.png"]["frame_index"]) == ("clips/v.mp4", "7")
    assert (rows["listed/x.png"]["label"], rows["mixed/real/a.png"]["label"]) == ("fake", "real")
    assert "4 rows with an error" in output
    assert numbers(quick / "mixed/out.csv")["counts"]["pictures"] == 3
    # What was written there is no input, and what is there already is not judged again.
    assert "predicted before" in predict(
        "mixed", "listed", f"{TEST}/fake/001.png", "mixed/real/a.png", "--to", "mixed/out.csv"
    )


def test_pictures_of_another_prediction_are_not_judged(quick: Path) -> None:
    source = quick / "drawn"
    shutil.copytree(quick / TEST, source)
    predict("drawn", "--heatmaps", "--to", "drawn/first.csv")
    count = len(rows_of(quick / "drawn/first.csv"))
    assert list((source / "first.pictures").rglob("*.png"))
    predict("drawn", "--to", "drawn/second.csv")
    assert len(rows_of(quick / "drawn/second.csv")) == count
    assert "predicted before" in predict("drawn", "--heatmaps", "--to", "drawn/first.csv")
    # A folder of somebody's that is only called so is.
    (source / "mine.pictures").mkdir()
    shutil.copy(quick / TEST / "real/000.png", source / "mine.pictures/a.png")
    predict("drawn", "--to", "drawn/third.csv")
    assert len(rows_of(quick / "drawn/third.csv")) == count + 1


def test_a_shard_that_a_power_cut_left_empty_is_judged_again(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(every: Any, written: Any, **more: Any) -> None:
        every[1].table(written).write_bytes(b"")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pieces, "join", cut_off)
        predict(TEST, "--to", "cut.csv", code=130)
    predict(TEST, "--to", "cut.csv")
    assert all(row["p_fake"] for row in rows_of(quick / "cut.csv"))
    assert len(rows_of(quick / "cut.csv")) == len(list((quick / TEST).rglob("*.png")))


def test_columns_of_a_manifest_may_be_called_otherwise(quick: Path) -> None:
    lines = ["Image,Target,Who", f"{TEST}/fake/000.png,1,anna", f"{TEST}/real/000.png,0,berta"]
    (quick / "others.csv").write_text("\n".join(lines) + "\n")
    advice = predict("others.csv", "--to", "others_p.csv", code=2)
    assert "if it is 'Image', write `--path-column Image`" in " ".join(advice.split())
    named = ("--path-column", "Image", "--label-column", "target", "--source-column", "who")
    predict("others.csv", *named, "--to", "others_p.csv")
    assert [row["label"] for row in rows_of(quick / "others_p.csv")] == ["fake", "real"]


def test_a_data_set_of_a_known_shape_has_its_labels(quick: Path) -> None:
    for name, label in (("Celeb-real", "real"), ("Celeb-synthesis", "fake")):
        (quick / f"celeb/{name}/id0_0001").mkdir(parents=True)
        shutil.copy(quick / f"{TEST}/{label}/000.png", quick / f"celeb/{name}/id0_0001/000.png")
    predict("celeb", "--to", "known.csv")
    assert {row["path"].split("/")[1]: row["label"] for row in rows_of(quick / "known.csv")} == {
        "Celeb-real": "real", "Celeb-synthesis": "fake"
    }  # fmt: skip


def test_videos_have_a_row_for_each_frame(quick: Path) -> None:
    (quick / "clips/fake").mkdir(parents=True)
    (quick / "clips/real").mkdir(parents=True)
    for index in range(2):
        write_video(quick / f"clips/fake/{index}.mp4", 12, draw=portrait)
        write_video(quick / f"clips/real/{index}.mp4", 12, draw=portrait)
    (quick / "clips/real/text.mp4").write_bytes(b"no video" * 99)
    predict("clips", "--frames", "4", "--to", "videos.csv")
    rows = rows_of(quick / "videos.csv")
    by_video = {video: [row for row in rows if row["video"] == video] for video in {row["video"] for row in rows}}
    assert [row["frame_index"] for row in by_video["clips/fake/0.mp4"]] == ["0", "3", "7", "11"]
    assert all(row["path"] == row["video"] for row in rows)
    (broken,) = by_video["clips/real/text.mp4"]
    assert broken["error"]
    content = numbers(quick / "videos.csv")
    assert (content["counts"]["videos"], content["by_video"]["count"], content["metrics"]["count"]) == (4, 4, 16)
    assert content["metrics"]["auc_interval"] in ("sources", "frames")
    code, output = bench("inspect", "clips/fake/0.mp4", "--frames", "4", "--to", "looked")
    assert code == 0, output
    looked = json.loads((quick / "looked/0/inspection.json").read_text())["variants"]["baseline"]
    assert [float(row["p_fake"]) for row in by_video["clips/fake/0.mp4"]] == pytest.approx(
        [frame["p_fake"] for frame in looked["frames"]], abs=1e-5
    )
    assert "By video: the score of each is the mean of its frames" in (quick / "videos.html").read_text()


@pytest.fixture
def wants_faces(quick: Path) -> Iterator[Path]:
    """The same with a detector that judges faces."""
    record = quick / "results/first/run.json"
    before = record.read_text()
    content = json.loads(before)
    content["preprocessing"]["crop"] = "fsbi"
    record.write_text(json.dumps(content))
    yield quick
    record.write_text(before)


def test_each_face_has_a_row(wants_faces: Path) -> None:
    source = wants_faces / "crowd"
    source.mkdir()
    wide = np.full((240, 480, 3), 90, np.uint8)
    wide[40:200, 40:200], wide[40:200, 280:440] = picture(3, 160), picture(4, 160)
    Image.fromarray(wide).save(source / "two.png")
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(source / "none.png")
    shutil.copy(wants_faces / f"{TEST}/real/000.png", source / "set.png")
    predict("crowd", "--to", "crowd.csv")
    rows = rows_of(wants_faces / "crowd.csv")
    assert [(Path(row["path"]).name, row["face"], bool(row["p_fake"])) for row in rows] == [
        ("none.png", "", False), ("set.png", "", True), ("two.png", "0", True), ("two.png", "1", True)
    ]  # fmt: skip
    assert rows[0]["error"] == "no face was found"
    assert float(rows[1]["p_fake"]) == pytest.approx(stored(wants_faces, "baseline")[f"{TEST}/real/000.png"], abs=1e-5)
    counts = numbers(wants_faces / "crowd.csv")["counts"]
    assert (counts["files"], counts["rows"], counts["failed"], counts["pictures"]) == (3, 4, 1, 2)
    predict("crowd", "--faces", "never", "--to", "whole.csv")
    assert [row["face"] for row in rows_of(wants_faces / "whole.csv")] == ["", "", ""]
    assert "none of 1 file could be judged" in predict("crowd/none.png", "--to", "nobody.csv", code=2)
    assert rows_of(wants_faces / "nobody.csv")[0]["error"] == "no face was found"


def test_names_that_are_odd(quick: Path) -> None:
    source = quick / "odd"
    source.mkdir()
    picture_bytes = (quick / f"{TEST}/fake/000.png").read_bytes()
    names = [
        b"=cmd()|x.png",
        b"+1.png",
        b'with,comma "and quotes".png',
        b"two\nlines.png",
        b"carriage\rreturn.png",
        b"caf\xe9.png",
        "ü.png".encode(),
    ]
    for name in names:
        Path(os.fsdecode(os.fsencode(source) + b"/" + name)).write_bytes(picture_bytes)
    os.chdir(source)
    try:
        predict(".", "--file", "../experiments.yaml", "--to", "../odd.csv")
        predict("=cmd()|x.png", "--file", "../experiments.yaml", "--to", "../formula.csv")
    finally:
        os.chdir(quick)
    rows = rows_of(quick / "odd.csv")
    assert {row["path"] for row in rows} == {
        "./=cmd()|x.png", "./+1.png", 'with,comma "and quotes".png', "two\nlines.png", "carriage\rreturn.png",
        "caf\\xe9.png", "ü.png"
    }  # fmt: skip
    assert len({row["p_fake"] for row in rows}) == 1
    assert all(row["error"] == "" for row in rows)
    assert rows_of(quick / "formula.csv")[0]["path"] == "./=cmd()|x.png"


def test_masks_beside_the_classes_are_no_pictures(quick: Path) -> None:
    for name in ("set/real/a.png", "set/fake/b.png", "set/masks/b.png", "else/masks/c.png"):
        (quick / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(quick / f"{TEST}/fake/000.png", quick / name)
    predict("set", "else", "--to", "masks.csv")
    assert [row["path"] for row in rows_of(quick / "masks.csv")] == ["set/fake/b.png", "set/real/a.png",
                                                                     "else/masks/c.png"]  # fmt: skip


def test_a_manifests_names_are_the_rows(quick: Path) -> None:
    (quick / "list.csv").write_text(f"path,label\n{TEST}/fake/000.png,fake\nmissing.png,real\n")
    predict("list.csv", "--to", "listed.csv")
    assert [row["path"] for row in rows_of(quick / "listed.csv")] == [f"{TEST}/fake/000.png", "missing.png"]


def test_videos_that_two_inputs_call_the_same_are_two(quick: Path) -> None:
    for name, label in (("one", "fake"), ("other", "real")):
        (quick / name).mkdir()
        shutil.copy(quick / f"{TEST}/{label}/000.png", quick / f"{name}/a.png")
        (quick / f"{name}/manifest.csv").write_text(f"path,label,video,frame_index\na.png,{label},000.mp4,0\n")
    predict("one", "other", "--to", "both.csv")
    content = numbers(quick / "both.csv")
    assert content["counts"]["videos"] == 2
    by_video = content["by_video"]
    assert sum(by_video["confusion"].values()) == 2


# ------------------------------------------------------------------------------------- going on, and whose files
class _Killed(BaseException):
    """As if the process ended here."""


def test_a_killed_prediction_goes_on(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (TEST, "--heatmaps", "--embedding", "--to")
    predict(*arguments, "whole/p.csv")
    written, decoded = list[Any](), list[Path]()
    real_write = pieces.write

    def write(*given: Any) -> None:
        if len(written) == 3:
            raise _Killed
        real_write(*given)
        written.append(given[0])

    monkeypatch.setattr(pieces, "write", write)
    with pytest.raises(_Killed):
        bench("predict", *arguments, "killed/p.csv")
    assert not (quick / "killed/p.csv").exists()
    assert "were made otherwise (heatmaps true → false)" in predict(TEST, "--embedding", "--to", "killed/p.csv", code=2)
    monkeypatch.setattr(pieces, "write", real_write)
    decode = datasets.decode

    def counting(file: Path, spec: Any) -> Any:
        decoded.append(file)
        return decode(file, spec)

    monkeypatch.setattr(datasets, "decode", counting)
    predict(*arguments, "killed/p.csv")
    assert len(decoded) == 32 - 3 * 5
    whole, again = (quick / f"{name}/p.csv" for name in ("whole", "killed"))
    assert whole.read_bytes() == again.read_bytes()
    first, second = (pd.read_parquet(path.with_name("p.embedding.parquet")) for path in (whole, again))
    pd.testing.assert_frame_equal(first, second)
    assert sorted(path.name for path in (quick / "killed").iterdir()) == [
        "p.csv", "p.embedding.parquet", "p.html", "p.json", "p.md", "p.pictures"
    ]  # fmt: skip


def test_a_folder_that_grew_is_judged_again(quick: Path) -> None:
    source = quick / "growing"
    shutil.copytree(quick / f"{TEST}/real", source)
    predict("growing", "--to", "grown.csv")
    before = rows_of(quick / "grown.csv")
    shutil.copy(quick / f"{TEST}/fake/000.png", source / "zzz.png")
    assert "15 pictures of 15 files" in predict("growing", "--to", "grown.csv")
    after = rows_of(quick / "grown.csv")
    assert after[:-1] == before
    assert after[-1]["path"] == "growing/zzz.png"


@pytest.mark.parametrize("name", ["theirs.csv", "theirs.html", "theirs.pictures/x.txt"])
def test_files_of_others_are_not_overwritten(name: str, quick: Path) -> None:
    other = quick / name
    other.parent.mkdir(exist_ok=True)
    other.write_text("mine")
    shown = name.partition("/")[0]
    assert f"{shown} is there, and no prediction of bench" in predict(TEST, "--to", "theirs.csv", code=2)
    assert other.read_text() == "mine"
    assert not (quick / ".theirs.work").exists()
    shutil.rmtree(quick / shown) if other.parent != quick else other.unlink()


def test_a_table_that_somebody_changed_is_theirs(quick: Path) -> None:
    predict(f"{TEST}/real", "--to", "edited.csv")
    assert "made otherwise (variant 'baseline' → 'q8'" in predict(
        f"{TEST}/real", "--variant", "q8", "--to", "edited.csv", code=2
    )
    with (quick / "edited.csv").open("a") as file:
        file.write("a note\n")
    assert "no prediction of bench as it was written" in predict(f"{TEST}/real", "--to", "edited.csv", code=2)
    assert (quick / "edited.csv").read_text().endswith("a note\n")


def test_a_variant_that_fails_has_a_code_of_its_own(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = Answers._check_and_keep

    def broken(self: Any, batch: Any, answer: Any) -> None:
        keep(self, batch, Prediction(answer.logits * np.nan, None))

    monkeypatch.setattr(Answers, "_check_and_keep", broken)
    assert "the variant can't be computed: logits are not finite" in predict(TEST, "--to", "nan.csv", code=3)


# ------------------------------------------------------------------------------------- beside the table
def test_heatmaps_say_what_is_right(quick: Path) -> None:
    predict(TEST, "--heatmaps", "--to", "maps.csv")
    rows = rows_of(quick / "maps.csv")
    colours = {"right": (0, 121, 90), "wrong": (196, 78, 0)}
    outcomes = set()
    for row in rows:
        outcome = "right" if row["label"] == row["label_predicted"] else "wrong"
        outcomes.add(outcome)
        with Image.open(quick / row["heatmap"]) as image:
            corner = np.asarray(image.convert("RGB"))[1, 1].astype(int)
        assert np.abs(corner - colours[outcome]).max() < 30, row
    assert len({row["heatmap"] for row in rows}) == len(rows)
    page = (quick / "maps.html").read_text()
    assert page.count("data:image/jpeg;base64,") == len(rows)
    off = {row["path"]: abs((row["label"] == "fake") - float(row["p_fake"])) for row in rows}
    order = [page.index(f"<bdi>{path}</bdi>") for path in sorted(off, key=lambda path: -off[path])]
    assert order == sorted(order)


def test_vectors_are_the_penultimate_features(quick: Path) -> None:
    predict(TEST, "--embedding", "--to", "vectors.csv")
    table = pd.read_parquet(quick / "vectors.embedding.parquet")
    rows = rows_of(quick / "vectors.csv")
    assert table["path"].tolist() == [row["path"] for row in rows]
    vectors = np.stack(table["embedding"].tolist())
    assert vectors.shape == (32, 64)
    # The head is one linear layer on them: its weights lead from there to the logits.
    artifact = numbers(quick / "vectors.csv")["settings"]["artifact"]
    weights = safetensors.load_torch(quick / f"variants/{artifact}/model.safetensors").head
    logits = vectors @ weights.weight.detach().float().numpy().T + weights.bias.detach().float().numpy()
    expected = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    assert [float(row["p_fake"]) for row in rows] == pytest.approx(expected.tolist(), abs=1e-5)


def test_faces_of_a_frame_in_files_of_their_own_count_by_the_highest(tmp_path: Path) -> None:
    """As an extraction writes them, and as a run scores them."""
    rows = [
        {"path": f"{video}/{frame:06d}{'-1' * second}.png", "video": video, "frame_index": str(frame), "face": "0",
         "p_fake": str(high if second else 0.1), "label": label, "error": ""}
        for video, label, high in (("v1", "fake", 0.8), ("v2", "real", 0.3))
        for frame in (0, 10)
        for second in (False, True)
    ]  # fmt: skip
    table = tmp_path / "predictions.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    judged = scoring.judge(table, 8, {}, {}, 0.5, VideoScoring())
    assert judged.by_video is not None
    assert judged.by_video.fixed is not None
    assert (judged.by_video.fixed.tp, judged.by_video.fixed.tn) == (1, 1)


def test_nothing_to_judge(quick: Path) -> None:
    (quick / "texts").mkdir(exist_ok=True)
    (quick / "texts/a.txt").write_text("text")
    assert "texts: holds no pictures and no videos" in predict("texts", "--to", "n.csv", code=2)
    assert "fases: no such file or folder (did you mean 'faces'?)" in predict("fases", "--to", "n.csv", code=2)


def test_vectors_that_cannot_be_had_are_refused_before_anything_is_written(
    quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.inference.variants.network", lambda folder, built: None)
    output = predict(TEST, "--variant", "q8", "--embedding", "--to", "refused.csv", code=2)
    assert "--embedding: 'q8' is an ONNX file of which no network of layers is at hand" in output
    assert not (quick / ".refused.work/settings.json").exists()


def test_vectors_of_int8_are_of_its_own_weights(quick: Path) -> None:
    for variant in ("baseline", "q8"):
        predict(TEST, "--variant", variant, "--embedding", "--to", f"two/{variant}.csv")
    by_variant = [
        np.stack(pd.read_parquet(quick / f"two/{name}.embedding.parquet")["embedding"].tolist())
        for name in ("baseline", "q8")
    ]
    apart = np.abs(by_variant[0] - by_variant[1]).mean() / np.abs(by_variant[0]).mean()
    assert 0 < apart < 0.1
