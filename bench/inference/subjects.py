"""From pictures to the frames that networks judge: which are frames of the set, which are cropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import datasets, stored
from bench.datasets import layouts
from bench.datasets.layouts import Options
from bench.errors import UserError
from bench.footage import crops, in_front
from bench.provenance import file_digest
from bench.records import CLASS_WORDS, Crop, Face, Finder, FittedMasks, Preprocessing, RunRecord
from bench.records.inspection import FacesOption, Subject
from bench.results import localisation, store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_METHOD = "method"


class NoFaceError(UserError):
    """There is no face in a picture, and the detector wants a crop of one."""


@dataclass(frozen=True)
class Frame:
    """A frame of the experiment's set: 1 for fake, None where unknown, and how it was forged, empty where unknown.

    `row` is its row among the test frames of the first frame set; None for any other. `name` and `split` are what
    tables of predictions have it under, empty where none of them has it.
    """

    label: int | None
    method: str
    row: int | None = None
    name: str = ""
    split: str = ""


class FramesOfSet:
    """Which files are frames of a run, by what is in them.

    Of calibration and train frames, those that have a folder of their own: what others a manifest lists for them is
    not stored with a run. `further` are those of the experiment's other frame sets.
    """

    def __init__(self, base: Path, run: RunRecord, results: Path, further: Sequence[FramesOfSet] = ()) -> None:
        self._base, self._run, self._results, self._further = base, run, results, further
        self._read: dict[int, dict[str, Frame]] = {}

    def find(self, size: int, digest: str) -> Frame | None:
        """The frame with the content of a file of so many bytes; None where there is none."""
        if (frame := self._by_digest(size).get(digest)) is not None:
            return frame
        elsewhere = (each.find(size, digest) for each in self._further)
        return next((replace(frame, row=None) for frame in elsewhere if frame is not None), None)

    def holds(self, file: Path) -> bool:
        """Whether a file has the content of a frame; it is read only where a frame has its size. May raise OSError."""
        size = file.stat().st_size
        has_size = size in self._by_size or any(size in each._by_size for each in self._further)
        return has_size and self.find(size, file_digest(file)) is not None

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
        return localisation.read(self._results, self._run.masks, self._run.frames["test"].count)

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
        yield from self._evaluated()
        judged = {frames.root for split, frames in self._run.frames.items() if split in ("test", "validation")}
        for split in ("calibration", "train"):
            frames = self._run.frames.get(split)
            if frames is None or frames.root in judged:
                continue
            root = self._base / frames.root
            with suppress(UserError):
                for part in layouts.read_folder(root, Options()).parts.values():
                    yield from ((Path(entry.file), Frame(entry.label, "")) for entry in part.entries)

    def _evaluated(self) -> Iterator[tuple[Path, Frame]]:
        """Every frame that variants were evaluated on."""
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
                yield root / str(name), Frame(label, str(method), row, str(name), split)


@dataclass(frozen=True)
class Reader:
    """Makes subjects of pictures, for one detector."""

    preprocessing: Preprocessing
    faces: FacesOption
    finder: Finder
    of_set: FramesOfSet

    def subjects(self, file: Path, name: str) -> tuple[Subject, ...]:
        """What is judged of a picture: a subject for each face, the surest first, or all of it; as `read` says."""
        return tuple(subject for (subject,) in read([self], file, name))

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


@dataclass(frozen=True)
class Cut:
    """What several detectors judge of a picture: for each face a crop for each of them.

    `whole` says of each detector why it judges all of the picture, empty where it judges a face. `how` says that or
    what is cut out. `others` is the number of faces in the picture but for one.
    """

    candidates: tuple[tuple[Crop, ...], ...]
    whole: tuple[str, ...]
    how: tuple[str, ...]
    others: int


def read(readers: Sequence[Reader], file: Path, name: str) -> list[tuple[Subject, ...]]:
    """What detectors judge of a picture: for each of its faces, the surest first, a subject for each of them.

    Raises `UserError` where it is no picture, or shows no face though a detector wants one.
    """
    try:
        stored.refuse_other_than_file(file)
        size, digest = file.stat().st_size, file_digest(file)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}") from error
    pixels = datasets.picture(file)
    frames = [reader.of_set.find(size, digest) for reader in readers]
    made = cut(readers, pixels, str(file), [frame is not None for frame in frames])
    facts: dict[str, Any] = {"name": name, "file": str(file), "digest": digest, "others": made.others}
    of_frames = [
        {
            "how": how,
            "judged_faces": 0 if whole else len(made.candidates),
            "of_set": frame is not None,
            "set_frame": frame.name if frame else "",
            "set_split": frame.split if frame else "",
            "label": label_of(file) if frame is None else frame.label,
            "method": frame.method if frame else "",
            "mask": reader.of_set.mask_of(frame) if frame and whole else None,
        }
        for reader, frame, whole, how in zip(readers, frames, made.whole, made.how, strict=True)
    ]
    return [
        tuple(
            reader.subject(pixels, crop, **facts, **of_frame)
            for reader, crop, of_frame in zip(readers, crops_of_face, of_frames, strict=True)
        )
        for crops_of_face in made.candidates
    ]


def read_frame(reader: Reader, pixels: NDArray[np.uint8], title: str, **facts: Any) -> list[Subject]:
    """What a detector judges of a video's frame; `title` is what messages call it, `facts` are fields of subjects."""
    made = cut([reader], pixels, title, [False])
    judged = 0 if made.whole[0] else len(made.candidates)
    facts = {**facts, "how": made.how[0], "others": made.others, "judged_faces": judged}
    return [reader.subject(pixels, crop, **facts) for (crop,) in made.candidates]


def cut(readers: Sequence[Reader], pixels: NDArray[np.uint8], title: str, of_set: Sequence[bool]) -> Cut:
    """What detectors judge of a picture, uint8 RGB [h, w, 3], and why that; `title` is what messages call it.

    `of_set` says for each whether it is a frame of its set. Raises `NoFaceError` where there is no face and one is
    wanted.
    """
    presets = [reader.preprocessing.crop for reader in readers]
    whole = tuple(
        whole_because(preset, reader.faces, inside)
        for reader, preset, inside in zip(readers, presets, of_set, strict=True)
    )
    faces_in_it = _faces(pixels, title, readers[0].finder, needed=not all(whole))
    presets_or_none = [None if why else preset for preset, why in zip(presets, whole, strict=True)]
    candidates = in_front.cut_for_each(pixels, presets_or_none, faces_in_it)
    if not candidates:
        first = next(preset for preset in presets_or_none if preset is not None)
        raise NoFaceError(
            f"{title}: no face was found, and this detector judges faces (crop {first}); `--faces never` judges the "
            "whole picture"
        )
    name = readers[0].finder.NAME
    how = tuple(
        f"the whole picture: {why}" if why else f"crop {preset}, the face found by {name}"
        for preset, why in zip(presets, whole, strict=True)
    )
    return Cut(tuple(candidates), whole, how, max(len(faces_in_it) - 1, 0))


def _faces(pixels: NDArray[np.uint8], title: str, finder: Finder, *, needed: bool) -> list[Face]:
    """The faces in a picture; where its shape lets none be sought none, or `UserError` where one is needed."""
    try:
        with in_front.searching(pixels):
            return finder.find(pixels)
    except in_front.UnsearchableError as error:
        if not needed:
            return []
        raise UserError(f"{title}: {error}") from error


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
