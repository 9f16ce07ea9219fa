"""What a variant's network describes frames by before it classifies them: its penultimate features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError, quoted
from bench.inference import variants
from bench.inference.variants import Loaded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector


class Embedder:
    """Vectors of frames, by a network in PyTorch and float32 with the variant's weights; `by` says which network."""

    def __init__(self, detector: Detector, by: str) -> None:
        self._detector, self.by = detector, by

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Vectors [n, D] of fitted frames, uint8 RGB [n, 3, size, size]."""
        from bench.detectors.embedding import vectors

        return vectors(self._detector, frames)


def embedder(folder: Path, loaded: Loaded) -> Embedder:
    """The network of a loaded variant, `folder` being that of all artifacts; `UserError` where there is none."""
    name = quoted(loaded.judge.name)
    detector = variants.network(folder, loaded.built)
    if detector is None:
        raise UserError(
            f"--embedding: {name} is an ONNX file of which no network of layers is at hand (it was made elsewhere, or "
            "the variant that it was quantised from is gone); leave it out, or name another `--variant`"
        )
    if not detector.has_embedding:
        raise UserError(
            f"--embedding: a detector of the family {quoted(detector.architecture)} has no vector in front of its "
            "logits; leave it out"
        )
    if loaded.session.executed.device == "cuda":
        detector = detector.to("cuda")
    of_copy = loaded.built.kind != "torch"
    return Embedder(detector, "a PyTorch copy with the dequantised weights" if of_copy else "PyTorch, float32")
