"""Fixtures that several test files share."""

from __future__ import annotations

import logging
import math
import os
import shutil
import subprocess
import tempfile
import threading
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from bench import datasets
from bench.datasets import FrameSetSettings
from bench.detectors.families import efficientnet
from bench.detectors.families import onnx as onnx_family
from bench.records import BatchReader, Built
from bench.reports.pictures import figures
from bench.results import timing
from bench.results.timing.worker import worker_loop
from bench.runtimes.onnxruntime import kernels
from bench.runtimes.onnxruntime.lowering import EVERYWHERE
from bench.variants import build, checkpoints
from bench.variants.chain import parse
from bench.variants.context import BuildContext, Source
from tests.support import ROOT, blank_figures, browser, pace, tiny

LONGEST = ("pipeline", "detectors", "variants", "runtimes", "safety", "interface", "reports")
"""Folders whose files take long: they come first, so that the workers of pytest-xdist end together."""


def pytest_configure(config: pytest.Config) -> None:
    is_slow = "slow" in (config.getoption("-m") or "")
    settings.register_profile("bench", max_examples=200 if is_slow else 40, deadline=None)
    settings.load_profile("bench")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import torch

    items.sort(key=lambda item: not set(LONGEST) & {folder.name for folder in item.path.parents})

    if not torch.cuda.is_available():
        for item in items:
            if "cuda" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
    for item in items:
        if "slow" in item.keywords and "slow" not in (item.config.getoption("-m") or ""):
            item.add_marker(pytest.mark.skip(reason="slow; run with -m slow"))
        _scale_its_timeout(item)


def _scale_its_timeout(item: pytest.Item) -> None:
    """The limits of pyproject.toml and of marks are those of a fast machine that has nothing else to do."""
    if item.config.getoption("timeout") is not None:
        return  # as in `--timeout 0`, for a debugger
    mark = item.get_closest_marker("timeout")
    seconds = mark.args[0] if mark else float(item.config.getini("timeout"))
    item.add_marker(pytest.mark.timeout(pace.limit(seconds)), append=False)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A temporary folder for this process alone, and with it a timing lock.

    One run at a time may time on a machine: tests would wait for each other, and for whoever else times there.
    """
    tmp_path_factory.getbasetemp()  # pytest's own stays where it is
    with (
        tempfile.TemporaryDirectory(prefix="tests-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("TMPDIR", folder)
        patch.setenv("XDG_RUNTIME_DIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        # The secret that compiled networks are sealed with is the same for all workers, which share those.
        base = tmp_path_factory.getbasetemp()
        state = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "state"
        patch.setenv("XDG_STATE_HOME", str(state))
        yield


@pytest.fixture(scope="session", autouse=True)
def _blank_figures() -> Iterator[None]:
    """Reports come with blank figures; those that fixtures of whole modules make, too."""
    with pytest.MonkeyPatch.context() as patch:
        for name, blank in blank_figures.BLANK.items():
            patch.setattr(figures, name, blank)
        yield


@pytest.fixture(autouse=True)
def _drawn_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests marked `figures` draw what `bench` draws."""
    if "figures" in request.keywords:
        for name, draw in blank_figures.DRAWING.items():
            monkeypatch.setattr(figures, name, draw)


@pytest.fixture(autouse=True)
def _no_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of several models that share a test's folder would go on from each other's work on a slow machine.

    In a run every scratch folder belongs to one artifact. Tests of checkpoints set the interval themselves.
    """
    monkeypatch.setattr(checkpoints, "INTERVAL_SECONDS", math.inf)
    monkeypatch.setattr(checkpoints, "REST_SECONDS", math.inf)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What is logged, as it comes, whether or not `import bench` has silenced the log in this process by now."""

    class ListHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(self.format(record))

    messages: list[str] = []
    handler = ListHandler()
    logging.getLogger("bench").addHandler(handler)
    yield messages
    logging.getLogger("bench").removeHandler(handler)


