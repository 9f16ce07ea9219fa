"""How far frames lie outside the ranges of a quantised artifact: what is clipped, and what that does to its answers.

Ranges are fixed by calibration frames. Noise is the mean square of what clipping adds to `logit_fake - logit_real`, as
a share of the variance of that over the same frames, were integers without limits.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench import stored
from bench.files import remove, write_text
from bench.records import CalibrationShift, Clipping

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FRAMES = 48
NOISE_BOUND, CALIBRATION_TIMES = 0.005, 5.0
"""Clipping that adds more noise than this, and so many times more than on calibration frames, is worth a warning."""

# What sums in another order may do to a float32 logit, as a share of it.
_ROUNDING = 1e-4


class Clipper(Protocol):
    """A quantised graph that runs with the limits of its integers, and without them."""

    layers: tuple[str, ...]

    def limited(self, frame: NDArray[np.uint8]) -> float:
        """The logit difference of a frame [3, H, W]."""

    def free(self, frame: NDArray[np.uint8]) -> tuple[float, NDArray[np.float64]]:
        """The same, had integers no limits, and the share of values of each layer that lie outside them [layers]."""


def measure(session: Clipper, batches: Iterable[NDArray[np.uint8]]) -> Clipping:
    """What a session clips of all batches of uint8 RGB [n, 3, H, W], and the noise of that."""
    import numpy as np

    limited, free, shares = [], [], []
    for batch in batches:
        for frame in batch:
            limited.append(session.limited(frame))
            logit_diff, of_layers = session.free(frame)
            free.append(logit_diff)
            shares.append(of_layers)
    layers = dict(zip(session.layers, (float(share) for share in np.mean(shares, axis=0)), strict=True))
    return Clipping(*noise(np.array(limited), np.array(free)), len(free), layers)


def noise(limited: NDArray[np.float64], free: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Noise and deviation of logit differences [frames] with limits and without; None where all are alike, or NaN."""
    import numpy as np

    errors, variance = np.square(limited - free).mean(), free.var()
    rounding = _ROUNDING * max(1.0, float(np.abs(free).max()))
    if not (np.isfinite(errors) and np.isfinite(variance)) or variance <= rounding**2:
        return None, None
    return float(errors / variance), float(np.sqrt(variance))


def is_noisy(clipping: Clipping) -> bool:
    """Whether clipping adds so much noise that it matters whether it does so on calibration frames too."""
    return clipping.noise is not None and clipping.noise > NOISE_BOUND


def shift(test: Clipping, calibration: Clipping | None) -> CalibrationShift:
    """What is clipped of a frame set, beside what is clipped of calibration frames, where that was measured."""
    layer = max(test.layers, key=lambda name: test.layers[name], default="")
    return CalibrationShift(
        noise=test.noise,
        deviation=test.deviation,
        calibration_noise=calibration.noise if calibration else None,
        calibration_deviation=calibration.deviation if calibration else None,
        clipped=sum(test.layers.values()) / max(len(test.layers), 1),
        layer=layer,
        layer_clipped=test.layers.get(layer, 0.0),
        frames=test.frames,
        warned=_is_shifted(test, calibration),
    )


def _is_shifted(test: Clipping, calibration: Clipping | None) -> bool | None:
    """Whether clipping of a frame set is worth a warning; None where nothing tells.

    Where answers to all test frames are nearly the same, any change is large in deviations of theirs, and matters to
    nobody: then those over calibration frames are the unit.
    """
    if test.noise is None or test.deviation is None:
        return None
    if calibration is None or calibration.noise is None or calibration.deviation is None:
        return is_noisy(test)
    noise = test.noise * min(1.0, test.deviation / calibration.deviation) ** 2
    return noise > max(NOISE_BOUND, CALIBRATION_TIMES * calibration.noise)


def write(file: Path, clipping: Clipping) -> None:
    if file.is_dir():
        remove(file)
    write_text(file, json.dumps(dataclasses.asdict(clipping)) + "\n")


def read(file: Path) -> Clipping | None:
    """What was measured; None where it was not, or the file is damaged: then it is measured again."""
    try:
        clipping: Clipping = stored.typed(Clipping, stored.read_json(file, stored.MIB))
    except (OSError, ValueError):
        return None
    numbers = [clipping.noise or 0.0, clipping.deviation or 1.0, *clipping.layers.values()]
    sound = min(numbers) >= 0 and max(clipping.layers.values(), default=0.0) <= 1 and clipping.frames >= 0
    return clipping if sound else None
