"""Prints the requirements of bench for an image: `python requirements.py cpu|cuda [EXTRA …]`.

They are read from the pyproject.toml in the current folder, so that an image's layer of libraries changes with them
alone. For a CPU, onnxruntime is the build without CUDA, as in requirements-cpu.txt.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

DEVICES = ("cpu", "cuda")


def requirements(project: Path, device: str, extras: Sequence[str]) -> Iterator[str]:
    """Each requirement as pip takes it; `SystemExit` for an unknown device or extra."""
    content = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    optional = content["optional-dependencies"]
    if device not in DEVICES:
        raise SystemExit(f"requirements.py: unknown device {device!r}; expected {' or '.join(DEVICES)}")
    for extra in extras:
        if extra not in optional:
            raise SystemExit(f"requirements.py: bench has no extra {extra!r}; extras are: {', '.join(optional)}")
    for requirement in (*content["dependencies"], *(line for extra in extras for line in optional[extra])):
        if device == "cuda" or not requirement.startswith("onnxruntime"):
            yield requirement
        elif not requirement.startswith("onnxruntime-gpu"):
            yield requirement.partition(";")[0].strip()


if __name__ == "__main__":
    print("\n".join(requirements(Path("pyproject.toml"), sys.argv[1], sys.argv[2:])))
