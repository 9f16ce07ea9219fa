"""Which frames of a video are taken, by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from bench.errors import UserError, nearest, quoted

SAMPLINGS = ("linspace", "step", "first", "all", "every-K")
"""Every name there is; K stands for a number."""

MOST_FRAMES = 100_000
"""Of one video: more are rather a mistake, and a disk full of pictures."""

_EVERY = re.compile(r"every-([1-9]\d{0,8})")


def check(sampling: str, frames: int) -> None:
    """Raises `UserError` for what is no sampling, or no number of frames."""
    if sampling not in _NAMED and not _EVERY.fullmatch(sampling):
        raise UserError(
            f"sampling: unknown name {quoted(sampling)}{nearest(sampling, _NAMED)}; expected {', '.join(SAMPLINGS)}, "
            "such as every-10"
        )
    if not 1 <= frames <= MOST_FRAMES:
        raise UserError(f"frames: expected a number from 1 to {MOST_FRAMES:,}, found {frames:,}")


def numbers(sampling: str, count: int, frames: int) -> Sequence[int]:
    """The numbers of the frames that are taken out of `count`, rising, none twice.

    Raises `ValueError` where they are more than `MOST_FRAMES`.
    """
    every = _EVERY.fullmatch(sampling)
    chosen = range(0, count, int(every[1])) if every else _NAMED[sampling](count, frames)
    if len(chosen) > MOST_FRAMES:
        raise ValueError(f"{sampling} takes {len(chosen):,} of its {count:,} frames, more than {MOST_FRAMES:,}")
    return chosen


def expected(sampling: str, frames: int) -> int | None:
    """How many frames are taken of a long video; None where that depends on its length."""
    return frames if sampling in ("linspace", "step", "first") else None


def _linspace(count: int, frames: int) -> Sequence[int]:
    """At even distances, the first and the last among them: `np.linspace(0, count - 1, frames, dtype=int)`, as in FSBI.

    That truncates, in floating point: 32 of 311 frames are not those that whole numbers would give.
    """
    import numpy as np

    return sorted(set(np.linspace(0, count - 1, frames, dtype=int).tolist()))


def _step(count: int, frames: int) -> Sequence[int]:
    """int(i * count / frames); every frame where there are no more."""
    return range(count) if count <= frames else [int(index * count / frames) for index in range(frames)]


def _first(count: int, frames: int) -> Sequence[int]:
    """The first ones, as DeepfakeBench takes them."""
    return range(min(count, frames))


def _all(count: int, frames: int) -> Sequence[int]:
    return range(count)


_NAMED: Mapping[str, Callable[[int, int], Sequence[int]]] = {
    "linspace": _linspace,
    "step": _step,
    "first": _first,
    "all": _all,
}
