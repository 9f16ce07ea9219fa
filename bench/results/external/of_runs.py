"""What a run knows of the frames of its `predictions.parquet`, and keeps beside it: attributes, and copies."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.records import LABELLED_SPLITS, RunRecord
from bench.results import attributes, copies, store
from bench.results.external.read import ImportedScores
from bench.results.predict import PREDICTIONS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


def with_run(imported: ImportedScores, further: Collection[str] | None = ()) -> ImportedScores:
    """The same scores with what the run knows of their frames, where the file lies among the results of one.

    Of the attributes those whose names are in `further`, all with None. Raises `UserError` where they are damaged.
    """
    folder = imported.path.parent.parent
    if imported.path.name != PREDICTIONS or not (folder / store.RUN).is_file() or imported.splits is None:
        return imported
    import pandas as pd

    run = store.read_run(folder)
    splits = [LABELLED_SPLITS[code] for code in imported.splits.tolist()]
    rows = pd.DataFrame({"frame": imported.frames.to_pylist(), "split": splits})
    if not _is_of(rows, run):
        text = f"{imported.path}: has other frames than {folder / store.RUN}, whose attributes and copies are left out."
        return replace(imported, remarks=(*imported.remarks, text))
    texts = {str(name): _text(column) for name, column in attributes.read(folder / attributes.ATTRIBUTES, rows).items()}
    asked = {name: text for name, text in texts.items() if further is None or name in further}
    firsts = copies.read(folder / copies.COPIES, rows, run.frames)
    with_those_of_run = {**asked, **imported.attributes}
    return replace(imported, attributes=with_those_of_run, copies=_copy_of(rows, firsts))


def _is_of(rows: pd.DataFrame, run: RunRecord) -> bool:
    """Whether there are as many frames of each split as in the run."""
    counts = {split: run.frames[split].count for split in LABELLED_SPLITS if split in run.frames}
    return {str(split): int(count) for split, count in rows["split"].value_counts().items()} == counts


def _text(column: pd.Series[Any]) -> Any:
    """A column of numbers or of categories as Arrow text [n]; numbers with all their digits."""
    import pyarrow as pa

    missing = column.isna()
    words = [None if lacks else str(value) for value, lacks in zip(column, missing, strict=True)]
    return pa.array(words, pa.large_string())


def _copy_of(rows: pd.DataFrame, firsts: dict[str, NDArray[np.int64] | None]) -> Any:
    """The name of the first frame with the same content, as Arrow text [n]; null for frames that are no copies."""
    import pyarrow as pa

    names: list[str | None] = [None] * len(rows)
    for split, of_split in firsts.items():
        indices = (rows["split"] == split).to_numpy().nonzero()[0]
        for row, first in enumerate([] if of_split is None else of_split.tolist()):
            if row != first:
                names[indices[row]] = rows["frame"].iloc[indices[first]]
    return pa.array(names, pa.large_string())
