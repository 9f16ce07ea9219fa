"""How long work will take: by what this folder's earlier runs took, else by rough rates of another machine."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from bench.detectors import families
from bench.pipeline.footage import Pending
from bench.pipeline.history import History
from bench.pipeline.prepared import Setup
from bench.pipeline.present_speed import PresentSpeed
from bench.results import clipping, timing
from bench.results.timing.warm_up import MOST_SECONDS
from bench.results.timing.worker import BATCHES, CONFIRMING_ROUNDS, PROBE_CALLS, WARM_UP_CALLS
from bench.variants.steps import Cost, Use

RECORDED, ROUGH = "this folder's earlier runs", "rough rates"

# Seconds of processor time with an EfficientNet-B5, on cores that, with nothing else to do, did so many Gflop of matrix
# products in one such second. A frame's share was measured at 160 px, and is given for 380 px: it grows with the
# area.
RATES_ORIGIN = "EfficientNet-B5 on an AMD EPYC, scaled by network, area and this machine's present speed"
RATES_SIZE, RATES_GFLOPS = 380, 90.0
RATES_PARAMETERS = 28.3
"""Millions: what a step does with the weights grows with them."""
FRAME_SECONDS = {"onnxruntime": 0.28, "openvino": 0.28, "pytorch": 0.4, "inductor": 0.4}
DRAWN_FRAME_SECONDS, DECODED_FRAME_SECONDS, HEATMAP_SECONDS = 0.026, 0.004, 0.01
LOAD_SECONDS, PROCESS_SECONDS, REPORT_SECONDS = 1.8, 4.5, 4.5
# Of a video: opening it twice; of a frame that is taken out: turning it into pixels, finding faces, writing them.
VIDEO_SECONDS, EXTRACTED_FRAME_SECONDS = 0.1, 0.045
DECODED_MIB_SECONDS = 1.0
"""Of a video of 1 MiB, all of whose frames are decoded. A larger one is rather sharper than longer: by the root."""
# Tracing a network's structure, for the first file of it; writing each; choosing kernels, and comparing with the graph.
TRACE_SECONDS, EXPORT_SECONDS, SETTLE_SECONDS = 17.0, 1.5, 1.5
# Opening both graphs of an int8 artifact; a frame through both, in frames of the float network.
CLIPPING_SECONDS, CLIPPING_PASSES = 2.5, 3.0
# The batch size that is found best most often.
USUAL_BATCH = {"cpu": 2, "cuda": 128}
# How much of the work several threads share, of networks that are called and of the rest.
PARALLEL, SERIAL = 0.9, 0.1

ROUGHLY, BY_RECORDS = 1.38, 1.3
"""An estimate may be wrong by this factor, either way."""

# Reading the weights, which every chain begins with. What a step costs, it says itself.
WEIGHTS = Cost(3.2)


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
    return Estimate(seconds / ROUGHLY, seconds * ROUGHLY, frozenset({ROUGH}))


def recorded(seconds: float) -> Estimate:
    return Estimate(seconds / BY_RECORDS, seconds * BY_RECORDS, frozenset({RECORDED}))


def quiet(threads: int) -> PresentSpeed:
    """The machine that the rates come from, without other work."""
    return PresentSpeed(RATES_GFLOPS, RATES_GFLOPS, RATES_GFLOPS * threads, threads)


def on_the_clock(cpu_s: float, parallel: float, now: PresentSpeed) -> float:
    """How long so many seconds of this machine's processor time take now, where threads share the part `parallel`."""
    return cpu_s * now.core * ((1 - parallel) / now.alone + parallel / max(now.together, now.alone))


def by_rate(cpu_s: float, parallel: float, now: PresentSpeed) -> Estimate:
    """An estimate from seconds of processor time of the machine that the rates come from."""
    return rough(on_the_clock(cpu_s * RATES_GFLOPS / now.core, parallel, now))


