"""An extraction as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.errors import counted, listed, shown
from bench.footage import folder
from bench.footage.extracting import Extracted

_NAMED = 10


def describe(extracted: Extracted) -> str:
    """What there is, what was skipped and why, and where it lies."""
    return "\n".join(_lines(extracted))


def _lines(extracted: Extracted) -> Iterator[str]:
    """How many videos have frames, which were skipped, and which are damaged."""
    counts = extracted.counts
    videos = counts.statuses.get("ok", 0)
    read = f"{counted(counts.decoded, 'frame')} read, {counts.crops:,} written"
    yield f"{videos:,} of {extracted.videos:,} videos have frames: {read}{_reused(extracted)}"
    if counts.faceless and videos:
        yield f"without a face: {counted(counts.faceless, 'frame')}"
    statuses: dict[str, list[str]] = {}
    for name, outcome in extracted.skipped:
        statuses.setdefault(outcome.status, []).append(f"{shown(name)} ({outcome.reason})")
    for status, names in statuses.items():
        yield f"skipped, {status}: {listed(names, _NAMED)}"
    if extracted.damaged:
        damages = (f"{shown(name)} ({outcome.damage})" for name, outcome in extracted.damaged)
        yield f"damaged, used as far as they go: {listed(damages, _NAMED)}"


def _reused(extracted: Extracted) -> str:
    before = extracted.videos - extracted.read - extracted.counts.statuses.get("no file", 0)
    return f" ({counted(before, 'video')} {'was' if before == 1 else 'were'} there already)" if before else ""


def paths(extracted: Extracted) -> Iterator[tuple[str, Path]]:
    """What was written, each with its name for people."""
    yield "frames and manifest:", extracted.manifest
    yield "every video, also the skipped:", extracted.folder / folder.VIDEOS
    if extracted.pages:
        more = f" (the first of {extracted.pages} pages)" if extracted.pages > 1 else ""
        yield f"contact sheet{more}:", extracted.folder / folder.SHEETS / "001.jpg"
