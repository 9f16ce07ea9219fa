"""How long `bench inspect` takes: one frame in a fresh process, and each frame of a folder.

Wall clock, and processor time, which other work on the machine disturbs less. Weights are random.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from testbed import furnish, options, show, working_folder, workplace

from bench import pipeline
from bench.experiment import read

_BENCH = "from bench.cli import main; main()"
FRAMES = 6


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = options(__doc__, architecture="efficientnet_b5", size=380, frames=FRAMES)
    given = parser.parse_args(arguments)
    setup = replace(workplace(given, given.size, given.frames), variants={"baseline": "[]"})
    rows = []
    with working_folder(given.folder) as folder:
        path = furnish(folder, setup)
        pipeline.run(read(path), path, timing="none")
        frames = sorted((folder / "faces" / "test").glob("*/*.jpg")) or sorted(folder.glob("**/test/*/*.jpg"))
        (folder / "several").mkdir()
        for frame in frames:
            shutil.copy(frame, folder / "several" / f"{frame.parent.name}-{frame.name}")
        first = _seconds(folder, frames[0])
        whole = _seconds(folder, folder / "several")
        each = [(of_all - of_first) / (len(frames) - 1) for of_all, of_first in zip(whole, first, strict=True)]
        rows.append(["one frame, a fresh process", *(f"{seconds:.1f}" for seconds in first)])
        rows.append([f"each further of {len(frames)} in a folder", *(f"{seconds:.1f}" for seconds in each)])
    show(
        f"17. One frame looked into, {given.architecture} at {given.size} px",
        ["what", "s", "processor time, s"],
        rows,
        "`bench inspect` with the baseline alone. The first row includes the start of Python and loading weights.",
    )


def _seconds(folder: Path, given: Path) -> tuple[float, float]:
    """Wall clock and processor time of one inspection in a process of its own."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    command = [sys.executable, "-c", _BENCH, "inspect", str(given), "--to", str(folder / "looked" / given.name)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime


if __name__ == "__main__":
    main()
