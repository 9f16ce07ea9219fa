"""A search for the smallest variant against the grid that people build by hand: size, loss, and the time that it takes.

    python benchmarks/16_find.py --folder kept

The grid is {whole, two thirds left, half left} x {fp32, fp16, int8, int4 weights}; of it, the smallest variant is taken
that is stable or improved on the test frames. Both go through `bench run` without timing, each in a folder of its own
in which nothing is built yet, so that neither uses what the other has made. `demo` is the shipped B5 with the demo's
frames, `real-b0` a B0 that grew from ImageNet, with 320 frames to build with (`real_weights.py` makes it).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import real_weights
from PIL import Image
from testbed import draw_test_frames, options, show, working_folder

from bench import pipeline
from bench.experiment import read
from bench.pipeline import Finished
from bench.records import ScoredVariant, silent

PRUNED = {"whole": "", "two-thirds": "prune: 0.33, recover, ", "half": "prune: 0.5, recover, "}
STORED = {"fp32": "", "fp16": "cast: fp16", "int8": "quantize: int8", "int4": "quantize: {weights: int4}"}
TEST_SEED = 74_000_000
NOTES = (
    "Both from the weights to the report, without timing, one after the other. The grid's variant is the smallest that "
    "its report calls stable or improved, the search's what it took by validation frames alone; the change of AUC is "
    "on the test frames."
)


@dataclass(frozen=True)
class Outcome:
    """A variant that was taken, of how many that were built, after how many seconds of the clock and the processor."""

    variant: ScoredVariant
    steps: str
    built: int
    clock_s: float
    processor_s: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Search, build the grid, and print both side by side."""
    parser = options(__doc__, detectors=("real-b0", "demo"), margin=0.01, minutes=0.0, test_frames=600)
    given = parser.parse_args(arguments)
    rows: list[list[object]] = []
    for detector in given.detectors:
        within = f", within: {{minutes: {given.minutes:g}}}" if given.minutes else ""
        search = {"best": f"{{find: smallest, keep: {{auc_drop: {given.margin:g}}}{within}}}"}
        outcomes = []
        for variants in (search, grid()):
            with working_folder(given.folder) as folder:
                lasting = given.folder or folder
                path = furnish(folder, lasting, detector, variants, given)
                outcomes.append(taken(path, searched="best" in variants))
        rows.extend(_rows(detector, *outcomes))
    titles = ["detector", "how", "taken", "built", "MiB", "smaller than the grid's", "ΔAUC", "low", "high"]
    titles += ["s", "processor s", "of the grid's processor time"]
    show("Search and grid", titles, rows, NOTES)


def grid() -> dict[str, str]:
    """The variants that people build by hand, but for the baseline."""
    chains = {
        f"{pruned}-{stored}": f"[{(before + after).rstrip(', ')}]"
        for pruned, before in PRUNED.items()
        for stored, after in STORED.items()
    }
    return {name: chain for name, chain in chains.items() if chain != "[]"}


def furnish(folder: Path, lasting: Path, detector: str, variants: dict[str, str], given: object) -> Path:
    """Write the experiment file of a detector, and frames where these are not the demo's."""
    of_detector, frames = "{architecture: efficientnet_b5, weights: demo, preprocessing: {preset: fsbi, size: 160}}", ""
    datasets = "{path: datasets/demo}"
    if detector in real_weights.PUBLISHED:
        weights = real_weights.made(detector, lasting, os.cpu_count() or 1)
        architecture, size = real_weights.PUBLISHED[detector].architecture, real_weights.SIZE
        preprocessing = f"{{preset: imagenet, size: {size}}}"
        of_detector = f"{{architecture: {architecture}, weights: {weights.resolve()}, preprocessing: {preprocessing}}}"
        frames = str(lasting.resolve() / "real-frames")
        _write_test(folder / "test", lasting / f"test-{TEST_SEED}-4000.npy", getattr(given, "test_frames", 600), size)
        of_splits = {"test": "test", "validation": "validation", "train": "train", "calibration": "train"}
        folders = {split: name if split == "test" else f"{frames}/{name}" for split, name in of_splits.items()}
        datasets = f"{{{', '.join(f'{split}: {name}' for split, name in folders.items())}}}"
    lines = "\n".join(f"      {name}: {chain}" for name, chain in {"baseline": "[]", **variants}.items())
    path = folder / "experiments.yaml"
    path.write_text(
        f"""detectors:
  it: {of_detector}
datasets:
  frames: {datasets}
experiments:
  it:
    detector: it
    frames: frames
    device: cpu
    margin: {getattr(given, "margin", 0.01):g}
    gallery: {{occlusion: false}}
    variants:
{lines}
""",
        encoding="utf-8",
    )
    return path


def _write_test(folder: Path, stored: Path, count: int, size: int) -> None:
    """The first drawn test frames as files, every second a fake."""
    frames, labels = draw_test_frames(stored, TEST_SEED, 4000, size)
    for index in range(count):
        file = folder / ("fake" if labels[index] else "real") / f"{index:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frames[index].transpose(1, 2, 0)).save(file)


def taken(path: Path, *, searched: bool) -> Outcome:
    """Run the experiment, and take what the search found, or the smallest of the grid that keeps the verdict."""
    began, processor = time.monotonic(), _processor_s()
    finished = pipeline.run(read(path), path, timing="none", on_event=silent)
    clock_s, processor_s = time.monotonic() - began, _processor_s() - processor
    variants = {name: variant for name, variant in finished.scores.variants.items() if variant.status == "ok"}
    if searched:
        best, trail = variants["best"], finished.scores.searches["best"]
        return Outcome(best, ", ".join(best.steps), len(trail.candidates), clock_s, processor_s)
    best = min(_keeping(finished), key=lambda variant: variant.size_mib or float("inf"))
    return Outcome(best, ", ".join(best.steps) or "the baseline", len(variants) - 1, clock_s, processor_s)


def _keeping(finished: Finished) -> Iterator[ScoredVariant]:
    """The variants that are stable or improved, and the baseline."""
    for name, variant in finished.scores.variants.items():
        if variant.status == "ok" and (name == "baseline" or variant.verdict in ("stable", "improved")):
            yield variant


def _processor_s() -> float:
    """Seconds of processor time of this process and of those that it started."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _rows(detector: str, search: Outcome, by_hand: Outcome) -> Iterator[list[object]]:
    for how, outcome in (("search", search), ("grid", by_hand)):
        variant = outcome.variant
        low, high = variant.auc_delta_ci or (None, None)
        smaller = (by_hand.variant.size_mib or 0.0) / (variant.size_mib or 1.0)
        yield [
            detector, how, outcome.steps, outcome.built, f"{variant.size_mib:.2f}", f"{smaller:.2f} x",
            _signed(variant.auc_delta), _signed(low), _signed(high), f"{outcome.clock_s:.0f}",
            f"{outcome.processor_s:.0f}", f"{outcome.processor_s / by_hand.processor_s:.2f}",
        ]  # fmt: skip


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.4f}"


if __name__ == "__main__":
    main()
