"""Read imported scores, one file at a time: CSV, Parquet, or a JSON map of frame to score.

Columns stay in Arrow's memory: a million frames' names are a few dozen megabytes there, and hundreds as Python's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UserError, counted, listed, nearest, quoted, shown
from bench.records import ANNOTATION_COLUMNS, LABELLED_SPLITS, PREDICTED, VIDEO_COLUMNS, label_word
from bench.results.external import formats, score_column
from bench.results.external.formats import EXAMPLES, ScoreFile, examples
from bench.results.external.scales import UNSAID, Meaning, Scaled
from bench.results.external.score_column import logit_columns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_COLUMNS = ("frame", "score", "label", "source", "split", "video")
_NUMBERS = "frame_index"
"""The column of the numbers of frames in their videos; of several faces of a frame, all have its number."""
COPY_OF = "copy_of"
"""The column that names the frame with the same content, of which a frame is a copy."""


@dataclass(frozen=True)
class Columns:
    """The names of the columns of a file; None stands for the usual name."""

    frame: str | None = None
    score: str | None = None
    label: str | None = None
    source: str | None = None
    split: str | None = None
    video: str | None = None

    def name(self, column: str) -> str:
        """The name of the column `column`, such as "p_fake" for "score"."""
        usual = {"score": "p_fake"}.get(column, column)
        return str(getattr(self, column) or usual)


@dataclass(frozen=True)
class Words:
    """The words for a label (1 fake, 0 real) and for a split, in lower case."""

    labels: Mapping[str, int]
    splits: Mapping[str, str]


@dataclass(frozen=True)
class ImportedScores:
    """The columns of a file with `n` frames; None where the file lacks one.

    `frames` and `sources` are Arrow arrays of text [n], `attributes` such arrays by name. `scores` are P(fake) [n],
    float64 in [0, 1], and logits where these are known; `labels` [n] is 1 for fake and 0 for real, `splits` [n] is the
    index in `LABELLED_SPLITS`. `columns` are the names of all columns of the file. `videos` are Arrow text [n] too,
    `frame_indices` Arrow whole numbers [n]. Two frames may have one name only where they are of different splits.
    `copies` are Arrow text [n]: of which frame one is a copy. `remarks` say what was taken for granted.
    """

    path: Path
    columns: tuple[str, ...]
    frames: Any
    scores: Scaled | None
    labels: NDArray[np.int8] | None = None
    splits: NDArray[np.int8] | None = None
    sources: Any = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    videos: Any = None
    frame_indices: Any = None
    copies: Any = None
    remarks: tuple[str, ...] = ()

    @property
    def keys(self) -> Any:
        """A unique text for each frame [n], also for frames of one name in different splits."""
        return self.frames if self.splits is None else _keys(self.frames, self.splits)

    @cached_property
    def doubled(self) -> bool:
        """Whether a frame of one split has the name of a frame of the other."""
        import pyarrow.compute as pc

        return self.splits is not None and pc.count_distinct(self.frames).as_py() < len(self.frames)


def read(
    path: Path,
    columns: Columns,
    words: Words,
    *,
    only_labels: bool = False,
    further: Collection[str] | None = (),
    meaning: Meaning = UNSAID,
) -> ImportedScores:
    """Read a file of scores, whose numbers have this `meaning`. One `UserError` lists all that is wrong with it.

    With `only_labels`, no scores are read, and the frames' column may be called `path`, as in manifests. Columns
    whose names are in `further` become attributes; with None, every other column does.
    """
    names = [
        *(columns.name(role) for role in _COLUMNS),
        *["path"] * only_labels,
        _NUMBERS,
        COPY_OF,
        *score_column.LOGITS,
        *(further or ()),
    ]
    only = None if further is None else names
    table = formats.read(path, value="label" if only_labels else "score", only=only)
    by_role = _roles(table, columns, only_labels)
    reader = _ColumnReader(table, words)
    frames = reader.frames(by_role["frame"])
    scores, remarks = (None, ()) if only_labels else reader.scores(by_role["score"], meaning)
    imported = ImportedScores(
        path=path,
        columns=table.names,
        frames=frames,
        scores=scores,
        labels=reader.labels(by_role["label"]),
        splits=reader.splits(by_role["split"]),
        sources=reader.text(by_role["source"]),
        attributes=_attributes(table, by_role, columns, further),
        videos=reader.text(by_role["video"]),
        frame_indices=reader.whole_numbers(table.find(_NUMBERS)) if table.kind != "json" else None,
        copies=reader.copies(table.find(COPY_OF)) if table.kind != "json" else None,
        remarks=remarks,
    )
    reader.refuse_doubled(imported)
    reader.refuse()
    return imported


def split_codes(splits: Mapping[str, str]) -> dict[str, int]:
    """The index in `LABELLED_SPLITS` by word, in lower case, of the words for these splits."""
    codes = {name: code for code, name in enumerate(LABELLED_SPLITS)}
    return {word: codes[split] for word, split in splits.items() if split in codes}


def no_split(codes: Mapping[str, int]) -> str:
    """What is wrong with a word for a split that is none of these."""
    return f"a split is none of {', '.join(codes)} (frames of other splits are to be left out)"


def _roles(table: ScoreFile, columns: Columns, only_labels: bool) -> dict[str, str | None]:
    """The table's column for each of `_COLUMNS`, None where it has none. `UserError` where a needed one is missing."""
    by_role = {role: table.find(columns.name(role)) for role in _COLUMNS}
    if table.kind == "json":
        return {role: role if role in table.names else None for role in by_role}
    if only_labels:
        by_role["score"] = None
    # What is named goes before what is usual: in a submission to Kaggle, the column `label` holds scores.
    named = {by_role[role] for role in _COLUMNS if getattr(columns, role) is not None}
    by_role |= {role: None for role in _COLUMNS if getattr(columns, role) is None and by_role[role] in named}
    if only_labels and columns.frame is None:
        by_role["frame"] = by_role["frame"] or table.find("path")
    needed = ("frame", "label") if only_labels else ("frame", "score")
    problems = [
        f"{table.path}: no column {quoted(columns.name(role))}{_nearest(table, role, columns, by_role)}; "
        f"found: {listed(table.names)}. Name the right one with --{role}-column{_hint(table, role, by_role)}"
        for role in needed
        if by_role[role] is None and not (role == "score" and columns.score is None and logit_columns(table))
    ]
    taken = [name for name in by_role.values() if name is not None]
    problems += [f"{table.path}: column {quoted(name)} is asked for as two things at once" for name in _doubled(taken)]
    if problems:
        raise UserError(*problems)
    return by_role


