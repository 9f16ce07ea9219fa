"""The demo set: labelled frames drawn by `portraits`, written once, the same on every machine."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench import locks, stored
from bench.errors import UserError
from bench.files import remove, rename, sweep, temporary_name, write_atomically, write_text
from bench.provenance import cpu_cores
from bench.records import Event, Frame, FrameSet, OnEvent, Split, silent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIZE, SEED = 160, 1
COUNTS: dict[Split, tuple[int, int]] = {  # fake, real
    "test": (225, 135),
    "validation": (40, 40),
    "calibration": (64, 64),
    "train": (320, 320),
}
CARD = "demo.json"
VERSION = 4  # raised whenever another set would be drawn
_QUALITIES = 75, 96
_COLUMNS = "path", "label", "source", "quality", "method", "mask"
_WORK, _EVENT_SECONDS = "drawing the demo set", 0.1


@dataclass(frozen=True)
class _Portrait:
    index: int
    split: Split
    fake: bool

    @property
    def source(self) -> str:
        return f"p{self.index:05d}"

    @property
    def path(self) -> str:
        """Below its split's folder."""
        return f"{'fake' if self.fake else 'real'}/{self.source}.jpg"

    @property
    def mask(self) -> str:
        """Below its split's folder; empty of a real portrait."""
        return f"masks/{self.source}.png" if self.fake else ""

    @property
    def method(self) -> str:
        """The part that was replaced; empty of a real portrait."""
        import numpy as np

        from bench.datasets.blends import choose_part

        return choose_part(np.random.default_rng([SEED, self.index])) if self.fake else ""


def encode_jpeg(frame: NDArray[np.uint8], quality: int) -> bytes:
    """A JPEG file of an RGB frame [H, W, 3]."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@dataclass(frozen=True)
class Photographs:
    """A portrait and its fake as JPEG files of the same quality; where it is forged, as a PNG, and in which part."""

    real: bytes
    fake: bytes
    mask: bytes
    part: str
    quality: int


def photograph_files(rng: np.random.Generator, size: int) -> Photographs:
    """A portrait of `size` x `size` pixels and its fake; the quality of both is 75 to 95."""
    from bench.datasets.blends import choose_part, self_blend
    from bench.datasets.portraits import draw_portrait, to_uint8

    part = choose_part(rng)
    portrait, face = draw_portrait(rng, size)
    blend = self_blend(rng, portrait, face, part)
    quality = int(rng.integers(*_QUALITIES))
    real, fake = (encode_jpeg(to_uint8(picture), quality) for picture in (portrait, blend.image))
    return Photographs(real, fake, _png(to_uint8(blend.mask)), part, quality)


def _png(picture: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def photograph_pair(rng: np.random.Generator, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A portrait and its fake, RGB uint8 [size, size, 3], as read back from equally compressed JPEGs."""
    import numpy as np
    from PIL import Image

    files = photograph_files(rng, size)
    real, fake = (np.asarray(Image.open(io.BytesIO(file))) for file in (files.real, files.fake))
    return real, fake


def is_drawn(folder: Path) -> bool:
    """Whether `folder` holds the demo set, this version of it."""
    return _card(folder) == _expected_card()


def undrawn(name: str) -> dict[Split, FrameSet]:
    """The set as it will be drawn, for who only counts: no frame has a file yet, and digests are empty."""
    return {
        split: FrameSet(
            name,
            split,
            tuple(Frame(p.path, Path(), int(p.fake), p.source, "") for p in _portraits() if p.split == split),
            digest="",
            content="",
        )
        for split in COUNTS
    }


def draw(folder: Path, on_event: OnEvent = silent) -> None:
    """Draw the demo set into `folder`, unless it is there: 1,208 frames of 160 px, each of its own portrait.

    Written to a folder beside it and renamed, so that it is there whole or not at all; what an interrupted process
    has drawn there is used by the next one. Of two processes one draws, and the other waits for it. An older version
    is replaced; a folder that holds anything else raises `UserError`.
    """
    if is_drawn(folder):
        return
    if folder.exists() and _card(folder) is None and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: expected the demo set or nothing, found other files; move them, or draw elsewhere")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        sweep(folder.parent)
        # Another run that draws it already does it for both.
        with locks.held(folder.with_name(f".{folder.name}.lock"), "drawing the demo set", on_event, folder=folder):
            if not is_drawn(folder):
                _draw_into(folder, on_event)
    except OSError as error:
        raise UserError(f"{folder}: the demo set can't be written here: {error.strerror or error}") from error


