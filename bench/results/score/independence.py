"""How many independent frames, or sources of frames, the test set has."""

from __future__ import annotations

from bench.records import Independence, LabelledFrames

_CLASSES = {"fakes": 1, "reals": 0}


def independence(test: LabelledFrames) -> Independence:
    """Count the sources of each class where frames share sources, the frames of each class where none do.

    A frame of unknown source counts as a source of its own.
    """
    by_class = {name: test.sources[test.labels == label] for name, label in _CLASSES.items()}
    count = min(int(sources.nunique() + sources.isna().sum()) for sources in by_class.values())
    if not test.sources.dropna().duplicated().any():
        return Independence(count, "frame")
    single = (name for name, sources in by_class.items() if sources.notna().all() and sources.nunique() == 1)
    return Independence(count, "source", tuple(single))
