"""The vector that a detector makes of a frame before it decides, and how far two frames lie apart by it.

Of GANFingerprint it is the 512 values that its authors call a fingerprint; of other networks what their last layer
reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from bench.detectors.detector import Detector


def embeddings(detector: Detector, frames: Tensor) -> Tensor:
    """Vectors [N, C], float32, of uint8 RGB frames [N, 3, H, W]; C is 512 for GANFingerprint."""
    with torch.inference_mode():
        features = detector.features(detector.preprocess(frames))
        return of_features(detector, features)


def of_features(detector: Detector, features: Any) -> Tensor:
    """The vectors [N, C] of what a detector's backbone made of N frames."""
    features = features.float() if isinstance(features, Tensor) else features
    layers = list(detector.head.layers_to_logits())
    named = dict(getattr(detector.head, "layers", nn.Module()).named_children())
    last = named.get("embedding")
    if last is not None:
        lower = layers[: next(index for index, layer in enumerate(layers) if layer is last) + 1]
    else:
        logits = detector.logit_layers()[0]
        lower = layers[: next(index for index, layer in enumerate(layers) if layer is logits)]
    vectors: Tensor = nn.Sequential(*lower)(features)
    return vectors.float().flatten(1)


def distance(first: Tensor, second: Tensor) -> Tensor:
    """How far vectors [N, C] lie from others [N, C], [N]: 0 where they point the same way, 2 where they oppose.

    One less the cosine of the angle between them.
    """
    return 1 - F.cosine_similarity(first, second)
