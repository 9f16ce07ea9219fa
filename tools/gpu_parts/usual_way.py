"""Benchmark 2 on the device: scores and heatmaps against timm's loader and loop, then grad-cam."""

from __future__ import annotations

from gpu_parts import Job
from gpu_parts.evaluation import benchmark


def run(job: Job) -> None:
    if job.small:
        given = ["--frames", "9", "--rounds", "1", "--batches", "4", "--workers", "0", "--runtime", "pytorch"]
    else:
        given = ["--frames", "128", "--rounds", "2", "--batches", "32", "--workers", "4", "--runtime", "pytorch"]
    benchmark(job, "2_usual_way", given)
