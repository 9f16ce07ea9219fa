"""What was measured of frames is stored beside what is stored already, and read back for the same frames alone."""

from pathlib import Path

import numpy as np
import pytest

from bench.datasets import Appearance
from bench.errors import UserError
from bench.results import appearance

FRAMES = ["b.png", "a.png", "c.png"]


def test_it_is_read_back_in_the_order_of_frames(tmp_path: Path) -> None:
    path = tmp_path / "appearance.parquet"
    looks = {"a.png": Appearance(10.0, 1.0, 75), "b.png": Appearance(20.0, 2.0, None)}
    appearance.write(path, "abc", FRAMES, looks)
    table = appearance.read(path, "abc", FRAMES)
    assert table is not None
    assert table["brightness"].tolist()[:2] == [20.0, 10.0]
    assert np.isnan(table["brightness"][2])
    assert np.isnan(table["jpeg_quality"][0])
    assert list(table.columns) == list(appearance.MEASURES)


def test_what_is_stored_stays_unless_it_is_measured_anew(tmp_path: Path) -> None:
    path = tmp_path / "appearance.parquet"
    appearance.write(path, "abc", FRAMES, {"a.png": Appearance(10.0, 1.0, 75), "b.png": Appearance(20.0, 2.0, 75)})
    appearance.write(path, "abc", FRAMES, {"b.png": Appearance(21.0, 2.0, 75), "c.png": Appearance(30.0, 3.0, 75)})
    table = appearance.read(path, "abc", FRAMES)
    assert table is not None
    assert table["brightness"].tolist() == [21.0, 10.0, 30.0]


def test_that_of_other_frames_is_none(tmp_path: Path) -> None:
    path = tmp_path / "appearance.parquet"
    assert appearance.read(path, "abc", FRAMES) is None
    appearance.write(path, "abc", FRAMES, {"a.png": Appearance(10.0, 1.0, 75)})
    assert appearance.read(path, "def", FRAMES) is None


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "appearance.parquet"
    path.write_bytes(b"no table")
    with pytest.raises(UserError, match=r"appearance\.parquet"):
        appearance.read(path, "abc", FRAMES)
