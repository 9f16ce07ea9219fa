"""Builds one variant in a process of its own, which notes what it does and may kill itself.

Its argument is JSON: "folder" with weights and frames, "variants" where artifacts lie, "chain" of steps, "log" for a
line of JSON for everything noted, each with "cpu", the seconds of processor time since the process started, and
"peak_mib", the most memory that it held so far:

- "unit": a frame, layer, batch, step of training or look at the held-out frames that is done; last, "end";
- "save": a checkpoint's part, with its "bytes" and the seconds that saving took, "cpu_seconds" and "seconds".

The process kills itself (SIGKILL) in checkpoint "die_in_save" once all but its final name is written, or, where
"die_at_end" is true, before the artifact is written. "checkpoints": false makes none.

Its clock for checkpoints is its processor time, on one thread: it saves as often, and repeats as much, as on a machine
that has nothing else to do.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

from bench import datasets
from bench.artifacts import safetensors
from bench.datasets import FrameSetSettings
from bench.files import write_atomically
from bench.records import Preprocessing, silent
from bench.variants import build, checkpoints
from bench.variants.chain import parse
from bench.variants.context import BuildContext, Source
from bench.variants.steps.recover import training

ARCHITECTURE = "efficientnet_b5"
PREPROCESSING = Preprocessing(size=380, channels="bgr", wavelet="sym2")


class Notes:
    """The log of one process, and its end."""

    def __init__(self, log: Path, die_in_save: int | None, die_at_end: bool) -> None:
        self._lines = log.open("a", encoding="utf-8")
        self._die_in_save, self._die_at_end, self._saves = die_in_save, die_at_end, 0

    def write(self, **facts: Any) -> None:
        self._lines.write(json.dumps({**facts, "cpu": time.process_time(), "peak_mib": peak_mib()}) + "\n")
        self._lines.flush()

    def unit(self, *unit: str | int) -> None:
        self.write(unit=" ".join(map(str, unit)))

    def save(self, work: Any, name: str, state: Any) -> None:
        """`checkpoints.write`, timed, and deadly in its turn."""
        self._saves += 1
        began, cpu_began = time.monotonic(), time.process_time()

        def note(size: int) -> None:
            seconds = {"seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - cpu_began}
            self.write(save=name, bytes=size, **seconds)

        def write_whole(path: Path, fill: Callable[[BinaryIO], object]) -> None:
            def fill_and_die(file: BinaryIO) -> None:
                fill(file)
                file.flush()
                if self._saves == self._die_in_save:
                    note(os.fstat(file.fileno()).st_size)
                    die()

            write_atomically(path, fill_and_die)
            note(path.stat().st_size)

        replace(checkpoints, "write_atomically", write_whole)
        _write(work, name, state)

    def end(self) -> None:
        self.unit("end")
        if self._die_at_end:
            die()


_write = checkpoints.write


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def replace(module: Any, name: str, value: object) -> None:
    setattr(module, name, value)


def watch(notes: Notes) -> None:
    """Note units, checkpoints and the end."""
    keep, train, examine, save = checkpoints.Part.keep, training._step, training._evaluated, safetensors.save

    def keep_and_note(part: Any, done: int, *rest: Any) -> None:
        notes.unit(part._name, done)
        keep(part, done, *rest)

    def train_and_note(state: Any, *rest: Any) -> None:
        train(state, *rest)
        notes.unit("training", state.step)

    def examine_and_note(state: Any, *rest: Any) -> Any:
        best = examine(state, *rest)
        notes.unit("look", state.step)
        return best

    def save_at_end(*rest: Any) -> Path:
        notes.end()
        return save(*rest)

    replace(checkpoints.Part, "keep", keep_and_note)
    replace(training, "_step", train_and_note)
    replace(training, "_evaluated", examine_and_note)
    replace(safetensors, "save", save_at_end)
    replace(checkpoints, "write", notes.save)


def build_context(folder: Path, variants: Path) -> BuildContext:
    frames = datasets.load("faces", FrameSetSettings(path="faces"), folder, folder / "cache")
    return BuildContext(variants, frames, partial(datasets.read_batches, threads=1), {}, "cpu", 1, 0, silent)


def source(folder: Path) -> Source:
    return Source(ARCHITECTURE, folder / "weights.tar", "0" * 64, PREPROCESSING)


def peak_mib() -> float:
    """The most memory that this process held, without what its parent held before."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    asked = json.loads(sys.argv[1])
    folder = Path(asked["folder"])
    clock = SimpleNamespace(monotonic=time.process_time)
    replace(checkpoints, "time", clock)
    replace(training, "time", clock)
    if not asked.get("checkpoints", True):
        checkpoints.INTERVAL_SECONDS = checkpoints.REST_SECONDS = math.inf
    context = build_context(folder, Path(asked["variants"]))
    chain = [parse(entry) for entry in asked["chain"]]
    build.build("x", source(folder), chain[:-1], context)
    notes = Notes(Path(asked["log"]), asked.get("die_in_save"), asked.get("die_at_end", False))
    watch(notes)
    built = build.build("x", source(folder), chain, context)
    notes.write(built=built.id)
    print(built.file)


if __name__ == "__main__":
    main()
