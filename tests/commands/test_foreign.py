"""`bench score`: scores from files of any kind and order become the same report, and unlike things are refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from bench.commands.score import Request, _read, columns_by_file
from bench.datasets.layouts import SPLIT_WORDS
from bench.errors import UserError
from bench.records import LABEL_WORDS, Split, silent
from bench.results.external import read
from bench.results.external.align import Aligned
from bench.results.external.read import Columns, Words
from tests.support import ROOT
from tests.support.command_line import bench
from tests.support.pace import limit

WORDS = Words(LABEL_WORDS, SPLIT_WORDS)
LABELLED: tuple[tuple[Split, int], ...] = (("test", 0), ("validation", 1))


def table(seed: int = 0, count: int = 200) -> pd.DataFrame:
    """Frames of 8 sources with their scores, a third of them validation frames."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    return pd.DataFrame(
        {
            "frame": [f"v{index % 8}/{index:04d}.png" for index in range(count)],
            "split": np.where(np.arange(count) % 6 < 4, "test", "validation"),
            "label": labels,
            "source": [f"v{index % 8}" for index in range(count)],
            "p_fake": 1 / (1 + np.exp(-rng.normal(labels * 2.0 - 1))),
            "method": [("swap", "blend", "")[index % 3] for index in range(count)],
            "quality": np.arange(count) % 7 + 75,
        }
    )


