"""What a reader must know of identical files within a split: they weigh together as one frame."""

from __future__ import annotations

from collections import Counter

from bench.errors import quoted
from bench.records import LABELLED_SPLITS, FrameSet

_MANY = 0.1
"""A larger share of copies among frames that are learned from makes much less of these than their number says."""


def copy_remarks(frames: FrameSet) -> tuple[str, ...]:
    """How many frames of a split are copies of others, with examples and the largest group; empty where that is none.

    Of frames that are learned from, only where they are many.
    """
    copies = len(frames.copies)
    is_judged = frames.split in LABELLED_SPLITS
    if not copies or (not is_judged and copies <= _MANY * len(frames.frames)):
        return ()
    second_of = {frames.firsts[index]: index for index in reversed(frames.copies)}
    examples = [
        f"{quoted(frames.frames[second].path)} = {quoted(frames.frames[first].path)}"
        for first, second in sorted(second_of.items())
    ]
    first, most = Counter(frames.firsts).most_common(1)[0]
    largest = f"; {quoted(frames.frames[first].path)} is there {most:,} times" if most > 2 else ""
    weigh = "identical files count as one frame in every number" if is_judged else "each is learned from all the same"
    more = ", …" if examples[3:] else ""
    return (
        f"{copies:,} of {len(frames.frames):,} {frames.split} frames are copies of others, so there are "
        f"{len(frames.distinct):,} different ones ({weigh}): {', '.join(examples[:3])}{more}{largest}.",
    )
