"""What executed a variant, and how fast: raw times, the machine at that time, and their summaries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Executed:
    """What really executed, as the runtime reports it.

    `int8` is "native" if most layers whose inputs and weights are rounded ran on integers, "simulated" if they ran in
    float between (de)quantisations, None for float artifacts. `int8_operators` of `heavy_operators` (convolutions and
    matrix products) ran on integers. `mode` is how the runtime drives the network, if it has several ways: "CUDA
    graphs", "no CUDA graphs" with the reason, "compiled".
    """

    runtime: str
    device: Literal["cpu", "cuda"]
    device_name: str
    providers: tuple[str, ...]
    stored: str
    computed: str
    int8: Literal["native", "simulated"] | None = None
    int8_operators: int | None = None
    heavy_operators: int | None = None
    threads: int | None = None
    mode: str = ""


@dataclass(frozen=True)
class Fidelity:
    """How far a runtime's logits are from those of the artifact's own graph, computed without any optimisation.

    `mean` and `largest` are absolute differences of `logit_fake - logit_real`, in standard deviations of that value
    over `frames` frames of `split`; None where it is the same for all frames. `exact` is whether both are within the
    bounds of `results/fidelity.py`; None where that is unknown. Exact kernels differ only where the order of a sum
    pushes a value over the border between two integers: on a B0 of real faces, by .02 on average and .08 at most.
    """

    mean: float | None
    largest: float | None
    frames: int
    split: str
    exact: bool | None


@dataclass(frozen=True)
class Clipping:
    """What a quantised artifact clips of some frames: values outside the ranges that calibration fixed.

    `noise` is the mean square of what that adds to `logit_fake - logit_real`, as a share of its variance over the
    frames, and `deviation` the square root of that, both without clipping; None where it is the same for all of them.
    `layers` has the share of values that each clips, by name. `reason` says why nothing can be measured of this
    artifact, empty where it was.
    """

    noise: float | None
    deviation: float | None
    frames: int
    layers: dict[str, float]
    reason: str = ""


@dataclass(frozen=True)
class CalibrationShift:
    """How far a frame set lies outside the ranges that calibration fixed for a quantised variant.

    `noise` and `deviation` are those of `Clipping`, over `frames` frames of the set, the others those over calibration
    frames: None where there are none, and where `noise` is too small to matter. `clipped` is the share of values that
    is clipped, averaged over layers, `layer` the one that clips most, and `layer_clipped` its share. `warned` is
    whether the noise is beyond the bounds of `results/clipping.py`; None where it is unknown.
    """

    noise: float | None
    deviation: float | None
    calibration_noise: float | None
    calibration_deviation: float | None
    clipped: float
    layer: str
    layer_clipped: float
    frames: int
    warned: bool | None


@dataclass(frozen=True)
class PeakMemory:
    """The peak memory of a variant's own process so far, in MiB; None where it is unknown.

    `rss_mib` is host memory (resident set), `cuda_allocated_mib` and `cuda_reserved_mib` are those of
    PyTorch's allocator.
    """

    rss_mib: float | None
    cuda_allocated_mib: float | None = None
    cuda_reserved_mib: float | None = None


@dataclass(frozen=True)
class Measurement:
    """Raw times of calls with one batch size: milliseconds a call, round by round.

    `rounds_ms` are wall-clock times from host array to host array. `device_rounds_ms` are the parts that the device
    computed, without copies; empty where the device is the host. All variants of a session are timed in the same
    rounds, so that they can be compared round by round. `settled` is whether calls took equally long at the end of
    the warm-up; None where that was not measured, as on a CPU.
    """

    runtime: str
    device: str
    batch_size: int
    rounds_ms: tuple[tuple[float, ...], ...]
    device_rounds_ms: tuple[tuple[float, ...], ...] = ()
    peak_memory: PeakMemory | None = None
    settled: bool | None = None


LEAST_THROTTLED_SHARE = 0.01
"""Share of a session's time. A thread that is briefly a little over its quota loses less than this."""


@dataclass(frozen=True)
class Conditions:
    """The machine during a session of timing.

    `others_cpu` is the share of all cores that other processes used. `cpu_mhz` and `gpu_mhz` are the clocks at the
    begin and the end, `gpu_mhz_range` the lowest and highest clock sampled. `gpu_throttling` are the reasons for a
    lower GPU clock, `gpu_processes` other processes on the GPU. `throttled_seconds` is how long a CPU quota stopped
    this process, summed over cores; `throttled_share` is the share of the quota's periods in which it did. None or
    empty where the system does not report it.
    """

    began: str
    seconds: float
    variants: int
    machine: dict[str, str]
    others_cpu: float | None = None
    cpu_mhz: tuple[float, float] | None = None
    gpu: dict[str, str] | None = None
    gpu_mhz: tuple[float, float] | None = None
    gpu_processes: tuple[str, ...] = ()
    gpu_mhz_range: tuple[float, float] | None = None
    gpu_throttling: tuple[str, ...] = ()
    throttled_seconds: float | None = None
    throttled_share: float | None = None

    @property
    def is_throttled(self) -> bool:
        """Whether a CPU quota took so much time that measured times say more of the quota than of the variant."""
        return (self.throttled_seconds or 0.0) > LEAST_THROTTLED_SHARE * self.seconds


@dataclass(frozen=True)
class Ratio:
    """A speed-up with its 95 % interval; an interval that holds 1 shows no difference."""

    value: float
    low: float
    high: float

    @property
    def unclear(self) -> bool:
        """Whether the interval holds 1, as it is printed."""
        return round(self.low, 2) <= 1 <= round(self.high, 2)


@dataclass(frozen=True)
class Timing:
    """A summary of one measurement: milliseconds a call, and frames a second at the median call.

    `device_p50_ms` is the median time that the device computed, without copies; None where it is the host. Peak memory
    is that of the variant's own process, from its start to the end of the measurement. `settled` is whether calls took
    equally long at the end of the warm-up; None where that was not measured.
    """

    runtime: str
    device: str
    batch_size: int
    rounds: int
    calls: int
    p25_ms: float
    p50_ms: float
    p75_ms: float
    p90_ms: float
    p99_ms: float | None
    mean_ms: float
    device_p50_ms: float | None
    frames_per_second: float
    peak_rss_mib: float | None
    peak_cuda_allocated_mib: float | None
    peak_cuda_reserved_mib: float | None
    settled: bool | None = None


@dataclass(frozen=True)
class VariantSpeed:
    """The speed of a variant in its own runtime.

    `single` is at batch 1, `best` at the batch size of the highest throughput, timed later in the session. `reference`
    is the baseline at batch 1, in the same device, runtime and session. `speedup` compares with it at batch 1, `gain`
    compares the throughput of each at its own best batch size. Both are None where either was not measured, for
    simulated int8, and where nothing reports how int8 ran. `latency_ms` is the median call of `single`, by which
    variants are compared; taken in another session than the baseline's, it is corrected to that session.
    """

    single: Timing | None = None
    best: Timing | None = None
    reference: Timing | None = None
    speedup: Ratio | None = None
    gain: Ratio | None = None
    latency_ms: float | None = None


@dataclass(frozen=True)
class Latencies:
    """Median calls at batch 1 that compare with the baseline's own, in ms by variant: one runtime, one device."""

    by_variant: Mapping[str, float]
    runtime: str
    device: str