def extraction_s(pending: Pending) -> float:
    """Seconds of processor time for extracting the frames of videos."""
    if not pending.videos:
        return 0.0
    mib_each = pending.size_bytes / pending.videos / 2**20
    of_videos = pending.videos * (VIDEO_SECONDS + DECODED_MIB_SECONDS * math.sqrt(mib_each))
    return of_videos + pending.frames * EXTRACTED_FRAME_SECONDS


def step(setup: Setup, chain: Sequence[Use], history: History, now: PresentSpeed, *, at_most: bool = False) -> Estimate:
    """Building the last link of a chain; an empty one stands for reading the weights.

    `at_most` is for a step of which a look decides how much there is to do: with all that there may be.
    """
    use = chain[-1] if chain else None
    text = use.text if use else "weights"
    cost = cost_of(setup, chain)
    is_open = at_most and cost is not None and cost.most_frames > 0
    cost = cost.at_most if cost and is_open else cost
    before = None
    if cpu_s := history.built_cpu_s.get((setup.source.architecture, text)):
        before = recorded(on_the_clock(_likeliest(cpu_s, chain), cost.parallel if cost else SERIAL, now))
    elif seconds := history.built_s.get((setup.source.architecture, text)):
        before = recorded(_likeliest(seconds, chain) * _slower(setup, now))
    if before and not is_open:
        return before
    network = _network(setup)
    on_frames = use is not None and bool(use.frames(families.kind(setup.source.architecture)))
    if cost is None or (on_frames and (network is None or setup.device != "cpu")):
        return unknown(f"{text} on {setup.device}")
    left = share(chain[:-1], of_time=False) if on_frames else 1.0
    rated = by_rate(rated_s(cost, setup) * left, cost.parallel, now)
    # What is recorded may have been a look alone.
    return max(before, rated, key=lambda each: each.high_s) if before else rated


def rated_s(cost: Cost, setup: Setup) -> float:
    """Seconds of processor time of a step on the machine that the rates come from, for a detector and its frames.

    A network of unknown size is taken for an EfficientNet-B5.
    """
    size = families.size_of(setup.source.architecture)
    macs, parameters = (size.macs, size.parameters / RATES_PARAMETERS) if size else (1.0, 1.0)
    return cost.once_s + cost.network_s * parameters + cost.frames * cost.frame_s * _scale(setup, macs)


def cost_of(setup: Setup, chain: Sequence[Use]) -> Cost | None:
    """What the last step of a chain costs, by its own declaration; an empty chain stands for reading the weights."""
    counts = Counter({split: len(frames.frames) for split, frames in setup.frames.items()})
    return chain[-1].cost(counts, chain[:-1]) if chain else WEIGHTS


def _likeliest(seconds: Sequence[float], chain: Sequence[Use]) -> float:
    """Of a step's times on several networks: the longest for the whole network, the shortest for a pruned one."""
    return min(seconds) if share(chain[:-1], of_time=False) < 1 else max(seconds)


def share(chain: Sequence[Use], *, of_time: bool) -> float:
    """How much of the network's work is left after a chain: operations, or `of_time` that they take."""
    left = [use.leaves for use in chain]
    return math.prod(each.operations * (each.time if of_time else 1.0) for each in left)


def frame(setup: Setup, chain: Sequence[Use], runtime: str, history: History, now: PresentSpeed) -> Estimate:
    """One frame through a variant in a runtime."""
    steps, network, left = tuple(use.text for use in chain), _network(setup), share(chain, of_time=True)
    fitting = [
        speed
        for speed in history.speeds
        if (speed.architecture, speed.runtime, speed.device) == (setup.source.architecture, runtime, setup.device)
    ]
    for of_steps, part, estimated in ((steps, 1.0, recorded), ((), left, rough)):
        same = [speed.frame_s * (setup.spec.size / speed.size) ** 2 for speed in fitting if speed.steps == of_steps]
        if same:
            seconds = median(same) * part * _slower(setup, now)
            return replace(estimated(seconds), origins=frozenset({RECORDED}))
    if setup.device != "cpu" or network is None or runtime not in FRAME_SECONDS:
        return unknown(f"{setup.source.architecture} in {runtime} on {setup.device}")
    return by_rate(FRAME_SECONDS[runtime] * left * _scale(setup, network), PARALLEL, now)


