"""What is done to test frames before they are judged again: kinds and levels of re-compression."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from bench.records.frames import Frame, InputSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DegradationKind: TypeAlias = Literal["jpeg", "resize", "blur", "h264"]


@dataclass(frozen=True)
class Degradation:
    """A kind of re-compression and how much of it: a JPEG quality, a factor, a sigma in pixels, or a CRF."""

    kind: DegradationKind
    level: float

    @property
    def title(self) -> str:
        """What people read, in the words of the experiment file: "jpeg 90", "blur 1.5"."""
        return f"{self.kind} {self.text}"

    @property
    def folder(self) -> str:
        """The name of the folder of its predictions: "jpeg-90"."""
        return f"{self.kind}-{self.text}"

    @property
    def text(self) -> str:
        """The level as the experiment file spells it."""
        return repr(float(self.level)).removesuffix(".0")


@dataclass(frozen=True)
class DegradedSpec:
    """How the host prepares a frame that is re-compressed first: as it was decoded, before it is resized by `spec`."""

    spec: InputSpec
    degradation: Degradation

    @property
    def size(self) -> int:
        return self.spec.size


AnySpec: TypeAlias = InputSpec | DegradedSpec
"""How a frame goes into a network: as it is, or re-compressed first."""

SpecBatches: TypeAlias = "Mapping[AnySpec, NDArray[np.uint8]]"
"""The same frames as each spec has them: uint8 RGB [n, 3, size, size]."""

SpecsReader: TypeAlias = Callable[[Sequence[Frame], Sequence[AnySpec], int], Iterator[SpecBatches]]
"""`read(frames, specs, batch_size)` yields batches for several specs: each frame is decoded once."""
