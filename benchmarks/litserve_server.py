"""LitServe with an ONNX file, for `18_serve.py`, which runs this in another environment; nothing of bench is imported.

python -m venv other && other/bin/python -m pip install litserve onnxruntime opencv-python-headless python-multipart
"""

import argparse
from pathlib import Path
from typing import Any

import cv2
import litserve
import numpy as np
import onnxruntime
from fastapi import Request


class Detector(litserve.LitAPI):  # type: ignore[misc]
    """Decodes, resizes and judges pictures, in batches as LitServe makes them."""

    def __init__(self, model: Path, size: int, **settings: Any) -> None:
        super().__init__(**settings)
        self._model, self._size = model, size

    def setup(self, device: str) -> None:
        self._session = onnxruntime.InferenceSession(str(self._model), providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def decode_request(self, request: Request) -> Any:
        """uint8 RGB [3, size, size]. By the annotation, which must not be text, LitServe knows to read a form."""
        form: Any = request
        data = np.frombuffer(form["content"].file.read(), np.uint8)
        picture: Any = cv2.imdecode(data, cv2.IMREAD_COLOR)
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        if picture.shape[:2] != (self._size, self._size):
            picture = cv2.resize(picture, (self._size, self._size))
        return np.ascontiguousarray(picture.transpose(2, 0, 1))

    def batch(self, inputs: Any) -> Any:
        return np.stack(inputs)

    def predict(self, frames: Any) -> Any:
        batch = frames if frames.ndim == 4 else frames[None]
        logits = self._session.run(None, {self._input: batch})[0]
        return logits if frames.ndim == 4 else logits[0]

    def unbatch(self, output: Any) -> Any:
        return list(output)

    def encode_response(self, output: Any) -> dict[str, float]:
        return {"p_fake": float(1 / (1 + np.exp(output[0] - output[1])))}


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--batch", type=int, default=8)
    given = parser.parse_args()
    api = Detector(given.model, given.size, max_batch_size=given.batch, batch_timeout=0.005)
    server = litserve.LitServer(api, accelerator="cpu")
    # As bench, it writes no line for each request.
    server.run(port=given.port, host="127.0.0.1", generate_client_file=False, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
