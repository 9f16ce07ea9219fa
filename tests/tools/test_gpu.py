"""What the GPU tells of itself while variants are timed, and which one it is, with a stand-in for the driver."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from bench import provenance
from bench.commands.doctor import machine
from bench.pipeline import summary
from bench.records import Conditions, Executed, VariantResult, silent
from bench.results import timing
from bench.results.timing import conditions
from tests.conftest import start_in_a_thread
from tests.support.timed import FRAMES, LOGITS, FakeSession

BUS_ID = "0000:1b:00.0"
IDLE, CLOCKS_SETTING, POWER_CAP, HEAT = 0x1, 0x2, 0x4, 0x40


@dataclass
class _Running:
    pid: int
    usedGpuMemory: int | None  # noqa: N815 - the driver's name


@dataclass
class _Violation:
    violationTime: int  # noqa: N815 - the driver's name


class FakeDriver:
    """As pynvml answers, in the parts that are used; lists are answered one after the other, the last one again."""

    NVMLError = RuntimeError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
    NVML_PERF_POLICY_POWER, NVML_PERF_POLICY_THERMAL = 0, 1

    def __init__(self, **answers: object) -> None:
        self.calls = list[str]()
        self.answers: dict[str, object] = {
            "nvmlInit": None,
            "nvmlShutdown": None,
            "nvmlDeviceGetHandleByPciBusId": "handle",
            "nvmlDeviceGetName": "NVIDIA H100",
            "nvmlDeviceGetIndex": 0,
            "nvmlDeviceGetCount": 1,
            "nvmlSystemGetDriverVersion": b"580.1",
            "nvmlDeviceGetClockInfo": 1980,
            "nvmlDeviceGetMaxClockInfo": 1980,
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
            "nvmlDeviceGetComputeRunningProcesses": [[_Running(os.getpid(), 2**30), _Running(1, None)]],
            **answers,
        }

    def __getattr__(self, name: str) -> Callable[..., object]:
        def answer(*_: object) -> object:
            self.calls.append(name)
            if name not in self.answers:
                raise RuntimeError("not supported")
            given = self.answers[name]
            if isinstance(given, Exception):
                raise given
            if isinstance(given, list):
                return given.pop(0) if len(given) > 1 else given[0]
            return given

        return answer


Install = Callable[..., FakeDriver]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Makes the management library answer as asked for, on a machine that shows these CUDA devices."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(devices: tuple[str, ...] = ("NVIDIA H100",), **answers: object) -> FakeDriver:
        driver = FakeDriver(**answers)
        monkeypatch.setitem(sys.modules, "pynvml", driver)
        monkeypatch.setattr(provenance, "cuda_bus_id", lambda: BUS_ID)
        for module in (provenance, conditions, machine):
            monkeypatch.setattr(module, "cuda_devices", lambda: devices)
        provenance.cuda_device_name.cache_clear()
        return driver

    yield install
    provenance.cuda_device_name.cache_clear()


def watched(install: Install, **answers: object) -> Conditions:
    """The conditions of a watch with one sample between its beginning and its end."""
    install(**answers)
    with conditions.watch(1) as watch:
        watch.sample()
    return watch.conditions


def test_what_the_gpu_tells_and_does_not_tell(install: Install) -> None:
    observed = watched(install)
    assert observed.gpu == {
        "name": "NVIDIA H100",
        "driver": "580.1",
        "memory clock (MHz)": "1980",
        "highest clock (MHz)": "1980",
        "power limit (W)": "700.0",
    }
    assert (observed.gpu_mhz, observed.gpu_mhz_range) == ((1980.0, 1980.0), (1980.0, 1980.0))
    assert observed.gpu_processes == ("process 1: 0 MiB",)
    assert observed.gpu_throttling == ()


def test_clocks_are_seen_between_the_ends_too(install: Install) -> None:
    observed = watched(install, nvmlDeviceGetClockInfo=[1980, 1410, 1755])
    assert (observed.gpu_mhz, observed.gpu_mhz_range) == ((1980.0, 1755.0), (1410.0, 1980.0))


@pytest.mark.parametrize(
    "question", ["nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"]
)
def test_what_slows_the_clock_down_is_named_and_idleness_is_not(question: str, install: Install) -> None:
    """By the name of newer drivers and by that of older ones; seen once in the midst is enough."""
    observed = watched(install, **{question: [IDLE, POWER_CAP | HEAT | CLOCKS_SETTING, IDLE]})
    assert observed.gpu_throttling == ("software power cap", "hardware thermal slowdown")
    assert watched(install, **{question: IDLE | CLOCKS_SETTING}).gpu_throttling == ()


@pytest.mark.parametrize(
    ("slowed_ns", "reasons", "names"),
    [
        (3_000_000_000, 0, ("power cap", "thermal slowdown")),
        (50_000_000, 0, ()),
        (3_000_000_000, POWER_CAP | HEAT, ("software power cap", "hardware thermal slowdown")),
    ],
)
def test_the_drivers_counters_tell_what_no_sample_saw(
    slowed_ns: int, reasons: int, names: tuple[str, ...], install: Install
) -> None:
    """Before, power and heat; after, again: 3 of 10 seconds are told, a twentieth of one is not."""
    counters = [_Violation(7), _Violation(9), _Violation(7 + slowed_ns), _Violation(9 + slowed_ns)]
    install(nvmlDeviceGetViolationStatus=counters, nvmlDeviceGetCurrentClocksEventReasons=reasons)
    gpu = conditions.Gpu(sys.modules["pynvml"], None)
    observed = gpu.add_to(Conditions("now", 10.0, 1, {}))
    assert observed.gpu_throttling == names


def test_samples_are_taken_after_every_turn_and_in_none(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two subjects: after each turn of ten rounds with one frame and ten with the best batch, and at both ends."""
    monkeypatch.setattr(timing, "start", start_in_a_thread)
    driver, working = install(), list[bool]()
    call = timing.Process.call

    def at_work(process: timing.Process, request: object) -> object:
        working.append(True)
        try:
            return call(process, request)
        finally:
            working.clear()

    monkeypatch.setattr(timing.Process, "call", at_work)
    sample = conditions.Gpu.sample
    monkeypatch.setattr(conditions.Gpu, "sample", lambda gpu: (sample(gpu), working and pytest.fail("in a turn")))
    subjects = {name: timing.Subject(partial(FakeSession, most=1), LOGITS, FRAMES) for name in "ab"}
    timing.measure(subjects, 0.01, silent)
    assert driver.calls.count("nvmlDeviceGetCurrentClocksEventReasons") == 2 + 2 * 2 * timing.ROUNDS


