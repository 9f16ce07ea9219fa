"""faces.parquet beside the predictions: the five points of the face in each test frame, as the network sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from bench import stored
from bench.errors import UserError
from bench.files import write_atomically
from bench.records import POINT_COLUMNS, FaceCounts

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

FACES = "faces.parquet"
_KEY = b"bench.faces"
_MOST_ROWS = 20_000_000
_FARTHEST = 10.0
"""Points may lie outside of a frame, but not farther than this many of its sides."""

Points: TypeAlias = tuple[float, ...]
"""x and y of the five points, as shares of the sides of what the network sees."""


@dataclass(frozen=True)
class StoredFaces:
    """What is stored: the points by the SHA-256 of a frame, None where no face was found in it."""

    points: Mapping[str, Points | None]


def write(folder: Path, key: str, frames: Sequence[tuple[str, str]], points: Mapping[str, Points | None]) -> None:
    """Write a row for each of `frames`, its name and its SHA-256, with its points where it has a face.

    A frame that is not in `points` has not been looked at, and gets no row.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    seen = [(name, digest) for name, digest in frames if digest in points]
    columns: dict[str, object] = {"frame": [name for name, _ in seen], "digest": [digest for _, digest in seen]}
    for index, column in enumerate(POINT_COLUMNS):
        of_column = ((of_frame := points[digest]) and of_frame[index] for _, digest in seen)
        columns[column] = pa.array(of_column, pa.float32())
    table = pa.table(columns).replace_schema_metadata({_KEY: key.encode()})
    write_atomically(folder / FACES, partial(pq.write_table, table))


def stored_faces(folder: Path, key: str) -> StoredFaces:
    """What is stored under this key; nothing where that is absent, damaged or another's."""
    try:
        table = _table(folder / FACES, key)
    except (OSError, ValueError):
        return StoredFaces({})
    points = table[list(POINT_COLUMNS)].to_numpy("float64")
    is_face = table[list(POINT_COLUMNS)].notna().all(axis=1)
    pairs = zip(table["digest"], points.tolist(), is_face, strict=True)
    return StoredFaces({digest: tuple(row) if has_face else None for digest, row, has_face in pairs})


def read(folder: Path, counts: FaceCounts, frames: pd.Series[str]) -> NDArray[np.float64]:
    """The points [n, 5, 2] of test frames, NaN where no face is known. `UserError` where they are gone or damaged."""
    path = folder / FACES
    try:
        table = _table(path, counts.key)
        if int(table[POINT_COLUMNS[0]].notna().sum()) != counts.faces:
            raise stored.DamagedError("it has other faces than the run")
    except FileNotFoundError:
        raise UserError(f"{path}: is gone; `bench run` makes it again") from None
    except (OSError, ValueError) as error:
        raise stored.damaged(path, error, "delete it, `bench run` makes it again") from error
    by_name = table.drop_duplicates("frame").set_index("frame")[list(POINT_COLUMNS)]
    points: NDArray[np.float64] = (
        by_name.reindex(list(frames)).to_numpy("float64").reshape(-1, len(POINT_COLUMNS) // 2, 2)
    )
    return points


def _table(path: Path, key: str) -> pd.DataFrame:
    """The stored table; `DamagedError` where it is of another key, or holds what are no points."""
    import pyarrow.parquet as pq

    try:
        with stored.open_file(path) as file:
            parquet = pq.ParquetFile(file)
            if (parquet.schema_arrow.metadata or {}).get(_KEY) != key.encode():
                raise stored.DamagedError("it is of other frames than the run")
            if parquet.metadata.num_rows > _MOST_ROWS:
                raise stored.DamagedError(f"it says that it has {parquet.metadata.num_rows:,} rows")
            table: pd.DataFrame = parquet.read(columns=["frame", "digest", *POINT_COLUMNS]).to_pandas()
    except (stored.DamagedError, OSError):
        raise
    except Exception as error:  # a damaged file makes its readers fail in any way
        raise stored.DamagedError(f"it is no table: {type(error).__name__}") from error
    numbers = table.reindex(columns=list(POINT_COLUMNS))
    if list(table.columns) != ["frame", "digest", *POINT_COLUMNS] or not all(d.kind == "f" for d in numbers.dtypes):
        raise stored.DamagedError("its columns are no points of faces")
    if bool((numbers.abs() > _FARTHEST).any(axis=None)):
        raise stored.DamagedError("a point lies far outside of its frame")
    return table
