"""Scores from several files on the same frames, put into one order; what is unlike is refused by name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from bench.errors import UserError, listed, nearest, quoted, shown
from bench.records import LABELLED_SPLITS, LabelledFrames, Predictions, Split
from bench.results.attributes import series
from bench.results.external.read import Answers, Columns
from bench.results.external.tables import EXAMPLES, examples

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

_CLASSES = ("real", "fake")
_OF_FRAMES = ("label", "split", "source")


@dataclass(frozen=True)
class Aligned:
    """The labelled frames by split, a digest of each split whatever the order of its rows, and what each file says.

    `remarks` tell what was left out.
    """

    frames: Mapping[Split, LabelledFrames]
    digests: Mapping[Split, str]
    predictions: Mapping[str, Predictions]
    remarks: tuple[str, ...] = ()


FindSources: TypeAlias = Callable[[Sequence[str]], Sequence[str | None]]
"""The sources that are found in frames' names, None where none is."""


def align(
    answers: Mapping[str, Answers], labels: Answers | None, columns: Columns, find_sources: FindSources | None = None
) -> Aligned:
    """Put what all files say into the order of the first, test frames before validation frames.

    `labels` is a file of labels alone, which may know further frames. Each column comes from the first file that
    has it, `labels` before the others; where none tells a frame's source, `find_sources` does. All that is unlike is
    told in one `UserError`.
    """
    import numpy as np
    import pyarrow as pa

    first = next(iter(answers.values()))
    everything = [*([labels] if labels else []), *answers.values()]
    _refuse_missing(everything, columns)
    rows = {id(one): _places(first, one) for one in everything}
    _together([_other_frames(first, one, rows[id(one)], one is labels) for one in everything])
    known, remarks = _agreed(first, everything, rows)
    if find_sources:
        known["source"] = _filled(known.get("source"), first.frames, find_sources)
    splits = _codes(known.pop("split"), LABELLED_SPLITS) if "split" in known else np.zeros(len(first.frames), np.int8)
    order = splits.argsort(kind="stable")
    in_order = {name: column.take(pa.array(order)) for name, column in (known | {"frame": first.frames}).items()}
    frames = _labelled(in_order, splits[order])
    return Aligned(
        frames,
        {split: _digest(some) for split, some in frames.items()},
        {name: _predictions(one, rows[id(one)][order], len(frames["test"].labels)) for name, one in answers.items()},
        remarks,
    )


def _together(problems: Sequence[str]) -> None:
    if any(problems):
        raise UserError(*filter(None, problems))


def _refuse_missing(everything: Sequence[Answers], columns: Columns) -> None:
    """Labels must be told by one file at least, and so must whatever column was named."""
    problems = []
    seen = list(dict.fromkeys(name for one in everything for name in one.columns))
    for what in ("label", "source", "split"):
        known = any(getattr(one, f"{what}s") is not None for one in everything)
        if not known and (what == "label" or getattr(columns, what)):
            name = columns.name(what)
            hint = "" if name in seen else nearest(name, seen)
            problems.append(
                f"no {what}s: no file has a column {quoted(name)} with something in it{hint}; found: "
                f"{listed(seen)}. Name it with --{what}-column" + (", or give --labels FILE" * (what == "label"))
            )
    _together(problems)


