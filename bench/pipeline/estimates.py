"""How long work will take: by what this folder's earlier runs took, else by rough rates of another machine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.errors import UserError
from bench.pipeline.plan import Plan
from bench.provenance import machine
from bench.records import Split, VariantResult
from bench.results import store, timing
from bench.results.timed_process import LARGEST_BATCH, PROBE_CALLS, WARM_UP_CALLS
from bench.results.warm_up import MOST_SECONDS
from bench.variants import description
from bench.variants.steps import Use

RECORDED, ROUGH = "this folder's earlier runs", "rough rates"

# All of it measured on 2 cores of an AMD EPYC (Zen 5), EfficientNet-B5. A frame's share was measured at 160 px
# (15 to 33 ms in onnxruntime) and is told for 380 px, since it grows with the area. Half or twice that is possible.
RATES_ORIGIN = "EfficientNet-B5 on 2 cores of an AMD EPYC, scaled by network, area and cores"
RATES_SIZE, RATES_THREADS = 380, 2
FRAME_SECONDS = {"onnxruntime": 0.1, "openvino": 0.1, "pytorch": 0.3, "inductor": 0.3}
DRAWN_FRAME_SECONDS, DECODED_FRAME_SECONDS, HEATMAP_SECONDS = 0.014, 0.004, 0.01
EXPORT_SECONDS, LOAD_SECONDS, PROCESS_SECONDS, REPORT_SECONDS = 7.0, 1.0, 5.0, 3.0

# Multiply-accumulates a pixel against B5's, and millions of parameters without the thousand classes: table 2 of
# Tan and Le (EfficientNet, ICML 2019).
NETWORKS = {
    "b0": (0.16, 4.0), "b1": (0.26, 6.5), "b2": (0.31, 7.7), "b3": (0.42, 10.7),
    "b4": (0.61, 17.5), "b5": (1.0, 28.3), "b6": (1.43, 40.7), "b7": (2.16, 63.8),
}  # fmt: skip


@dataclass(frozen=True)
class Rate:
    """Seconds of a step: once, and for each of the frames that it reads."""

    once_s: float
    frame_s: float = 0.0
    frames: Callable[[Any, Mapping[Split, int]], int] = lambda settings, counts: 0


STEPS = {
    "weights": Rate(3.0),
    "cast": Rate(1.0),
    "prune": Rate(30.0, 0.7, lambda settings, counts: min(settings.frames, counts["calibration"])),
    # Where pruning did no harm, recover looks once at the frames that it holds out, and ends.
    "recover": Rate(3.0, 0.3, lambda settings, counts: settings.steps * settings.batch_size),
    "quantize": Rate(20.0, 0.7, lambda settings, counts: min(settings.frames, counts["calibration"])),
}

# A step that these settings spare from looking at frames.
_BLIND_SECONDS = 2.0


@dataclass(frozen=True)
class Estimate:
    """Between `low_s` and `high_s` seconds, by `origins`; what is `unknown` comes on top."""

    low_s: float = 0.0
    high_s: float = 0.0
    origins: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(
            self.low_s + other.low_s,
            self.high_s + other.high_s,
            self.origins | other.origins,
            self.unknown | other.unknown,
        )

    def __mul__(self, times: float) -> Estimate:
        return Estimate(self.low_s * times, self.high_s * times, self.origins, self.unknown)


def total(estimates: Iterable[Estimate]) -> Estimate:
    return sum(estimates, Estimate())


def unknown(what: str) -> Estimate:
    return Estimate(unknown=frozenset({what}))


def rough(seconds: float) -> Estimate:
    return Estimate(seconds / 2, seconds * 2, frozenset({ROUGH}))


@dataclass(frozen=True)
class Speed:
    """Seconds a frame that a variant took on this machine."""

    architecture: str
    size: int
    runtime: str
    device: str
    steps: tuple[str, ...]
    frame_s: float


@dataclass(frozen=True)
class Known:
    """What a folder's earlier runs tell: seconds of each (architecture, step), parameters, speeds."""

    built_s: Mapping[tuple[str, str], Sequence[float]]
    parameters: Mapping[str, int]
    speeds: Sequence[Speed]


def recall(base: Path) -> Known:
    """Read what lies in `variants/` and `results/` below `base`; what is damaged tells nothing."""
    built_s: dict[tuple[str, str], list[float]] = defaultdict(list)
    parameters = {}
    for path in sorted((base / "variants").glob(f"*/{description.DESCRIPTION}")):
        told = description.find(base / "variants", path.parent.name)
        if told is None:
            continue
        step = told.lineage[-1].step
        if step == "weights" and told.parameters is not None:
            parameters[told.architecture] = told.parameters
        built_s[told.architecture, step].append(told.seconds)
    return Known(built_s, parameters, tuple(_speeds(base)))


