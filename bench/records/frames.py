"""Frames, what is done to them on the host, and the progress of work on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Split: TypeAlias = Literal["test", "validation", "calibration", "train"]
SPLITS: tuple[Split, ...] = ("test", "validation", "calibration", "train")
LABELLED_SPLITS: tuple[Split, ...] = ("test", "validation")

PREDICTED: tuple[str, ...] = ("frame", "p_fake", "logit_real", "logit_fake")
"""What predictions call their columns: nothing else that is known of a frame may be called so."""

Outcome: TypeAlias = Literal["true_positives", "false_negatives", "false_positives", "true_negatives"]
OUTCOMES: tuple[Outcome, ...] = ("true_positives", "false_negatives", "false_positives", "true_negatives")


@dataclass(frozen=True)
class InputSpec:
    """What must happen to a frame on the host: part of every id, paid once per distinct spec.

    `fit`: `stretch` both sides to `size`; `crop` resizes the short side and cuts the centre;
    `pad` resizes the long side and fills bottom and right with black. `interpolation` names
    OpenCV's filter: `bilinear` is INTER_LINEAR, `bicubic` INTER_CUBIC, `area` INTER_AREA.
    """

    size: int
    fit: Literal["stretch", "crop", "pad"] = "stretch"
    interpolation: Literal["bilinear", "bicubic", "area"] = "bilinear"


@dataclass(frozen=True)
class Preprocessing:
    """How a frame becomes the network's input.

    `size`, `fit` and `interpolation` happen on the host (see `InputSpec`), the rest inside the
    graph: scaling to [0, 1], `(x - mean) / std` per RGB channel, channel order, wavelet blend.
    """

    size: int
    fit: Literal["stretch", "crop", "pad"] = "stretch"
    interpolation: Literal["bilinear", "bicubic", "area"] = "bilinear"
    channels: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    wavelet: Literal["none", "sym2"] = "none"

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec(self.size, self.fit, self.interpolation)


@dataclass(frozen=True)
class Frame:
    """One picture of a frame set.

    `path` is its name: relative to its split's folder, with forward slashes. `label` is 1 for
    fake, 0 for real, None where unlabelled; `source` the video or person it comes from, None
    where unknown; `digest` the SHA-256 of the file's bytes, in hexadecimal. `attributes` are what else
    is known of it, (name, value), "" where missing: further columns of a manifest, in their order, or
    the folder below `real/` or `fake/`.
    """

    path: str
    file: Path
    label: int | None
    source: str | None
    digest: str
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class FrameSet:
    """The frames of one split, in a fixed order.

    `digest` covers path, label, source and content of every frame, in order, but no attributes: to
    know more of a frame changes no prediction. `content` covers the
    content alone (what matters for calibration and training, which see no labels). `left_out`
    tells, as "path: reason", which files were found and not taken, since they can't be decoded;
    `remarks` what a reader must know of these frames.
    """

    name: str
    split: Split
    frames: tuple[Frame, ...]
    digest: str
    content: str
    left_out: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def spread(self, most: int | None = None) -> list[int]:
        """The places of at most `most` frames, evenly spread over all: sorted by path, so over its videos too."""
        count = len(self.frames) if most is None else min(most, len(self.frames))
        return [place * len(self.frames) // count for place in range(count)]

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

    The first event of a `work` begins it, and one in the same unit with `done == total` ends it. Between the two may
    come events in other units, for its parts: such a part's end ends only the part. `note` says what is being done
    now. Where nobody knows how much that is, `total` is 0: such an event begins a part and ends nothing; where its
    `work` has not begun, it only says what is done between two works. A work that fails ends with the note `FAILED`.

    `left_s` are the seconds that the whole command will still take, None where that is not foreseen.
    With the unit "warning" or "note", `work` is a sentence for whoever watches. With the unit "wait", it says for whom
    this process waits, and `note` why and how to go on without: both are told at once.
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
        """Whether all of the unit is done: of the work, or of a part of it."""
        return 0 < self.total <= self.done

    @property
    def has_failed(self) -> bool:
        return self.is_whole and self.note == self.FAILED

    @property
    def is_wait(self) -> bool:
        return self.unit == "wait"


OnEvent: TypeAlias = Callable[[Event], None]


def silent(event: Event) -> None:
    """The listener of those who don't care."""
