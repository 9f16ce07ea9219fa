"""Scores from several files on the same frames, put into one order; what is unlike is refused by name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench.errors import UserError, nearest
from bench.records import LABELLED_SPLITS, Evidence, Labelled, Split
from bench.results.attributes import series
from bench.results.foreign import Answers, Columns

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

_EXAMPLES = 5


@dataclass(frozen=True)
class Aligned:
    """The labelled frames by split, a digest of each split whatever the order of its rows, and what each file says."""

    frames: Mapping[Split, Labelled]
    digests: Mapping[Split, str]
    evidence: Mapping[str, Evidence]


def align(answers: Mapping[str, Answers], labels: Answers | None, columns: Columns) -> Aligned:
    """Put what all files say into the order of the first, test frames before validation frames.

    `labels` is a file of labels alone, which may know further frames. Labels, sources and splits come from the
    first file that tells them, `labels` before the others. All that is unlike is told in one `UserError`.
    """
    first = next(iter(answers.values()))
    everything = [*([labels] if labels else []), *answers.values()]
    _refuse_missing(everything, columns)
    reference = replace(first, splits=_splits(first, everything))
    rows = {id(one): _places(reference, one) for one in everything}
    _together([_other_frames(reference, one, rows[id(one)], one is labels) for one in everything])
    told = [(one, one.labels[rows[id(one)]]) for one in everything if one.labels is not None]
    _together([_other_labels(reference, told[0], one) for one in told[1:]])
    splits = _zeros(reference) if reference.splits is None else reference.splits
    _together([_one_class(split, told[0][1][splits == place]) for place, split in enumerate(LABELLED_SPLITS)])
    order = splits.argsort(kind="stable")
    in_order = {one: rows[one][order] for one in rows}
    frames = _labelled(reference, everything, in_order, told[0][1][order], splits[order])
    return Aligned(
        frames,
        {split: _digest(some) for split, some in frames.items()},
        {name: _evidence(one, in_order[id(one)], len(frames["test"].labels)) for name, one in answers.items()},
    )


def _together(problems: Sequence[str]) -> None:
    if any(problems):
        raise UserError("\n".join(filter(None, problems)))


def _refuse_missing(everything: Sequence[Answers], columns: Columns) -> None:
    """Labels must be told by one file at least, and so must whatever column was named."""
    problems = []
    seen = list(dict.fromkeys(name for one in everything for name in one.columns))
    for what in ("label", "source", "split"):
        known = any(getattr(one, f"{what}s") is not None for one in everything)
        if not known and (what == "label" or getattr(columns, what)):
            name = columns.name(what)
            problems.append(
                f"no {what}s: no file has a column {name!r} with something in it{nearest(name, seen)}; found: "
                f"{', '.join(seen)}. Name it with --{what}-column" + (", or give --labels FILE" * (what == "label"))
            )
    _together(problems)


def _zeros(one: Answers) -> NDArray[np.int8]:
    import numpy as np

    return np.zeros(len(one.frames), np.int8)


def _splits(first: Answers, everything: Sequence[Answers]) -> NDArray[np.int8] | None:
    """The splits of the first file's frames, by whichever file tells them."""
    if first.splits is not None:
        return first.splits
    teller = next((one for one in everything if one.splits is not None), None)
    if teller is None or teller.splits is None:
        return None
    rows = _places(first, teller)
    _together([_other_frames(first, teller, rows, True)])
    return teller.splits[rows]


