"""`bench extract`: videos to a folder of frames with a manifest, which any experiment may name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.datasets import checked_pattern
from bench.errors import UserError, in_yaml, nearest, quoted
from bench.footage import masks
from bench.footage.extracting import Extracted, extract
from bench.pipeline.videos import find_videos
from bench.records import PICTURE_FORMS, Event, Extraction, OnEvent, PictureForm, silent


def extract_videos(
    sources: Sequence[Path],
    to: Path,
    extraction: Extraction,
    *,
    workers: int | None = None,
    source_pattern: str | None = None,
    on_event: OnEvent = silent,
) -> Extracted:
    """Extract the frames of all videos in files, folders and manifests into the folder `to`.

    Raises `UserError` for bad input, before any video is read.
    """
    try:
        checked_pattern(source_pattern)
    except ValueError as error:
        raise UserError(f"--source-pattern: {error}") from None
    _refuse_same(sources, to)
    on_event(Event("looking for videos", 0, 0))
    listed = find_videos(sources, source_pattern)
    for remark in listed.remarks:
        on_event(Event(remark, 1, 1, "warning"))
    return extract(
        masks.with_states(listed.videos, {}),
        to,
        extraction,
        absent=listed.absent,
        workers=workers,
        sharing=listed.sharing,
        on_event=on_event,
    )


def as_workers(text: str) -> int | None:
    """A number of processes, None for "auto"; `UserError` for anything else."""
    if text == "auto":
        return None
    if not text.isascii() or not text.isdecimal():
        raise UserError(f"--workers: expected auto or a number, found {quoted(text)}")
    return int(text)


def as_form(text: str) -> PictureForm:
    """What frames are written as; `UserError` for anything else."""
    for form in PICTURE_FORMS:
        if text.lower().removeprefix(".").replace("jpeg", "jpg") == form:
            return form
    raise UserError(
        f"--format: expected {' or '.join(PICTURE_FORMS)}, found {in_yaml(text)}{nearest(text, PICTURE_FORMS)}"
    )


def _refuse_same(sources: Sequence[Path], to: Path) -> None:
    for source in sources:
        if source.exists() and source.resolve() == to.resolve():
            raise UserError(f"--to {to}: is the folder of the videos; expected a new one for frames")
