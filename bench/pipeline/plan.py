"""First stage: an experiment with everything that it refers to, resolved and checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import datasets, runtimes
from bench.datasets import demo
from bench.errors import UserError, nearest
from bench.experiment import DetectorSettings, Experiments, ExperimentSettings, select
from bench.provenance import cpu_cores, cuda_devices, file_digest
from bench.records import FrameSet, InputSpec, OnEvent, Split, silent
from bench.variants import build, steps

if TYPE_CHECKING:
    from bench.runtimes import Device


@dataclass(frozen=True)
class Plan:
    """One experiment with everything that it refers to, resolved and checked. The first chain is the baseline."""

    name: str
    base: Path
    settings: ExperimentSettings
    detector: DetectorSettings
    chains: dict[str, tuple[steps.Use, ...]]
    source: build.Source
    frames: dict[Split, FrameSet]
    device: Device
    threads: int

    @property
    def results(self) -> Path:
        return self.base / "results" / self.name

    @property
    def spec(self) -> InputSpec:
        return self.source.preprocessing.input_spec


def prepare(
    experiments: Experiments,
    path: Path,
    name: str | None = None,
    *,
    only: Sequence[str] = (),
    device: str | None = None,
    on_event: OnEvent = silent,
) -> Plan:
    """Resolve and check an experiment; nothing is built or evaluated yet."""
    name, settings = select(experiments, name, path)
    base = path.parent
    detector = experiments.detectors[settings.detector]
    chosen = _device(device or settings.device)
    chains = _only(settings, only)
    for chain in chains.values():
        runtimes.choose(settings.runtime, chain[-1].step.PRODUCES if chain else "torch", chosen)
    weights = detector.weights_file(base)
    if not weights.is_file():
        raise UserError(
            f"{path}: detectors.{settings.detector}.weights: no such file: {weights}; "
            "expected a .tar, .pth or .safetensors checkpoint"
        )
    source = build.Source(detector.architecture, weights, file_digest(weights), detector.preprocessing)
    frames = _frames(experiments, settings.frames, base, on_event)
    for variant, chain in chains.items():
        try:
            steps.check(chain, frames)
        except UserError as error:
            raise UserError(f"{path}: experiments.{name}.variants.{variant}: {error}") from error
    threads = cpu_cores() if settings.threads == "auto" else settings.threads
    return Plan(name, base, settings, detector, chains, source, frames, chosen, threads)


def _device(requested: str) -> Device:
    if requested == "cuda" and cuda_devices() == 0:
        raise UserError("device: cuda was asked for, but the NVIDIA driver shows no CUDA device; use auto or cpu")
    if requested == "auto":
        return "cuda" if cuda_devices() else "cpu"
    return "cuda" if requested == "cuda" else "cpu"


def _only(settings: ExperimentSettings, only: Sequence[str]) -> dict[str, tuple[steps.Use, ...]]:
    for variant in only:
        if variant not in settings.variants:
            raise UserError(
                f"--only: there is no variant {variant!r}{nearest(variant, settings.variants)}; "
                f"variants are: {', '.join(settings.variants)}"
            )
    return {
        variant: chain
        for variant, chain in settings.variants.items()
        if not only or variant in only or variant == settings.baseline
    }


def _frames(experiments: Experiments, name: str, base: Path, on_event: OnEvent) -> dict[Split, FrameSet]:
    settings = experiments.datasets[name]
    if name == "demo" and settings.path is not None:
        folder = base / settings.path
        # A set of the user's own may bear this name; only what the demo drew is ever drawn again.
        if not folder.exists() or (folder / demo.CARD).exists():
            demo.draw(folder, on_event)
    return datasets.load(name, settings, base, base / "datasets" / ".cache", on_event)
