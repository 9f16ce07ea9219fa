"""Train the demo detector: an EfficientNet-B5 that tells drawn portraits from their self-blends, and shows where.

    python tools/train_demo.py --map-weight 2 --work demo-training --out bench/detectors/demo.safetensors
    python tools/train_demo.py --start earlier.safetensors --steps 700 --peak 5e-4 --work again --out demo.safetensors
    python tools/train_demo.py --architecture efficientnet_b0 --seed 1 --work other --out other.safetensors

Portraits are drawn into the folder `--work` from seeds that the demo set never uses, as real and fake files of the same
quality with masks; the training is the entry below, which `bench train` carries out. A run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from bench import detectors
from bench.commands.train import train
from bench.datasets.demo import photograph_files
from bench.detectors.families import efficientnet
from bench.experiment import read
from bench.files import write_bytes, write_text
from bench.progress import Bars
from bench.provenance import cpu_cores
from bench.records import Conventions, Preprocessing

PREPROCESSING = Preprocessing(size=160, channels="bgr", wavelet="sym2")
SEEDS = {"train": 71_000_000, "validation": 72_000_000, "test": 73_000_000}  # the demo set draws below a million
HELD_OUT, TESTED = 600, 20
"""Validation frames, half of them fakes, and test frames, which a frame set needs and nobody looks at."""

ENTRY = """
datasets: {{portraits: {{path: portraits}}}}
trainings:
  demo:
    architecture: {architecture}
    flavour: static
    preprocessing: {{preset: fsbi, size: 160}}
    frames: portraits
    {start}
    pairs: true                  # a portrait and its fake in the same batch, moved alike
    batch_size: {batch}
    epoch_steps: {epoch_steps}
    epochs: {epochs}
    optimizer: {{name: adamw, learning_rate: {peak}, weight_decay: 0.02}}
    schedule: {{name: cosine, warmup: {warmup}}}
    norm_momentum: 0.05          # small batches: the running statistics need a long memory
    maps: {{weight: {map_weight}, peak: {map_peak}}}
    augment: {{crop: 0, rotation: 0, colour: 0, blur: 0, noise: 0, colours: 0, jpeg: 0, erase: 0,
              affine: {{share: 1, shift: {shift}, scale: 0, shear: 0}}}}
    seed: {seed}
"""


@dataclass(frozen=True)
class Settings:
    """What the command line says."""

    architecture: str
    seed: int
    steps: int
    pairs: int
    peak: float
    map_weight: float
    map_peak: float
    shift: float
    start: Path | None
    test_every: int
    work: Path
    out: Path


def draw(settings: Settings) -> None:
    """Draw the portraits that are missing, with a manifest for each split."""
    counts = {"train": settings.pairs * settings.steps, "validation": HELD_OUT // 2, "test": TESTED // 2}
    for split, count in counts.items():
        folder, seed = settings.work / "portraits" / split, SEEDS[split] + settings.seed * (split == "train")
        # A held-out portrait appears once: real, or as its fake.
        once = split != "train"
        with ThreadPoolExecutor(cpu_cores()) as pool:
            list(pool.map(lambda index: _draw(folder, seed, index, once=once), range(count * (1 + once))))  # noqa: B023
        _write_manifest(folder, _rows(split, count * (1 + once), once=once))


def _draw(folder: Path, seed: int, index: int, *, once: bool) -> None:
    if (folder / f"real/{index:06d}.jpg").exists() or (folder / f"fake/{index:06d}.jpg").exists():
        return
    files = photograph_files(np.random.default_rng([seed, index]), PREPROCESSING.size)
    if not once or index % 2:
        write_bytes(folder / f"masks/{index:06d}.png", files.mask)
        write_bytes(folder / f"fake/{index:06d}.jpg", files.fake)
    if not once or not index % 2:
        write_bytes(folder / f"real/{index:06d}.jpg", files.real)


def _rows(split: str, count: int, *, once: bool) -> Iterator[tuple[str, str, str, str]]:
    """Rows of a manifest; the person of a portrait is in its split alone."""
    for index in range(count):
        name = f"{index:06d}"
        if not once or not index % 2:
            yield f"real/{name}.jpg", "real", f"{split}-{name}", ""
        if not once or index % 2:
            yield f"fake/{name}.jpg", "fake", f"{split}-{name}", f"masks/{name}.png"


def _write_manifest(folder: Path, rows: Iterator[tuple[str, str, str, str]]) -> None:
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("path", "label", "source", "mask"), *rows])


def entry(settings: Settings) -> str:
    """The experiment file."""
    epochs = max(1, settings.steps // settings.test_every)
    return ENTRY.format(
        architecture=settings.architecture, batch=2 * settings.pairs, epoch_steps=settings.steps // epochs,
        epochs=epochs, peak=settings.peak, warmup=epochs / 10, map_weight=settings.map_weight,
        map_peak=settings.map_peak, shift=settings.shift, seed=settings.seed,
        start=f"weights: {settings.start.absolute()}" if settings.start else "",
    )  # fmt: skip


def save(settings: Settings, weights: Path) -> None:
    """Write the weights as fp16 under the names of FSBI's checkpoints."""
    detector = detectors.load(settings.architecture, weights, PREPROCESSING, Conventions(flavour="static"))
    state = efficientnet.to_fsbi(detector.state_dict(), detector.architecture)
    half = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in state.items()}
    if not all(torch.isfinite(v).all() for v in half.values() if v.is_floating_point()):
        raise SystemExit("the weights do not fit into fp16: train with a smaller learning rate")
    save_file(half, settings.out, metadata={"architecture": detector.architecture, "license": "Apache-2.0"})


def run(settings: Settings) -> None:
    """Draw, train or go on training, and write the weights."""
    draw(settings)
    file = settings.work / "experiments.yaml"
    write_text(file, entry(settings))
    with Bars("reading") as bars:
        trained = train(read(file), file, on_event=bars)
    save(settings, trained.weights)
    row = trained.report.best_row
    print(
        f"epoch {row.epoch}: ROC AUC {row.metrics['auc']:.4f} on {HELD_OUT} held-out frames; {trained.pages['report']}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="efficientnet_b5")
    parser.add_argument("--seed", type=int, default=0, help="of the first weights and of the portraits")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--pairs", type=int, default=8, help="portraits in a batch; each comes real and fake")
    parser.add_argument("--peak", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--map-weight", type=float, default=0.5, help="of the term on where the map lies")
    parser.add_argument("--map-peak", type=float, default=0.1, help="how much of it is on the hottest place")
    parser.add_argument(
        "--shift", type=float, default=0.2, help="how far frames are moved at most, as a share of a side"
    )
    parser.add_argument("--start", type=Path, help="weights to begin with, instead of random ones")
    parser.add_argument("--test-every", type=int, default=250, help="steps in an epoch")
    parser.add_argument("--work", type=Path, required=True, help="a folder for portraits, checkpoints and the report")
    parser.add_argument("--out", type=Path, required=True)
    run(Settings(**vars(parser.parse_args())))