def _speeds(base: Path) -> Iterable[Speed]:
    here = machine()
    for path in sorted((base / "results").glob(f"*/{store.RUN}")):
        try:
            run = store.read_run(path.parent)
        except UserError:
            continue
        for variant in run.variants:
            if run.preprocessing and variant.conditions and variant.conditions.machine == here:
                yield from _speed(run.architecture, run.preprocessing.size, variant)


def _speed(architecture: str, size: int, variant: VariantResult) -> Iterable[Speed]:
    """By the largest batch that was timed: evaluation takes batches too."""
    timed = max(variant.measurements, key=lambda one: one.batch_size, default=None)
    samples = [sample for samples in timed.rounds_ms for sample in samples] if timed else []
    if timed and samples:
        frame_s = median(samples) / 1000 / timed.batch_size
        yield Speed(architecture, size, timed.runtime, timed.device, variant.steps, frame_s)


def step(plan: Plan, use: Use | None, known: Known) -> Estimate:
    """Building one link; None stands for reading the weights."""
    name, text = (use.name, use.text) if use else ("weights", "weights")
    if recorded := known.built_s.get((plan.source.architecture, text)):
        return Estimate(min(recorded) * 0.7, max(recorded) * 1.5, frozenset({RECORDED}))
    rate, network = STEPS.get(name), _network(plan)
    on_frames = use is not None and bool(use.frames)
    if rate is None or (on_frames and (network is None or plan.device != "cpu")):
        return unknown(f"{text} on {plan.device}")
    counts = {split: len(frames.frames) for split, frames in plan.frames.items()}
    if use is not None and not on_frames and use.step.FRAMES:
        return rough(_BLIND_SECONDS)
    frames = rate.frames(use.settings, counts) if use else 0
    return rough(rate.once_s + frames * rate.frame_s * _scale(plan, network or 1.0))


def frame(plan: Plan, steps: tuple[str, ...], runtime: str, known: Known) -> Estimate:
    """One frame through a variant in a runtime."""
    network = _network(plan)
    fitting = [
        one
        for one in known.speeds
        if (one.architecture, one.runtime, one.device) == (plan.source.architecture, runtime, plan.device)
    ]
    for chain, low, high in ((steps, 0.8, 1.5), ((), 0.3, 2.0)):
        same = [one.frame_s * (plan.spec.size / one.size) ** 2 for one in fitting if one.steps == chain]
        if same:
            return Estimate(min(same) * low, max(same) * high, frozenset({RECORDED}))
    if plan.device != "cpu" or network is None or runtime not in FRAME_SECONDS:
        return unknown(f"{plan.source.architecture} in {runtime} on {plan.device}")
    return rough(FRAME_SECONDS[runtime] * _scale(plan, network))


def timed(plan: Plan, one_frame: Estimate) -> Estimate:
    """Timing one variant: for the seconds set at batch 1, for as long at the best batch, and what finding it takes."""
    seconds, rounds, largest = plan.settings.timing.seconds, timing.ROUNDS, LARGEST_BATCH[plan.device]
    sizes = [2**power for power in range(largest.bit_length())]
    # Each turn makes one call before it counts, and its last call may end late.
    least = 2 * seconds + one_frame.low_s * (2 * rounds + WARM_UP_CALLS)
    turns = 2 * seconds + one_frame.high_s * rounds * 2 * (1 + largest / 2)
    probes = max(len(sizes) * seconds / rounds, one_frame.high_s * sum(sizes) * (PROBE_CALLS + 1))
    started = rough(PROCESS_SECONDS)
    settling = 2 * MOST_SECONDS if plan.device == "cuda" else 0.0
    return Estimate(least, turns + probes + settling, one_frame.origins, one_frame.unknown) + started


def weights_bytes(plan: Plan, known: Known) -> int | None:
    """Of the detector itself, stored in fp32; None where nobody knows how large it is."""
    architecture = plan.source.architecture
    if architecture in known.parameters:
        return 4 * known.parameters[architecture]
    network = NETWORKS.get(architecture.rpartition("_")[2])
    return round(4e6 * network[1]) if network else None


def bytes_left(use: Use, stored: float, in_fp32: float) -> tuple[float, float]:
    """What a step makes of a file of `stored` bytes, whose numbers take `in_fp32` bytes in fp32; both again.

    Artifacts are what is estimated. Not counted are the engines that TensorRT keeps beside them, and what
    is gone when the work is done, such as recover's checkpoint, four times the network.
    """
    settings: Any = use.settings
    if use.name == "prune" and getattr(settings, "structure", "structured") == "structured":
        return stored * (1 - settings.amount), in_fp32 * (1 - settings.amount)
    share = {"cast": 0.5, "quantize": 0.15 if getattr(settings, "weights", None) == "int4" else 0.27}.get(use.name)
    return (stored if share is None else in_fp32 * share), in_fp32


def _network(plan: Plan) -> float | None:
    network = NETWORKS.get(plan.source.architecture.rpartition("_")[2])
    return network[0] if network else None


def _scale(plan: Plan, network: float) -> float:
    return network * (plan.spec.size / RATES_SIZE) ** 2 * RATES_THREADS / plan.threads