def _places(first: Answers, other: Answers) -> NDArray[np.int64]:
    """In which of the other's rows each of the first's frames stands [n], -1 where in none."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if first.doubled or other.doubled:
        for one, against in ((first, other), (other, first)):
            if one.splits is None:
                raise UserError(
                    f"{one.path}: has no column that says which frames are test and which validation, and "
                    f"{against.path} has frames of the same name in both; add the column `split`"
                )
    wanted, known = _names(first, other)
    if wanted.equals(known):
        return np.arange(len(wanted))
    found = pc.fill_null(pc.index_in(wanted, value_set=known), pa.scalar(-1, pa.int32()))
    places: NDArray[np.int64] = found.to_numpy(zero_copy_only=False).astype("int64")
    return places


def _names(first: Answers, other: Answers) -> tuple[Any, Any]:
    """By what the frames of two files are told apart: with the split where names alone would not do."""
    return (first.keys, other.keys) if first.doubled or other.doubled else (first.frames, other.frames)


def _other_frames(first: Answers, other: Answers, rows: NDArray[np.int64], may_know_more: bool) -> str:
    """What to say where two files do not have the same frames; empty where they have."""
    import numpy as np

    used = np.zeros(len(other.frames), bool)
    used[rows[rows >= 0]] = True
    wanted, known = _names(first, other)
    lacking = wanted.filter(_mask(rows < 0))
    more = known.filter(_mask(~used)) if not may_know_more else known.slice(0, 0)
    if not len(lacking) and not len(more):
        return ""
    sides = ((first, lacking), (other, more))
    told = "; ".join(f"{len(some):,} only in {side.path} ({_examples(some)})" for side, some in sides if len(some))
    alike = " (the names agree without their folders)" if not used.any() and _same_stems(first, other) else ""
    return f"{other.path}: other frames than in {first.path}: {told}{alike}. Only the same frames can be compared"


def _mask(rows: NDArray[np.bool_]) -> Any:
    import pyarrow as pa

    return pa.array(rows)


def _examples(frames: Any) -> str:
    return examples([quoted(frame) for frame in frames.slice(0, EXAMPLES).to_pylist()], len(frames))


def _same_stems(one: Answers, other: Answers) -> bool:
    import pyarrow.compute as pc

    stems = (pc.unique(pc.replace_substring_regex(some.frames, r".*[/\\]", "")) for some in (one, other))
    first, second = stems
    return bool(pc.all(pc.is_in(first, value_set=second)).as_py())


def _agreed(
    first: Answers, everything: Sequence[Answers], rows: Mapping[int, NDArray[np.int64]]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What is known of the first's frames: each column, as Arrow text, from the first file that has it.

    A later file that says otherwise is refused, by `UserError`; a further column in which files differ
    is one of variants and not of frames, and left out with a remark.
    """
    import pyarrow as pa

    known: dict[str, tuple[Answers, Any]] = {}
    problems, differing = [], dict[str, None]()
    for one in everything:
        for name, column in _columns(one).items():
            values = column.take(pa.array(rows[id(one)]))
            teller, before = known.setdefault(name, (one, values))
            told = _otherwise(name, first.frames, (teller, before), (one, values)) if teller is not one else ""
            if told and name not in _OF_FRAMES:
                differing[name] = None
            elif told:
                problems.append(told)
    _together(problems)
    left_out = listed(map(quoted, differing))
    remark = f"Not taken for properties of the frames, since files differ in them: {left_out}."
    return {name: values for name, (_, values) in known.items() if name not in differing}, (remark,) * bool(differing)


def _columns(one: Answers) -> dict[str, Any]:
    """All that a file says of its frames but the scores, as Arrow text."""
    told = {"label": _words(one.labels, _CLASSES), "split": _words(one.splits, LABELLED_SPLITS), "source": one.sources}
    return {name: column for name, column in (told | dict(one.attributes)).items() if column is not None}


def _words(codes: NDArray[np.int8] | None, words: Sequence[str]) -> Any:
    import pyarrow as pa

    return None if codes is None else pa.array(words, pa.large_string()).take(pa.array(codes))


