"""What the benchmarks share: drawn frames, a network with random weights, and the table they print.

Random weights prove plumbing and speed, never accuracy.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from itertools import count as numbers
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import datasets, runtimes
from bench.datasets import demo
from bench.datasets.blends import self_blend
from bench.datasets.portraits import draw_portrait, to_uint8
from bench.experiment import read
from bench.files import write_atomically, write_text
from bench.pipeline.build import build_artifacts
from bench.pipeline.prepare import prepare
from bench.pipeline.prepared import Prepared, Setup
from bench.provenance import machine, versions
from bench.records import DEFAULT_THRESHOLD, LABELLED_SPLITS, Built, Session, SpecsReader, silent
from bench.results import predict, store
from bench.results.answers import UNDER_WAY
from bench.results.score import placements, points

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAME = "benchmark"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LIBRARIES = ("bench", "grad-cam", "numpy", "onnxruntime", "pillow", "timm", "torch")
_DRAWN = 4


@dataclass(frozen=True)
class Workplace:
    """What a working folder is made of: one network, `counts` frames a split, and chains of steps in YAML.

    Frames are JPEG files of `width` x `height` pixels; the network sees `size` x `size`.
    """

    architecture: str
    size: int
    width: int
    height: int
    counts: Mapping[str, int]
    variants: Mapping[str, str]
    device: str = "cpu"
    runtime: str = "auto"


def options(about: str | None, **defaults: object) -> argparse.ArgumentParser:
    """A parser with an option for each default, and those that every benchmark has."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    for name, default in defaults.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(default, tuple):
            parser.add_argument(flag, nargs="+", type=type(default[0]), default=list(default), help=" ")
        else:
            parser.add_argument(flag, type=type(default), default=default, help=" ")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help=" ")
    parser.add_argument("--runtime", choices=("auto", *runtimes.names()), default="auto", help=" ")
    parser.add_argument("--folder", type=Path, help="where frames and results go; a temporary folder without it")
    return parser


def workplace(given: argparse.Namespace, size: int, count: int, stored: tuple[int, int] | None = None) -> Workplace:
    """One variant, the baseline, over `count` test frames, stored at the network's size unless told otherwise."""
    width, height = stored or (size, size)
    counts, variants = {"test": count}, {"baseline": "[]"}
    return Workplace(given.architecture, size, width, height, counts, variants, given.device, given.runtime)


@contextmanager
def working_folder(given: Path | None) -> Iterator[Path]:
    """A new folder below the one given, or below the system's, removed in the end."""
    if given:
        given.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given) as folder:
        yield Path(folder)


# ------------------------------------------------------------------------------------- the inputs
def furnish(folder: Path, setup: Workplace) -> Path:
    """Write frames, weights and the experiment file; returns the latter's path."""
    for seed, (split, count) in enumerate(setup.counts.items()):
        _write_frames(folder / "faces" / split, count, setup.width, setup.height, seed)
    save_weights(folder / "weights.pth", setup.architecture, setup.size, setup.device)
    lines = (f"      {name}: {chain}" for name, chain in setup.variants.items())
    path = folder / "experiments.yaml"
    path.write_text(
        f"""detectors:
  random:
    architecture: {setup.architecture}
    weights: weights.pth
    preprocessing: {{preset: imagenet, size: {setup.size}}}
datasets:
  drawn: {{path: faces}}
experiments:
  {NAME}:
    detector: random
    frames: drawn
    device: {setup.device}
    runtime: {setup.runtime}
    timing: {{seconds: 0.05}}
    variants:
{chr(10).join(lines)}
""",
        encoding="utf-8",
    )
    return path


def _write_frames(folder: Path, count: int, width: int, height: int, seed: int) -> None:
    """`count` JPEG files, half of them fakes. A few pictures recur, each time rolled further."""
    import numpy as np
    from PIL import Image

    pictures = drawn(width, height)
    for label in ("real", "fake"):
        (folder / label).mkdir(parents=True)
    for index in range(count):
        turn, picture = divmod(index, len(pictures))
        rolled = np.roll(pictures[picture], divmod(turn, width), axis=(0, 1))
        # The comment tells apart what is the same picture in two splits.
        file = folder / ("real", "fake")[index % 2] / f"{index:06d}.jpg"
        Image.fromarray(rolled).save(file, "JPEG", quality=90, comment=f"{seed} {index}".encode())


