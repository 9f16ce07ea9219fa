"""Refuses to judge a detector by frames that its training saw, as the file beside its weights tells."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from bench import stored
from bench.errors import UserError, counted, listed, on_one_line
from bench.records import Frame, FrameSet, Split
from bench.records.trainings import FORMAT, Seen, TrainedOn

_MOST_BYTES = 2**30
_MUST_NOT: tuple[tuple[Split, str, str], ...] = (
    ("test", "train", "was trained on"),
    ("test", "validation", "was chosen by"),
    ("validation", "train", "was trained on"),
)
"""Frames that judge, and the split of a training in which they must not have been."""


def of_weights(weights: Path) -> TrainedOn | None:
    """What the training of a checkpoint saw; None where no file of bench's stands beside it.

    `weights` is `best.safetensors`, and `best.json` beside it tells. Raises `UserError` where it is there, and damaged.
    """
    file = weights.with_suffix(".json")
    try:
        state = file.stat()
    except OSError:
        return None
    if not stat.S_ISREG(state.st_mode):
        return None
    return _read(file, state.st_mtime_ns, state.st_size)


@cache
def _read(file: Path, mtime_ns: int, size: int) -> TrainedOn | None:
    """The file in this state; None where it is another program's."""
    try:
        content: Any = stored.read_json(file, _MOST_BYTES)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            return None
        sets = {
            str(name): {
                str(split): Seen(frozenset(map(str, seen["digests"])), frozenset(map(str, seen["sources"])))
                for split, seen in splits.items()
            }
            for name, splits in content["seen"].items()
        }
        return TrainedOn(str(content["training"]), sets)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file}: is damaged ({on_one_line(str(error))[:200]}), and should say what these weights were trained on; "
            "copy it again from where the training wrote it, or move it away if it is another program's"
        ) from error


def problems(trained: TrainedOn, frames: Mapping[Split, FrameSet]) -> Iterator[str]:
    """Why test frames of a set can't judge this detector: it saw the same pictures, or others of the same sources.

    Validation frames, by which thresholds are set, may have chosen its epoch; it must not have been trained on them.
    Sources are compared within a frame set of the same name: elsewhere a name may stand for another video. Where a data
    set's own splits share sources, they may.
    """
    for judge, split, how in _MUST_NOT:
        judges = frames.get(judge)
        for name, splits in trained.sets.items():
            if judges is None or (seen := splits.get(split)) is None:
                continue
            same = [frame for frame in judges.frames if frame.digest and frame.digest in seen.digests]
            if same:
                yield _sentence(trained, how, f"{judge} frame", [frame.path for frame in same])
            elif name == judges.name and not judges.sharing and (shared := _shared(judges.frames, seen)):
                yield _sentence(trained, how, "source", shared, f" of the {judge} frames")


def _shared(frames: tuple[Frame, ...], seen: Seen) -> list[str]:
    return sorted({source for frame in frames for source in frame.sources if source in seen.sources})


def _sentence(trained: TrainedOn, how: str, what: str, names: list[str], of: str = "") -> str:
    return (
        f"the detector {how} {counted(len(names), what)}{of} here (training {trained.training}): {listed(names, 3)}; "
        "what a detector has seen says nothing of what it will see: take others"
    )


def remarks(trained: TrainedOn, frames: Mapping[Split, FrameSet]) -> Iterator[str]:
    """That test frames have sources that were trained on, by the data set's own split, or sources of another set that
    are called like these.
    """
    test = frames["test"]
    for name, splits in trained.sets.items():
        for seen in splits.values():
            if name == test.name and test.sharing and (shared := _shared(test.frames, seen)):
                yield (
                    f"The detector was trained on {counted(len(shared), 'source')} of the test frames: "
                    f"{listed(shared, 3)}. {test.sharing}, so scores look better than on others."
                )
                return
            if name != test.name and (shared := _shared(test.frames, seen)):
                yield (
                    f"{counted(len(shared), 'source')} of the test frames {'is' if len(shared) == 1 else 'are'} called "
                    f"like some of {name} that the detector was trained on: {listed(shared, 3)}. Where these are the "
                    "same videos or persons, scores look better than they are."
                )
                return
