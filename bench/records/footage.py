"""Videos, the faces that are found in their frames, and what is cut out of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.records.frames import Split

VIDEO_SUFFIXES: tuple[str, ...] = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".m2v", ".wmv", ".asf", ".flv", ".ts", ".mts",
    ".m2ts", ".vob", ".3gp", ".3g2", ".ogv", ".mxf", ".y4m", ".h264", ".264", ".h265", ".265", ".hevc", ".ivf", ".mjpg",
    ".mjpeg",
)  # fmt: skip
"""How the names of videos end, in lower case."""

POINTS: tuple[str, ...] = ("eye_l", "eye_r", "nose", "mouth_l", "mouth_r")
"""The five points of a face in their order; left and right as seen in the picture, from the viewer's left."""


PictureForm: TypeAlias = Literal["png", "jpg"]
PICTURE_FORMS: tuple[PictureForm, ...] = ("png", "jpg")
"""What frames are written as."""


@dataclass(frozen=True, slots=True)
class Face:
    """A face in a frame, in pixels of the frame, whose upper left corner is (0, 0).

    `box` is (x0, y0, x1, y1) and may reach beyond the frame. `points` are five (x, y) in the order of `POINTS`, or
    none where the finder gives none. `score` is the finder's confidence, from 0 to 1. `network` is the kind of network
    that found it, such as "yunet", empty where that is unknown: kinds draw their boxes differently.
    """

    box: tuple[float, float, float, float]
    points: tuple[tuple[float, float], ...]
    score: float
    network: str = ""

    @property
    def width(self) -> float:
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        return self.box[3] - self.box[1]

    @property
    def side_px(self) -> float:
        """The shorter side of the box."""
        return min(self.width, self.height)

    @property
    def area(self) -> float:
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class Crop:
    """What is cut out of a frame: uint8 RGB [h, w, 3], and the face in it; None where it is the whole frame.

    The face is in pixels of the frame. `matrix` (a, b, c, d, e, f) leads from there into the crop: what is at (x, y) of
    the frame is at (a x + b y + c, d x + e y + f) of the crop. Manifests say where faces are in the files they list.
    """

    pixels: NDArray[np.uint8]
    face: Face | None
    matrix: tuple[float, float, float, float, float, float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

    def inside(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the frame is in the crop."""
        a, b, c, d, e, f = self.matrix
        return a * x + b * y + c, d * x + e * y + f


class Finder(Protocol):
    """Finds faces. `NAME` is what manifests call it, `digest` the SHA-256 of its model, empty where it has none."""

    @property
    def NAME(self) -> str: ...  # noqa: N802  (a constant of most finders)

    @property
    def digest(self) -> str: ...

    def find(self, picture: NDArray[np.uint8]) -> list[Face]:
        """The faces in a picture, uint8 RGB [h, w, 3], the surest first."""
        ...


@dataclass(frozen=True, slots=True)
class Video:
    """A video before it is read.

    `name` is its path below the folders that it comes from, with forward slashes, the split's folder first where there
    are splits; no two have the same. `label` is 1 for fake, 0 for real, None where unknown. `source` names the videos
    or persons that it is made of, joined by ";". `attributes` are pairs (name, value), as of a `Frame`. `content` is
    the SHA-256 of the file, empty where nobody has read it. `mask` is the video, or the folder of pictures, of what was
    forged in it, and `mask_state` tells one state of that from another; empty where there is none.
    """

    name: str
    file: str
    label: int | None
    split: Split | None
    source: str
    size_bytes: int
    mtime_ns: int
    attributes: tuple[tuple[str, str], ...] = ()
    content: str = ""
    mask: str = ""
    mask_state: str = ""


@dataclass(frozen=True)
class Extraction:
    """How frames are taken out of videos, and faces out of frames.

    `sampling` says which frames, about `frames` of a video; `crop` is the preset of what is cut out, `faces` the finder
    ("yunet", "none", or a path), `min_face_px` and `min_score` are what a face must have. `form` is that of the files.
    """

    frames: int = 32
    sampling: str = "linspace"
    crop: str = "fsbi"
    faces: str = "yunet"
    min_face_px: int = 40
    min_score: float = 0.85
    form: PictureForm = "png"
