"""Procedural portraits: the drawn world of the demo set.

Nothing here is photographed and nobody is depicted. A portrait is a pure function of a `numpy.random.Generator`.
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
_PROFILE = 4096  # steps around the head at which streaks of hair are drawn
_HAIR = np.array(
    [[0.06, 0.05, 0.05], [0.20, 0.12, 0.08], [0.38, 0.22, 0.12], [0.70, 0.54, 0.30], [0.60, 0.60, 0.60]],
    dtype=np.float32,
)
_IRIS = np.array([[0.18, 0.10, 0.05], [0.35, 0.22, 0.10], [0.25, 0.38, 0.25], [0.30, 0.45, 0.60]], dtype=np.float32)


@dataclass(frozen=True)
class Face:
    """Where the face lies: centre, half axes and tilt, in pixels and radians; and where its features lie in it.

    Features are in the face's own frame: right and down from its centre, 1 at the end of a half axis.
    """

    x: float
    y: float
    half_width: float
    half_height: float
    tilt: float
    eye_distance: float  # from the middle of the face to either eye
    eye_level: float
    nose_level: float
    mouth_level: float
    mouth_width: float  # half of it

    @property
    def points(self) -> NDArray[np.float64]:
        """Both eyes, the tip of the nose and both corners of the mouth, [5, 2] in pixels: left to right as seen."""
        u = np.array([-self.eye_distance, self.eye_distance, 0.0, -self.mouth_width, self.mouth_width])
        v = np.array([self.eye_level, self.eye_level, self.nose_level, self.mouth_level, self.mouth_level])
        right, down = u * self.half_width, v * self.half_height
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        return np.stack([self.x + cos * right - sin * down, self.y + sin * right + cos * down], axis=1)


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
        x=size * rng.uniform(0.43, 0.57),
        y=size * rng.uniform(0.45, 0.55),
        half_width=size * rng.uniform(0.26, 0.33),
        half_height=size * rng.uniform(0.35, 0.43),
        tilt=rng.normal(0.0, 0.08),
        eye_distance=rng.uniform(0.36, 0.43),
        eye_level=rng.uniform(-0.2, -0.1),
        nose_level=rng.uniform(0.2, 0.3),
        mouth_level=rng.uniform(0.5, 0.58),
        mouth_width=rng.uniform(0.24, 0.36),
    )
    skin = _mixed(_SKIN, rng) * rng.uniform(0.94, 1.06, 3).astype(np.float32)
    hair = _mixed(_HAIR, rng)
    canvas = _Canvas(_background(rng, size), *face_coordinates(face, size))
    _back_hair(canvas, rng, hair)
    _shoulders(canvas, rng, skin)
    _head(canvas, rng, skin)
    _eyes(canvas, rng, face, skin, hair)
    _nose(canvas, rng, face, skin)
    _mouth(canvas, rng, face, skin)
    _fringe(canvas, rng, hair)
    return _photograph(canvas, rng), face


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


def noise(rng: np.random.Generator, size: int, cells: int, channels: int = 1) -> Image:
    """Smooth noise of about `cells` bumps across, unit variance before smoothing, [size, size(, channels)]."""
    grid = rng.standard_normal((cells, cells, channels), dtype=np.float32)
    field = cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(field, dtype=np.float32)


def soft(distance: NDArray[np.floating], width: float) -> Image:
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
    return soft(np.sqrt((du / ru) ** 2 + (dv / rv) ** 2) - 1.0, edge)


def face_coordinates(face: Face, size: int) -> tuple[Image, Image]:
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
    image += np.float32(rng.uniform(0.0, 0.05)) * noise(rng, size, int(rng.integers(4, 48)))[..., None]
    return np.ascontiguousarray(image, dtype=np.float32)


def _muted(colours: NDArray[np.float64]) -> Image:
    """Colours [n, 3] drawn halfway towards their own grey, as rooms and walls are."""
    grey = colours.mean(axis=1, keepdims=True)
    muted: Image = (grey + 0.45 * (colours - grey)).astype(np.float32)
    return muted


def _shoulders(canvas: _Canvas, rng: np.random.Generator, skin: Image) -> None:
    """The neck, in the chin's shadow, and clothes below it, some of them striped."""
    size = canvas.image.shape[0]
    cloth = _muted(rng.uniform(0.05, 0.9, (1, 3)))[0]
    weave = noise(rng, size, int(rng.integers(24, size // 2)))[..., None] * np.float32(rng.uniform(0.0, 0.06))
    if rng.random() < 0.3:
        stripes = np.sin(canvas.u * np.float32(rng.uniform(8, 30)) + np.float32(rng.uniform(0, 6)))
        weave = weave + np.float32(rng.uniform(0.05, 0.2)) * np.sign(stripes)[..., None]
    neck = soft(np.abs(canvas.u) - np.float32(rng.uniform(0.45, 0.6)), 0.08) * soft(np.float32(0.4) - canvas.v, 0.1)
    # The chin's shadow falls on the neck.
    dusk = np.float32(1.0) - np.float32(0.35) * soft(canvas.v - np.float32(1.12), 0.25)
    canvas.paint(_ellipse_shade(canvas, skin * np.float32(0.82)) * dusk[..., None], neck)
    canvas.paint(cloth + weave, _ellipse(canvas, 0.0, 2.1, rng.uniform(1.7, 2.3), rng.uniform(0.85, 1.0), 0.05))


def _ellipse_shade(canvas: _Canvas, colour: Image) -> Image:
    """`colour` darkened towards the sides, as a cylinder is."""
    return colour * (1.0 - np.float32(0.25) * np.clip(canvas.u**2, 0, 1))[..., None]


def _strands(canvas: _Canvas, rng: np.random.Generator, colour: Image) -> Image:
    """Hair [H, W, 3]: fine streaks that fall from the crown, in locks, with a band of gloss."""
    size = canvas.image.shape[0]
    crown_u, wave = np.float32(rng.normal(0, 0.25)), np.float32(rng.uniform(0.05, 0.35))
    du, dv = canvas.u - crown_u, canvas.v + np.float32(1.25)
    along = np.sqrt(du**2 + dv**2)
    curl = wave * np.float32(0.2) * np.sin(along * np.float32(rng.uniform(3, 7)))
    angle = np.arctan2(du, dv + np.float32(0.3)) + curl
    angle = angle + np.float32(0.03) * noise(rng, size, 8)
    turns = (angle / np.float32(np.pi) + 1) / 2
    locks, fine = (_profile(rng, cells)[(turns * (_PROFILE - 1)).astype(np.intp) % _PROFILE] for cells in (40, 240))
    gloss = np.exp(-(((along - np.float32(rng.uniform(0.5, 0.9))) / np.float32(0.22)) ** 2))
    streaks = 0.55 * locks + 0.6 * fine + np.float32(rng.uniform(0.2, 0.7)) * gloss * (0.6 + 0.4 * locks)
    strength = np.float32(rng.uniform(0.14, 0.3))
    return np.asarray(np.clip(colour * (1.0 + strength * streaks[..., None]) + 0.012, 0, 1), dtype=np.float32)


def _profile(rng: np.random.Generator, cells: int) -> NDArray[np.float32]:
    """Smooth noise of `cells` bumps around a circle, [_PROFILE]."""
    bumps = rng.standard_normal(cells, dtype=np.float32)
    around = np.linspace(0, cells, _PROFILE, endpoint=False, dtype=np.float32)
    return np.asarray(np.interp(around, np.arange(cells + 1), np.append(bumps, bumps[0])), dtype=np.float32)


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
        canvas.paint(skin * np.float32(0.84), _ellipse(canvas, side * 0.99, 0.04, 0.13, 0.2, 0.1, side * 0.12))
        canvas.paint(skin * np.float32(0.6), _ellipse(canvas, side * 1.03, 0.02, 0.05, 0.12, 0.5, side * 0.12) * 0.7)
    jaw = np.float32(rng.uniform(0.08, 0.34)) * np.clip(canvas.v, 0, 1) ** 2
    radius = np.sqrt((canvas.u * (1.0 + jaw)) ** 2 + canvas.v**2)
    depth = np.sqrt(np.clip(1.0 - radius**2, 0.0, 1.0))
    light = rng.normal(0, 0.55, 2).astype(np.float32)
    shade = 0.72 + 0.30 * depth - 0.22 * (light[0] * canvas.u + light[1] * canvas.v)
    blotches = np.float32(rng.uniform(0.01, 0.03)) * (noise(rng, size, 6)[..., None] + 0.3 * noise(rng, size, 6, 3))
    pores = np.float32(rng.uniform(0.008, 0.03)) * noise(rng, size, size // 2)[..., None] * skin.max()
    flush = np.zeros(3, dtype=np.float32)
    flush[0] = rng.uniform(0.0, 0.08)
    cheeks = _ellipse(canvas, -0.5, 0.3, 0.32, 0.25, 1.2) + _ellipse(canvas, 0.5, 0.3, 0.32, 0.25, 1.2)
    sockets = _ellipse(canvas, -0.4, -0.17, 0.3, 0.17, 1.3) + _ellipse(canvas, 0.4, -0.17, 0.3, 0.17, 1.3)
    chin = _ellipse(canvas, 0.0, 0.86, 0.2, 0.1, 1.2) - 0.8 * _ellipse(canvas, 0.0, 0.71, 0.2, 0.05, 1.2)
    bones = _ellipse(canvas, -0.55, 0.08, 0.2, 0.1, 1.5) + _ellipse(canvas, 0.55, 0.08, 0.2, 0.1, 1.5)
    relief = 1.0 + np.float32(rng.uniform(0.3, 1.0)) * (0.12 * bones + 0.1 * chin - 0.14 * sockets)
    colour = skin * (shade * relief)[..., None] + blotches + pores + cheeks[..., None] * flush
    canvas.paint(colour, soft(radius - 1.0, 0.05))
    if rng.random() < 0.3:
        beard = soft(np.float32(0.45) - canvas.v + 0.25 * canvas.u**2, 0.25) * soft(radius - 0.97, 0.1)
        grain = np.clip(0.6 + 0.5 * noise(rng, size, size // 2), 0, 1)
        canvas.paint(skin * np.float32(0.35), beard * grain * np.float32(rng.uniform(0.2, 0.7)))


def _eyes(canvas: _Canvas, rng: np.random.Generator, face: Face, skin: Image, hair: Image) -> None:
    """Two eyes with lids, lashes and brows, and sometimes glasses."""
    width, height, gaze = rng.uniform(0.16, 0.2), rng.uniform(0.05, 0.075), rng.normal(0, 0.025, 2)
    iris, white = _mixed(_IRIS, rng), np.float32(rng.uniform(0.7, 0.86))
    slant, lid = rng.normal(0.0, 0.08), rng.uniform(0.3, 0.55)
    for side in (-1.0, 1.0):
        u, level = side * face.eye_distance, face.eye_level
        canvas.paint(skin * np.float32(0.74), _ellipse(canvas, u, level - 0.01, width * 1.35, height * 2.0, 1.0) * 0.8)
        # An almond: what two discs, moved up and down, have in common.
        almond = _ellipse(canvas, u, level + height * 0.55, width * 1.1, height * 1.6, 0.14, side * slant) * _ellipse(
            canvas, u, level - height * 0.45, width * 1.1, height * 1.45, 0.14, side * slant
        )
        dim = 1.0 - np.float32(0.35) * soft(canvas.v - np.float32(level - height * 0.35), 0.06)
        canvas.paint(np.array([white, white * 0.97, white * 0.94], np.float32) * dim[..., None], almond)
        eye_u, eye_v = u + gaze[0], level + gaze[1] * 0.4
        canvas.paint(iris * np.float32(0.55), _ellipse(canvas, eye_u, eye_v, 0.078, 0.062, 0.2) * almond)
        canvas.paint(iris, _ellipse(canvas, eye_u, eye_v, 0.066, 0.052, 0.3) * almond)
        canvas.paint(np.full(3, 0.03), _ellipse(canvas, eye_u, eye_v, 0.034, 0.027, 0.3) * almond)
        canvas.paint(np.full(3, 0.95), _ellipse(canvas, eye_u + 0.024, eye_v - 0.02, 0.015, 0.012, 0.5) * almond)
        rim = _ellipse(canvas, u, level - height * 0.2, width * 1.12, height * 1.25, 0.2, side * slant) * (1 - almond)
        upper = soft(canvas.v - np.float32(level), 0.05)
        canvas.paint(skin * np.float32(0.22), rim * upper * np.float32(0.85))
        crease = _ellipse(canvas, u, level - height * (1.5 + lid), width * 1.1, 0.02, 0.9, side * slant)
        canvas.paint(skin * np.float32(0.55), crease * np.float32(0.6))
    _brows(canvas, rng, face, hair, width)
    if rng.random() < 0.2:
        _glasses(canvas, rng, face)


def _brows(canvas: _Canvas, rng: np.random.Generator, face: Face, hair: Image, width: float) -> None:
    """A ridge of short hairs over each eye."""
    height, arch, thick = rng.uniform(0.15, 0.21), rng.uniform(-0.12, 0.2), rng.uniform(0.025, 0.045)
    hairs = np.clip(0.75 + 0.35 * noise(rng, canvas.image.shape[0], canvas.image.shape[0] // 2), 0, 1)
    opacity = np.float32(rng.uniform(0.5, 0.9))
    for side in (-1.0, 1.0):
        u = side * (face.eye_distance + 0.02)
        ridge = _ellipse(canvas, u, face.eye_level - height, width * 1.3, thick, 0.5, side * arch)
        canvas.paint(hair * np.float32(0.65), ridge * hairs * opacity)


def _glasses(canvas: _Canvas, rng: np.random.Generator, face: Face) -> None:
    frame, spacing, level = np.float32(rng.uniform(0.02, 0.35)), face.eye_distance, face.eye_level
    for side in (-1.0, 1.0):
        outer = _ellipse(canvas, side * spacing, level + 0.02, 0.31, 0.22, 0.08)
        inner = _ellipse(canvas, side * spacing, level + 0.02, 0.27, 0.185, 0.08)
        canvas.paint(np.full(3, frame), outer * (1 - inner))
    bridge = soft(np.abs(canvas.u) - np.float32(0.11), 0.04) * soft(np.abs(canvas.v - level) - 0.018, 0.02)
    canvas.paint(np.full(3, frame), bridge)


def _nose(canvas: _Canvas, rng: np.random.Generator, face: Face, skin: Image) -> None:
    """The bridge between light and shadow, the tip, its wings and the nostrils."""
    tip, width, side = face.nose_level, rng.uniform(0.13, 0.19), rng.choice([-1.0, 1.0])
    strength = np.float32(rng.uniform(0.3, 0.8))
    canvas.paint(skin * np.float32(0.66), _ellipse(canvas, side * 0.11, tip / 2 - 0.05, 0.06, 0.3, 1.2) * strength)
    canvas.paint(np.clip(skin * 1.2, 0, 1), _ellipse(canvas, -side * 0.02, tip / 2 - 0.05, 0.05, 0.27, 1.2) * strength)
    for wing in (-1.0, 1.0):
        canvas.paint(skin * np.float32(0.7), _ellipse(canvas, wing * width, tip + 0.02, 0.06, 0.07, 0.9) * strength)
    canvas.paint(np.clip(skin * 1.12, 0, 1), _ellipse(canvas, 0.0, tip, width * 0.75, 0.08, 0.9) * strength)
    canvas.paint(skin * np.float32(0.6), _ellipse(canvas, 0.0, tip + 0.1, width * 0.9, 0.035, 1.0) * strength)
    for offset in (-0.52, 0.52):
        nostril = _ellipse(canvas, offset * width, tip + 0.07, 0.045, 0.022, 0.6)
        canvas.paint(skin * np.float32(0.28), nostril * np.float32(0.8))


def _mouth(canvas: _Canvas, rng: np.random.Generator, face: Face, skin: Image) -> None:
    """Lips, bent to a smile or not, and what shows between them: teeth or dark."""
    level, width = face.mouth_level, face.mouth_width
    upper, lower = rng.uniform(0.035, 0.06), rng.uniform(0.045, 0.08)
    smile = np.float32(rng.uniform(-0.05, 0.35))
    bent = _Canvas(canvas.image, canvas.u, canvas.v + smile * canvas.u**2)
    lips = np.clip(skin * np.array([1.0, 0.68, 0.66], dtype=np.float32) * np.float32(rng.uniform(0.75, 1.05)), 0, 1)
    bow = _ellipse(bent, -width * 0.35, level - upper * 0.5, width * 0.65, upper, 0.25) + _ellipse(
        bent, width * 0.35, level - upper * 0.5, width * 0.65, upper, 0.25
    )
    bent.paint(lips * np.float32(0.85), np.clip(bow, 0, 1))
    bent.paint(lips, _ellipse(bent, 0.0, level + lower * 0.5, width * 0.92, lower, 0.25))
    gloss = _ellipse(bent, 0.0, level + lower * 0.6, width * 0.4, lower * 0.3, 1.0) * 0.5
    bent.paint(np.clip(lips * 1.25, 0, 1), gloss)
    gap = rng.uniform(0.006, 0.02) if rng.random() < 0.75 else rng.uniform(0.02, 0.045)
    opening = _ellipse(bent, 0.0, level, width * 0.95, gap, 0.5)
    bent.paint(skin * np.float32(0.2), opening)
    if gap > 0.02 and rng.random() < 0.7:
        shade = 0.84 - 0.12 * np.abs(np.sin(canvas.u * np.float32(55.0))) ** 8 - 0.25 * np.abs(canvas.u) / width
        bent.paint(shade[..., None] * np.ones(3, np.float32), _ellipse(bent, 0.0, level, width * 0.8, gap * 0.9, 0.4))


def _fringe(canvas: _Canvas, rng: np.random.Generator, hair: Image) -> None:
    """Hair over the forehead: its lower edge is a tilted, wavy line."""
    if rng.random() < 0.15:
        return
    size = canvas.image.shape[0]
    line = np.float32(rng.uniform(-0.78, -0.5)) + np.float32(rng.normal(0, 0.2)) * canvas.u
    line = line + np.float32(rng.uniform(0.1, 0.5)) * canvas.u**2 + np.float32(0.03) * noise(rng, size, 14)
    line = line + np.float32(rng.uniform(0.0, 0.05)) * noise(rng, size, size // 4)
    cap = _ellipse(canvas, 0.0, -0.05, 1.1, 1.12, 0.06)
    canvas.paint(_strands(canvas, rng, hair), cap * soft(canvas.v - line, 0.1))


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
