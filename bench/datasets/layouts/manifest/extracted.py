"""What an extraction says of the videos that it made no frame of: in videos.csv, beside its manifest."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from bench.datasets.layouts import SPLIT_WORDS, Options
from bench.records import EXTRACTION_KEY, MissingVideo, Split, joined_sources

VIDEOS = "videos.csv"
_COLUMNS = ("video", "label", "split", "source", "status", "reason")


Missing: TypeAlias = Mapping[Split | None, tuple[MissingVideo, ...]]


def missing_of(manifest: Path, options: Options) -> tuple[Missing, tuple[str, ...]]:
    """The labelled videos without frames, by split, none where the manifest is of no extraction; and problems."""
    videos = manifest.parent / VIDEOS
    if not is_of_extraction(manifest) or not videos.exists():
        return {}, ()
    try:
        return _read(videos, options), ()
    except (OSError, ValueError, csv.Error) as error:
        return {}, (f"{videos}: can't be read ({error}); extract the videos again, or remove it",)


def _read(videos: Path, options: Options) -> Missing:
    """The list of videos; `OSError`, `ValueError` or `csv.Error` where it can't be read."""
    missing: dict[Split | None, list[MissingVideo]] = {}
    with videos.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if lacking := set(_COLUMNS) - set(reader.fieldnames or ()):
            raise ValueError(f"it has no column {min(lacking)}")
        for row in reader:
            label = options.cell_label(row["label"])
            if row["status"] != "ok" and label is not None:
                video = MissingVideo(row["video"], label, joined_sources(row["source"] or ""), row["status"])
                missing.setdefault(SPLIT_WORDS.get(row["split"]), []).append(video)
    return {split: tuple(videos) for split, videos in missing.items()}


def is_of_extraction(manifest: Path) -> bool:
    """Whether an extraction wrote the manifest: it says so in its metadata."""
    import pyarrow.parquet

    if manifest.suffix.lower() != ".parquet":
        return False
    return EXTRACTION_KEY in (pyarrow.parquet.read_schema(manifest).metadata or {})
