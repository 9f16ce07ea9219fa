"""`bench accept`: take the current scores as the reference that `bench check --against` compares with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

from bench.commands.accept import reference
from bench.commands.accept.reference import NAME, Accepted
from bench.errors import UserError, counted, listed, on_one_line, quoted
from bench.experiment import Experiments, ExperimentSettings, select
from bench.pipeline import render
from bench.pipeline.build import build_context
from bench.pipeline.finished import Finished
from bench.pipeline.prepare import prepare
from bench.pipeline.prepared import Setup
from bench.pipeline.summary import weights_digest, weights_of
from bench.records import OnEvent, RunRecord, silent
from bench.results import store
from bench.results.score.gates import ABOVE_CHANCE, above_chance
from bench.variants import ids

__all__ = ["NAME", "accept_scores", "describe"]


def accept_scores(
    experiments: Experiments,
    path: Path,
    name: str | None = None,
    *,
    to: Path,
    device: str | None = None,
    anyway: bool = False,
    on_event: OnEvent = silent,
) -> tuple[Accepted, tuple[str, ...]]:
    """Write the stored scores of an experiment to `to`: what was written, and what was left out and why.

    The same scores leave the file as it is, with its date. Raises `UserError` where there are no results, where
    they are not those of the weights, frames and steps as they are now, where `to` holds something else, and,
    unless `anyway`, where the baseline is not significantly better than chance or fell at its own `auc` gate, or where
    `to` holds a variant that can't be accepted now.
    """
    name, settings = select(experiments, name, path)
    experiment = path.parent / "results" / name
    store.read_run(experiment / settings.folders[0])
    # Nothing is built: whether each step and runtime could work here does not matter.
    only = (settings.baseline,)
    prepared = prepare(experiments, path, name, only=only, device=device, on_event=on_event)
    with store.locked(experiment, f"accepting {name}", on_event, [experiment / each for each in settings.folders]):
        for setup in prepared.setups:
            _refuse_stale(store.read_run(setup.results), setup)
        for ensemble, frame_set in product(settings.ensembles, settings.frame_sets):
            _refuse_stale_ensemble(experiment / settings.folder(ensemble, frame_set), settings, ensemble)
        finished = render.report(path.parent, name, settings, on_event=on_event)
        parts = dict(zip(settings.folders, finished.parts, strict=True))
        if not any(variant.status == "ok" for part in parts.values() for variant in part.run.variants):
            raise UserError(
                f"{prepared.first.results}: every variant failed, so there is nothing to accept; "
                f"{finished.report} says why"
            )
        if not anyway:
            for part in parts.values():
                _refuse_chance(part, settings.of(part.run.detector))
        accepted = _together(settings, {folder: _accepted(part, experiment / folder) for folder, part in parts.items()})
    left_out: dict[str, str] = {}
    for part in parts.values():
        left_out |= _left_out(part, settings.of(part.run.detector))
    reference.write(accepted, to, {} if anyway else left_out)
    return accepted, tuple(f"{name}: {why}" for name, why in left_out.items())


def _together(settings: ExperimentSettings, by_folder: Mapping[Path, Accepted]) -> Accepted:
    """What is accepted of all detectors on all frame sets."""
    by_set = {}
    for name in settings.frame_sets:
        by_detector = {each: by_folder[settings.folder(each, name)] for each in settings.detector_names}
        by_set[name] = (
            reference.of_several(by_detector) if settings.is_side_by_side else next(iter(by_detector.values()))
        )
    return reference.on_sets(by_set) if settings.has_several_sets else next(iter(by_set.values()))


def _accepted(part: Finished, results: Path) -> Accepted:
    """What is accepted of a detector, whose results lie in `results`."""
    run = part.run
    diffs = {
        variant.name: reference.logit_diffs(results, run, variant) for variant in run.variants if variant.status == "ok"
    }
    return reference.accepted(run, part.scores, diffs)


def _left_out(part: Finished, settings: ExperimentSettings) -> dict[str, str]:
    """The variants of a detector on a frame set that could not be accepted, by their whole names, and why."""
    run, before = part.run, f"{part.detector}/" if part.detector else ""
    after = f" on {part.frame_set}" if part.frame_set else ""
    failed = {variant.name: f"failed ({variant.reason})" for variant in run.variants if variant.status != "ok"}
    names = {variant.name for variant in run.variants}
    without = {name: "has no results yet" for name in settings.variants if name not in names}
    return {f"{before}{name}{after}": why for name, why in {**failed, **without}.items()}


def _refuse_chance(part: Finished, settings: ExperimentSettings) -> None:
    """Raise `UserError` where the baseline may be at chance: comparing with it would say nothing."""
    scores, detector = part.scores, part.detector
    fell = above_chance(scores, settings.gates)
    if fell is None:
        return
    auc = "unknown" if fell.value is None else f"{fell.value:.4f}"
    interval = f" (95 % interval {fell.interval.low:.4f} to {fell.interval.high:.4f})" if fell.interval else ""
    of_set = f" of {part.frame_set}" if part.frame_set else ""
    what = f"has the AUC {auc}{interval} on {counted(scores.frames['test'].count, 'test frame')}{of_set}"
    baseline = f"{detector}/{fell.variant}" if detector else fell.variant
    if fell.gate != ABOVE_CHANCE:
        raise UserError(
            f"{quoted(baseline)}, the baseline, {what}, and fell at its own gate `auc: {fell.limit:g}`; nothing "
            "was written: mend the detector, change the gate, or accept it with --anyway"
        )
    raise UserError(
        f"{quoted(baseline)}, the baseline, {what}, which is not proven to be better than chance; nothing was "
        "written, since what is compared with it says nothing",
        "check weights, labels and `preprocessing:`, or add test frames; if you know that it is fine, use --anyway, or "
        f"give it an AUC gate of its own: `gates: {{{baseline}: {{auc: 0.6}}}}`",
    )


def _refuse_stale(run: RunRecord, setup: Setup) -> None:
    """Raise `UserError` where weights, test frames or the steps of a variant have changed since the run."""
    context = build_context(setup, silent)
    current = {name: ids.of_chain(setup.source, chain, context)[-1] for name, chain in setup.chains.items()}
    changed = [
        variant.name for variant in run.variants if variant.status == "ok" and variant.id != current.get(variant.name)
    ]
    runtime = setup.settings.runtime
    elsewhere = [each.name for each in run.variants if each.executed and runtime not in ("auto", each.executed.runtime)]
    stale = {
        "other weights": weights_digest(run.provenance.get("weights", "")) != weights_digest(weights_of(setup)),
        "other test frames": run.frames["test"].digest != setup.frames["test"].digest,
        f"other variants than the experiment asks for ({listed(changed)})": bool(changed),
        f"another runtime than {runtime} ({listed(elsewhere)})": bool(elsewhere),
    }
    _refuse_any(stale, setup.results)


def _refuse_stale_ensemble(folder: Path, settings: ExperimentSettings, name: str) -> None:
    """Raise `UserError` where an ensemble joins other members or variants, or joins them otherwise, since the run."""
    stored, given = store.read_run(folder).ensemble, settings.ensembles[name]
    asked = given.record
    if stored and given.weights == "fit":  # which were found then
        asked = replace(asked, weights=stored.rule.weights if asked.members == stored.rule.members else asked.weights)
    variants = stored.parts if stored else {}
    present = [variant for variant in variants if variant in settings.of(name).variants]
    parts = {variant: settings.taking_part(name, variant) for variant in present}
    changed = {
        "other members, weights or rules": stored is None or stored.rule != asked,
        "other variants of its members": any(variants[variant] != parts.get(variant) for variant in variants),
    }
    _refuse_any(changed, folder)


def _refuse_any(stale: Mapping[str, bool], folder: Path) -> None:
    """Raise `UserError` where results were made of anything that has changed since."""
    if any(stale.values()):
        differences = ", ".join(what for what, is_so in stale.items() if is_so)
        raise UserError(f"{folder}: was made of {differences}; `bench run` brings them up to date")


def describe(accepted: Accepted, to: Path) -> str:
    """What was accepted, how large the file is, and what to do next."""
    count, path = f"{counted(accepted.frames['test'].count, 'test frame')}", on_one_line(str(to))
    if accepted.sets:
        sets = {name: of_set.frames["test"].count for name, of_set in accepted.by_set.items()}
        count = f"the test frames of {', '.join(f'{name} ({frames:,})' for name, frames in sets.items())}"
    size_kib = to.stat().st_size / 2**10
    return (
        f"accepted: {', '.join(accepted.variants)} on {count}; {path}, {size_kib:,.0f} KiB\n"
        f"next: commit it, then `bench check {accepted.experiment} --against {path}` judges new weights"
    )