def _draw_into(folder: Path, on_event: OnEvent) -> None:
    """Draw the set beside `folder`, from what an interrupted process has drawn there, and put it in its place."""
    begun, outdated = folder.with_name(f".{folder.name}.begun"), folder.parent / temporary_name()
    try:
        if not _is_begun(begun):
            remove(begun)
        _draw_all(begun, on_event)
        _put(begun, folder, outdated)
        remove(begun)
    except OSError:
        # Where the file system has no locks, another process may have put it in its place meanwhile.
        if not is_drawn(folder):
            raise
    finally:
        remove(outdated)


def _is_begun(folder: Path) -> bool:
    """Whether this version was begun there; a stranger's links lead elsewhere."""
    return is_drawn(folder) and not any(inner.is_symlink() for inner in (folder, *folder.glob("*"), *_folders(folder)))


def _folders(folder: Path) -> list[Path]:
    """The folder of each class in each split, and of its masks."""
    return [folder / split / word for split in COUNTS for word in ("real", "fake", "masks")]


def _draw_all(folder: Path, on_event: OnEvent) -> None:
    """Draw what `folder` lacks; its card says from the beginning which version that is."""
    portraits = list(_portraits())
    for class_folder in _folders(folder):
        class_folder.mkdir(parents=True, exist_ok=True)
        sweep(class_folder, held=True)
    write_text(folder / CARD, json.dumps(_expected_card(), indent=2) + "\n")
    total, reported = len(portraits), time.monotonic()
    quality: dict[_Portrait, int] = {}
    on_event(Event(_WORK, 0, total))
    # Each portrait hangs on its number alone, and NumPy and OpenCV let other threads compute meanwhile.
    pool = ThreadPoolExecutor(cpu_cores(), "draw")
    try:
        drawn = pool.map(partial(_draw_one, folder), portraits)
        for done, (portrait, chosen) in enumerate(zip(portraits, drawn, strict=True), start=1):
            quality[portrait] = chosen
            if time.monotonic() - reported >= _EVENT_SECONDS:
                reported = time.monotonic()
                on_event(Event(_WORK, done, total))
    finally:
        pool.shutdown(cancel_futures=True)
    _write_manifests(folder, quality)
    on_event(Event(_WORK, total, total))


def _write_manifests(folder: Path, quality: Mapping[_Portrait, int]) -> None:
    for split in COUNTS:
        rows = (
            (p.path, "fake" if p.fake else "real", p.source, q, p.method, p.mask)
            for p, q in quality.items()
            if p.split == split
        )
        with (folder / split / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([_COLUMNS, *rows])


def _portraits() -> Iterator[_Portrait]:
    """Every portrait once, real and fake spread evenly over each split."""
    index = 0
    for split, (fake, real) in COUNTS.items():
        total = fake + real
        for position in range(total):
            yield _Portrait(index, split, (position + 1) * fake // total > position * fake // total)
            index += 1


def _draw_one(folder: Path, portrait: _Portrait) -> int:
    """Returned is the JPEG quality that was drawn for it, or for the file that is there already."""
    import numpy as np

    file = folder / portrait.split / portrait.path
    if (before := _quality_of(file)) is not None:
        return before
    files = photograph_files(np.random.default_rng([SEED, portrait.index]), SIZE)
    if portrait.fake:  # before the frame, whose file says that both are there
        write_atomically(folder / portrait.split / portrait.mask, lambda target: target.write(files.mask))
    write_atomically(file, lambda target: target.write(files.fake if portrait.fake else files.real))
    return files.quality


def _quality_of(file: Path) -> int | None:
    """The quality of a JPEG file, by its tables; None where it is not there or none of the demo's."""
    from PIL import Image

    try:
        with Image.open(file) as picture:
            return _qualities().get(str(getattr(picture, "quantization", None)))
    except OSError:
        return None


@cache
def _qualities() -> dict[str, int]:
    """The qualities that are drawn, by the tables that a file of that quality has."""
    import numpy as np
    from PIL import Image

    blank = np.zeros((8, 8, 3), np.uint8)
    files = {quality: io.BytesIO(encode_jpeg(blank, quality)) for quality in range(*_QUALITIES)}
    return {str(getattr(Image.open(file), "quantization", None)): quality for quality, file in files.items()}


def _put(drawn: Path, folder: Path, aside: Path) -> None:
    """Rename `drawn` to `folder`; whatever another process put there in the meantime is as good."""
    if not is_drawn(folder):
        with contextlib.suppress(FileNotFoundError):
            rename(folder, aside)
    try:
        rename(drawn, folder)
    except OSError:
        if not is_drawn(folder):
            raise


def _card(folder: Path) -> object:
    """What the set says about itself; None where there is no set."""
    try:
        return stored.read_json(folder / CARD, stored.MIB)
    except (OSError, ValueError):
        return None


def _expected_card() -> object:
    counts = {split: {"fake": fake, "real": real} for split, (fake, real) in COUNTS.items()}
    return {"version": VERSION, "seed": SEED, "size": SIZE, "counts": counts}
