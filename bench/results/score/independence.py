"""How many independent frames, or sources of frames, the test set has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.records import Independence, LabelledFrames, single_sources

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.results.score.clusters import Clusters

_CLASSES = {"fakes": 1, "reals": 0}


def independence(test: LabelledFrames, clusters: Clusters | None) -> Independence:
    """Count the sources of each class where frames share sources, the frames of each class where none do.

    `clusters` are those of the frames, None where no two share a source. A frame of unknown source counts as a source
    of its own, one of several sources as all of them.
    """
    by_class = {name: test.labels == label for name, label in _CLASSES.items()}
    count = min(_sources(test, rows) for rows in by_class.values())
    if clusters is None:
        return Independence(count, "frame")
    single = (name for name, rows in by_class.items() if rows.any() and clusters.count(rows) == 1)
    groups = len(np.unique(clusters.members[:, 0])) if clusters.kind == "components" else None
    return Independence(count, "source", tuple(single), clusters.kind, groups)


def _sources(test: LabelledFrames, rows: NDArray[np.bool_]) -> int:
    sources = test.sources[rows]
    return len(single_sources(sources)) + int(sources.isna().sum())
