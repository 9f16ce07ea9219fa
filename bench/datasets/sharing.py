"""Sources that splits share because whoever made the data set split it so: told, and no error."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from bench.errors import listed
from bench.records import LABELLED_SPLITS, SPLITS, Frame, Split


def agreed(sharing: Collection[tuple[Path, str]]) -> str:
    """Why splits may share sources, by where they lie and what is said there; empty where they are not of one set."""
    return next(iter(sharing))[1] if len(sharing) == 1 else ""


def shared_by_design(sharing: str, frames: Mapping[Split | None, Sequence[Frame]]) -> list[str]:
    """What a reader must know where judged splits share sources with the others; empty where they don't."""
    judged, learned = (
        {name for split in splits for frame in frames.get(split, ()) for name in frame.sources} - {""}
        for splits in (set(LABELLED_SPLITS), set(SPLITS) - set(LABELLED_SPLITS))
    )
    names = sorted(judged & learned)
    if not names:
        return []
    counts = f"{len(names):,} of {len(judged):,} ({listed(names, 5)})"
    return [f"{sharing}: {counts}. Variants that learned from train may look better here than on others."]
