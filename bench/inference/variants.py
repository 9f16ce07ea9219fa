"""Variants of a finished experiment: which are meant, and each loaded as it was executed when it was evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError, listed, nearest, quoted, shown
from bench.experiment import ExperimentSettings
from bench.inference.loading import load_checked
from bench.inference.subjects import FramesOfSet
from bench.provenance import cpu_cores, cuda_devices
from bench.records import Built, Executed, Preprocessing, RunRecord, Session, VariantResult
from bench.records.inspection import Judge
from bench.results import store
from bench.variants import cache, description

if TYPE_CHECKING:
    from bench.detectors.detector import Detector
    from bench.runtimes import Device


OpenSession = Callable[[Callable[[], Session], str], Session]
"""What opens the session that a function loads, of the variant of a name."""


@dataclass(frozen=True)
class Loaded:
    """A variant ready to answer. `threads` are those it computes with, `remark` is what its readers must know."""

    judge: Judge
    session: Session
    built: Built
    threads: int
    remark: str = ""


@dataclass(frozen=True)
class Chosen:
    """The run of a `detector`, and the results of its variants that were asked for, the baseline's first."""

    experiment: str
    detector: str
    settings: ExperimentSettings
    base: Path
    run: RunRecord
    results: Path
    preprocessing: Preprocessing
    variants: tuple[VariantResult, ...]


def find_variant(settings: ExperimentSettings, variant: str) -> tuple[str, str]:
    """The detector and the name of a variant of an experiment, as the command line names it.

    Raises `UserError` where of several detectors it is not said whose it is.
    """
    titles = settings.titles
    if not settings.is_side_by_side or variant in titles:
        return titles.get(variant, (settings.detector_names[0], variant))
    meant = [title for title in titles if titles[title][1] == variant]
    hint = f" (several have one: name it as in {meant[0]})" if meant else nearest(variant, titles)
    raise UserError(f"there is no variant {quoted(variant)}{hint}; variants are: {', '.join(titles)}")


def find_network(settings: ExperimentSettings, variant: str) -> tuple[str, str]:
    """The same for what needs a network: `UserError` for a variant of an ensemble."""
    detector, name = find_variant(settings, variant)
    if detector in settings.ensembles:
        parts = ", ".join(f"{member}/{part}" for member, part in settings.taking_part(detector, name).items())
        raise UserError(f"{quoted(variant)} is of an ensemble, which has no network of its own; name one of: {parts}")
    return detector, name


def find_listed(settings: ExperimentSettings, variant: str) -> tuple[str, str]:
    """The detector and the name of a variant that the experiment has now; `UserError` as from `find_variant`."""
    detector, name = find_variant(settings, variant)
    if name not in settings.of(detector).variants:
        titles = settings.titles
        raise UserError(
            f"there is no variant {quoted(variant)}{nearest(variant, titles)}; variants are: {', '.join(titles)}"
        )
    return detector, name


def choose(base: Path, name: str, settings: ExperimentSettings, variants: Sequence[str]) -> Chosen:
    """The variants of these names, as the command line has them; without names the baseline alone.

    The baseline stands first beside any others. Raises `UserError` where one was not evaluated.
    """
    detector, names = _of_one_detector(settings, variants)
    return of_detector(base, name, settings, detector, names, with_baseline=True)


def of_ensemble(settings: ExperimentSettings, variants: Sequence[str]) -> tuple[str, list[str]] | None:
    """The ensemble that all names are of, and their names there; None where they are of networks.

    Without names it is the experiment's detector, where that is an ensemble. `UserError` where some are of others.
    """
    pairs = [find_listed(settings, variant) for variant in variants]
    detectors = list(dict.fromkeys(detector for detector, _ in pairs)) or list(settings.given_names[:1])
    if not any(detector in settings.ensembles for detector in detectors):
        return None
    if len(detectors) > 1:
        raise UserError(f"--variant: of several detectors ({listed(detectors)}); name variants of one")
    return detectors[0], [called for _, called in pairs]


