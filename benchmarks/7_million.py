"""How long a million frames take from stored scores to a rendered report, and how much memory (Linux).

The scores are drawn; each command runs in a fresh process, from reading its files to the last figure.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from testbed import show

from bench.provenance import digest
from bench.records import Executed, Footprint, Measurement, Preprocessing, RunRecord, SplitSummary, VariantResult
from bench.results import store
from bench.results.attributes import ATTRIBUTES
from bench.results.predict import CAMS, MARK, PREDICTIONS
from bench.results.score import p_fake

if TYPE_CHECKING:
    import pandas as pd

VARIANTS = ("baseline", "q16", "q8", "q32-p50", "q16-p50", "q8-p50")
SHIFTS = (0.0, 0.01, 0.2, 0.4, 0.4, 0.5)
DRAWN = digest("drawn")
# Every variant has been timed, as far as a report asks: all alike, so that nothing follows from it.
EXECUTED = Executed("pytorch", "cpu", "none", ("none",), "fp32", "fp32")
MEASURED = (Measurement("pytorch", "cpu", 1, ((1.0,),) * 10),)
FILES = 1000
"""Different pictures there are; folders are links to one that holds them all."""

YAML = """
detectors: {none: {architecture: efficientnet_b0, weights: demo, preprocessing: {preset: fsbi, size: 64}}}
datasets: {faces: {path: faces}}
experiments:
  many: {detector: none, frames: faces, variants: {baseline: [], q16: [cast: fp16]}}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table. Or draw the data, for a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--frames", type=int, default=1_000_000, help="test frames")
    parser.add_argument("--cam", type=int, default=12, help="side of a class-activation map")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder if left out")
    parser.add_argument("--draw", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.draw:
        return _furnish(given.draw, given.frames, given.cam)
    with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
        folder = Path(temporary)
        # A process counts the memory of the one that started it, which therefore stays small.
        drawn = [
            sys.executable,
            __file__,
            "--draw",
            str(folder),
            "--frames",
            str(given.frames),
            "--cam",
            str(given.cam),
        ]
        subprocess.run(drawn, check=True)
        commands = {
            "`bench score`, CSV": ["score", "--name", "csv", *(f"{name}.csv" for name in VARIANTS)],
            "`bench score`, Parquet": ["score", "--name", "parquet", *(f"{name}.parquet" for name in VARIANTS)],
            "`bench report`, maps and galleries": ["report"],
        }
        rows = [[title, *_measure(folder, words)] for title, words in commands.items()]
    show(
        f"7. {given.frames:,} frames, {len(VARIANTS)} variants",
        ["command", "s", "peak, GiB"],
        rows,
        f"Two columns are sliced, sources have 20 frames, maps are {given.cam} x {given.cam}. Once each.",
    )


def _furnish(folder: Path, frames: int, side: int) -> None:
    tables = _draw(frames)
    for name, table in tables.items():
        elsewhere = table.drop(columns=["logit_real", "logit_fake"])
        elsewhere.to_csv(folder / f"{name}.csv", index=False)
        elsewhere.to_parquet(folder / f"{name}.parquet", index=False)
    _store(folder, tables, side)


def _draw(frames: int) -> dict[str, pd.DataFrame]:
    """Predictions of every variant as `bench` writes them, with two columns to slice by."""
    import pandas as pd

    rng = np.random.default_rng(0)
    indices = np.arange(frames)
    labels = (indices % 2).astype(np.int8)
    base = rng.normal(2.0 * labels - 1, 1)
    names = [f"{'fake' if index % 2 else 'real'}/{index // FILES}/{index % FILES}.jpg" for index in range(frames)]
    cameras = np.array(["near", "far", "phone", "studio"])[rng.integers(0, 4, frames)]
    qualities = rng.integers(50, 100, frames)
    tables = {}
    for name, shift in zip(VARIANTS, SHIFTS, strict=True):
        logit_diff = (base + shift * rng.normal(0, 1, frames)).astype(np.float32)
        tables[name] = pd.DataFrame(
            {
                "frame": names,
                "split": "test",
                "label": labels,
                "source": pd.Series(indices // 20).astype(str),
                "p_fake": p_fake(-logit_diff / 2, logit_diff / 2),
                "logit_real": -logit_diff / 2,
                "logit_fake": logit_diff / 2,
                "camera": cameras,
                "quality": qualities,
            }
        )
    return tables


def _store(folder: Path, tables: dict[str, pd.DataFrame], side: int) -> None:
    """The results of an experiment, as a run would have left them."""
    (folder / "experiments.yaml").write_text(YAML, encoding="utf-8")
    results, frames = folder / "results/many", len(tables["baseline"])
    _pictures(folder / "faces/test", frames)
    rng = np.random.default_rng(1)
    for name, table in tables.items():
        (results / name).mkdir(parents=True)
        table.drop(columns=["camera", "quality"]).to_parquet(results / name / PREDICTIONS, index=False)
        if name in VARIANTS[:2]:
            np.save(results / name / CAMS, rng.normal(0, 1, (frames, side, side)).astype(np.float32))
        else:
            os.link(results / VARIANTS[1] / CAMS, results / name / CAMS)
        sizes = {file: (results / name / file).stat().st_size for file in (PREDICTIONS, CAMS)}
        (results / name / MARK).write_text(json.dumps({"key": DRAWN, "frames": frames, "bytes": sizes}))
    attributes = tables["baseline"][["frame", "split", "camera"]].assign(
        quality=tables["baseline"]["quality"].astype(str)
    )
    attributes.to_parquet(results / ATTRIBUTES, index=False)
    store.write_run(results, _run(frames))


def _pictures(folder: Path, frames: int) -> None:
    from PIL import Image

    (folder / "pictures").mkdir(parents=True)
    rng = np.random.default_rng(2)
    for index in range(FILES):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / f"pictures/{index}.jpg")
    for label in ("real", "fake"):
        (folder / label).mkdir()
        for index in range((frames + FILES - 1) // FILES):
            (folder / label / str(index)).symlink_to("../pictures")


def _run(frames: int) -> RunRecord:
    """The record of a run that never was."""
    return RunRecord(
        experiment="many",
        detector="none",
        architecture="efficientnet_b0",
        preprocessing=Preprocessing(64),
        threshold=0.5,
        gallery_top=5,
        gallery_heatmaps="gallery",
        frames={"test": SplitSummary("faces/test", frames, frames // 2, (frames + 1) // 2, (frames + 19) // 20, "0")},
        variants=tuple(
            VariantResult(
                name,
                digest(name),
                (),
                "ok",
                None,
                Footprint(1 << 20, None, None),
                EXECUTED,
                MEASURED,
                predictions_key=DRAWN,
            )
            for name in VARIANTS
        ),
        provenance={},
        attributes=DRAWN,
    )


def _measure(folder: Path, words: Sequence[str]) -> tuple[str, str]:
    began = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-c", "from bench.cli import main; main()", *words], cwd=folder, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"bench {' '.join(words)}: exit code {child.returncode}")
    return f"{time.perf_counter() - began:.1f}", f"{used.ru_maxrss / 2**20:.2f}"


if __name__ == "__main__":
    main()