def _filled(sources: Any, frames: Any, find_sources: FindSources) -> Any:
    """The sources, as Arrow text [n], and those that names tell where they are empty."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pa.array(find_sources(frames.to_pylist()), pa.large_string())
    return found if sources is None else pc.coalesce(sources.cast(found.type), found)


def _codes(column: Any, words: Sequence[str]) -> NDArray[np.int8]:
    import pyarrow as pa
    import pyarrow.compute as pc

    codes: NDArray[np.int8] = pc.index_in(column, value_set=pa.array(words, column.type)).to_numpy().astype("int8")
    return codes


def _otherwise(name: str, frames: Any, before: tuple[Answers, Any], now: tuple[Answers, Any]) -> str:
    """What to say where two files do not say the same of the frames; empty where they do."""
    import numpy as np

    rows = np.flatnonzero(_unlike(before[1], now[1]))
    if not len(rows):
        return ""
    told = [
        f"{quoted(frames[row].as_py())} is {shown(str(now[1][row]))}, there {shown(str(before[1][row]))}"
        for row in rows[:EXAMPLES].tolist()
    ]
    advice = ""
    if name == "label" and len(rows) == len(frames):
        advice = " (all of them: is 1 real in one of the files?)"
    return (
        f"{now[0].path}: has another {quoted(name)} for {len(rows):,} of {len(frames):,} frames than {before[0].path}: "
        f"{examples(told, len(rows))}{advice}"
    )


def _unlike(one: Any, other: Any) -> NDArray[np.bool_]:
    """Where two columns of text say different things [n]; what one leaves out contradicts nothing."""
    import pyarrow.compute as pc

    unlike: NDArray[np.bool_] = pc.fill_null(pc.not_equal(one, other), False).to_numpy(zero_copy_only=False)
    if not unlike.any():
        return unlike
    # 75 and 75.0 are one number.
    first, second = series(one), series(other)
    numbers = first.dtype == second.dtype == "float64"
    return unlike & (first != second).to_numpy() if numbers else unlike


def _one_class(split: Split, labels: NDArray[np.int8]) -> str:
    if not len(labels):
        return "test: no frames, only validation ones; the test frames are those that are judged" * (split == "test")
    missing = [word for label, word in enumerate(("real", "fake")) if label not in labels]
    if not missing:
        return ""
    advice = "add some" if split == "test" else "add some, or leave out the validation frames"
    return f"{split}: no {missing[0]} frame among {len(labels):,}, so there is no AUC: {advice}"


def _labelled(known: Mapping[str, Any], splits: NDArray[np.int8]) -> dict[Split, LabelledFrames]:
    """The frames of each split that has some, from Arrow columns in the order of the splits."""
    import numpy as np
    import pandas as pd

    frames, labels = _series(known["frame"]), _codes(known["label"], _CLASSES)
    sources = _series(known["source"]) if "source" in known else pd.Series([None] * len(labels))
    attributes = {name: series(column) for name, column in known.items() if name not in {"frame", "label", "source"}}
    further = pd.DataFrame(attributes, index=range(len(labels)))
    bounds = {
        split: slice(*np.searchsorted(splits, [place, place + 1]).tolist())
        for place, split in enumerate(LABELLED_SPLITS)
    }
    _together([_one_class(split, labels[of]) for split, of in bounds.items()])
    return {
        split: LabelledFrames(
            frames[of].reset_index(drop=True),
            labels[of],
            sources[of].reset_index(drop=True),
            further[of].reset_index(drop=True),
        )
        for split, of in bounds.items()
        if of.stop > of.start
    }


def _series(column: Any) -> pd.Series[str]:
    found: pd.Series[str] = column.to_pandas()
    return found


def _digest(frames: LabelledFrames) -> str:
    """SHA-256 over frames, labels and sources, sorted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    labels = pa.array(frames.labels).cast(pa.large_string())
    names, sources = (pa.array(column, pa.large_string()) for column in (frames.frames, frames.sources))
    rows = pc.binary_join_element_wise(names, labels, pc.fill_null(sources, ""), pa.scalar("\0", pa.large_string()))
    told = hashlib.sha256()
    for row in rows.take(pc.sort_indices(rows)).to_pylist():
        told.update(row.encode() + b"\n")
    return told.hexdigest()


def _predictions(one: Answers, rows: NDArray[np.int64], test: int) -> Predictions:
    assert one.p_fake is not None
    p_fake = one.p_fake[rows]
    return Predictions(p_fake[:test], p_fake[test:] if len(p_fake) > test else None, None)