def clipping_s(setup: Setup, chain: Sequence[Use]) -> float:
    """Seconds of processor time for looking at what a variant with integers for activations clips of test frames."""
    network = _network(setup)
    if network is None or not chain or chain[-1].leaves.time == 1:
        return 0.0
    frames = min(clipping.FRAMES, len(setup.frames["test"].frames))
    passes = frames * CLIPPING_PASSES * FRAME_SECONDS["onnxruntime"] * _scale(setup, network)
    return CLIPPING_SECONDS + passes * share(chain, of_time=False)


def timed(setup: Setup, one_frame: Estimate, now: PresentSpeed) -> Estimate:
    """Timing one variant: the set seconds at batch 1, as many at the best batch, and the search for that batch."""
    seconds, rounds = setup.settings.timing.seconds, timing.ROUNDS
    frame_s = math.sqrt(one_frame.low_s * one_frame.high_s)
    best = USUAL_BATCH[setup.device]
    # Each turn makes one call before it counts, and its last call may end late.
    turns_s = 2 * seconds + frame_s * (WARM_UP_CALLS + rounds * 1.5 * (1 + best))
    tried = [size for size in (1, *BATCHES[setup.device]) if size <= 4 * best]
    # The best batch is compared with one frame once more.
    probed = [*tried, *((1, best) * CONFIRMING_ROUNDS)]
    probes_s = sum(max(seconds / rounds, frame_s * size * PROBE_CALLS) + frame_s * size for size in probed)
    started_s = on_the_clock(PROCESS_SECONDS * RATES_GFLOPS / now.core, SERIAL, now)
    settling_s = 2 * MOST_SECONDS if setup.device == "cuda" else 0.0
    whole = rough(turns_s + probes_s + started_s + settling_s)
    return replace(whole, origins=one_frame.origins, unknown=one_frame.unknown)


def weights_bytes(setup: Setup, history: History) -> int | None:
    """Bytes of the detector itself, stored in fp32; None where its size is unknown."""
    architecture = setup.source.architecture
    if architecture in history.parameters:
        return 4 * history.parameters[architecture]
    size = families.size_of(architecture)
    return round(4e6 * size.parameters) if size else None


def bytes_left(use: Use, stored: float, in_fp32: float) -> tuple[float, float]:
    """Both sizes of an artifact after a step: its bytes as stored, and those of its numbers in fp32.

    Only artifacts count: not the engines that TensorRT keeps beside them, nor temporary files such as the checkpoint
    of a training, which is four times as large as the network.
    """
    left = use.leaves
    in_fp32 *= left.numbers
    return (stored * left.numbers if left.stored is None else in_fp32 * left.stored), in_fp32


def _network(setup: Setup) -> float | None:
    size = families.size_of(setup.source.architecture)
    return size.macs if size else None


def _scale(setup: Setup, network: float) -> float:
    return network * (setup.spec.size / RATES_SIZE) ** 2


def _slower(setup: Setup, now: PresentSpeed) -> float:
    """How many times longer networks take now than on an idle machine, at least 1."""
    return max(1.0, now.core * setup.threads / max(now.together, now.alone))


def duration(estimate: Estimate) -> str:
    """ "≈ 20–80 s" or "≈ 2–5 min", and whether more is unknown; "unknown" where all of it is."""
    if not estimate.high_s:
        return "unknown" if estimate.unknown else "–"
    unit, seconds = next(((u, s) for u, s in (("h", 3600), ("min", 60)) if estimate.high_s >= 2 * s), ("s", 1))
    low, high = (_rounded(value / seconds) for value in (estimate.low_s, estimate.high_s))
    span = f"≈ {low}–{high} {unit}" if low != high else f"≈ {high} {unit}"
    return f"{span}, and what is unknown" if estimate.unknown else span


def _rounded(value: float) -> str:
    """A number with two digits at most."""
    if value < 10:
        return f"{max(value, 0.1):.1f}".removesuffix(".0")
    return f"{float(f'{value:.2g}'):,.0f}"
