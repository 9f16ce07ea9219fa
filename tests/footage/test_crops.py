"""Crops: each against its arithmetic, worked out by hand or by another method."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bench.errors import UserError
from bench.footage import crops, faces, in_front
from bench.footage.crops import deepfakebench
from bench.records import Crop, Face
from tests.support.portraits import Pasted, Picture, portrait, scene, turned

POINTS = ((130.0, 120.0), (170.0, 121.0), (151.0, 140.0), (135.0, 160.0), (166.0, 161.0))


def numbered(width: int = 400, height: int = 300) -> Picture:
    """A picture whose pixel at column x and row y is (x // 2, y // 2, x % 2 + 2 · (y % 2))."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns // 2, rows // 2, columns % 2 + 2 * (rows % 2)], axis=2).astype(np.uint8)


def edges(crop: Crop) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of a rectangle of `numbered`, as its pixels say."""
    first, last = (crop.pixels[index, index].astype(int) for index in (0, -1))
    return (
        2 * first[0] + first[2] % 2, 2 * first[1] + first[2] // 2,
        2 * last[0] + last[2] % 2 + 1, 2 * last[1] + last[2] // 2 + 1,
    )  # fmt: skip


def face(x0: float, y0: float, x1: float, y1: float, *, score: float = 0.9, network: str = "retinaface") -> Face:
    return Face((x0, y0, x1, y1), POINTS, score, network)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        # 100.7 - 81/8 = 90.575; 181.7 + 81/8 = 191.825, and one more; 50.2 - 121/8 = 35.075; 171.2 + 121/8 = 186.325.
        ((100.7, 50.2, 181.7, 171.2), (90, 35, 192, 187)),
        ((100.0, 40.0, 180.0, 120.0), (90, 30, 191, 131)),
        # At the borders: clipped. -5 - 10 is cut at 0.
        ((-5.0, 3.0, 75.0, 83.0), (0, 0, 86, 94)),
        ((340.0, 230.0, 420.0, 310.0), (330, 220, 400, 300)),
    ],
)
def test_fsbi(box: tuple[float, float, float, float], expected: tuple[int, int, int, int]) -> None:
    (crop,) = crops.crop("fsbi", numbered(), [face(*box)])
    assert edges(crop) == expected
    assert crop.face == face(*box)
    assert crop.inside(*expected[:2]) == (0, 0)


def test_fsbi_keeps_faces_of_half_the_largest_area() -> None:
    largest, half, less = face(10, 10, 110, 110), face(150, 10, 250, 60), face(150, 100, 250, 149)
    kept_faces = [crop.face for crop in crops.crop("fsbi", numbered(), [less, half, largest])]
    assert kept_faces == [half, largest]


def test_fsbi_brings_the_boxes_of_yunet_to_those_of_retinaface() -> None:
    """Left 3.3 % further out, top .7 % in, right 4.3 % out, bottom 1.9 % up: then an eighth of the new box."""
    box, width, height = (100.0, 50.0, 200.0, 250.0), 100.0, 200.0
    x0, y0 = box[0] - 0.033 * width, box[1] + 0.007 * height
    x1, y1 = box[2] + 0.043 * width, box[3] - 0.019 * height
    (crop,) = crops.crop("fsbi", numbered(), [face(*box, network="yunet")])
    expected = (
        int(x0 - (x1 - x0) / 8), int(y0 - (y1 - y0) / 8), int(x1 + (x1 - x0) / 8) + 1, int(y1 + (y1 - y0) / 8) + 1,
    )  # fmt: skip
    assert edges(crop) == expected == (83, 27, 218, 271)
    assert crop.face is not None
    assert crop.face.box == box
    assert crops.remark("fsbi", "yunet").endswith("left +0.033, top -0.007, right -0.043, bottom +0.019")
    assert crops.remark("fsbi", "retinaface") == ""


def test_pad30_is_of_the_surest_face() -> None:
    low, high = face(10, 10, 250, 250, score=0.86), face(100.9, 60.9, 180.9, 160.9, score=0.99)
    (crop,) = crops.crop("pad30", numbered(), [low, high])
    assert (edges(crop), crop.face) == ((70, 30, 210, 190), high)
    (crop,) = crops.crop("pad30", numbered(), [face(5, 290, 395, 299)])
    assert edges(crop) == (0, 260, 400, 300)


def test_blazeface() -> None:
    """A fifth of 96 pixels is 19: 38 above, 19 at the other sides."""
    low, high = face(10, 10, 250, 250, score=0.86), face(100.5, 80.5, 180.5, 176.5, score=0.99)
    (crop,) = crops.crop("blazeface", numbered(), [low, high])
    assert (edges(crop), crop.face) == ((81, 42, 199, 195), high)
    (crop,) = crops.crop("blazeface", numbered(), [face(10, 20, 110, 120)])
    assert edges(crop) == (0, 0, 130, 140)


def test_square() -> None:
    """1.3 times 100 pixels around (150, 110), of the largest face."""
    small, large = face(10, 10, 20, 20, score=0.99), face(110, 60, 190, 160)
    (crop,) = crops.crop("square", numbered(), [small, large])
    assert (edges(crop), crop.face) == ((85, 45, 215, 175), large)
    # Beyond the upper left corner it moves inwards, beyond the lower right one it gets smaller.
    (crop,) = crops.crop("square", numbered(), [face(0, 0, 80, 100)])
    assert edges(crop) == (0, 0, 130, 130)
    (crop,) = crops.crop("square", numbered(), [face(330, 200, 400, 300)])
    assert edges(crop) == (300, 185, 400, 285)


def umeyama(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The similarity [2, 3] by Umeyama (1991), equations 40 to 42: another way than the code's."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    covariance = (target - target_mean).T @ (source - source_mean) / len(source)
    left, values, right = np.linalg.svd(covariance)
    signs = np.diag([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    turn = left @ signs @ right
    scale = np.trace(np.diag(values) @ signs) / (source - source_mean).var(0).sum()
    return np.hstack([scale * turn, (target_mean - scale * turn @ source_mean)[:, np.newaxis]])


def aligned_template() -> NDArray[np.float64]:
    """ArcFace's template as DeepfakeBench takes it at 256 pixels and 1.3: x + 8, then times 256 / 112, over 1.3."""
    raw = [(30.2946, 51.6963), (65.5318, 51.5014), (48.0252, 71.7366), (33.5493, 92.3655), (62.7299, 92.2041)]
    points = np.add(raw, (8.0, 0.0)) * 256 / 112
    return np.asarray(points / 1.3 + 256 * 0.15 / 1.3)


def test_the_template_of_deepfakebench() -> None:
    assert deepfakebench.template() == pytest.approx(aligned_template(), abs=1e-4)


@pytest.mark.parametrize("seed", range(20))
def test_the_similarity_is_umeyamas(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, targets = rng.normal(0, 50, (2, 5, 2)) + 100
    matrix = deepfakebench.similarity(points, targets)
    assert matrix == pytest.approx(umeyama(points, targets), abs=1e-9)
    # No other similarity fits better.
    error = np.square(points @ matrix[:, :2].T + matrix[:, 2] - targets).sum()
    for change in rng.normal(0, 1e-3, (20, 4)):
        a, b, c, d = np.add(change, (matrix[0, 0], matrix[1, 0], matrix[0, 2], matrix[1, 2]))
        assert np.square(points @ np.array([[a, b], [-b, a]]) + [c, d] - targets).sum() >= error


def test_deepfakebench_puts_the_points_of_the_largest_face_on_the_template() -> None:
    image = scene(1000, 480, Pasted(1, 320, 20, 60), Pasted(2, 400, 340, 40))
    in_picture = faces.load("yunet").find(image)
    (crop,) = crops.crop("deepfakebench", image, in_picture)
    assert crop.pixels.shape == (256, 256, 3)
    assert crop.face == max(in_picture, key=lambda face: face.area)
    assert np.array([crop.inside(*point) for point in crop.face.points]) == pytest.approx(aligned_template(), abs=12)
    # Found again in the crop, they lie where the matrix says.
    (again,) = faces.load("yunet").find(crop.pixels)
    expected = [crop.inside(*point) for point in crop.face.points]
    assert np.asarray(again.points) == pytest.approx(np.asarray(expected), abs=8)


def test_deepfakebench_sets_faces_upright() -> None:
    image, finder = turned(portrait(1, 400)[0], 20), faces.load("yunet", 40, 0.6)

    def slope(picture: Picture) -> float:
        (only,) = finder.find(picture)
        (x0, y0), (x1, y1) = only.points[:2]
        return math.degrees(math.atan2(y1 - y0, x1 - x0))

    (crop,) = crops.crop("deepfakebench", image, finder.find(image))
    assert slope(image) == pytest.approx(-20, abs=6)
    assert slope(crop.pixels) == pytest.approx(0, abs=4)


def test_deepfakebench_is_black_beyond_the_frame() -> None:
    image = np.full((200, 200, 3), 255, np.uint8)
    points = tuple((x - 120, y) for x, y in POINTS)
    (crop,) = crops.crop("deepfakebench", image, [Face((40, 80, 130, 180), points, 0.9, "yunet")])
    matrix = np.array(crop.matrix).reshape(2, 3)
    inside = cv2.invertAffineTransform(matrix) @ np.stack([*np.mgrid[:256, :256][::-1].reshape(2, -1), np.ones(256**2)])
    beyond = (inside < -1).any(0).reshape(256, 256)
    assert beyond.any()
    assert (crop.pixels[beyond] == 0).all()
    assert (crop.pixels[(inside > 1).all(0).reshape(256, 256) & (inside < 198).all(0).reshape(256, 256)] == 255).all()


def test_deepfakebench_needs_points() -> None:
    with pytest.raises(UserError, match="deepfakebench: needs the five points of a face, which this scrfd does not"):
        crops.crop("deepfakebench", numbered(), [Face((1, 1, 50, 50), (), 0.9, "scrfd")])


def test_the_whole_frame() -> None:
    image = numbered()
    for of_frame in ([], [face(1, 2, 30, 40)]):
        (crop,) = crops.crop("none", image, of_frame)
        assert crop.face is None
        assert np.array_equal(crop.pixels, image)


@pytest.mark.parametrize("preset", [name for name in crops.PRESETS if name != "none"])
def test_every_preset(preset: str) -> None:
    """Nothing where there is no face or it lies outside; pixels of their own; a sentence for lists."""
    image = numbered()
    assert crops.crop(preset, image, []) == []
    if preset != "deepfakebench":
        assert crops.crop(preset, image, [face(500, 10, 600, 100)]) == []
    (crop,) = crops.crop(preset, image, [face(100, 80, 180, 190)])
    before = crop.pixels.copy()
    image[:] = 0
    assert np.array_equal(crop.pixels, before)
    assert crop.pixels.flags.c_contiguous
    assert crops.is_of_faces(preset)
    assert not crops.summary(preset).endswith(".")


def test_no_such_crop() -> None:
    with pytest.raises(UserError, match=r"unknown crop 'fsbl' .did you mean 'fsbi'.*crops are: blazeface, "):
        crops.crop("fsbl", numbered(), [])


def test_detectors_that_are_asked_together_judge_the_same_face() -> None:
    """Alone, one takes the largest face, another the surest, and a third both."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (200, 300, 3), np.uint8)
    surest = Face((20, 20, 95, 95), (), 0.9, "yunet")
    largest = Face((150, 40, 250, 140), (), 0.8, "yunet")
    small = Face((10, 150, 30, 170), (), 0.7, "yunet")
    faces_in_it = [surest, largest, small]
    presets = ("fsbi", "square", "pad30")
    alone = {preset: [crop.face for crop in crops.crop(preset, picture, faces_in_it)] for preset in presets}
    assert alone == {"fsbi": [surest, largest], "square": [largest], "pad30": [surest]}
    candidates = in_front.cut_for_each(picture, [*presets, None], faces_in_it)
    assert [[crop.face for crop in of_face] for of_face in candidates] == [[surest] * 4, [largest] * 4]
    for of_face in candidates:
        assert of_face[3].pixels is picture
        for preset, crop in zip(presets, of_face, strict=False):
            (single,) = crops.crop(preset, picture, [crop.face] if crop.face else [])
            assert np.array_equal(crop.pixels, single.pixels)
    (both,) = in_front.cut_for_each(picture, [None, None], faces_in_it)
    assert [crop.face for crop in both] == [largest, largest]
    assert in_front.cut_for_each(picture, ["fsbi", None], []) == []
