"""Three small networks and ensembles of them, in one experiment file."""

from __future__ import annotations

from pathlib import Path

import torch

from bench.detectors.families import efficientnet
from tests.conftest import write_frames
from tests.support import other_heads, tiny

FAMILIES = (other_heads.two_branches, tiny, efficientnet)

EXPERIMENT = """
detectors:
  small: {architecture: tiny, weights: small.tar, preprocessing: {preset: fsbi, size: 32}}
  again: {architecture: tiny, weights: small.tar, preprocessing: {preset: imagenet, size: 48}}
  branched: {architecture: two_branches, weights: branched.pth, preprocessing: {preset: imagenet, size: 48}}
  trio: {ensemble: {small: 0.5, again: 0.3, branched: 0.2}, minimum: 2}
datasets:
  faces: {path: faces}
experiments:
  first:
    detector: trio
    frames: faces
    device: cpu
    threads: 1
    timing: {seconds: 0.02}
    gallery: {top: 2}
    variants:
      baseline: []
      q16: [cast: fp16]
      p50: [prune: 0.5]
      mixed: {members: {small: q16}, without: [again]}
"""


def write_trio(folder: Path) -> None:
    """Weights, frames of three splits, and the experiment file."""
    tiny.save_weights(folder / "small.tar")
    torch.save(other_heads.lively(other_heads.two_branches).state_dict(), folder / "branched.pth")
    for seed, (split, real, fake) in enumerate([("test", 14, 18), ("validation", 10, 10), ("calibration", 8, 8)]):
        write_frames(folder / "faces" / split, real, fake, seed)
    (folder / "experiments.yaml").write_text(EXPERIMENT)
