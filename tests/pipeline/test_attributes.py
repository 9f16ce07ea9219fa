"""What else is known of frames: read from any layout, stored apart from predictions, and redoing none of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bench.datasets import FrameSetSettings, demo, load
from bench.errors import UserError
from bench.records import Frame, FrameSet, Split
from bench.results import attributes, store
from tests.conftest import write_frames
from tests.support.command_line import bench


def frame_set(folder: Path, path: str = ".") -> dict[Split, FrameSet]:
    return load("mine", FrameSetSettings(path=path), folder, folder / ".cache")


def attributes_of(frames: FrameSet) -> dict[str, dict[str, str]]:
    return {frame.path: dict(frame.attributes) for frame in frames.frames}


def manifest(folder: Path, rows: pd.DataFrame, kind: str = "csv") -> None:
    for old in folder.glob("manifest.*"):
        old.unlink()
    if kind == "csv":
        rows.to_csv(folder / "manifest.csv")  # with pandas' own column of row numbers, which has no name
    else:
        rows.to_parquet(folder / "manifest.parquet")


def rows(count: int = 4) -> pd.DataFrame:
    names = [f"{label}/{index:03d}.png" for label in ("real", "fake") for index in range(count)]
    return pd.DataFrame({"path": names, "label": [name[:4] for name in names]})


# ------------------------------------------------------------------------------------------ reading
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_further_columns_keep_their_names_order_and_text(tmp_path: Path, kind: str) -> None:
    write_frames(tmp_path, 4, 4, 0)
    table = rows().assign(Zoom=range(8), method=["swap", ""] * 4, **{"face id": "007"})
    if kind == "parquet":
        table = table.assign(embedding=pd.Series([[1.0, 2.0]] * 8)).set_index("Zoom", drop=False)
    manifest(tmp_path, table, kind)
    frames = frame_set(tmp_path)["test"]
    expected = {"Zoom": "1", "method": "", "face id": "007"}
    assert attributes_of(frames)["real/001.png"] == expected
    assert [name for name, _ in frames.frames[0].attributes] == list(expected)
    assert attributes.digest({"test": frames})


def test_frames_that_know_the_same_share_it(tmp_path: Path) -> None:
    write_frames(tmp_path, 4, 4, 0)
    manifest(tmp_path, rows().assign(method=["swap", "blend"] * 4))
    assert len({id(frame.attributes) for frame in frame_set(tmp_path)["test"].frames}) == 2


@pytest.mark.parametrize("name", ["p_fake", "Frame", "LOGIT_REAL", "logit_fake"])
def test_columns_called_like_predictions_are_refused(tmp_path: Path, name: str) -> None:
    write_frames(tmp_path, 4, 4, 0)
    manifest(tmp_path, rows().assign(**{name: 1}))
    with pytest.raises(UserError, match=f"a column is called '{name}'"):
        frame_set(tmp_path)


def test_the_first_folder_below_the_label_is_an_attribute(tmp_path: Path) -> None:
    write_frames(tmp_path / "faces", 2, 1, 0)
    (tmp_path / "faces/fake/swap/video7").mkdir(parents=True)
    (tmp_path / "faces/fake/000.png").rename(tmp_path / "faces/fake/swap/video7/000.png")
    attributes_by_frame = attributes_of(frame_set(tmp_path, "faces")["test"])
    assert attributes_by_frame == {
        "fake/swap/video7/000.png": {"folder": "swap"},
        "real/000.png": {},
        "real/001.png": {},
    }


def test_the_demo_knows_the_quality_of_each_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "COUNTS", {"test": (3, 3), "train": (1, 1)})
    monkeypatch.setattr(demo, "SIZE", 64)
    demo.draw(tmp_path / "demo")
    for frame in frame_set(tmp_path, "demo")["test"].frames:
        quality = int(dict(frame.attributes)["quality"])
        again = demo.encode_jpeg(np.zeros((8, 8, 3), dtype=np.uint8), quality)
        (tmp_path / "again.jpg").write_bytes(again)
        with Image.open(frame.file) as drawn, Image.open(tmp_path / "again.jpg") as other:
            assert drawn.quantization == other.quantization  # type: ignore[attr-defined]
        assert 75 <= quality <= 95


# ------------------------------------------------------------------------------------------ storing
def sets(*values_of_frames: dict[str, str], split: Split = "test") -> dict[Split, FrameSet]:
    frames = tuple(
        Frame(f"{index}.png", Path(), index % 2, None, "", tuple(values.items()))
        for index, values in enumerate(values_of_frames)
    )
    return {split: FrameSet("mine", split, frames, "", "")}


def stored(frames: dict[Split, FrameSet], folder: Path) -> pd.DataFrame:
    attributes.write(folder / "a.parquet", frames)
    table = pd.DataFrame(
        [(frame.path, split) for split in frames for frame in frames[split].frames], columns=["frame", "split"]
    )
    return attributes.read(folder / "a.parquet", table)


@pytest.mark.parametrize(
    ("values", "read"),
    [
        (["1", "-2.5", "", "1e3"], [1.0, -2.5, None, 1000.0]),
        (["007", "8", "", "9"], ["007", "8", None, "9"]),
        (["1", "two", "", "nan"], ["1", "two", None, "nan"]),
        (["0", "0.5", "0", "-0"], [0.0, 0.5, 0.0, 0.0]),
        (["1e999", "1", "1", "1"], ["1e999", "1", "1", "1"]),
        ([".", "1", "e3", ""], [".", "1", "e3", None]),
        (["e1", "E2", ".e5", "+e1"], ["e1", "E2", ".e5", "+e1"]),
        ([".5", "5.", "5.e1", "0.0"], [0.5, 5.0, 50.0, 0.0]),
    ],
)
def test_values_are_numbers_only_where_all_are(values: list[str], read: list[Any], tmp_path: Path) -> None:
    column = stored(sets(*({"x": value} for value in values)), tmp_path)["x"]
    assert [None if pd.isna(value) else value for value in column] == read
    assert pd.api.types.is_numeric_dtype(column) == all(not isinstance(value, str) for value in read)


@given(st.from_regex(attributes._NUMBER, fullmatch=True) | st.text("0123456789.eE+-", max_size=6))
def test_what_looks_like_a_number_is_one(text: str) -> None:
    assert not attributes.is_number(text) or np.isfinite(float(text))


def test_splits_may_know_different_things(tmp_path: Path) -> None:
    both = {**sets({"a": "x"}, {"a": "y"}), **sets({"b": "z"}, {}, split="validation")}
    table = stored(both, tmp_path)
    assert list(table) == ["a", "b"]
    assert table.astype(object).where(table.notna(), "").to_numpy().tolist() == [
        ["x", ""],
        ["y", ""],
        ["", "z"],
        ["", ""],
    ]


def test_digest_tells_every_change(tmp_path: Path) -> None:
    assert attributes.digest(sets({}, {})) == ""
    variations = [
        sets({"a": "x"}, {"a": "y"}),
        sets({"a": "y"}, {"a": "x"}),
        sets({"a": "x"}, {"a": "x"}),
        sets({"b": "x"}, {"b": "y"}),
        sets({"a": "x"}, {"a": "y"}, split="validation"),
        {**sets({"a": "x"}), **sets({"a": "y"}, split="validation")},
    ]
    assert len({attributes.digest(variation) for variation in variations}) == len(variations)
    assert not attributes.digest(sets({"a": "x"}, split="train"))


def test_damaged_or_of_other_frames(tmp_path: Path) -> None:
    attributes.write(tmp_path / "a.parquet", sets({"a": "x"}, {"a": "y"}))
    same = pd.DataFrame({"frame": ["0.png", "1.png"], "split": "test"})
    assert attributes.read(tmp_path / "a.parquet", same)["a"].tolist() == ["x", "y"]
    for other in (same.head(1), same.assign(split="validation"), same.iloc[::-1]):
        with pytest.raises(UserError, match="delete it, `bench run` writes it again"):
            attributes.read(tmp_path / "a.parquet", other)
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-9])
    with pytest.raises(UserError, match="damaged"):
        attributes.read(tmp_path / "a.parquet", same)
    assert attributes.read(tmp_path / "none", same).shape == (2, 0)


# ------------------------------------------------------------------------------------------ running
@pytest.mark.slow
def test_a_new_column_renders_anew_and_evaluates_nothing(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    results, stored_file = workplace / "results/first", workplace / "results/first/attributes.parquet"

    def run() -> tuple[str, str]:
        code, output = bench("run", "--only", "q16")
        assert code == 0, output
        scores = json.loads((workplace / "reports/first/scores.json").read_text())
        return scores["frames"]["test"]["digest"], store.read_run(results).attributes

    digest, nothing = run()
    assert not nothing
    assert not stored_file.exists()
    test = workplace / "faces/test"
    names = [str(path.relative_to(test)) for path in sorted(test.rglob("*.png"))]
    table = pd.DataFrame({"path": names, "label": [name[:4] for name in names]})
    manifest(test, table.assign(quality=range(len(names))))
    # From here on an evaluation would fail.
    monkeypatch.setattr("bench.results.predict.predict", None)
    assert run()[0] == digest
    labelled, validation = store.read_labelled(results, "baseline")
    assert labelled.attributes["quality"].tolist() == list(range(len(names)))
    assert validation is not None
    assert validation.attributes["quality"].isna().all()
    written = stored_file.stat().st_mtime_ns
    assert run()[1]
    assert stored_file.stat().st_mtime_ns == written, "what did not change is not written again"
    report = (workplace / "reports/first/.rendered").read_text()
    manifest(test, table.assign(quality=range(1, len(names) + 1)))
    run()
    assert (workplace / "reports/first/.rendered").read_text() != report
    assert bench("clean", "--yes")[0] == 0
    assert stored_file.exists()
    stored_file.unlink()
    code, output = bench("report")
    assert (code, "attributes.parquet: is gone; `bench run` writes it again" in output) == (2, True)
    run()
    assert stored_file.exists()
    manifest(test, table)
    assert run() == (digest, "")
    assert not stored_file.exists()


@pytest.mark.slow
def test_predictions_of_bench_can_be_scored_as_they_are(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    assert bench("run", "--only", "q16")[0] == 0
    for name in ("baseline", "q16"):
        data = (workplace / f"results/first/{name}/predictions.parquet").read_bytes()
        (workplace / f"{name}.parquet").write_bytes(data)
    code, output = bench("score", "--name", "again", "baseline.parquet", "q16.parquet")
    assert code == 0, output
    of_run, of_command = (
        json.loads((workplace / f"reports/{name}/scores.json").read_text())["variants"]["q16"]
        for name in ("first", "again")
    )
    for key in ("auc", "auc_ci", "auc_delta", "auc_delta_p", "confusion", "flips", "ece", "brier", "thresholds"):
        assert of_run[key] == of_command[key], key


def test_frame_sets_digest_ignores_attributes(tmp_path: Path) -> None:
    write_frames(tmp_path, 4, 4, 0)
    manifest(tmp_path, rows())
    bare = frame_set(tmp_path)["test"]
    manifest(tmp_path, rows().assign(method="swap"))
    more = frame_set(tmp_path)["test"]
    assert (bare.digest, bare.content) == (more.digest, more.content)
    assert tuple(replace(frame, attributes=()) for frame in more.frames) == bare.frames