def shuffled(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    return rows.sample(frac=1, random_state=seed)


def write(path: Path, rows: pd.DataFrame) -> Path:
    if path.suffix == ".csv":
        rows.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        rows.to_parquet(path, index=False)
    else:
        value = "p_fake" if "p_fake" in rows else "label"
        path.write_text(json.dumps(dict(zip(rows["frame"], rows[value].tolist(), strict=True))))
    return path


def aligned(paths: list[Path], labels: Path | None = None, columns: Columns | None = None) -> Aligned:
    name = paths[0].stem
    return _read(Request(name, tuple(paths), columns or Columns(), labels), {path.stem: path for path in paths}, silent)


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as error:
        call()
    return str(error.value)


# ------------------------------------------------------------------------------------------- reading
@pytest.mark.parametrize("kind", ["csv", "parquet", "json"])
def test_any_kind_and_order_give_each_frame_its_own_score(tmp_path: Path, kind: str) -> None:
    first, second = table(1), table(2)
    paths = [write(tmp_path / "a.parquet", first), write(tmp_path / f"b.{kind}", shuffled(second, 3))]
    scores_of_files = aligned(paths)
    for split, index in LABELLED:
        frames = scores_of_files.frames[split]
        for name, rows in (("a", first), ("b", second)):
            expected = rows[rows["split"] == split].set_index("frame").loc[frames.frames.tolist()]
            scores = scores_of_files.predictions[name].validation if index else scores_of_files.predictions[name].test
            assert scores is not None
            np.testing.assert_allclose(scores, expected["p_fake"], rtol=1e-15)
            assert frames.labels.tolist() == expected["label"].tolist()
            assert frames.sources.tolist() == expected["source"].tolist()
    assert list(scores_of_files.frames["test"].frames) == list(first["frame"][first["split"] == "test"])


def test_further_columns_of_the_first_file_are_attributes(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.csv", table(1)), write(tmp_path / "b.csv", table(2).assign(other="x"))]
    attributes = aligned(paths).frames["test"].attributes
    rows = table(1)[table(1)["split"] == "test"]
    assert list(attributes) == ["method", "quality"]
    assert attributes["quality"].tolist() == rows["quality"].tolist()
    assert attributes["method"].astype(object).fillna("").tolist() == rows["method"].tolist()


def test_digest_of_the_frames_depends_on_no_order(tmp_path: Path) -> None:
    digests = aligned([write(tmp_path / "a.csv", table(1))]).digests
    assert digests == aligned([write(tmp_path / "b.parquet", shuffled(table(2), 5))]).digests
    swapped = table(1).assign(label=1 - table(1)["label"])
    assert digests["test"] != aligned([write(tmp_path / "c.csv", swapped)]).digests["test"]


def test_labels_from_a_file_of_their_own_or_from_the_first_that_has_some(tmp_path: Path) -> None:
    rows = table(1)[["frame", "p_fake"]]
    bare, other = write(tmp_path / "bare.json", rows), write(tmp_path / "other.csv", shuffled(table(2), 1))
    more = pd.concat([table(1), table(1, 210).tail(10)]).rename(columns={"frame": "path"})
    labels = write(tmp_path / "manifest.csv", more.drop(columns="p_fake"))
    for scores_of_files in (aligned([bare, other]), aligned([bare], labels)):
        assert scores_of_files.frames["test"].labels.tolist() == table(1)["label"][table(1)["split"] == "test"].tolist()
        assert scores_of_files.frames["validation"].sources.nunique() == 8
    assert list(aligned([bare], labels).frames["test"].attributes) == ["method", "quality"]
    as_map = write(tmp_path / "labels.json", table(1)[["frame", "label"]])
    assert aligned([bare], as_map).frames["test"].labels.sum() == 100


def test_a_frame_of_one_name_in_both_splits_is_two_frames(tmp_path: Path) -> None:
    rows = table(1)
    rows["frame"] = [f"{number}" for number in rows.groupby("split").cumcount()]
    paths = [write(tmp_path / "a.csv", rows), write(tmp_path / "b.csv", shuffled(rows, 1))]
    scores_of_files = aligned(paths)
    np.testing.assert_allclose(scores_of_files.predictions["a"].test, scores_of_files.predictions["b"].test)
    with_map = [paths[0], write(tmp_path / "c.json", rows.head(50))]
    assert "frames of the same name in both" in refused(lambda: aligned(with_map))


def test_columns_are_called_as_is_said_or_nearly_so(tmp_path: Path) -> None:
    names = {"frame": "sample_file", "p_fake": "score", "label": "target", "source": "video", "split": "part"}
    columns = Columns("sample_file", "score", "target", "video", "part")
    path = write(tmp_path / "a.csv", table(1).rename(columns=names))
    assert aligned([path], columns=columns).frames["test"].sources.nunique() == 8
    upper = write(tmp_path / "b.csv", table(1).rename(columns=lambda name: f" {name.upper()}"))
    assert aligned([upper]).frames["test"].sources.nunique() == 8
    message = refused(lambda: aligned([path], columns=Columns("sample_file", "score", "target", "vide", "part")))
    assert "no sources: no file has a column 'vide'" in message
    assert "did you mean 'video'?" in message
    assert "--source-column" in message


def test_words_for_labels_and_splits(tmp_path: Path) -> None:
    words = table(1).assign(label=["REAL", " fake"] * 100, split=table(1)["split"].replace({"validation": "val"}))
    floats = table(1).assign(label=table(1)["label"].astype(float))
    expected = aligned([write(tmp_path / "a.csv", table(1))]).digests
    for name, rows in (("words.csv", words), ("floats.csv", floats), ("floats.parquet", floats)):
        assert aligned([write(tmp_path / name, rows)]).digests == expected


def test_quoted_line_breaks_empty_lines_and_a_mark_are_counted_right(tmp_path: Path) -> None:
    text = '\ufeffframe,p_fake,label\r\n\r\n"a\nb.png",0.1,0\r\nc.png,0.5,1\r\nd.png,oops,1\r\n'
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert "1 of 3 rows: line 6 'oops'" in refused(lambda: aligned([tmp_path / "a.csv"]))
    (tmp_path / "a.csv").write_bytes(text.replace("oops", "0.7").encode())
    assert aligned([tmp_path / "a.csv"]).frames["test"].frames.tolist() == ["a\nb.png", "c.png", "d.png"]


def test_truth_means_fake(tmp_path: Path) -> None:
    rows = table(1).assign(is_fake=table(1)["label"] == 1).drop(columns="label")
    columns = Columns(label="is_fake")
    scores_of_files = aligned([write(tmp_path / "a.parquet", rows)], columns=columns).digests
    assert scores_of_files == aligned([write(tmp_path / "b.parquet", table(1))]).digests
    assert scores_of_files == aligned([write(tmp_path / "a.csv", rows)], columns=columns).digests
    truths = write(tmp_path / "labels.json", table(1)[["frame", "label"]].astype({"label": bool}))
    bare = write(tmp_path / "c.csv", table(1)[["frame", "split", "p_fake"]])
    assert (
        aligned([bare], truths).frames["test"].labels.tolist()
        == aligned([bare], tmp_path / "b.parquet").frames["test"].labels.tolist()
    )


@pytest.mark.parametrize(
    ("header", "columns", "message"),
    [
        ("frame,label,p_fake,source,video", Columns(source="video"), "the source is column 'video', but there is 'sou"),
        ("frame,label,p_fake,LABEL,x", Columns(), "the label is column 'label', but there is 'LABEL' too; rename it"),
        ("frame,label,p_fake,a, A ", Columns(), "the columns 'a' and ' A ' are called alike; rename one"),
    ],
)
def test_further_columns_do_not_vanish(header: str, columns: Columns, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"{header}\na,0,0.1,x,y\nb,1,0.9,x,y\n")
    assert message in refused(lambda: aligned([tmp_path / "a.csv"], columns=columns))


@pytest.mark.parametrize("sign", [";", "\t"])
def test_columns_that_other_signs_separate(sign: str, tmp_path: Path) -> None:
    text = table(1).to_csv(index=False, sep=sign, decimal=",")
    (tmp_path / "a.csv").write_text(text)
    message = refused(lambda: aligned([tmp_path / "a.csv"]))
    assert f"the first line has {sign!r} between its columns; expected commas" in message
    (tmp_path / "a.csv").write_text('frame,label,p_fake\na,0,"0,25"\nb,1,0.5\n')
    assert "p_fake is not a number (write decimal points, not commas)" in refused(lambda: aligned([tmp_path / "a.csv"]))


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (pa.nulls(2), "no name of a frame in 2 of 2 rows"),
        (pa.array(["a", None]), "no name of a frame in 1 of 2 rows: row 2"),
        (pa.array([b"\xff", b"b"]).view(pa.string()), "column 'frame' holds neither text nor numbers"),
        (pa.array([b"a", b"b"]), "column 'frame' holds neither text nor numbers"),
    ],
    ids=["nulls", "a null", "no Unicode", "bytes"],
)
def test_frames_of_a_parquet_file_that_have_no_name(frames: Any, message: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"frame": frames, "label": [0, 1], "p_fake": [0.1, 0.9]}), tmp_path / "a.parquet")
    assert message in refused(lambda: aligned([tmp_path / "a.parquet"]))


