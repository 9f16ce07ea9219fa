"""The two halves of the test frames: no source has frames in both, and the same frames have the same halves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.results.score.clusters import Clusters

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

_SNAKE = np.array([0, 1, 1, 0])


@dataclass(frozen=True, eq=False)
class Part:
    """A half of the test frames, or all of them: `rows` among all, `labels` [n] and `clusters`.

    The latter are None where each frame stands alone.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.integer]
    clusters: Clusters | None


def halves(
    names: pd.Series[str], labels: NDArray[np.integer], clusters: Clusters | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of both halves of frames by their `names` [n] and `labels` [n], 1 for fake.

    Sources are dealt in turns to both, in the order of their numbers of real and of fake frames, then of a hash of
    their frames' names, so that it doesn't matter in which order frames come. Where sources overlap, a frame whose
    sources lie in different halves is in neither.
    """
    members = np.arange(len(labels))[:, None] if clusters is None else clusters.members
    half_of = _dealt(members, _hashes(names), labels == 1)
    sides = np.where(members >= 0, half_of[members], -1)
    # A frame that has fewer sources than others says nothing more by those that it lacks.
    sides = np.where(members >= 0, sides, sides[:, :1])
    agree = (sides == sides[:, :1]).all(1)
    return np.flatnonzero(agree & (sides[:, 0] == 0)), np.flatnonzero(agree & (sides[:, 0] == 1))


def _dealt(members: NDArray[np.int64], hashes: NDArray[np.uint64], is_fake: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The half, 0 or 1, of each source by its code [sources]; `members` [n, k] are codes of frames' sources or -1."""
    rows, columns = np.nonzero(members >= 0)
    codes = members[rows, columns]
    count = int(codes.max(initial=-1)) + 1
    fakes = np.bincount(codes, weights=is_fake[rows], minlength=count)
    reals = np.bincount(codes, weights=~is_fake[rows], minlength=count)
    first = np.full(count, np.iinfo(np.uint64).max)
    np.minimum.at(first, codes, hashes[rows])
    order = np.lexsort((first, fakes, reals))
    half_of = np.zeros(count, np.int64)
    half_of[order] = _SNAKE[np.arange(count) % len(_SNAKE)]
    return half_of


def _hashes(names: pd.Series[str]) -> NDArray[np.uint64]:
    import pandas as pd

    return pd.util.hash_array(names.astype(object).to_numpy())
