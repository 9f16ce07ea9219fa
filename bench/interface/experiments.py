"""`bench.run` and `bench.read`: experiments from Python."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench import stored
from bench.errors import UserError, listed, on_one_line
from bench.interface import arguments
from bench.interface.call import call
from bench.interface.frame_sets import on_set
from bench.interface.results import Results, results
from bench.records import ScoresFile, ScoresOnSets, SideBySideScores, SideBySideScoresOnSets

if TYPE_CHECKING:
    import pandas as pd

    from bench.pipeline import Finished
    from bench.records import RunRecord

_NO_WARNINGS = "Only scores.json of this report was read, and its warnings stand in report.md: read them there."


def run(
    experiment: str | None = None,
    file: str | os.PathLike[str] = "experiments.yaml",
    *,
    only: str | Sequence[str] | None = None,
    device: Literal["auto", "cuda", "cpu"] | None = None,
    timing: bool | Literal["again"] = True,
    progress: bool = False,
) -> Results:
    """Build the variants of an experiment, evaluate and time each, and render the report.

    The same as the command `bench run`: what exists is not made again, and what was interrupted goes on
    from its last checkpoint.

    Parameters
    ----------
    experiment : str, optional
        Its name under `experiments:`; not needed where there is only one.
    file : path, default="experiments.yaml"
        The experiment file. All folders are relative to it.
    only : str or sequence of str, optional
        Run these variants alone; the baseline always runs.
    device : {"auto", "cuda", "cpu"}, optional
        Overrides the file's.
    timing : bool or "again", default=True
        False does all but timing; "again" takes the times of all variants anew.
    progress : bool, default=False
        Show bars of `tqdm.auto`.

    Returns
    -------
    Results
        A variant that failed is in its `failed`, and raises nothing.

    Raises
    ------
    UserError
        For anything that is wrong with the input, mostly before any work.
    KeyboardInterrupt
        Where it is interrupted: what is finished is kept, and the same call goes on from there.

    Examples
    --------
    >>> results = bench.run("first", only=["q8"], progress=True)
    >>> results.variants["q8"].auc_delta
    """
    path, experiment = arguments.path("file", file, "an experiment file"), arguments.experiment(experiment)
    variants, when = arguments.names(only), arguments.timing(timing)
    if device is not None:
        arguments.device(device)
    given = {"only": only, "device": device, **({} if timing is True else {"timing": timing})}
    further = "".join(f", {name}={value!r}" for name, value in given.items() if value is not None)
    code = f"bench.run({experiment!r}, {str(path)!r}{further})"
    with call(on_one_line(code), progress=progress) as on_event:
        from bench import pipeline
        from bench.commands.export import export_named
        from bench.experiment import read as read_file

        finished = pipeline.run(
            read_file(path),
            path,
            experiment,
            only=variants,
            device=device,
            timing=when,
            hand_over=export_named,
            on_event=on_event,
        )
    return _of_run(finished, path.parent)


def read(folder: str | os.PathLike[str]) -> Results:
    """The results of an experiment that was run before, from its report or its stored results.

    Parameters
    ----------
    folder : path
        `reports/<experiment>`, or the scores.json in it, which is read as it is; or `results/<experiment>`, of which
        everything is scored again. Nothing is written.

    Returns
    -------
    Results
        Of a report that lies without its `results/<experiment>` beside it, or of `bench score`, there are no
        predictions.

    Raises
    ------
    UserError
        Where there is neither, or it is damaged.

    Examples
    --------
    >>> bench.read("reports/first").frame()
    """
    path = arguments.absolute("folder", folder)
    if path.name == "scores.json":
        path = path.parent
    with call(on_one_line(f"bench.read({os.fspath(folder)!r})")):
        if (path / "run.json").exists():
            return _of_results(path)
        if (path / "scores.json").exists():
            return _of_report(path)
    inside = sorted(path.glob("*/run.json")) or sorted(path.glob("*/*/run.json"))
    if parts := [file.parent.relative_to(path).as_posix() for file in inside]:
        raise UserError(
            f"{path}: holds the results of {listed(parts)}; read the report of all, or one of them, such as "
            f"{path / parts[0]}"
        )
    raise UserError(
        f"{path}: holds neither scores.json nor run.json; expected reports/<experiment> or results/<experiment>"
        + _hint(path)
    )


def _hint(path: Path) -> str:
    """A report in the folder or in its reports/, as an example; empty where there is none."""
    reports = path if path.name == "reports" else path / "reports"
    inside = sorted(path.parent.name for path in reports.glob("*/scores.json")) if reports.is_dir() else []
    return f", such as {reports / inside[0]}" if inside else ""


def _of_run(finished: Finished, base: Path) -> Results:
    stored_in: dict[str, dict[str, _Stored]] = {}
    warnings: dict[str, dict[str, tuple[str, ...]]] = {}
    for part in finished.parts:
        folder = base / "results" / part.report.parent.relative_to(base / "reports")
        stored_in.setdefault(part.frame_set, {})[part.detector] = _Stored(folder.absolute(), part.run)
        warnings.setdefault(part.frame_set, {})[part.detector] = part.warnings
    folder = finished.whole.report.parent.absolute()
    sets = _sets(finished.whole.scores, folder, stored_in, warnings)
    first = _Predictions(next(iter(stored_in.values())))
    return results(finished.whole.scores, finished.all_warnings, folder, first, sets)


def _sets(
    numbers: ScoresFile,
    folder: Path,
    stored_in: Mapping[str, dict[str, _Stored]],
    warnings: Mapping[str, Mapping[str, Sequence[str]]],
) -> dict[str, Results]:
    """The results on each of several frame sets; empty where there is one alone.

    `folder` is that of the report of all; stored results and warnings are by frame set and detector.
    """
    if not isinstance(numbers, ScoresOnSets | SideBySideScoresOnSets):
        return {}
    sets = {}
    for name in numbers.sets:
        report = folder / name if isinstance(numbers, ScoresOnSets) else None
        rendered = report if report and (report / "scores.json").exists() else None
        predictions = _Predictions(stored_in[name])
        sets[name] = results(on_set(numbers, name), _titled(warnings[name]), rendered, predictions)
    return sets


def _titled(warnings: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Warnings of several, each with whose it is where not all have it."""
    from bench.pipeline.finished import apart

    return tuple(f"{name}: {text}" if name else text for name, texts in apart(warnings).items() for text in texts)


