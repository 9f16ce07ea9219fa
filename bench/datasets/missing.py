"""Videos of a frame set that have no frame: those that a list names, and those all of whose frames were left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from bench.datasets.locating import Located
from bench.records import LABELLED_SPLITS, Frame, MissingVideo, Split, sources_of


def missing_videos(
    parts: Mapping[Split | None, Located],
    listed: Mapping[Split | None, Sequence[Frame]],
    splits: Mapping[Split, Sequence[Frame]],
) -> dict[Split, tuple[MissingVideo, ...]]:
    """The videos of each labelled split that have no frame.

    `listed` are the frames of each part by their names, `splits` those that are used. A set that is split by source
    puts a video where its sources are; one of unknown sources, or of none that has frames, stands with test, as
    files that were left out do.
    """
    by_split: dict[Split, dict[str, MissingVideo]] = {split: {} for split in LABELLED_SPLITS if split in splits}
    present = {frame.video for frames in splits.values() for frame in frames}
    split_of = {name: split for split, frames in splits.items() for frame in frames for name in frame.sources}
    for part, located in parts.items():
        for video in (*located.missing_videos(), *_without_frames(listed[part], present)):
            split = part or _split(video, split_of)
            if split in by_split and video.name not in present:
                by_split[split].setdefault(video.name, video)
    return {split: tuple(videos.values()) for split, videos in by_split.items()}


def _without_frames(frames: Iterable[Frame], present: set[str | None]) -> Iterator[MissingVideo]:
    """The videos none of whose listed frames is used."""
    for frame in frames:
        if frame.video is not None and frame.video not in present and frame.label is not None:
            yield MissingVideo(frame.video, frame.label, frame.source, "none of its frames can be used")


def _split(video: MissingVideo, split_of: Mapping[str, Split]) -> Split:
    names = sources_of(video.source) if video.source else ()
    return next((split_of[name] for name in names if name in split_of), "test")
