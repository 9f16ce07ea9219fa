"""Where a point of a picture is once the picture is fitted to a detector's input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bench.datasets.decoding import LONGEST
from bench.records import InputSpec


class _Axis(NamedTuple):
    """From a position on one side of a picture to one on the input's: `scale` times it, plus `shift`, in pixels."""

    scale: float
    shift: float


def fitted_points(
    points: Sequence[tuple[float, float]], height: int, width: int, spec: InputSpec
) -> tuple[tuple[float, float], ...]:
    """Points (x, y) of a picture of this size, in pixels of what `decoding.fit` makes of it.

    The corner of the upper left pixel is (0, 0). What is cut off lies outside of the input.
    """
    down, across = _axes(height, width, spec)
    return tuple((across.scale * x + across.shift, down.scale * y + down.shift) for x, y in points)


def fitting(height: int, width: int, spec: InputSpec) -> tuple[float, float, float, float, float, float]:
    """(a, b, c, d, e, f): what is at (x, y) of a picture of this size is at (ax + by + c, dx + ey + f) of the input.

    Places are counted as in `fitted_points`.
    """
    down, across = _axes(height, width, spec)
    return across.scale, 0.0, across.shift, 0.0, down.scale, down.shift


def _axes(height: int, width: int, spec: InputSpec) -> tuple[_Axis, _Axis]:
    size = spec.size
    if (height, width) == (size, size) and (spec.fit, spec.crop_pct < 1) != ("crop", True):
        return _Axis(1, 0), _Axis(1, 0)
    if spec.fit == "stretch":
        return _Axis(size / height, 0), _Axis(size / width, 0)
    if spec.fit == "crop":
        return _cut(height, width, spec)
    scale, centred = size / max(height, width), spec.pad == "centre"
    down, across = (_Axis(scale, (size - side * scale) / 2 if centred else 0) for side in (height, width))
    return down, across


def _cut(height: int, width: int, spec: InputSpec) -> tuple[_Axis, _Axis]:
    """The middle of a picture that is very long first, then the short side resized, then the middle of that."""
    short = min(height, width)
    axes = []
    middles = [side - 2 * (max(0, side - LONGEST * short) // 2) for side in (height, width)]
    target = int(spec.size / spec.crop_pct)
    for side, middle in zip((height, width), middles, strict=True):
        resized = int(target * middle / min(middles))
        scale = resized / middle
        axes.append(_Axis(scale, -scale * ((side - middle) // 2) - round((resized - spec.size) / 2)))
    return axes[0], axes[1]
