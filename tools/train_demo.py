"""Train the demo detector: an EfficientNet-B5 that tells drawn portraits from their self-blends, and shows where.

    python tools/train_demo.py --steps 3000 --out bench/detectors/demo.safetensors
    python tools/train_demo.py --start earlier.safetensors --steps 700 --peak 5e-4 --out demo.safetensors
    python tools/train_demo.py --architecture efficientnet_b0 --seed 1 --steps 3000 --out other.safetensors

From scratch, or from the weights of an earlier version, on portraits drawn afresh at every step from seeds that the
demo set never uses, moved and mirrored. Each batch holds every portrait twice, as it was drawn and self-blended, so
that only the blending can tell them apart. A second term of the loss asks the class-activation map to lie where the
blend is. Progress goes to standard output, and a run that was stopped goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import io
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from bench import detectors
from bench.datasets.demo import photograph_files
from bench.detectors.detector import Detector
from bench.detectors.families import efficientnet
from bench.records import Conventions, Preprocessing
from bench.system import allocator

PREPROCESSING = Preprocessing(size=160, channels="bgr", wavelet="sym2")
TRAIN_SEED, HELD_OUT_SEED = 71_000_000, 72_000_000  # the demo set draws from seeds below a million
PEAK_SHARE = 0.1  # of the peak's place in the term on where the map lies
MOVE = 8  # pixels that frames are moved by at most, in training


@dataclass(frozen=True)
class Batch:
    """Frames, uint8 [n, 3, H, W]; labels [n], 1 is fake; how far each pixel is forged, [n, H, W] from 0 to 1."""

    frames: Tensor
    labels: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.labels)


class Portraits(IterableDataset[Batch]):
    """Batches of `pairs` portraits and their fakes, from step `first` on."""

    def __init__(self, pairs: int, first: int, steps: int, seed: int) -> None:
        self.pairs, self.first, self.steps, self.seed = pairs, first, steps, seed

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self.first, self.steps):
            seeds = ([TRAIN_SEED + self.seed, step * self.pairs + index] for index in range(self.pairs))
            yield _batch([frame for seed in seeds for frame in _moved_pair(seed)], [0, 1] * self.pairs)


Drawn: TypeAlias = NDArray[np.uint8]
"""A frame and its mask, [H, W, 4]: red, green, blue, and how far a pixel is forged."""


def _pair(seed: Sequence[int]) -> tuple[Drawn, Drawn]:
    """A portrait and its fake, as read back from their files."""
    files = photograph_files(np.random.default_rng(seed), PREPROCESSING.size)
    real, fake, mask = (np.asarray(Image.open(io.BytesIO(file))) for file in (files.real, files.fake, files.mask))
    return np.dstack([real, np.zeros_like(mask)]), np.dstack([fake, mask])


def _moved_pair(seed: Sequence[int]) -> list[Drawn]:
    """A pair, both moved by the same few pixels and mirrored or not; what comes in at the edges is their reflection."""
    rng = np.random.default_rng([*seed, 1])
    mirrored, (x, y) = bool(rng.integers(2)), rng.integers(0, 2 * MOVE + 1, 2)
    size, moved = PREPROCESSING.size, []
    for drawn in _pair(seed):
        wide = np.pad(drawn, ((MOVE, MOVE), (MOVE, MOVE), (0, 0)), mode="reflect")[y : y + size, x : x + size]
        moved.append(wide[:, ::-1] if mirrored else wide)
    return moved


def _batch(drawn: Sequence[Drawn], labels: Sequence[int]) -> Batch:
    stacked = torch.from_numpy(np.stack(drawn).transpose(0, 3, 1, 2).copy())
    return Batch(stacked[:, :3].contiguous(), torch.tensor(labels), stacked[:, 3] / 255)


def held_out(count: int) -> Batch:
    """`count` frames, half of them fakes, of portraits that appear once each."""
    return _batch([_pair([HELD_OUT_SEED, index])[index % 2] for index in range(count)], [0, 1] * (count // 2))


@torch.inference_mode()
def auc_and_pointing(detector: Detector, batch: Batch) -> tuple[float, float]:
    """The ROC AUC, and the share of fakes whose hottest cell speaks for fake and has a forged middle (by a half)."""
    detector.eval()
    answers = [detector(frames) for frames in torch.split(batch.frames, 32)]
    margins = torch.cat([answer.logits[:, 1] - answer.logits[:, 0] for answer in answers])
    maps = torch.cat([answer.cam for answer in answers])
    hottest, (height, width) = maps.flatten(1).argmax(1), maps.shape[1:]
    rows = ((hottest // width + 0.5) * batch.masks.shape[1] / height).long()
    columns = ((hottest % width + 0.5) * batch.masks.shape[2] / width).long()
    hits = (batch.masks[torch.arange(len(batch)), rows, columns] >= 0.5) & (maps.flatten(1).amax(1) > 0)
    return float(roc_auc_score(batch.labels, margins)), float(hits[batch.labels == 1].float().mean())


def misplaced_evidence(maps: Tensor, forged: Tensor, labels: Tensor) -> Tensor:
    """How much of what speaks for "fake" lies elsewhere than the forgery, a mean over frames; 0 is best.

    Of `maps` [n, h, w] only what is positive counts. Of fakes it is the share outside of the cells that are `forged`
    [n, h, w], of real frames all of it, in logits.
    """
    evidence = F.relu(maps)
    outside = (evidence * (1 - forged)).sum((1, 2)) / (evidence.sum((1, 2)) + 1)
    return torch.where(labels == 1, outside, evidence.mean((1, 2))).mean()


def misplaced_peak(maps: Tensor, forged: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of where a fake is forged, a mean over frames, of which real ones have 0.

    It is forged in a cell of `maps` [n, h, w], whose values are log-odds, or nowhere, which has 0. So also of a fake
    that is taken for real the forged cells shall be the hottest, and speak for fake.
    """
    nowhere = maps.new_zeros(len(maps), 1)
    anywhere = torch.cat([maps.flatten(1), nowhere], 1).logsumexp(1)
    at_forgery = (maps + forged.clamp_min(1e-6).log()).flatten(1).logsumexp(1)
    return torch.where(labels == 1, anywhere - at_forgery, torch.zeros_like(anywhere)).mean()


