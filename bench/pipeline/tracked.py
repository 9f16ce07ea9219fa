"""What trackers are given of a finished experiment: parameters, numbers and files of each variant."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from bench.experiment import ExperimentSettings
from bench.pipeline.finished import Finished
from bench.provenance import digest, version
from bench.records import RunRecord, ScoredVariant, TrackedExperiment, TrackedModel, TrackedRun, VariantResult
from bench.variants.chain import parse

Model = Callable[[str], AbstractContextManager[TrackedModel]]
"""Makes the model of a variant by its title."""

_INTERVALS = ("_ci", "_interval")
_REPORT = "report"
_TEXTS = ("verdict", "runtime", "device_name", "stored", "computed", "mode", "int8")
"""The keys of scores.json that are words, and go among a run's tags."""


def tracked(finished: Finished, settings: ExperimentSettings, model: Model | None) -> TrackedExperiment:
    """An experiment as trackers are given it; `model` makes what a registry takes, None where nothing can."""
    name, by_title = finished.run.experiment, _by_title(finished)
    choice = finished.whole.scores.choice
    chosen = choice.chosen if choice and choice.chosen in by_title else None
    variants = {title: _variant(title, parts, settings, title == chosen) for title, parts in by_title.items()}
    artifact, make = "", None
    # What an ensemble ships are its members' artifacts, no model of its own.
    if chosen is not None and by_title[chosen][0][0].run.ensemble is None:
        artifact = by_title[chosen][0][1].id
        make = partial(model, chosen) if model is not None else None
    return TrackedExperiment(_whole(name, finished, settings, chosen), variants, chosen, artifact, make)


def _by_title(finished: Finished) -> dict[str, list[tuple[Finished, VariantResult]]]:
    """Each variant by what reports call it, with its results on every frame set, the first set's first."""
    by_title: dict[str, list[tuple[Finished, VariantResult]]] = {}
    for part in finished.parts:
        for variant in part.run.variants:
            title = f"{part.detector}/{variant.name}" if part.detector else variant.name
            by_title.setdefault(title, []).append((part, variant))
    return by_title


def _whole(name: str, finished: Finished, settings: ExperimentSettings, chosen: str | None) -> TrackedRun:
    """The run of the experiment itself, which has the reports."""
    run = finished.run
    parameters = {
        "experiment": name,
        "detectors": ", ".join(settings.detector_names),
        "frames": ", ".join(settings.frame_sets),
        "threshold": f"{settings.threshold_rule.text if settings.threshold_rule else run.threshold}",
        "margin": f"{run.margin:g}",
        "judge": run.judge,
        "choose": settings.choose.model_dump_json(exclude_none=True) if settings.choose else "",
        **_digests(run),
    }
    failed = finished.failed
    metrics = {"variants": float(len(_by_title(finished))), "failed": float(len(failed))}
    tags = {**_tags(run), "bench.chosen": chosen or ""}
    artifacts = {folder: files for folder, files in _reports(finished).items() if files}
    return TrackedRun(name, _key(name, "", parameters), parameters, metrics, tags, artifacts=artifacts)


def _reports(finished: Finished) -> dict[str, tuple[Path, ...]]:
    """The files of every report by the folder that they come to lie in."""
    reports = {_REPORT: _files(finished.whole.report.parent)}
    for part in finished.parts if finished.together else ():
        reports["/".join(filter(None, (_REPORT, part.detector, part.frame_set)))] = _files(part.report.parent)
    return reports


def _files(folder: Path) -> tuple[Path, ...]:
    """A report's pages, numbers and figures; thumbnails and tables lie in folders of their own."""
    return tuple(path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith("."))


def _variant(
    title: str, parts: list[tuple[Finished, VariantResult]], settings: ExperimentSettings, is_chosen: bool
) -> TrackedRun:
    """The run of a variant: numbers on the first frame set by their names, on each of several below the set's."""
    (first, result), run = parts[0], parts[0][0].run
    executed = result.executed
    parameters = {
        "experiment": run.experiment,
        "variant": title,
        "id": result.id,
        "steps": ", ".join(result.steps),
        **(_settings_of(result) if run.ensemble is None else {}),
        "detector": run.detector,
        "architecture": run.architecture,
        "device": executed.device if executed else "",
        "runtime": executed.runtime if executed else settings.runtime,
        "seed": str(settings.seed),
        **_digests(run),
    }
    metrics = dict(_numbers(first.scores.judged[result.name]))
    for part, on_set in parts if settings.has_several_sets else ():
        numbers = _numbers(part.scores.judged[on_set.name])
        metrics |= {f"{part.frame_set}/{name}": value for name, value in numbers}
    scored = first.scores.judged[result.name]
    words = {f"bench.{key}": str(value) for key in _TEXTS if (value := getattr(scored, key)) is not None}
    tags = {**_tags(run), **words, "bench.variant": title, "bench.id": result.id, "bench.chosen": str(is_chosen)}
    reason = next((each.reason or "it failed" for _, each in parts if each.status == "failed"), None)
    return TrackedRun(title, _key(run.experiment, title, parameters), parameters, metrics, tags, reason)


def _settings_of(result: VariantResult) -> dict[str, str]:
    """Every setting of every step: {"step1.prune.amount": "0.5"}."""
    settings: dict[str, str] = {}
    for number, text in enumerate(result.steps, 1):
        use = parse(yaml.safe_load(text))
        for name, value in use.settings.model_dump(mode="json").items():
            settings[f"step{number}.{use.name}.{name}"] = str(value)
    return settings


def _digests(run: RunRecord) -> dict[str, str]:
    """What tells weights and frames from others."""
    frames = {f"frames_{split}": summary.digest for split, summary in run.frames.items()}
    return {"weights": run.provenance.get("weights", ""), **frames}


def _tags(run: RunRecord) -> dict[str, str]:
    """Who made the results, where and with what."""
    return {
        "bench.version": version("bench"),
        **{f"bench.{key}": run.provenance[key] for key in ("machine", "libraries") if key in run.provenance},
    }


def _numbers(scored: ScoredVariant) -> Iterator[tuple[str, float]]:
    """The numbers of scores.json by their keys; `auc_ci` as `auc_low` and `auc_high`."""
    for field in fields(scored):
        value = getattr(scored, field.name)
        if field.name.endswith(_INTERVALS) and isinstance(value, (tuple, list)):
            measure = next(field.name.removesuffix(end) for end in _INTERVALS if field.name.endswith(end))
            yield from _finite({f"{measure}_low": value[0], f"{measure}_high": value[1]})
        else:
            yield from _finite({field.name: value})
    latency, confusion = scored.latency_ms, scored.confusion
    yield from _finite({f"latency_ms_{quantile}": getattr(latency, quantile) for quantile in ("p50", "p90", "p99")})
    yield from _finite({key: getattr(confusion, key) for key in ("tp", "tn", "fp", "fn")})


def _finite(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            yield name, float(value)


def _key(experiment: str, title: str, parameters: Mapping[str, str]) -> str:
    return digest([experiment, title, dict(parameters)])
