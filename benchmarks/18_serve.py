"""`bench serve` under load: throughput beside the bare runtime and beside LitServe, a soak, and faults.

Uploads are JPEG files at the network's size, all different, judged whole; answers are not cached. Clients are in a
process of their own and ask one request after another. Weights are random, unless `--finished` names a folder with an
experiment that has been run, of which `--variant` is served.

    python -m venv other && other/bin/python -m pip install litserve onnxruntime opencv-python-headless python-multipart
    python benchmarks/18_serve.py --litserve other/bin/python --faults --soak 30

All of it in a minute or two, to see that it runs: `--architecture efficientnet_b0 --size 64 --seconds 1 --clients 1 4
--faults --soak 0.1`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import faults
from testbed import NAME, drawn, furnish, options, show, working_folder, workplace

from bench import pipeline
from bench.commands.export import export_named
from bench.experiment import read, select
from bench.inference.served import Served
from bench.inference.serving import serve
from bench.records import silent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BENCH = "from bench.cli import main; main()"
_UPLOADS, _START_SECONDS = 64, 300
_FOLDER = Path(__file__).parent
_ENDURANCE = (
    "Memory is the resident set of the service's processes. Of the malformed requests, two in three are a JPEG file "
    "cut off somewhere with one byte changed, of which a few can still be read (200); the others are no form. The full "
    "disk is a file system of 1 MiB, mounted for the service alone, to which uploads of 4 MiB go."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the tables."""
    given = _parser().parse_args(arguments)
    with working_folder(given.folder) as scratch:
        folder, experiment = _finished(scratch, given)
        _, settings = select(read(folder / "experiments.yaml"), experiment, folder / "experiments.yaml")
        variants = [given.variant] if given.variant else []
        (served,) = serve(folder, experiment, settings, variants, silent)
        size = served.members[0].preprocessing.size
        uploads = _uploads(scratch / "uploads", size)
        bare = _bare(served, size, given.seconds)
        arguments_of = (folder, experiment, served.name)
        rows = [["the runtime alone", "", f"{bare:.1f}", "1.00", ""]]
        with _bench(*arguments_of) as (address, process):
            rows += _loaded("bench serve", f"{address}/api/detect/image", "file", uploads, bare, given)
            rows.append(_webcam(address, uploads, bare, given.seconds))
            further = _endured(f"{address}/api/detect/image", uploads, process, given)
        if given.faults:
            further += faults.full_disk(partial(_bench, *arguments_of), uploads)
        if not given.litserve:
            rows.append(["LitServe", "", "not installed here: --litserve names the Python that has it", "", ""])
        else:
            exported = scratch / "exported"
            export_named(folder, experiment, settings, served.name, exported)
            with _litserve(given.litserve, exported, size, served) as (address, _):
                rows += _loaded("LitServe", f"{address}/predict", "content", uploads, bare, given)
    show(
        f"18. {served.name} of {experiment} served, {size} px",
        ["what", "clients", "pictures/s", "share of the runtime", "p95, ms"],
        rows,
        "The runtime alone computes at its best measured batch size, from arrays. The services decode, too.",
    )
    if further:
        print()
        show("18. Endurance", ["what", "came of it"], further, _ENDURANCE)


def _parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = options(__doc__, architecture="efficientnet_b5", size=380, seconds=20.0, clients=(1, 16, 64))
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--finished", type=Path, help="a folder with experiments.yaml and its results")
    parser.add_argument("--experiment", help="its experiment")
    parser.add_argument("--variant", help="what is served; what the report says to ship without it")
    parser.add_argument("--litserve", type=Path, help="the Python of an environment with LitServe")
    parser.add_argument("--soak", type=float, default=0.0, help="minutes under the load of 16 clients")
    parser.add_argument(
        "--faults", action="store_true", help="malformed requests, clients that leave, a killed worker, a full disk"
    )
    return parser


def _finished(scratch: Path, given: argparse.Namespace) -> tuple[Path, str]:
    """A folder with a finished experiment, and that one's name."""
    if given.finished:
        name, _ = select(read(given.finished / "experiments.yaml"), given.experiment, given.finished)
        return given.finished, name
    setup = replace(workplace(given, given.size, 8), variants={"baseline": "[]"})
    path = furnish(scratch, setup)
    pipeline.run(read(path), path)
    given.variant = "baseline"
    return scratch, NAME


def _uploads(folder: Path, size: int) -> Path:
    """A folder of JPEG files, all different."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    pictures = drawn(size, size)
    for index in range(_UPLOADS):
        rolled = np.roll(pictures[index % len(pictures)], 3 * index, axis=1)
        Image.fromarray(rolled).save(folder / f"{index:03d}.jpg", quality=90)
    return folder


def _bare(served: Served, size: int, seconds: float) -> float:
    """Frames a second of the session at its best measured batch size."""
    import numpy as np

    member = served.members[0]
    latency = member.latency_ms or {1: 1.0}
    batch = max(latency, key=lambda count: count / latency[count])
    frames: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (batch, 3, size, size), dtype=np.uint8)
    member.session.predict(frames)
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        member.session.predict(frames)
        count += batch
    return count / (time.perf_counter() - begin)


# ------------------------------------------------------------------------------------ the services
@contextmanager
def _bench(
    folder: Path, experiment: str, variant: str, inside: Sequence[str] = (), **variables: str
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`bench serve` in a process of its own, which the words of `inside` start; its address."""
    options_of = ["--variant", variant, "--port", "0", "--queue", "256"]
    command = [*inside, sys.executable, "-c", _BENCH, "serve", experiment, *options_of]
    environment = {**os.environ, "BENCH_CACHED_ANSWERS": "0", "PYTHONUNBUFFERED": "1", **variables}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if match := re.search(r"serving at (http://[\d.:]+)", line):
                yield match[1], process
                return
        raise RuntimeError("bench serve did not start")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@contextmanager
