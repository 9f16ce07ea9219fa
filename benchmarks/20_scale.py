"""What 100,000 videos x 32 frames x 12 variants cost beside computing: shards, joining, sharing out, report (Linux).

Sessions stand in for variants and answer at once, frames are drawn numbers, pictures are links to a few; each stage is
a fresh process. `--videos 1000` is a hundredth of it, which takes minutes.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from testbed import show

from bench.executors.ray import _Distribution, connected
from bench.executors.worker import Evaluated
from bench.pipeline.sharding import joining
from bench.pipeline.sharding.passes import Pass, Target
from bench.records import (
    AnySpec,
    Executed,
    Footprint,
    Frame,
    InputSpec,
    Measurement,
    Prediction,
    Preprocessing,
    RunRecord,
    SplitSummary,
    VariantResult,
    VideoCounts,
    silent,
)
from bench.results import predict, store

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRAMES = 32
KEY = "0" * 16
BATCH = 128
EXECUTED = Executed("pytorch", "cpu", "none", ("none",), "fp32", "fp32")
MEASURED = (Measurement("pytorch", "cpu", 1, ((1.0,),) * 10),)
SPEC = InputSpec(32)
YAML = """
detectors: {none: {architecture: efficientnet_b0, weights: demo, preprocessing: {preset: fsbi, size: 32}}}
datasets: {faces: {path: faces}}
experiments:
  many: {detector: none, frames: faces, variants: {v00: []}}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each stage in a process of its own, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--videos", type=int, default=100_000, help="test videos of 32 frames")
    parser.add_argument("--variants", type=int, default=12, help="variants")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder if left out")
    parser.add_argument("--stage", choices=tuple(STAGES), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.stage:
        return STAGES[given.stage](given.folder, given.videos, given.variants)
    if given.folder:
        given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
        rows = list(_measured(Path(temporary), given.videos, given.variants))
        files = list(Path(temporary).glob(f"results/many/*/{predict.PREDICTIONS}"))
        size = sum(file.stat().st_size for file in files)
    count = given.videos * FRAMES
    show(
        f"20. {given.videos:,} videos of {FRAMES} frames, {given.variants} variants",
        ["stage", "s", "ms a shard", "peak, GiB"],
        rows,
        f"{count * given.variants:,} predictions in {len(files)} files, one a variant: {size / 2**20:,.1f} MiB, "
        f"{size / (count * given.variants):.1f} bytes each. A shard is {predict.SHARD_FRAMES} frames.",
    )


def _measured(folder: Path, videos: int, variants: int) -> Iterator[list[object]]:
    """A row for each stage."""
    shards = len(predict.shard_lows(videos * FRAMES))
    stages = {
        "evaluate with stand-in sessions": ("shards", shards * variants),
        "look which shards are there (Ray's driver, `bench merge`)": ("look", shards * variants),
        "check each shard (`bench merge`)": ("check", shards * variants),
        "join the shards": ("join", shards * variants),
    }
    if importlib.util.find_spec("ray"):
        stages["share out among two workers (Ray)"] = ("share", shards)
    of_stage = [str(folder), "--videos", str(videos), "--variants", str(variants)]
    for title, (stage, count) in stages.items():
        seconds, peak = _timed([sys.executable, __file__, "--stage", stage, "--folder", *of_stage], folder)
        inside = float((folder / stage).read_text())
        yield [title, f"{seconds:.1f}", f"{1000 * inside / count:.2f}", f"{peak:.2f}"]
    _store(folder, videos, variants)
    code = "from bench.cli import main; main()"
    seconds, peak = _timed([sys.executable, "-c", code, "report"], folder)
    yield ["`bench report`, judged by video", f"{seconds:.1f}", "", f"{peak:.2f}"]


def _timed(command: Sequence[str], folder: Path) -> tuple[float, float]:
    """The seconds that a process takes, and its memory in GiB at most."""
    began = time.perf_counter()
    child = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {child.returncode}")
    return time.perf_counter() - began, used.ru_maxrss / 2**20


# ------------------------------------------------------------------------------------------- stand-ins
class StandIn:
    """A session that answers at once: what stands in the first pixel, and a noise of its own."""

    executed = EXECUTED

    def __init__(self, number: int) -> None:
        self._rng, self._noise = np.random.default_rng(number), 0.1 * number

    def predict(self, frames: NDArray[np.uint8]) -> Prediction[NDArray[np.float32]]:
        answers = frames[:, 0, 0, 0].astype(np.float32) / 64 - 2
        answers += self._noise * self._rng.standard_normal(len(answers)).astype(np.float32)
        return Prediction(np.stack([-answers / 2, answers / 2], axis=1), None)


class Evaluator:
    """A worker whose shards are done at once: what is left is what sharing out takes."""

    def evaluate(self, index: int, low: int) -> Evaluated:
        return Evaluated({}, [])


def _rows(folder: Path, videos: int) -> list[predict.FrameRow]:
    """The frames of a generated manifest: every other video is fake."""
    rows = []
    for video in range(videos):
        label, name = video % 2, f"{'fake' if video % 2 else 'real'}/{video:06d}"
        for index in range(FRAMES):
            path = f"{name}/{index:02d}.jpg"
            file = folder / "faces/test" / path
            rows.append(predict.FrameRow("test", Frame(path, file, label, name, KEY, (), name, 10 * index)))
    return sorted(rows, key=lambda row: row.frame.path)


def _read(frames: Sequence[Frame], specs: Sequence[AnySpec], size: int) -> Iterator[dict[AnySpec, NDArray[np.uint8]]]:
    """Frames of one pixel, brighter where they are fake."""
    rng = np.random.default_rng(0)
    for start in range(0, len(frames), size):
        labels = np.array([frame.label for frame in frames[start : start + size]])
        values = np.clip(rng.normal(96 + 64 * labels, 48), 0, 255).astype(np.uint8)
        yield dict.fromkeys(specs, values[:, None, None, None].repeat(3, axis=1))


def _pending(folder: Path, variants: int) -> list[predict.Pending]:
    # As large as on a GPU, where sharding pays: small batches cost more calls.
    replaced: Any = predict
    replaced.batch_size = lambda spec, device: BATCH
    sessions: list[Any] = [StandIn(number) for number in range(variants)]
    return [
        predict.Pending(f"v{number:02d}", KEY, folder / "results/many" / f"v{number:02d}", session, SPEC)
        for number, session in enumerate(sessions)
    ]


# --------------------------------------------------------------------------------------------- stages
def _shards(folder: Path, videos: int, variants: int) -> None:
    rows, pending = _rows(folder, videos), _pending(folder, variants)
    began = time.perf_counter()
    failed, _ = predict.fill(pending, rows, predict.shard_lows(len(rows)), _read, silent)
    assert not failed
    (folder / "shards").write_text(str(time.perf_counter() - began))


def _pass(folder: Path, videos: int, variants: int) -> Pass:
    """What a driver or a merge holds: all rows, and where each variant's predictions lie."""
    setup: Any = SimpleNamespace(on_frames="")
    targets = []
    for variant in _pending(folder, variants):
        job: Any = SimpleNamespace(setup=setup, result_title=variant.name)
        targets.append(Target(variant.name, job, variant.folder, variant.key, SPEC, maps=False))
    return Pass(setup, _rows(folder, videos), tuple(targets))


def _look(folder: Path, videos: int, variants: int) -> None:
    each = _pass(folder, videos, variants)
    began = time.perf_counter()
    assert not joining.lacking(each, {})
    (folder / "look").write_text(str(time.perf_counter() - began))


def _check(folder: Path, videos: int, variants: int) -> None:
    each = _pass(folder, videos, variants)
    began = time.perf_counter()
    joining.remove_damaged(each)
    (folder / "check").write_text(str(time.perf_counter() - began))
    assert not joining.lacking(each, {})


def _join(folder: Path, videos: int, variants: int) -> None:
    rows, pending = _rows(folder, videos), _pending(folder, variants)
    began = time.perf_counter()
    assert not predict.predict(pending, rows, _read, silent)
    (folder / "join").write_text(str(time.perf_counter() - began))


def _share(folder: Path, videos: int, variants: int) -> None:
    """The driver's part alone: shards are shared out among workers that have nothing to do."""
    shards = [(0, low) for low in predict.shard_lows(videos * FRAMES)]
    with connected("local") as ray:
        workers = [ray.remote(Evaluator).remote() for _ in range(2)]
        ray.get([worker.evaluate.remote(0, 0) for worker in workers])
        began = time.perf_counter()
        _Distribution(ray, workers, deque(shards)).done(lambda done: done, lambda event: None)
        (folder / "share").write_text(str(time.perf_counter() - began))


def _store(folder: Path, videos: int, variants: int) -> None:
    """What a run would have left beside the predictions, and pictures for galleries."""
    from PIL import Image

    (folder / "experiments.yaml").write_text(YAML, encoding="utf-8")
    pictures = folder / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(2)
    for index in range(FRAMES):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(pictures / f"{index:02d}.jpg")
    for label in ("real", "fake"):
        (folder / "faces/test" / label).mkdir(parents=True)
    for video in range(videos):
        name = f"{'fake' if video % 2 else 'real'}/{video:06d}"
        (folder / "faces/test" / name).symlink_to(pictures)
    store.write_run(folder / "results/many", _run(videos, variants))
    mark = folder / "results/many/v00" / predict.MARK
    assert json.loads(mark.read_text())["frames"] == videos * FRAMES


def _run(videos: int, variants: int) -> RunRecord:
    """The record of a run that never was."""
    frames, fake = videos * FRAMES, videos // 2
    results = (
        VariantResult(
            name=f"v{number:02d}",
            id=KEY,
            steps=("cast: fp16",) * bool(number),
            status="ok",
            reason=None,
            footprint=Footprint((variants - number) << 20, None, None),
            executed=EXECUTED,
            measurements=MEASURED,
            predictions_key=KEY,
        )
        for number in range(variants)
    )
    return RunRecord(
        experiment="many",
        detector="none",
        architecture="efficientnet_b0",
        preprocessing=Preprocessing(32),
        threshold=0.5,
        gallery_top=5,
        gallery_heatmaps="gallery",
        frames={"test": SplitSummary("faces/test", frames, fake * FRAMES, frames - fake * FRAMES, videos, KEY)},
        variants=tuple(results),
        provenance={},
        gallery_occlusion=False,
        judge="video",
        videos={"test": VideoCounts(videos, fake, videos - fake)},
    )


STAGES = {"shards": _shards, "look": _look, "check": _check, "join": _join, "share": _share}


if __name__ == "__main__":
    main()
