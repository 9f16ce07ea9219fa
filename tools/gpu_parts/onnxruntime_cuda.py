"""onnxruntime's CUDA provider on the demo: what its sessions really use, and P(fake) against the CPU."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import runtimes
from bench.pipeline.build import build_context
from bench.pipeline.prepared import Setup
from bench.records import Built, silent
from bench.variants import build
from gpu_parts import Job, demo, sessions
from gpu_parts.record import NEEDS_CUDA, Cells

if TYPE_CHECKING:
    from numpy.typing import NDArray

VARIANTS = ("baseline", "q16", "q8", "q8-p50")
SMALL_VARIANTS = {"baseline": "[]", "q8": "[quantize: int8]"}


def run(job: Job) -> None:
    job.record.measure("library", _library)
    trouble = runtimes.unavailable_reason("onnxruntime", "cuda")
    if job.device == "cuda" and trouble:
        raise SystemExit(f"{trouble}: join and install the wheel first (tools/README.md)")
    file, name = demo.small(job, "onnxruntime", SMALL_VARIANTS, "auto") if job.small else demo.experiment(job)
    prepared = demo.prepare_variants(job, file, name, list(SMALL_VARIANTS) if job.small else VARIANTS)
    pictures = demo.test_frames(prepared)
    for variant in VARIANTS:
        if variant in prepared.chains:
            job.record.measure(variant, partial(_row, job, prepared, variant, pictures))


def _library() -> Cells:
    import onnxruntime

    return {"answer": f"{onnxruntime.__version__}, providers {', '.join(onnxruntime.get_available_providers())}"}


def _row(job: Job, prepared: Setup, variant: str, pictures: NDArray[np.uint8]) -> Cells:
    """One variant in onnxruntime on CUDA: how far its scores are from those on a CPU, and its speed."""
    artifact = build.build(variant, prepared.source, prepared.chains[variant], build_context(prepared, silent))
    expected = demo.p_fake(runtimes.find("onnxruntime").load(artifact, "cpu", sessions.threads()), pictures)
    seconds, batches = (0.01, (1, 2)) if job.small else (0.3, (8, 32, 128))
    with sessions.session(artifact, job, "onnxruntime") as session:
        difference = np.abs(demo.p_fake(session, pictures) - expected)
        executed, size = session.executed, prepared.spec.size
        row: dict[str, Any] = {"device": executed.device_name, "providers": ", ".join(executed.providers)}
        row |= {"computed": executed.computed, **_int8(artifact, session.executed)}
        row |= {"mean Δp": float(difference.mean()), "largest Δp": float(difference.max())}
        row["outcome"] = NEEDS_CUDA if job.device != "cuda" else "measured"
        row |= sessions.latency(session, size, 3 * seconds)
        row |= sessions.cells(sessions.fastest(sessions.session_step(session, size, seconds), batches))
        del row["peak, MiB"]  # PyTorch's own, which onnxruntime's memory is no part of
        return row


def _int8(artifact: Built, executed: Any) -> Cells:
    if not artifact.quantised:
        return {}
    return {"int8": executed.int8, "operators in int8": f"{executed.int8_operators} of {executed.heavy_operators}"}