def forged_cells(masks: Tensor, size: torch.Size) -> Tensor:
    """Of `masks` [n, H, W] the means in the cells of maps of `size` [n, h, w], as shares of each frame's largest."""
    means = F.adaptive_avg_pool2d(masks, (size[1], size[2]))
    return means / means.amax((1, 2), keepdim=True).clamp_min(1e-6)


def learning_rate(step: int, steps: int, peak: float) -> float:
    """One cycle: a linear rise over the first tenth, then half a cosine down to a thousandth."""
    rise = max(steps // 10, 1)
    if step < rise:
        return peak * (step + 1) / rise
    return peak * max(0.5 * (1 + math.cos(math.pi * (step - rise) / max(steps - rise, 1))), 1e-3)


def save(detector: Detector, path: Path) -> None:
    """Write the weights as fp16 under the names of FSBI's checkpoints."""
    state = efficientnet.to_fsbi(detector.state_dict(), detector.architecture)
    half = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in state.items()}
    if not all(torch.isfinite(v).all() for v in half.values() if v.is_floating_point()):
        raise SystemExit("the weights do not fit into fp16: train with a smaller learning rate")
    save_file(half, path, metadata={"architecture": detector.architecture, "license": "Apache-2.0"})


@dataclass(frozen=True)
class Settings:
    """What the command line says."""

    architecture: str
    seed: int
    steps: int
    pairs: int
    peak: float
    map_weight: float
    start: Path | None
    out: Path
    test_every: int


def begin(settings: Settings) -> Detector:
    """The detector before its first step, in fp32."""
    torch.manual_seed(settings.seed)
    detector = efficientnet.build(settings.architecture, "static", PREPROCESSING)
    if settings.start:
        earlier = detectors.load(settings.architecture, settings.start, PREPROCESSING, Conventions(flavour="static"))
        detector.load_state_dict(earlier.state_dict())
    else:
        torch.nn.init.zeros_(detector.head.weight)  # timm's range for two classes starts at a loss of 2, not log 2
    for module in detector.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.05  # small batches: the running statistics need a long memory
    return detector


def train(settings: Settings) -> None:
    """Train the demo detector on drawn portraits, going on from a checkpoint where there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    detector = begin(settings).to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=settings.peak, weight_decay=0.02)
    checkpoint, first = settings.out.with_suffix(".training"), 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        detector.load_state_dict(saved["detector"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["step"]
    test, portraits = held_out(600), Portraits(settings.pairs, first, settings.steps, settings.seed)
    began, losses = time.monotonic(), []
    for step, batch in enumerate(DataLoader(portraits, batch_size=None, num_workers=1, prefetch_factor=4), first):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings.steps, settings.peak)
        losses.append(take_step(detector, optimizer, batch, settings.map_weight))
        done, progress = step + 1, f"step {step + 1}/{settings.steps}"
        if done % 20 == 0:
            rate = (time.monotonic() - began) / (done - first)
            print(f"{progress}  loss {np.mean(losses[-20:]):.4f}  {rate:.2f} s/step", flush=True)
        if done % settings.test_every == 0 or done == settings.steps:
            area, hits = auc_and_pointing(detector, test)
            print(f"{progress}  ROC AUC {area:.4f}, hottest cell forged in {hits:.1%} of fakes", flush=True)
            state = {"detector": detector.state_dict(), "optimizer": optimizer.state_dict(), "step": done}
            torch.save(state, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)
            save(detector, settings.out)


def take_step(detector: Detector, optimizer: torch.optim.Optimizer, batch: Batch, map_weight: float) -> float:
    """One step of training; returned is its loss."""
    detector.train()
    labels, masks = batch.labels.to(detector.device), batch.masks.to(detector.device)
    logits, maps = detector(batch.frames.to(detector.device))
    forged = forged_cells(masks, maps.shape)
    misplaced = misplaced_evidence(maps, forged, labels) + PEAK_SHARE * misplaced_peak(maps, forged, labels)
    loss = F.cross_entropy(logits, labels) + map_weight * misplaced
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(detector.parameters(), 1.0)
    optimizer.step()
    return loss.item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="efficientnet_b5")
    parser.add_argument("--seed", type=int, default=0, help="of the first weights and of the portraits")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--pairs", type=int, default=8, help="portraits in a batch; each comes real and fake")
    parser.add_argument("--peak", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--map-weight", type=float, default=0.5, help="of the term on where the map lies")
    parser.add_argument("--start", type=Path, help="weights to begin with, instead of random ones")
    parser.add_argument("--test-every", type=int, default=250)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with allocator.large_blocks_stay():
        train(Settings(**vars(arguments)))
