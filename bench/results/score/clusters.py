"""Which frames depend on each other: those of one source, and those of the sources that a fake was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from bench.records import ClusterKind, sources_of

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

GIANT = 1 / 3
"""A component that holds a larger share of the frames of a class leaves too few others to compare it with."""

MOST_SOURCES = 4
"""Sources of a frame with more count as one: a frame of k sources lies in 2 ** k - 1 groups."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """The clusters of n frames: frames depend on each other where they share one.

    `members` [n, k] are the codes of each frame's clusters, then -1 where it has fewer than k. Clusters do not overlap
    where k is 1: then they are sources, or components of sources that frames of several join. `kind` says which.
    """

    members: NDArray[np.int64]
    kind: ClusterKind = "sources"

    @classmethod
    def disjoint(cls, codes: NDArray[np.integer], kind: ClusterKind = "sources") -> Clusters:
        """Clusters of which each frame is in one, by their codes [n]."""
        return cls(codes.astype(np.int64)[:, None], kind)

    def subset(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Clusters:
        """The clusters of some of the frames; `rows` are indices or a mask [n]."""
        return Clusters(self.members[rows], self.kind)

    def dependent_subset(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Clusters | None:
        """The same as `subset`; None where no two of these frames share a cluster."""
        chosen = self.subset(rows)
        return None if chosen.independent else chosen

    def separated(self, rows: NDArray[np.bool_]) -> Clusters:
        """The same with each of the frames `rows` [n] in a cluster of its own."""
        members = self.members.copy()
        members[rows] = -1
        members[rows, 0] = int(self.members.max()) + 1 + np.flatnonzero(rows)
        return Clusters(members, self.kind)

    @property
    def overlap(self) -> bool:
        width: int = self.members.shape[1]
        return width > 1

    @cached_property
    def independent(self) -> bool:
        """Whether no two frames share a cluster."""
        sizes = self.sums(np.ones(len(self.members)))
        shared: float = self.product(sizes, sizes)
        return shared == float(len(self.members))

    def count(self, rows: NDArray[np.bool_]) -> float:
        """How many clusters the frames `rows` [n] lie in; where clusters overlap, how many they are worth."""
        return self.effective(rows) if self.overlap else int(np.count_nonzero(self.sums(rows.astype(np.float64))))

    def effective(self, rows: NDArray[np.bool_]) -> float:
        """The number of equal, disjoint clusters of which as many pairs of the frames `rows` [n] share one.

        Of disjoint clusters it is Kish's effective number: Kish 1965, Survey Sampling.
        """
        sizes = self.sums(rows.astype(np.float64))
        return float(rows.sum()) ** 2 / self.product(sizes, sizes)

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sums of `values` [n] over each group [g]: over the clusters, then over what clusters have in common."""
        rows, groups, signs = self._groups
        # Of disjoint clusters each frame is in one group, in its order.
        weights = values[rows] if self.overlap else values
        sums: NDArray[np.float64] = np.bincount(groups, weights=weights, minlength=len(signs)).astype(np.float64)
        return sums

    def product(self, first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
        """The sum of x[i] · y[j] over all pairs of frames that share a cluster, from the `sums` [g] of x and of y.

        Frames that share several clusters count once, by inclusion and exclusion: Cameron, Gelbach & Miller 2011,
        Journal of Business & Economic Statistics 29: 238-249; Aronow, Samii & Assenova 2015, Political Analysis 23:
        564-577.
        """
        signs = self._groups[2]
        return float((signs * first if self.overlap else first) @ second)

    @property
    def groups(self) -> int:
        """How many groups `sums` are over."""
        return len(self._groups[2])

    def sums_by(self, values: NDArray[np.float64], cells: NDArray[np.integer], count: int) -> NDArray[np.float64]:
        """The `sums` of each of `count` cells [g, count]; `cells` [n] are codes from 0, -1 of frames in none."""
        rows, groups, signs = self._groups
        inside = cells[rows] >= 0
        rows, groups = rows[inside], groups[inside]
        sums = np.bincount(groups * count + cells[rows], weights=values[rows], minlength=len(signs) * count)
        return np.asarray(sums.reshape(-1, count), np.float64)

    def products(self, first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
        """`product` of each column of `first` [g, k] with that of `second` [k]."""
        signs = self._groups[2]
        return np.asarray(signs @ (first * second), np.float64)

    @cached_property
    def singles(self) -> int:
        """How many of the groups are clusters; they come first."""
        return len(np.unique(self.members[self.members >= 0]))

    @cached_property
    def _groups(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """The rows [m] of frames, the groups [m] that these lie in, and the sign of each group [g].

        A group are the frames that have some clusters in common: one, or any two, or any three …
        """
        width = self.members.shape[1]
        rows: list[NDArray[np.int64]] = []
        groups: list[NDArray[np.int64]] = []
        signs: list[NDArray[np.float64]] = []
        for size in range(1, width + 1):
            columns = [list(chosen) for chosen in combinations(range(width), size)]
            subsets = np.concatenate([self.members[:, chosen] for chosen in columns])
            present = (subsets >= 0).all(1)
            codes = _numbered(subsets[present])
            rows.append(np.tile(np.arange(len(self.members)), len(columns))[present])
            groups.append(codes + sum(len(of_size) for of_size in signs))
            signs.append(np.full(int(codes.max(initial=-1)) + 1, 1.0 if size % 2 else -1.0))
        return np.concatenate(rows), np.concatenate(groups), np.concatenate(signs)


def _numbered(subsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number from 0 on for each distinct row of `subsets` [m, size], in their order."""
    codes = subsets[:, 0]
    present = np.bincount(codes) > 0
    codes = (np.cumsum(present) - 1)[codes]
    for column in subsets.T[1:]:
        # Both are below the number of frames and clusters, so that their product is far from overflow.
        codes = np.unique(codes * (int(column.max(initial=0)) + 1) + column, return_inverse=True)[1].reshape(-1)
    return codes


def clusters(sources: pd.Series[str], labels: NDArray[np.integer]) -> Clusters | None:
    """The clusters of frames by their sources [n], by the label of each [n]; a frame without a source is one alone.

    Sources that share a frame are joined into components. Where one of these holds so much of a class that the others
    say nothing (see `GIANT`), every source is a cluster, and these overlap. None where no two frames share a source.
    """
    codes, names = sources.factorize()
    members = _members([sources_of(str(name)) or (str(name),) for name in names])
    kind: ClusterKind = "sources"
    if members.shape[1] > 1:
        components = _components(members)
        by_frame = _by_frame(components[:, None], codes)
        largest = max(_largest_share(by_frame[labels == label, 0]) for label in (0, 1))
        kind = "overlapping" if largest > GIANT else "components"
        members = members if kind == "overlapping" else components[:, None]
    of_frames = Clusters(_by_frame(members, codes), kind)
    return None if of_frames.independent else of_frames


def _by_frame(members: NDArray[np.int64], codes: NDArray[np.integer]) -> NDArray[np.int64]:
    """The members [n, k] of each frame from those of each name, by the `codes` [n] of names; -1 is a frame alone."""
    unknown = codes < 0
    of_frames = np.full((len(codes), members.shape[1]), -1)
    of_frames[~unknown] = members[codes[~unknown]]
    of_frames[unknown, 0] = int(members.max(initial=-1)) + 1 + np.arange(unknown.sum())
    return of_frames


def _members(names: Sequence[tuple[str, ...]]) -> NDArray[np.int64]:
    """Codes [names, k] of the sources of each, -1 where it has fewer; the many sources of a frame are one."""
    width = max((len(parts) for parts in names), default=1)
    codes: dict[str, int] = {}
    members = np.full((len(names), width), -1)
    for row, parts in zip(members, names, strict=True):
        row[: len(parts)] = [codes.setdefault(part, len(codes)) for part in parts]
    many = (members >= 0).sum(1) > MOST_SOURCES
    return _merged(members, _joined(members[many], len(codes))) if many.any() else members


def _merged(members: NDArray[np.int64], component: NDArray[np.int64]) -> NDArray[np.int64]:
    """`members` [names, k] with every source replaced by its `component` [sources], each once, as few columns as do."""
    merged = np.sort(np.where(members >= 0, component[members], -1), axis=1)[:, ::-1]
    merged[:, 1:][merged[:, 1:] == merged[:, :-1]] = -1
    merged = np.sort(merged, axis=1)[:, ::-1]
    return merged[:, : int((merged >= 0).sum(1).max())]


def _components(members: NDArray[np.int64]) -> NDArray[np.int64]:
    """The component [names] of each name: names that share a source, or are joined by others, are of one."""
    return _joined(members, int(members.max()) + 1)[members[:, 0]]


def _joined(members: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The component [count] of each source where those of each row are joined."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, others = np.repeat(members[:, 0], members.shape[1] - 1), members[:, 1:].reshape(-1)
    first, others = first[others >= 0], others[others >= 0]
    graph = coo_array((np.ones(len(first)), (first, others)), (count, count))
    components: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return components


def _largest_share(components: NDArray[np.int64]) -> float:
    return int(np.bincount(components).max(initial=0)) / max(len(components), 1)
