"""Peak memory and time a frame of a whole run, with few frames and with many, each in a fresh process (Linux)."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from testbed import NAME, furnish, options, show, working_folder, workplace

from bench import pipeline
from bench.experiment import read
from bench.pipeline.prepare import prepare
from bench.records import Event
from bench.results import predict

STAGES = ("frames loaded", "evaluation begins", "evaluation ends", "report rendered")


class Watch:
    """Notes the peak and the time when evaluation began, and when with its files written other work did."""

    def __init__(self) -> None:
        self.peaks: list[int] = []
        self.times: list[float] = []

    def __call__(self, event: Event) -> None:
        evaluating = event.work.startswith("evaluating")
        if len(self.peaks) == (0 if evaluating else 1):
            self.peaks.append(_peak_bytes())
            self.times.append(time.perf_counter())


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table. Or measure one run, for the process that prints it."""
    parser = options(__doc__, architecture="efficientnet_b0", size=64, counts=(500, 20_000))
    parser.add_argument("--measure", type=Path, help="run this experiment file and print its figures as JSON")
    given = parser.parse_args(arguments)
    if given.measure:
        print(json.dumps(_run(given.measure)))
        return
    runs = {}
    for count in given.counts:
        setup = workplace(given, given.size, count)
        with working_folder(given.folder) as folder:
            runs[count] = _in_fresh_process(furnish(folder, setup))
    few, many = min(runs), max(runs)
    less, more = runs[few], runs[many]
    rows = [_row(f"peak: {stage}, MiB", less["peaks"][stage], more["peaks"][stage], many - few) for stage in STAGES]
    rows.append(_row("scores and CAMs on disk, MiB", less["stored"], more["stored"], many - few))
    per_frame = [1000 * runs[count]["evaluating_s"] / count for count in (few, many)]
    rows.append(["evaluation, ms a frame", *(f"{ms:.2f}" for ms in (*per_frame, per_frame[1] / per_frame[0])), ""])
    show(
        f"4. Memory and time over the number of frames, {given.architecture} at {given.size} px",
        ["", f"{few} frames", f"{many} frames", "ratio", "growth, bytes a frame"],
        rows,
        "A whole run of one variant, each in a fresh process; a peak is the process's high-water mark (VmHWM) when the "
        "stage was over. Timing has processes of its own and is not in it.",
    )


def _row(title: str, less: int, more: int, frames: int) -> list[str]:
    mib = [f"{size / 2**20:.1f}" for size in (less, more)]
    return [title, *mib, f"{more / less:.2f}", f"{(more - less) / frames:.0f}"]


def _in_fresh_process(experiment: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", str(experiment)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def _run(path: Path) -> dict[str, object]:
    """A whole run, with the peak at the end of each stage."""
    # Their import takes a second, which in the time of few frames would look like theirs.
    importlib.import_module("bench.results.score")
    importlib.import_module("pyarrow.parquet")
    experiments, watch = read(path), Watch()
    prepared = prepare(experiments, path, NAME).first
    loaded = _peak_bytes()
    pipeline.run(experiments, path, NAME, on_event=watch)
    peaks = [loaded, *watch.peaks, _peak_bytes()]
    began, ended = watch.times
    stored_bytes = sum(
        (prepared.results / "baseline" / name).stat().st_size for name in (predict.PREDICTIONS, predict.CAMS)
    )
    return {"peaks": dict(zip(STAGES, peaks, strict=True)), "evaluating_s": ended - began, "stored": stored_bytes}


def _peak_bytes() -> int:
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    if match is None:
        raise RuntimeError("this system does not tell a process's peak memory (VmHWM)")
    return int(match[1]) * 1024


if __name__ == "__main__":
    main()
