"""Frames, how the host prepares them, and the progress of work on them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from bench.records.masks import ForgeryMask
from bench.records.videos import MissingVideo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Split: TypeAlias = Literal["test", "validation", "calibration", "train"]
SPLITS: tuple[Split, ...] = ("test", "validation", "calibration", "train")
LABELLED_SPLITS: tuple[Split, ...] = ("test", "validation")

PREDICTED: tuple[str, ...] = ("frame", "p_fake", "logit_real", "logit_fake")
"""Columns of predictions.parquet: no attribute of a frame may have one of these names."""

BETWEEN_SOURCES = ";"
"""What stands between the names of a frame's several sources."""


def sources_of(source: str) -> tuple[str, ...]:
    """The single sources that a frame's `source` names: a fake made of two videos belongs to both."""
    if BETWEEN_SOURCES not in source:
        return (source,)
    return tuple(sorted({part.strip() for part in source.split(BETWEEN_SOURCES)} - {""}))


def joined_sources(*sources: str) -> str | None:
    """Sources as one text, sorted and each once, such as "033;097"; None without any."""
    names = {name for source in sources for name in sources_of(source)} - {""}
    return BETWEEN_SOURCES.join(sorted(names)) if names else None


def evenly(total: int, most: int | None = None) -> list[int]:
    """At most `most` of the indices below `total`, at even distances; all without `most`."""
    count = total if most is None else min(most, total)
    return [index * total // count for index in range(count)]


Outcome: TypeAlias = Literal["true_positives", "false_negatives", "false_positives", "true_negatives"]
OUTCOMES: tuple[Outcome, ...] = ("true_positives", "false_negatives", "false_positives", "true_negatives")


Filter: TypeAlias = Literal["bilinear", "bicubic", "area", "pil-bilinear", "pil-bicubic"]
FILTERS: tuple[Filter, ...] = ("bilinear", "bicubic", "area", "pil-bilinear", "pil-bicubic")


NO_CROP = "none"
"""The crop of faces that is none: detectors that want whole frames."""
LEAST_CROP_PCT = 0.25
"""A smaller share of a resized frame takes more memory than there is, for what nobody cuts off."""


@dataclass(frozen=True)
class Filters:
    """The filter for pictures whose long side gets shorter, and the one for those whose long side gets longer."""

    down: Filter
    up: Filter


@dataclass(frozen=True)
class InputSpec:
    """How the host prepares a frame: decoded once, resized once for each distinct spec. Part of every id.

    `fit`: `stretch` both sides to `size`; `crop` resizes the short side and cuts the centre, which then is the share
    `crop_pct` of that side; `pad` resizes the long side and fills the rest with black, with `pad` `corner` at the
    bottom and the right, with `centre` on all sides. `interpolation` names OpenCV's filters (`bilinear` is
    INTER_LINEAR, `bicubic` INTER_CUBIC, `area` INTER_AREA) and Pillow's, which widen when a picture gets smaller, as
    in torchvision and timm.
    """

    size: int
    fit: Literal["stretch", "crop", "pad"] = "stretch"
    interpolation: Filter | Filters = "bilinear"
    pad: Literal["corner", "centre"] = "corner"
    crop_pct: float = 1.0

    def filter_for(self, *, larger: bool) -> Filter:
        """The filter for a picture that gets larger, or smaller."""
        if isinstance(self.interpolation, Filters):
            return self.interpolation.up if larger else self.interpolation.down
        return self.interpolation


@dataclass(frozen=True)
class Preprocessing:
    """How a frame becomes the network's input.

    `size`, `fit`, `interpolation`, `pad` and `crop_pct` happen on the host (see `InputSpec`), the rest inside the
    graph: scaling to [0, 1], `(x - mean) / std` per RGB channel, channel order, wavelet blend.

    `crop` names the crop of faces that frames are expected to be (`bench/footage/crops/`), made before all this when
    they are extracted: it changes nothing of a given frame, and is no part of ids or artifacts.
    """

    size: int
    fit: Literal["stretch", "crop", "pad"] = "stretch"
    interpolation: Filter | Filters = "bilinear"
    channels: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    wavelet: Literal["none", "sym2"] = "none"
    pad: Literal["corner", "centre"] = "corner"
    crop_pct: float = 1.0
    crop: str = NO_CROP

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec(self.size, self.fit, self.interpolation, self.pad, self.crop_pct)


def as_inputs(settings: InputSpec | Preprocessing) -> dict[str, Any]:
    """The settings as JSON values, for ids and artifacts: `pad` and `crop_pct` only where they change a pixel.

    Ids of all other frames are older than these keys. The crop of faces happens before, and is none of them.
    """
    values = asdict(settings)
    values.pop("crop", None)
    if settings.fit != "pad":
        del values["pad"]
    if settings.fit != "crop" or settings.crop_pct == 1:
        del values["crop_pct"]
    return values


@dataclass(frozen=True)
class Frame:
    """One picture of a frame set.

    `path` is its name: relative to its split's folder, with forward slashes. `label` is 1 for fake, 0 for real, None
    where unlabelled. `source` is the video or person it comes from, several as `joined_sources` writes them, None where
    unknown. `digest` is the SHA-256 of the file's bytes, in hexadecimal. `attributes` are pairs (name, value), "" where
    missing: the further columns of a manifest, in their order, or the folder below `real/` or `fake/`. `video` is the
    video that the frame was taken from, and `frame_index` its number in it, from 0; None where unknown. Neither is part
    of a set's digest: they change no prediction, and a manifest that comes to tell them would make every present result
    again. `mask` shows what was forged in it; None where there is none. It is no part of the digest either.
    """

    path: str
    file: Path
    label: int | None
    source: str | None
    digest: str
    attributes: tuple[tuple[str, str], ...] = ()
    video: str | None = None
    frame_index: int | None = None
    mask: ForgeryMask | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """The single sources that it is of; none where that is unknown."""
        return () if self.source is None else sources_of(self.source)


UnusedKind: TypeAlias = Literal["beside", "split", "unlisted", "video", "picture", "ending", "hidden", "excluded"]


@dataclass(frozen=True)
class Unused:
    """Files of one kind at a place that are no frames of it, and how many there are.

    `name` says which: of frames `beside` those that are used, their folder (one with a slash at its end
    holds the folders that are read); of frames of another `split`, that; of
    `video`s, `picture`s of a format that is not read and files of another `ending`, the ending; of `excluded` files,
    the pattern. It is empty for `hidden` files and folders, and for frames that a manifest does not name (`unlisted`).
    """

    kind: UnusedKind
    name: str
    count: int


@dataclass(frozen=True)
class FrameSet:
    """The frames of one split, in a fixed order.

    `digest` covers path, label, source and content of every frame, in order, but no attributes: they change no
    prediction. `content` covers the content alone, which is all that calibration and training use. `left_out` lists
    files that cannot be decoded, as "path: reason", `masks` the paths of masks, which are no frames. `unread` counts
    the frames that nobody has read yet: they may be either, and digests are then empty. `unused` are the files of all
    splits' folders that are meant as no frames; they stand with the test split. `remarks` are warnings about these
    frames. `missing` are the videos of a labelled split of which there is no frame. `sharing` says, of test frames,
    why splits share sources where whoever made the data set split it so; empty where they may not.
    """

    name: str
    split: Split
    frames: tuple[Frame, ...]
    digest: str
    content: str
    left_out: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    unread: int = 0
    unused: tuple[Unused, ...] = ()
    missing: tuple[MissingVideo, ...] = ()
    sharing: str = ""

    @cached_property
    def firsts(self) -> tuple[int, ...]:
        """Of every frame the index of the first with the same content; its own where the content is not known yet."""
        seen: dict[str, int] = {}
        return tuple(
            seen.setdefault(frame.digest, index) if frame.digest else index for index, frame in enumerate(self.frames)
        )

    @cached_property
    def copies(self) -> tuple[int, ...]:
        """The indices of frames that are identical to an earlier one: these count in no number."""
        return tuple(index for index, first in enumerate(self.firsts) if first != index)

    @cached_property
    def distinct(self) -> tuple[Frame, ...]:
        """The frames without copies."""
        return tuple(frame for index, frame in enumerate(self.frames) if self.firsts[index] == index)

    @cached_property
    def masks_digest(self) -> str:
        """What is in the masks, and whose they are; empty where no fake has one."""
        if not any(frame.mask for frame in self.frames if frame.label == 1):
            return ""
        content = hashlib.sha256()
        for row, frame in enumerate(self.frames):
            if frame.mask:
                content.update(json.dumps([row, frame.mask.digest, frame.mask.fault]).encode())
        return content.hexdigest()

    @cached_property
    def frames_by_source(self) -> dict[str, int]:
        """How many frames each known source has, copies left out, the largest first; a fake of two counts in both."""
        counts = Counter(name for frame in self.distinct if frame.source for name in frame.sources)
        return dict(counts.most_common())

    def sample_evenly(self, most: int | None = None) -> list[int]:
        """Indices of at most `most` frames at even distances. Frames are sorted by path, so all videos take part."""
        return evenly(len(self.frames), most)

    @property
    def fake(self) -> int:
        return sum(frame.label == 1 for frame in self.frames)

    @property
    def real(self) -> int:
        return sum(frame.label == 0 for frame in self.frames)


BatchReader: TypeAlias = "Callable[[Sequence[Frame], InputSpec, int], Iterator[NDArray[np.uint8]]]"
"""`read(frames, spec, batch_size)` yields uint8 RGB batches [n, 3, size, size], in order, decoding ahead."""


@dataclass(frozen=True)
class Event:
    """Progress of one piece of work: `done` of `total` `unit`s.

    The first event of a `work` begins it; an event in the same unit with `done == total` ends it. Events in other
    units between the two are of its parts, and end only the part. `note` says what is being done now. Where the amount
    of work is unknown, `total` is 0: such an event begins a part and ends nothing; where its `work` has not begun, it
    only says what is done between two works. A work that fails ends with the note `FAILED`.

    `left_s` are the seconds that the whole command will still take, None where there is no estimate. With the unit
    "warning" or "note", `work` is a sentence for the user. With the unit "wait", `work` says for whom this process
    waits, and `note` says why and how to go on without; both are printed at once.
    """

    FAILED: ClassVar = "failed"

    work: str
    done: int
    total: int
    unit: str = "frames"
    note: str = ""
    left_s: float | None = None

    @property
    def is_message(self) -> bool:
        return self.unit in ("warning", "note")

    @property
    def is_whole(self) -> bool:
        """Whether the work, or the part of it, is complete."""
        return 0 < self.total <= self.done

    @property
    def has_failed(self) -> bool:
        return self.is_whole and self.note == self.FAILED

    @property
    def is_wait(self) -> bool:
        return self.unit == "wait"


OnEvent: TypeAlias = Callable[[Event], None]


def silent(event: Event) -> None:
    """A listener that ignores every event."""
