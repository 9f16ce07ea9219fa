"""`bench check`: run what is missing, then judge the gates, and the new weights against accepted ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from bench import yaml_file
from bench.commands import accept
from bench.commands.accept import Accepted
from bench.commands.check.regression import compare
from bench.errors import UserError, listed
from bench.experiment import Experiments, ExperimentSettings, select
from bench.pipeline import run
from bench.pipeline.prepare import Timing, prepare
from bench.pipeline.render import Finished
from bench.records import Checked, GateOutcome, OnEvent, silent
from bench.results.score.gates import EVERY, above_chance, asked, check_gates


def run_and_check(  # noqa: PLR0913 - those of the command
    experiments: Experiments,
    path: Path,
    name: str | None = None,
    *,
    only: Sequence[str] = (),
    device: str | None = None,
    timing: Timing = "due",
    reference: Path | None = None,
    anyway: bool = False,
    on_event: OnEvent = silent,
) -> tuple[Finished, Checked]:
    """Run what is missing of an experiment and judge it by its gates, and by the accepted scores in `reference`.

    With `timing` "none" nothing is timed, and gates on speed fall where there are no times yet. A baseline that is not
    proven to be better than chance fails, unless `anyway`.
    Raises `UserError` before any work where there is nothing to judge by, or the accepted scores are of another
    experiment or of other frames.
    """
    name, settings = select(experiments, name, path)
    _refuse_without_gates(settings, path, name, reference)
    kept = accept.read(reference, name) if reference else None
    judged = {settings.baseline, *only} if only else {*settings.variants}
    _refuse_nothing_to_judge(settings, kept, judged, yaml_file.location_of(path, "experiments", name, "gates"))
    if reference and kept:
        prepared = prepare(experiments, path, name, only=only, device=device, for_run=True, on_event=on_event)
        frames = prepared.frames["test"]
        accept.match(kept, len(frames.frames), frames.digest, reference)
    finished = run(experiments, path, name, only=only, device=device, timing=timing, on_event=on_event)
    compared = compare(finished, settings, kept, path.parent / "results" / name, judged) if kept else None
    left = [variant for variant in settings.variants if variant not in judged]
    return finished, Checked(
        experiment=name,
        outcomes=_by_variant(_outcomes(finished, settings, judged, anyway) + (compared.outcomes if compared else ())),
        failed={
            one.name: one.reason or "no reason was recorded" for one in finished.run.variants if one.status != "ok"
        },
        warnings=(*finished.warnings, *(compared.warnings if compared else ())),
        remarks=(
            *(compared.remarks if compared else ()),
            *(() if reference else (_how_to_accept(path, name),)),
            *((f"Not judged, since --only leaves them out: {', '.join(left)}.",) if left else ()),
        ),
    )


def _by_variant(outcomes: tuple[GateOutcome, ...]) -> tuple[GateOutcome, ...]:
    """All gates of a variant together, variants in the order of their first."""
    order = list(dict.fromkeys(one.variant for one in outcomes))
    return tuple(sorted(outcomes, key=lambda one: order.index(one.variant)))


def _how_to_accept(path: Path, name: str) -> str:
    """What a check by gates alone leaves out, and what to do about it."""
    if (path.parent / accept.NAME).exists():
        return f"Judged by its gates alone: `--against {accept.NAME}` compares with the accepted scores too."
    return (
        f"No scores are accepted yet, so the gates alone judge. `bench accept {name}` writes {accept.NAME}: "
        f"commit it, and `bench check {name} --against {accept.NAME}` compares later weights with it."
    )


def _outcomes(
    finished: Finished, settings: ExperimentSettings, judged: Collection[str], anyway: bool
) -> tuple[GateOutcome, ...]:
    by_gates = _by_gates(finished, settings, judged)
    fell = None if anyway else above_chance(finished.scores, settings.gates)
    # One of the baseline's own is among the others already.
    return by_gates if fell is None or fell in by_gates else (fell, *by_gates)


def _by_gates(finished: Finished, settings: ExperimentSettings, judged: Collection[str]) -> tuple[GateOutcome, ...]:
    variants = {name: scored for name, scored in finished.scores.variants.items() if name in judged}
    gates = {name: gate for name, gate in settings.gates.items() if name == EVERY or name in judged}
    return check_gates(replace(finished.scores, variants=variants), gates)


def _refuse_without_gates(settings: ExperimentSettings, path: Path, name: str, reference: Path | None) -> None:
    if not settings.gates and reference is None:
        where = yaml_file.location_of(path, "experiments", name)
        raise UserError(
            f"{where}: has no `gates:`, so there is nothing to check; add some:",
            "    gates:",
            "      all: {auc_drop: 0.01}          # every variant",
            "      q8: {size_mib: 60, recall: 0.8}  # one of them",
            f"or compare with accepted scores: `bench accept {name}`, then "
            f"`bench check {name} --against {accept.NAME}`",
        )


def _refuse_nothing_to_judge(
    settings: ExperimentSettings, kept: Accepted | None, judged: Collection[str], place: str
) -> None:
    """A check that is green because nothing was asked guards nothing."""
    compared = any(name in judged or name not in settings.variants for name in (kept.variants if kept else ()))
    if not compared and not asked(judged, settings.baseline, settings.gates):
        raise UserError(
            f"{place}: no gate holds for {listed(sorted(judged))} (the baseline is not compared with itself), so there "
            f"is nothing to check; gates are set for {', '.join(settings.gates) or 'none'}: add one, or check others"
        )
