"""`evidence.json` of an export: digests of all that the verdict on a variant rests on, and a signature of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.datasets.digests import of_set
from bench.pipeline.summary import file_of_weights
from bench.provenance import file_digest, version, write_json
from bench.records import Alone, Built, LabelledFrames, RunRecord, ScoredVariant, ScoresFile
from bench.records.evidence import EVIDENCE, SIGNATURE, Evidence, FileDigest, JudgedOn, NamedDigest
from bench.reports.scores_json import as_json, scores
from bench.results.predict import PREDICTIONS
from bench.signatures import digits_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

VERDICT = (
    "status", "verdict", "auc", "auc_ci", "auc_delta", "auc_delta_ci", "auc_delta_p_holm", "further_frames",
    "small_but_real", "threshold", "recall", "specificity", "accuracy", "ece", "size_mib", "latency_ms", "speedup",
    "speedup_interval",
)  # fmt: skip
"""The keys of scores.json that are in evidence.json as they are."""


@dataclass(frozen=True)
class Subject:
    """What is handed over: a built variant, and by frame set its results and their folder.

    The only set of an experiment is called "". `over_all` is the verdict over several.
    """

    variant: str
    built: Built
    alone: Mapping[str, Alone]
    folders: Mapping[str, Path]
    over_all: str | None


def write(subject: Subject, files: Iterable[Path], folder: Path, key: Ed25519PrivateKey | None) -> list[Path]:
    """Write evidence.json of the written `files` into `folder`, signed where there is a key; returns the paths."""
    evidence, target = _evidence(subject, files), folder / EVIDENCE
    if key is None:
        write_json(target, dataclasses.asdict(evidence))
        return [target]
    signed = dataclasses.replace(evidence, signed_by=digits_of(key.public_key()))
    write_json(target, dataclasses.asdict(signed))
    (folder / SIGNATURE).write_bytes(key.sign(target.read_bytes()))
    return [target, folder / SIGNATURE]


def _evidence(subject: Subject, files: Iterable[Path]) -> Evidence:
    """All but whose signature it has; `files` are those of the folder."""
    run, built = next(iter(subject.alone.values())).run, subject.built
    steps = next(variant.steps for variant in run.variants if variant.name == subject.variant)
    weights = file_of_weights(run.provenance.get("weights", ""))
    return Evidence(
        bench=version("bench"),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        experiment=run.experiment,
        detector=run.detector,
        architecture=run.architecture,
        variant=subject.variant,
        baseline=run.baseline.name,
        id=built.id,
        steps=steps,
        weights=NamedDigest(*weights) if weights else None,
        artifact=NamedDigest(built.file.name, file_digest(built.file)),
        files={path.name: FileDigest(file_digest(path), path.stat().st_size) for path in files},
        judged_on=tuple(
            _judged_on(name, alone, subject.folders[name], subject.variant) for name, alone in subject.alone.items()
        ),
        verdict_over_all=subject.over_all,
        libraries=run.provenance.get("libraries", ""),
        machine=run.provenance.get("machine", ""),
    )


def _judged_on(frame_set: str, alone: Alone, results: Path, variant: str) -> JudgedOn:
    """What was found on a frame set, of results in the folder `results`."""
    run, test = alone.run, alone.run.frames["test"]
    numbers = scores(run, alone.evaluation)
    names = tuple(dict.fromkeys((variant, run.baseline.name)))
    return JudgedOn(
        frame_set=frame_set,
        count=test.count,
        fake=test.fake,
        real=test.real,
        frames=test.digest,
        manifest=manifest_digest(alone.evaluation.test),
        predictions={name: file_digest(results / name / PREDICTIONS) for name in names if _answered(run, name)},
        scores={name: scores_digest(as_json(numbers.variants[name])) for name in names},
        verdict=verdict_of(numbers, variant),
    )


def _answered(run: RunRecord, name: str) -> bool:
    return any(variant.name == name and variant.status == "ok" for variant in run.variants)


def verdict_of(numbers: ScoresFile, variant: str) -> dict[str, Any]:
    """What was found of a variant on the frames or videos that are judged, as JSON holds it."""
    judged: ScoredVariant = numbers.judged[variant]
    of_variant = as_json(judged)
    return {"judge": numbers.judge, "margin": numbers.margin, **{key: of_variant[key] for key in VERDICT}}


def manifest_digest(test: LabelledFrames) -> str:
    """SHA-256 of the paths, labels and sources of test frames, as that of a frame set without their content."""
    paths, sources = map(str, test.frames), (_source(source) for source in test.sources)
    rows = zip(paths, test.labels.tolist(), sources, strict=True)
    return of_set((path, label, source, "") for path, label, source in rows)


def _source(source: object) -> str | None:
    """Text; what is missing is None, by whatever pandas says so."""
    return source if isinstance(source, str) else None


def set_digest(test: LabelledFrames, digests: Sequence[str]) -> str:
    """SHA-256 of the paths, labels, sources and content of test frames, as `frames` of scores.json has it."""
    sources = (_source(source) for source in test.sources)
    return of_set(zip(map(str, test.frames), test.labels.tolist(), sources, digests, strict=True))


def scores_digest(variant: Mapping[str, Any]) -> str:
    """SHA-256 of what scores.json holds of a variant, as JSON with sorted keys, without spaces, in UTF-8."""
    text = json.dumps(variant, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
