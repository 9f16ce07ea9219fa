"""The machine: what it computes with, and whether there is room."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.commands.doctor.findings import Finding
from bench.provenance import cpu_cores, cpu_name, cuda_device_name, cuda_devices, cuda_trouble, nvml_device, text
from bench.system.control_groups import available_memory, cpu_quota, memory_limit, total_memory
from bench.system.processor import flags
from bench.system.processor import processor as asked_processor

LEAST_MEMORY_GIB, GOOD_MEMORY_GIB = 1.0, 4.0
LEAST_DISK_GIB, GOOD_DISK_GIB = 0.5, 5.0
GIB = 2**30


def processor(folder: Path) -> Sequence[Finding]:
    """What this process may use of the processor; of x86 instruction sets those that the processor itself tells."""
    features = asked_processor().features
    spelled, quota = flags(features), cpu_quota()
    limited = "" if quota is None else f" (a quota of {quota:g} cores' time)"
    told = f"{cpu_name()}, {cpu_cores()} cores{limited}; "
    told += spelled or f"{platform.machine()}, instructions unknown"
    return [Finding("ok", "processor", told)]


def gpu(folder: Path) -> Sequence[Finding]:
    if not cuda_devices():
        return [Finding("ok", "gpu", f"not used, {cuda_trouble()}; everything runs on the CPU")]
    try:
        with nvml_device() as (nvml, handle):
            told, others = _told(nvml, handle)
    except OSError as error:
        return [Finding("note", "gpu", f"{_gpu_name()}; its management library says: {error}")]
    if others:
        mend = "what others compute meanwhile spoils times: let them end before timing"
        return [Finding("note", "gpu", f"{told}; other processes on it: {', '.join(others)}", mend)]
    return [Finding("ok", "gpu", told)]


def _told(nvml: Any, handle: Any) -> tuple[str, list[str]]:
    taken, others = "memory unknown", []
    # Parts of a GPU, and GPUs in containers, do not tell everything.
    with suppress(nvml.NVMLError):
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        taken = f"{memory.free / GIB:.1f} of {memory.total / GIB:.1f} GiB free"
    with suppress(nvml.NVMLError):
        others = [str(one.pid) for one in nvml.nvmlDeviceGetComputeRunningProcesses(handle)]
    return f"{_gpu_name()}; driver {text(nvml.nvmlSystemGetDriverVersion())}; {taken}", others


def _gpu_name() -> str:
    """The GPU that is used; of several that CUDA shows the first."""
    count = len(cuda_devices())
    return cuda_device_name() + (f", the first of {count} that CUDA shows" if count > 1 else "")


def memory(folder: Path) -> Sequence[Finding]:
    """What this process can still take: a control group may leave it less than the machine has."""
    available, limit = available_memory(), memory_limit()
    told = f"{available / GIB:.1f} of {total_memory() / GIB:.1f} GiB available"
    told += "" if limit is None else " (the limit of its control group)"
    if available < LEAST_MEMORY_GIB * GIB:
        more = "raise the limit of the container or job" if limit is not None else "take a machine with more"
        return [Finding("problem", "memory", told, f"close other programs, or {more}")]
    if available < GOOD_MEMORY_GIB * GIB:
        return [Finding("note", "memory", told, "large networks or frames may not fit; batches shrink by themselves")]
    return [Finding("ok", "memory", told)]


def disk(folder: Path) -> Sequence[Finding]:
    free = shutil.disk_usage(folder).free
    told = f"{free / GIB:,.1f} GiB free at {folder}"
    if free < LEAST_DISK_GIB * GIB:
        return [Finding("problem", "disk", told, "make room; `bench clean` shows what no experiment needs any more")]
    if free < GOOD_DISK_GIB * GIB:
        return [Finding("note", "disk", told, "`bench plan` says how much a run writes")]
    return [Finding("ok", "disk", told)]


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
