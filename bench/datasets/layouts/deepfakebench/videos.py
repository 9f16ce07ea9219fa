"""The videos of a set whose frames are still to be taken out of them: its file names frames alone.

DeepfakeBench's own preprocessing writes the frames of `<folder>/<video>.mp4`, or of `<folder>/videos/<video>.mp4`, into
`<folder>/frames/<video>/`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import replace

from bench.datasets.layouts.deepfakebench.frames import Frames
from bench.datasets.layouts.deepfakebench.records import Record


def paths_of_videos(records: Sequence[Record]) -> Iterator[str]:
    """Where the videos of records would lie at the deepest."""
    return (f"{_folder(record)}/videos/{record.name}.mp4" for record in records)


def as_videos(records: Sequence[Record], files: Frames) -> list[Record]:
    """The records with their video in place of its frames; a video that is not there keeps the path that it may have.

    A video that is listed twice, with frames in two folders, is the same video.
    """
    videos: list[Record] = []
    for record in records:
        folders = (f"{_folder(record)}/videos", _folder(record))
        present = (f"{folder}/{files.names(folder)[record.name]}" for folder in folders if _has(files, folder, record))
        videos.append(replace(record, frames=(next(present, f"{folders[0]}/{record.name}.mp4"),)))
    return videos


def _has(files: Frames, folder: str, record: Record) -> bool:
    return bool(folder) and record.name in files.names(folder)


def _folder(record: Record) -> str:
    """The folder beside whose `frames` or `videos` a record lies."""
    above = posixpath.dirname(record.path)
    return posixpath.dirname(above) if posixpath.basename(above) == "frames" else above
