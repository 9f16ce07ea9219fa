"""Vectors of frames by a detector, from arrays to arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector


def vectors(detector: Detector, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Vectors [n, D] of fitted frames, uint8 RGB [n, 3, size, size], where the detector is; see `Detector.embed`."""
    with torch.inference_mode():
        return np.asarray(detector.embed(torch.from_numpy(frames).to(detector.device)).cpu().numpy(), np.float32)
