"""`bench inspect` on pictures, folders and videos, with the tiny family."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.commands.inspect import looking
from bench.commands.inspect.request import Options, checked
from bench.errors import UserError
from bench.inference.video_frames import decoded
from bench.records.inspection import PARTS
from bench.reports import inspection
from tests.support.command_line import bench
from tests.support.footage import portrait, write_video
from tests.support.portraits import picture

VARIANTS = ("baseline", "q16", "q8")


def inspect(*arguments: str) -> str:
    code, output = bench("inspect", *arguments)
    assert code == 0, output
    return output


def numbers(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "inspection.json").read_text())
    return content


def stored(folder: Path, variant: str, frame: str) -> pd.Series:
    table = pd.read_parquet(folder / f"results/first/{variant}/predictions.parquet")
    return table[(table["frame"] == frame) & (table["split"] == "test")].iloc[0]


def test_a_frame_of_the_set_has_the_score_of_the_run(inspected: Path) -> None:
    output = inspect("faces/test/fake/portrait.png", "--variant", "q16", "--variant", "q8", "--to", "one")
    content = numbers(inspected / "one/portrait")
    assert list(content["variants"]) == list(VARIANTS)
    for name, variant in content["variants"].items():
        of_run = stored(inspected, name, "fake/portrait.png")
        assert variant["p_fake"] == pytest.approx(of_run["p_fake"], abs=1e-5)
        assert variant["logits"] == pytest.approx([of_run["logit_real"], of_run["logit_fake"]], abs=1e-5)
        assert name in output
    assert content["input"]["of_set"]
    assert content["input"]["label"] == "fake"
    assert content["input"]["frame"] == {"height": 160, "width": 160, "matrix": [1, 0, 0, 0, 1, 0]}
    assert content["input"]["face"]["finder"] == "yunet"
    assert set(content["statistics"]["wavelet_low_band"]) == {"red", "green", "blue"}


def test_everything_is_written(inspected: Path) -> None:
    inspect("faces/test/fake/portrait.png", "--variant", "q8", "--to", "whole")
    folder = inspected / "whole/portrait"
    steps = {path.relative_to(folder / "steps").as_posix() for path in folder.glob("steps/**/*.png")}
    of_input = {"a_input/original.png", "a_input/face.png", "b_crop/frame.png", "b_crop/parts.png",
                "c_preprocessing/before.png", "c_preprocessing/after.png", "c_preprocessing/low_band.png"}  # fmt: skip
    assert of_input < steps
    assert {f"e_evidence/{name}/agreed.png" for name in ("baseline", "q8")} < steps
    assert {f"d_journey/{name}/1/overlay.png" for name in ("baseline", "q8")} < steps
    text, page = (folder / "inspection.md").read_text(), (folder / "inspection.html").read_text()
    for name in steps:
        assert f"steps/{name}" in text
    for section in ("Step A", "Step B", "Step C", "Step D", "Step E", "cA, red"):
        assert section in text
    assert page.count("data:image/jpeg;base64,") >= len(steps)
    assert 'src="steps' not in page
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_rows_of_an_artifact_in_onnx_are_of_its_own_graph(inspected: Path) -> None:
    inspect("faces/test/real/portrait.png", "--variant", "q8", "--to", "rows")
    variants = numbers(inspected / "rows/portrait")["variants"]
    names = {name: [stage["name"] for stage in each["stages"]] for name, each in variants.items()}
    assert names["baseline"] == names["q8"]
    assert variants["baseline"]["activations_by"] == "PyTorch"
    assert variants["q8"]["activations_by"].startswith("further outputs of the artifact's own graph")
    assert "dequantised weights" in variants["q8"]["heat_by"]
    assert any("PyTorch copy" in note for note in variants["q8"]["notes"])
    by_copy = np.subtract(*variants["q8"]["logits_of_heat"])
    assert by_copy == pytest.approx(np.subtract(*variants["q8"]["logits"]), abs=0.3)


def test_shares_of_the_parts_add_up(inspected: Path) -> None:
    inspect("faces/test/fake/portrait.png", "--target", "fake", "--to", "parts")
    (variant,) = numbers(inspected / "parts/portrait")["variants"].values()
    assert variant["target"] == "fake"
    assert set(variant["parts"]) <= set(PARTS)
    assert sum(part["share"] for part in variant["parts"].values()) == pytest.approx(1)
    assert all(part["p_fake_falls_when_blurred"] is not None for part in variant["parts"].values())


def test_a_face_is_cut_out_of_what_is_no_frame_of_the_set(inspected: Path) -> None:
    inspect("wide.png", "--to", "faces-auto")
    cut = numbers(inspected / "faces-auto/wide")["input"]
    assert not cut["of_set"]
    assert cut["frame"]["width"] < 200
    assert cut["label"] is None
    inspect("wide.png", "--faces", "never", "--to", "faces-never")
    whole = numbers(inspected / "faces-never/wide")["input"]
    assert (whole["frame"]["height"], whole["frame"]["width"]) == (240, 360)
    inspect("faces/test/fake/portrait.png", "--faces", "always", "--to", "faces-always")
    again = numbers(inspected / "faces-always/portrait")["input"]
    assert again["frame"]["width"] < 160
    # The points lie on the fitted frame as they do in the picture.
    left, right = cut["points_in_network_input"][:2]
    assert 0 < left[0] < right[0] < 64


def test_a_face_that_fills_a_picture_may_be_a_crop_already(inspected: Path) -> None:
    Image.fromarray(picture(9, 160)).save(inspected / "close.png")
    words = "the face fills most of the picture; if that is a crop already, `--faces never`"
    assert words in inspect("close.png", "--to", "close")
    assert "it is cropped twice" in (inspected / "close/close/inspection.md").read_text()
    assert words not in inspect("close.png", "--faces", "never", "--to", "close")
    small = np.full((480, 480, 3), 90, np.uint8)
    small[150:310, 150:310] = picture(9, 160)
    Image.fromarray(small).save(inspected / "far.png")
    assert words not in inspect("far.png", "--to", "close")


def test_above_is_for_folders(inspected: Path) -> None:
    code, output = bench("inspect", "faces/test/fake/portrait.png", "--above", "0.5")
    assert code == 2
    assert "--above: chooses among the pictures of a folder, and faces/test/fake/portrait.png is a picture" in (
        " ".join(output.split())
    )


def test_a_folder_gives_a_table_and_a_gallery(inspected: Path) -> None:
    source = inspected / "some"
    for label in ("real", "fake"):
        (source / label).mkdir(parents=True)
        shutil.copy(inspected / f"faces/test/{label}/portrait.png", source / label)
    shutil.copy(inspected / "mirrored.jpg", source)
    (source / "broken.png").write_bytes(b"no picture")
    output = inspect("some", "--variant", "q8", "--to", "many", "--faces", "never")
    assert "skipped" in output
    table = pd.read_parquet(inspected / "many/explanations.parquet")
    assert len(table) == 3 * 2
    assert table["explained"].all()
    rows = {(row["frame"], row["variant"]): row for row in table.to_dict("records")}
    assert rows["fake/portrait", "q8"]["label"] == 1
    assert rows["real/portrait", "baseline"]["label"] == 0
    assert table[table["frame"] == "mirrored"]["label"].isna().all()
    of_run = stored(inspected, "q8", "real/portrait.png")["p_fake"]
    assert rows["real/portrait", "q8"]["p_fake"] == pytest.approx(of_run, abs=1e-5)
    shares = table[[f"share_{part.replace(' ', '_')}" for part in PARTS]].sum(axis=1)
    assert shares[table["leading"].notna()].to_numpy(float) == pytest.approx(1)
    hot = table.dropna(subset=["hottest_row"])
    assert len(hot)
    side = next(iter(numbers(inspected / "many/mirrored")["variants"].values()))["levels"][0][0]
    assert hot["hottest_row"].between(0, side - 1).all()
    assert hot["hottest_column"].between(0, side - 1).all()
    assert hot["hottest_row"].nunique() > 1
    assert (table["target"].astype(str) == np.where(table["p_fake"] >= 0.5, "fake", "real")).all()
    where = table.dropna(subset=["hottest_part"])
    assert set(where["hottest_part"]) <= set(PARTS)
    assert (where["distance"] >= 0).all()
    assert where["landmark"].notna().all()
    page = (inspected / "many/gallery.html").read_text()
    labelled = table.dropna(subset=["label"])
    off = (labelled["label"] - labelled["p_fake"]).abs().groupby(labelled["frame"]).max()
    expected = [*map(str, off.sort_values(ascending=False).index), "mirrored"]
    assert sorted(expected, key=lambda name: page.index(f'"{name}/inspection.html"')) == expected
    assert all((inspected / "many" / name / "inspection.html").exists() for name in expected)


def test_above_explains_only_what_is_suspected(inspected: Path) -> None:
    scores = {label: stored(inspected, "baseline", f"{label}/portrait.png")["p_fake"] for label in ("real", "fake")}
    high = max(scores, key=lambda label: scores[label])
    folder = inspected / "two"
    for label in scores:
        (folder / label).mkdir(parents=True)
        shutil.copy(inspected / f"faces/test/{label}/portrait.png", folder / label)
    inspect("two", "--above", str(np.mean(list(scores.values()))), "--to", "suspected")
    table = pd.read_parquet(inspected / "suspected/explanations.parquet").set_index("frame")
    assert table["explained"].to_dict() == {f"{label}/portrait": label == high for label in scores}
    assert table["p_fake"].notna().all()


def test_a_video_is_scored_over_time(inspected: Path) -> None:
    write_video(inspected / "clip.mp4", 12, draw=portrait)
    output = inspect("clip.mp4", "--variant", "q8", "--frames", "4", "--to", "videos")
    content = json.loads((inspected / "videos/clip/inspection.json").read_text())
    for variant in content["variants"].values():
        assert [frame["number"] for frame in variant["frames"]] == [0, 3, 7, 11]
        assert variant["p_fake"] == pytest.approx(np.mean([frame["p_fake"] for frame in variant["frames"]]))
    by_number = {frame["number"]: frame["p_fake"] for frame in content["variants"]["baseline"]["frames"]}
    assert content["explained"] == sorted(by_number, key=lambda number: -by_number[number])[:3]
    first = inspected / f"videos/clip/frame_{content['explained'][0]:06d}"
    assert numbers(first)["variants"]["baseline"]["p_fake"] == pytest.approx(
        by_number[content["explained"][0]], abs=1e-5
    )
    assert not [path for path in (inspected / "videos/clip").iterdir() if path.name.startswith(".")]
    page = (inspected / "videos/clip/inspection.html").read_text()
    assert 'class="limit"' in page
    assert "P(fake)" in output


def test_a_video_shows_logit_differences_where_scores_saturate(
    inspected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.records.inspection.SATURATED", 0.5)
    write_video(inspected / "sure.mp4", 6, draw=portrait)
    inspect("sure.mp4", "--frames", "3", "--to", "videos")
    frames = numbers(inspected / "videos/sure")["variants"]["baseline"]["frames"]
    differences = [frame["logit_difference"] for frame in frames]
    text = (inspected / "videos/sure/inspection.md").read_text()
    written = [f"{difference:+.2f}".replace("-", "−") for difference in (min(differences), max(differences))]
    assert f"| {' to '.join(written)} |" in text
    assert all(
        f"{frame['p_fake']:.4f} ({frame['logit_difference']:+.2f})".replace("-", "−") in text for frame in frames
    )


def test_more_levels_and_another_target(inspected: Path) -> None:
    inspect("faces/test/real/portrait.png", "--levels", "3", "--target", "real", "--to", "levels")
    (variant,) = numbers(inspected / "levels/portrait")["variants"].values()
    sizes = [shape[0] for shape in variant["levels"]]
    assert sizes == sorted(sizes)
    assert len(sizes) == 2, "the tiny network has two resolutions"
    assert variant["target"] == "real"
    inspect("faces/test/real/portrait.png", "--levels", "1", "--to", "one-level")
    (variant,) = numbers(inspected / "one-level/portrait")["variants"].values()
    assert len(variant["levels"]) == 1


def test_a_variant_without_its_float_parent_keeps_its_map(inspected: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(inspected, copied)
    described = [
        path for path in copied.glob("variants/*/variant.json") if json.loads(path.read_text())["kind"] == "torch"
    ]
    run = json.loads((copied / "results/first/run.json").read_text())
    baseline = run["variants"][0]["id"]
    for path in described:
        if path.parent.name != baseline:
            shutil.rmtree(path.parent)
    # Without any network of layers behind it, only the map is left.
    (q8,) = (each["id"] for each in run["variants"] if each["name"] == "q8")
    lineage = copied / f"variants/{q8}/variant.json"
    content = json.loads(lineage.read_text())
    content["lineage"] = [link for link in content["lineage"] if link["id"] == q8]
    lineage.write_text(json.dumps(content))
    inspect("faces/test/real/portrait.png", "--variant", "q8", "--to", "mapped", "-f", str(copied / "experiments.yaml"))
    variant = numbers(Path("mapped/portrait"))["variants"]["q8"]
    assert variant["stages"] == []
    assert variant["cam"] is not None
    text = Path("mapped/portrait/inspection.md").read_text()
    assert "no network of layers is at hand" in text


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a.jpg", "b.png"], ["a", "b"]),
        (["a.jpg", "a.png", "a.jpg.png"], ["a.jpg", "a.jpg.png", "a.png"]),
        (["a.png", "a/steps.png"], ["a.png", "a/steps"]),
        (["A.png", "a.jpg"], ["A.png", "a.jpg"]),
        (["explanations.parquet.png", "gallery.html.png"], ["explanations.parquet.png", "gallery.html.png"]),
    ],
)
def test_no_picture_takes_the_place_of_another(tmp_path: Path, files: list[str], names: list[str]) -> None:
    for file in files:
        (tmp_path / "in" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / file).touch()
    request = checked(tmp_path / "in", Options(to=tmp_path / "out"), tmp_path)
    assert sorted(request.names.values()) == names


def test_a_folder_above_the_pictures_may_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "in/below").mkdir(parents=True)
    for file in ("in/a.png", "in/below/b.png"):
        (tmp_path / file).touch()
    for to in (tmp_path, tmp_path / "in"):
        request = checked(tmp_path / "in/below", Options(to=to), tmp_path)
        assert list(request.names.values()) == ["b"]
    inside = checked(tmp_path / "in", Options(to=tmp_path / "in/below"), tmp_path)
    assert list(inside.names.values()) == ["a"], "what an earlier call wrote is no input"


def test_no_inspection_lies_among_the_pictures(tmp_path: Path) -> None:
    (tmp_path / "in/below").mkdir(parents=True)
    (tmp_path / "in/below/below.png").touch()
    with pytest.raises(UserError, match="below would be written into the folder of the pictures"):
        checked(tmp_path / "in/below", Options(to=tmp_path / "in"), tmp_path)


def test_pictures_that_no_page_could_name_and_videos_are_left_out_and_said(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").touch()
    (folder / "clip.mp4").touch()
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/f\xe9.png")).touch()
    except (OSError, UnicodeDecodeError):
        pytest.skip("this file system knows UTF-8 alone")
    request = checked(folder, Options(to=tmp_path / "out"), tmp_path)
    assert list(request.names.values()) == ["a"]
    assert any("f\\xe9.png: its name is not UTF-8" in line for line in request.left_out)
    assert "1 video: give one of them" in request.left_out
    with pytest.raises(UserError, match=r"f\\xe9\.png: its name is not UTF-8.*rename it"):
        checked(Path(os.fsdecode(os.fsencode(folder) + b"/f\xe9.png")), Options(to=tmp_path / "out"), tmp_path)


@pytest.mark.parametrize("name", ["steps", "maps"])
def test_folders_of_others_are_not_replaced(inspected: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "portrait" / name).mkdir(parents=True)
    (tmp_path / "portrait" / name / "mine.png").touch()
    code, output = bench("inspect", "faces/test/real/portrait.png", "--to", str(tmp_path))
    assert code == 2
    assert f"{name}/mine.png: was not written by bench; choose another folder" in " ".join(output.split())
    assert (tmp_path / "portrait" / name / "mine.png").exists()


def test_killed_while_it_writes_an_inspection_leaves_the_one_before(
    inspected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspect("faces/test/real/portrait.png", "--to", "killed")
    folder = inspected / "killed/portrait"
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.reports.inspection.single.numbers", killed)
    code, _ = bench("inspect", "faces/test/real/portrait.png", "--variant", "q8", "--to", "killed")
    assert code == 130
    assert {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_interrupted_in_a_folder_table_and_gallery_are_of_what_was_done(
    inspected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = inspection.write
    done: list[Path] = []

    def interrupted(looked: Any, folder: Path) -> Any:
        if done:
            raise KeyboardInterrupt
        done.append(folder)
        return write(looked, folder)

    monkeypatch.setattr("bench.reports.inspection.write", interrupted)
    code, output = bench("inspect", "faces/test/fake", "--faces", "never", "--to", "interrupted")
    assert code == 130
    assert "interrupted; 1 of" in output
    assert "the same command begins anew" in " ".join(output.split())
    assert len(pd.read_parquet(inspected / "interrupted/explanations.parquet")) == 1
    assert (inspected / "interrupted/gallery.html").exists()


def test_what_fails_on_one_picture_costs_no_other(inspected: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    explanations = inspection.explanations

    def broken(looked: Any) -> Any:
        if looked.subject.name == "portrait":
            raise ZeroDivisionError("no reason")
        return explanations(looked)

    monkeypatch.setattr("bench.reports.inspection.explanations", broken)
    code, output = bench("inspect", "faces/test/fake", "--faces", "never", "--to", "failing")
    assert code == 70, "a defect stays one"
    assert "ZeroDivisionError: no reason" in output
    assert "portrait.png: ZeroDivisionError: no reason" in (inspected / "failing/gallery.md").read_text()
    frames = set(pd.read_parquet(inspected / "failing/explanations.parquet")["frame"])
    assert len(frames) == len(list((inspected / "faces/test/fake").iterdir())) - 1


def test_what_fails_on_several_in_a_row_ends_it(inspected: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    explanations, done = inspection.explanations, list[str]()

    def broken(looked: Any) -> Any:
        done.append(looked.subject.name)
        if len(done) > 2:
            raise MemoryError("no more")
        return explanations(looked)

    monkeypatch.setattr("bench.reports.inspection.explanations", broken)
    code, _ = bench("inspect", "faces/test/fake", "--faces", "never", "--to", "ending")
    assert code == 70
    assert len(done) == 2 + 5
    assert set(pd.read_parquet(inspected / "ending/explanations.parquet")["frame"]) == set(done[:2])


def test_an_artifact_that_is_gone_is_one_error(inspected: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(inspected, copied)
    run = json.loads((copied / "results/first/run.json").read_text())
    (q8,) = (each["id"] for each in run["variants"] if each["name"] == "q8")
    shutil.rmtree(copied / f"variants/{q8}")
    for given in ("faces/test/fake", "faces/test/fake/portrait.png"):
        code, output = bench("inspect", given, "--variant", "q8", "-f", str(copied / "experiments.yaml"))
        assert code == 2
        assert " ".join(output.split()).count("the artifact of 'q8' is gone") == 1
        assert "can be judged" not in output


def test_where_nothing_speaks_for_the_class_that_is_said_and_blurring_is_still_tried(
    inspected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = looking.answer

    def of_one_class(session: Any, fitted: Any) -> Any:
        logits, cam = answer(session, fitted)
        return logits, None if cam is None else np.full_like(cam, -1.0)

    monkeypatch.setattr(looking, "answer", of_one_class)
    inspect("faces/test/fake/portrait.png", "--target", "fake", "--to", "blank")
    (variant,) = numbers(inspected / "blank/portrait")["variants"].values()
    assert "Nothing in its map speaks for fake." in variant["notes"]
    assert not any("do not agree" in note for note in variant["notes"])
    assert variant["parts"]
    assert all(part["share"] is None for part in variant["parts"].values())
    assert all(part["p_fake_falls_when_blurred"] is not None for part in variant["parts"].values())


def test_frames_of_every_split_are_left_as_they_are(inspected: Path) -> None:
    """A calibration frame has no prediction; it is a frame of the set all the same. A hidden file is none."""
    portrait, hidden = (inspected / f"faces/calibration/{name}.png" for name in ("real/portrait", ".hidden/other"))
    hidden.parent.mkdir()
    for seed, path in enumerate((portrait, hidden)):
        Image.fromarray(picture(5 + seed, 160)).save(path)
    try:
        inspect(str(portrait), "--to", "of-calibration")
        inspect(str(hidden), "--to", "of-calibration")
    finally:
        portrait.unlink()
        shutil.rmtree(hidden.parent)
    assert not numbers(inspected / "of-calibration/other")["input"]["of_set"]
    given = numbers(inspected / "of-calibration/portrait")["input"]
    assert given["of_set"]
    assert given["label"] == "real"
    assert given["frame"]["width"] == 160


def test_frames_of_a_video_that_can_not_be_decoded_are_counted(
    inspected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(inspected / "damaged.mp4", 12, draw=portrait)
    monkeypatch.setattr(
        "bench.commands.inspect.video.decoded", lambda *given, **options: list(decoded(*given, **options))[:-1]
    )
    inspect("damaged.mp4", "--frames", "4", "--to", "videos")
    content = json.loads((inspected / "videos/damaged/inspection.json").read_text())
    assert content["frames"] == {"read": 3, "not_decoded": 1, "without_face": 0}
    assert (
        "3 frames at even distances were read. 1 more can't be decoded."
        in (inspected / "videos/damaged/inspection.md").read_text()
    )


def test_an_inspection_replaces_the_one_before(inspected: Path) -> None:
    inspect("faces/test/real/portrait.png", "--variant", "q8", "--to", "again")
    inspect("faces/test/real/portrait.png", "--to", "again")
    assert list(numbers(inspected / "again/portrait")["variants"]) == ["baseline"]
    assert not (inspected / "again/portrait/steps/d_journey/q8").exists()


def test_a_video_replaces_the_one_before_and_a_picture_of_its_name(inspected: Path) -> None:
    write_video(inspected / "anew.mp4", 12, draw=portrait)
    shutil.copy(inspected / "faces/test/real/portrait.png", inspected / "anew.png")
    folder = inspected / "replaced/anew"

    def below() -> list[str]:
        return sorted(path.name for path in folder.iterdir())

    pages = ["inspection.html", "inspection.json", "inspection.md"]
    inspect("anew.png", "--to", "replaced")
    assert below() == [*pages, "maps", "steps"] or below() == [*pages, "steps"]
    inspect("anew.mp4", "--frames", "12", "--to", "replaced")
    many = below()
    assert len(many) == 3 + len(pages)
    inspect("anew.mp4", "--frames", "1", "--to", "replaced")
    assert below() == ["frame_000000", *pages]
    inspect("anew.png", "--to", "replaced")
    assert "frame_000000" not in below()


def test_a_folder_called_like_a_frame_is_not_replaced(inspected: Path) -> None:
    write_video(inspected / "taken.mp4", 4, draw=portrait)
    (inspected / "others/taken/frame_000000").mkdir(parents=True)
    (inspected / "others/taken/frame_000000/mine.png").touch()
    code, output = bench("inspect", "taken.mp4", "--frames", "1", "--to", "others")
    assert code == 2
    assert "frame_000000: was not written by bench; choose another folder" in " ".join(output.split())
    assert (inspected / "others/taken/frame_000000/mine.png").exists()


def test_pictures_can_be_read(inspected: Path) -> None:
    inspect("faces/test/real/portrait.png", "--to", "read")
    paths = list((inspected / "read/portrait/steps").rglob("*.png"))
    assert len(paths) > 10
    for path in paths:
        drawn = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert drawn is not None
        assert drawn.ndim == 3
        assert drawn.shape[2] == 3


def test_the_logit_difference_is_shown_where_scores_saturate(inspected: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every score counts as saturated here; else none is, and no table has the column."""
    monkeypatch.setattr("bench.reports.inspection.content._SURE", 1.0)
    inspect("faces/test/fake/portrait.png", "--to", "plain")
    page = (inspected / "plain/portrait/inspection.md").read_text()
    assert "| logit difference |" not in page
    assert "logit difference changes" not in page
    monkeypatch.setattr("bench.records.inspection.SATURATED", 0.5)
    monkeypatch.setattr("bench.reports.inspection.content._SURE", 0.0)
    output = inspect("faces/test/fake/portrait.png", "--to", "saturated")
    variant = numbers(inspected / "saturated/portrait")["variants"]["baseline"]
    difference = variant["logits"][1] - variant["logits"][0]
    assert f"(logit difference {difference:+.2f})" in output
    page = (inspected / "saturated/portrait/inspection.md").read_text()
    assert "| logit difference |" in page
    assert "logit difference changes" in page
    assert all(part["logit_difference_falls_when_blurred"] is not None for part in variant["parts"].values())