def _litserve(python: Path, exported: Path, size: int, served: Served) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """LitServe with the same network, in the environment that it is installed in."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Quantised variants are handed over in onnxruntime's own form too, which is the faster one there.
    model = max(exported.glob("*.onnx"), key=lambda file: "onnxruntime" in file.name)
    batch = max(served.members[0].latency_ms or {8: 1.0})
    command = [python, _FOLDER / "litserve_server.py", model, "--size", size, "--port", port, "--batch", batch]
    process = subprocess.Popen([str(part) for part in command], text=True)
    try:
        _wait_for(port)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_for(port: int) -> None:
    """Return once something listens; `TimeoutError` where nothing comes to."""
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        with socket.socket() as trying:
            if trying.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError(f"nothing listens on port {port}")


# ---------------------------------------------------------------------------------------- the load
@dataclass(frozen=True)
class Load:
    """What so many clients were answered: pictures a second, the 95th percentile, and how many failed."""

    per_second: float
    p95_ms: float
    failed: int


def _loaded(what: str, url: str, field: str, uploads: Path, bare: float, given: argparse.Namespace) -> list[list[str]]:
    """A row for each number of clients, after a warm-up. `RuntimeError` where nothing is answered."""
    if not _load(url, field, uploads, 4, min(3.0, given.seconds)).per_second:
        raise RuntimeError(f"{what} answers no upload")
    rows = []
    for clients in given.clients:
        load = _load(url, field, uploads, clients, given.seconds)
        failed = f" ({load.failed} failed)" if load.failed else ""
        share = load.per_second / bare
        rows.append([what, str(clients), f"{load.per_second:.1f}{failed}", f"{share:.2f}", f"{load.p95_ms:.0f}"])
    return rows


def _load(url: str, field: str, uploads: Path, clients: int, seconds: float) -> Load:
    """The load of clients in a process of their own."""
    command = [sys.executable, _FOLDER / "clients.py", url, field, uploads, str(clients), str(seconds)]
    done = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    return Load(**json.loads(done.stdout))


def _webcam(address: str, uploads: Path, bare: float, seconds: float) -> list[str]:
    """The row of a camera: one frame in flight, faces looked for as the detector needs them."""
    from websockets.sync.client import connect

    frames, times, errors = [path.read_bytes() for path in sorted(uploads.iterdir())], list[float](), 0
    with connect(f"ws{address.removeprefix('http')}/api/video/webcam") as camera:
        begin = time.perf_counter()
        while (sent := time.perf_counter()) - begin < seconds:
            camera.send(frames[len(times) % len(frames)])
            errors += "error" in json.loads(camera.recv(timeout=120))
            times.append(time.perf_counter() - sent)
    rate, p95_ms = len(times) / sum(times), 1000 * sorted(times)[int(0.95 * (len(times) - 1))]
    without = f" ({errors} without a face)" if errors else ""
    return ["bench serve, a camera", "1", f"{rate:.1f}{without}", f"{rate / bare:.2f}", f"{p95_ms:.0f}"]


def _endured(url: str, uploads: Path, process: subprocess.Popen[str], given: argparse.Namespace) -> list[list[str]]:
    """What came of faults and of a soak, where they were asked for."""
    rows = []
    if given.faults:
        tried: dict[str, Callable[[], list[tuple[int, int]]]] = {
            f"{faults.MALFORMED:,} malformed requests": lambda: faults.malformed(url, uploads),
            "100 clients that left in mid-upload": lambda: faults.leave(url),
            "16 requests while the worker is killed": lambda: faults.killed(url, uploads, process.pid),
        }
        for what, fault in tried.items():
            rows.append([what, _counted(fault())])
            load = _load(url, "file", uploads, 4, min(3.0, given.seconds))
            rows.append(["afterwards", f"{load.per_second:.1f} pictures/s, {load.failed} failed"])
    if given.soak:
        early, late = _soak(url, uploads, process.pid, given.soak)
        rows.append([f"{given.soak:g} minutes, 16 clients", f"{late - early:+.1f} MiB since a sixth of them"])
    return rows


def _counted(statuses: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{count} x {status}" for status, count in statuses) or "no answer, as it should be"


def _soak(url: str, uploads: Path, pid: int, minutes: float) -> tuple[float, float]:
    """The memory of the service's processes in MiB after a sixth of the time, and at its end."""
    thread = threading.Thread(target=_load, args=(url, "file", uploads, 16, 60 * minutes))
    thread.start()
    time.sleep(10 * minutes)
    early = _memory_mib(pid)
    thread.join()
    return early, _memory_mib(pid)


def _memory_mib(pid: int) -> float:
    import psutil

    process = psutil.Process(pid)
    return sum(each.memory_info().rss for each in (process, *process.children())) / 2**20


if __name__ == "__main__":
    main()
