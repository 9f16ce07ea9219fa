"""`bench export`: one variant's model files, what they are, a snippet that runs them, and evidence for all of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import signatures, stored
from bench.commands.export import calibrated, differences, evidence, models, texts, triton
from bench.commands.export.card import NO_CLAIMS, Claims
from bench.commands.export.evidence import Subject
from bench.commands.export.sets import SetsOf, read, sentences, sets_of, verdict_over
from bench.errors import UserError, listed, nearest, quoted
from bench.experiment import ExperimentSettings
from bench.files import advice, is_leftover, rename, sweep, temporary_name
from bench.inference.variants import find_network
from bench.pipeline.rendered import evaluate_run
from bench.provenance import file_digest
from bench.records import (
    HANDED_OVER,
    LOWERED,
    ONNX,
    SAFETENSORS,
    Alone,
    Built,
    Event,
    OnEvent,
    RunRecord,
    VariantResult,
    silent,
)
from bench.records.evidence import EVIDENCE, SIGNATURE
from bench.results import store
from bench.variants import cache

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_NAMES = (SAFETENSORS, ONNX, LOWERED, "README.md", "predict.py", HANDED_OVER, EVIDENCE, SIGNATURE)
_MOVED = "moved.json"


@dataclass(frozen=True)
class Options:
    """How a variant is handed over. `form` is "onnx", which every variant has, or "safetensors", for unquantised ones.

    `method` is that by which the files' logits are calibrated, "temperature" or "platt", None where they are not.
    `claims` are what its owner says for the model card; `sign_with` is the file of the key that signs the evidence.
    """

    form: str = "onnx"
    method: str | None = None
    claims: Claims = NO_CLAIMS
    sign_with: Path | None = None

    def key(self) -> Ed25519PrivateKey | None:
        """The key, None where nothing is signed; `UserError` where its file is none of Ed25519."""
        return signatures.private_key(self.sign_with, "--sign-with") if self.sign_with else None


DEFAULT = Options()


def export_named(
    base: Path,
    name: str,
    settings: ExperimentSettings,
    variant: str,
    to: Path,
    options: Options = DEFAULT,
    on_event: OnEvent = silent,
) -> list[Path]:
    """Hand over a variant of the experiment `name` by its name there; see `export_variant`."""
    detector, variant = find_network(settings, variant)
    results = base / "results" / name
    folder, sets = Path(name) / settings.folder(detector, settings.frame_sets[0]), sets_of(results, settings, detector)
    return export_variant(base, folder, variant, to, sets=sets, options=options, on_event=on_event)


def export_to_triton(
    base: Path,
    name: str,
    settings: ExperimentSettings,
    title: str,
    repository: Path,
    method: str | None = None,
    on_event: OnEvent = silent,
) -> list[Path]:
    """Write a variant of the experiment `name` into a Triton model repository; returns the paths.

    Calibrated by `method`, "temperature" or "platt", the file's logits are scaled.
    """
    scaled = calibrated.checked_method(method)
    detector, variant = find_network(settings, title)
    results = base / "results" / name / settings.folder(detector, settings.frame_sets[0])
    triton.refuse_taken(repository, triton.model_name(title))
    run = store.read_run(results)
    calibrated.refuse_without_frames(run, variant, scaled)
    result, built = _variant(base, run, variant)
    cache.check(built)
    on_event(Event("exporting", 0, 1, "variants"))
    scaling = calibrated.calibration(run, evaluate_run(run, results), variant, scaled) if scaled else None
    written = triton.write(repository, title, run, result, built, scaling)
    on_event(Event("exporting", 1, 1, "variants"))
    return written


def export_variant(
    base: Path,
    folder: Path,
    variant: str,
    to: Path,
    *,
    sets: SetsOf | None = None,
    options: Options = DEFAULT,
    on_event: OnEvent = silent,
) -> list[Path]:
    """Write the variant's model files, a README, `model.json`, a snippet and evidence into `to`; returns the paths.

    `folder` is that of its detector's results, below results/, on the first of several frame sets; all of these are
    `sets`.

    Calibrated by "temperature" or "platt", the files' logits are scaled. How far the files move P(fake) is measured on
    test frames, where these are still there.
    """
    form, method, key = models.checked_format(options.form), calibrated.checked_method(options.method), options.key()
    options.claims.check()
    run = store.read_run(base / "results" / folder)
    calibrated.refuse_without_frames(run, variant, method)
    result, built = _variant(base, run, variant)
    models.refuse_other_format(form, built, variant)
    if to.exists() and not _is_free(to):
        raise UserError(f"{to}: is not an empty folder; --to names a new or an empty one")
    cache.check(built)
    evaluation = evaluate_run(run, base / "results" / folder)
    calibration = calibrated.calibration(run, evaluation, variant, method)
    # Filled inside the target, so that the next export recognises what a killed one leaves.
    scratch = to / temporary_name()
    try:
        scratch.mkdir(parents=True)
        on_event(Event("exporting", 0, 1, "variants"))
        files = models.write(built, form, scratch)
        artifact = built
        calibration, built, files = calibrated.rewritten(calibration, built, files, scratch)
        on_event(Event("exporting", 1, 1, "variants"))
        alone = read(sets) if sets else {"": Alone(run, evaluation)}
        on_sets = verdict_over(sets, alone, variant) if sets else None
        of_sets = sentences(sets, on_sets) if sets and on_sets else []
        facts = texts.Facts(run, result, built, evaluation, files, on_sets, tuple(of_sets), calibration, options.claims)
        texts.write_snippet(facts, scratch)
        runners = differences.runners(scratch, built, facts.model)
        before = calibrated.compared_with(calibration, run, evaluation, variant)
        texts.write_about(facts, differences.measure(*before, variant, runners, base, on_event), scratch)
        whole = [scratch / file for file in _NAMES if (scratch / file).exists()]
        folders = sets.folders if sets else {"": base / "results" / folder}
        # Where logits were calibrated, `built` is what was made of the artifact, which keeps its own digest.
        subject = Subject(variant, artifact, alone, folders, on_sets.verdict if on_sets else None)
        whole += evidence.write(subject, whole, scratch, key)
        # If this process is killed while it moves the files, the next export recognises them by their digests.
        (scratch / _MOVED).write_text(json.dumps({path.name: file_digest(path) for path in whole}), encoding="utf-8")
        for path in whole:
            rename(path, to / path.name)
        return [to / path.name for path in whole]
    except OSError as error:
        raise UserError(advice(error) or f"{to}: cannot be written to ({error.strerror})") from error
    finally:
        sweep(to, held=True)


def _variant(base: Path, run: RunRecord, name: str) -> tuple[VariantResult, Built]:
    """Its results and its artifact; `UserError` where one of them is missing."""
    by_name = {result.name: result for result in run.variants}
    if name not in by_name:
        raise UserError(
            f"variant {quoted(name)} has no results in this report{nearest(name, by_name)}; those that have: "
            f"{listed(by_name)}. `bench run` evaluates what is missing"
        )
    result = by_name[name]
    if result.status != "ok":
        first, *further = (result.reason or "").splitlines() or [""]
        raise UserError(f"variant {quoted(name)} failed, there is nothing to hand over: {first}", *further)
    if not cache.is_built(base / "variants", result.id):
        raise UserError(f"the artifact of {quoted(name)} is gone from {base / 'variants'}; `bench run` builds it again")
    return result, cache.read(base / "variants", result.id)


def _is_free(to: Path) -> bool:
    """Whether the folder is empty, apart from what a killed export left in it, unchanged."""
    if not to.is_dir():
        return False
    inside = list(to.iterdir())
    left = [path for path in inside if is_leftover(path)]
    moved_before = [pair for folder in left for pair in _moved_from(folder)]
    return all(_is_one_of(path, moved_before) for path in inside if path not in left)


def _moved_from(left: Path) -> list[tuple[str, str]]:
    """Names and digests of the files that a killed export was about to move from its folder."""
    try:
        names = stored.read_json(left / _MOVED, links=False)
        return [(name, str(names[name])) for name in _NAMES if name in names]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _is_one_of(path: Path, files: list[tuple[str, str]]) -> bool:
    digests = [digest for name, digest in files if name == path.name]
    return bool(digests) and path.is_file() and not path.is_symlink() and file_digest(path) in digests
