"""Put the imported scores of several files into one order of frames; refuse files that contradict each other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from bench.errors import UserError, listed, nearest, quoted, shown
from bench.records import (
    BETWEEN_SOURCES,
    LABELLED_SPLITS,
    LabelledFrames,
    MissingVideo,
    Predictions,
    Split,
    joined_sources,
)
from bench.results.attributes import series
from bench.results.external.formats import EXAMPLES, examples
from bench.results.external.read import COPY_OF, Columns, ImportedScores
from bench.results.external.same_content import firsts_of, with_guessed_copies

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

_CLASSES = ("real", "fake")
_OF_FRAMES = ("label", "split", "source", "video", "frame_index", COPY_OF)


@dataclass(frozen=True)
class Aligned:
    """The labelled frames by split, and the predictions of each file by variant, in the same order.

    `digests` are of each split, whatever the order of its rows. `remarks` say which columns were left out. `missing`
    are the videos of a file of labels that have no frame among these.
    """

    frames: Mapping[Split, LabelledFrames]
    digests: Mapping[Split, str]
    predictions: Mapping[str, Predictions]
    remarks: tuple[str, ...] = ()
    missing: Mapping[Split, tuple[MissingVideo, ...]] = field(default_factory=dict)


FindSources: TypeAlias = Callable[[Sequence[str], Sequence[int | None]], Sequence[str | None]]
"""From the names of frames and their labels to their sources; None where a name holds none."""


def align(
    answers: Mapping[str, ImportedScores],
    labels: ImportedScores | None,
    columns: Columns,
    find_sources: FindSources | None = None,
) -> Aligned:
    """Put all files into the order of the first one, test frames before validation frames.

    `labels` is a file of labels alone; it may have further frames. Each column comes from the first file that has it,
    `labels` before the others. Where no file has a frame's source, `find_sources` finds it in the frame's name. One
    `UserError` lists every contradiction.
    """
    import numpy as np
    import pyarrow as pa

    first = next(iter(answers.values()))
    everything = [*([labels] if labels else []), *answers.values()]
    _refuse_missing(everything, columns)
    rows = {id(file): _rows_of(first, file) for file in everything}
    _raise_together([_other_frames(first, file, rows[id(file)], file is labels) for file in everything])
    columns_of_frames, remarks = _agreed(first, everything, rows)
    if find_sources:
        labels_of_frames = _codes(columns_of_frames["label"], _CLASSES).tolist()
        from_names = find_sources(first.frames.to_pylist(), labels_of_frames)
        columns_of_frames["source"] = _filled(columns_of_frames.get("source"), from_names)
    words = columns_of_frames.pop("split", None)
    splits = np.zeros(len(first.frames), np.int8) if words is None else _codes(words, LABELLED_SPLITS)
    order = splits.argsort(kind="stable")
    columns_of_frames["frame"] = first.frames
    in_order = {name: column.take(pa.array(order)) for name, column in columns_of_frames.items()}
    frames = _labelled(in_order, splits[order])
    predictions = {
        name: _predictions(file, rows[id(file)][order], len(frames["test"].labels)) for name, file in answers.items()
    }
    remarks = (*(remark for file in everything for remark in file.remarks), *remarks)
    if COPY_OF not in columns_of_frames:
        frames, of_copies = with_guessed_copies(frames, predictions)
        remarks = (*remarks, *of_copies)
    return Aligned(
        frames,
        {split: _digest(labelled) for split, labelled in frames.items()},
        predictions,
        remarks,
        _missing(labels, rows[id(labels)], frames) if labels else {},
    )


def _missing(
    labels: ImportedScores, rows: NDArray[np.int64], frames: Mapping[Split, LabelledFrames]
) -> dict[Split, tuple[MissingVideo, ...]]:
    """The videos of a file of labels none of whose frames has scores; `rows` are those of the frames that have some."""
    import numpy as np

    if labels.videos is None or labels.labels is None:
        return {}
    present = {str(name) for of_split in frames.values() if of_split.videos is not None for name in of_split.videos}
    missing: dict[Split, dict[str, MissingVideo]] = {}
    for row in np.setdiff1d(np.arange(len(labels.frames)), rows).tolist():
        name = labels.videos[row].as_py()
        split = LABELLED_SPLITS[0 if labels.splits is None else int(labels.splits[row])]
        if name is not None and name not in present:
            source = None if labels.sources is None else labels.sources[row].as_py()
            video = MissingVideo(
                name, int(labels.labels[row]), joined_sources(source or ""), "none of its frames has a score"
            )
            missing.setdefault(split, {}).setdefault(name, video)
    return {split: tuple(videos.values()) for split, videos in missing.items()}


def _raise_together(problems: Sequence[str]) -> None:
    if any(problems):
        raise UserError(*filter(None, problems))


def _refuse_missing(everything: Sequence[ImportedScores], columns: Columns) -> None:
    """Raise `UserError` unless some file has labels, and every column that was named."""
    problems = []
    seen = list(dict.fromkeys(name for file in everything for name in file.columns))
    for what in ("label", "source", "split", "video"):
        is_present = any(getattr(file, f"{what}s") is not None for file in everything)
        if not is_present and (what == "label" or getattr(columns, what)):
            name = columns.name(what)
            hint = "" if name in seen else nearest(name, seen)
            problems.append(
                f"no {what}s: no file has a column {quoted(name)} with something in it{hint}; found: "
                f"{listed(seen)}. Name it with --{what}-column" + (", or give --labels FILE" * (what == "label"))
            )
    _raise_together(problems)


def _rows_of(first: ImportedScores, other: ImportedScores) -> NDArray[np.int64]:
    """The row in `other` of each frame of `first` [n], -1 where `other` lacks it."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if first.doubled or other.doubled:
        for file, against in ((first, other), (other, first)):
            if file.splits is None:
                raise UserError(
                    f"{file.path}: has no column that says which frames are test and which validation, and "
                    f"{against.path} has frames of the same name in both; add the column `split`"
                )
    names, other_names = _names(first, other)
    if names.equals(other_names):
        return np.arange(len(names))
    indices = pc.fill_null(pc.index_in(names, value_set=other_names), pa.scalar(-1, pa.int32()))
    rows: NDArray[np.int64] = indices.to_numpy(zero_copy_only=False).astype("int64")
    return rows if (rows >= 0).all() else _with_other_spellings(names, other_names, rows)


