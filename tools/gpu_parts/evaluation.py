"""Benchmark 1 on the device, and how fast its own JPEG decoder is beside Pillow on the processor's cores."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import testbed
from PIL import Image

from gpu_parts import Job, sessions
from gpu_parts.record import NEEDS_CUDA, Cells

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def run(job: Job) -> None:
    frames, rounds = (9, 1) if job.small else (1024, 3)
    given = ["--frames", str(frames), "--rounds", str(rounds), "--runtime", "pytorch"]
    benchmark(job, "1_evaluation", given)
    pictures = jpegs(job.size, 16 if job.small else 1024)
    job.record.measure("Pillow, threads", lambda: _decoding(lambda: _pillow(pictures), len(pictures)))
    job.record.measure("nvJPEG, torchvision", lambda: _nvjpeg(job, pictures))


def benchmark(job: Job, name: str, arguments: Sequence[str]) -> None:
    """Each line of a benchmark's table is a row; a benchmark that fails is a row too."""
    if any(row.startswith(name) and job.record.has(row) for row in job.record.rows()):
        return
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--device", job.device, "--sizes", str(job.size)]
    command += ["--architecture", job.architecture, *arguments]
    code, printed = ask(command)
    print(printed)
    rows = table(printed)
    if code or not rows:
        job.record.row(name, {"failed": f"exit code {code}; the log has its output"})
        return
    for number, row in enumerate(rows, 1):
        job.record.row(f"{name}, {number}", row)
    job.record.note(f"{name}: `python benchmarks/{name}.py {' '.join(command[2:])}`")


def ask(command: Sequence[str]) -> tuple[int, str]:
    """A command's exit code and what it prints; its errors go where this process's go."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout


def table(printed: str) -> list[dict[str, str]]:
    """The rows of the Markdown table in what a benchmark prints, by column."""
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]] if len(cells) > 2 else []


# ----------------------------------------------------------------------------------------- decoding
def jpegs(size: int, count: int) -> list[bytes]:
    files = []
    for picture in testbed.drawn(size, size):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return [files[index % len(files)] for index in range(count)]


def _decoding(work: Callable[[], Any], count: int) -> Cells:
    work()
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return {"frames": count, "frames/s": count / sorted(seconds)[1]}


def _pillow(pictures: Sequence[bytes]) -> None:
    with ThreadPoolExecutor(sessions.threads()) as pool:
        list(pool.map(lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), pictures))


def _nvjpeg(job: Job, pictures: Sequence[bytes]) -> Cells:
    """Files in the host's memory to uint8 RGB on the device; the library's own batches."""
    if job.device != "cuda":
        return {"answer": NEEDS_CUDA}
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    encoded = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in pictures]

    def work() -> None:
        for start in range(0, len(encoded), 128):
            decode_jpeg(encoded[start : start + 128], mode=ImageReadMode.RGB, device="cuda")
        torch.cuda.synchronize()

    with Image.open(io.BytesIO(pictures[0])) as picture:
        expected = np.asarray(picture.convert("RGB")).astype(int)
    decoded = decode_jpeg(encoded[:1], mode=ImageReadMode.RGB, device="cuda")[0].cpu().numpy().transpose(1, 2, 0)
    differing = np.abs(decoded - expected)
    return {
        **_decoding(work, len(pictures)),
        "differs from Pillow by": f"{differing.mean():.2f} on average, {differing.max()} at most, of 255",
    }