def of_detector(
    base: Path,
    name: str,
    settings: ExperimentSettings,
    detector: str,
    variants: Sequence[str],
    *,
    with_baseline: bool = False,
) -> Chosen:
    """The variants of a detector by their names in its run, the baseline first where it is asked for.

    Raises `UserError` where one was not evaluated.
    """
    results = base / "results" / name / settings.folder(detector, settings.frame_sets[0])
    run = run_of(results)
    assert run.preprocessing is not None  # which `run_of` says
    chosen = dict.fromkeys((run.baseline.name, *variants) if with_baseline else variants)
    by_name = {each.name: each for each in run.variants}
    answered = tuple(evaluated(by_name, each, name) for each in chosen)
    return Chosen(name, detector, settings, base, run, results, run.preprocessing, answered)


def frames_of_sets(chosen: Chosen) -> FramesOfSet:
    """The frames that a detector was evaluated on, of all frame sets of the experiment."""
    all_results, settings = chosen.base / "results" / chosen.experiment, chosen.settings
    folders = [all_results / settings.folder(chosen.detector, name) for name in settings.frame_sets]
    further = [
        FramesOfSet(chosen.base, store.read_run(folder), folder)
        for folder in folders
        if folder != chosen.results and (folder / store.RUN).is_file()
    ]
    return FramesOfSet(chosen.base, chosen.run, chosen.results, further)


def run_of(results: Path) -> RunRecord:
    """The record of a run in the folder of its results; `UserError` for one of scores that were made elsewhere."""
    run = store.read_run(results)
    if run.preprocessing is None:
        raise UserError(f"{results}: these scores were made elsewhere, there is no variant to look with")
    return run


def refuse_missing(chosen: Chosen) -> None:
    """Raise `UserError` where an artifact is gone."""
    folder = chosen.base / "variants"
    for result in chosen.variants:
        if not cache.is_built(folder, result.id):
            raise UserError(
                f"the artifact of {quoted(result.name)} is gone from {folder}; {_mend(chosen.experiment, result.name)}"
            )


def open_here(load: Callable[[], Session], name: str) -> Session:
    """The session of a variant in this process."""
    return load()


def load(
    folder: Path, result: VariantResult, settings: ExperimentSettings, open_session: OpenSession = open_here
) -> Loaded:
    """A variant in the runtime and on the device that evaluated it; `folder` is that of all artifacts."""
    built = cache.read(folder, result.id)
    cache.check(built)
    executed = result.executed
    assert executed is not None  # every evaluated variant was executed
    device, remark = device_here(executed)
    threads = executed.threads or cpu_cores()
    load_session = partial(load_checked, built, executed.runtime, device, threads, tf32=settings.tf32)
    session = open_session(load_session, result.name)
    ran = session.executed
    judge = Judge(
        result.name, result.id, result.steps, built.file.name, built.digest, built.stored, ran.runtime, ran.device,
        ran.computed,
    )  # fmt: skip
    return Loaded(judge, session, built, threads, remark)


def device_here(executed: Executed) -> tuple[Device, str]:
    """The device that a variant is loaded on, and what its readers must know where the run's is not here."""
    if executed.device == "cuda" and not cuda_devices():
        return "cpu", "The run was on CUDA, which is not here: P(fake) may differ from the run's."
    return executed.device, ""


def network(folder: Path, built: Built) -> Detector | None:
    """A variant's network in PyTorch, float32; of an ONNX artifact that which it was made of, with its weights.

    None where there is none: of a graph from elsewhere, or where the float parent was cleaned away.
    """
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


def _of_one_detector(settings: ExperimentSettings, variants: Sequence[str]) -> tuple[str, list[str]]:
    """The detector that all names are of, the first one without names; and their names there."""
    pairs = [find_listed(settings, variant) for variant in variants]
    detectors = dict.fromkeys(detector for detector, _ in pairs)
    if len(detectors) > 1:
        raise UserError(
            f"--variant: of several detectors ({listed(detectors)}), which take other frames; name variants of one"
        )
    return next(iter(detectors), settings.network_names[0]), [called for _, called in pairs]


def evaluated(by_name: Mapping[str, VariantResult], variant: str, experiment: str) -> VariantResult:
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
