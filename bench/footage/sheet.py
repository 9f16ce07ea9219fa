"""The contact sheet: pages with some faces of each video beside its name, so that a person sees what was cut out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from bench.errors import counted
from bench.files import make_folder, remove, write_atomically
from bench.footage import folder as layout
from bench.footage import lettering
from bench.footage.outcomes import Outcome
from bench.records import Video

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

_FACES, _COLUMNS, _LINES = 3, 4, 10
_SIDE, _GAP, _TEXT = 96, 8, 30
_WIDTH, _HEIGHT = _FACES * _SIDE + 2 * _GAP, _SIDE + _TEXT + _GAP
PER_PAGE = _COLUMNS * _LINES
_QUALITY = 85
_INK, _GREY, _COLOURS = (30, 30, 30), (120, 120, 120), {0: (0, 110, 60), 1: (170, 30, 30), None: (90, 90, 90)}
_LETTER_SIDE = 11

Shown = tuple[Video, Outcome]


def write(folder: Path, outcomes: Iterable[Shown], tick: Callable[[int], object]) -> int:
    """Write the pages that are new or changed, and remove what is too many; how many pages there are.

    One page is in memory at a time. `tick` is called with the number of videos after each page.
    """
    pages = folder / layout.SHEETS
    make_folder(pages)
    count = 0
    for count, videos in enumerate(_pages(outcomes), start=1):
        page, content = pages / f"{count:03d}.jpg", _digest(videos)
        if _content(page) != content:
            write_atomically(page, partial(_save, _drawn(folder, videos), content))
        tick(len(videos))
    for page in pages.glob("*.jpg"):
        if page.stem.isdecimal() and int(page.stem) > count:
            remove(page)
    return count


def _pages(outcomes: Iterable[Shown]) -> Iterator[list[Shown]]:
    """The videos of each page, with the rows of the faces that are shown."""
    left = iter(outcomes)
    while page := [(video, _shown(outcome)) for video, outcome in islice(left, PER_PAGE)]:
        yield page


def _shown(outcome: Outcome) -> Outcome:
    """Only the rows that are shown: the first, one in the middle and the last."""
    rows = outcome.rows
    chosen = sorted({index * (len(rows) - 1) // (_FACES - 1) for index in range(_FACES)}) if rows else []
    return replace(outcome, rows=tuple(rows[index] for index in chosen))


def _digest(videos: Sequence[Shown]) -> str:
    """What a page is made of, as its file says in a comment."""
    content = [[v.name, v.label, o.key, o.status, o.reason, [row.name for row in o.rows]] for v, o in videos]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _content(page: Path) -> str:
    from PIL import Image, UnidentifiedImageError

    try:
        if page.is_symlink():
            return ""
        with Image.open(page) as picture:
            return bytes(picture.info.get("comment", b"")).decode("ascii", "replace")
    except (OSError, UnidentifiedImageError, ValueError):
        return ""


def _drawn(folder: Path, videos: Sequence[Shown]) -> Image:
    """A page with the faces of some videos, and a caption below each."""
    from PIL import Image, ImageDraw

    lines = -(-len(videos) // _COLUMNS)
    page = Image.new("RGB", (_COLUMNS * _WIDTH + _GAP, lines * _HEIGHT + _GAP), "white")
    draw = ImageDraw.Draw(page)
    for index, (video, outcome) in enumerate(videos):
        x, y = _GAP + index % _COLUMNS * _WIDTH, _GAP + index // _COLUMNS * _HEIGHT
        for position, row in enumerate(outcome.rows):
            face = _thumbnail(folder / layout.of_video(video) / row.name)
            if face is not None:
                page.paste(face, (x + position * _SIDE + (_SIDE - face.width) // 2, y + (_SIDE - face.height) // 2))
        _caption(draw, (x, y + _SIDE + 1), video, outcome)
    return page


def _caption(draw: ImageDraw, corner: tuple[int, int], video: Video, outcome: Outcome) -> None:
    """The video's name, and its class or why there are no faces."""
    font, (x, y) = lettering.font(_LETTER_SIDE), corner
    name = lettering.fitted(lettering.drawable(video.name), font, _FACES * _SIDE)
    word = {0: "real", 1: "fake", None: "no label"}[video.label]
    text = (
        f"{word}, {counted(len(outcome.rows) and outcome.decoded, 'frame')}"
        if outcome.status == "ok"
        else outcome.status
    )
    draw.text((x, y), name, _INK, font)
    draw.text((x, y + 13), text, _COLOURS[video.label] if outcome.status == "ok" else _GREY, font)


def _thumbnail(file: Path) -> Image | None:
    """The picture so small that it fits; None where it can't be read, which is no reason to fail."""
    from PIL import Image

    try:
        with Image.open(file) as picture:
            picture.draft("RGB", (_SIDE, _SIDE))
            small = picture.convert("RGB")
    except (OSError, ValueError):
        return None
    small.thumbnail((_SIDE - 2, _SIDE - 2))
    return small


def _save(page: Image, comment: str, file: BinaryIO) -> None:
    page.save(file, "JPEG", quality=_QUALITY, comment=comment.encode("ascii"))
