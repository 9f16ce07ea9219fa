"""`bench check`: run what is missing, then check the gates, and the new weights against accepted scores."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench import yaml_file
from bench.commands.accept import reference
from bench.commands.accept.reference import NAME, Accepted
from bench.commands.check import regression
from bench.commands.check.regression import Compared, compare
from bench.commands.history.commit import commit_of
from bench.errors import UserError, listed, on_one_line
from bench.experiment import Experiments, ExperimentSettings, select
from bench.pipeline import run
from bench.pipeline.finished import Finished
from bench.pipeline.prepare import prepare, selected_of
from bench.pipeline.prepared import Timing
from bench.records import Checked, GateOutcome, OnEvent, silent
from bench.results import store
from bench.results.score.gates import EVERY, OF_NO_FRAMES, above_chance, asked, check_gates


def run_and_check(  # noqa: PLR0913 - those of the command
    experiments: Experiments,
    path: Path,
    name: str | None = None,
    *,
    only: Sequence[str] = (),
    device: str | None = None,
    timing: Timing = "due",
    against: Path | None = None,
    anyway: bool = False,
    on_event: OnEvent = silent,
) -> tuple[Finished, Checked]:
    """Run what is missing of an experiment, and check its gates and the accepted scores in the file `against`.

    Gates hold on each frame set; those that frames have no part in are checked once.

    With `timing` "none" nothing is timed, and gates on speed fall where there are no times yet. A baseline that is not
    significantly better than chance fails, unless `anyway`.
    Raises `UserError` before any work where there is nothing to check, or the accepted scores are of another
    experiment or of other frames.
    """
    name, settings = select(experiments, name, path)
    _refuse_without_gates(settings, path, name, against)
    accepted = reference.read(against, name) if against else None
    checked = selected_of(settings, only)
    _refuse_nothing_to_check(settings, accepted, checked, yaml_file.location_of(path, "experiments", name, "gates"))
    if against and accepted:
        reference.refuse_other_detectors(accepted, settings.detector_names, against)
        reference.refuse_other_sets(accepted, settings.frame_sets, against)
        prepared = prepare(experiments, path, name, only=only, device=device, for_run=True, on_event=on_event)
        for frame_set, (setup, *_) in prepared.by_frame_set.items():
            if of_set := accepted.on(frame_set):
                frames = setup.frames["test"]
                reference.match(of_set, len(frames.frames), frames.digest, against)
    finished = run(experiments, path, name, only=only, device=device, timing=timing, on_event=on_event)
    results = path.parent / "results" / name
    # Another run may have begun since; what is compared is read from its files.
    folders = [results / folder for folder in settings.folders]
    with store.locked(results, f"checking {name}", on_event, folders) if accepted else nullcontext():
        parts = [_check_part(part, settings, accepted, results, checked, anyway) for part in finished.parts]
    gone = regression.gone(accepted, settings) if accepted else ()
    left_out = [title for title, (detector, variant) in settings.titles.items() if variant not in checked[detector]]
    return finished, Checked(
        experiment=name,
        outcomes=_by_variant((*(outcome for part in parts for outcome in part.outcomes), *gone)),
        failed=finished.failed,
        warnings=(*finished.all_warnings, *(warning for part in parts for warning in part.warnings)),
        remarks=(
            *dict.fromkeys(remark for part in parts for remark in part.remarks),
            *(() if against else (_how_to_accept(path, name),)),
            *((f"Not judged, since --only leaves them out: {', '.join(left_out)}.",) if left_out else ()),
        ),
        of=_when(path),
    )


def stopped(name: str, path: Path, error: Exception) -> Checked:
    """The result of a check that ended with an error before anything was judged."""
    lines = error.args if isinstance(error, UserError) else (f"{type(error).__name__}: {error}",)
    return Checked(name, (), {}, stopped="\n".join(map(str, lines)), of=_when(path))


def _when(path: Path) -> str:
    """When, and of which commit where git says one."""
    commit = commit_of(path.parent)
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC" + (f", commit {commit[:12]}" if commit else "")


def _check_part(
    part: Finished,
    settings: ExperimentSettings,
    accepted: Accepted | None,
    results: Path,
    checked: Mapping[str, Collection[str]],
    anyway: bool,
) -> Compared:
    """The gates of a detector on a frame set and what is compared with its accepted scores there.

    Of several, the names of both stand beside each variant. `results` is the folder of the whole experiment.
    """
    detector, frame_set = part.run.detector, part.frame_set or settings.frame_sets[0]
    asked_of, names = settings.of(detector), checked[detector]
    outcomes, compared = _outcomes(part, asked_of, names, anyway), Compared()
    if frame_set != settings.frame_sets[0]:
        outcomes = tuple(outcome for outcome in outcomes if outcome.gate not in OF_NO_FRAMES)
    if accepted:
        compared = regression.new_set(frame_set)
        if of_set := accepted.on(frame_set):
            folder = results / settings.folder(detector, frame_set)
            compared = compare(part, asked_of, of_set.of(detector), folder, names)
    return regression.of_part(replace(compared, outcomes=outcomes + compared.outcomes), part)


def _by_variant(outcomes: tuple[GateOutcome, ...]) -> tuple[GateOutcome, ...]:
    """All gates of a variant together, variants in the order of their first gate."""
    order = list(dict.fromkeys(outcome.variant for outcome in outcomes))
    return tuple(sorted(outcomes, key=lambda outcome: order.index(outcome.variant)))


def _how_to_accept(path: Path, name: str) -> str:
    """What a check by gates alone leaves out, and what to do about it."""
    if (path.parent / NAME).exists():
        against = on_one_line(str(path.parent / NAME))
        return f"Judged by its gates alone: `--against {against}` compares with the accepted scores too."
    return (
        f"No scores are accepted yet, so the gates alone judge. `bench accept {name}` writes {NAME}: "
        f"commit it, and `bench check {name} --against {NAME}` compares later weights with it."
    )


def _outcomes(
    finished: Finished, settings: ExperimentSettings, checked: Collection[str], anyway: bool
) -> tuple[GateOutcome, ...]:
    """The outcomes of the gates, and first that of a baseline at chance, unless `anyway`."""
    by_gates = _by_gates(finished, settings, checked)
    fell = None if anyway else above_chance(finished.scores, settings.gates)
    # A gate that the baseline has itself is among the others already.
    return by_gates if fell is None or fell in by_gates else (fell, *by_gates)


def _by_gates(finished: Finished, settings: ExperimentSettings, checked: Collection[str]) -> tuple[GateOutcome, ...]:
    variants = {name: scored for name, scored in finished.scores.variants.items() if name in checked}
    gates = {name: gate for name, gate in settings.gates.items() if name == EVERY or name in checked}
    return check_gates(replace(finished.scores, variants=variants), gates)


def _refuse_without_gates(settings: ExperimentSettings, path: Path, name: str, against: Path | None) -> None:
    if not settings.gates and against is None:
        where = yaml_file.location_of(path, "experiments", name)
        raise UserError(
            f"{where}: has no `gates:`, so there is nothing to check; add some:",
            "    gates:",
            "      all: {auc_drop: 0.01}          # every variant",
            "      q8: {size_mib: 60, recall: 0.8}  # one of them",
            f"or compare with accepted scores: `bench accept {name}`, then `bench check {name} --against {NAME}`",
        )


def _refuse_nothing_to_check(
    settings: ExperimentSettings, accepted: Accepted | None, checked: Mapping[str, Collection[str]], where: str
) -> None:
    """Raise `UserError` where no gate and no accepted variant concerns the checked ones: that would always pass."""
    names, titles = accepted.variants if accepted else (), settings.titles
    judged = [title for title, (detector, variant) in titles.items() if variant in checked[detector]]
    is_compared = any(name in judged or name not in titles for name in names)
    is_asked = any(
        asked(checked[detector], settings.baseline, settings.of(detector).gates) for detector in settings.detector_names
    )
    if not is_compared and not is_asked:
        raise UserError(
            f"{where}: no gate holds for {listed(sorted(judged))} (the baseline is not compared with itself), so "
            f"there is nothing to check; gates are set for {', '.join(settings.gates) or 'none'}: add one, or check "
            "others"
        )
