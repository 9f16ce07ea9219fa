"""The nouns that travel between the rooms. Frozen, typed, and free of heavy imports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Split: TypeAlias = Literal["test", "validation", "calibration", "train"]
SPLITS: tuple[Split, ...] = ("test", "validation", "calibration", "train")
LABELLED_SPLITS: tuple[Split, ...] = ("test", "validation")

Outcome: TypeAlias = Literal["true_positives", "false_negatives", "false_positives", "true_negatives"]
OUTCOMES: tuple[Outcome, ...] = ("true_positives", "false_negatives", "false_positives", "true_negatives")


@dataclass(frozen=True)
class InputSpec:
    """What must happen to a frame on the host: part of every id, paid once per distinct spec.

    `fit`: `stretch` both sides to `size`; `crop` resizes the short side and cuts the centre;
    `pad` resizes the long side and fills bottom and right with black. `interpolation` names
    OpenCV's filter: `bilinear` is INTER_LINEAR, `bicubic` INTER_CUBIC, `area` INTER_AREA.
    """

    size: int
    fit: Literal["stretch", "crop", "pad"] = "stretch"
    interpolation: Literal["bilinear", "bicubic", "area"] = "bilinear"


@dataclass(frozen=True)
class Preprocessing:
    """How a frame becomes the network's input.

    `size`, `fit` and `interpolation` happen on the host (see `InputSpec`), the rest inside the
    graph: scaling to [0, 1], `(x - mean) / std` per RGB channel, channel order, wavelet blend.
    """

    size: int
    fit: Literal["stretch", "crop", "pad"] = "stretch"
    interpolation: Literal["bilinear", "bicubic", "area"] = "bilinear"
    channels: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    wavelet: Literal["none", "sym2"] = "none"

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec(self.size, self.fit, self.interpolation)


@dataclass(frozen=True)
class Frame:
    """One picture of a frame set.

    `path` is its name: relative to its split's folder, with forward slashes. `label` is 1 for
    fake, 0 for real, None where unlabelled; `source` the video or person it comes from, None
    where unknown; `digest` the SHA-256 of the file's bytes, in hexadecimal.
    """

    path: str
    file: Path
    label: int | None
    source: str | None
    digest: str


@dataclass(frozen=True)
class FrameSet:
    """The frames of one split, in a fixed order.

    `digest` covers path, label, source and content of every frame, in order; `content` the
    content alone (what matters for calibration and training, which see no labels). `left_out`
    tells, as "path: reason", which files were found and not taken, since they can't be decoded;
    `remarks` what a reader must know of these frames.
    """

    name: str
    split: Split
    frames: tuple[Frame, ...]
    digest: str
    content: str
    left_out: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def fake(self) -> int:
        return sum(frame.label == 1 for frame in self.frames)

    @property
    def real(self) -> int:
        return sum(frame.label == 0 for frame in self.frames)


BatchReader: TypeAlias = "Callable[[Sequence[Frame], InputSpec, int], Iterator[NDArray[np.uint8]]]"
"""`read(frames, spec, batch_size)` yields uint8 RGB batches [n, 3, size, size], in order, decoding ahead."""


@dataclass(frozen=True)
class Event:
    """Progress of one piece of work: `done` of `total` `unit`s. `done == total` ends it."""

    work: str
    done: int
    total: int
    unit: str = "frames"
    note: str = ""


OnEvent: TypeAlias = Callable[[Event], None]


def silent(event: Event) -> None:
    """The listener of those who don't care."""


@dataclass(frozen=True)
class Built:
    """An artifact on disk: one self-contained file and what is known of it.

    `stored` is the type its weights are kept in ("fp32", "fp16", "bf16", "int8"); `margin_bias`
    is `bias_fake - bias_real`, which the CAM's mean lacks to be the margin; `seconds` is how long
    its last step took. `zeros` is the share of exactly-zero weights, in [0, 1], `zstd_bytes` what
    zstd makes of the file; None where they were not counted. `digest` is the file's SHA-256, empty where
    an earlier version built it.
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


@dataclass(frozen=True)
class Executed:
    """What really ran, as the runtime saw it.

    `int8` is "native" where the heavy operators (convolutions and matrix products of the
    network) ran on integers, "simulated" where they ran in float between (de)quantisations, None
    for float artifacts; `int8_operators` of `heavy_operators` ran on integers.
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
    were timed together are in step, so they compare round by round.
    """

    runtime: str
    device: str
    batch_size: int
    rounds_ms: tuple[tuple[float, ...], ...]
    device_rounds_ms: tuple[tuple[float, ...], ...] = ()
    peak_memory: PeakMemory | None = None


@dataclass(frozen=True)
class Conditions:
    """The machine while variants were timed together.

    `others_cpu` is the share of all cores that other processes used; `cpu_mhz` and `gpu_mhz` are
    clocks when it began and when it ended; `gpu_processes` are others' processes on the GPU. None or
    empty where the system does not tell.
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
class VariantResult:
    """All that a run found out about a variant, predictions and CAMs aside.

    `baseline` holds the measurements of the experiment's first variant in this variant's runtime,
    device and session, `conditions` those of that session. `predictions_key` is that of the
    predictions that belong to this run.
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
class Run:
    """One evaluated experiment: everything a report says that is not a prediction.

    The first variant is the baseline. `provenance` is shown as it is, key by key.
    """

    experiment: str
    detector: str
    architecture: str
    preprocessing: Preprocessing
    threshold: float
    gallery_top: int
    gallery_heatmaps: Literal["gallery", "all"]
    frames: dict[str, SplitSummary]
    variants: tuple[VariantResult, ...]
    provenance: dict[str, str]
    warnings: tuple[str, ...] = ()
    schema: int = 1


@dataclass(frozen=True)
class Score:
    """A variant's quality on labelled frames. A number that could not be had is None.

    Confusion numbers and what follows from them count a frame as fake where `p_fake >= threshold`.
    """

    count: int
    threshold: float
    tp: int
    tn: int
    fp: int
    fn: int
    auc: float | None
    average_precision: float | None
    eer: float | None
    brier: float | None
    precision: float | None
    recall: float | None
    specificity: float | None
    f1: float | None
    accuracy: float | None
    balanced_accuracy: float | None
    mcc: float | None
