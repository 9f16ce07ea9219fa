"""The search of a frame set's slices, and what of it holds for each variant.

The frames are halved once. What lost most on one half is tried on the other and the other way round, so that every
frame takes part in both. Cox 1975, "A note on data-splitting for the evaluation of significance levels", Biometrika 62:
441-444. What moved most, down or up, is tried on all frames: see `movement`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import starmap
from typing import TYPE_CHECKING

import numpy as np

from bench.records import BOX_COLUMNS, FACE_SIZE, ConfirmedSlice, LabelledFrames, SliceSearch, face_size
from bench.results.score.discovery.candidates import Column, columns
from bench.results.score.discovery.confirmation import Chance, confirm, divided
from bench.results.score.discovery.halves import Part, halves
from bench.results.score.discovery.movement import restless
from bench.results.score.discovery.screening import Candidate, is_same, screened
from bench.results.score.placements import Placements, subset
from bench.results.score.slices import LEAST_OF_A_CLASS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from bench.results.score.clusters import Clusters


OF_MOVED = Chance(below=0.04, above=0.01)
"""On all frames. What confirms too much, and what is missed in vain, add up to .05: an interval of 95 %."""
OF_LOST = Chance(below=0.005, above=0.005)
"""On each of the two halves, so that anything is confirmed in .05 at most where there is nothing."""


@dataclass(frozen=True, eq=False)
class Search:
    """All frames of a set, their halves, and the candidates, the same for all its variants."""

    whole: Part
    halves: tuple[Part, Part]
    columns: tuple[Column, ...]
    record: SliceSearch

    def has_sources(self, rows: NDArray[np.bool_]) -> bool:
        """Whether a candidate, by its frames `rows` [n], can be confirmed on either half: it needs several sources."""
        return all(divided(half, rows) is not None for half in self.halves)


def search(
    test: LabelledFrames, clusters: Clusters | None, further: Mapping[str, pd.Series[str]] | None = None
) -> Search:
    """Halve the test frames and list the candidates of their attributes and of `further` columns.

    Candidates that have too few frames in either half, or all but too few, are none.
    """
    first, second = (
        Part(rows, test.labels[rows], clusters.subset(rows) if clusters else None)
        for rows in halves(test.frames, test.labels, clusters)
    )
    of_frames = {str(name): column for name, column in test.attributes.items() if column.notna().any()}
    of_frames = _with_face_size(of_frames)
    for name, column in (further or {}).items():
        # The mean over a video's frames says more than a value that not all of them share.
        if name not in of_frames or column.notna().sum() > of_frames[name].notna().sum():
            of_frames[name] = column
    candidates = tuple(
        usable for column in columns(of_frames) if (usable := _usable(column, (first, second))) is not None
    )
    sizes = len(first.rows), len(second.rows)
    record = SliceSearch(
        columns=tuple(column.name for column in candidates),
        candidates=sum(len(column.parts) for column in candidates),
        halves=sizes,
        left_out=len(test.labels) - sum(sizes),
        reason=_reason(bool(of_frames), bool(candidates)),
    )
    return Search(Part(np.arange(len(test.labels)), test.labels, clusters), (first, second), candidates, record)


def _with_face_size(columns: dict[str, pd.Series[str]]) -> dict[str, pd.Series[str]]:
    """The columns with the size of faces in place of their boxes, where these are all that is known of it."""
    from pandas.api.types import is_numeric_dtype

    if not all(name in columns and is_numeric_dtype(columns[name]) for name in BOX_COLUMNS):
        return columns
    boxes = zip(*(columns[name].to_list() for name in BOX_COLUMNS), strict=True)
    others = {name: column for name, column in columns.items() if name not in BOX_COLUMNS}
    sizes = [math.nan if size is None else size for size in starmap(face_size, boxes)]
    return {FACE_SIZE: columns[BOX_COLUMNS[0]] * 0 + np.array(sizes), **others}


def _reason(has_columns: bool, has_candidates: bool) -> str:
    if has_candidates:
        return ""
    if not has_columns:
        return "nothing is known of the frames but their classes"
    return f"no column divides the frames so that each half has {LEAST_OF_A_CLASS} of a class inside and outside"


def _usable(column: Column, both: tuple[Part, Part]) -> Column | None:
    """The column with those candidates that have frames enough in either half, inside and outside."""
    enough = np.ones(len(column.parts), bool)
    for half in both:
        cells, is_fake = column.cells[half.rows], half.labels == 1
        counts = [
            column.parts @ np.bincount(cells[members & (cells >= 0)], minlength=column.parts.shape[1])
            for members in (is_fake, ~is_fake)
        ]
        totals = int(is_fake.sum()), int((~is_fake).sum())
        of_classes = [
            (inside, np.minimum(inside, total - inside) >= LEAST_OF_A_CLASS)
            for inside, total in zip(counts, totals, strict=True)
        ]
        (fakes, of_fakes), (reals, of_reals) = of_classes
        enough &= np.where(reals == 0, of_fakes, np.where(fakes == 0, of_reals, of_fakes & of_reals))
        enough &= min(totals) >= LEAST_OF_A_CLASS
    if not enough.any():
        return None
    values = tuple(value for value, is_enough in zip(column.values, enough, strict=True) if is_enough)
    return Column(column.name, column.cells, column.parts[enough], values)


def confirmed(search: Search, variant: Placements, baseline: Placements) -> tuple[ConfirmedSlice, ...]:
    """The slices in which the variant loses more than elsewhere, the surest first, each once.

    `variant` and `baseline` are of all test frames.
    """
    if not search.columns:
        return ()
    candidates = restless(search.columns, search.whole, variant, baseline, search.has_sources)
    parts = confirm(candidates, search.whole, (variant, baseline), OF_MOVED, "all")
    parts += _on_halves(search, variant, baseline)
    distinct: list[tuple[Candidate, ConfirmedSlice]] = []
    for candidate, part in sorted(parts, key=lambda pair: pair[1].excess_ci.high):
        if not any(is_same(candidate.rows, other.rows) for other, _ in distinct):
            distinct.append((candidate, part))
    return tuple(part for _, part in distinct)


def _on_halves(search: Search, variant: Placements, baseline: Placements) -> list[tuple[Candidate, ConfirmedSlice]]:
    """What lost most on one half and is confirmed on the other, both ways."""
    of_halves = [(subset(variant, half.rows), subset(baseline, half.rows)) for half in search.halves]
    candidates = [
        screened(search.columns, half, *placed, search.has_sources)
        for half, placed in zip(search.halves, of_halves, strict=True)
    ]
    return [
        pair
        for of_other, half, placed in zip(candidates, search.halves[::-1], of_halves[::-1], strict=True)
        for pair in confirm(of_other, half, placed, OF_LOST, "half")
    ]
