"""The card, its driver and the libraries, and what `bench doctor` says: cheap questions first."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.commands import doctor
from bench.commands.doctor.findings import Finding
from bench.commands.doctor.libraries import packages
from bench.provenance import cuda_version, machine, nvml_device, text, versions
from gpu_parts import Job
from gpu_parts.record import NEEDS_CUDA, Cells

LIBRARIES = (
    "bench", "torch", "torchvision", "triton", "timm", "onnx", "onnxruntime", "onnxscript", "numpy", "scipy", "pandas",
    "pyarrow", "pillow", "opencv-python-headless", "scikit-learn", "safetensors", "nvidia-ml-py", "pydantic",
    "torch-pruning", "zstandard", "grad-cam", "pytest", "pytest-timeout", "pytest-xdist", "hypothesis",
)  # fmt: skip


def run(job: Job) -> None:
    measure = job.record.measure
    measure("machine", lambda: _one_line(machine()))
    measure("card", lambda: _one_line(_card()) if job.device == "cuda" else {"answer": NEEDS_CUDA})
    measure("libraries", lambda: _one_line(versions(LIBRARIES)))
    measure("missing", lambda: {"answer": _missing(job)})
    measure("torch", lambda: _one_line(_torch()))
    _doctor(job)


def _one_line(facts: Cells) -> Cells:
    return {"answer": "; ".join(f"{name} {value}" for name, value in facts.items())}


def _card() -> Cells:
    """What NVIDIA's management library tells of the first device; clocks in MHz."""
    with nvml_device() as (nvml, handle):
        memory, latest = nvml.nvmlDeviceGetMemoryInfo(handle), cuda_version()
        return {
            "name": text(nvml.nvmlDeviceGetName(handle)),
            "driver": text(nvml.nvmlSystemGetDriverVersion()),
            "CUDA of the driver": ".".join(map(str, latest)) if latest else None,
            "memory, MiB": memory.total // 2**20,
            "memory used, MiB": memory.used // 2**20,
            "SM clock, MHz": nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
            "memory clock, MHz": nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
            "highest SM clock, MHz": nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM),
            "temperature, C": nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
        }


def _missing(job: Job) -> str:
    wrong = [f"{finding.what} ({finding.observed})" for finding in packages(job.work) if finding.level == "problem"]
    return ", ".join(wrong) or "none of what bench requires"


def _torch() -> Cells:
    """PyTorch, CUDA and the card, by version."""
    import torch

    library: Any = torch
    cells: dict[str, str | int | None] = {
        "version": library.__version__, "CUDA": library.version.cuda, "cuDNN": library.backends.cudnn.version(),
        "python": platform.python_version(),
    }  # fmt: skip
    if library.cuda.is_available():
        card = library.cuda.get_device_properties(0)
        cells |= {"compute capability": f"{card.major}.{card.minor}", "multiprocessors": card.multi_processor_count}
    return cells


COMPILED = "inductor"
"""This check compiles a network, which takes longer than this part has; the part `compiled` shows it."""


SLOW = ("torch", "timm", "onnxruntime", "providers", "openvino")
"""Asked of a Python of their own, which imports them from a cold disk: what the others say comes first."""


def _doctor(job: Job) -> None:
    """Its checks at the same time, each a row; one after another they take longer than this part has."""
    with ThreadPoolExecutor() as pool:
        checks = {title: pool.submit(check, job.work) for title, check in doctor.CHECKS if title != COMPILED}
        findings: list[Finding] = []
        for title, check in sorted(checks.items(), key=lambda check: check[0] in SLOW):
            job.record.measure(f"doctor, {title}", lambda check=check: _answer(check.result()))  # type: ignore[misc]
            if check.exception() is None:
                findings += check.result()
    print(doctor.describe(findings))
    well = doctor.is_well(findings) and all(check.exception() is None for check in checks.values())
    verdict = doctor.describe(findings).splitlines()[-1]
    job.record.measure("bench doctor", lambda: {"answer": f"exit code {0 if well else 2}: {verdict}"})


def _answer(findings: Sequence[Finding]) -> Cells:
    return {"answer": "; ".join(f"{finding.level}: {finding.observed}" for finding in findings) or "nothing to say"}
