"""Self-blended fakes of drawn portraits.

They follow the recipe of self-blended images (Shiohara & Yamasaki, CVPR 2022): a copy of the *same* picture, shifted in
colour, sharpness and geometry, is blended back through a soft irregular mask inside the face.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from bench.datasets.portraits import Face, Image, face_coordinates, noise, soft

_PARTS = {"face": 0.55, "eyes": 0.15, "nose": 0.1, "mouth": 0.2}
"""What self-blends replace, and how often."""


@dataclass(frozen=True)
class Blend:
    """A fake: the picture [H, W, 3], and what of it is forged, [H, W] from 0 to 1."""

    image: Image
    mask: Image


def choose_part(rng: np.random.Generator) -> str:
    """The part of a face that a fake replaces."""
    return str(rng.choice(list(_PARTS), p=list(_PARTS.values())))


def self_blend(rng: np.random.Generator, image: Image, face: Face, part: str = "face") -> Blend:
    """A fake of `image` [H, W, 3]: the picture blended with a shifted copy of itself in a part of `face`."""
    source = shifted(rng, image)
    mask = _blend_mask(rng, face, image.shape[0], part)
    return blended(rng, image, source, mask)


def blended(rng: np.random.Generator, target: Image, source: Image, mask: Image) -> Blend:
    """`target` [H, W, 3] with `source` in the place of what `mask` [H, W] says, more or less opaque."""
    opacity = mask * rng.choice(np.array([0.6, 0.8, 1.0, 1.0], dtype=np.float32))
    return Blend(target + opacity[..., None] * (source - target), mask)


def shifted(rng: np.random.Generator, image: Image) -> Image:
    """The picture [size, size, 3] a little off in colour, sharpness and geometry."""
    return _shift_geometry(rng, _shift_sharpness(rng, _shift_colour(rng, image)))


def _shift_colour(rng: np.random.Generator, image: Image) -> Image:
    """Gain and offset per channel, contrast and saturation, each a little off."""
    gain = (1.0 + rng.uniform(-0.07, 0.07, 3)).astype(np.float32)
    offset = rng.uniform(-0.035, 0.035, 3).astype(np.float32)
    contrast, saturation = (np.float32(s) for s in 1.0 + rng.uniform(-0.15, 0.15, 2))
    shifted = (image - np.float32(0.5)) * contrast + np.float32(0.5)
    grey = shifted.mean(axis=2, keepdims=True)
    recoloured: Image = np.clip((grey + saturation * (shifted - grey)) * gain + offset, 0, 1).astype(np.float32)
    return recoloured


def _shift_sharpness(rng: np.random.Generator, image: Image) -> Image:
    """Blurred, taken down and up again in resolution, or sharpened."""
    kind, size = rng.random(), image.shape[0]
    if kind < 0.4:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 1.4)), dtype=np.float32)
    if kind < 0.75:
        small = round(size * rng.uniform(0.45, 0.8))
        down = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(down, (size, size), interpolation=cv2.INTER_CUBIC), dtype=np.float32)
    blurred = cv2.GaussianBlur(image, (0, 0), 1.0)
    return np.clip(image + np.float32(rng.uniform(0.5, 1.3)) * (image - blurred), 0, 1).astype(np.float32)


def _shift_geometry(rng: np.random.Generator, image: Image) -> Image:
    """A small affine move and an elastic one, resampled once."""
    size = image.shape[0]
    turn, scale = rng.normal(0, 0.02), 1.0 + rng.uniform(-0.04, 0.04)
    move = rng.uniform(-0.02, 0.02, 2) * size
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    dx, dy = x - np.float32(size / 2), y - np.float32(size / 2)
    cos, sin = np.float32(np.cos(turn) * scale), np.float32(np.sin(turn) * scale)
    bend = noise(rng, size, 7, 2) * np.float32(rng.uniform(0.0, 0.006) * size)
    map_x = cos * dx - sin * dy + np.float32(size / 2 + move[0]) + bend[..., 0]
    map_y = sin * dx + cos * dy + np.float32(size / 2 + move[1]) + bend[..., 1]
    moved = cv2.remap(image, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.clip(moved, 0, 1).astype(np.float32)


def _blend_mask(rng: np.random.Generator, face: Face, size: int, part: str) -> Image:
    """A soft irregular region over a part of the face, [size, size] in [0, 1]."""
    u, v = face_coordinates(face, size)
    if part == "face":
        centre, radius = (rng.normal(0, 0.06), rng.uniform(-0.05, 0.25)), rng.uniform(0.5, 0.85, 2)
    else:
        middle, reach = {
            "eyes": (face.eye_level - 0.05, (face.eye_distance + 0.32, 0.33)),
            "nose": (face.nose_level - 0.1, (0.4, 0.42)),
            "mouth": (face.mouth_level, (face.mouth_width + 0.25, 0.32)),
        }[part]
        centre, radius = (rng.normal(0, 0.04), middle + rng.normal(0, 0.03)), np.array(reach) * rng.uniform(0.85, 1.2)
    edge = np.sqrt(((u - centre[0]) / radius[0]) ** 2 + ((v - centre[1]) / radius[1]) ** 2)
    edge = edge + np.float32(rng.uniform(0.05, 0.2)) * noise(rng, size, 6)
    inside = (edge < 1.0).astype(np.float32)
    blurred = cv2.GaussianBlur(inside, (0, 0), size * rng.uniform(0.01, 0.045 if part == "face" else 0.025))
    # The face's own outline bounds the mask, so that hair and background stay the camera's.
    return np.asarray(blurred * soft(np.sqrt(u**2 + v**2) - 0.93, 0.12), dtype=np.float32)
