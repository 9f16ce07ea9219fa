"""What earlier runs in this folder recorded of how long work takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.errors import UserError
from bench.provenance import machine
from bench.records import VariantResult
from bench.results import store
from bench.variants import description


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
class History:
    """What a folder's earlier runs recorded: seconds of each (architecture, step), parameters, speeds.

    `built_s` are seconds of the clock, beside whatever else the machine did; `built_cpu_s` are of processor time.
    """

    built_s: Mapping[tuple[str, str], Sequence[float]]
    parameters: Mapping[str, int]
    speeds: Sequence[Speed]
    built_cpu_s: Mapping[tuple[str, str], Sequence[float]] = field(default_factory=dict)


def recall(base: Path, folders: Iterable[Path] = ()) -> History:
    """Read the records in `variants/` and `results/` below `base`; damaged ones are left out.

    `folders` have a run.json too, below an experiment's.
    """
    built_s: dict[tuple[str, str], list[float]] = defaultdict(list)
    built_cpu_s: dict[tuple[str, str], list[float]] = defaultdict(list)
    parameters = {}
    for path in sorted((base / "variants").glob(f"*/{description.DESCRIPTION}")):
        variant = description.find(base / "variants", path.parent.name)
        if variant is None:
            continue
        step = variant.lineage[-1].step
        if step == "weights" and variant.parameters is not None:
            parameters[variant.architecture] = variant.parameters
        built_s[variant.architecture, step].append(variant.seconds)
        if variant.cpu_seconds is not None:
            built_cpu_s[variant.architecture, step].append(variant.cpu_seconds)
    return History(built_s, parameters, tuple(_speeds(base, folders)), built_cpu_s)


def _speeds(base: Path, folders: Iterable[Path]) -> Iterable[Speed]:
    """The speeds of all variants that were timed on this machine."""
    this_machine = machine()
    records = [path for pattern in ("*", "*/*") for path in sorted((base / "results").glob(f"{pattern}/{store.RUN}"))]
    by_experiment = (path.parent for path in records)
    for folder in dict.fromkeys((*by_experiment, *folders)):
        try:
            run = store.read_run(folder)
        except UserError:
            continue
        for variant in run.variants:
            if run.preprocessing and variant.conditions and variant.conditions.machine == this_machine:
                yield from _speed(run.architecture, run.preprocessing.size, variant)


def _speed(architecture: str, size: int, variant: VariantResult) -> Iterable[Speed]:
    """The speed with the largest batch that was timed: evaluation takes batches too."""
    timed = max(variant.measurements, key=lambda measurement: measurement.batch_size, default=None)
    samples = [sample for samples in timed.rounds_ms for sample in samples] if timed else []
    if timed and samples:
        # The share of the cores that other processes took slowed these calls down.
        others = variant.conditions.others_cpu if variant.conditions else None
        frame_s = median(samples) / 1000 / timed.batch_size * (1 - min(others or 0.0, 0.5))
        yield Speed(architecture, size, timed.runtime, timed.device, variant.steps, frame_s)
