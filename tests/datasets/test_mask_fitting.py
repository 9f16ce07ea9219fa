"""Masks as the network sees them: they lie over their frames through every fit, whatever their size and kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bench.datasets import decode, fitted, misshapen
from bench.errors import UserError
from bench.records import GRID, ForgeryMask, Frame, InputSpec

FITS: tuple[dict[str, Any], ...] = (
    {"size": 96},
    {"size": 96, "interpolation": "pil-bicubic"},
    {"size": 96, "fit": "crop"},
    {"size": 96, "fit": "crop", "crop_pct": 0.8},
    {"size": 96, "fit": "pad"},
    {"size": 96, "fit": "pad", "pad": "centre"},
    {"size": 48},
    {"size": 380, "fit": "pad"},
)


def saved(file: Path, forged: NDArray[np.bool_], size: tuple[int, int] | None = None, mode: str = "L") -> Path:
    """A mask; of `size` (w, h) where that is another than its own."""
    picture = Image.fromarray(np.where(forged, np.uint8(255), np.uint8(0))).convert(mode)
    (picture.resize(size, Image.Resampling.NEAREST) if size else picture).save(file)
    return file


def frame_of(file: Path, mask: Path, **options: Any) -> Frame:
    return Frame("a", file, 1, None, "", mask=ForgeryMask(mask, **options))


def ellipse(height: int, width: int, *, across: float = 0.55, down: float = 0.4) -> NDArray[np.bool_]:
    """An ellipse off the centre, so that a turn or a shift shows."""
    y, x = np.mgrid[:height, :width]
    return np.asarray(((x / width - across) / 0.25) ** 2 + ((y / height - down) / 0.18) ** 2 < 1)


@pytest.mark.parametrize("options", FITS, ids=str)
@pytest.mark.parametrize("shape", [(120, 120), (90, 160), (200, 130)])
def test_a_mask_goes_where_its_frame_goes(tmp_path: Path, shape: tuple[int, int], options: dict[str, Any]) -> None:
    """The frame is white where it is forged: what the network sees there is what the mask must show."""
    spec, forged = InputSpec(**options), ellipse(*shape)
    Image.fromarray(np.repeat(np.where(forged, np.uint8(255), np.uint8(0))[..., None], 3, 2)).save(tmp_path / "f.png")
    frame = frame_of(tmp_path / "f.png", saved(tmp_path / "m.png", forged))
    seen = decode(frame.file, spec)[..., 0]
    expected = cv2.resize(seen, (GRID, GRID), interpolation=cv2.INTER_AREA) / 255
    shares = fitted(frame, spec).shares / 255
    assert np.abs(shares - expected).mean() < 0.01
    assert np.abs(shares.mean() - seen.mean() / 255) < 0.005, "the area is right"
    inside = (shares >= 0.5) & (expected >= 0.5)
    assert inside.sum() / ((shares >= 0.5) | (expected >= 0.5)).sum() > 0.94


@pytest.mark.parametrize("factor", [0.25, 0.5, 2, 3])
def test_masks_of_another_size_in_the_same_proportion(tmp_path: Path, factor: float) -> None:
    forged, size = ellipse(120, 160), (round(160 * factor), round(120 * factor))
    Image.new("RGB", (160, 120)).save(tmp_path / "f.png")
    same = fitted(frame_of(tmp_path / "f.png", saved(tmp_path / "m.png", forged)), InputSpec(96))
    other = fitted(frame_of(tmp_path / "f.png", saved(tmp_path / "n.png", forged, size)), InputSpec(96))
    assert np.abs(same.shares.astype(int) - other.shares).mean() / 255 < 0.02


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "RGBA"])
def test_every_kind_of_picture_is_a_mask(tmp_path: Path, mode: str) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "f.png")
    frame = frame_of(tmp_path / "f.png", saved(tmp_path / "m.png", ellipse(64, 64), mode=mode))
    assert ((fitted(frame, InputSpec(64)).shares > 127) == ellipse(64, 64)).all()


@pytest.mark.parametrize(("value", "is_forged"), [(0, False), (1, False), (127, False), (128, True), (255, True)])
def test_forged_is_what_is_brighter_than_127_in_any_channel(tmp_path: Path, value: int, is_forged: bool) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "f.png")
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32, :, 1] = value
    Image.fromarray(pixels).save(tmp_path / "m.png")
    mask = fitted(frame_of(tmp_path / "f.png", tmp_path / "m.png"), InputSpec(64))
    assert mask.shares.any() == is_forged
    assert mask.is_black == (not is_forged)
    assert mask.is_faint == (not is_forged and value > 0)


def test_a_thin_line_keeps_its_area(tmp_path: Path) -> None:
    """A filter that looks at single pixels would lose it, or make it thick."""
    forged = np.zeros((1000, 1000), bool)
    forged[500:502] = True
    Image.new("RGB", (1000, 1000)).save(tmp_path / "f.png")
    shares = fitted(frame_of(tmp_path / "f.png", saved(tmp_path / "m.png", forged)), InputSpec(128)).shares
    assert shares.mean() / 255 == pytest.approx(0.002, abs=0.0005)


def test_the_cameras_orientation_turns_the_frame_and_not_the_mask(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (160, 90)).save(tmp_path / "f.jpg", exif=exif)
    upright, lying = saved(tmp_path / "u.png", ellipse(160, 90)), saved(tmp_path / "l.png", ellipse(90, 160))
    assert misshapen(frame_of(tmp_path / "f.jpg", upright)) == ""
    assert "160 × 90 pixels, and its frame has 90 × 160" in misshapen(frame_of(tmp_path / "f.jpg", lying))


def test_one_pixel_of_rounding_is_the_same_proportion(tmp_path: Path) -> None:
    Image.new("RGB", (1281, 719)).save(tmp_path / "f.png")
    frame = frame_of(tmp_path / "f.png", saved(tmp_path / "m.png", ellipse(180, 320)))
    assert misshapen(frame) == ""
    other = frame_of(tmp_path / "f.png", saved(tmp_path / "n.png", ellipse(180, 325)))
    assert "expected that size, or one in the same proportion" in misshapen(other)
    with pytest.raises(UserError, match="325 × 180 pixels"):
        fitted(other, InputSpec(64))


def test_what_is_cut_off_is_not_seen(tmp_path: Path) -> None:
    forged = np.zeros((100, 300), bool)
    forged[:, :50] = True
    Image.new("RGB", (300, 100)).save(tmp_path / "f.png")
    mask = fitted(frame_of(tmp_path / "f.png", saved(tmp_path / "m.png", forged)), InputSpec(64, "crop"))
    assert not mask.shares.any()
    assert not mask.is_black
