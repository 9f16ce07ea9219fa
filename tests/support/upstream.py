"""Random weights and frames from a seed alone, so that what other code made of them can be compared by its numbers.

The numbers in tests came from the projects' own code, run once elsewhere on these weights and frames.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

Shapes = Mapping[str, tuple[int, ...]]


def weights(shapes: Shapes, seed: int, gain: float) -> dict[str, Tensor]:
    """Random weights by name, under which a network with batch norms answers differently to different frames.

    `gain`: the squared length of an output's weights, by which logits come to be neither small nor large.
    """
    rng = np.random.default_rng(seed)
    state: dict[str, Tensor] = {}
    for name in sorted(shapes):
        shape, leaf = shapes[name], name.rpartition(".")[2]
        if leaf == "num_batches_tracked":
            state[name] = torch.tensor(1)
            continue
        if leaf == "running_var" or (leaf == "weight" and len(shape) == 1):
            drawn = rng.uniform(0.7, 1.3, shape)
        elif len(shape) > 1 and leaf == "weight":
            drawn = rng.normal(0, math.sqrt(gain / math.prod(shape[1:])), shape)
        else:
            drawn = rng.normal(0, 0.1, shape)
        state[name] = torch.from_numpy(drawn.astype(np.float32))
    return state


def digest(state: Mapping[str, Tensor]) -> str:
    """The first digits of a digest of all names and numbers."""
    content = hashlib.sha256()
    for name in sorted(state):
        content.update(name.encode() + state[name].numpy().tobytes())
    return content.hexdigest()[:16]


def frames(count: int, size: int, seed: int = 0) -> Tensor:
    """Pictures uint8 RGB [count, 3, size, size] that differ at every scale, in coarse colours most."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((count, 3, size, size))
    for cells in (1, 4, 16, size):
        grid = rng.uniform(0, 1, (count, 3, cells, cells))
        index = np.arange(size) * cells // size
        picture += grid[:, :, index][:, :, :, index] / 4
    return torch.from_numpy((picture * 255).astype(np.uint8))
