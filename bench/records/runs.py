"""What was built, executed and measured, and the run that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.records.frames import Preprocessing


@dataclass(frozen=True)
class Built:
    """An artifact on disk: one self-contained file and what is known of it.

    `stored` is the type its weights are kept in: "fp32", "fp16", "bf16", "int8" (activations are too), "int8
    weights" or "int4 weights" (activations are not). `margin_bias` is `bias_fake - bias_real`, which the CAM's mean
    lacks to be the margin; `seconds` is how long its last step took. `zeros` is the share of exactly-zero weights,
    in [0, 1], `zstd_bytes` what zstd makes of the file; None where they were not counted. `digest` is the file's
    SHA-256, empty where an earlier version built it.
    """

    id: str
    file: Path
    kind: Literal["torch", "onnx"]
    stored: str
    size_bytes: int
    parameters: int | None
    macs: int | None
    margin_bias: float
    seconds: float
    zeros: float | None = None
    zstd_bytes: int | None = None
    digest: str = ""

    @property
    def quantised(self) -> bool:
        """Whether weights are stored as integers."""
        return self.stored.startswith("int")

    @property
    def weights_only(self) -> bool:
        """Whether weights are stored as integers, and nothing computes with those."""
        return self.stored.endswith(" weights")


@dataclass(frozen=True)
class Executed:
    """What really ran, as the runtime saw it.

    `int8` is "native" where the heavy operators (convolutions and matrix products of the
    network) ran on integers, "simulated" where they ran in float between (de)quantisations, None
    for float artifacts; `int8_operators` of `heavy_operators` ran on integers. `mode` is how the network is
    driven where a runtime has several ways: "CUDA graphs", "no CUDA graphs" with the reason, "compiled".
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
    """How far a runtime's logits lie from those of the artifact's own graph, computed without any optimisation.

    `mean` and `largest` are absolute differences of `logit_fake - logit_real` in units of that difference's standard
    deviation over `frames` frames of a split; None where there is no such unit, since the artifact answers all of
    them alike. `exact` is whether they are within the bounds below; None where that cannot be told either.
    Exact kernels differ only by values on the border between two integers, which differently ordered sums push over:
    on a B0 of real faces those came to .02 on average and .08 at most.
    """

    mean: float | None
    largest: float | None
    frames: int
    split: str
    exact: bool | None


@dataclass(frozen=True)
class PeakMemory:
    """The most that a variant's own process had taken so far, in MiB; None where it cannot be told.

    `rss_mib` is host memory (resident set), `cuda_allocated_mib` and `cuda_reserved_mib` are those of
    PyTorch's allocator.
    """

    rss_mib: float | None
    cuda_allocated_mib: float | None = None
    cuda_reserved_mib: float | None = None


@dataclass(frozen=True)
class Measurement:
    """Raw times of calls with one batch size, milliseconds a call, round by round.

    `rounds_ms` is wall-clock time from host array to host array; `device_rounds_ms` what of it the
    device computed, copies aside, empty where the device is the host. Rounds of all variants that
    were timed together are in step, so they compare round by round. `settled` is whether calls took
    equally long at the end of the warm-up, None where that was not looked at, as on a CPU.
    """

    runtime: str
    device: str
    batch_size: int
    rounds_ms: tuple[tuple[float, ...], ...]
    device_rounds_ms: tuple[tuple[float, ...], ...] = ()
    peak_memory: PeakMemory | None = None
    settled: bool | None = None


LEAST_THROTTLED_SHARE = 0.01
"""Of the time that a session took: less of it, a thread that is a little over its quota loses for a moment."""


