"""Train the demo detector: an EfficientNet-B5 that tells drawn portraits from their self-blends.

    python tools/train_demo.py --steps 3000 --out bench/detectors/demo.safetensors
    python tools/train_demo.py --architecture efficientnet_b0 --seed 1 --steps 3000 --out other.safetensors

From scratch, on portraits drawn afresh at every step from seeds that the demo set never uses. Each
batch holds every portrait twice, as it was drawn and self-blended, so that only the blending can
tell them apart. Progress goes to standard output, and a run that was stopped goes on from its
last checkpoint.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from bench.datasets.demo import photograph_pair
from bench.detectors.detector import Detector
from bench.detectors.families import efficientnet
from bench.records import Preprocessing

PREPROCESSING = Preprocessing(size=160, channels="bgr", wavelet="sym2")
TRAIN_SEED, HELD_OUT_SEED = 71_000_000, 72_000_000  # the demo set draws from seeds below a million


class Portraits(IterableDataset[tuple[Tensor, Tensor]]):
    """Batches of `pairs` portraits and their fakes, uint8 [2 * pairs, 3, H, W], from step `first` on."""

    def __init__(self, pairs: int, first: int, steps: int, seed: int) -> None:
        self.pairs, self.first, self.steps, self.seed = pairs, first, steps, seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        labels = torch.tensor([0, 1] * self.pairs)
        for step in range(self.first, self.steps):
            pairs = [_pair(TRAIN_SEED + self.seed, step * self.pairs + i) for i in range(self.pairs)]
            frames = np.stack([frame for pair in pairs for frame in pair])
            if step % 2:
                frames = frames[:, :, ::-1]
            yield torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))), labels


def _pair(seed: int, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return photograph_pair(np.random.default_rng([seed, index]), PREPROCESSING.size)


def held_out(count: int) -> tuple[Tensor, NDArray[np.int64]]:
    """`count` frames, half of them fakes, of portraits that appear once each."""
    frames = [_pair(HELD_OUT_SEED, index)[index % 2] for index in range(count)]
    return torch.from_numpy(np.stack(frames).transpose(0, 3, 1, 2).copy()), np.arange(count) % 2


@torch.inference_mode()
def auc(detector: Detector, frames: Tensor, labels: NDArray[np.int64]) -> float:
    detector.eval()
    logits = torch.cat([detector(batch)[0] for batch in torch.split(frames, 32)])
    return float(roc_auc_score(labels, (logits[:, 1] - logits[:, 0]).numpy()))


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


def train(architecture: str, seed: int, steps: int, pairs: int, peak: float, out: Path, test_every: int) -> None:
    """Train the demo detector on drawn portraits, going on from a checkpoint where there is one."""
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    detector = efficientnet.build(architecture, "static", PREPROCESSING)
    torch.nn.init.zeros_(detector.head.weight)  # timm's range for two classes starts at a loss of 2, not log 2
    for module in detector.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.05  # small batches: the running statistics need a long memory
    detector.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=peak, weight_decay=0.02)
    checkpoint = out.with_suffix(".training")
    first = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        detector.load_state_dict(saved["detector"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["step"]
    test_frames, test_labels = held_out(600)
    loader = DataLoader(Portraits(pairs, first, steps, seed), batch_size=None, num_workers=1, prefetch_factor=4)
    began, losses = time.monotonic(), []
    for step, (frames, labels) in enumerate(loader, start=first):
        detector.train()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, peak)
        logits, _ = detector(frames.to(device))
        loss = F.cross_entropy(logits, labels.to(device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 20 == 0:
            rate = (time.monotonic() - began) / (step + 1 - first)
            print(f"step {step + 1}/{steps}  loss {np.mean(losses[-20:]):.4f}  {rate:.2f} s/step", flush=True)
        if (step + 1) % test_every == 0 or step + 1 == steps:
            area = auc(detector, test_frames, test_labels)
            print(f"step {step + 1}/{steps}  held-out ROC AUC {area:.4f} on {len(test_labels)} frames", flush=True)
            state = {"detector": detector.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            torch.save(state, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)
            save(detector, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="efficientnet_b5")
    parser.add_argument("--seed", type=int, default=0, help="of the first weights and of the portraits")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--pairs", type=int, default=8, help="portraits in a batch; each comes real and fake")
    parser.add_argument("--peak", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--test-every", type=int, default=250)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    train(**vars(arguments))
