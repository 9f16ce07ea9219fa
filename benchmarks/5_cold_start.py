"""How long commands take that compute nothing, each in a fresh process, and what heavy modules they import."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from testbed import furnish, options, ratios, show, spread, working_folder, workplace

from bench import pipeline
from bench.experiment import read

HEAVY = ("torch", "timm", "onnxruntime", "onnx", "torch_pruning", "cv2", "pandas", "matplotlib", "sklearn", "numpy")
VARIANTS = {"baseline": "[]", "q16": "[cast: fp16]"}
COMMANDS = {
    "`bench --help`": ["--help"],
    "`bench plan`": ["plan"],
    "`bench run`, all cached": ["run"],
    "`bench report`": ["report"],
}
_BENCH = "from bench.cli import main; main()"
_IMPORTED = f"""
import json, sys
from bench.cli import main
try:
    main()
except SystemExit:
    pass
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = options(__doc__, architecture="efficientnet_b0", size=64, frames=16, rounds=7)
    given = parser.parse_args(arguments)
    setup = replace(workplace(given, given.size, given.frames), variants=VARIANTS)
    with working_folder(given.folder) as folder:
        path = furnish(folder, setup)
        pipeline.run(read(path), path)
        bare = [_seconds(folder, "", []) for _ in range(given.rounds)]
        rows: list[list[object]] = [["bare interpreter", f"{statistics.median(bare):.2f}", "1", "none"]]
        for title, words in COMMANDS.items():
            imported = _imported(folder, words)
            took = [_seconds(folder, _BENCH, words) for _ in range(given.rounds)]
            rows.append([title, spread(took), ratios(took, bare, 0), ", ".join(imported) or "none"])
    show(
        f"5. Cold start, {given.architecture}, {given.frames} frames, {len(VARIANTS)} variants",
        ["command", "s", "times a bare interpreter", "heavy modules imported"],
        rows,
        f"Every command in a fresh process, median (quartiles) of {given.rounds}. Looked for: {', '.join(HEAVY)}.",
    )


def _seconds(folder: Path, program: str, words: Sequence[str]) -> float:
    began = time.perf_counter()
    _output(folder, program, words)
    return time.perf_counter() - began


def _imported(folder: Path, words: Sequence[str]) -> list[str]:
    names: list[str] = json.loads(_output(folder, _IMPORTED, words).splitlines()[-1])
    return names


def _output(folder: Path, program: str, words: Sequence[str]) -> str:
    """What a Python program of its own writes, given these words."""
    # As on a user's machine, modules are compiled once, whatever this environment says of it.
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **compiled},
    )
    return done.stdout


if __name__ == "__main__":
    main()