def _places(reference: Answers, other: Answers) -> NDArray[np.int64]:
    """In which of the other's rows each of the reference's frames stands [n], -1 where in none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    split = reference.splits is not None and other.splits is not None
    wanted, known = (reference.keys, other.keys) if split else (reference.frames, other.frames)
    for one in (reference, other):
        if not split and one.splits is not None and len(pc.unique(one.frames)) < len(one.frames):
            raise UserError(
                f"{other.path}: has no column that says which frames are test and which validation, and {one.path} "
                "has frames of the same name in both; add the column `split`"
            )
    found = pc.fill_null(pc.index_in(wanted, value_set=known), pa.scalar(-1, pa.int32()))
    places: NDArray[np.int64] = found.to_numpy(zero_copy_only=False).astype("int64")
    return places


def _other_frames(reference: Answers, other: Answers, rows: NDArray[np.int64], may_know_more: bool) -> str:
    """What to say where two files do not have the same frames; empty where they have."""
    import numpy as np

    used = np.zeros(len(other.frames), bool)
    used[rows[rows >= 0]] = True
    lacking = reference.frames.filter(_mask(rows < 0))
    more = other.frames.filter(_mask(~used)) if not may_know_more else other.frames.slice(0, 0)
    if not len(lacking) and not len(more):
        return ""
    sides = ((len(lacking), reference, lacking), (len(more), other, more))
    told = "; ".join(f"{count:,} only in {side.path} ({_examples(some)})" for count, side, some in sides if count)
    alike = " (the names agree without their folders)" if not used.any() and _same_stems(reference, other) else ""
    return f"{other.path}: other frames than in {reference.path}: {told}{alike}. Only the same frames can be compared"


def _mask(rows: NDArray[np.bool_]) -> Any:
    import pyarrow as pa

    return pa.array(rows)


def _examples(frames: Any) -> str:
    more = f" … and {len(frames) - _EXAMPLES:,} more" if len(frames) > _EXAMPLES else ""
    return ", ".join(map(repr, frames.slice(0, _EXAMPLES).to_pylist())) + more


def _same_stems(one: Answers, other: Answers) -> bool:
    import pyarrow.compute as pc

    stems = (pc.unique(pc.replace_substring_regex(some.frames, r".*[/\\]", "")) for some in (one, other))
    first, second = stems
    return bool(pc.all(pc.is_in(first, value_set=second)).as_py())


def _other_labels(
    reference: Answers, first: tuple[Answers, NDArray[np.int8]], other: tuple[Answers, NDArray[np.int8]]
) -> str:
    import numpy as np

    rows = np.flatnonzero(first[1] != other[1])
    if not len(rows):
        return ""
    word = ("real", "fake")
    examples = [
        f"{reference.frames[row].as_py()!r} is {word[other[1][row]]}, there {word[first[1][row]]}"
        for row in rows[:_EXAMPLES].tolist()
    ]
    more = f" … and {len(rows) - _EXAMPLES:,} more" if len(rows) > _EXAMPLES else ""
    swapped = " (all of them: is 1 real in one of the files?)" if len(rows) == len(first[1]) else ""
    return (
        f"{other[0].path}: labels {len(rows):,} of {len(first[1]):,} frames otherwise than {first[0].path}: "
        f"{', '.join(examples)}{more}{swapped}"
    )


def _one_class(split: Split, labels: NDArray[np.int8]) -> str:
    if not len(labels):
        return "test: no frames, only validation ones; the test frames are those that are judged" * (split == "test")
    missing = [word for label, word in enumerate(("real", "fake")) if label not in labels]
    if not missing:
        return ""
    advice = "add some" if split == "test" else "add some, or leave out the validation frames"
    return f"{split}: no {missing[0]} frame among {len(labels):,}, so there is no AUC: {advice}"


def _labelled(
    reference: Answers,
    everything: Sequence[Answers],
    rows: Mapping[int, NDArray[np.int64]],
    labels: NDArray[np.int8],
    splits: NDArray[np.int8],
) -> dict[Split, Labelled]:
    """The frames of each split that has some; further columns are those of the first file that has any."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    frames = _series(reference.frames.take(pa.array(rows[id(_first(everything, reference))])))
    teller = next((one for one in everything if one.sources is not None), None)
    sources = _series(teller.sources.take(pa.array(rows[id(teller)]))) if teller else pd.Series([None] * len(labels))
    further = next((one for one in everything if one.attributes), None)
    known = pd.DataFrame(index=range(len(labels)))
    if further:
        taken = pa.array(rows[id(further)])
        known = pd.DataFrame({name: series(column.take(taken)) for name, column in further.attributes.items()})
    found: dict[Split, Labelled] = {}
    for place, split in enumerate(LABELLED_SPLITS):
        of = slice(*np.searchsorted(splits, [place, place + 1]).tolist())
        if of.stop > of.start:
            found[split] = Labelled(
                frames[of].reset_index(drop=True),
                labels[of],
                sources[of].reset_index(drop=True),
                known[of].reset_index(drop=True),
            )
    return found


def _first(everything: Sequence[Answers], reference: Answers) -> Answers:
    """The file that `reference` was made of, by which its rows are known."""
    return next(one for one in everything if one.frames is reference.frames)


def _series(column: Any) -> pd.Series[str]:
    found: pd.Series[str] = column.to_pandas()
    return found


def _digest(frames: Labelled) -> str:
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


def _evidence(one: Answers, rows: NDArray[np.int64], test: int) -> Evidence:
    assert one.p_fake is not None
    p_fake = one.p_fake[rows]
    return Evidence(p_fake[:test], p_fake[test:] if len(p_fake) > test else None, None)