@pytest.mark.parametrize("refuses", [False, True])
def test_the_management_library_is_left_as_it_was_found(refuses: bool, install: Install) -> None:
    answers = {"nvmlDeviceGetHandleByPciBusId": RuntimeError("Insufficient Permissions")} if refuses else {}
    driver = install(**answers)
    with conditions.watch(1) as watch:
        pass
    (finding,) = machine.gpu(Path())
    assert driver.calls.count("nvmlInit") == driver.calls.count("nvmlShutdown") == 3, "watch, name, doctor"
    assert (watch.conditions.gpu is None) == refuses
    if refuses:
        assert finding.level == "note"
        assert "its management library says: Insufficient Permissions" in finding.observed
    else:
        assert "driver 580.1; memory unknown" in finding.observed


def test_times_are_kept_where_the_management_library_does_not_end_well(install: Install) -> None:
    install(nvmlShutdown=RuntimeError("Unknown Error"))
    with conditions.watch(1) as watch:
        pass
    assert watch.conditions.gpu
    with pytest.raises(RuntimeError, match="a variant's own"), conditions.watch(1):
        raise RuntimeError("a variant's own")


H100 = "NVIDIA H100"
ON = {"nvmlDeviceGetIndex": 1, "nvmlDeviceGetCount": 4}
SILENT = {"nvmlDeviceGetIndex": RuntimeError("Not Supported")}


@pytest.mark.parametrize(
    ("devices", "answers", "visible", "name"),
    [
        ((H100,), {}, None, H100),
        ((H100,), {}, "0", H100),
        ((H100,), ON, "1", f"{H100}, GPU 1 of 4 at {BUS_ID}, CUDA_VISIBLE_DEVICES=1"),
        ((H100,) * 4, ON, None, f"{H100}, GPU 1 of 4 at {BUS_ID}"),
        ((H100,), SILENT, None, H100),
        ((H100,), SILENT, "1", f"{H100}, {BUS_ID}, CUDA_VISIBLE_DEVICES=1"),
        ((H100,) * 2, SILENT, None, f"{H100}, {BUS_ID}"),
        ((), SILENT, None, "CUDA device 0"),
    ],
)
def test_which_of_several_gpus_it_is(
    devices: tuple[str, ...],
    answers: dict[str, object],
    visible: str | None,
    name: str,
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(devices, **answers)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert provenance.cuda_device_name() == name


def test_the_doctor_says_which_of_several_gpus_is_used(install: Install) -> None:
    install((H100,) * 4, nvmlDeviceGetIndex=0, nvmlDeviceGetCount=4)
    assert machine.gpu(Path())[0].observed.startswith(
        f"{H100}, GPU 0 of 4 at {BUS_ID}, the first of 4 that CUDA shows; "
    )


def test_keys_of_measurements_know_no_number_of_a_gpu(install: Install) -> None:
    """GPUs of one model are alike: what was measured on one is not measured again on its neighbour."""
    install(**ON)
    assert provenance.machine()["CUDA devices"] == H100
    assert "GPU 1 of 4" not in json.dumps(provenance.machine())


def test_provenance_names_the_gpus_that_variants_ran_on() -> None:
    executed = Executed("pytorch", "cuda", f"{H100}, GPU 1 of 4 at {BUS_ID}", (), "fp32", "fp32")
    row = VariantResult("a", "0", (), "ok", None, executed=executed)
    on_cpu = replace(row, executed=replace(executed, device="cpu", device_name="Xeon"))
    assert summary._gpus([row, row, on_cpu]) == {"GPU used": f"{H100}, GPU 1 of 4 at {BUS_ID}"}
    assert summary._gpus([on_cpu]) == {}
