"""What was measured of test frames while they were decoded: `appearance.parquet`, beside the predictions.

Frames that were predicted by an earlier version, or whose run was killed, have no values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import stored
from bench.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd

APPEARANCE = "appearance.parquet"
MEASURES = ("brightness", "sharpness", "jpeg_quality")
_DIGEST = b"bench.frames"


def write(path: Path, digest: str, frames: Sequence[str], values: Mapping[str, Any]) -> None:
    """Write the `values` of those of the test frames that have some, by name, beside those that are stored.

    `digest` is that of the test frames: what is stored of others is dropped. A value has the attributes `MEASURES`.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = _read(path, digest)
    except (OSError, ValueError):
        table = None
    names = list(frames)
    rows = {name: [getattr(value, measure) for measure in MEASURES] for name, value in values.items()}
    measured = pd.DataFrame.from_dict(rows, orient="index", columns=list(MEASURES), dtype="float64").reindex(names)
    if table is not None:
        measured = measured.combine_first(table.reindex(names))
    columns = pa.table({"frame": names, **{name: measured[name].to_numpy() for name in MEASURES}})
    columns = columns.replace_schema_metadata({_DIGEST: digest.encode()})
    write_atomically(path, partial(pq.write_table, columns))


def read(path: Path, digest: str, frames: Iterable[str]) -> pd.DataFrame | None:
    """The measures of test frames, NaN where unknown, in their order; None where none of these frames are stored.

    `UserError` where the file is damaged.
    """
    try:
        table = _read(path, digest)
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged file makes its readers fail in any way
        raise stored.damaged(path, error, "delete it; slices are then not searched by what it holds") from error
    return None if table is None else table.reindex(list(frames)).reset_index(drop=True)


def _read(path: Path, digest: str) -> pd.DataFrame | None:
    """The stored table by the frames' names; None where it is of other frames."""
    import pyarrow.parquet as pq

    with stored.open_file(path) as file:
        parquet = pq.ParquetFile(file)
        if (parquet.schema_arrow.metadata or {}).get(_DIGEST) != digest.encode():
            return None
        table: pd.DataFrame = parquet.read(columns=["frame", *MEASURES]).to_pandas().set_index("frame")
    if not table.index.is_unique or not all(dtype == "float64" for dtype in table.dtypes):
        raise stored.DamagedError("its columns are no measures of frames")
    return table
