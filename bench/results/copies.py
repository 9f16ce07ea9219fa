"""Identical files among the labelled frames: `copies.parquet`, beside the predictions.

Predictions list every frame; in what is made of them, identical files weigh together as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench import stored
from bench.errors import UserError
from bench.files import write_atomically
from bench.records import LABELLED_SPLITS, FrameSet, Split, SplitSummary
from bench.results.checks import MOST_ROWS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

COPIES = "copies.parquet"
_COLUMNS = ("frame", "split", "copy_of")


def write(path: Path, frames: Mapping[Split, FrameSet]) -> None:
    """Write a row for each copy: its name, its split, and the first frame of that split with the same content."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        (of_split.frames[index].path, split, of_split.frames[of_split.firsts[index]].path)
        for split, of_split in frames.items()
        if split in LABELLED_SPLITS
        for index in of_split.copies
    ]
    columns = [pa.array([row[column] for row in rows], pa.string()) for column in range(len(_COLUMNS))]
    table = pa.Table.from_arrays(columns, names=list(_COLUMNS))
    write_atomically(path, partial(pq.write_table, table))


def read(path: Path, rows: pd.DataFrame, frames: Mapping[str, SplitSummary]) -> dict[str, NDArray[np.int64] | None]:
    """By split the row of the first frame with the same content, of each frame [n] of `rows` (columns frame, split).

    None where a split has no copies. `UserError` where the file is gone, or has other copies than `frames` says.
    """
    counts = {split: frames[split].copies for split in LABELLED_SPLITS if split in frames}
    if not any(counts.values()):
        return dict.fromkeys(counts)
    try:
        table = _table(path)
        return {split: _firsts(table, rows, split, count) if count else None for split, count in counts.items()}
    except FileNotFoundError:
        raise UserError(f"{path}: is gone; `bench run` writes it again") from None
    except Exception as error:  # a damaged file makes its readers fail in any way
        raise stored.damaged(path, error, "delete it, `bench run` writes it again") from error


def _table(path: Path) -> pd.DataFrame:
    import pyarrow.parquet as pq

    with stored.open_file(path) as file:
        parquet = pq.ParquetFile(file)
        if parquet.metadata.num_rows > MOST_ROWS:
            raise stored.DamagedError(f"it says that it has {parquet.metadata.num_rows:,} rows")
        table: pd.DataFrame = parquet.read(columns=list(_COLUMNS)).to_pandas()
    return table


def _firsts(table: pd.DataFrame, rows: pd.DataFrame, split: str, count: int) -> NDArray[np.int64]:
    """The row of the first frame with the same content, of each frame of a split."""
    import numpy as np
    import pandas as pd

    copies = table[table["split"] == split]
    names = pd.Index(rows["frame"][rows["split"] == split])
    copy, first = (names.get_indexer(pd.Index(copies[column])) for column in ("frame", "copy_of"))
    firsts = np.arange(len(names))
    firsts[copy] = first
    if len(copies) != count or not ((first >= 0) & (first < copy)).all() or (firsts[first] != first).any():
        raise stored.DamagedError("it is of other frames")
    return firsts
