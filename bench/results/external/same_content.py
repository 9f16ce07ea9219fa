"""Copies among frames of which there are only scores: they weigh together as one frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.errors import UserError, quoted
from bench.records import LabelledFrames, Predictions, Split
from bench.results.external.formats import EXAMPLES, examples

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

FEW = 0.02
"""A smaller share of frames with the scores of others is left to chance."""
LEVELS = 8
"""As few different scores as that are levels, and no copies."""
FLOAT32 = 2**20
"""Of so many frames, one in eight has the float32 number of another by chance."""
DECIMALS, _NEARLY = 6, 1e-6
"""Scores rounded to so many decimals, or fewer, are shared by frames that are no copies, if there are many."""
SURE = 1e-4
"""So near to 0 or 1, P(fake) has few digits left, and many frames share them that are no copies."""


def firsts_of(frames: pd.Series[str], labels: NDArray[np.int8], originals: pd.Series[str]) -> NDArray[np.int64] | None:
    """The row of the first frame with the same content, of each frame [n] of a split; None where there are no copies.

    `originals` [n] names the frame of which each is a copy, nothing where it is none. A copy of a copy is one of the
    same. Raises `UserError` where a name is that of no frame of the split, or of one with another label.
    """
    import numpy as np
    import pandas as pd
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    copies = np.flatnonzero(originals.notna().to_numpy())
    if not len(copies):
        return None
    targets = pd.Index(frames).get_indexer(pd.Index(originals.iloc[copies]))
    _refuse(copies[targets < 0], frames, originals, "is no frame of the same split")
    _refuse(copies[labels[targets] != labels[copies]], frames, originals, "has another label")
    links = coo_array((np.ones(len(copies)), (copies, targets)), (len(frames), len(frames)))
    _, contents = connected_components(links, directed=False)
    _, rows = np.unique(contents, return_index=True)
    firsts: NDArray[np.int64] = rows[contents]
    return firsts


def alike(labels: NDArray[np.int8], ranked: Sequence[NDArray[np.float64]]) -> NDArray[np.int64] | None:
    """The row of the first frame with the same label and the same scores in every file, of each frame [n].

    `ranked` are what each file ranks frames by [n]. A frame that is nearly P(fake) 0 or 1 in any file, or at an
    end of its scores where frames pile up, is never taken for a copy: other frames are there too. None where nothing
    tells copies from chance: fewer than two files, few such frames, or scores of so few digits, or so many frames, that
    others could have the same.
    """
    import numpy as np

    count = len(labels)
    if len(ranked) < 2 or len(np.unique(ranked[0])) == count:
        return None
    if any(_is_coarse(labels, scores) for scores in ranked):
        return None
    codes = labels.astype(np.int64)
    for scores in ranked:
        values, of_scores = np.unique(scores, return_inverse=True)
        _, codes = np.unique(codes * len(values) + of_scores.reshape(-1), return_inverse=True)
    _, rows, inverse = np.unique(codes.reshape(-1), return_index=True, return_inverse=True)
    at_end = np.logical_or.reduce([_at_end(scores) for scores in ranked])
    firsts: NDArray[np.int64] = np.where(at_end, np.arange(count), rows[inverse.reshape(-1)])
    share = 1 - len(np.unique(firsts)) / count
    return firsts if share > max(FEW, count / FLOAT32) else None


def with_guessed_copies(
    frames: Mapping[Split, LabelledFrames], predictions: Mapping[str, Predictions]
) -> tuple[dict[Split, LabelledFrames], list[str]]:
    """The frames of each split with those copies that `alike` tells, and a remark on them."""
    guessed, remarks = dict(frames), []
    for split, labelled in frames.items():
        of_split = [each.ranks if split == "test" else each.validation for each in predictions.values()]
        firsts = alike(labelled.labels, [scores for scores in of_split if scores is not None])
        if firsts is None:
            continue
        guessed[split] = replace(labelled, firsts=firsts)
        count = len(firsts) - len(set(firsts.tolist()))
        remarks.append(
            f"{count:,} of {len(firsts):,} {split} frames have label and scores of another one in every file, to the "
            "last digit: taken for copies, which count once. `copy_of` says which are copies; empty, that none is."
        )
    return guessed, remarks


def _is_coarse(labels: NDArray[np.int8], scores: NDArray[np.float64]) -> bool:
    """Whether other frames than copies could have the same score."""
    import numpy as np

    from bench.results.score.resolution import decimals_of

    values, codes = np.unique(scores, return_inverse=True)
    fakes, reals = (np.bincount(codes.reshape(-1)[labels == label], minlength=len(values)) for label in (1, 0))
    return (
        decimals_of(values) is not None
        or len(values) <= LEVELS
        or _has_few_digits(values)
        or bool((fakes * reals).any())
    )


def _has_few_digits(values: NDArray[np.float64]) -> bool:
    """Whether all are rounded to six decimals or fewer, or are numbers of a type with fewer digits than float32."""
    import numpy as np

    steps = values * 10**DECIMALS
    with np.errstate(over="ignore"):
        singles = values.astype(np.float32)
        halves = values.astype(np.float16).astype(np.float64)
    in_bfloat16 = (singles == values) & (singles.view(np.uint32) & 0xFFFF == 0)
    return bool((np.abs(steps - np.rint(steps)) < _NEARLY).all() or (halves == values).all() or in_bfloat16.all())


def _at_end(scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which frames are nearly P(fake) 0 or 1, or at an end of the scores that is twice as common as any other."""
    import numpy as np

    values, codes, counts = np.unique(scores, return_inverse=True, return_counts=True)
    is_end = np.zeros(len(values), bool)
    is_end[[0, -1]] = counts[[0, -1]] > 2 * counts[1:-1].max(initial=1)
    if values[0] >= 0 and values[-1] <= 1:
        is_end |= (values < SURE) | (values > 1 - SURE)
    return is_end[codes.reshape(-1)]


def _refuse(rows: NDArray[np.int64], frames: pd.Series[str], originals: pd.Series[str], what: str) -> None:
    if len(rows):
        pairs = [f"{quoted(frames.iloc[row])} of {quoted(originals.iloc[row])}" for row in rows[:EXAMPLES].tolist()]
        raise UserError(f"copy_of: the original of {len(rows):,} copies {what}: {examples(pairs, len(rows))}")
