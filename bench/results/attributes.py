"""Attributes of the labelled frames, such as the method of a fake: `attributes.parquet`, beside the predictions."""

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
"""A number as text; 007 is a name, not a number."""

_Attributes: TypeAlias = tuple[tuple[str, str], ...]


def digest(frames: Mapping[Split, FrameSet]) -> str:
    """16 hexadecimal digits over the attributes of the test and validation frames; empty where there are none."""
    combinations, codes = _combinations(frames)
    if not any(combinations):
        return ""
    splits = {split: len(_of(frames, split)) for split in LABELLED_SPLITS}
    sha256 = hashlib.sha256(json.dumps([splits, combinations]).encode())
    sha256.update(codes.tobytes())
    return sha256.hexdigest()[:16]


def write(path: Path, frames: Mapping[Split, FrameSet]) -> None:
    """Write the columns frame, split and one for each attribute, all text; test rows first."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    combinations, codes = _combinations(frames)
    # Splits may come from different manifests: a column stands where it was first seen.
    names = list(dict.fromkeys(name for attributes in combinations for name, _ in attributes))
    split_codes = [code for code, split in enumerate(LABELLED_SPLITS) for _ in _of(frames, split)]
    columns = [
        pa.array((frame.path for frame in _labelled(frames)), pa.string()),
        pa.DictionaryArray.from_arrays(pa.array(split_codes, pa.int32()), list(LABELLED_SPLITS)),
    ]
    for name in names:
        values = [dict(attributes).get(name) or None for attributes in combinations]
        columns.append(pa.array(values, pa.string()).dictionary_encode().take(pa.array(codes)))
    table = pa.Table.from_arrays(columns, names=["frame", "split", *names])
    write_atomically(path, lambda file: pq.write_table(table, file))


def read(path: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Read one column for each attribute of the frames `rows` (columns frame, split); no column without a file.

    A column is numeric, with NaN where a value is missing, if every value is a number; else it is categories of text.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    try:
        with stored.open_file(path) as file:
            parquet = pq.ParquetFile(file)
            if parquet.metadata.num_rows != len(rows) or parquet.metadata.num_columns > MOST_COLUMNS:
                raise stored.DamagedError("it is of other frames")
            table = parquet.read()
        keys = {name: table.column(name).to_numpy() for name in ("frame", "split")}
        same = all(len(key) == len(rows) and bool((key == rows[name]).all()) for name, key in keys.items())
        if not same:
            raise stored.DamagedError("it is of other frames")
        columns = {name: _series(name, table) for name in table.column_names if name not in keys}
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
    """An Arrow array of text as float64 with NaN, if every value is a number; else as categories."""
    import numpy as np
    import pandas as pd

    encoded = column if hasattr(column, "dictionary") else column.dictionary_encode()
    values = encoded.dictionary.to_pylist()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    if not all(map(is_number, values)):
        return pd.Series(pd.Categorical.from_codes(codes, values))
    return pd.Series(np.array([*map(float, values), np.nan])[codes])


def is_number(text: str) -> bool:
    """Whether a value is a number; a column of nothing else is cut into ranges."""
    return bool(_NUMBER.fullmatch(text)) and math.isfinite(float(text))


def _damaged(path: Path, error: Exception) -> UserError:
    return stored.damaged(path, error, "delete it, `bench run` writes it again")


def _combinations(frames: Mapping[Split, FrameSet]) -> tuple[list[_Attributes], NDArray[np.int32]]:
    """The distinct combinations of attributes, and the index of every labelled frame's combination [n]."""
    import numpy as np

    index: dict[_Attributes, int] = {}
    codes = [index.setdefault(frame.attributes, len(index)) for frame in _labelled(frames)]
    return list(index), np.array(codes, dtype=np.int32)


def _labelled(frames: Mapping[Split, FrameSet]) -> Iterator[Frame]:
    return (frame for split in LABELLED_SPLITS for frame in _of(frames, split))


def _of(frames: Mapping[Split, FrameSet], split: Split) -> tuple[Frame, ...]:
    return frames[split].frames if split in frames else ()
