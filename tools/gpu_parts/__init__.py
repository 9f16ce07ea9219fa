"""The parts of tools/gpu_check.py: what each is called, how long it may take, and what it must be given.

A part is a module with `run(job)`. It writes each row of its result as soon as it is measured, and asks the record
which rows are there already: a part that was stopped goes on where it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gpu_parts.record import Record

MOST_SECONDS = 540
"""Of all parts of one call together: a command on the machine ends after 600 s, and starting takes some of them."""


@dataclass(frozen=True)
class Part:
    """`apart`: only where it is asked for by name. `needs_weights`: the demo's, which weigh 54.5 MiB."""

    limit_s: int
    module: str
    about: str
    apart: bool = False
    needs_weights: bool = False


PARTS = {
    "environment": Part(15, "environment", "the card, its driver, the libraries"),
    "tests": Part(120, "cuda_tests", "the tests marked cuda"),
    "large": Part(200, "large", "speed and memory of a B5 at 380 px, beside timm"),
    "demo": Part(150, "demo", "`bench run demo` on CUDA, and P(fake) against the CPU", needs_weights=True),
    "evaluation": Part(60, "evaluation", "a whole pass against bare forward, and decoding on the card"),
    "usual-way": Part(60, "usual_way", "against timm's loader and grad-cam"),
    "recover": Part(60, "recover", "100 steps of training after pruning, in three precisions"),
    "onnxruntime": Part(200, "onnxruntime_cuda", "the demo's int8 in onnxruntime on CUDA", True, True),
    "compiled": Part(200, "compiled", "compiled networks: the runtime inductor beside timm, compiled", True),
    "int8": Part(60, "int8", "what int8 could gain over fp16: an upper bound", True),
}


@dataclass(frozen=True)
class Job:
    """What a part is given. `small` is the rehearsal: the same code on a small network and few frames.

    `work` holds frames, weights and artifacts, which later calls use again; `out` is what is taken home.
    """

    device: Literal["cpu", "cuda"]
    small: bool
    work: Path
    out: Path
    record: Record

    @property
    def architecture(self) -> str:
        return "efficientnet_b0" if self.small else "efficientnet_b5"

    @property
    def size(self) -> int:
        """Width and height of the network's input, in pixels."""
        return 64 if self.small else 380
