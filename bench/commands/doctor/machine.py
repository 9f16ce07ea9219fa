"""The machine: its processor, GPU, memory and disk."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.commands.doctor.findings import Finding
from bench.provenance import cpu_cores, cpu_name, cuda_device_name, cuda_devices, nvml_device, text, why_no_cuda
from bench.system.control_groups import available_memory, cpu_quota, memory_limit, total_memory
from bench.system.processor import flags
from bench.system.processor import processor as asked_processor

LEAST_MEMORY_GIB, GOOD_MEMORY_GIB = 1.0, 4.0
LEAST_DISK_GIB, GOOD_DISK_GIB = 0.5, 5.0
GIB = 2**30


def processor(folder: Path) -> Sequence[Finding]:
    """What this process may use of the processor, and the x86 instruction sets that the processor reports."""
    features = asked_processor().features
    quota = cpu_quota()
    limited = "" if quota is None else f" (a quota of {quota:g} cores' time)"
    instructions = flags(features) or f"{platform.machine()}, instructions unknown"
    return [Finding("ok", "processor", f"{cpu_name()}, {cpu_cores()} cores{limited}; {instructions}")]


def gpu(folder: Path) -> Sequence[Finding]:
    """The GPU that is used, its driver and memory, and other processes on it."""
    if not cuda_devices():
        return [Finding("ok", "gpu", f"not used, {why_no_cuda()}; everything runs on the CPU")]
    try:
        with nvml_device() as (nvml, handle):
            description, others = _gpu_state(nvml, handle)
    except OSError as error:
        return [Finding("note", "gpu", f"{_gpu_name()}; its management library says: {error}")]
    if others:
        mend = "what others compute meanwhile spoils times: let them end before timing"
        return [Finding("note", "gpu", f"{description}; other processes on it: {', '.join(others)}", mend)]
    return [Finding("ok", "gpu", description)]


def _gpu_state(nvml: Any, handle: Any) -> tuple[str, list[str]]:
    """The GPU in words, and the ids of the processes that compute on it."""
    free, processes = "memory unknown", []
    # Parts of a GPU, and GPUs in containers, do not answer every question.
    with suppress(nvml.NVMLError):
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        free = f"{memory.free / GIB:.1f} of {memory.total / GIB:.1f} GiB free"
    with suppress(nvml.NVMLError):
        processes = [str(process.pid) for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle)]
    return f"{_gpu_name()}; driver {text(nvml.nvmlSystemGetDriverVersion())}; {free}", processes


def _gpu_name() -> str:
    """The GPU that is used; of several that CUDA shows the first."""
    count = len(cuda_devices())
    return cuda_device_name() + (f", the first of {count} that CUDA shows" if count > 1 else "")


def memory(folder: Path) -> Sequence[Finding]:
    """What this process can still take: a control group may leave it less than the machine has."""
    available, limit = available_memory(), memory_limit()
    observed = f"{available / GIB:.1f} of {total_memory() / GIB:.1f} GiB available"
    observed += "" if limit is None else " (the limit of its control group)"
    if available < LEAST_MEMORY_GIB * GIB:
        more = "raise the limit of the container or job" if limit is not None else "take a machine with more"
        return [Finding("problem", "memory", observed, f"close other programs, or {more}")]
    if available < GOOD_MEMORY_GIB * GIB:
        return [
            Finding("note", "memory", observed, "large networks or frames may not fit; batches shrink by themselves")
        ]
    return [Finding("ok", "memory", observed)]


def disk(folder: Path) -> Sequence[Finding]:
    free = shutil.disk_usage(folder).free
    observed = f"{free / GIB:,.1f} GiB free at {folder}"
    if free < LEAST_DISK_GIB * GIB:
        return [
            Finding("problem", "disk", observed, "make room; `bench clean` shows what no experiment needs any more")
        ]
    if free < GOOD_DISK_GIB * GIB:
        return [Finding("note", "disk", observed, "`bench plan` says how much a run writes")]
    return [Finding("ok", "disk", observed)]


def folders(folder: Path) -> Sequence[Finding]:
    """Whether files can be written here and where temporary ones go."""
    return [
        _folder("here", folder, "go to a folder of your own"),
        _folder("temporary", Path(tempfile.gettempdir()), "set TMPDIR to a folder that can be written to"),
    ]


def _folder(what: str, folder: Path, mend: str) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"bench")
    except OSError as error:
        return Finding("problem", what, f"{folder} cannot be written to ({error.strerror})", mend)
    return Finding("ok", what, f"{folder} can be written to")
