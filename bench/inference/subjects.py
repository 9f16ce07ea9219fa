"""From pictures to the frames that networks judge: which are frames of the set, which are cropped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import datasets, stored
from bench.errors import UserError
from bench.footage import crops, in_front
from bench.provenance import file_digest
from bench.records import CLASS_WORDS, Crop, Finder, FittedMasks, Preprocessing, RunRecord
from bench.records.inspection import FacesOption, Subject
from bench.results import localisation, store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_METHOD = "method"
WHOLE = "the whole picture: "


class NoFaceError(UserError):
    """There is no face in a picture, and the detector wants a crop of one."""


@dataclass(frozen=True)
class Frame:
    """A frame of the experiment's set: 1 for fake, and how it was forged, empty where unknown.

    `row` is its row among the test frames; None for one of another split.
    """

    label: int
    method: str
    row: int | None = None


class FramesOfSet:
    """Which files are frames of the labelled splits of a run, by what is in them."""

    def __init__(self, base: Path, run: RunRecord, results: Path) -> None:
        self._base, self._run, self._results = base, run, results
        self._read: dict[int, dict[str, Frame]] = {}

    def find(self, size: int, digest: str) -> Frame | None:
        """The frame with the content of a file of so many bytes; None where there is none."""
        return self._by_digest(size).get(digest)

    def holds(self, file: Path) -> bool:
        """Whether a file has the content of a frame; it is read only where a frame has its size. May raise OSError."""
        size = file.stat().st_size
        return size in self._by_size and self.find(size, file_digest(file)) is not None

    def _by_digest(self, size: int) -> dict[str, Frame]:
        """The frames of so many bytes by their content, each read once."""
        if size not in self._read:
            frames: dict[str, Frame] = {}
            for path, frame in self._by_size.get(size, ()):
                with suppress(OSError):
                    frames.setdefault(file_digest(path), frame)
            self._read[size] = frames
        return self._read[size]

    def mask_of(self, frame: Frame) -> NDArray[np.uint8] | None:
        """What was forged in a frame [GRID, GRID], as the network sees it; None where no mask of it counts."""
        return self._masks.of(frame.row) if self._masks is not None and frame.row is not None else None

    @cached_property
    def _masks(self) -> FittedMasks | None:
        """The masks that the run fitted; `UserError` where they are gone or damaged."""
        if self._run.masks is None:
            return None
        return localisation.read(self._results, self._run.masks, self._run.test.count)

    @cached_property
    def _by_size(self) -> dict[int, list[tuple[Path, Frame]]]:
        """Frames by the size of their files in bytes: only those that may be the same are read."""
        sizes: dict[int, list[tuple[Path, Frame]]] = {}
        for path, frame in self._listed():
            try:
                sizes.setdefault(path.stat().st_size, []).append((path, frame))
            except OSError:
                continue
        return sizes

    def _listed(self) -> Iterator[tuple[Path, Frame]]:
        """Every labelled frame of the run."""
        answered = next((each.name for each in self._run.variants if each.status == "ok"), None)
        if answered is None:
            return
        test, validation = store.read_labelled(self._results, answered, self._run.frames)
        rows = count()
        for split, frames in (("test", test), ("validation", validation)):
            if frames is None:
                continue
            root = self._base / self._run.frames[split].root
            methods = (
                frames.attributes[_METHOD].astype(object).fillna("")
                if _METHOD in frames.attributes
                else [""] * len(frames.labels)
            )
            for name, label, method in zip(frames.frames, frames.labels.tolist(), methods, strict=True):
                row = next(rows) if split == "test" else None
                yield root / str(name), Frame(label, str(method), row)


@dataclass(frozen=True)
class Reader:
    """Makes subjects of pictures, for one detector."""

    preprocessing: Preprocessing
    faces: FacesOption
    finder: Finder
    of_set: FramesOfSet

    def subjects(self, file: Path, name: str) -> tuple[Subject, ...]:
        """What is judged of a picture: a subject for each of its faces, the surest first, or all of it.

        Raises `UserError` where it is no picture, or shows no face though the detector wants one.
        """
        try:
            stored.refuse_other_than_file(file)
            digest = file_digest(file)
        except OSError as error:
            raise UserError(f"{file}: {error.strerror or error}") from error
        pixels = datasets.picture(file)
        frame = self.of_set.find(file.stat().st_size, digest)
        label = label_of(file) if frame is None else frame.label
        cut, how = self.crops(pixels, str(file), frame is not None)
        method = frame.method if frame else ""
        mask = self.of_set.mask_of(frame) if frame and how.startswith(WHOLE) else None
        return tuple(
            self.subject(pixels, crop, name=name, file=str(file), digest=digest, how=how, others=len(cut) - 1,
                         of_set=frame is not None, label=label, method=method, mask=mask)
            for crop in cut
        )  # fmt: skip

    def crops(self, pixels: NDArray[np.uint8], title: str, of_set: bool = False) -> tuple[list[Crop], str]:
        """What is judged of a picture, and why that; `title` is what messages call it."""
        preset = self.preprocessing.crop
        why = whole_because(preset, self.faces, of_set)
        if why:
            return [in_front.as_it_is(pixels, self.finder)], f"{WHOLE}{why}"
        cut = in_front.cut(pixels, preset, self.finder)
        if cut:
            return cut, f"crop {preset}, the face found by {self.finder.NAME}"
        raise NoFaceError(
            f"{title}: no face was found, and this detector judges faces (crop {preset}); `--faces never` judges "
            "the whole picture"
        )

    def subject(self, pixels: NDArray[np.uint8], crop: Crop, **facts: Any) -> Subject:
        """The subject of one crop of a picture; `facts` are further fields of it."""
        spec = self.preprocessing.input_spec
        height, width = crop.pixels.shape[:2]
        points = None
        if crop.face is not None and crop.face.points:
            inside = [crop.inside(*point) for point in crop.face.points]
            points = datasets.fitted_points(inside, height, width, spec)
        fitted = datasets.fit(crop.pixels, spec)
        return Subject(
            pixels=pixels, frame=crop.pixels, fitted=fitted, face=crop.face, points=points, matrix=crop.matrix,
            **facts,
        )  # fmt: skip


def whole_because(preset: str, faces: FacesOption, of_set: bool) -> str:
    """Why all of a picture is judged and no face is cut out of it; empty where one is."""
    if not crops.is_of_faces(preset):
        return "this detector takes whole frames"
    if faces == "auto" and of_set:
        return "it is a frame of the experiment's set"
    return "`--faces never`" if faces == "never" else ""


def label_of(file: Path) -> int | None:
    """1 for a file below a folder that is called fake, 0 below one that is called real; None else."""
    folders = (part.lower() for part in reversed(file.absolute().parent.parts))
    return next((CLASS_WORDS[name] for name in folders if name in CLASS_WORDS), None)