@pytest.fixture
def tiny_family(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes `architecture: tiny` known beside the real families."""
    monkeypatch.setattr("bench.detectors.families.modules", lambda: (tiny, efficientnet, onnx_family))
    return tiny


def write_frames(folder: Path, real: int, fake: int, seed: int, size: int = 40) -> None:
    """Random pictures {real,fake}/NNN.png, the fakes a little redder."""
    rng = np.random.default_rng(seed)
    for label, count in (("real", real), ("fake", fake)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            picture = rng.integers(0, 200, (size, size, 3), dtype=np.uint8)
            picture[..., 0] += 40 * (label == "fake")
            Image.fromarray(picture).save(folder / label / f"{index:03d}.png")


def write_shop(folder: Path) -> None:
    """A few frames in three splits."""
    for seed, split in enumerate(("test", "calibration", "train")):
        write_frames(folder / "faces" / split, 8, 8, seed)


def open_shop(folder: Path) -> BuildContext:
    """For what is built of the tiny family, with frames that lie there or else are written."""
    if not (folder / "faces").exists():
        write_shop(folder)
    frames = datasets.load("faces", FrameSetSettings(path="faces"), folder, folder / "cache")
    read: BatchReader = partial(datasets.read_batches, threads=1)
    return BuildContext(folder / "variants", frames, read, {}, "cpu", 1, 0, lambda event: None)


@pytest.fixture(scope="session")
def written_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `context` copies, which is faster than to draw the pictures for every test."""
    folder = tmp_path_factory.mktemp("written-shop")
    write_shop(folder)
    return folder


@pytest.fixture
def context(tmp_path: Path, written_shop: Path, tiny_family: Any) -> BuildContext:
    shutil.copytree(written_shop, tmp_path, dirs_exist_ok=True, copy_function=shutil.copyfile)
    return open_shop(tmp_path)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    weights = tiny.save_weights(tmp_path_factory.mktemp("source") / "weights.tar")
    return Source("tiny", weights, "0" * 64, tiny.PREPROCESSING)


@pytest.fixture(scope="session")
def common_shop(tmp_path_factory: pytest.TempPathFactory) -> BuildContext:
    """For artifacts that a test reads and does not change: each is built, and exported, once for all tests.

    All workers of pytest-xdist build into the same folder, as runs of `bench` may.
    """
    folder = tmp_path_factory.getbasetemp()
    variants = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "common-variants"
    return replace(open_shop(tmp_path_factory.mktemp("common")), folder=variants)


Build = Callable[..., Built]


@pytest.fixture
def common(common_shop: BuildContext, source: Source, tiny_family: Any) -> Build:
    """The artifact at the end of a chain, from `common_shop`."""
    return lambda *chain: build.build("common", source, [parse(entry) for entry in chain], common_shop)


class _Thread(threading.Thread):
    exitcode = 0

    def kill(self) -> None:
        raise AssertionError("a thread that should have ended goes on")


def start_in_a_thread() -> timing.Process:
    """What `timing.start` does, without the second that a fresh process takes, and with what was patched here."""
    parent_end, worker_end = Pipe()

    def serve_and_close() -> None:
        with worker_end:
            worker_loop(worker_end)

    thread = _Thread(target=serve_and_close, daemon=True)
    thread.start()
    return timing.Process(thread, parent_end)


QUICK_FAMILIES = (tiny, efficientnet, onnx_family)


def run_quickly(patch: pytest.MonkeyPatch, families: tuple[Any, ...] = QUICK_FAMILIES) -> None:
    """Runs of small families take seconds, and give the same scores each time."""
    patch.setattr("bench.detectors.families.modules", lambda: families)
    patch.setattr(timing, "start", start_in_a_thread)
    # On so small a network the faster kernels are chosen by chance, and scores hang on them.
    patch.setattr(kernels, "fastest", lambda times: EVERYWHERE)


@contextmanager
def quick_folder(
    factory: pytest.TempPathFactory, name: str, families: tuple[Any, ...] = QUICK_FAMILIES
) -> Iterator[Path]:
    """A new working folder in which a fixture of a whole module runs quickly."""
    folder = factory.mktemp(name)
    with pytest.MonkeyPatch.context() as patch:
        run_quickly(patch, families)
        patch.chdir(folder)
        yield folder


def write_workplace(folder: Path) -> None:
    """Weights, frames in all splits, and an experiments.yaml of all six variants."""
    tiny.save_weights(folder / "best_model.tar")
    for seed, (split, real, fake) in enumerate(
        [("test", 14, 18), ("validation", 6, 6), ("calibration", 8, 8), ("train", 16, 16)]
    ):
        write_frames(folder / "faces" / split, real, fake, seed)
    (folder / "experiments.yaml").write_text(
        """
detectors:
  mine: {architecture: tiny, weights: best_model.tar, preprocessing: {preset: fsbi, size: 32}}
datasets:
  faces: {path: faces}
experiments:
  first:
    detector: mine
    frames: faces
    device: cpu
    timing: {seconds: 0.02}
    gallery: {top: 2}
    variants:
      baseline: []
      q16: [cast: fp16]
      q8: [quantize: int8]
      q32-p50: [prune: 0.5, recover: {steps: 2, learning_rate: 0.00001}]
      q16-p50: [prune: 0.5, recover: {steps: 2, learning_rate: 0.00001}, cast: fp16]
      q8-p50: [prune: 0.5, recover: {steps: 2, learning_rate: 0.00001}, quantize: int8]
""",
        encoding="utf-8",
    )


@pytest.fixture(scope="session")
def written_workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `workplace` copies, which is faster than to draw a hundred pictures for every test."""
    folder = tmp_path_factory.mktemp("written")
    write_workplace(folder)
    return folder


@pytest.fixture
def workplace(tmp_path: Path, tiny_family: Any, written_workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as `write_workplace` fills it, in which runs of the tiny family take seconds."""
    run_quickly(monkeypatch)
    shutil.copytree(written_workplace, tmp_path, dirs_exist_ok=True, copy_function=shutil.copyfile)
    return tmp_path


# ------------------------------------------------------------------------------------- real installations
@pytest.fixture
def fresh_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The programs of a Python without any package, which the shell takes; its gigabytes go with the test."""
    with tempfile.TemporaryDirectory(dir=tmp_path, ignore_cleanup_errors=True) as folder:
        venv.create(folder, with_pip=True)
        programs = Path(folder) / ("Scripts" if os.name == "nt" else "bin")
        monkeypatch.delenv("PYTHONPATH", raising=False)
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        yield programs


def copy_source(target: Path) -> None:
    """Bench's source as git has it, with what is changed in the working tree."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0"):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)


@pytest.fixture(scope="module")
def tab() -> Iterator[browser.Page]:
    """A tab of a headless browser; the tests skip where it does not run."""
    try:
        with browser.opened() as page:
            yield page
    except browser.NotStartedError as error:
        pytest.skip(str(error))
