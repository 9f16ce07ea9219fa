"""Procedural portraits and their self-blended fakes: the drawn world of the demo set.

Nothing here is photographed and nobody is depicted. A portrait is a pure function of a
`numpy.random.Generator`; the fake of a portrait follows the recipe of self-blended images
(Shiohara & Yamasaki, CVPR 2022): a copy of the *same* picture, shifted in colour, sharpness and
geometry, is blended back through a soft irregular mask inside the face.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.floating[Any]]
"""RGB picture [H, W, 3] or one of its planes [H, W], float32, nominally in [0, 1]."""

# Skin tones from deep to fair, linear interpolation between them; sRGB in [0, 1].
_SKIN = np.array(
    [[0.27, 0.17, 0.12], [0.45, 0.29, 0.20], [0.66, 0.46, 0.34], [0.80, 0.60, 0.48], [0.93, 0.77, 0.67]],
    dtype=np.float32,
)
_HAIR = np.array(
    [[0.06, 0.05, 0.05], [0.20, 0.12, 0.08], [0.38, 0.22, 0.12], [0.70, 0.54, 0.30], [0.60, 0.60, 0.60]],
    dtype=np.float32,
)
_IRIS = np.array([[0.18, 0.10, 0.05], [0.35, 0.22, 0.10], [0.25, 0.38, 0.25], [0.30, 0.45, 0.60]], dtype=np.float32)


@dataclass(frozen=True)
class Face:
    """Where the face lies: centre, half axes and tilt, in pixels and radians."""

    x: float
    y: float
    half_width: float
    half_height: float
    tilt: float


@dataclass(frozen=True)
class _Canvas:
    """The picture being drawn, with the coordinates of its pixels in the face's own frame.

    `u`, `v` are [H, W]: right and down from the face's centre, 1 at the end of a half axis.
    """

    image: Image
    u: Image
    v: Image

    def paint(self, colour: Image, alpha: Image) -> None:
        """Blend `colour` ([3] or [H, W, 3]) over the picture with opacity `alpha` [H, W], in place."""
        colours = np.asarray(colour, dtype=np.float32)
        # Channel by channel: loops over rows take a third of the time that loops over three numbers do.
        for channel in range(3):
            plane = self.image[..., channel]
            np.add(plane, alpha * (colours[..., channel] - plane), out=plane)


def draw_portrait(rng: np.random.Generator, size: int) -> tuple[Image, Face]:
    """Draw one portrait of `size` x `size` pixels as a camera would have taken it, noise included."""
    face = Face(
        x=size * rng.uniform(0.46, 0.54),
        y=size * rng.uniform(0.46, 0.54),
        half_width=size * rng.uniform(0.25, 0.31),
        half_height=size * rng.uniform(0.34, 0.41),
        tilt=rng.normal(0.0, 0.08),
    )
    skin = _mixed(_SKIN, rng) * rng.uniform(0.94, 1.06, 3).astype(np.float32)
    hair = _mixed(_HAIR, rng)
    canvas = _Canvas(_background(rng, size), *_face_coordinates(face, size))
    _back_hair(canvas, rng, hair)
    _shoulders(canvas, rng, skin)
    _head(canvas, rng, skin)
    _eyes(canvas, rng, skin, hair)
    _nose(canvas, rng, skin)
    _mouth(canvas, rng, skin)
    _fringe(canvas, rng, hair)
    return _photograph(canvas, rng), face


def self_blend(rng: np.random.Generator, image: Image, face: Face) -> Image:
    """A fake of `image` [H, W, 3]: the picture blended with a shifted copy of itself inside `face`."""
    size = image.shape[0]
    source = _shift_geometry(rng, _shift_sharpness(rng, _shift_colour(rng, image)))
    mask = _blend_mask(rng, face, size) * rng.choice(np.array([0.6, 0.8, 1.0, 1.0], dtype=np.float32))
    blended: Image = image + mask[..., None] * (source - image)
    return blended


def to_uint8(image: Image) -> NDArray[np.uint8]:
    """Round a picture in [0, 1] to uint8, clipping what lies outside."""
    rounded: NDArray[np.uint8] = np.clip(np.rint(image * 255.0), 0, 255).astype(np.uint8)
    return rounded


# ----------------------------------------------------------------------------------- the drawing
def _mixed(palette: Image, rng: np.random.Generator) -> Image:
    """A colour between two neighbours of the palette."""
    position = rng.uniform(0, len(palette) - 1)
    low = int(position)
    colour: Image = palette[low] + np.float32(position - low) * (palette[min(low + 1, len(palette) - 1)] - palette[low])
    return colour


def _noise(rng: np.random.Generator, size: int, cells: int, channels: int = 1) -> Image:
    """Smooth noise of about `cells` bumps across, unit variance before smoothing, [size, size(, channels)]."""
    grid = rng.standard_normal((cells, cells, channels), dtype=np.float32)
    field = cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(field, dtype=np.float32)


def _soft(distance: NDArray[np.floating], width: float) -> Image:
    """1 where `distance` is well below 0, 0 well above, a smooth edge of about `width` between."""
    coverage: Image = 1.0 / (1.0 + np.exp(np.clip(distance / np.float32(width / 4), -30, 30)))
    return coverage


def _ellipse(canvas: _Canvas, u: float, v: float, ru: float, rv: float, edge: float, turn: float = 0.0) -> Image:
    """Coverage [H, W] of an ellipse given in face coordinates."""
    du, dv = canvas.u - np.float32(u), canvas.v - np.float32(v)
    if turn:
        du, dv = (
            np.float32(np.cos(turn)) * du + np.float32(np.sin(turn)) * dv,
            np.float32(np.cos(turn)) * dv - np.float32(np.sin(turn)) * du,
        )
    return _soft(np.sqrt((du / ru) ** 2 + (dv / rv) ** 2) - 1.0, edge)


def _face_coordinates(face: Face, size: int) -> tuple[Image, Image]:
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) + np.float32(0.5)
    dx, dy = x - np.float32(face.x), y - np.float32(face.y)
    cos, sin = np.float32(np.cos(face.tilt)), np.float32(np.sin(face.tilt))
    return (cos * dx + sin * dy) / np.float32(face.half_width), (cos * dy - sin * dx) / np.float32(face.half_height)


def _background(rng: np.random.Generator, size: int) -> Image:
    """A wall, a room out of focus, or foliage: a gradient, blurred shapes and texture."""
    first, second = _muted(rng.uniform(0.1, 0.95, (2, 3)))
    second = first + (second - first) * np.float32(rng.uniform(0.2, 1.0))
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - np.float32(0.5)
    ramp = np.clip(0.5 + np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y, 0, 1)
    image = first + ramp[..., None] * (second - first)
    for _ in range(rng.integers(0, 7)):
        colour = tuple(float(c) for c in _muted(rng.uniform(0.05, 0.95, (1, 3)))[0])
        left, top = (int(p) for p in rng.uniform(-0.2, 1.0, 2) * size)
        width, height = (int(p) + 2 for p in rng.uniform(0.05, 0.6, 2) * size)
        layer = image.copy()
        if rng.random() < 0.5:
            cv2.rectangle(layer, (left, top), (left + width, top + height), colour, -1)
        else:
            cv2.circle(layer, (left, top), width // 2, colour, -1)
        image += np.float32(rng.uniform(0.3, 0.9)) * (layer - image)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 6.0))
    image += np.float32(rng.uniform(0.0, 0.05)) * _noise(rng, size, int(rng.integers(4, 48)))[..., None]
    return np.ascontiguousarray(image, dtype=np.float32)


def _muted(colours: NDArray[np.float64]) -> Image:
    """Colours [n, 3] drawn halfway towards their own grey, as rooms and walls are."""
    grey = colours.mean(axis=1, keepdims=True)
    muted: Image = (grey + 0.45 * (colours - grey)).astype(np.float32)
    return muted


def _shoulders(canvas: _Canvas, rng: np.random.Generator, skin: Image) -> None:
    size = canvas.image.shape[0]
    cloth = rng.uniform(0.05, 0.9, 3).astype(np.float32)
    weave = _noise(rng, size, int(rng.integers(24, size // 2)))[..., None] * np.float32(rng.uniform(0.0, 0.06))
    if rng.random() < 0.3:
        stripes = np.sin(canvas.u * np.float32(rng.uniform(8, 30)) + np.float32(rng.uniform(0, 6)))
        weave = weave + np.float32(rng.uniform(0.05, 0.2)) * np.sign(stripes)[..., None]
    neck = _soft(np.abs(canvas.u) - np.float32(rng.uniform(0.45, 0.6)), 0.08) * _soft(np.float32(0.4) - canvas.v, 0.1)
    canvas.paint(_ellipse_shade(canvas, skin * np.float32(0.78)), neck)
    canvas.paint(cloth + weave, _ellipse(canvas, 0.0, 2.1, rng.uniform(1.7, 2.3), rng.uniform(0.85, 1.0), 0.05))


def _ellipse_shade(canvas: _Canvas, colour: Image) -> Image:
    """`colour` darkened towards the sides, as a cylinder is."""
    return colour * (1.0 - np.float32(0.25) * np.clip(canvas.u**2, 0, 1))[..., None]


def _strands(canvas: _Canvas, rng: np.random.Generator, colour: Image) -> Image:
    """Hair: streaks along the head's curve over the base colour."""
    size = canvas.image.shape[0]
    angle = np.arctan2(canvas.v, canvas.u) * np.float32(rng.uniform(10, 22))
    streaks = np.sin(angle + 1.5 * _noise(rng, size, 10)) * 0.6 + 0.35 * _noise(rng, size, size // 3)
    return np.clip(colour * (1.0 + np.float32(rng.uniform(0.12, 0.3)) * streaks[..., None]) + 0.015, 0, 1)


def _back_hair(canvas: _Canvas, rng: np.random.Generator, hair: Image) -> None:
    if rng.random() < 0.08:
        return
    length = rng.uniform(1.05, 1.9)
    shape = _ellipse(canvas, 0.0, (length - 1.15) / 2, rng.uniform(1.1, 1.3), (length + 1.15) / 2, 0.06)
    canvas.paint(_strands(canvas, rng, hair), shape)


def _head(canvas: _Canvas, rng: np.random.Generator, skin: Image) -> None:
    """Ears and the head: shaded by one light, mottled at large scale, pored at small."""
    size = canvas.image.shape[0]
    for side in (-1.0, 1.0):
        canvas.paint(skin * np.float32(0.82), _ellipse(canvas, side * 0.99, 0.02, 0.12, 0.2, 0.1))
    jaw = np.float32(rng.uniform(0.0, 0.22)) * np.clip(canvas.v, 0, 1) ** 2
    radius = np.sqrt((canvas.u * (1.0 + jaw)) ** 2 + canvas.v**2)
    depth = np.sqrt(np.clip(1.0 - radius**2, 0.0, 1.0))
    light = rng.normal(0, 0.55, 2).astype(np.float32)
    shade = 0.72 + 0.30 * depth - 0.22 * (light[0] * canvas.u + light[1] * canvas.v)
    blotches = np.float32(rng.uniform(0.01, 0.03)) * (_noise(rng, size, 6)[..., None] + 0.3 * _noise(rng, size, 6, 3))
    pores = np.float32(rng.uniform(0.008, 0.03)) * _noise(rng, size, size // 2)[..., None] * skin.max()
    flush = np.zeros(3, dtype=np.float32)
    flush[0] = rng.uniform(0.0, 0.08)
    cheeks = _ellipse(canvas, -0.5, 0.3, 0.32, 0.25, 1.2) + _ellipse(canvas, 0.5, 0.3, 0.32, 0.25, 1.2)
    colour = skin * shade[..., None] + blotches + pores + cheeks[..., None] * flush
    canvas.paint(colour, _soft(radius - 1.0, 0.05))
    if rng.random() < 0.3:
        beard = _soft(np.float32(0.45) - canvas.v + 0.25 * canvas.u**2, 0.25) * _soft(radius - 0.97, 0.1)
        grain = np.clip(0.6 + 0.5 * _noise(rng, size, size // 2), 0, 1)
        canvas.paint(skin * np.float32(0.35), beard * grain * np.float32(rng.uniform(0.2, 0.7)))


def _eyes(canvas: _Canvas, rng: np.random.Generator, skin: Image, hair: Image) -> None:
    """Two eyes with lids, lashes and brows, and sometimes glasses."""
    iris = _mixed(_IRIS, rng)
    spacing, level = rng.uniform(0.36, 0.43), rng.uniform(-0.2, -0.1)
    width, height = rng.uniform(0.17, 0.21), rng.uniform(0.055, 0.085)
    gaze = rng.normal(0, 0.03, 2)
    brow, arch, thick = rng.uniform(0.16, 0.22), rng.uniform(-0.15, 0.25), rng.uniform(0.025, 0.05)
    white = np.float32(rng.uniform(0.78, 0.95))
    for side in (-1.0, 1.0):
        u = side * spacing
        canvas.paint(skin * np.float32(0.72), _ellipse(canvas, u, level, width * 1.4, height * 2.1, 0.9))
        lids = _ellipse(canvas, u, level, width, height, 0.18)
        canvas.paint(np.array([white, white * 0.97, white * 0.95]), lids)
        eye_u, eye_v = u + gaze[0], level + gaze[1] * 0.4
        canvas.paint(iris, _ellipse(canvas, eye_u, eye_v, 0.088, 0.068, 0.2) * lids)
        canvas.paint(np.full(3, 0.03), _ellipse(canvas, eye_u, eye_v, 0.042, 0.033, 0.3) * lids)
        canvas.paint(np.full(3, 0.97), _ellipse(canvas, eye_u + 0.03, eye_v - 0.022, 0.02, 0.015, 0.5) * lids)
        lash = _ellipse(canvas, u, level - height * 0.35, width * 1.08, height, 0.2) * (1 - lids)
        canvas.paint(skin * np.float32(0.25), lash * _soft(canvas.v - np.float32(level), 0.05) * np.float32(0.8))
        ridge = _ellipse(canvas, u + side * 0.02, level - brow, width * 1.25, thick, 0.5, side * arch)
        canvas.paint(hair * np.float32(0.7), ridge * np.float32(rng.uniform(0.5, 0.9)))
    if rng.random() < 0.2:
        frame = np.float32(rng.uniform(0.02, 0.35))
        for side in (-1.0, 1.0):
            outer = _ellipse(canvas, side * spacing, level + 0.02, 0.31, 0.22, 0.08)
            inner = _ellipse(canvas, side * spacing, level + 0.02, 0.27, 0.185, 0.08)
            canvas.paint(np.full(3, frame), outer * (1 - inner))
        bridge = _soft(np.abs(canvas.u) - np.float32(0.11), 0.04) * _soft(np.abs(canvas.v - level) - 0.018, 0.02)
        canvas.paint(np.full(3, frame), bridge)


def _nose(canvas: _Canvas, rng: np.random.Generator, skin: Image) -> None:
    tip, width, side = rng.uniform(0.2, 0.3), rng.uniform(0.13, 0.19), rng.choice([-1.0, 1.0])
    strength = np.float32(rng.uniform(0.3, 0.8))
    canvas.paint(skin * np.float32(0.68), _ellipse(canvas, side * 0.1, tip / 2 - 0.05, 0.06, 0.3, 1.2) * strength)
    canvas.paint(np.clip(skin * 1.18, 0, 1), _ellipse(canvas, -side * 0.02, tip / 2 - 0.05, 0.05, 0.27, 1.2) * strength)
    canvas.paint(np.clip(skin * 1.1, 0, 1), _ellipse(canvas, 0.0, tip, width * 0.8, 0.09, 0.9) * strength)
    for offset in (-0.55, 0.55):
        nostril = _ellipse(canvas, offset * width, tip + 0.075, 0.045, 0.022, 0.6)
        canvas.paint(skin * np.float32(0.3), nostril * np.float32(0.85))


def _mouth(canvas: _Canvas, rng: np.random.Generator, skin: Image) -> None:
    """Lips, bent to a smile or not, and the gap between them."""
    level, width = rng.uniform(0.5, 0.58), rng.uniform(0.24, 0.36)
    upper, lower = rng.uniform(0.035, 0.06), rng.uniform(0.045, 0.08)
    smile = np.float32(rng.uniform(-0.05, 0.35))
    bent = _Canvas(canvas.image, canvas.u, canvas.v + smile * canvas.u**2)
    lips = np.clip(skin * np.array([1.0, 0.68, 0.66], dtype=np.float32) * np.float32(rng.uniform(0.75, 1.05)), 0, 1)
    bent.paint(lips * np.float32(0.88), _ellipse(bent, 0.0, level - upper * 0.5, width, upper, 0.25))
    bent.paint(lips, _ellipse(bent, 0.0, level + lower * 0.5, width * 0.92, lower, 0.25))
    gloss = _ellipse(bent, 0.0, level + lower * 0.6, width * 0.4, lower * 0.3, 1.0) * 0.5
    bent.paint(np.clip(lips * 1.25, 0, 1), gloss)
    gap = rng.uniform(0.006, 0.02) if rng.random() < 0.75 else rng.uniform(0.02, 0.045)
    opening = _ellipse(bent, 0.0, level, width * 0.95, gap, 0.5)
    bent.paint(np.full(3, 0.86) if gap > 0.02 and rng.random() < 0.6 else skin * np.float32(0.2), opening)


def _fringe(canvas: _Canvas, rng: np.random.Generator, hair: Image) -> None:
    """Hair over the forehead: its lower edge is a tilted, wavy line."""
    if rng.random() < 0.15:
        return
    size = canvas.image.shape[0]
    line = np.float32(rng.uniform(-0.78, -0.5)) + np.float32(rng.normal(0, 0.2)) * canvas.u
    line = line + np.float32(rng.uniform(0.1, 0.5)) * canvas.u**2 + np.float32(0.04) * _noise(rng, size, 14)
    cap = _ellipse(canvas, 0.0, -0.05, 1.1, 1.12, 0.06)
    canvas.paint(_strands(canvas, rng, hair), cap * _soft(canvas.v - line, 0.1))


def _photograph(canvas: _Canvas, rng: np.random.Generator) -> Image:
    """Light over the whole scene, the lens, the sensor's noise and the camera's own sharpening."""
    size = canvas.image.shape[0]
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.35)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - np.float32(0.5)
    light = 1.0 + np.float32(slope * np.cos(angle)) * x + np.float32(slope * np.sin(angle)) * y
    light = light - np.float32(rng.uniform(0.0, 0.5)) * (x**2 + y**2)
    tint = rng.uniform(0.93, 1.07, 3).astype(np.float32)
    exposed = canvas.image * light[..., None] * tint * np.float32(rng.uniform(0.8, 1.15))
    lens = cv2.GaussianBlur(exposed, (0, 0), rng.uniform(0.45, 0.9))
    shot, read = rng.uniform(0.005, 0.03), rng.uniform(0.002, 0.012)
    grain = rng.standard_normal((size, size, 3), dtype=np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), 0.5) * np.float32(1.6)
    image = lens + grain * np.sqrt(np.float32(read**2) + np.float32(shot**2) * np.clip(lens, 0, 1))
    sharpened = image + np.float32(rng.uniform(0.0, 0.7)) * (image - cv2.GaussianBlur(image, (0, 0), 1.0))
    photograph: Image = np.clip(sharpened, 0, 1).astype(np.float32)
    return photograph


# --------------------------------------------------------------------------------- the blending
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
    soft = cv2.GaussianBlur(image, (0, 0), 1.0)
    return np.clip(image + np.float32(rng.uniform(0.5, 1.3)) * (image - soft), 0, 1).astype(np.float32)


def _shift_geometry(rng: np.random.Generator, image: Image) -> Image:
    """A small affine move and an elastic one, resampled once."""
    size = image.shape[0]
    turn, scale = rng.normal(0, 0.02), 1.0 + rng.uniform(-0.04, 0.04)
    move = rng.uniform(-0.02, 0.02, 2) * size
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    dx, dy = x - np.float32(size / 2), y - np.float32(size / 2)
    cos, sin = np.float32(np.cos(turn) * scale), np.float32(np.sin(turn) * scale)
    bend = _noise(rng, size, 7, 2) * np.float32(rng.uniform(0.0, 0.006) * size)
    map_x = cos * dx - sin * dy + np.float32(size / 2 + move[0]) + bend[..., 0]
    map_y = sin * dx + cos * dy + np.float32(size / 2 + move[1]) + bend[..., 1]
    moved = cv2.remap(image, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.clip(moved, 0, 1).astype(np.float32)


def _blend_mask(rng: np.random.Generator, face: Face, size: int) -> Image:
    """A soft irregular region inside the face, [size, size] in [0, 1]."""
    u, v = _face_coordinates(face, size)
    centre_u, centre_v = rng.normal(0, 0.06), rng.uniform(-0.05, 0.25)
    radius_u, radius_v = rng.uniform(0.5, 0.85), rng.uniform(0.5, 0.85)
    edge = np.sqrt(((u - centre_u) / radius_u) ** 2 + ((v - centre_v) / radius_v) ** 2)
    edge = edge + np.float32(rng.uniform(0.05, 0.2)) * _noise(rng, size, 6)
    inside = (edge < 1.0).astype(np.float32)
    soft = cv2.GaussianBlur(inside, (0, 0), size * rng.uniform(0.01, 0.045))
    # The face's own outline bounds the mask, so that hair and background stay the camera's.
    return np.asarray(soft * _soft(np.sqrt(u**2 + v**2) - 0.93, 0.12), dtype=np.float32)