@pytest.mark.parametrize("text", ["\n\n", "\ufeff\n"])
def test_empty_lines_alone_are_an_empty_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert "is empty" in refused(lambda: aligned([tmp_path / "a.csv"]))
    (tmp_path / "a.csv").write_text(text + table(1).to_csv(index=False))
    assert len(aligned([tmp_path / "a.csv"]).frames) == 2


def test_everything_wrong_with_a_file_is_said_at_once(tmp_path: Path) -> None:
    rows = table(1, 30).astype({"p_fake": object, "label": object})
    changed: Any = rows.loc
    for row, column, wrong in ((3, "p_fake", "x"), (4, "p_fake", 7), (5, "label", "?"), (8, "split", "train")):
        changed[row, column] = wrong
    changed[7, "frame"] = "v6/0006.png"
    message = refused(lambda: read.read(write(tmp_path / "a.csv", rows), Columns(), WORDS))
    for part in ("line 5 'x'", "line 6 '7'", "line 7 '?'", "line 10 'train'"):
        assert part in message
    changed[8, "split"] = "validation"
    changed[7, "split"] = rows["split"][6]
    message = refused(lambda: read.read(write(tmp_path / "a.csv", rows), Columns(), WORDS))
    assert "1 frame stands there more than once: 'v6/0006.png' (line 8 and line 9)" in message
    assert len(message.splitlines()) == 4


