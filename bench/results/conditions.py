"""What else went on while variants were timed: clocks, and who used the processor and the GPU besides."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bench.load import own_cpu_seconds
from bench.provenance import cuda_devices, machine, nvml_device, text
from bench.records import Conditions


@dataclass
class Watch:
    """Holds what was found once the watch is over."""

    found: Conditions


@contextmanager
def watch(variants: int) -> Iterator[Watch]:
    """Watch the machine until the block ends; this process and those it started are not "others"."""
    import psutil

    began, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    watched = Watch(Conditions(began, 0.0, variants, machine()))
    own, mhz, gpu = own_cpu_seconds(), _cpu_mhz(), _gpu()
    psutil.cpu_percent()  # what the next call tells is since this one
    try:
        yield watched
    finally:
        seconds = time.perf_counter() - clock
        busy = psutil.cpu_percent() / 100
        ended = own_cpu_seconds()
        used = (sum(ended.values()) - sum(own.values())) / seconds / (psutil.cpu_count() or 1)
        after, gpu_after = _cpu_mhz(), _gpu()
        watched.found = Conditions(
            began=began,
            seconds=round(seconds, 1),
            variants=variants,
            machine=machine(),
            others_cpu=round(max(0.0, busy - used), 3),
            cpu_mhz=(mhz, after) if mhz and after else None,
            gpu=gpu_after.facts if gpu_after else None,
            gpu_mhz=(gpu.mhz, gpu_after.mhz) if gpu and gpu_after and gpu.mhz and gpu_after.mhz else None,
            gpu_processes=tuple(sorted({*(gpu.processes if gpu else ()), *(gpu_after.processes if gpu_after else ())})),
        )


def _cpu_mhz() -> float | None:
    import psutil

    # Where the system does not tell, psutil has no such function, or one that fails.
    with suppress(AttributeError, OSError, NotImplementedError, RuntimeError):
        clock = psutil.cpu_freq()
        return round(clock.current, 0) if clock and clock.current else None
    return None


@dataclass(frozen=True)
class _Gpu:
    facts: dict[str, str]
    mhz: float | None
    processes: tuple[str, ...]


def _gpu() -> _Gpu | None:
    """The CUDA device that is used, as the driver's management library tells it; None where there is none."""
    if not cuda_devices():
        return None
    with suppress(OSError), nvml_device() as (nvml, handle):
        return _told(nvml, handle)
    return None


def _told(nvml: Any, handle: Any) -> _Gpu:
    def ask(question: Callable[..., Any], *arguments: Any) -> Any:
        # Parts of a GPU, and GPUs in containers, do not tell everything.
        try:
            return question(*arguments)
        except nvml.NVMLError:
            return None

    readings = {
        "name": ask(nvml.nvmlDeviceGetName, handle),
        "driver": ask(nvml.nvmlSystemGetDriverVersion),
        "memory clock (MHz)": ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_MEM),
        "highest clock (MHz)": ask(nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_SM),
        "temperature (°C)": ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
        "power limit (W)": _watts(ask(nvml.nvmlDeviceGetEnforcedPowerLimit, handle)),
    }
    mhz = ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM)
    ours = set(own_cpu_seconds())
    others = [one for one in ask(nvml.nvmlDeviceGetComputeRunningProcesses, handle) or () if one.pid not in ours]
    return _Gpu(
        facts={key: text(value) for key, value in readings.items() if value is not None},
        mhz=None if mhz is None else float(mhz),
        processes=tuple(f"process {one.pid}: {(one.usedGpuMemory or 0) / 2**20:.0f} MiB" for one in others),
    )


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000
