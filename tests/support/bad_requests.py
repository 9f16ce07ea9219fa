"""What requests to a service may be wrong by, and the essential words of its answer: rows of docs/bad-input.md too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

SIZE = 64
"""Of the frames that the service of these tests takes."""
KEY = "a-key-of-sixteen-characters"


def file(*pictures: Image.Image, form: str = "PNG") -> bytes:
    """Pictures as the content of a file."""
    content = BytesIO()
    further: dict[str, Any] = {"save_all": True, "append_images": pictures[1:]} if len(pictures) > 1 else {}
    pictures[0].save(content, form, **further)
    return content.getvalue()


GREY = file(Image.new("RGB", (80, 60), (99, 99, 99)))
MOVING = file(*(Image.fromarray(np.full((8, 8), 80 * shade, np.uint8)) for shade in range(3)), form="GIF")


@dataclass(frozen=True)
class BadRequest:
    """One fault: the request, the settings of the service, and its status and words. The last of `count` is refused."""

    what: str
    example: str
    status: int
    words: str
    path: str = "/api/detect/image"
    content: bytes = GREY
    form: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    uploads: int = 1
    count: int = 1
    json: Any = None

    @property
    def arguments(self) -> dict[str, Any]:
        """What a client of httpx is given beside the path."""
        if self.json is not None:
            return {"json": self.json, "headers": dict(self.headers)}
        name = "files" if self.path.endswith("/batch") else "file"
        files = [(name, ("upload", self.content))] * self.uploads
        return {"files": files, "data": dict(self.form), "headers": dict(self.headers)}


INFER = "/v2/models/q8/infer"


def tensor(**changes: Any) -> dict[str, Any]:
    """A request of the Open Inference Protocol."""
    given = {"name": "frames", "datatype": "UINT8", "shape": [1, 3, SIZE, SIZE], "data": [9] * 3 * SIZE * SIZE}
    return {"inputs": [given | changes]}


BAD_REQUESTS = [
    BadRequest("an upload that is no picture", "a text called `face.jpg`", 415,
               "the file is no picture; expected JPEG, PNG, WebP", content=b"no picture"),
    BadRequest("an empty upload", "0 bytes", 422, "the file is empty; expected a picture", content=b""),
    BadRequest("a picture that is cut off", "half of a PNG", 422, "can't be", content=GREY[: len(GREY) // 2]),
    BadRequest("an animation to judge", "a GIF of three pictures", 422,
               "the file holds several pictures; send one alone, or a video to /api/video/detect", content=MOVING),
    BadRequest("a picture of too many pixels", "80 × 60 where `--megapixels 0.001`", 413,
               "the picture has 80 × 60 pixels, more than 0.001 million; send a smaller one",
               settings={"megapixels": 0.001}),
    BadRequest("a picture that is too long", "33,000 × 2", 413, "a side of more than 32,766; send a smaller one",
               content=file(Image.new("L", (33_000, 2)))),
    BadRequest("a large upload", "2 MiB where `--upload-mib 1`", 413,
               "the request is larger than 1 MiB, the limit of this service", content=bytes(2**21),
               settings={"upload_mib": 1}),
    BadRequest("a variant that is not served", "`variant=q9`", 422, "variant 'q9' is not served here; these are: q8",
               form={"variant": "q9"}),
    BadRequest("faces that are none", "`faces=perhaps`", 422, "faces: expected auto, always, never, found 'perhaps'",
               form={"faces": "perhaps"}),
    BadRequest("a large batch", "3 pictures where 2 may be", 422, "3 pictures in a request; expected at most 2",
               path="/api/detect/batch", uploads=3, settings={"batch_images": 2}),
    BadRequest("a request without a key", "no `X-API-Key`", 401,
               "this service needs an API key: send it as X-API-Key, or as Authorization: Bearer",
               settings={"api_keys": KEY}),
    BadRequest("a wrong key", "`X-API-Key: guess`", 401, "the API key is wrong", headers={"X-API-Key": "guess"},
               settings={"api_keys": KEY}),
    BadRequest("a name that is not the service's", "`Host: elsewhere.example`", 421,
               "this service is not called so; --allowed-hosts lets further names in",
               headers={"Host": "elsewhere.example"}),
    BadRequest("a page of elsewhere", "`Origin: https://elsewhere.example`", 403,
               "this page is of another origin; --cors-origins lets it in",
               headers={"Origin": "https://elsewhere.example"}),
    BadRequest("more than the rate", "a third picture where `--rate 2/day`", 429,
               "more than 2 per 1 day; ask again later",
               settings={"rate": "2/day", "cached_answers": 0}, count=3),
    BadRequest("an upload that is no video", "a text called `clip.mp4`", 415, "the video can't be read",
               path="/api/video/detect", content=b"no video"),
    BadRequest("no number of frames", "`max_frames=0`", 422, "max_frames: expected a number from 1 to",
               path="/api/video/detect", form={"max_frames": "0"}),
    BadRequest("a model that is not served", "`/v2/models/q9/infer`", 404, "model 'q9' is not served here",
               path="/v2/models/q9/infer", json=tensor()),
    BadRequest("a tensor of another shape", "`[1, 3, 2, 2]`", 400,
               f"frames: expected UINT8 [n, 3, {SIZE}, {SIZE}], found", path=INFER, json=tensor(shape=[1, 3, 2, 2])),
    BadRequest("too many frames in a tensor", "`[257, 3, 64, 64]`", 400, "frames: expected 1 to 256 frames, found 257",
               path=INFER, json=tensor(shape=[257, 3, SIZE, SIZE])),
    BadRequest("an output that is none", "`outputs: [{name: other}]`", 400,
               "outputs: 'other' is none; expected logits, p_fake, cam", path=INFER,
               json=tensor() | {"outputs": [{"name": "other"}]}),
    BadRequest("an output twice", "`outputs: [{name: cam}, {name: cam}]`", 400,
               "outputs: expected each once, found cam, cam", path=INFER,
               json=tensor() | {"outputs": [{"name": "cam"}] * 2}),
]  # fmt: skip
