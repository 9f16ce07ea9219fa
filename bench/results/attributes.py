"""What else is known of the labelled frames: `attributes.parquet`, apart from what was predicted of them."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from bench import stored
from bench.errors import UserError
from bench.files import write_atomically
from bench.records import LABELLED_SPLITS, PREDICTED, Frame, FrameSet, Split

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

ATTRIBUTES = "attributes.parquet"
MOST_COLUMNS = 1000

_NUMBER = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
"""007 is a name."""

_Known: TypeAlias = tuple[tuple[str, str], ...]


def digest(frames: Mapping[Split, FrameSet]) -> str:
    """16 hexadecimal digits over what else is known of the test and validation frames; empty where that is nothing."""
    known, codes = _combinations(frames)
    if not any(known):
        return ""
    splits = {split: len(_of(frames, split)) for split in LABELLED_SPLITS}
    told = hashlib.sha256(json.dumps([splits, known]).encode())
    told.update(codes.tobytes())
    return told.hexdigest()[:16]


def write(path: Path, frames: Mapping[Split, FrameSet]) -> None:
    """Columns frame, split and one for each attribute, all text; test rows first, as in `predictions.parquet`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    known, codes = _combinations(frames)
    # Splits may come from different manifests; a column keeps the place where it was first seen.
    names = list(dict.fromkeys(name for one in known for name, _ in one))
    split_codes = [place for place, split in enumerate(LABELLED_SPLITS) for _ in _of(frames, split)]
    columns = [
        pa.array((frame.path for frame in _labelled(frames)), pa.string()),
        pa.DictionaryArray.from_arrays(pa.array(split_codes, pa.int32()), list(LABELLED_SPLITS)),
    ]
    for name in names:
        values = [dict(one).get(name) or None for one in known]
        columns.append(pa.array(values, pa.string()).dictionary_encode().take(pa.array(codes)))
    table = pa.Table.from_arrays(columns, names=["frame", "split", *names])
    write_atomically(path, lambda file: pq.write_table(table, file))


def read(path: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """One column for each attribute, for the frames `rows` (columns frame, split); none where there is no file.

    Numbers where every value is one, with NaN where it is missing; else categories of text.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    try:
        with stored.open_file(path) as file:
            held = pq.ParquetFile(file)
            if held.metadata.num_rows != len(rows) or held.metadata.num_columns > MOST_COLUMNS:
                raise stored.DamagedError("it is of other frames")
            table = held.read()
        known = {name: table.column(name).to_numpy() for name in ("frame", "split")}
        same = all(len(known[name]) == len(rows) and bool((known[name] == rows[name]).all()) for name in known)
        if not same:
            raise stored.DamagedError("it is of other frames")
        columns = {name: _series(name, table) for name in table.column_names if name not in known}
    except FileNotFoundError:
        return pd.DataFrame(index=rows.index)
    except Exception as error:  # a damaged file makes its readers fail in any way
        raise _damaged(path, error) from error
    return pd.DataFrame(columns, index=rows.index)


def _series(name: str, table: pa.Table) -> pd.Series[Any]:
    import pyarrow as pa

    column = table.column(name)
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if name in PREDICTED or not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise stored.DamagedError("a column of it is no attribute")
    return series(column.combine_chunks())


def series(column: Any) -> pd.Series[Any]:
    """An Arrow array of text as numbers, float64 with NaN, where every value is one; else as categories."""
    import numpy as np
    import pandas as pd

    encoded = column if hasattr(column, "dictionary") else column.dictionary_encode()
    values = encoded.dictionary.to_pylist()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    if not all(map(_is_number, values)):
        return pd.Series(pd.Categorical.from_codes(codes, values))
    return pd.Series(np.array([*map(float, values), np.nan])[codes])


def _is_number(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) and math.isfinite(float(text))


def _damaged(path: Path, error: Exception) -> UserError:
    return stored.damaged(path, error, "delete it, `bench run` writes it again")


def _combinations(frames: Mapping[Split, FrameSet]) -> tuple[list[_Known], NDArray[np.int32]]:
    """What is known of frames, each once, and for every labelled frame which of them that is [n]."""
    import numpy as np

    places: dict[_Known, int] = {}
    codes = [places.setdefault(frame.attributes, len(places)) for frame in _labelled(frames)]
    return list(places), np.array(codes, dtype=np.int32)


def _labelled(frames: Mapping[Split, FrameSet]) -> Iterator[Frame]:
    return (frame for split in LABELLED_SPLITS for frame in _of(frames, split))


def _of(frames: Mapping[Split, FrameSet], split: Split) -> tuple[Frame, ...]:
    return frames[split].frames if split in frames else ()