def _of_results(folder: Path) -> Results:
    """The results of one detector, scored again."""
    from bench.pipeline.rendered import evaluate_run
    from bench.reports import plain_warnings
    from bench.reports.scores_json import scores
    from bench.results import store

    run = store.read_run(folder)
    numbers = scores(run, evaluate_run(run, folder))
    report = _beside(folder, "results", "reports")
    rendered = report if (report / "scores.json").exists() else None
    warnings = (*plain_warnings(run, numbers), *run.warnings)
    return results(numbers, warnings, rendered, _Predictions({"": _Stored(folder, run)}))


def _beside(folder: Path, room: str, other: str) -> Path:
    """Where an experiment's folder below `room` has its counterpart, in the room `other`; or that of a detector."""
    rooms = [above for above in list(folder.parents)[:3] if above.name == room]
    above = rooms[0] if rooms else folder.parent
    return above.parent / other / folder.relative_to(above)


def _of_report(folder: Path) -> Results:
    """What a report says; with predictions where the results of each of its detectors are beside it."""
    from bench import reports

    try:
        numbers = reports.read_scores(folder)
    except (OSError, ValueError) as error:
        raise stored.damaged(folder / "scores.json", error, "`bench report` writes it again") from error
    beside = _beside(folder, "reports", "results")
    if not isinstance(numbers, ScoresOnSets | SideBySideScoresOnSets):
        stored_in, warnings = _of_detectors(numbers, beside)
        return results(numbers, _titled(warnings), folder, _Predictions(stored_in))
    by_set = {name: _of_detectors(on_set(numbers, name), beside, name) for name in numbers.sets}
    sets = _sets(numbers, folder, {name: each[0] for name, each in by_set.items()},
                 {name: each[1] for name, each in by_set.items()})  # fmt: skip
    texts = _titled({name: _titled(each) for name, (_, each) in by_set.items()})
    return results(numbers, texts, folder, _Predictions(next(iter(by_set.values()))[0]), sets)


def _of_detectors(
    numbers: ScoresFile, beside: Path, frame_set: str = ""
) -> tuple[dict[str, _Stored], dict[str, tuple[str, ...]]]:
    """The stored results of each detector below `beside`, and its warnings, by its name: "" where there is one."""
    if isinstance(numbers, SideBySideScores):
        alone = {name: (beside / name / frame_set, _alone(numbers, name)) for name in numbers.detectors}
    else:
        alone = {"": (beside / frame_set, numbers)}
    stored_in = {name: _Stored(folder, _run_of(scores, folder)) for name, (folder, scores) in alone.items()}
    return stored_in, {name: _warnings(stored_in[name].run, scores) for name, (_, scores) in alone.items()}


def _warnings(run: RunRecord | None, numbers: ScoresFile) -> tuple[str, ...]:
    """What must be read before the numbers of a detector, as far as its run is at hand."""
    from bench import reports

    return (*reports.plain_warnings(run, numbers), *run.warnings) if run else (_NO_WARNINGS,)


def _alone(numbers: SideBySideScores, detector: str) -> ScoresFile:
    """What the file of one of several detectors holds."""
    of_all = {field.name: getattr(numbers, field.name) for field in fields(ScoresFile)}
    scored = numbers.detectors[detector]
    names = ("architecture", "baseline", "variants", "choice", "ablation", "not_sliced")
    return ScoresFile(**of_all | {"detector": detector} | {name: getattr(scored, name) for name in names})


def _run_of(numbers: ScoresFile, results: Path) -> RunRecord | None:
    """The run that a report was rendered from; None where its results are missing or of another run."""
    from bench.results import store

    try:
        run = store.read_run(results)
    except UserError:
        return None
    ids = {name: variant.id for name, variant in numbers.variants.items()}
    digests = {split: frames.digest for split, frames in numbers.frames.items()}
    same = ids == {variant.name: variant.id for variant in run.variants} and numbers.experiment == run.experiment
    return run if same and digests == {split: frames.digest for split, frames in run.frames.items()} else None


class _Stored:
    """Predictions as a run stored them, in the folder of its results."""

    def __init__(self, results: Path, run: RunRecord | None) -> None:
        self._results, self.run = results, run

    def __call__(self, variant: str) -> pd.DataFrame:
        from bench.results import predict, store

        if self.run is None:
            raise UserError(f"{self._results}: does not hold the results of this report, so there are no predictions")
        key = next(item.predictions_key for item in self.run.variants if item.name == variant)
        if not predict.is_done(self._results / variant, key):
            raise UserError(f"{self._results / variant}: has changed since the run; `bench.run` completes it")
        return store.read_predictions_table(self._results / variant, self.run.frames)


class _Predictions:
    """Predictions of each detector, by its name; "" where there is one alone."""

    def __init__(self, detectors: dict[str, _Stored]) -> None:
        self._detectors = detectors

    def __call__(self, variant: str) -> pd.DataFrame:
        if "" in self._detectors:
            return self._detectors[""](variant)
        detector, _, name = variant.partition("/")
        return self._detectors[detector](name)