def test_doubled_keys_of_a_map_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"x.png": 0.1, "y.png": null, "x.png": 0.2, "z.png": {"p": 1}}')
    message = refused(lambda: read.read(tmp_path / "a.json", Columns(), WORDS))
    assert "'x.png' ('x.png' and 'x.png')" in message
    assert "not a number in 2 of 4 rows: 'y.png' None" in message


# ----------------------------------------------------------------------------------- unlike things
def test_other_frames_are_named_both_ways(tmp_path: Path) -> None:
    other = table(2)
    other.loc[:8, "frame"] = [f"new{index}" for index in range(9)]
    paths = [write(tmp_path / "a.csv", table(1)), write(tmp_path / "b.csv", other)]
    message = refused(lambda: aligned(paths))
    assert "9 only in" in message
    assert "'v0/0000.png', 'v1/0001.png'" in message
    assert "'new0', 'new1', 'new2', 'new3', 'new4' … and 4 more" in message


def test_names_that_differ_in_their_folders_only_are_hinted_at(tmp_path: Path) -> None:
    other = table(2).assign(frame="set\\" + table(2)["frame"])
    paths = [write(tmp_path / "a.csv", table(1)), write(tmp_path / "b.csv", other)]
    assert "the names agree without their folders" in refused(lambda: aligned(paths))


def test_other_labels_are_counted(tmp_path: Path) -> None:
    other = table(2).assign(label=1 - table(2)["label"])
    paths = [write(tmp_path / "a.csv", table(1)), write(tmp_path / "b.csv", shuffled(other, 1))]
    message = refused(lambda: aligned(paths))
    assert "has another 'label' for 200 of 200 frames than" in message
    assert "is 1 real in one of the files?" in message


@pytest.mark.parametrize(
    ("column", "cell", "difference"),
    [
        ("label", 1, "'v0/0000.png' is fake, there real"),
        ("split", "validation", "'v0/0000.png' is validation, there test"),
        ("source", "v9", "'v0/0000.png' is v9, there v0"),
    ],
)
@pytest.mark.parametrize("position", ["a later file", "the first, with --labels", "a later one, with --labels"])
def test_files_that_contradict_each_other_are_refused(
    column: str, cell: object, difference: str, position: str, tmp_path: Path
) -> None:
    same, other = write(tmp_path / "a.csv", table(1)), table(2).astype({column: object})
    changed: Any = other.loc
    changed[0, column] = cell
    changed_file = write(tmp_path / "b.parquet", shuffled(other.astype({column: str}), 1))
    bare = write(tmp_path / "bare.csv", table(1)[["frame", "p_fake"]])
    paths = {"a later file": [same, changed_file], "the first, with --labels": [changed_file]}.get(
        position, [bare, changed_file]
    )
    message = refused(lambda: aligned(paths, None if position == "a later file" else same))
    assert message.startswith(f"{changed_file}: has another {column!r} for 1 of 200 frames than {same}: ")
    assert difference in message


