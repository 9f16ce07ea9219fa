"""The variants that look at pictures: loaded once, as they were executed when they were evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import locks, runtimes
from bench.commands.export import find_variant
from bench.errors import UserError, listed, nearest, quoted, shown
from bench.experiment import ExperimentSettings
from bench.provenance import cpu_cores, cuda_devices
from bench.records import Built, Event, OnEvent, Preprocessing, RunRecord, Session, VariantResult
from bench.records.inspection import Judge
from bench.results import store
from bench.variants import cache, description

if TYPE_CHECKING:
    from bench.detectors.detector import Detector
    from bench.runtimes import Device
    from bench.runtimes.onnxruntime.activations import Activations

WORK = "loading variants"


@dataclass(frozen=True)
class Panelist:
    """A loaded variant. `detector` has its weights in PyTorch, `activations` its graph; None where they can't be had.

    `remark` is what a reader must know of what is drawn of it.
    """

    judge: Judge
    session: Session
    detector: Detector | None
    activations: Activations | None
    remark: str = ""


@dataclass(frozen=True)
class Chosen:
    """The run of one detector, and the results of its variants that were asked for, the baseline's first."""

    experiment: str
    settings: ExperimentSettings
    base: Path
    run: RunRecord
    results: Path
    preprocessing: Preprocessing
    variants: tuple[VariantResult, ...]


@dataclass(frozen=True)
class Panel:
    """The same with the variants loaded."""

    run: RunRecord
    preprocessing: Preprocessing
    panelists: tuple[Panelist, ...]


def choose(base: Path, name: str, settings: ExperimentSettings, variants: Sequence[str]) -> Chosen:
    """The variants of these names, as the command line has them; without names the baseline alone.

    The baseline stands first beside any others. Raises `UserError` where one was not evaluated.
    """
    detector, names = _of_one_detector(settings, variants)
    results = base / "results" / name / settings.folder(detector, settings.frame_sets[0])
    run = store.read_run(results)
    if run.preprocessing is None:
        raise UserError(f"{results}: these scores were made elsewhere, there is no variant to look with")
    chosen = dict.fromkeys((run.baseline.name, *names))
    by_name = {each.name: each for each in run.variants}
    evaluated = tuple(_evaluated(by_name, each, name) for each in chosen)
    return Chosen(name, settings, base, run, results, run.preprocessing, evaluated)


def load(chosen: Chosen, on_event: OnEvent) -> Panel:
    """Load each variant once. Raises `UserError` where an artifact is gone."""
    folder = chosen.base / "variants"
    for result in chosen.variants:
        if not cache.is_built(folder, result.id):
            raise UserError(
                f"the artifact of {quoted(result.name)} is gone from {folder}; {_mend(chosen.experiment, result.name)}"
            )
    panelists, count = [], len(chosen.variants)
    for index, result in enumerate(chosen.variants):
        on_event(Event(WORK, index, count, "variants", result.name))
        panelists.append(_loaded(folder, result, chosen.settings))
    on_event(Event(WORK, count, count, "variants"))
    return Panel(chosen.run, chosen.preprocessing, tuple(panelists))


def _of_one_detector(settings: ExperimentSettings, variants: Sequence[str]) -> tuple[str, list[str]]:
    """The detector that all names are of, the first one without names; and their names there."""
    pairs = [find_variant(settings, variant) for variant in variants]
    for (_, called), given in zip(pairs, variants, strict=True):
        named = settings.of(pairs[0][0]).variants
        if called not in named:
            raise UserError(
                f"there is no variant {quoted(given)}{nearest(given, named)}; variants are: {', '.join(named)}"
            )
    detectors = dict.fromkeys(detector for detector, _ in pairs)
    if len(detectors) > 1:
        raise UserError(
            f"--variant: of several detectors ({listed(detectors)}), which take other frames; name variants of one"
        )
    return next(iter(detectors), settings.network_names[0]), [called for _, called in pairs]


def _evaluated(by_name: Mapping[str, VariantResult], variant: str, experiment: str) -> VariantResult:
    """The result of a variant that was evaluated; a `UserError` says how to come by it."""
    result = by_name.get(variant)
    if result is None:
        raise UserError(f"variant {quoted(variant)} was not built yet; {_mend(experiment, variant)}")
    if result.status != "ok":
        first, *further = (result.reason or "").splitlines() or [""]
        raise UserError(f"variant {quoted(variant)} failed, it cannot look at anything: {first}", *further)
    return result


def _mend(experiment: str, variant: str) -> str:
    return f"`bench run {shown(experiment)} --only {shown(variant)}` builds and evaluates it"


def _loaded(folder: Path, result: VariantResult, settings: ExperimentSettings) -> Panelist:
    """A variant in the runtime and on the device that evaluated it."""
    built = cache.read(folder, result.id)
    cache.check(built)
    executed = result.executed
    assert executed is not None  # every evaluated variant was executed
    device: Device = executed.device
    remark = ""
    if device == "cuda" and not cuda_devices():
        device, remark = "cpu", "The run was on CUDA, which is not here: P(fake) may differ from the run's."
    threads = executed.threads or cpu_cores()
    with locks.held(cache.lock_file(folder, built.id), f"loading {built.id}"):
        session = runtimes.find(executed.runtime).load(built, device, threads, tf32=settings.tf32)
    detector = _detector(folder, built)
    activations = None
    if built.kind == "onnx" and detector is not None:
        from bench.runtimes.onnxruntime import activations as further_outputs

        activations = further_outputs.load(built, [name for name, _ in detector.stages()], threads)
    ran = session.executed
    judge = Judge(
        result.name, result.id, result.steps, built.file.name, built.digest, built.stored, ran.runtime, ran.device,
        ran.computed,
    )  # fmt: skip
    return Panelist(judge, session, detector, activations, remark)


def _detector(folder: Path, built: Built) -> Detector | None:
    """The variant's network in PyTorch; of an ONNX artifact that which it was made of, with its weights."""
    from bench.artifacts import safetensors
    from bench.detectors.journey import ready
    from bench.runtimes.pytorch.dequantised import dequantised

    if built.kind == "torch":
        return ready(safetensors.load_torch(built.file))
    for link in reversed(description.read(folder, built.id).lineage):
        if link.id != built.id and cache.is_built(folder, link.id):
            parent = cache.read(folder, link.id)
            if parent.kind == "torch":
                copy = dequantised(built, parent)
                return ready(copy) if copy else None
    return None