def _hint(table: ScoreFile, role: str, by_role: Mapping[str, str | None]) -> str:
    """What to write where a file lacks scores, and its column of labels holds some."""
    column = by_role["label"]
    if role != "score" or column is None:
        return ""
    numbers = table.numbers(column)
    if not ((numbers > 0) & (numbers < 1)).any():
        return ""
    return f" (if {quoted(column)} holds scores: `--score-column {shown(column)}`, with `--labels FILE`)"


def _nearest(table: ScoreFile, role: str, columns: Columns, by_role: Mapping[str, str | None]) -> str:
    """The column that may be meant, of those that are nothing else yet."""
    return nearest(columns.name(role), [name for name in table.names if name not in by_role.values()])


def _doubled(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def _attributes(
    table: ScoreFile, by_role: Mapping[str, str | None], columns: Columns, further: Collection[str] | None
) -> dict[str, Any]:
    """The text of the further columns that were asked for, as far as they hold text or numbers, by name."""
    if further is None:
        by_name: dict[str, str | None] = {name.strip(): name for name in _further(table, by_role, columns)}
    else:
        by_name = {name: table.find(name) for name in further}
    text = {name: table.text(column) for name, column in by_name.items() if column and column not in by_role.values()}
    return {name: _without_blanks(column) for name, column in text.items() if column is not None}


def _further(table: ScoreFile, by_role: Mapping[str, str | None], columns: Columns) -> list[str]:
    """All columns without a role that have a name, and not one reserved for predictions.

    `UserError` where a name could mean two columns.
    """
    others = [name for name in table.names if name not in by_role.values() and name.strip()]
    problems: list[str] = []
    seen: dict[str, str] = {}
    for name in others:
        key = name.strip().casefold()
        if key in by_role and key != "score":
            problems.append(
                f"the {key} is column {quoted(columns.name(key))}, but there is {quoted(name)} too; rename it"
            )
        elif seen.setdefault(key, name) != name:
            problems.append(f"the columns {quoted(seen[key])} and {quoted(name)} are called alike; rename one")
    if problems:
        raise UserError(*(f"{table.path}: {problem}" for problem in problems))
    described = {*PREDICTED, *VIDEO_COLUMNS, *ANNOTATION_COLUMNS, COPY_OF}
    return [name for key, name in seen.items() if key not in described and not name.startswith("__index_level_")]


class _ColumnReader:
    """Turns a table's columns into values, and gathers what is wrong with them in `problems`."""

    def __init__(self, table: ScoreFile, words: Words) -> None:
        self.table, self.words = table, words
        self.problems: list[str] = []

    def refuse(self) -> None:
        if self.problems:
            raise UserError(*(f"{self.table.path}: {problem}" for problem in self.problems))

    def frames(self, name: str | None) -> Any:
        """The frames' names as Arrow text [n]; "" where one is missing, which is a problem."""
        import pyarrow.compute as pc

        frames = pc.fill_null(self._text(name), "")
        self._report("no name of a frame", pc.equal(frames, ""))
        return frames

    def text(self, name: str | None) -> Any:
        """Text with nulls for what is empty; None where there is nothing else."""
        if name is None:
            return None
        column = _without_blanks(self._text(name))
        return None if column.null_count == len(column) else column

    def copies(self, name: str | None) -> Any:
        """The names of originals as Arrow text with nulls, also where all are null; None without such a column."""
        return None if name is None else _without_blanks(self._text(name))

    def scores(self, name: str | None, meaning: Meaning) -> tuple[Scaled | None, tuple[str, ...]]:
        """P(fake) and logits, and remarks on what was taken for granted; a cell without a score is a problem."""
        return score_column.read(self.table, name, meaning, self.words.labels, self._report)

    def whole_numbers(self, name: str | None) -> Any:
        """Whole numbers as Arrow numbers [n], with nulls for what is empty; None where there is nothing else."""
        import numpy as np
        import pyarrow as pa

        if name is None or (column := self.text(name)) is None:
            return None
        numbers = self.table.numbers(name)
        empty = column.is_null().to_numpy(zero_copy_only=False)
        wrong = ~empty & ~((numbers >= 0) & (numbers < 2**53) & (numbers == np.floor(numbers)))
        self._report(f"{name} is no whole number from 0", wrong, name)
        return pa.array(np.where(empty | wrong, 0, numbers).astype(np.int64), mask=empty)

    def labels(self, name: str | None) -> NDArray[np.int8] | None:
        """1 for fake and 0 for real [n]; true means fake."""
        return self.coded(name, self.words.labels, "label is not real, 0, fake or 1", label_word)

    def splits(self, name: str | None) -> NDArray[np.int8] | None:
        """The index in `LABELLED_SPLITS` [n]."""
        codes = split_codes(self.words.splits)
        return self.coded(name, codes, no_split(codes))

    def coded(
        self,
        name: str | None,
        words: Mapping[str, int],
        fault: str,
        spelled: Callable[[str], str] = str.lower,
    ) -> NDArray[np.int8] | None:
        """The codes of the words in a column [n]; None where the column is missing or empty.

        `spelled` gives a cell as it stands in `words`. `fault` says what is wrong with a cell that is none of them.
        """
        import numpy as np

        column = self.text(name)
        if column is None:
            return None
        encoded = column.dictionary_encode()
        distinct = [spelled(word) for word in encoded.dictionary.to_pylist()]
        if not any(distinct):
            return None
        code_of = np.array([words.get(word, -1) for word in distinct] + [-1], np.int8)
        codes: NDArray[np.int8] = code_of[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
        self._report(fault, codes < 0, name)
        return codes

    def refuse_doubled(self, imported: ImportedScores) -> None:
        """Note the frames that appear more than once within a split."""
        import numpy as np

        if imported.splits is not None and imported.splits.min() < 0:
            return
        indices = imported.keys.dictionary_encode().indices.to_numpy()
        counts = np.bincount(indices)
        if not len(counts) or counts.max() == 1:
            return
        twice = np.flatnonzero(counts > 1)
        rows = [np.flatnonzero(indices == code)[:2].tolist() for code in twice[:EXAMPLES]]
        lines = self.table.locations(sorted({row for pair in rows for row in pair}))
        pairs = [f"{quoted(imported.frames[row].as_py())} ({lines[row]} and {lines[other]})" for row, other in rows]
        stand = "stands" if len(twice) == 1 else "stand"
        repeated = f"{counted(len(twice), 'frame')} {stand} there more than once"
        self.problems.append(f"{repeated}: {examples(pairs, len(twice))}")

    def _text(self, name: str | None) -> Any:
        assert name is not None
        column = self.table.text(name)
        if column is None:
            raise UserError(f"{self.table.path}: column {quoted(name)} holds neither text nor numbers")
        return column

    def _report(self, kind: str, wrong: Any, name: str | None = None) -> None:
        import numpy as np

        rows = np.flatnonzero(wrong)
        if len(rows):
            first = rows[:EXAMPLES].tolist()
            lines, cells = self.table.locations(first), self.table.cells(name, first) if name else [""] * len(first)
            shown = [f"{lines[row]} {cell}".strip() for row, cell in zip(first, cells, strict=True)]
            self.problems.append(f"{kind} in {len(rows):,} of {self.table.count:,} rows: {examples(shown, len(rows))}")


def _without_blanks(column: Any) -> Any:
    """Trimmed, with nulls for what is empty."""
    import pyarrow as pa
    import pyarrow.compute as pc

    trimmed = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, trimmed.type), trimmed)


def _keys(frames: Any, splits: NDArray[np.int8]) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    words = pa.array(LABELLED_SPLITS).take(pa.array(splits))
    return pc.binary_join_element_wise(words.cast(frames.type), frames, pa.scalar("/", frames.type))
