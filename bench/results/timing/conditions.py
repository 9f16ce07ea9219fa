"""The machine while variants are timed: clocks, and the load of other processes on processor and GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from bench.provenance import cuda_device_name, cuda_devices, machine, nvml_device, text
from bench.records import Conditions
from bench.system.control_groups import throttled_between, throttling
from bench.system.idle_cores import own_cpu_seconds

SLOWDOWNS = {
    0x04: "software power cap",
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
"""NVML's reasons for a clock (nvml.h: nvmlClocksEventReasons) that slow down a GPU with work to do."""

SLOWED_SHARE = 0.01
"""NVML's counters of slowed-down time are reported from this share of the time on."""


@dataclass
class Watch:
    """A running watch: `sample` is called between timed calls; `conditions` are complete once it is over."""

    conditions: Conditions
    sample: Callable[[], None]


@contextmanager
def watch(variants: int) -> Iterator[Watch]:
    """Watch the machine until the block ends; this process and those it started do not count as others."""
    import psutil

    with _gpu() as gpu:
        began, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
        watched = Watch(Conditions(began, 0.0, variants, machine()), gpu.sample if gpu else lambda: None)
        before, mhz, waited = own_cpu_seconds(), _cpu_mhz(), throttling()
        psutil.cpu_percent()  # the next call reports the time since this one
        try:
            yield watched
        finally:
            seconds = time.perf_counter() - clock
            busy = psutil.cpu_percent() / 100
            ended = own_cpu_seconds()
            used = (sum(ended.values()) - sum(before.values())) / seconds / (psutil.cpu_count() or 1)
            after, throttled = _cpu_mhz(), throttled_between(waited, throttling())
            conditions = Conditions(
                began=began,
                seconds=round(seconds, 1),
                variants=variants,
                machine=machine(),
                others_cpu=round(max(0.0, busy - used), 3),
                cpu_mhz=(mhz, after) if mhz and after else None,
                throttled_seconds=round(throttled.seconds, 3) if throttled else None,
                throttled_share=round(throttled.share, 3) if throttled else None,
            )
            watched.conditions = gpu.add_to(conditions) if gpu else conditions


def _cpu_mhz() -> float | None:
    import psutil

    # Where the system does not tell, psutil has no such function, or one that fails.
    with suppress(AttributeError, OSError, NotImplementedError, RuntimeError):
        clock = psutil.cpu_freq()
        return round(clock.current, 0) if clock and clock.current else None
    return None


@contextmanager
def _gpu() -> Iterator[Gpu | None]:
    """The CUDA device that is used, None where there is none or its management library refuses."""
    library, gpu = ExitStack(), None
    if cuda_devices():
        with suppress(OSError):
            gpu = Gpu(*library.enter_context(nvml_device()))
    try:
        yield gpu
    finally:
        # A library that does not end well takes no times away.
        with suppress(OSError):
            library.close()


class Gpu:
    """The CUDA device that is used, as NVML, the driver's management library, reports it.

    An idle GPU reports no slowdown, and a query during a timed call would disturb that call. So NVML is asked right
    after the calls of each variant, and its counters of slowed-down time are compared between begin and end.
    """

    def __init__(self, nvml: Any, handle: Any) -> None:
        self.nvml, self.handle = nvml, handle
        self.clocks_mhz: list[float] = []
        self.reasons = 0
        self.processes = set(self._others())
        self.slowed_seconds = self._slowed_seconds()
        self.sample()

    def sample(self) -> None:
        """Look at the clock, and at what slows it down; a millisecond or so."""
        mhz = self._ask("nvmlDeviceGetClockInfo", self.nvml.NVML_CLOCK_SM)
        self.clocks_mhz += [] if mhz is None else [float(mhz)]
        reasons = self._ask("nvmlDeviceGetCurrentClocksEventReasons")
        if reasons is None:  # a driver before 535
            reasons = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        self.reasons |= reasons or 0

    def add_to(self, conditions: Conditions) -> Conditions:
        """The conditions with the GPU's clocks, slowdowns and other processes in their time."""
        self.sample()
        clocks = self.clocks_mhz
        return replace(
            conditions,
            gpu=self._facts(),
            gpu_mhz=(clocks[0], clocks[-1]) if clocks else None,
            gpu_mhz_range=(min(clocks), max(clocks)) if clocks else None,
            gpu_throttling=self._throttling(conditions.seconds),
            gpu_processes=tuple(sorted({*self.processes, *self._others()})),
        )

    def _throttling(self, seconds: float) -> tuple[str, ...]:
        names = [name for bit, name in SLOWDOWNS.items() if self.reasons & bit]
        for name, ended in self._slowed_seconds().items():
            slowed = ended - self.slowed_seconds.get(name, ended)
            if slowed > SLOWED_SHARE * seconds and not any(name in seen for seen in names):
                names.append(name)
        return tuple(names)

    def _slowed_seconds(self) -> dict[str, float]:
        """For how long the driver has slowed the GPU down since it was loaded, by what for."""
        policies = {"power cap": "NVML_PERF_POLICY_POWER", "thermal slowdown": "NVML_PERF_POLICY_THERMAL"}
        counters = {
            name: self._ask("nvmlDeviceGetViolationStatus", getattr(self.nvml, policy, None))
            for name, policy in policies.items()
        }
        return {name: counter.violationTime / 1e9 for name, counter in counters.items() if counter is not None}

    def _facts(self) -> dict[str, str]:
        readings = {
            "name": cuda_device_name(),
            "driver": self._ask("nvmlSystemGetDriverVersion", of_device=False),
            "memory clock (MHz)": self._ask("nvmlDeviceGetClockInfo", self.nvml.NVML_CLOCK_MEM),
            "highest clock (MHz)": self._ask("nvmlDeviceGetMaxClockInfo", self.nvml.NVML_CLOCK_SM),
            "temperature (°C)": self._ask("nvmlDeviceGetTemperature", self.nvml.NVML_TEMPERATURE_GPU),
            "power limit (W)": _watts(self._ask("nvmlDeviceGetEnforcedPowerLimit")),
        }
        return {key: text(value) for key, value in readings.items() if value is not None}

    def _others(self) -> tuple[str, ...]:
        ours = set(own_cpu_seconds())
        running = self._ask("nvmlDeviceGetComputeRunningProcesses") or ()
        others = [process for process in running if process.pid not in ours]
        return tuple(f"process {process.pid}: {(process.usedGpuMemory or 0) / 2**20:.0f} MiB" for process in others)

    def _ask(self, question: str, *arguments: Any, of_device: bool = True) -> Any:
        """NVML's answer; None where parts of a GPU, GPUs in containers and old drivers do not support the question."""
        try:
            return getattr(self.nvml, question)(*([self.handle] if of_device else []), *arguments)
        except (self.nvml.NVMLError, AttributeError):
            return None


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000