def test_a_column_in_which_files_differ_is_none_of_frames(tmp_path: Path) -> None:
    """Such as the seconds that each variant took."""
    paths = [
        write(tmp_path / "a.csv", table(1).assign(seconds=1.5)),
        write(tmp_path / "b.csv", table(2).assign(seconds=2)),
    ]
    scores_of_files = aligned(paths)
    assert list(scores_of_files.frames["test"].attributes) == ["method", "quality"]
    assert scores_of_files.remarks == (
        "Not taken for properties of the frames, since files differ in them: 'seconds'.",
    )
    assert aligned(paths[:1]).remarks == ()


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"<!DOCTYPE html>", "web page"),
        ("frame,p_fake\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_what_is_no_file_of_scores_is_called_what_it_is(start: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(start)
    assert message in refused(lambda: aligned([path]))


def test_what_float32_makes_of_a_softmax_is_no_mistake(tmp_path: Path) -> None:
    rows = table(1).astype({"p_fake": float})
    rows.loc[0, "p_fake"] = 1.0000001
    scores_of_files = aligned([write(tmp_path / "a.csv", rows)])
    assert scores_of_files.predictions["a"].test.max() == 1.0


def test_sources_that_validation_shares_with_test_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.commands.score import Request, score_files

    monkeypatch.chdir(tmp_path)
    shared = write(tmp_path / "a.csv", table())
    apart = table().assign(source=lambda rows: rows["split"] + rows["source"])
    warnings = score_files(Request("mine", (shared,), Columns())).warnings
    assert "Test and validation share sources: v0, v1, v2, v3, v4 … and 3 more." in warnings
    assert not score_files(Request("other", (write(tmp_path / "b.csv", apart),), Columns())).warnings


def test_an_interrupted_rendering_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench import reports
    from bench.commands.score import Request, score_files

    paths = tuple(write(tmp_path / f"{name}.csv", table(seed)) for seed, name in enumerate("ab"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reports, "render", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        score_files(Request("mine", paths, Columns()))
    assert list((tmp_path / "reports/mine").iterdir()) == []
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert score_files(Request("mine", paths, Columns())).report.exists()


def test_what_one_file_leaves_out_contradicts_nothing(tmp_path: Path) -> None:
    """And one number may be written in two ways."""
    gaps = table(2).astype({"quality": float})
    gaps.loc[:9, ["source", "quality"]] = None
    paths = [write(tmp_path / "a.csv", table(1)), write(tmp_path / "b.csv", gaps)]
    for first, unknown in ((0, 0), (1, 10)):
        frames = aligned([paths[first], paths[1 - first]]).frames
        for split, _ in LABELLED:
            rows_of_split = table(1)[table(1)["split"] == split]
            assert frames[split].sources.isna().sum() == (rows_of_split.index < unknown).sum()
            assert frames[split].attributes["quality"].isna().sum() == (rows_of_split.index < unknown).sum()


def test_each_column_comes_from_the_first_file_that_has_it_labels_before_the_others(tmp_path: Path) -> None:
    def with_gap(name: str, row: int) -> Path:
        rows = table(1)
        rows.loc[row, ["source", "method"]] = None
        return write(tmp_path / name, rows)

    labels, first = with_gap("labels.csv", 0), with_gap("a.csv", 3)
    rows = table(1)[table(1)["split"] == "test"]
    for given, gap in ((labels, 0), (None, 3)):
        frames = aligned([first], given).frames["test"]
        assert frames.sources.isna().tolist() == (rows.index == gap).tolist()
        assert frames.attributes["method"].isna().tolist() == ((rows["method"] == "") | (rows.index == gap)).tolist()
    bare = write(tmp_path / "bare.csv", table(1).drop(columns=["source", "method", "split"]))
    for files in ([bare, first], [bare]):
        frames = aligned(files, None if len(files) > 1 else labels).frames["test"]
        assert frames.sources.notna().sum() == len(rows) - 1, "from the only one that has it"
    assert (
        "quality"
        in aligned([bare], write(tmp_path / "some.csv", table(1)[["frame", "label"]])).frames["test"].attributes
    ), "the first file's, where the labels know nothing further"


def test_splits_of_the_labels_decide_where_the_first_file_has_none(tmp_path: Path) -> None:
    bare = write(tmp_path / "a.csv", table(1).drop(columns="split"))
    other = table(2).assign(split=np.where(np.arange(200) % 6 < 2, "validation", "test"))
    labels, with_splits = write(tmp_path / "labels.csv", table(1)), write(tmp_path / "b.csv", other)
    assert len(aligned([bare], labels).frames["test"].labels) == (table(1)["split"] == "test").sum()
    assert len(aligned([bare, with_splits]).frames["test"].labels) == (other["split"] == "test").sum()
    message = refused(lambda: aligned([bare, with_splits], labels))
    assert f"{with_splits}: has another 'split' for 134 of 200 frames than {labels}" in message


def test_labels_that_do_not_cover_the_frames(tmp_path: Path) -> None:
    bare = write(tmp_path / "bare.json", table(1)[["frame", "p_fake"]])
    labels = write(tmp_path / "labels.csv", table(1)[["frame", "label"]].iloc[3:])
    assert "3 only in" in refused(lambda: aligned([bare], labels))


# -------------------------------------------------------------------------------------- the command
def test_the_report_says_what_scikit_learn_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "base.csv", table(1))
    write(tmp_path / "q16.parquet", shuffled(table(2), 1))
    write(tmp_path / "q8.json", shuffled(table(3), 2))
    code, output = bench("score", "--name", "celeb", "base.csv", "q16.parquet", "q8.json", "--threshold", "0.4")
    assert code == 0, output
    assert "report: reports/celeb/report.html\ntext: reports/celeb/report.md" in output
    scores = json.loads((tmp_path / "reports/celeb/scores.json").read_text())
    assert list(scores["variants"]) == ["base", "q16", "q8"]
    for name, seed in (("base", 1), ("q16", 2), ("q8", 3)):
        rows = table(seed)[table(seed)["split"] == "test"]
        assert scores["variants"][name]["auc"] == pytest.approx(roc_auc_score(rows["label"], rows["p_fake"]), abs=1e-12)
        caught = int(((rows["p_fake"] >= 0.4) & (rows["label"] == 1)).sum())
        assert scores["variants"][name]["confusion"]["tp"] == caught
        assert scores["variants"][name]["size_mib"] is None
    assert not (tmp_path / "results").exists()
    report = (tmp_path / "reports/celeb/report.md").read_text()
    assert "quality" in report
    assert bench("score", "--name", "celeb", "base.csv")[0] == 0, "its own report is written anew"
    assert bench("score", "--name", "celeb", "base.csv", "--to", "elsewhere/here")[0] == 0
    assert (tmp_path / "elsewhere/here/report.md").exists()


def test_the_page_about_it_shows_what_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/scores-from-elsewhere.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:json)?\n(.*?)```", page, flags=re.DOTALL)
    for name, content in zip(("baseline.csv", "q16.csv", "phone.json"), blocks, strict=False):
        assert f"`{name}`" in page
        (tmp_path / name).write_text(content)
    command = blocks[3].split()
    assert command[:2] == ["bench", "score"]
    code, output = bench(*command[1:])
    assert code == 0, output
    assert "phone: inconclusive" in output


@pytest.mark.slow
def test_bad_input_ends_a_process_with_its_code(tmp_path: Path) -> None:
    """A thread of Arrow that still wanted Python would abort it, now and then."""
    (tmp_path / "cells.csv").write_text("frame,label,p_fake\na,0,0.1\nb,1\nc,0,0.2,\n")
    (tmp_path / "numbers.csv").write_text("frame,label,p_fake\na,0,x\nb,1,0.5\n")
    command = [sys.executable, "-c", "from bench.cli import main; main()", "score", "--name", "x"]
    for name in ["cells.csv", "numbers.csv"] * 2:
        ran = subprocess.run([*command, name], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == 2, ran.stderr
        assert f"\nerror: {name}: " in f"\n{ran.stderr}"


def test_what_is_refused_overwrites_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "base.csv", table(1))
    write(tmp_path / "bad.csv", table(2).assign(label=0))
    assert bench("score", "--name", "celeb", "base.csv")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "reports").rglob("*") if path.is_file()}
    assert bench("score", "--name", "celeb", "base.csv", "bad.csv")[0] == 2
    assert before == {path: path.read_bytes() for path in (tmp_path / "reports").rglob("*") if path.is_file()}
    (tmp_path / "results/celeb").mkdir(parents=True)
    (tmp_path / "results/celeb/run.json").write_text("{}")
    code, output = bench("score", "--name", "celeb", "base.csv")
    assert code == 2
    assert "belongs to the experiment 'celeb'" in output


def test_many_frames_take_seconds(tmp_path: Path) -> None:
    """A Python loop over frames would take longer than all of this."""
    rows = pd.DataFrame({"frame": [f"videos/{n:07d}.png" for n in range(200_000)], "label": np.arange(200_000) % 2})
    rows["p_fake"] = np.random.default_rng(0).random(200_000)
    paths = [write(tmp_path / "a.csv", rows), write(tmp_path / "b.parquet", rows.iloc[::-1])]
    began = time.process_time()
    scores_of_files = aligned(paths)
    assert time.process_time() - began < limit(6)
    np.testing.assert_allclose(scores_of_files.predictions["a"].test, scores_of_files.predictions["b"].test, rtol=1e-12)


# -------------------------------------------------------------------------- columns of single files, other spellings
def test_a_submission_whose_label_is_the_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kaggle's: `filename,label` in the labels and in every submission."""
    monkeypatch.chdir(tmp_path)
    rows = table(1).query("split == 'test'").rename(columns={"frame": "filename"})
    rows[["filename", "label"]].to_csv("labels.csv", index=False)
    for seed, name in enumerate(("fp32", "int8")):
        scores = np.random.default_rng(seed).random(len(rows)).round(6)
        rows.assign(label=scores)[["filename", "label"]].to_csv(f"{name}.csv", index=False)
    options = ["--name", "dfdc", "--frame-column", "filename", "--labels", "labels.csv"]
    code, output = bench("score", *options, "--score-column", "label", "fp32.csv", "int8.csv")
    assert code == 0, output
    numbers = json.loads(Path("reports/dfdc/scores.json").read_text())["variants"]
    for name in ("fp32", "int8"):
        expected = roc_auc_score(rows["label"], pd.read_csv(f"{name}.csv")["label"])
        assert numbers[name]["auc"] == pytest.approx(expected)
    code, output = bench("score", *options, "fp32.csv")
    assert code == 2
    assert "if 'label' holds scores: `--score-column label`, with `--labels FILE`" in " ".join(output.split())


def test_columns_of_single_files() -> None:
    options = {"frame": ["filename", "int8=image"], "score": ["a=b"], "label": ["labels=target"], "split": []}
    common, of_files = columns_by_file(options, ["fp32", "int8", "labels"])
    assert common == Columns(frame="filename", score="a=b")
    assert of_files == {
        "int8": Columns(frame="image", score="a=b"),
        "labels": Columns(frame="filename", score="a=b", label="target"),
    }
    for wrong, message in (({"frame": ["a", "b"]}, "second name"), ({"score": ["int8= "]}, "is empty")):
        assert message in refused(lambda wrong=wrong: columns_by_file(wrong, ["int8"]))  # type: ignore[misc]


def test_names_in_another_form_of_unicode_are_matched(tmp_path: Path) -> None:
    names = [f"Zoë_{index}.png" for index in range(8)]
    composed, decomposed = ([unicodedata.normalize(form, name) for name in names] for form in ("NFC", "NFD"))
    scores = np.linspace(0, 1, 8)
    first = write(tmp_path / "a.csv", pd.DataFrame({"frame": composed, "label": [0, 1] * 4, "p_fake": scores}))
    other = write(tmp_path / "b.csv", pd.DataFrame({"frame": decomposed[::-1], "p_fake": scores[::-1]}))
    together = aligned([first, other])
    np.testing.assert_array_equal(together.predictions["a"].test, together.predictions["b"].test)
    assert together.frames["test"].frames.tolist() == composed
    # Where one file has both forms, neither is taken for the other.
    both = write(tmp_path / "c.csv", pd.DataFrame({"frame": [*composed[:7], decomposed[0]], "p_fake": scores}))
    assert "1 only in" in refused(lambda: aligned([first, both]))


def test_a_file_in_the_letters_of_windows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("frame,label,p_fake\nZoë.png,0,0.1\nb.png,1,0.9\n".encode("cp1252"))
    message = refused(lambda: aligned([tmp_path / "a.csv"]))
    assert "line 2 has the byte 0xEB, which is no UTF-8 ('ë' in Windows' cp1252)" in message
    assert "iconv -f cp1252 -t utf-8 a.csv" in message


def test_what_describes_a_frame_is_no_attribute(tmp_path: Path) -> None:
    rows = table(1).assign(video="v", frame_index=3, time_s=0.1, box_x0=1.0, eye_l_x=2.0, face_px=9)
    attributes = aligned([write(tmp_path / "a.csv", rows)]).frames["test"].attributes
    assert not {"video", "frame_index", "time_s", "box_x0", "eye_l_x"} & set(attributes)
    assert "face_px" in attributes
