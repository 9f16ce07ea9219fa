"""One video: frames by their numbers, faces in them, crops of these as files in a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import counted
from bench.files import remove
from bench.footage import crops, sampling, video
from bench.footage.formats import VideoError
from bench.footage.masks import MaskWriter
from bench.footage.outcomes import Outcome, Row
from bench.footage.video import Damage, Picture, Timeline, UnorderedError
from bench.records import NO_CROP, Crop, Extraction, Face, Finder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

JPEG_QUALITY = 95
_PNG_LEVEL = 1
"""zlib's: higher ones take twice as long for a few per cent."""


@dataclass(frozen=True)
class Task:
    """A video to read: its file, the folder that its frames are written to, the key of its outcome, and its masks."""

    file: Path
    folder: Path
    key: str
    mask: Path | None = None


class Extractor:
    """Reads videos, one after another, with one face finder."""

    def __init__(self, extraction: Extraction, finder: Finder, threads: int) -> None:
        self._extraction, self._finder, self._threads = extraction, finder, threads

    def __call__(self, task: Task, tick: Callable[[], object]) -> Outcome:
        """Write the crops of a video. `tick` is called again and again, as a sign of life.

        Raises `UserError` where the settings do not fit each other, `OSError` where nothing can be written.
        """
        try:
            line = video.timeline(task.file, tick)
            outcome = Outcome(task.key, "ok", frames=line.count, failures=line.failures, by_order=not line.has_times)
            try:
                numbers = sampling.numbers(self._extraction.sampling, line.count, self._extraction.frames)
            except ValueError as error:
                return replace(outcome, status="too large", reason=str(error))
            try:
                return self._read(task, line, numbers, outcome, tick)
            except UnorderedError:
                remove(task.folder)
                return self._read(task, line.without_times(), numbers, replace(outcome, by_order=True), tick)
        except VideoError as error:
            remove(task.folder)
            return Outcome(task.key, error.status, str(error))

    def _read(
        self, task: Task, line: Timeline, numbers: Sequence[int], outcome: Outcome, tick: Callable[[], object]
    ) -> Outcome:
        """The outcome with all frames of these numbers written."""
        damage, rows, decoded, faceless = Damage(), list[Row](), 0, 0
        task.folder.mkdir(parents=True, exist_ok=True)
        masks = MaskWriter(task.mask, task.folder, self._extraction.crop)
        masks.open(numbers, line.count, tick)
        for picture in video.decode(task.file, line, numbers, damage, threads=self._threads, tick=tick):
            tick()
            faces = self._faces(picture)
            written = masks.write(picture, faces, self._write(task.folder, picture, faces))
            decoded, faceless = decoded + 1, faceless + (not written)
            rows += written
        outcome = replace(outcome, asked=len(numbers), decoded=decoded, faceless=faceless, corrupt=damage.corrupt)
        outcome = replace(outcome, failures=outcome.failures + damage.packets)
        outcome = replace(outcome, rows=masks.checked(rows), mask_problem=masks.problem)
        if rows:
            return outcome
        if decoded:
            return replace(outcome, status="no face", reason=f"no face in {counted(decoded, 'frame')}")
        return replace(outcome, status="broken", reason=f"none of {len(numbers)} frames can be decoded")

    def _faces(self, picture: Picture) -> list[Face]:
        """The faces in a frame, the surest first; none where nobody asks for them."""
        if self._extraction.crop == NO_CROP and self._finder.NAME == NO_CROP:
            return []
        return self._finder.find(picture.pixels)

    def _write(self, folder: Path, picture: Picture, faces: Sequence[Face]) -> list[Row]:
        """Write the crops of a frame."""
        rows = []
        for index, crop in enumerate(crops.crop(self._extraction.crop, picture.pixels, faces)):
            ending = f"-{index}" if index else ""
            name = f"{picture.number:06d}{ending}.{self._extraction.form}"
            (folder / name).write_bytes(encoded(crop.pixels, self._extraction.form))
            rows.append(_row(name, picture, crop))
        return rows


def encoded(pixels: NDArray[np.uint8], form: str) -> bytes:
    """A PNG, or a JPEG with all of its colour, of uint8 RGB [h, w, 3]."""
    import cv2

    options = [cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL]
    if form == "jpg":
        full = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
        options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, full]
    written, data = cv2.imencode(f".{form}", pixels[..., ::-1], options)
    if not written:
        raise VideoError(f"a crop of {pixels.shape[1]} × {pixels.shape[0]} pixels can't be written as {form}")
    return data.tobytes()


def _row(name: str, picture: Picture, crop: Crop) -> Row:
    """A crop's row of the manifest, its face in pixels of the crop."""
    row = Row(name, picture.number, None if picture.time_s is None else round(picture.time_s, 6))
    face = crop.face
    if face is None:
        return row
    x0, y0, x1, y1 = face.box
    corners = [crop.inside(x, y) for x in (x0, x1) for y in (y0, y1)]
    xs, ys = zip(*corners, strict=True)
    points = tuple(round(part, 2) for point in face.points for part in crop.inside(*point))
    return replace(
        row,
        box=tuple(round(edge, 2) for edge in (min(xs), min(ys), max(xs), max(ys))),
        points=points or None,
        score=round(face.score, 4),
        face_px=round(face.side_px, 2),
    )


def load(extraction: Extraction, threads: int) -> Extractor:
    """An extractor with its face finder loaded, for a process of its own. Raises `UserError`."""
    import cv2

    from bench.footage import faces
    from bench.footage.formats import library

    library()
    cv2.setNumThreads(1)  # there is a process for each core
    finder = faces.load(extraction.faces, extraction.min_face_px, extraction.min_score)
    return Extractor(extraction, finder, threads)