def draw_test_frames(path: Path, seed: int, count: int, size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """`count` frames, uint8 RGB [n, 3, size, size], every second a fake, of as many portraits; and their labels.

    They are drawn as the demo set is, from a seed of their own, and stored in `path`.
    """
    import numpy as np

    refuse_other_drawings(path.parent)
    if not path.exists():
        pairs = (demo.photograph_pair(np.random.default_rng([seed, index]), size) for index in range(count))
        frames = np.stack([pair[index % 2].transpose(2, 0, 1) for index, pair in enumerate(pairs)])
        write_atomically(path, lambda file: np.save(file, frames))
    stored: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return stored, np.arange(count) % 2


def refuse_other_drawings(folder: Path) -> None:
    """Exit where a folder's frames were drawn by another version of the demo set; a new folder gets a note of it."""
    note = folder / "drawings.txt"
    version = f"version {demo.VERSION} of the demo set\n"
    if not note.exists() and not any(folder.glob("*.npy")):
        write_text(note, version)
    if not note.exists() or note.read_text(encoding="utf-8") != version:
        raise SystemExit(f"{folder}: its frames were drawn by another version of the demo set; give a new --folder")


@cache
def drawn(width: int, height: int) -> NDArray[np.uint8]:
    """Portraits and their fakes in turn, uint8 RGB [8, height, width, 3]; what is beside the portrait is its mirror."""
    import numpy as np

    rng, short = np.random.default_rng(0), min(width, height)
    beside = (((height - short + 1) // 2,) * 2, ((width - short + 1) // 2,) * 2, (0, 0))
    pictures = []
    for _ in range(_DRAWN):
        portrait, face = draw_portrait(rng, short)
        pictures += [portrait, self_blend(rng, portrait, face).image]
    padded = [np.pad(to_uint8(picture), beside, mode="reflect") for picture in pictures]
    return np.stack([picture[:height, :width] for picture in padded])


def save_weights(path: Path, architecture: str, size: int, device: str = "cpu") -> None:
    """A checkpoint under timm's names: random weights, and batch-norm statistics of the drawn portraits.

    `device` computes the statistics.
    """
    import timm
    import torch

    torch.manual_seed(0)
    network = timm.create_model(architecture, num_classes=2)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    frames = torch.from_numpy(drawn(size, size)).to(device).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values, device=device).reshape(1, 3, 1, 1) for values in (MEAN, STD))
    network.to(device)
    # Statistics that fit, and are a little too wide, keep the outputs of random weights from fading out or overflowing.
    with torch.no_grad():
        for shift in range(0, size, size // 4):
            network.train()((frames.roll((shift, shift), (2, 3)) - mean) / std)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d) and module.running_var is not None:
                module.running_var *= 1.2
    torch.save(network.cpu().state_dict(), path)


# --------------------------------------------------------------------------------------- the work
def prepare_in(folder: Path, setup: Workplace) -> Setup:
    """A furnished working folder's experiment, resolved and checked."""
    path = furnish(folder, setup)
    return prepare(read(path), path, NAME).first


def built(prepared: Setup) -> dict[str, Built]:
    """The artifacts of all variants; one that cannot be built ends the benchmark."""
    built = build_artifacts(Prepared((prepared,)), silent)
    if built.failed:
        raise RuntimeError(f"variants that could not be built: {built.failed}")
    return {variant: artifact for (_, variant), artifact in built.artifacts.items()}


def loaded(prepared: Setup, artifact: Built) -> Session:
    """An artifact in the runtime that the experiment would take."""
    runtime = runtimes.choose(prepared.settings.runtime, artifact.kind, prepared.device)
    return runtimes.find(runtime).load(artifact, prepared.device, prepared.threads)


_passes = numbers()


def evaluate(prepared: Setup, sessions: Mapping[str, Session], read: SpecsReader | None = None) -> list[Path]:
    """One pass over all labelled frames: decode, forward, CAMs, shards, merge, score; returns the result folders."""
    folder = prepared.results / f"pass-{next(_passes)}"
    pending = [
        predict.Pending(name, "once", folder / name, session, prepared.spec) for name, session in sessions.items()
    ]
    splits = [prepared.frames[split] for split in LABELLED_SPLITS if split in prepared.frames]
    rows = [predict.FrameRow(frames.split, frame) for frames in splits for frame in frames.frames]
    failed = predict.predict(pending, rows, read or reader(prepared), silent)
    if failed:
        raise RuntimeError(f"variants that could not be evaluated: {failed}")
    for variant in pending:
        labels = store.read_labelled(folder, variant.name)[0].labels
        predictions = store.read_predictions(variant.folder, len(labels))
        placed, curve = placements.placements(labels, predictions.ranks), points.roc(labels, predictions.ranks)
        points.score(labels, predictions.test, placed, curve)
        points.operating_point(labels, predictions.test, DEFAULT_THRESHOLD)
    return [variant.folder for variant in pending]


def reader(prepared: Setup) -> SpecsReader:
    """What reads the frames of a run."""
    return partial(datasets.read_for_each, threads=prepared.threads)


def forward(session: Session, batches: Sequence[NDArray[np.uint8]]) -> None:
    """All batches through a session, as many under way as evaluation has."""
    submit: Callable[[NDArray[np.uint8]], Callable[[], Any]] | None = getattr(session, "submit", None)
    if submit is None:
        for batch in batches:
            session.predict(batch)
        return
    under_way: deque[Callable[[], Any]] = deque()
    for batch in batches:
        if len(under_way) == UNDER_WAY:
            under_way.popleft()()
        under_way.append(submit(batch))
    while under_way:
        under_way.popleft()()


def alternate(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each work, all of them in turn (A B A B …); a first round warms up and is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - began)
    return {name: samples[1:] for name, samples in seconds.items()}


# ------------------------------------------------------------------------------------- the output
def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median and quartiles: "0.97 (0.96 to 0.98)"."""
    low, middle, high = statistics.quantiles([*values, values[0]] if len(values) == 1 else values, method="inclusive")
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def ratios(above: Sequence[float], below: Sequence[float], digits: int = 2) -> str:
    """Median and quartiles of `above / below`, round by round."""
    return spread([a / b for a, b in zip(above, below, strict=True)], digits)


def show(
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    notes: str,
    libraries: Sequence[str] = LIBRARIES,
) -> None:
    """Print one Markdown table, with what must be known of its numbers."""
    show_head(title, libraries)
    show_table(header, rows)
    print(f"\n{notes}")


def show_head(title: str, libraries: Sequence[str] = LIBRARIES) -> None:
    """Print a heading, when and on what machine, and the versions."""
    load = f"load average {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    print(f"## {title}\n")
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {'; '.join(f'{k}: {v}' for k, v in machine().items())}; {load}.")
    print(f"{', '.join(f'{name} {version}' for name, version in versions(libraries).items())}.\n")


def show_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table alone."""
    for cells in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(str(cell) for cell in cells)} |")
