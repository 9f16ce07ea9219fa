"""A B0 with random weights and what it is quantised with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from bench.records import Event, Frame, FrameSet, InputSpec
from bench.variants.steps import StepContext, quantize
from tests.support import b0, shared

CALIBRATION = 24


EVENTS: list[Event] = []
# A folder of its own for every step: on a slow machine it writes checkpoints, which no other step must go on from.
_SCRATCH: list[TemporaryDirectory[str]] = []


def calibration(size: int = b0.SIZE) -> StepContext:
    """Calibration on `CALIBRATION` frames [3, size, size] that no test scores."""
    pixels = b0.frames(CALIBRATION, seed=100, size=size)

    def read(frames: Sequence[Frame], spec: InputSpec, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        listed = pixels[[int(frame.path.removesuffix(".png")) for frame in frames]]
        yield from (listed[start : start + batch_size] for start in range(0, len(listed), batch_size))

    def teacher() -> Any:
        raise AssertionError("quantize has no use for a teacher")

    _SCRATCH.append(TemporaryDirectory(prefix="quantize"))
    listed = tuple(Frame(f"{i}.png", Path(f"{i}.png"), None, None, str(i)) for i in range(len(pixels)))
    return StepContext(
        title="quantize", spec=InputSpec(size), read=read, teacher=teacher, device="cpu", threads=2, seed=0,
        frames={"calibration": FrameSet("calibration", "calibration", listed, "", "")}, scratch=Path(_SCRATCH[-1].name),
        on_event=EVENTS.append,
    )  # fmt: skip


@cache
def quantised() -> onnx.ModelProto:
    return shared.graph("b0-int8", lambda: quantize.apply(b0.detector(), quantize.Settings(), calibration()))