@dataclass(frozen=True)
class Conditions:
    """The machine while variants were timed together.

    `others_cpu` is the share of all cores that other processes used; `cpu_mhz` and `gpu_mhz` are
    clocks when it began and when it ended, `gpu_mhz_range` the lowest and the highest that were seen, after each
    turn; `gpu_throttling` says what slowed the GPU's clocks down, `gpu_processes` are others' processes on it.
    `throttled_seconds` is how long a CPU quota stopped this process, summed over cores, `throttled_share` the share
    of the quota's periods in which it did. None or empty where the system does not tell.
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
        """Whether a CPU quota took so much away that times are those of the quota, not of the variant."""
        return (self.throttled_seconds or 0.0) > LEAST_THROTTLED_SHARE * self.seconds


@dataclass(frozen=True)
class PredictionPass:
    """One pass over the frames: each was decoded once and given to every variant.

    `frames` counts those computed in this pass, without those of an earlier, interrupted one. For `waited_seconds`
    of its `seconds`, no decoded frame was ready. `variants` counts those that it predicted for.
    """

    frames: int
    seconds: float
    waited_seconds: float
    variants: int


@dataclass(frozen=True)
class Footprint:
    """Size of the shipped file, parameters, and multiply-accumulates for one frame, zeros included.

    `zeros` is the share of exactly-zero weights, in [0, 1], `zstd_bytes` what zstd makes of the file.
    """

    size_bytes: int
    parameters: int | None
    macs: int | None
    zeros: float | None = None
    zstd_bytes: int | None = None


@dataclass(frozen=True)
class Recovery:
    """What one `recover` on the way to an artifact did.

    `ended` says why after so many `steps` of `steps_wanted`; `cut_short` whether a limit of time took some away.
    Kept are the weights after `best_step`, 0 for those it began with. `error_before` and `error_after` are against
    the unpruned detector, on what `judged_on` names: squared errors of margin and CAM as shares of its variance.
    """

    steps: int
    steps_wanted: int
    ended: str
    cut_short: bool
    best_step: int
    judged_on: str
    error_before: float
    error_after: float


@dataclass(frozen=True)
class VariantResult:
    """All that a run found out about a variant, predictions and CAMs aside.

    `baseline` holds the measurements of the experiment's first variant in this variant's runtime,
    device and session, `conditions` those of that session. `predictions_key` is that of the
    predictions that belong to this run. `recovered` has every `recover` of its chain that kept a record.
    `fidelity` is that of a quantised artifact in its runtime on this machine, None for others. `evaluation` is the
    pass that made its predictions, or the rest of them; None where an earlier version made them.
    """

    name: str
    id: str
    steps: tuple[str, ...]
    status: Literal["ok", "failed"]
    reason: str | None
    footprint: Footprint | None = None
    executed: Executed | None = None
    measurements: tuple[Measurement, ...] = ()
    baseline: tuple[Measurement, ...] = ()
    conditions: Conditions | None = None
    notes: tuple[str, ...] = ()
    predictions_key: str = ""
    recovered: tuple[Recovery, ...] = ()
    fidelity: Fidelity | None = None
    evaluation: PredictionPass | None = None


@dataclass(frozen=True)
class SplitSummary:
    """A frame set without its frames. `root` is relative to the experiment file."""

    root: str
    count: int
    fake: int
    real: int
    sources: int
    digest: str


@dataclass(frozen=True)
class Constraints:
    """What a variant must meet to be shipped, and by what the best of those is picked.

    `auc_drop` is the most AUC that may be lost, proven by the interval of the difference, where it is
    not given the run's margin; `size_mib`
    and `latency_ms` (median at batch 1, on the machine that it was measured on) are upper limits.
    """

    auc_drop: float | None = None
    size_mib: float | None = None
    latency_ms: float | None = None
    prefer: Literal["size", "latency", "auc"] = "size"


@dataclass(frozen=True)
class RunRecord:
    """One evaluated experiment: everything a report says that is not a prediction.

    `provenance` is shown as it is, key by key. `preprocessing` is
    None where the scores came from elsewhere, and `detector` and `architecture` are then empty.
    `margin` is the non-inferiority margin on AUC; `attributes` the digest of what else is known of
    the frames, empty where there is nothing.
    """

    experiment: str
    detector: str
    architecture: str
    preprocessing: Preprocessing | None
    threshold: float
    gallery_top: int
    gallery_heatmaps: Literal["gallery", "all"]
    frames: dict[str, SplitSummary]
    variants: tuple[VariantResult, ...]
    provenance: dict[str, str]
    warnings: tuple[str, ...] = ()
    margin: float = 0.01
    choose: Constraints | None = None
    attributes: str = ""
    schema: int = 1

    @property
    def baseline(self) -> VariantResult:
        """The first variant, with which all others are compared."""
        return self.variants[0]
