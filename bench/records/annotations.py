"""What an extraction of faces from videos knows of a frame, and the columns of a manifest that tell it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from bench.records.footage import POINTS

VIDEO_COLUMNS = ("video", "frame_index")
BOX_COLUMNS = ("box_x0", "box_y0", "box_x1", "box_y1")
POINT_COLUMNS = tuple(f"{point}_{axis}" for point in POINTS for axis in "xy")
FACE_SIZE = "face_px"
"""The column of the size of a face: the square root of its box's area, in pixels."""
ANNOTATION_COLUMNS = ("time_s", *BOX_COLUMNS, *POINT_COLUMNS)
"""These describe a frame, not a group of frames: a report never slices by them."""

EXTRACTION_KEY = b"bench.extraction"
"""Of the metadata of an extraction's manifest: JSON that says how its frames were made."""

SHARING_KEY = b"bench.sharing"
"""Of a Parquet manifest's metadata: why its splits may share sources, where whoever made the data set split it so."""


def face_size(left: float, top: float, right: float, bottom: float) -> float | None:
    """The square root of the area of a face's box, to a tenth of a pixel; None of what is no box."""
    area = (right - left) * (bottom - top)
    return round(math.sqrt(area), 1) if right > left and bottom > top and math.isfinite(area) else None


Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Annotation:
    """Where in its video a frame lies, and where its face.

    `time_s` is the time since the video's start, in seconds. `box` is the face's left, top, right and bottom, `points`
    are those of `POINTS`, each (x, y); both are in pixels of the frame's file. None where unknown.
    """

    time_s: float | None = None
    box: tuple[float, float, float, float] | None = None
    points: tuple[Point, Point, Point, Point, Point] | None = None
