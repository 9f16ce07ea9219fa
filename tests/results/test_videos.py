"""The columns `video` and `frame_index` of predictions, and those of present predictions written anew."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from bench.records import Frame
from bench.results import predict, store, videos
from bench.results.predict import MARK, PREDICTIONS, FrameRow, predictions_table

LOGITS = np.array([[0.0, 1.0], [2.0, -1.0], [0.5, 0.25]], np.float32)


def rows(named: dict[str, tuple[str | None, int | None]]) -> list[FrameRow]:
    frames = [
        Frame(path, Path(path), index % 2, None, "0" * 64, (), *of) for index, (path, of) in enumerate(named.items())
    ]
    return [FrameRow("test", frame) for frame in frames]


NAMED = rows({"a.png": ("v1", 0), "b.png": ("v1", 12), "c.png": (None, None)})
NAMELESS = rows(dict.fromkeys(("a.png", "b.png", "c.png"), (None, None)))


def written(folder: Path, of: list[FrameRow]) -> Path:
    """The predictions and the mark of a folder, as an evaluation leaves them."""
    predictions_table(of, LOGITS).to_parquet(folder / PREDICTIONS, index=False)
    mark = {"key": "k", "bytes": {PREDICTIONS: (folder / PREDICTIONS).stat().st_size}}
    (folder / MARK).write_text(json.dumps(mark | {"videos": videos.digest([row.frame for row in of])}))
    assert predict.is_done(folder, "k")
    return folder


def test_columns_are_there_where_a_video_is_known(tmp_path: Path) -> None:
    table = pd.read_parquet(written(tmp_path, NAMED) / PREDICTIONS)
    assert list(table) == [*store.COLUMNS, "video", "frame_index"]
    assert table["video"].fillna("").tolist() == ["v1", "v1", ""]
    assert table["frame_index"].fillna(-1).tolist() == [0, 12, -1]
    test, _ = store.read_labelled(tmp_path.parent, tmp_path.name)
    assert test.videos is not None
    assert test.frame_indices is not None
    assert test.videos.fillna("").tolist() == ["v1", "v1", ""]
    assert test.frame_indices.fillna(-1).tolist() == [0, 12, -1]


def test_without_videos_predictions_are_as_ever(tmp_path: Path) -> None:
    assert list(pd.read_parquet(written(tmp_path, NAMELESS) / PREDICTIONS)) == store.COLUMNS
    content = json.loads((tmp_path / MARK).read_text())
    del content["videos"]  # as earlier versions left it
    (tmp_path / MARK).write_text(json.dumps(content))
    test, _ = store.read_labelled(tmp_path.parent, tmp_path.name)
    assert test.videos is None
    before = (tmp_path / PREDICTIONS).stat().st_mtime_ns
    predict.renew_videos([tmp_path], NAMELESS)
    assert (tmp_path / PREDICTIONS).stat().st_mtime_ns == before


def test_present_predictions_come_to_know_their_videos(tmp_path: Path) -> None:
    before = pd.read_parquet(written(tmp_path, NAMELESS) / PREDICTIONS)
    predict.renew_videos([tmp_path], NAMED)
    assert predict.is_done(tmp_path, "k")
    renewed = pd.read_parquet(tmp_path / PREDICTIONS)
    pd.testing.assert_frame_equal(renewed[store.COLUMNS], before)
    assert renewed["video"].fillna("").tolist() == ["v1", "v1", ""]
    predict.renew_videos([tmp_path], NAMELESS)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / PREDICTIONS), before)


def test_a_change_of_videos_is_noticed() -> None:
    other = rows({"a.png": ("v1", 0), "b.png": ("v1", 13), "c.png": (None, None)})
    digests = {videos.digest([row.frame for row in of]) for of in (NAMED, other)}
    assert len(digests) == 2
    assert videos.digest([row.frame for row in NAMELESS]) == ""
