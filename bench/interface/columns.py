"""Arrays of any library as columns of frames, checked; all faults are reported at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UserError, quoted
from bench.records import PREDICTED, VIDEO_COLUMNS
from bench.results.external.formats import EXAMPLES, examples
from bench.results.external.read import COPY_OF, ImportedScores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.results.external.scales import Meaning, Scaled


class Column:
    """An array from the caller, called `name` in messages. Raises `UserError` where it is no column."""

    def __init__(self, name: str, given: Any) -> None:
        self.name, self.given = name, given

    @cached_property
    def values(self) -> NDArray[Any]:
        """The array [n]."""
        import numpy as np

        given = self.given
        if callable(getattr(given, "detach", None)):  # a tensor that training still holds on to, or on a GPU
            given = given.detach().cpu()
            given = given.double() if given.is_floating_point() else given
        if isinstance(given, (str, bytes, Mapping)) or not hasattr(given, "__len__"):
            raise UserError(f"{self.name}: expected an array, found {type(given).__name__}")
        if isinstance(given, np.ma.MaskedArray):  # NumPy would show what lies below the mask
            masked = np.ma.getmaskarray(given)
            given = np.array(given.data, object)
            given[masked] = None
        try:
            values = np.asarray(given)
        except (TypeError, ValueError) as error:
            raise UserError(f"{self.name}: expected an array: {error}") from error
        if values.ndim != 1:
            hint = (
                "; of the two columns of a classifier, take that of fake: p[:, 1]" if values.shape[1:] == (2,) else ""
            )
            raise UserError(f"{self.name}: expected one dimension, found the shape {values.shape}{hint}")
        return values

    @property
    def numbers(self) -> NDArray[np.float64]:
        """float64 [n], NaN where something is no number."""
        import numpy as np
        import pandas as pd

        if self.values.dtype.kind in "fiub":
            return self.values.astype(np.float64)
        if any(isinstance(value, (str, bytes)) for value in self.values):
            raise UserError(f"{self.name}: holds text; expected numbers")
        if self.values.dtype.kind == "c":
            raise UserError(f"{self.name}: holds complex numbers; expected real ones")
        numbers: NDArray[np.float64] = pd.to_numeric(pd.Series(self.values), errors="coerce").to_numpy(np.float64)
        return numbers

    @property
    def text(self) -> Any:
        """Arrow text [n] with nulls for missing values; None where all are missing."""
        column = self.text_or_nulls
        return None if column.null_count == len(column) else column

    @property
    def text_or_nulls(self) -> Any:
        """The same, also where all are missing."""
        import pandas as pd
        import pyarrow as pa

        missing = pd.isna(self.values)
        words = [
            None if lacks else str(value).strip() or None for value, lacks in zip(self.values, missing, strict=True)
        ]
        return pa.array(words, pa.large_string())

    def wrong(self, what: str, rows: NDArray[np.bool_]) -> str:
        """A message on the rows that are wrong; empty where none is."""
        import numpy as np

        indices = np.flatnonzero(rows)
        first = [f"[{index}] is {quoted(_plain(self.values[index]))}" for index in indices[:EXAMPLES].tolist()]
        if not first:
            return ""
        return f"{self.name}: {what} in {len(indices):,} of {len(rows):,} rows: {examples(first, len(indices))}"


def scores_by_variant(
    columns: Mapping[str, Column], meanings: Mapping[str, Meaning], attributes: Sequence[str]
) -> dict[str, ImportedScores]:
    """Each variant's scores of the frames; those of the first variant hold labels, sources and attributes too.

    `meanings` are what the numbers of each variant are.

    Raises `UserError` with all that is wrong.
    """
    from bench.results.external.scales import narrow

    _refuse_unlike(columns)
    problems: list[str] = []
    labels, splits = _labels(columns["labels"], problems), _splits(columns.get("splits"), problems)
    frames = _frames(columns.get("frames"), len(labels), splits, problems)
    scores = {name: _scores(columns[f"scores[{name!r}]"], meaning, problems) for name, meaning in meanings.items()}
    problems += [
        f"attributes: {quoted(name)} has another meaning here; rename it"
        for name in attributes
        if name.strip().casefold() in {*PREDICTED, "label", "source", "split", *VIDEO_COLUMNS, COPY_OF}
        or not name.strip()
    ]
    videos = columns["videos"].text if "videos" in columns else None
    indices = _frame_indices(columns.get("frame_indices"), problems)
    if problems:
        raise UserError(*problems)
    texts = {name: columns[f"attributes[{name!r}]"].text for name in attributes}
    sources = columns["sources"].text if "sources" in columns else None
    imported = {
        name: ImportedScores(Path(name), (), frames, scaled, splits=splits, remarks=narrow("scores", name, scaled))
        for name, scaled in scores.items()
    }
    first = next(iter(imported))
    imported[first] = replace(
        imported[first],
        labels=labels,
        sources=sources,
        attributes={name: text for name, text in texts.items() if text is not None},
        videos=videos,
        frame_indices=indices,
        copies=columns[COPY_OF].text_or_nulls if COPY_OF in columns else None,
    )
    return imported


def _refuse_unlike(columns: Mapping[str, Column]) -> None:
    """Raise `UserError` unless all arrays have as many rows as the labels, and those with a pandas index the same."""
    labels = columns["labels"]
    count = len(labels.values)
    if not count:
        raise UserError("labels: is empty; expected a label for every frame")
    problems = [
        f"{column.name}: has {len(column.values):,} rows, and labels have {count:,}"
        for column in columns.values()
        if len(column.values) != count
    ]
    if problems:
        raise UserError(*problems)
    indexed = [
        column for column in columns.values() if hasattr(column.given, "iloc") and hasattr(column.given, "index")
    ]
    problems = [
        f"{column.name}: has another index than {indexed[0].name}; bring both into one order, or give `.to_numpy()` "
        "where they are in one order already"
        for column in indexed
        if not column.given.index.equals(indexed[0].given.index)
    ]
    if problems:
        raise UserError(*problems)


def _labels(column: Column, problems: list[str]) -> NDArray[np.int8]:
    import numpy as np

    try:
        numbers = column.numbers
    except UserError as error:
        problems += [f"{line}: 1 for fake, 0 for real" for line in error.lines]
        return np.zeros(len(column.values), np.int8)
    wrong = ~np.isin(numbers, (0.0, 1.0))
    problems += filter(None, [column.wrong("a label is neither 0 (real) nor 1 (fake)", wrong)])
    return np.where(wrong, 0, numbers).astype(np.int8)


def _splits(column: Column | None, problems: list[str]) -> NDArray[np.int8] | None:
    """The index in `LABELLED_SPLITS` [n], by the words of files of `bench score`; None where all lack it."""
    import numpy as np

    from bench.datasets.layouts import SPLIT_WORDS
    from bench.results.external.read import no_split, split_codes

    text = None if column is None else column.text
    if column is None or text is None:
        return None
    by_word = split_codes(SPLIT_WORDS)
    codes = np.array([by_word.get((word or "").lower(), -1) for word in text.to_pylist()], np.int8)
    problems += filter(None, [column.wrong(no_split(by_word), codes < 0)])
    return codes


def _frame_indices(column: Column | None, problems: list[str]) -> Any:
    """Numbers of frames as Arrow numbers [n], with nulls where one is missing; None where the caller gave none."""
    import numpy as np
    import pyarrow as pa

    if column is None:
        return None
    try:
        numbers = column.numbers
    except UserError as error:
        problems += error.lines
        return None
    empty = np.isnan(numbers)
    wrong = ~empty & ~((numbers >= 0) & (numbers < 2**53) & (numbers == np.floor(numbers)))
    problems += filter(None, [column.wrong("a frame's number is no whole number from 0", wrong)])
    return pa.array(np.where(empty | wrong, 0, numbers).astype(np.int64), mask=empty)


def _frames(column: Column | None, count: int, splits: Any, problems: list[str]) -> Any:
    """Names as Arrow text [n]; the positions where the caller gave none."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    if column is None:
        return pa.array(map(str, range(count)), pa.large_string())
    text = column.text
    if text is None or text.null_count:
        empty = np.ones(count, bool) if text is None else text.is_null().to_numpy(zero_copy_only=False)
        problems += filter(None, [column.wrong("no name of a frame", empty)])
        return pa.array(map(str, range(count)), pa.large_string())
    keys = pd.DataFrame({"frame": text.to_pandas(), "split": 0 if splits is None else splits})
    problems += filter(
        None, [column.wrong("frames stand there more than once", keys.duplicated(keep=False).to_numpy())]
    )
    return text


def _scores(column: Column, meaning: Meaning, problems: list[str]) -> Scaled:
    """P(fake) [n], and logits where the numbers are these; what is wrong with them is added to the problems."""
    import numpy as np

    from bench.results.external.scale_hints import looks_like
    from bench.results.external.scales import Scaled, outside, scaled

    try:
        numbers = column.numbers
    except UserError as error:
        problems += error.lines
        return Scaled(np.zeros(len(column.values)))
    missing = np.isnan(numbers)
    scale = meaning.scale or "probability"
    wrong = ~missing & outside(numbers, scale)
    hint = looks_like(numbers, "scale={!r}") if wrong.any() and scale == "probability" else ""
    limits = {"logit": "is not finite", "percent": "lies outside [0, 100]", "probability": "lies outside [0, 1]"}[scale]
    faults = (column.wrong("a score is missing", missing), column.wrong(f"a score {limits}{hint}", wrong))
    problems += filter(None, faults)
    return scaled(np.where(missing | wrong, 0.0, numbers), meaning)


def _plain(value: Any) -> Any:
    """A Python number in place of NumPy's, whose text names its type."""
    return value.item() if hasattr(value, "item") else value
