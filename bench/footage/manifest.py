"""What an extraction says of itself: a row for each crop, one for each video, written piece by piece."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from bench.csv_rows import RowWriter
from bench.files import write_atomically
from bench.footage import folder as layout
from bench.footage import masks
from bench.footage.outcomes import Outcome, Row
from bench.records import BOX_COLUMNS, EXTRACTION_KEY, POINT_COLUMNS, SHARING_KEY, VIDEO_COLUMNS, Video

_GROUP_ROWS = 8192
"""Rows of the manifest that are held in memory, and lie together in its file."""

COLUMNS = (
    "path", "label", "split", "source", *VIDEO_COLUMNS, "time_s", *BOX_COLUMNS, *POINT_COLUMNS, "face_score", "face_px",
    "method", "compression",
)  # fmt: skip
MASK = "mask"
_WORDS = {0: "real", 1: "fake", None: None}

_OF_OUTCOME = ("status", "reason", "frames", "asked", "decoded", "missing", "faceless", "failures", "corrupt")
_OF_VIDEO = ("video", "label", "split", "source", *_OF_OUTCOME, "crops", "by_order")
MASK_PROBLEM = "mask_problem"

Outcomes = Iterable[tuple[Video, Outcome]]


@dataclass
class Counts:
    """How much an extraction gave: videos by status, frames that were taken and missed, crops."""

    statuses: dict[str, int] = field(default_factory=dict)
    decoded: int = 0
    missing: int = 0
    faceless: int = 0
    crops: int = 0
    damaged: int = 0
    by_order: int = 0

    def add(self, outcome: Outcome) -> None:
        self.statuses[outcome.status] = self.statuses.get(outcome.status, 0) + 1
        self.decoded += outcome.decoded
        self.missing += outcome.missing
        self.faceless += outcome.faceless
        self.crops += len(outcome.rows)
        self.damaged += bool(outcome.damage)


def write(folder: Path, videos: Sequence[Video], outcomes: Outcomes, facts: Mapping[str, Any]) -> Counts:
    """Write the manifest and the list of videos, both whole or not at all; memory grows with neither."""
    counts, columns = Counts(), _columns(videos)

    def fill_both(list_file: BinaryIO) -> None:
        masked = any(video.mask for video in videos)
        listed = _listed(outcomes, list_file, counts, (*_OF_VIDEO, *((MASK_PROBLEM,) if masked else ())))
        write_atomically(folder / layout.MANIFEST, lambda file: _fill(file, columns, listed, facts))

    write_atomically(folder / layout.VIDEOS, fill_both)
    return counts


def _listed(
    outcomes: Outcomes, file: BinaryIO, counts: Counts, columns: Sequence[str]
) -> Iterator[tuple[Video, Outcome]]:
    """The outcomes, each counted and written into the list of videos as it passes."""
    text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
    rows = RowWriter(text)
    rows.write(columns)
    for video, outcome in outcomes:
        counts.add(outcome)
        rows.write(_cells(video, outcome, columns))
        yield video, outcome
    text.detach()  # who opened the file closes it


def _columns(videos: Sequence[Video]) -> tuple[str, ...]:
    """The manifest's columns: the usual ones, then what else is known of the videos.

    Without splits, or masks, no column is of these.
    """
    masked = (MASK,) if any(video.mask for video in videos) else ()
    attributes = dict.fromkeys(name for video in videos for name, _ in video.attributes if name not in COLUMNS)
    further = (*masked, *(name for name in attributes if name not in masked))
    usual = COLUMNS if any(video.split for video in videos) else tuple(name for name in COLUMNS if name != "split")
    return (*usual, *further)


def _fill(file: Any, columns: Sequence[str], outcomes: Outcomes, facts: Mapping[str, Any]) -> None:
    """Write the rows of all outcomes as Parquet, group by group."""
    import pyarrow
    import pyarrow.parquet

    metadata = {EXTRACTION_KEY: json.dumps(dict(facts), ensure_ascii=False).encode("utf-8")}
    if sharing := str(facts.get("sharing", "")):
        metadata[SHARING_KEY] = sharing.encode("utf-8")
    schema = pyarrow.schema([(name, _type(name)) for name in columns], metadata=metadata)
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        for group in _groups(columns, outcomes):
            writer.write_table(pyarrow.table(group, schema=schema))


def _groups(columns: Sequence[str], outcomes: Outcomes) -> Iterator[dict[str, list[Any]]]:
    """Columns of a few thousand rows at a time; one group at least."""
    group: dict[str, list[Any]] = {name: [] for name in columns}
    is_first = True
    for video, outcome in outcomes:
        of_video = _of_video(video)
        for row in outcome.rows:
            cells = of_video | _of_row(video, row)
            for name, column in group.items():
                column.append(cells.get(name))
        if len(group["path"]) >= _GROUP_ROWS:
            yield group
            group, is_first = {name: [] for name in columns}, False
    if group["path"] or is_first:
        yield group


def _of_video(video: Video) -> dict[str, Any]:
    """The cells that all rows of a video share."""
    named = {"label": _WORDS[video.label], "split": video.split, "source": video.source, "video": video.name}
    return dict(video.attributes) | named


def _of_row(video: Video, row: Row) -> dict[str, Any]:
    cells: dict[str, Any] = {"path": f"{layout.of_video(video)}/{row.name}", "frame_index": row.frame_index}
    cells |= {"time_s": row.time_s, "face_score": row.score, "face_px": row.face_px}
    if video.mask:
        cells[MASK] = f"{layout.of_video(video)}/{masks.path_of(row)}" if row.mask else None
    cells |= dict(zip(BOX_COLUMNS, row.box or (None,) * len(BOX_COLUMNS), strict=True))
    return cells | dict(zip(POINT_COLUMNS, row.points or (None,) * len(POINT_COLUMNS), strict=True))


def _type(column: str) -> Any:
    import pyarrow

    if column == "frame_index":
        return pyarrow.int64()
    if column == "time_s":
        return pyarrow.float64()
    return pyarrow.float32() if column in (*BOX_COLUMNS, *POINT_COLUMNS, "face_score", "face_px") else pyarrow.string()


def _cells(video: Video, outcome: Outcome, columns: Sequence[str]) -> list[Any]:
    """A video's row in the list of videos, in the order of its columns."""
    cells = _of_video(video) | {name: getattr(outcome, name) for name in _OF_OUTCOME}
    cells |= {"crops": len(outcome.rows), "by_order": "yes" if outcome.by_order else ""}
    cells[MASK_PROBLEM] = outcome.mask_problem
    return [cells[name] for name in columns]
