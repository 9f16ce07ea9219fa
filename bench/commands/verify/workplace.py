"""What an export's evidence rests on, where it lies: weights, artifact, frames, predictions and scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench import stored
from bench.commands.export.differences import frames_digest
from bench.commands.export.evidence import manifest_digest, scores_digest
from bench.commands.verify.digests import compared
from bench.errors import UserError, listed, quoted
from bench.experiment import Experiments, ExperimentSettings, read
from bench.records import OnEvent, RunRecord
from bench.records.evidence import Evidence, Finding, JudgedOn
from bench.reports import SCORES
from bench.results import store
from bench.results.predict import PREDICTIONS
from bench.variants import cache


def compare(evidence: Evidence, file: Path, on_event: OnEvent) -> Iterator[Finding]:
    """A finding for each part; `UserError` where the experiment is none of the file's."""
    file = file / "experiments.yaml" if file.is_dir() else file
    experiments = read(file)
    if evidence.experiment not in experiments.experiments:
        raise UserError(
            f"{file}: has no experiment {quoted(evidence.experiment)}, which the evidence is of; experiments are: "
            f"{listed(experiments.experiments)}"
        )
    settings = experiments.experiments[evidence.experiment]
    yield _weights(evidence, experiments, file.parent)
    yield _artifact(evidence, file.parent)
    for on in evidence.judged_on:
        yield from _judged_on(evidence, on, settings, file.parent, on_event)


def _weights(evidence: Evidence, experiments: Experiments, base: Path) -> Finding:
    if evidence.weights is None:
        return Finding("weights", "not checked", "the evidence has no digest of them")
    if evidence.detector not in experiments.networks:
        return Finding("weights", "missing", f"there is no detector {quoted(evidence.detector)}")
    file = experiments.networks[evidence.detector].weights_file(base)
    return _file("weights", file, evidence.weights.sha256)


def _artifact(evidence: Evidence, base: Path) -> Finding:
    try:
        file = cache.read(base / "variants", evidence.id).file
    except (OSError, ValueError):
        return Finding("artifact", "missing", f"there is none in {base / 'variants' / evidence.id}")
    return _file("artifact", file, evidence.artifact.sha256)


def _judged_on(
    evidence: Evidence, on: JudgedOn, settings: ExperimentSettings, base: Path, on_event: OnEvent
) -> Iterator[Finding]:
    """The frames of a set, predictions and scores on it."""
    after = f" on {on.frame_set}" if on.frame_set else ""
    frame_set = on.frame_set or settings.frame_sets[0]
    if frame_set not in settings.frame_sets or evidence.detector not in settings.detector_names:
        yield Finding(f"frames, predictions and scores{after}", "missing", "the experiment has no such detector or set")
        return
    folder = Path(evidence.experiment) / settings.folder(evidence.detector, frame_set)
    results = base / "results" / folder
    for name, digest in on.predictions.items():
        yield _file(f"predictions of {name}{after}", results / name / PREDICTIONS, digest)
    yield from _scores(on, base / "reports" / folder / SCORES, after)
    try:
        run = store.read_run(results)
        test, _ = store.read_labelled(results, evidence.variant, run.frames)
    except UserError as error:
        yield Finding(f"frames{after}", "missing", error.lines[0])
        return
    yield compared(f"manifest{after}", manifest_digest(test), on.manifest)
    yield _frames(f"frames{after}", on, run, frames_digest(run, test, base, on_event))


def _frames(what: str, on: JudgedOn, run: RunRecord, digest: str | None) -> Finding:
    if digest is None:
        return Finding(what, "missing", f"not all of them can be read below {run.frames['test'].root}")
    return compared(what, digest, on.frames)


def _scores(on: JudgedOn, file: Path, after: str) -> Iterator[Finding]:
    """The numbers in scores.json of the variant and the baseline."""
    try:
        variants = stored.read_json(file)["variants"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield Finding(f"scores{after}", "missing", f"{file}: {getattr(error, 'strerror', None) or error}")
        return
    for name, digest in on.scores.items():
        what = f"scores of {name}{after}"
        if name in variants:
            yield compared(what, scores_digest(variants[name]), digest)
        else:
            yield Finding(what, "missing", f"{file} has no such variant")


def _file(what: str, path: Path, expected: str) -> Finding:
    try:
        digest, _ = stored.digest(path)
    except (OSError, ValueError) as error:
        return Finding(what, "missing", f"{path}: {getattr(error, 'strerror', None) or error}")
    return compared(what, digest, expected)