def _with_other_spellings(names: Any, other_names: Any, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows [n], also of names that differ in Unicode's normal form alone, as macOS spells them otherwise.

    A name of which a file has two forms is not matched so.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    forms, other_forms = (pc.utf8_normalize(column, form="NFC") for column in (names, other_names))
    alike = pc.fill_null(pc.index_in(forms, value_set=other_forms), pa.scalar(-1, pa.int32()))
    rows_alike: NDArray[np.int64] = alike.to_numpy(zero_copy_only=False).astype("int64")
    is_single = _is_single(forms) & (rows_alike >= 0) & _is_single(other_forms)[rows_alike]
    return np.where((rows < 0) & is_single, rows_alike, rows)


def _is_single(column: Any) -> NDArray[np.bool_]:
    """Whether each value of a column of text is there once [n]."""
    import numpy as np

    indices = column.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    single: NDArray[np.bool_] = np.bincount(indices)[indices] == 1
    return single


def _names(first: ImportedScores, other: ImportedScores) -> tuple[Any, Any]:
    """The names by which frames of two files are matched: with the split where names alone are not unique."""
    return (first.keys, other.keys) if first.doubled or other.doubled else (first.frames, other.frames)


def _other_frames(first: ImportedScores, other: ImportedScores, rows: NDArray[np.int64], may_have_more: bool) -> str:
    """The message where two files do not have the same frames; empty where they have."""
    import numpy as np

    used = np.zeros(len(other.frames), bool)
    used[rows[rows >= 0]] = True
    names, other_names = _names(first, other)
    lacking = names.filter(_mask(rows < 0))
    more = other_names.slice(0, 0) if may_have_more else other_names.filter(_mask(~used))
    if not len(lacking) and not len(more):
        return ""
    sides = ((first, lacking), (other, more))
    unmatched = "; ".join(
        f"{len(frames):,} only in {file.path} ({_examples(frames)})" for file, frames in sides if len(frames)
    )
    alike = " (the names agree without their folders)" if not used.any() and _same_stems(first, other) else ""
    return f"{other.path}: other frames than in {first.path}: {unmatched}{alike}. Only the same frames can be compared"


def _mask(rows: NDArray[np.bool_]) -> Any:
    import pyarrow as pa

    return pa.array(rows)


def _examples(frames: Any) -> str:
    return examples([quoted(frame) for frame in frames.slice(0, EXAMPLES).to_pylist()], len(frames))


def _same_stems(first: ImportedScores, second: ImportedScores) -> bool:
    """Whether the names of two files' frames agree without their folders."""
    import pyarrow.compute as pc

    stems, others = (pc.unique(pc.replace_substring_regex(file.frames, r".*[/\\]", "")) for file in (first, second))
    return bool(pc.all(pc.is_in(stems, value_set=others)).as_py())


def _agreed(
    first: ImportedScores, everything: Sequence[ImportedScores], rows: Mapping[int, NDArray[np.int64]]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The columns of the first file's frames, as Arrow text, each from the first file that has it; and remarks.

    Raises `UserError` where files differ in a label, split or source. A further column in which files differ
    describes variants, not frames: it is left out with a remark.
    """
    import pyarrow as pa

    by_name: dict[str, tuple[ImportedScores, Any]] = {}
    problems, differing = [], dict[str, None]()
    for file in everything:
        for name, column in _columns(file).items():
            values = column.take(pa.array(rows[id(file)]))
            origin, before = by_name.setdefault(name, (file, values))
            contradiction = (
                _contradiction(name, first.frames, (origin, before), (file, values)) if origin is not file else ""
            )
            if contradiction and name not in _OF_FRAMES:
                differing[name] = None
            elif contradiction:
                problems.append(contradiction)
    _raise_together(problems)
    left_out = listed(map(quoted, differing))
    remark = f"Not taken for properties of the frames, since files differ in them: {left_out}."
    return {name: values for name, (_, values) in by_name.items() if name not in differing}, (remark,) * bool(differing)


def _columns(file: ImportedScores) -> dict[str, Any]:
    """All columns of a file but frames and scores, as Arrow text."""
    columns = {
        "label": _words(file.labels, _CLASSES),
        "split": _words(file.splits, LABELLED_SPLITS),
        "source": None if file.sources is None else _normalised(file.sources),
        "video": file.videos,
        "frame_index": None if file.frame_indices is None else _as_text(file.frame_indices),
        COPY_OF: file.copies,
        **file.attributes,
    }
    return {name: column for name, column in columns.items() if column is not None}


def _as_text(numbers: Any) -> Any:
    import pyarrow as pa

    return numbers.cast(pa.large_string())


def _words(codes: NDArray[np.int8] | None, words: Sequence[str]) -> Any:
    import pyarrow as pa

    return None if codes is None else pa.array(words, pa.large_string()).take(pa.array(codes))


def _filled(sources: Any, from_names: Sequence[str | None]) -> Any:
    """The sources, as Arrow text [n]; where one is missing, that which the frame's name holds."""
    import pyarrow as pa
    import pyarrow.compute as pc

    named = pa.array(from_names, pa.large_string())
    return named if sources is None else pc.coalesce(sources.cast(named.type), named)


def _normalised(sources: Any) -> Any:
    """The sources, as Arrow text [n], several of one frame in the one way in which `joined_sources` writes them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = sources.cast(pa.large_string())
    if not pc.any(pc.match_substring(text, BETWEEN_SOURCES)).as_py():
        return sources
    encoded = (
        text.combine_chunks().dictionary_encode() if isinstance(text, pa.ChunkedArray) else text.dictionary_encode()
    )
    names = pa.array([joined_sources(name) for name in encoded.dictionary.to_pylist()], pa.large_string())
    return names.take(encoded.indices)


def _codes(column: Any, words: Sequence[str]) -> NDArray[np.int8]:
    import pyarrow as pa
    import pyarrow.compute as pc

    codes: NDArray[np.int8] = pc.index_in(column, value_set=pa.array(words, column.type)).to_numpy().astype("int8")
    return codes


def _contradiction(name: str, frames: Any, before: tuple[ImportedScores, Any], now: tuple[ImportedScores, Any]) -> str:
    """The message where two files differ in a column of the same frames; empty where they agree.

    `before` and `now` are a file and its column [n], in the order of `frames` [n].
    """
    import numpy as np

    rows = np.flatnonzero(_unlike(before[1], now[1]))
    if not len(rows):
        return ""
    differences = [
        f"{quoted(frames[row].as_py())} is {shown(str(now[1][row]))}, there {shown(str(before[1][row]))}"
        for row in rows[:EXAMPLES].tolist()
    ]
    advice = ""
    if name == "label" and len(rows) == len(frames):
        advice = " (all of them: is 1 real in one of the files?)"
    return (
        f"{now[0].path}: has another {quoted(name)} for {len(rows):,} of {len(frames):,} frames than {before[0].path}: "
        f"{examples(differences, len(rows))}{advice}"
    )


def _unlike(first: Any, second: Any) -> NDArray[np.bool_]:
    """Where two columns of text differ [n]; a missing value contradicts nothing."""
    import pyarrow.compute as pc

    unlike: NDArray[np.bool_] = pc.fill_null(pc.not_equal(first, second), False).to_numpy(zero_copy_only=False)
    if not unlike.any():
        return unlike
    # 75 and 75.0 are one number.
    left, right = series(first), series(second)
    numbers = left.dtype == right.dtype == "float64"
    return unlike & (left != right).to_numpy() if numbers else unlike


def _one_class(split: Split, labels: NDArray[np.int8]) -> str:
    """The message where a split lacks a class, or is the test split and empty; else empty."""
    if not len(labels):
        return "test: no frames, only validation ones; the test frames are those that are judged" * (split == "test")
    missing = [word for label, word in enumerate(("real", "fake")) if label not in labels]
    if not missing:
        return ""
    advice = "add some" if split == "test" else "add some, or leave out the validation frames"
    return f"{split}: no {missing[0]} frame among {len(labels):,}, so there is no AUC: {advice}"


def _labelled(columns: Mapping[str, Any], splits: NDArray[np.int8]) -> dict[Split, LabelledFrames]:
    """The frames of each split that has any, from Arrow columns [n] that are sorted by split."""
    import numpy as np
    import pandas as pd

    frames, labels = _series(columns["frame"]), _codes(columns["label"], _CLASSES)
    sources = _series(columns["source"]) if "source" in columns else pd.Series([None] * len(labels))
    videos = columns["video"].to_pandas() if "video" in columns else None
    numbers = columns.get("frame_index")
    indices = None if videos is None or numbers is None else pd.Series(pd.to_numeric(_series(numbers)), dtype="Int64")
    further_columns = columns.keys() - {"frame", "label", "source", "video", "frame_index", COPY_OF}
    attributes = {name: series(column) for name, column in columns.items() if name in further_columns}
    further = pd.DataFrame(attributes, index=range(len(labels)))
    bounds = {
        split: slice(*np.searchsorted(splits, [code, code + 1]).tolist()) for code, split in enumerate(LABELLED_SPLITS)
    }
    _raise_together([_one_class(split, labels[of]) for split, of in bounds.items()])
    originals = columns[COPY_OF].to_pandas() if COPY_OF in columns else None
    return {
        split: LabelledFrames(
            frames[of].reset_index(drop=True),
            labels[of],
            sources[of].reset_index(drop=True),
            further[of].reset_index(drop=True),
            None if originals is None else firsts_of(frames[of], labels[of], originals[of]),
            videos=None if videos is None else videos[of].reset_index(drop=True),
            frame_indices=None if indices is None else indices[of].reset_index(drop=True),
        )
        for split, of in bounds.items()
        if of.stop > of.start
    }


def _series(column: Any) -> pd.Series[str]:
    values: pd.Series[str] = column.to_pandas()
    return values


def _digest(frames: LabelledFrames) -> str:
    """SHA-256 over frames, labels and sources, sorted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    labels = pa.array(frames.labels).cast(pa.large_string())
    names, sources = (pa.array(column, pa.large_string()) for column in (frames.frames, frames.sources))
    rows = pc.binary_join_element_wise(names, labels, pc.fill_null(sources, ""), pa.scalar("\0", pa.large_string()))
    digest = hashlib.sha256()
    for row in rows.take(pc.sort_indices(rows)).to_pylist():
        digest.update(row.encode() + b"\n")
    return digest.hexdigest()


def _predictions(file: ImportedScores, rows: NDArray[np.int64], test: int) -> Predictions:
    assert file.scores is not None
    p_fake, logit_diff = file.scores.p_fake[rows], file.scores.logit_diff
    has_validation = len(p_fake) > test
    validation = p_fake[test:] if has_validation else None
    if logit_diff is None:
        return Predictions(p_fake[:test], validation, None)
    diffs = logit_diff[rows]
    return Predictions(p_fake[:test], validation, None, diffs[:test], diffs[test:] if has_validation else None)
