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


DEMO_FRAMES = "datasets/demo"


@dataclass(frozen=True)
class Plan:
    """One experiment with everything that it refers to, resolved and checked.

    The first chain is the baseline. Of the chains that are not `wanted`, results are shown where they exist.
    """

    name: str
    base: Path
    settings: ExperimentSettings
    detector: DetectorSettings
    chains: dict[str, tuple[steps.Use, ...]]
    wanted: frozenset[str]
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
    wanted = _wanted(settings, only)
    for chain in (settings.variants[variant] for variant in wanted):
        runtimes.choose(settings.runtime, chain[-1].step.PRODUCES if chain else "torch", chosen)
    weights = detector.weights_file(base)
    try:
        source = build.Source(detector.architecture, weights, file_digest(weights), detector.preprocessing)
    except OSError as error:
        raise UserError(
            f"{path}: detectors.{settings.detector}.weights: {weights}: {error.strerror}; "
            "expected a .tar, .pth or .safetensors checkpoint"
        ) from error
    frames = _frames(experiments, settings.frames, base, on_event)
    return Plan(
        name=name,
        base=base,
        settings=settings,
        detector=detector,
        chains=_possible(settings, wanted, frames, f"{path}: experiments.{name}.variants"),
        wanted=wanted,
        source=source,
        frames=frames,
        device=chosen,
        threads=cpu_cores() if settings.threads == "auto" else settings.threads,
    )


def _possible(
    settings: ExperimentSettings, wanted: frozenset[str], frames: dict[Split, FrameSet], where: str
) -> dict[str, tuple[steps.Use, ...]]:
    """The chains that can work; a wanted one that cannot is an error."""
    chains = {}
    for variant, chain in settings.variants.items():
        try:
            steps.check(chain, frames)
            chains[variant] = chain
        except UserError as error:
            if variant in wanted:
                raise UserError(f"{where}.{variant}: {error}") from error
    return chains


def _device(requested: str) -> Device:
    if requested == "cuda" and not cuda_devices():
        raise UserError("device: cuda was asked for, but the NVIDIA driver shows no CUDA device; use auto or cpu")
    if requested == "auto":
        return "cuda" if cuda_devices() else "cpu"
    return "cuda" if requested == "cuda" else "cpu"


def _wanted(settings: ExperimentSettings, only: Sequence[str]) -> frozenset[str]:
    for variant in only:
        if variant not in settings.variants:
            raise UserError(
                f"--only: there is no variant {variant!r}{nearest(variant, settings.variants)}; "
                f"variants are: {', '.join(settings.variants)}"
            )
    return frozenset({settings.baseline, *only} if only else settings.variants)


def _frames(experiments: Experiments, name: str, base: Path, on_event: OnEvent) -> dict[Split, FrameSet]:
    settings = experiments.datasets[name]
    folder = base / DEMO_FRAMES
    # A set of the user's own may lie there; only what the demo drew is ever drawn again.
    if settings.path == DEMO_FRAMES and (not folder.exists() or (folder / demo.CARD).exists()):
        demo.draw(folder, on_event)
    return datasets.load(name, settings, base, base / "datasets" / ".cache", on_event)
